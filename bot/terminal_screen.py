"""Screens as lines of text. Pure: what comes out depends on nothing but what goes in."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from engine.words import Translator

Fields = dict[str, Any]

# A log may hold anything: a terminal must not be told to do things by it.
_CONTROLS: Final = re.compile(
    r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]"
)
_STEP_SIGNS: Final = {"done": "✓", "now": "▸", "todo": "·"}
_STYLES: Final = {"primary": "1;32", "danger": "31"}


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the numbered choices; it has either an `id` to press or a `url` to open."""

    label: str
    id: str | None
    url: str | None
    style: str


@dataclass(frozen=True, slots=True)
class Paint:
    """Bold and colours where the terminal shows them."""

    on: bool

    def __call__(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.on and text else text


def plain(text: str) -> str:
    """`text` with nothing in it that a terminal would obey."""
    return _CONTROLS.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def choices(screen: Fields) -> list[Choice]:
    """The choices in the order of their numbers, which begin with 1."""
    return [
        Choice(plain(b["label"]), b.get("id"), plain(b["url"]) if "url" in b else None, b["style"])
        for row in screen["buttons"]
        for b in row
    ]


def under_way(screen: Fields) -> bool:
    """Whether the screen shows something that goes on, and will be shown again."""
    return any(step["state"] != "done" for step in screen["progress"])


def screen_text(screen: Fields, paint: Paint, t: Translator) -> str:
    """The whole screen, with an empty line before it."""
    blocks = [
        paint("1", plain(screen["title"])),
        plain(screen["text"]),
        code_text(screen["code"], paint),
        progress_text(screen, paint, t),
        choices_text(screen, paint),
    ]
    title, *rest = blocks
    body = "\n\n".join(block for block in rest if block)
    return "\n" + "\n".join(part for part in (title, body) if part) + "\n"


def code_text(code: str, paint: Paint) -> str:
    """Each line behind a bar."""
    if not code:
        return ""
    bar = paint("2", "│")
    return "\n".join(f"{bar} {line}" for line in plain(code).rstrip("\n").expandtabs(4).split("\n"))


def progress_text(screen: Fields, paint: Paint, t: Translator) -> str:
    """The steps, each with its sign, and the seconds gone by."""
    lines = [step_text(step, paint) for step in screen["progress"]]
    if lines and screen["elapsed_s"] is not None:
        lines.append(paint("2", "  " + t("{seconds} s", seconds=int(screen["elapsed_s"]))))
    return "\n".join(lines)


def step_text(step: Fields, paint: Paint) -> str:
    colour = {"done": "32", "now": "1", "todo": "2"}[step["state"]]
    return paint(colour, f"  {_STEP_SIGNS[step['state']]} {plain(step['label'])}")


def choices_text(screen: Fields, paint: Paint) -> str:
    """The numbered choices, in the rows that they were given in; an address has a line of its own."""
    numbered = iter(enumerate(choices(screen), 1))
    rows = [[next(numbered) for _ in row] for row in screen["buttons"]]
    return "\n".join(line for row in rows for line in _row_lines(row, paint))


def _row_lines(row: Sequence[tuple[int, Choice]], paint: Paint) -> list[str]:
    lines = []
    together = [_numbered(number, choice, paint) for number, choice in row if choice.url is None]
    for number, choice in row:
        if choice.url is not None:
            lines.append(f"  {_numbered(number, choice, paint)}  {paint('4', choice.url)}")
    if together:
        lines.append("  " + "   ".join(together))
    return lines


def _numbered(number: int, choice: Choice, paint: Paint) -> str:
    label = paint(_STYLES[choice.style], choice.label) if choice.style in _STYLES else choice.label
    return f"{paint('1', f'{number})')} {label}"
