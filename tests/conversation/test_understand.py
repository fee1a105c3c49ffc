"""What typed words mean."""

from __future__ import annotations

from typing import Any

import pytest

from bot.conversation.understand import bare_order, understand
from engine.domain import Phase
from tests.conversation.pure import Person, app_view

NEW = {"do": "new"}
DIARY = {"do": "template", "id": "diary-v1"}
HOMEPAGE = {"do": "template", "id": "homepage-v1"}
APPS = {"do": "apps"}


def change(name: str, kind: str) -> dict[str, Any]:
    return {"do": "change", "app": f"id-{name}", "kind": kind}


def on(do: str, name: str) -> dict[str, Any]:
    return {"do": do, "app": f"id-{name}"}


def meaning(text: str, *names: str) -> Any:
    person = Person(
        *(app_view(n, template="homepage-v1" if n == "home" else "diary-v1", title=n) for n in names)
    )
    return understand(text, person.view)


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("/menu", {"do": "menu"}),
        ("/MENU", {"do": "menu"}),
        ("/menu@madang_bot", {"do": "menu"}),
        ("/start", {"do": "menu"}),
        ("/cancel", {"do": "cancel"}),
        ("/help", {"do": "help"}),
        ("/settings", {"do": "settings"}),
        ("/apps", APPS),
        ("/new", NEW),
        ("/new diary", DIARY),
        ("/new 일기장", DIARY),
        ("/new homepage", HOMEPAGE),
        ("/new nonsense", NEW),
        ("/start_app diary", change("diary", "start")),
        ("/start_app  Diary ", change("diary", "start")),
        ("/stop_app diary", change("diary", "stop")),
        ("/restart_app diary", change("diary", "restart")),
        ("/restore diary", change("diary", "restore")),
        ("/logs diary", on("logs", "diary")),
        ("/delete diary", on("delete", "diary")),
        ("/app diary", on("card", "diary")),
        ("/app 일기장", on("card", "diary")),
        ("/app", APPS),
        ("/delete", APPS),
        ("/delete nothing", {"do": "apps", "unknown": "nothing"}),
        ("/delete " + "x" * 10_000, {"do": "apps", "unknown": "x" * 40}),
        ("/nonsense", None),
        ("/", None),
        ("//", None),
    ],
)
def test_commands(text: str, action: Any) -> None:
    assert meaning(text, "diary") == action


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("diary 시작", change("diary", "start")),
        ("diary 시작해줘", change("diary", "start")),
        ("diary를 켜 줘", change("diary", "start")),
        ("일기장 꺼줘", change("diary", "stop")),
        ("diary 중지", change("diary", "stop")),
        ("일기장 좀 멈춰 주세요", change("diary", "stop")),
        ("diary 재시작", change("diary", "restart")),
        ("일기장 다시 시작해 주세요!", change("diary", "restart")),
        ("일기장 복구해줘", change("diary", "restore")),
        ("일기장 로그 보여줘", on("logs", "diary")),
        ("일기장 지워줘", on("delete", "diary")),
        ("diary 삭제", on("delete", "diary")),
        ("일기장 열어줘", on("card", "diary")),
        ("일기장", on("card", "diary")),
        ("stop diary", change("diary", "stop")),
        ("Stop Diary.", change("diary", "stop")),
        ("please stop my diary", change("diary", "stop")),
        ("start diary", change("diary", "start")),
        ("restart the diary", change("diary", "restart")),
        ("logs diary", on("logs", "diary")),
        ("show me the log of diary", on("logs", "diary")),
        ("delete diary", on("delete", "diary")),
        ("open diary", on("card", "diary")),
        ("diary", on("card", "diary")),
    ],
)
def test_orders(text: str, action: Any) -> None:
    assert meaning(text, "diary") == action


@pytest.mark.parametrize(
    "text",
    [
        "why did diary stop?",
        "diary does not start",
        "don't delete diary",
        "does diary start by itself",
        "일기장 왜 멈춰",
        "일기장 지우지 마, 삭제하지 마",
        "일기장 시작이 안 돼요",
        "diary 삭제하지 말고 기다려",
        "my diary is nice",
    ],
)
def test_what_only_mentions_a_thing_leads_to_its_card(text: str) -> None:
    assert meaning(text, "diary") == on("card", "diary")


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("make me a diary", DIARY),
        ("Make me a DIARY!", DIARY),
        ("일기장 만들어줘", DIARY),
        ("일기 쓰는 거 만들어 주세요", DIARY),
        ("홈페이지 갖고 싶어", HOMEPAGE),
        ("I want a homepage", HOMEPAGE),
        ("create something", NEW),
        ("뭐 하나 만들어줘", NEW),
        ("새로 만들기", NEW),
        ("hello", {"do": "menu"}),
        ("안녕하세요~", {"do": "menu"}),
        ("my things", APPS),
        ("내가 만든 것", APPS),
        ("취소", {"do": "cancel"}),
        ("도와줘", {"do": "help"}),
        ("고마워요!", {"do": "thanks"}),
        ("Thank you.", {"do": "thanks"}),
        ("설정", {"do": "settings"}),
        ("blah", None),
        ("ㅋㅋㅋ", None),
        ("🌸", None),
        ("", None),
        ("news from the renewal", None),
    ],
)
def test_wishes_and_places(text: str, action: Any) -> None:
    assert meaning(text) == action


