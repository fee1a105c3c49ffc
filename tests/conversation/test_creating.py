"""Making something: every question, every answer, every refusal."""

from __future__ import annotations

from typing import Any

import pytest

from bot.conversation.model import CreateApp
from engine.catalogue import Template
from engine.domain import Kind, OpState, Phase
from engine.errors import Broken, Conflict, MadangError, OverQuota, Transient
from engine.service.apps import NewApp
from tests.conversation.pure import TEMPLATES, Person, app_view, labels, operation, words

SERVER = "On the server, to read on all my devices"


@pytest.fixture
def person() -> Person:
    person = Person()
    person.begin()
    return person


def confirmed(person: Person, name: str = "diary") -> Person:
    """Stands at the confirm card of a diary."""
    person.say("make me a diary")
    person.say(name)
    person.press(SERVER)
    return person


def wished(person: Person) -> NewApp:
    command = person.commands[-1]
    assert isinstance(command, CreateApp)
    return command.wish


def test_a_diary_by_buttons(person: Person) -> None:
    screen = person.press("✨ Make something")
    assert screen.title == "What shall I make?"
    assert labels(screen) == ["📔 Diary", "🏡 Homepage", "Menu"]
    screen = person.press("📔 Diary")
    assert screen.title == "📔 Diary"
    assert "for example minji-diary.example.com" in screen.text
    assert labels(screen) == ["diary", "Cancel"]
    assert person.press("diary").text == "Where should your entries be kept?"
    screen = person.press(SERVER)
    assert screen.title == "📔 Shall I make “diary”?"
    assert screen.text.splitlines() == [
        "🔗 minji-diary.example.com",
        f"· {SERVER}",
        "🔒 Only you can open it: I give you a link with your key in it.",
    ]
    assert labels(screen) == ["Make it", "Another name", "Answer again", "Cancel"]
    screen = person.press("Make it")
    assert wished(person) == NewApp("diary", "diary-v1", {"enableApi": "true"}, title="Diary")
    assert screen.title == "Making diary …"
    assert screen.watch == "operation-create-diary"
    assert person.state.at == "progress"


def test_a_diary_in_korean() -> None:
    person = Person(locale="ko")
    assert person.say("일기장 만들어줘").title == "📔 일기장"
    assert labels(person.say("diary")) == [
        "서버에 보관하고 모든 기기에서 보기",
        "이 브라우저에만 보관하기",
        "취소",
    ]
    screen = person.press("이 브라우저에만")
    assert screen.title == "📔 “diary” 이름으로 만들까요?"
    assert "🔒" not in screen.text
    assert person.press("만들기").title == "diary: 만드는 중…"
    assert wished(person) == NewApp("diary", "diary-v1", {"enableApi": "false"}, title="일기장")


def test_a_homepage_by_typed_words(person: Person) -> None:
    person.say("I want a homepage")
    assert person.say("my-home").title == "🏡 my-home · 1/3"
    assert person.say(" Minji & friends ").title == "🏡 my-home · 2/3"
    assert person.say("Hello!\nWe are <b>three</b>.").title == "🏡 my-home · 3/3"
    screen = person.say("sunset hills")
    assert screen.text.splitlines()[1:] == [
        "· Minji & friends",
        "· Hello!",
        "We are <b>three</b>.",
        "· 🌇 Sunset hills",
    ]
    person.say("yes")
    assert wished(person) == NewApp(
        "my-home",
        "homepage-v1",
        {"title": "Minji & friends", "intro": "Hello!\nWe are <b>three</b>.", "theme": "sunset"},
        title="Minji & friends",
    )


def test_questions_can_be_skipped(person: Person) -> None:
    person.say("/new homepage")
    person.press("home")
    assert person.press("Skip").title == "🏡 home · 2/3"
    assert person.say("skip").title == "🏡 home · 3/3"
    screen = person.press("Quiet sea")
    assert screen.text.splitlines() == ["🔗 minji-home.example.com", "· 🌊 Quiet sea"]
    person.press("Make it")
    assert wished(person).title == "Homepage"


