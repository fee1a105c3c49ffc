"""An operation's progress, and each of its ends."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bot.conversation.model import ChangeApp, OperationNews, ProgressStep
from bot.conversation.progress import progress
from engine.domain import Kind, OpState, Phase
from engine.errors import NotFound
from engine.service.apps import step_names
from tests.conversation.pure import Person, app_view, buttons, labels, operation, strict

DIARY = app_view("diary", owner_key="the-key")


@pytest.mark.parametrize("locale", ["en", "ko"])
@pytest.mark.parametrize("kind", list(Kind))
def test_every_step_of_every_kind_has_words(kind: Kind, locale: str) -> None:
    names = step_names(kind)
    for reached in range(len(names) + 1):
        screen = progress(OperationNews(operation(kind), names[:reached], 3.0), strict(locale))
        states = [step.state for step in screen.progress]
        assert states == ["done"] * (reached - 1) + ["now"] * (reached > 0) + ["todo"] * (
            len(names) - reached
        )
        assert screen.elapsed_s == 3.0
        assert screen.watch == operation(kind).id
        assert screen.rows == ()


def test_progress_in_plain_words() -> None:
    screen = progress(OperationNews(operation(), ("files", "container"), 0.4), strict("en"))
    assert screen.title == "Making diary …"
    assert screen.progress[:2] == (
        ProgressStep("Laying out the files", "done"),
        ProgressStep("Starting the program", "now"),
    )
    assert ProgressStep("Waiting for its first answer", "todo") in screen.progress


def test_a_step_tried_again_and_one_unheard_of_change_nothing() -> None:
    screen = progress(OperationNews(operation(), ("container", "files", "unheard-of"), 1.0), strict("en"))
    assert [step.state for step in screen.progress] == ["done", "now", "todo", "todo", "todo"]


@pytest.mark.parametrize(
    ("kind", "title", "text", "expected"),
    [
        (Kind.CREATE, "🎉 diary is ready", "carries your key", ["Open", "Details", "Menu"]),
        (Kind.START, "diary is running", "It took 1.3 seconds.", ["Open", "Details", "Menu"]),
        (Kind.STOP, "diary is stopped", "What is kept in it is safe.", ["Start", "Details", "Menu"]),
        (Kind.RESTART, "diary has restarted", "It took 1.3 seconds.", ["Open", "Details", "Menu"]),
        (Kind.TRASH, "diary is in the trash", "until March 31, 2026", ["Restore", "🌱 My things", "Menu"]),
        (Kind.RESTORE, "diary is back", "It took 1.3 seconds.", ["Open", "Details", "Menu"]),
        (Kind.REPAIR, "diary is running again", "It took 1.3 seconds.", ["Open", "Details", "Menu"]),
    ],
)
def test_good_ends(kind: Kind, title: str, text: str, expected: list[str]) -> None:
    person = Person(DIARY)
    screen = person.news(operation(kind, state=OpState.SUCCEEDED))
    assert screen.title == title
    assert text in screen.text
    assert labels(screen) == expected
    assert screen.progress == ()
    if "Open" in expected:
        assert DIARY.url in screen.text
        assert buttons(screen)[0].url == f"{DIARY.url}/#key=the-key"
        assert "the-key" not in screen.text


def test_a_new_thing_says_what_to_do_next() -> None:
    screen = Person(DIARY).news(operation(state=OpState.SUCCEEDED))
    assert screen.text.splitlines() == [
        "http://minji-diary.example.com",
        "",
        "🔒 “Open” carries your key. Keep it to yourself: whoever has it can read everything.",
        "Put it on your home screen or bookmark it. You find it here again too, under “My things”.",
        "",
        "It took 1.3 seconds.",
    ]
    screen = Person(app_view("home", template="homepage-v1")).news(
        operation(Kind.CREATE, "home", OpState.SUCCEEDED)
    )
    assert "key" not in screen.text
    screen = Person(DIARY, locale="ko").news(operation(state=OpState.SUCCEEDED))
    assert screen.title == "🎉 diary: 다 됐어요"
    assert labels(screen) == ["열기", "자세히 보기", "메뉴"]
    assert "1.3초 걸렸어요." in screen.text


def test_purged() -> None:
    screen = Person().news(operation(Kind.PURGE, state=OpState.SUCCEEDED))
    assert screen.title == "diary is gone for good"
    assert "Its name is free again." in screen.text
    assert labels(screen) == ["🌱 My things", "Menu"]


def test_gone_by_the_time_it_ended() -> None:
    screen = Person().news(operation(Kind.START, state=OpState.SUCCEEDED))
    assert screen.text == "It is not there any more."


FAILED: dict[str, Any] = {"state": OpState.FAILED, "error_code": "route_not_open"}


@pytest.mark.parametrize(
    ("kind", "again"),
    [
        (Kind.START, Kind.START),
        (Kind.STOP, Kind.STOP),
        (Kind.RESTART, Kind.RESTART),
        (Kind.RESTORE, Kind.START),
        (Kind.REPAIR, Kind.START),
    ],
)
def test_bad_ends_can_be_tried_again(kind: Kind, again: Kind) -> None:
    person = Person(app_view("diary", Phase.FAILED))
    screen = person.news(operation(kind, **FAILED))
    assert screen.title == "diary: that did not work"
    assert screen.text.splitlines() == ["The address did not open in time.", "", "Reference: operatio"]
    assert labels(screen) == ["Try again", "Logs", "Details", "Menu"]
    person.press("Try again")
    assert person.commands == [ChangeApp("id-diary", again)]


@pytest.mark.parametrize("kind", [Kind.TRASH, Kind.PURGE])
def test_bad_ends_of_a_deletion(kind: Kind) -> None:
    assert labels(Person(DIARY).news(operation(kind, **FAILED))) == ["Logs", "Details", "Menu"]


def test_a_failed_creation_whose_wish_is_forgotten() -> None:
    person = Person()
    assert labels(person.news(operation(**FAILED))) == ["Try again", "Menu"]
    assert person.press("Try again").title == "What shall I make?"


@pytest.mark.parametrize(
    ("code", "params", "locale", "text", "code_block"),
    [
        ("app_crashed", {"log": "one\ntwo\n"}, "en", "The program ended right after its start.", "one\ntwo"),
        ("app_not_ready", {"seconds": 60.0, "log": "x"}, "en", "did not answer within 60 seconds", "x"),
        ("app_not_ready", {"seconds": 60.0, "log": ""}, "ko", "60초 안에", ""),
        ("wrong_phase", {"phase": "stopped"}, "ko", "멈춤", ""),
        ("wrong_phase", {"phase": "trashed"}, "en", "In the trash", ""),
        ("step_timeout", {"step": "container", "seconds": 60}, "ko", "프로그램 켜기", ""),
        (
            "step_timeout",
            {"step": "container", "seconds": 60},
            "en",
            "“Starting the program” took longer",
            "",
        ),
        ("unheard_of", {}, "en", "Something went wrong on our side.", ""),
        (None, {}, "en", "Something went wrong on our side.", ""),
    ],
)
def test_reasons_are_told_in_plain_words(
    code: str | None, params: dict[str, Any], locale: str, text: str, code_block: str
) -> None:
    failed = operation(Kind.START, state=OpState.FAILED, error_code=code, error_params=params)
    screen = Person(DIARY, locale=locale).news(failed)
    assert text in screen.text
    assert screen.code == code_block


def test_who_has_gone_on_stays_there() -> None:
    person = Person(DIARY)
    person.say("restart diary")
    person.say("/new homepage")
    person.say("home")
    before = person.state
    person.news(operation(Kind.RESTART, state=OpState.SUCCEEDED))
    assert person.state == before
    assert person.say("Minji").title == "🏡 home · 2/3"


def test_who_waited_stands_at_the_menu_afterwards() -> None:
    person = Person(DIARY)
    person.say("restart diary")
    assert person.state.at == "progress"
    person.news(operation(Kind.RESTART, state=OpState.SUCCEEDED))
    assert person.state.at == "menu"


def test_the_chat_opened_anew_shows_the_progress() -> None:
    person = Person(DIARY)
    person.say("restart diary")
    screen = person.begin()
    assert screen.watch == "operation-restart-diary"
    assert screen.progress[0].state == "now" or screen.progress
    assert person.act(None).watch == "operation-restart-diary"
    person.refusal = NotFound("not_found")
    assert person.begin().title == "What shall we do?"


def test_the_progress_of_what_has_ended_meanwhile_is_its_end() -> None:
    person = Person(DIARY)
    person.say("restart diary")
    done = OperationNews(operation(Kind.RESTART, state=OpState.SUCCEEDED), (), 2.0)
    person._do = lambda command: done  # type: ignore[method-assign]
    screen = person.begin()
    assert screen.title == "diary has restarted"
    assert screen.watch is None
    assert person.state.at == "menu"


def test_it_failed_while_the_person_looked_away() -> None:
    person = Person()
    person.say("make me a diary")
    person.press("diary")
    person.press("On the server")
    person.press("Make it")
    person.begin()
    person.apps = []
    failed = replace(operation(**FAILED), id=person.state.data["operation"])
    assert labels(person.news(failed)) == ["Try again", "Menu"]
    assert person.press("Try again").title == "Making diary …"
