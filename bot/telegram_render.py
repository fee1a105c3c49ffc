"""A screen as the parameters of Telegram's sendMessage and editMessageText. Pure.

Text is HTML (https://core.telegram.org/bots/api#html-style). Telegram counts 4096 UTF-16 units of what is left of it
once the tags are read; what is too long loses the beginning of its code first, because the newest lines stand last.

Telegram refuses a button that leads to http://localhost, and a place in one's own network opens on no phone elsewhere.
Such a link stands in the text instead, in full, where it can be copied.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

from bot.talk import Shown, ShownButton
from engine.words import Translator, translator

TEXT_UNITS_MAX: Final = 4096
LABEL_MAX: Final = 64
_CODE_UNITS_KEPT: Final = 1024  # so much of the code stays, however long the words are
_TITLE_UNITS_MAX: Final = 256
_MARKS: Final = {"done": "✅", "now": "⏳", "todo": "▫️"}
_STYLES: Final = {"primary": "primary", "danger": "danger"}
_PRIVATE_ENDINGS: Final = frozenset(
    {"localhost", "local", "localdomain", "internal", "lan", "home", "arpa", "test", "invalid"}
)

Payload = dict[str, Any]


def payload(shown: Shown, *, link_buttons: bool = True) -> Payload:
    """The parameters but for chat and message. Without `link_buttons` every link stands in the text."""
    in_text = [b for row in shown.rows for b in row if b.url and not (link_buttons and has_button(b.url))]
    keyboard = [[_button(b) for b in row if b not in in_text] for row in shown.rows]
    keyboard = [row for row in keyboard if row]
    result: Payload = {
        "text": _text(shown, in_text),
        "parse_mode": "HTML",
        "link_preview_options": {"is_disabled": True},
    }
    if keyboard:
        result["reply_markup"] = {"inline_keyboard": keyboard}
    return result


def has_button(url: str) -> bool:
    """Whether a button may lead there: to a host that the whole internet knows."""
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").rstrip(".")
        _ = parts.port
    except ValueError:
        return False
    if parts.scheme not in ("http", "https"):
        return False
    try:
        return ip_address(host).is_global
    except ValueError:
        return "." in host and host.rpartition(".")[2] not in _PRIVATE_ENDINGS


def units(text: str) -> int:
    """The length as Telegram counts it: in UTF-16 units."""
    return len(text.encode("utf-16-le")) // 2


def _button(button: ShownButton) -> dict[str, str]:
    does = {"callback_data": button.id} if button.id is not None else {"url": button.url or ""}
    style = {"style": _STYLES[button.style]} if button.style in _STYLES else {}
    label = _whole(button.label)
    return {"text": label if len(label) <= LABEL_MAX else label[: LABEL_MAX - 1] + "…", **does, **style}


@dataclass(frozen=True, slots=True)
class _Part:
    """Words that stand under one tag, or none; unescaped, so that they can be counted and cut."""

    words: str
    tag: str = ""

    @property
    def html(self) -> str:
        escaped = html.escape(self.words, quote=False)
        return f"<{self.tag}>{escaped}</{self.tag}>" if self.tag else escaped


def _text(shown: Shown, links: Sequence[ShownButton]) -> str:
    t = translator(shown.locale)
    title = _Part(_first(_whole(shown.title).strip(), _TITLE_UNITS_MAX), "b")
    text = _Part(_whole(shown.text).strip())
    progress = _Part(_whole(_progress(shown, t)))
    code = _Part(_whole(shown.code).strip("\n"), "pre")
    addresses = _Part(_whole("\n".join(f"{b.label}: {b.url}" for b in links)))

    over = _joined_units(title, text, progress, code, addresses) - TEXT_UNITS_MAX
    if over > 0 and code.words:
        length = units(code.words)
        code = replace(code, words=_last(code.words, max(length - over, min(length, _CODE_UNITS_KEPT))))
        over = _joined_units(title, text, progress, code, addresses) - TEXT_UNITS_MAX
    if over > 0:
        text = replace(text, words=_first(text.words, units(text.words) - over))
    parts = [part.html for part in (title, text, progress, code, addresses) if part.words]
    return "\n\n".join(parts) or "…"  # Telegram refuses a message without words


def _progress(shown: Shown, t: Translator) -> str:
    lines = [f"{_MARKS[step.state]} {step.label}" for step in shown.progress]
    if shown.elapsed_s is not None:
        lines.append(_elapsed(int(shown.elapsed_s), t))
    return "\n".join(lines)


def _elapsed(seconds: int, t: Translator) -> str:
    if seconds < 60:
        return t("⏱ {seconds} s", seconds=seconds)
    return t("⏱ {minutes} min {seconds} s", minutes=seconds // 60, seconds=seconds % 60)


def _joined_units(*parts: _Part) -> int:
    lengths = [units(part.words) for part in parts if part.words]
    return sum(lengths) + 2 * max(len(lengths) - 1, 0)


def _whole(text: str) -> str:
    """The text without halves of characters, which a log may hold and no request can carry."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _first(text: str, units_max: int) -> str:
    if units(text) <= units_max:
        return text
    return text.encode("utf-16-le")[: 2 * max(units_max - 1, 0)].decode("utf-16-le", "ignore") + "…"


def _last(text: str, units_max: int) -> str:
    if units(text) <= units_max:
        return text
    skipped = units(text) - max(units_max - 1, 0)
    return "…" + text.encode("utf-16-le")[2 * skipped :].decode("utf-16-le", "ignore")