def test_a_wish_is_a_wish_though_there_is_one_already() -> None:
    assert meaning("make me a diary", "diary") == DIARY
    assert meaning("일기장 하나 더 만들어줘", "diary") == DIARY


def test_the_name_of_a_template_alone() -> None:
    assert meaning("diary") == DIARY
    assert meaning("홈페이지") == HOMEPAGE
    assert meaning("홈페이지", "home") == on("card", "home")


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("startup", on("card", "startup")),
        ("stop startup", change("startup", "stop")),
        ("startup 시작", change("startup", "start")),
        ("log", on("card", "log")),
        ("log log", on("logs", "log")),
        ("delete log", on("delete", "log")),
        ("start art", change("art", "start")),
        ("art", on("card", "art")),
        ("start stop", change("stop", "start")),
        ("stop stop", change("stop", "stop")),
        ("stop new", change("new", "stop")),
        ("stop art-2", change("art-2", "stop")),
        ("open show", on("card", "show")),
    ],
)
def test_names_that_contain_verbs(text: str, action: Any) -> None:
    assert meaning(text, "startup", "log", "art", "art-2", "stop", "show", "new") == action


def test_several_of_one_kind_are_told_apart_by_name() -> None:
    assert meaning("일기장 꺼줘", "one", "two") == APPS
    assert meaning("일기장", "one", "two") == APPS
    assert meaning("two 꺼줘", "one", "two") == change("two", "stop")
    assert meaning("/stop_app 일기장", "one", "two") == APPS


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("꺼줘", change("diary", "stop")),
        ("그거 좀 꺼 줘", change("diary", "stop")),
        ("다시 켜줘", change("diary", "restart")),
        ("로그 보여줘", on("logs", "diary")),
        ("지워줘", on("delete", "diary")),
        ("stop it, please", change("diary", "stop")),
        ("Delete it!", on("delete", "diary")),
        ("왜 꺼졌어", None),
        ("내 계정 삭제해줘", None),
        ("켜줘", None),  # it is running
        ("복구해줘", change("old", "restore")),
        ("ㅋㅋㅋ", None),
    ],
)
def test_an_order_that_names_nothing_is_for_the_only_thing_it_can_be_meant_for(
    text: str, action: Any
) -> None:
    view = Person(app_view("diary"), app_view("old", Phase.TRASHED)).view
    assert bare_order(text, view) == action


def test_an_order_that_names_nothing_and_may_be_meant_for_several_leads_to_the_list() -> None:
    person = Person(app_view("one"), app_view("two", Phase.STOPPED))
    assert bare_order("지워줘", person.view) == APPS
    assert bare_order("켜줘", person.view) == change("two", "start")
    assert person.say("지워줘").title == "My things"


def test_an_order_that_names_nothing_does_not_cut_into_a_creation() -> None:
    person = Person(app_view("home"))
    person.say("make me a diary")
    person.press("diary")
    person.press("Only in this browser")
    assert "I did not understand that." in person.say("stop it").text
    assert person.state.at == "confirm"


def test_thanks_are_answered() -> None:
    assert Person(app_view("diary")).say("thanks!").title == "You are welcome!"


def test_titles_are_names_too() -> None:
    view = Person(app_view("one", title="비밀 노트"), app_view("two", Phase.STOPPED)).view
    assert understand("비밀 노트 꺼 줘", view) == change("one", "stop")
    assert understand("비밀 노트", view) == on("card", "one")


@pytest.mark.parametrize(
    "text",
    [
        "x" * 10_000, "diary " * 5000, "?" * 10_000, "' OR 1=1 --", "{name} {0} %s", "<b>diary</b>", "\x00\x01", "\u202ediary",
        "../../etc/passwd", "🌸" * 3000, "(((" * 2000, "\n\n\n", "/new\n\ndiary", "a-" * 4000,
    ],
)  # fmt: skip
def test_strange_texts_do_no_harm(text: str) -> None:
    person = Person(app_view("diary"))
    person.say(text)
    assert person.say("/menu").title == "What shall we do?"