@pytest.mark.parametrize(
    ("text", "theme"),
    [
        ("sea", "sea"),
        ("2", "sunset"),
        ("🌿 푸른 마당", "garden"),
        ("Quiet Sea", "sea"),
        ("고요한바다", "sea"),
    ],
)
def test_a_choice_by_words(person: Person, text: str, theme: str) -> None:
    person.say("/new homepage")
    person.press("home")
    person.press("Skip")
    person.press("Skip")
    person.say(text)
    assert person.state.data["settings"]["theme"] == theme


@pytest.mark.parametrize("text", ["purple", "0", "99", "🌈", "x" * 10_000, ""])
def test_a_choice_that_there_is_not(person: Person, text: str) -> None:
    person.say("/new homepage")
    person.press("home")
    person.press("Skip")
    person.press("Skip")
    screen = person.say(text)
    assert screen.text == "Please choose one of these.\n\nWhich mood do you like?"
    assert person.state.at == "option"


def test_an_answer_that_is_too_long(person: Person) -> None:
    person.say("/new homepage")
    person.press("home")
    screen = person.say("x" * 10_000)
    assert screen.text.startswith("That is a little long: at most 60 characters fit.")
    assert person.say("x" * 60).title == "🏡 home · 2/3"


@pytest.mark.parametrize(
    "name", ["my diary", "di", "1diary", "-diary", "x" * 31, "diary!", "../../etc", "a'b", "", "x" * 10_000]
)
def test_a_broken_rule_is_explained(person: Person, name: str) -> None:
    person.say("make me a diary")
    screen = person.say(name)
    assert screen.text.startswith(
        "A name is 3 to 30 letters a-z, digits and hyphens, and begins with a letter."
    )
    assert "What shall it be called?" in screen.text
    assert labels(screen) == ["diary", "Cancel"]
    assert person.state.at == "name"


@pytest.mark.parametrize("text", ["응", "네!", "좋아요", "ok", "yes"])
def test_a_yes_takes_the_name_that_was_suggested(person: Person, text: str) -> None:
    person.say("make me a diary")
    person.say(text)
    assert person.state.data["name"] == "diary"


def test_a_request_is_no_title() -> None:
    person = Person(app_view("home", template="homepage-v1"), locale="ko")
    person.say("일기장 만들어줘")
    assert "무슨 말씀인지" in person.say("오늘 날씨 어때?").text
    assert "title" not in person.state.data
    assert person.say("홈페이지 지워줘").title == "home: 지울까요?"
    person.say("취소")
    person.say("일기장 만들어줘")
    assert person.say("설정").title == "설정"


def test_what_did_not_fit_is_made_once_there_is_room() -> None:
    person = Person(app_view("home", template="homepage-v1", title="Home"))
    confirmed(person)
    person.refusal = OverQuota("app_quota", used=1, limit=1, requested=1)
    again = next(b for row in person.press("Make it").rows for b in row if b.label == "Try again")
    person.refusal = None
    assert person.say("delete it").title == "Delete home?"
    assert again.action is not None
    assert person.act(again.action).title == "Making diary …"


def test_capitals_are_no_mistake(person: Person) -> None:
    person.say("make me a diary")
    person.say(" My-Diary ")
    assert person.state.data["name"] == "my-diary"


def test_korean_words_become_the_title() -> None:
    person = Person(locale="ko")
    person.say("일기장 만들어줘")
    screen = person.say("  민지의  비밀 일기 ")
    assert "“민지의 비밀 일기”" in screen.text
    assert "영어 소문자" in screen.text
    person.press("diary")
    screen = person.press("서버에")
    assert "🏷 민지의 비밀 일기" in screen.text
    person.press("만들기")
    assert wished(person).title == "민지의 비밀 일기"


def test_a_title_given_as_an_answer_wins(person: Person) -> None:
    person.say("/new homepage")
    person.say("민지네")
    person.press("home")
    person.say("민지와 친구들")
    person.press("Skip")
    person.press("Green")
    person.press("Make it")
    assert wished(person).title == "민지와 친구들"


def test_a_name_that_is_taken(person: Person) -> None:
    person.apps = [app_view("diary")]
    screen = person.say("/new diary")
    assert labels(screen) == ["diary2", "Cancel"]
    screen = person.say("diary")
    assert screen.text.startswith("You already have something called “diary”.")
    assert person.press("diary2").text == "Where should your entries be kept?"


