"""The rules that need nothing but values: phases, names, addresses, passwords."""

from __future__ import annotations

import itertools
import re
import string
from collections.abc import Callable

import pytest

from engine.domain import (
    RESERVED_HANDLES,
    Kind,
    OpState,
    Phase,
    moved,
    new_id,
    valid_app_name,
    valid_email,
    valid_handle,
    valid_password,
)
from engine.errors import Conflict, Invalid
from engine.operations.plans import PLANS
from tests.support.worlds import an_account, an_app

# From where (rows) to where (columns); DESIGN.md, Objects. "." is refused, "=" stays where it is.
_TABLE = """
             pending running asleep stopped failed trashed deleted
    pending     =       x      .       .      x      x       .
    running     .       =      x       x      x      x       .
    asleep      .       x      =       x      x      x       .
    stopped     .       x      .       =      x      x       .
    failed      .       x      .       x      =      x       .
    trashed     .       .      .       x      .      =       x
    deleted     .       .      .       .      .      .       =
"""


def _phase_table() -> list[tuple[Phase, Phase, str]]:
    heading, *lines = (line.split() for line in _TABLE.strip().splitlines())
    return [
        (Phase(line[0]), Phase(target), sign)
        for line in lines
        for target, sign in zip(heading, line[1:], strict=True)
    ]


def test_the_table_of_phases_is_whole() -> None:
    assert {(a, b) for a, b, _ in _phase_table()} == set(itertools.product(Phase, Phase))


@pytest.mark.parametrize(("current", "target", "sign"), _phase_table())
def test_a_phase_moves_along_the_table_only(current: Phase, target: Phase, sign: str) -> None:
    if sign == ".":
        with pytest.raises(Conflict) as refused:
            moved(current, target)
        assert refused.value.params == {"phase": current.value, "wanted": target.value}
    else:
        assert moved(current, target) is target


@pytest.mark.parametrize("kind", Kind)
def test_each_plan_may_end_as_it_says_from_wherever_it_may_begin(kind: Kind) -> None:
    plan = PLANS[kind]
    ends = {plan.success, plan.failure if plan.commit else None} - {None}
    for begin, end in itertools.product(plan.allowed, ends):
        if begin is Phase.TRASHED and end is Phase.TRASHED:
            continue
        assert end is not None
        assert moved(begin, end) is end


@pytest.mark.parametrize("kind", Kind)
def test_each_plan_commits_with_a_step_of_its_own_and_names_no_step_twice(kind: Kind) -> None:
    names = [step.name for step in PLANS[kind].steps]
    assert len(set(names)) == len(names)
    assert PLANS[kind].commit in (None, *names)


def test_states_that_ended() -> None:
    assert {state for state in OpState if state.ended} == {"succeeded", "failed", "cancelled"}


# --- names

