"""Greeting, the one question, waiting for approval, the language."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bot.conversation.model import SetLocale, SignUp
from engine.errors import Conflict, Forbidden
from tests.conversation.pure import Person, labels, words


@pytest.fixture
def stranger() -> Person:
    return Person(known=False)


def test_the_greeting_asks_one_question(stranger: Person) -> None:
    screen = stranger.begin()
    assert screen.title == "Hello! 👋"
    assert "What shall I call you?" in screen.text
    assert "such as minji-diary.example.com" in screen.text
    assert labels(screen) == ["한국어"]
    assert screen.ask is not None
    assert stranger.state.at == "handle"


def test_in_korean_the_rule_stands_in_the_question() -> None:
    screen = Person(known=False, locale="ko").begin()
    assert screen.title == "안녕하세요! 👋"
    assert "영어 소문자와 숫자" in screen.text
    assert labels(screen) == ["English"]


def test_a_name_opens_the_menu(stranger: Person) -> None:
    stranger.begin()
    screen = stranger.say("  Minji ")
    assert stranger.commands == [SignUp("minji")]
    assert screen.title == "Nice to meet you, minji!"
    assert "You have nothing here yet." in screen.text
    assert labels(screen) == ["✨ Make something", "🌱 My things", "Help", "Settings"]
    assert stranger.state.at == "menu"


@pytest.mark.parametrize(
    "text", ["hello", "Hi!", "안녕하세요", "안녕~", "/start", "/new", "/cancel", "hello there"]
)
def test_a_greeting_is_no_name(stranger: Person, text: str) -> None:
    stranger.begin()
    screen = stranger.say(text)
    assert stranger.commands == []
    assert screen.title == "Hello! 👋"
    assert stranger.state.at == "handle"


@pytest.mark.parametrize("text", ["menu", "help", "취소", "yes", "thanks", "settings"])
def test_small_talk_is_no_name(stranger: Person, text: str) -> None:
    stranger.begin()
    screen = stranger.say(text)
    assert stranger.commands == []
    assert "First I need a name for you." in screen.text
    assert "What shall I call you?" in screen.text


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("mi", "3 to 20 letters"),
        ("민지", "3 to 20 letters"),
        ("1minji", "3 to 20 letters"),
        ("minji kim", "3 to 20 letters"),
        ("m" * 21, "3 to 20 letters"),
        ("x" * 10_000, "3 to 20 letters"),
        ("🌸", "3 to 20 letters"),
        ("'; DROP TABLE accounts; --", "3 to 20 letters"),
        ("<script>alert(1)</script>", "3 to 20 letters"),
        ("", "3 to 20 letters"),
        ("www", "kept for Madang itself"),
        ("madang", "kept for Madang itself"),
    ],
)
def test_a_broken_rule_is_explained(stranger: Person, text: str, fault: str) -> None:
    stranger.begin()
    screen = stranger.say(text)
    assert stranger.commands == []
    assert fault in screen.text
    assert "What shall I call you?" in screen.text
    assert stranger.say("minji").title == "Nice to meet you, minji!"


def test_a_taken_name_is_asked_for_again(stranger: Person) -> None:
    stranger.begin()
    stranger.refusal = Conflict("handle_taken", field="username", handle="minji")
    screen = stranger.say("minji")
    assert "“minji” is taken" in screen.text
    assert "What shall I call you?" in screen.text
    assert "Nice to meet you, minji2" in stranger.say("minji2").title


def test_words_before_any_greeting_are_greeted(stranger: Person) -> None:
    assert stranger.say("minji").title == "Hello! 👋"
    assert stranger.act({"do": "apps"}).title == "Hello! 👋"
    assert stranger.act(None).title == "Hello! 👋"
    assert stranger.commands == []


def test_the_language_can_be_changed_before_the_name(stranger: Person) -> None:
    stranger.begin()
    screen = stranger.press("한국어")
    assert stranger.commands == [SetLocale("ko")]
    assert screen.title == "안녕하세요! 👋"
    assert screen.again
    assert stranger.say("minji").title == "minji님, 반가워요!"
    assert stranger.press("설정").title == "설정"
    assert stranger.press("English").title == "Settings"
    assert "✓ English" in labels(stranger.screen)


def test_where_registration_is_by_invitation(stranger: Person) -> None:
    stranger.begin()
    stranger.refusal = Forbidden("registration_closed")
    screen = stranger.say("minji")
    assert "by invitation" in screen.text
    assert "Reference: 0f1e2d3c" in screen.text
    assert stranger.press("Try again").title == "Hello! 👋"


def test_waiting_for_approval(stranger: Person) -> None:
    stranger.approves = False
    stranger.begin()
    screen = stranger.say("minji")
    assert screen.title == "“minji” is noted"
    assert "lets new people in" in screen.text
    for text in ("hello", "make me a diary", "/new", "minji"):
        assert stranger.say(text).title == "“minji” is noted"
    assert stranger.act({"do": "new"}).title == "“minji” is noted"
    assert stranger.press("Am I in yet?").title == "“minji” is noted"
    assert stranger.press("한국어").title == "“minji” 이름을 적어 두었어요"
    assert stranger.press("English").title == "“minji” is noted"
    assert not [command for command in stranger.commands if not isinstance(command, SignUp | SetLocale)]


def test_after_the_approval(stranger: Person) -> None:
    stranger.approves = False
    stranger.begin()
    stranger.say("minji")
    assert stranger.account is not None
    stranger.account = replace(stranger.account, approved=True)
    assert "You are in now. Nice to meet you, minji!" in stranger.press("Am I in yet?").title
    assert stranger.say("/menu").title == "What shall we do?"


def test_the_menu_at_a_later_start() -> None:
    person = Person()
    screen = person.begin()
    assert screen.title == "Hello, minji!"
    assert words(person.say("hello")).startswith("What shall we do?")


def test_changing_the_language_does_not_lose_what_is_half_done() -> None:
    person = Person()
    person.say("make me a diary")
    screen = person.act({"do": "locale", "value": "ko"})
    assert "이름을 뭐라고 할까요?" in screen.text
    assert person.state.at == "name"


def test_help_and_settings_lead_back() -> None:
    person = Person()
    person.begin()
    assert "make me a diary" in person.press("Help").text
    assert "Your name here: minji" in person.say("/settings").text
    assert person.press("Menu").title == "What shall we do?"