def test_a_name_that_lies_in_the_trash(person: Person) -> None:
    person.apps = [app_view("diary", Phase.TRASHED)]
    person.say("/new diary")
    screen = person.say("diary")
    assert screen.text.startswith("“diary” is in the trash.")
    assert labels(screen) == ["diary2", "Restore", "Cancel"]
    assert person.press("Restore").title == "Restoring diary …"


def test_another_name_keeps_the_answers(person: Person) -> None:
    confirmed(person)
    assert "What shall it be called?" in person.press("Another name").text
    screen = person.say("journal")
    assert screen.title == "📔 Shall I make “journal”?"
    assert person.press("Answer again").text == "Where should your entries be kept?"
    assert person.press("Only in this browser").title == "📔 Shall I make “journal”?"


@pytest.mark.parametrize("text", ["yes", "Yes!", "ok", "네", "만들어줘", "make it"])
def test_yes_makes_it(person: Person, text: str) -> None:
    confirmed(person)
    assert person.say(text).title == "Making diary …"


@pytest.mark.parametrize("text", ["no", "아니요", "cancel", "/cancel", "취소"])
def test_no_makes_nothing(person: Person, text: str) -> None:
    confirmed(person)
    assert person.say(text).title == "All right, nothing was made."
    assert person.commands == []


@pytest.mark.parametrize("depth", range(4))
@pytest.mark.parametrize("leave", ["button", "/cancel", "cancel", "취소", "그만"])
def test_cancel_anywhere(person: Person, depth: int, leave: str) -> None:
    person.say("/new homepage")
    for text in ("home", "Minji", "words")[:depth]:
        person.say(text)
    screen = person.press("Cancel") if leave == "button" else person.say(leave)
    assert screen.title == "All right, nothing was made."
    assert person.state.at == "menu"


@pytest.mark.parametrize("text", ["/menu", "/apps", "/help", "/settings", "/new"])
def test_commands_lead_out_of_every_question(person: Person, text: str) -> None:
    for depth in range(4):
        person.say("/new homepage")
        for answer in ("home", "Minji", "words")[:depth]:
            person.say(answer)
        person.say(text)
        assert person.state.at in ("menu", "apps", "help", "settings", "pick")


def test_an_unknown_command_does_not_lose_the_answers(person: Person) -> None:
    confirmed(person)
    screen = person.say("/nonsense")
    assert screen.title == "📔 Shall I make “diary”?"
    assert screen.text.startswith("I did not understand that.")


def test_free_words_may_look_like_anything(person: Person) -> None:
    person.say("/new homepage")
    person.say("home")
    assert person.say("menu").title == "🏡 home · 2/3"
    assert person.say("make me a diary").title == "🏡 home · 3/3"
    assert person.state.data["settings"] == {"title": "menu", "intro": "make me a diary"}


def test_begin_goes_on_with_the_open_question(person: Person) -> None:
    person.say("/new homepage")
    person.say("home")
    assert person.begin().title == "🏡 home · 1/3"
    person.say("Minji")
    assert person.begin().title == "🏡 home · 2/3"


# --- refusals


@pytest.mark.parametrize(
    ("error", "text", "helps"),
    [
        (
            OverQuota("app_quota", used=3, limit=3, requested=1),
            "You have 3 of 3 things",
            ["Try again", "🌱 My things", "Menu"],
        ),
        (
            OverQuota("box_quota", used=100, limit=100, requested=1),
            "This Madang is full",
            ["Try again", "🌱 My things", "Menu"],
        ),
        (OverQuota("no_slot"), "no network address left", ["Try again", "Menu"]),
        (Transient("runtime_down"), "What you have is untouched", ["Try again", "Menu"]),
        (Broken("disk_full"), "The disk is full", ["Try again", "Menu"]),
        (MadangError("unheard_of"), "Something went wrong on our side", ["Try again", "Menu"]),
    ],
)
def test_refused(person: Person, error: MadangError, text: str, helps: list[str]) -> None:
    confirmed(person)
    person.refusal = error
    screen = person.press("Make it")
    assert screen.title == "That did not work"
    assert text in screen.text
    assert "Reference: 0f1e2d3c" in screen.text
    assert labels(screen) == helps
    assert person.press("Try again").title == "Making diary …"


