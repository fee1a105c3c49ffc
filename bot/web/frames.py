"""What a client may send over the chat's WebSocket, and how it is refused (docs/chat-protocol.md)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from engine.words import ERRORS, N_, Translator

_FRAME_MAX_BYTES: Final = 16 * 1024
_TEXT_MAX: Final = 4000
_REFERENCE: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


@dataclass(frozen=True, slots=True)
class Begin:
    """`mark` is that of the last screen the client got; `program` clients carry a token instead of a cookie."""

    id: str
    locale: str
    program: bool
    token: str
    mark: str


@dataclass(frozen=True, slots=True)
class Say:
    id: str
    text: str


@dataclass(frozen=True, slots=True)
class Press:
    id: str
    button: str
    message: str


class NotUnderstood(Exception):
    """A frame that is answered with an error. `id` is the frame's own, where it could be read."""

    def __init__(self, code: str, frame_id: str = "") -> None:
        self.code = code
        self.id = frame_id
        super().__init__(code)


def read_frame(data: str) -> Begin | Say | Press:
    """What a client's text frame says. Raises NotUnderstood."""
    if len(data.encode(errors="surrogatepass")) > _FRAME_MAX_BYTES:
        raise NotUnderstood("too_large")
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError):
        raise NotUnderstood("bad_json") from None
    if not isinstance(fields, dict):
        raise NotUnderstood("bad_frame")
    frame_id = _reference(fields, "id", required=fields.get("type") in ("say", "press"))
    try:
        return _read_fields(fields, frame_id)
    except NotUnderstood as refusal:
        raise NotUnderstood(refusal.code, frame_id) from None


def _read_fields(fields: Mapping[str, Any], frame_id: str) -> Begin | Say | Press:
    match fields.get("type"):
        case "begin":
            return Begin(
                frame_id,
                locale=_text(fields, "locale", 35),
                program=fields.get("program") is True,
                token=_text(fields, "token", 128),
                mark=_reference(fields, "mark", required=False),
            )
        case "say":
            return Say(frame_id, _text(fields, "text", _TEXT_MAX))
        case "press":
            return Press(
                frame_id,
                button=_reference(fields, "button", required=True),
                message=_reference(fields, "message", required=True),
            )
    raise NotUnderstood("bad_frame")


def _text(fields: Mapping[str, Any], name: str, longest: int) -> str:
    value = fields.get(name) or ""
    if not isinstance(value, str):
        raise NotUnderstood("bad_frame")
    if len(value) > longest:
        raise NotUnderstood("too_long")
    return value.encode(errors="replace").decode()  # half of a surrogate pair cannot be stored


def _reference(fields: Mapping[str, Any], name: str, *, required: bool) -> str:
    value = fields.get(name) or ""
    if not isinstance(value, str) or ((value or required) and not _REFERENCE.fullmatch(value)):
        raise NotUnderstood("bad_frame")
    return value


_WORDS: Final[Mapping[str, str]] = {
    "too_large": ERRORS["too_large"],
    "too_long": N_("That is too long; at most {limit} characters are taken."),
    "too_fast": N_("That was a little fast. Please wait a moment and try again."),
    "too_many": N_("The chat is open in too many windows. Close some of them."),
    "no_cookie": N_("This browser keeps no cookies for Madang. Allow them and load the page again."),
    "not_begun": N_("The first frame of a connection is “begin”."),
    "bad_token": N_("The token is not one that Madang gave. Begin without one to get a new one."),
    "bad_json": N_("That was not understood."),
    "bad_frame": N_("That was not understood."),
    "internal": ERRORS["internal"],
}
_LIMITS: Final = {"too_large": _FRAME_MAX_BYTES, "too_long": _TEXT_MAX}


def refusal(t: Translator, code: str, frame_id: str) -> dict[str, Any]:
    """The error frame of that code."""
    text = t(_WORDS[code], limit=_LIMITS.get(code, 0))
    return {"type": "error", "code": code, "text": text, "id": frame_id or None}
