"""Words: every code has some, in every language, with what they name; and the check that finds what was forgotten."""

from __future__ import annotations

import ast
import string
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

import engine.errors
from engine import words
from engine.cli.faults import sentence
from engine.errors import MadangError
from engine.http.errors import status_of
from engine.words import ERRORS, LOCALES, Translator, catalogue_faults, pick_locale, translator

_ROOT = Path(__file__).resolve().parents[2]
_FAMILIES: Mapping[str, type[MadangError]] = {
    name: value
    for name, value in vars(engine.errors).items()
    if isinstance(value, type) and issubclass(value, MadangError)
}


class Raise(NamedTuple):
    """One place in the sources that makes an error."""

    where: str
    family: str
    code: str
    params: frozenset[str] | None  # None: they are passed on, and cannot be known from here


def _codes(node: ast.expr | None) -> Iterator[str]:
    match node:
        case None:
            yield ""
        case ast.Constant(value=str(text)):
            yield text
        case ast.IfExp(body=body, orelse=orelse):
            yield from _codes(body)
            yield from _codes(orelse)


def _raises(path: Path) -> Iterator[Raise]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords) if name in _FAMILIES:
                named = {keyword.arg for keyword in keywords if keyword.arg}
                whole = all(keyword.arg for keyword in keywords)
                where = f"{path.relative_to(_ROOT)}:{node.lineno}"
                for code in _codes(args[0] if args else None):
                    known = code or _FAMILIES[name].default_code
                    yield Raise(where, name, known, frozenset(named) if whole else None)


def every_raise() -> list[Raise]:
    packages = ("engine", "bot", "webhooks", "runtime", "nginx")
    files = [path for package in packages for path in sorted((_ROOT / package).rglob("*.py"))]
    return [one for path in files for one in _raises(path)]


def _names(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_the_scan_sees_the_errors_of_every_part() -> None:
    places = {one.where.split("/")[0] for one in every_raise()}
    assert {"engine", "runtime", "nginx"} <= places
    assert len({one.code for one in every_raise()}) > 50


@pytest.mark.parametrize("code", sorted({one.code for one in every_raise()}))
@pytest.mark.parametrize("locale", LOCALES)
def test_every_code_that_is_raised_has_words(code: str, locale: str) -> None:
    t = translator(locale)
    nothing = t.code("internal", {})
    text = sentence(MadangError(code), t)
    assert code == "internal" or text != nothing, f"{code} has no words"


def test_every_error_brings_what_its_words_name() -> None:
    """Otherwise a person reads a question mark."""
    short = [
        f"{one.where}: {one.code} without {', '.join(sorted(_names(ERRORS[one.code]) - one.params))}"
        for one in every_raise()
        if one.params is not None and one.code in ERRORS and _names(ERRORS[one.code]) - one.params
    ]
    assert short == []


def test_no_error_answers_as_a_bug() -> None:
    for one in every_raise():
        if one.family != "MadangError":
            assert status_of(_FAMILIES[one.family](one.code)) != 500, one


def test_no_words_are_left_over() -> None:
    """A code that nothing raises is one that somebody forgot to raise, or to take out."""
    quoted = {
        node.value
        for package in ("engine", "bot", "webhooks", "runtime", "nginx")
        for path in (_ROOT / package).rglob("*.py")
        if path.name != "words.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert [code for code in ERRORS if not set(code.split(".")) <= quoted] == []  # "code" or "code.variant"


# --- speaking


def test_a_sentence_without_its_params_is_still_a_sentence() -> None:
    assert "?" in translator("en").code("app_crashed", {})
    assert "{" not in translator("ko").code("app_crashed", {})


def test_what_a_program_said_is_never_taken_for_a_placeholder() -> None:
    said = "{seconds} {0} {x.__class__} %s {"
    assert said in translator("en").code("app_crashed", {"log": said})


def test_an_unknown_code_reads_as_the_general_failure() -> None:
    t = translator("en")
    assert t.code("no_such_code", {}) == t.code("internal", {})


def test_a_sentence_that_a_language_lacks_is_english() -> None:
    assert Translator("ko", {})("Hello, {name}", name="Kim") == "Hello, Kim"


@pytest.mark.parametrize(
    ("wanted", "locale"),
    [
        ("ko", "ko"), ("ko-KR", "ko"), ("ko_KR.UTF-8", "ko"), ("KO", "ko"), ("en-GB,en;q=0.9", "en"),
        ("fr-FR, ko;q=0.8", "ko"), ("fr", "en"), ("", "en"), (None, "en"), ("*", "en"), (";;;,,,", "en"),
        ("ko;q=abc", "ko"), ("\x00\ud800", "en"), ("korean", "en"),
    ],
)  # fmt: skip
def test_the_language_of_an_answer(wanted: str | None, locale: str) -> None:
    assert pick_locale(wanted) == locale


# --- the check


def test_the_catalogues_are_whole() -> None:
    assert catalogue_faults() == []


_HEADER = 'msgid ""\nmsgstr ""\n"Content-Type: text/plain; charset=utf-8\\n"\n\n'
_GOOD = 'msgid "Hello, {name}"\nmsgstr "안녕, {name}"\n\nmsgid "Bye"\nmsgstr "잘 가"\n'


@pytest.fixture
def faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """`faults(po)`: what the check says of that Korean catalogue, where the sources say "Hello, {name}" and "Bye"."""
    monkeypatch.setattr(words, "_FOLDER", tmp_path)
    monkeypatch.setattr(words, "_ROOT", tmp_path / "sources")
    package = tmp_path / "sources" / "engine"
    package.mkdir(parents=True)
    (package / "one.py").write_text('print(t("Hello, {name}", name=x))\nBYE = N_("Bye")\n')

    def of(po: str) -> list[str]:
        (tmp_path / "ko.po").write_text(_HEADER + po, encoding="utf-8")
        return catalogue_faults()

    return of


@pytest.mark.parametrize(
    ("po", "faulty"),
    [
        (_GOOD, []),
        (_GOOD.replace('msgid "Bye"', 'msgid "Good bye"'), ["missing: 'Bye'", "left over: 'Good bye'"]),
        (_GOOD.replace('"잘 가"', '""'), ["not translated: 'Bye'"]),
        (_GOOD.replace('msgid "Bye"', '#, fuzzy\nmsgid "Bye"'), ["not translated: 'Bye'"]),
        (_GOOD.replace("안녕, {name}", "안녕, {nmae}"), ["other placeholders: 'Hello, {name}'"]),
        (_GOOD.replace("안녕, {name}", "안녕"), ["other placeholders: 'Hello, {name}'"]),
        (_GOOD.replace("잘 가", "잘 가 {name}"), ["other placeholders: 'Bye'"]),
        (_GOOD.replace("안녕, {name}", "안녕, {name"), ["other placeholders: 'Hello, {name}'"]),
        (_GOOD + '\n#~ msgid "Long ago"\n#~ msgstr "옛날"\n', []),
    ],
)  # fmt: skip
def test_the_check_tells_what_is_wrong(
    faults: Callable[[str], list[str]], po: str, faulty: list[str]
) -> None:
    assert faults(po) == [f"ko: {fault}" for fault in faulty]


def test_the_check_reads_pages_too(faults: Callable[[str], list[str]], tmp_path: Path) -> None:
    (tmp_path / "sources" / "engine" / "page.html").write_text('<p>{{ t("On a page") }}</p>')
    assert faults(_GOOD) == ["ko: missing: 'On a page'"]