def test_refused_in_korean() -> None:
    person = Person(locale="ko")
    person.say("/new diary")
    person.say("diary")
    person.press("서버에")
    person.refusal = OverQuota("app_quota", used=3, limit=3, requested=1)
    screen = person.press("만들기")
    assert labels(screen) == ["다시 하기", "🌱 내가 만든 것", "메뉴"]
    assert "참고 번호: 0f1e2d3c" in screen.text


@pytest.mark.parametrize(("phase", "text"), [(Phase.LIVE, "already have"), (Phase.TRASHED, "in the trash")])
def test_the_name_was_taken_meanwhile(person: Person, phase: Phase, text: str) -> None:
    confirmed(person)
    person.apps = [app_view("diary", phase)]
    code = "app_in_trash" if phase is Phase.TRASHED else "app_exists"
    person.refusal = Conflict(code, field="appname", name="diary")
    screen = person.press("Make it")
    assert text in screen.text
    assert person.state.at == "name"
    assert person.press("diary2").title == "📔 Shall I make “diary2”?"


def test_a_creation_that_failed_is_tried_again_with_the_same_answers(person: Person) -> None:
    confirmed(person)
    person.press("Make it")
    first = wished(person)
    person.apps = []
    failed = operation(Kind.CREATE, state=OpState.FAILED, error_code="route_not_open")
    screen = person.news(failed)
    assert screen.title == "diary: that did not work"
    assert "The address did not open in time.\nNothing of it was left behind" in screen.text
    assert "Reference: operatio" in screen.text
    assert labels(screen) == ["Try again", "Menu"]
    assert person.press("Try again").title == "Making diary …"
    assert wished(person) == first


# --- old buttons, and a catalogue that changes


def test_a_button_of_an_earlier_attempt(person: Person) -> None:
    person.say("/new diary")
    old = person.button("diary")
    old_cancel = person.button("Cancel")
    person.pass_time(seconds=1)
    person.say("/new homepage")
    for button in (old, old_cancel):
        screen = person.push(button)
        assert screen.text.startswith("That button is from earlier.")
        assert screen.title == "🏡 Homepage"
        assert not screen.again
    assert person.state.at == "name"


def test_make_it_pressed_twice(person: Person) -> None:
    confirmed(person)
    make = person.button("Make it")
    person.push(make)
    screen = person.push(make)
    assert screen.title == "Making diary …"
    assert len([command for command in person.commands if isinstance(command, CreateApp)]) == 1


def test_an_answer_to_a_question_that_is_answered(person: Person) -> None:
    person.say("/new homepage")
    person.say("home")
    skip = person.button("Skip")
    person.push(skip)
    assert person.push(skip).title == "🏡 home · 2/3"


@pytest.mark.parametrize("given", ["words", "button", "begin", "unknown button", "locale"])
@pytest.mark.parametrize("answers", [(), ("home",), ("home", "a", "b", "sea")])
def test_a_template_that_left_the_catalogue(person: Person, given: str, answers: tuple[str, ...]) -> None:
    person.say("/new homepage")
    for answer in answers:
        person.say(answer)
    button = person.button("Cancel")
    person.templates = tuple(t for t in TEMPLATES if t.id != "homepage-v1")
    steps: dict[str, Any] = {
        "words": lambda: person.say("home"),
        "button": lambda: person.push(button),
        "begin": person.begin,
        "unknown button": lambda: person.act(None),
        "locale": lambda: person.act({"do": "locale", "value": "en"}),
    }
    assert "🏡" not in words(steps[given]())
    assert person.say("/new diary").title == "📔 Diary"


def test_a_template_without_questions(person: Person) -> None:
    bare = Template.model_validate(TEMPLATES[0].model_dump() | {"options": (), "private": False})
    person.templates = (bare,)
    person.say("/new diary")
    screen = person.press("diary")
    assert screen.text == "🔗 minji-diary.example.com"
    assert labels(screen) == ["Make it", "Another name", "Cancel"]