# What `[a-z]`, `\d` or `isalnum` of a careless check might take for a letter or a digit.
_LOOKALIKES = [
    "é",
    "а",
    "ａ",
    "１",
    "²",
    "٣",
    "ª",
    "ı",
    "ſ",
    "K",
    "ß",
    "가",
    "_",
    ".",
    "/",
    "\\",
    "\0",
    " ",
    "\t",
    "\u200b",
    "A",
]
_ENDINGS = ["\n", "\r", "\r\n", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", " ", "\0"]


@pytest.mark.parametrize("length", range(26))
def test_a_handle_has_3_to_20_characters(length: int) -> None:
    text = "a" * length
    if 3 <= length <= 20:
        assert valid_handle(text) == text
    else:
        with pytest.raises(Invalid) as refused:
            valid_handle(text)
        assert (refused.value.code, refused.value.field) == ("bad_handle", "username")


@pytest.mark.parametrize("length", range(36))
def test_an_app_name_has_3_to_30_characters(length: int) -> None:
    text = "a" * length
    if 3 <= length <= 30:
        assert valid_app_name(text) == text
    else:
        with pytest.raises(Invalid) as refused:
            valid_app_name(text)
        assert (refused.value.code, refused.value.field) == ("bad_app_name", "appname")


@pytest.mark.parametrize("check", [valid_handle, valid_app_name])
def test_of_all_ascii_only_letters_begin_a_name_and_only_letters_digits_and_hyphens_go_on(
    check: Callable[[str], str],
) -> None:
    hyphen = "-" if check is valid_app_name else ""
    for character in map(chr, range(128)):
        for text, allowed in (
            (f"{character}bc", string.ascii_lowercase),
            (f"a{character}c", string.ascii_lowercase + string.digits + hyphen),
            (f"ab{character}", string.ascii_lowercase + string.digits + hyphen),
        ):
            if character in allowed:
                assert check(text) == text
            else:
                with pytest.raises(Invalid):
                    check(text)


@pytest.mark.parametrize("check", [valid_handle, valid_app_name])
@pytest.mark.parametrize("character", _LOOKALIKES)
def test_no_lookalike_is_part_of_a_name(check: Callable[[str], str], character: str) -> None:
    for text in (f"{character}bcd", f"ab{character}cd", f"abc{character}"):
        with pytest.raises(Invalid):
            check(text)


@pytest.mark.parametrize(
    ("check", "ending"),
    [
        *itertools.product([valid_handle, valid_app_name], _ENDINGS),
        *(
            (valid_email, ending) for ending in _ENDINGS if ending != "\0"
        ),  # that one the API keeps out of every text
    ],
)
def test_nothing_may_hide_at_the_end(check: Callable[[str], str], ending: str) -> None:
    name = "alice@example.com" if check is valid_email else "alice"
    for text in (name + ending, ending + name):
        with pytest.raises(Invalid):
            check(text)


@pytest.mark.parametrize("handle", sorted(RESERVED_HANDLES))
def test_names_of_the_platform_are_kept(handle: str) -> None:
    with pytest.raises(Invalid) as refused:
        valid_handle(handle)
    assert (refused.value.code, refused.value.params) == ("reserved_handle", {"handle": handle})


def test_the_longest_label_is_a_host_name_and_splits_one_way() -> None:
    app = an_app(an_account("a" * 20), "b" * 30)
    assert len(app.label) <= 63
    assert an_app(an_account("alice"), "my-own-diary").label.partition("-")[::2] == ("alice", "my-own-diary")


# --- addresses and passwords


@pytest.mark.parametrize(
    "text", ["a@b.co", "First.Last+tag@Mail.Example.COM", "a" * 64 + "@example.com", "한글@example.com"]
)
def test_an_address_is_taken_in_lower_case(text: str) -> None:
    assert valid_email(text) == text.lower()


@pytest.mark.parametrize(
    "text",
    [
        "", "a", "@", "a@", "@b.co", "a@b", "a@b.c", "a@.co", "a@b.", "a b@c.de", "a@b c.de", "a@@b.co", "a@b@c.de",
        "a" * 65 + "@b.co", "a@" + "b" * 260 + ".co", "a\n@b.co", "a@b.co\n", "a@b..",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        valid_email(text)
    assert refused.value.field == "email"


def test_a_password_has_8_characters_and_72_bytes_at_most() -> None:
    assert valid_password("12345678") == "12345678"
    assert valid_password("가" * 24) == "가" * 24
    for text, code in (
        ("1234567", "short_password"),
        ("a" * 73, "long_password"),
        ("가" * 25, "long_password"),
    ):
        with pytest.raises(Invalid) as refused:
            valid_password(text, field_name="newPassword")
        assert (refused.value.code, refused.value.field) == (code, "newPassword")


def test_ids_are_url_safe_and_never_alike() -> None:
    ids = {new_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{22}", one) for one in ids)


def test_no_secret_is_in_a_repr() -> None:
    shown = repr(an_account(password_hash="$2b$hash")) + repr(an_app(owner_key="open-sesame"))
    assert "$2b$hash" not in shown
    assert "open-sesame" not in shown
