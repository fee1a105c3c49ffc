"""What a message carries: its formatted text and its keyboard, checked as Telegram checks them."""

from collections.abc import Callable
from typing import Any, TypeVar

from aiogram.types import (
    ForceReply,
    InlineKeyboardButton,
    InlineKeyboardMarkup,
    KeyboardButton,
    MessageEntity,
    ReplyKeyboardMarkup,
    ReplyKeyboardRemove,
    User,
)
from pydantic import BaseModel, ValidationError

from .telegram_html import parse_html
from .telegram_links import WrongLink, normal_link
from .telegram_markdown import parse_markdown_v2
from .telegram_text import (
    FOUND_TYPES,
    GIVEN_TYPES,
    Entity,
    Formatted,
    WrongEntities,
    cleaned,
    is_blank,
    settled,
    utf16_length,
)
from .telegram_wire import JsonObject, Parameters, Refusal, bad_request

T = TypeVar("T", bound=BaseModel)

Markup = InlineKeyboardMarkup | ReplyKeyboardMarkup | ReplyKeyboardRemove | ForceReply

SOURCE_BYTES_MAX = 1 << 15
DATA_BYTES_MAX = 64
COPY_TEXT_MAX = 256
PLACEHOLDER_MAX = 64
# Telegram documents no number for these two; its clients show eight to a row, its server takes a hundred.
ROW_BUTTONS_MAX = 8
BUTTONS_MAX = 100

PARSERS: dict[str, Callable[[str], Formatted]] = {"html": parse_html, "markdownv2": parse_markdown_v2}
BUTTON_KINDS = tuple(
    name for name in InlineKeyboardButton.model_fields if name not in ("text", "style", "disabled")
)


def read_formatted(parameters: Parameters, text_name: str, entities_name: str) -> Formatted:
    """The text of a call after parse_mode or entities; may be blank, its length is not checked."""
    source = cleaned(parameters.text(text_name))
    if len(source.encode()) > SOURCE_BYTES_MAX:
        raise bad_request("Text is too long")
    mode = parameters.text("parse_mode").lower()
    if not source or mode in ("", "none"):
        given = parameters.decoded(entities_name) or []
        return settled(Formatted(source, tuple(_given_entities(given, utf16_length(source)))))
    if mode == "markdown":
        raise Refusal(501, "Not Implemented: the legacy Markdown parse mode is not played here")
    if mode not in PARSERS:
        raise bad_request("Unsupported parse_mode")
    try:
        return settled(PARSERS[mode](source))
    except WrongEntities as error:
        raise bad_request(f"Can't parse entities: {error}") from None


def read_message_text(parameters: Parameters) -> Formatted:
    """The text of a message, never empty; its greatest length differs between sending and editing."""
    if "text" not in parameters:
        raise bad_request("Message text is empty")
    formatted = read_formatted(parameters, "text", "entities")
    if is_blank(formatted.text):
        raise bad_request("Text must be non-empty")
    return formatted


def _given_entities(given: list[JsonObject], units: int) -> list[Entity]:
    result = []
    for one in given:
        kind, offset, length = one["type"], one["offset"], one["length"]
        if kind in FOUND_TYPES:
            continue
        if kind not in GIVEN_TYPES:
            raise bad_request("Can't parse MessageEntity: Unsupported type specified")
        if offset < 0 or length < 0:
            raise bad_request(f"Receive an entity with incorrect {'offset' if offset < 0 else 'length'}")
        detail = {key: value for key, value in one.items() if key not in ("type", "offset", "length", "user")}
        if kind == "text_link":
            if not one.get("url"):
                raise bad_request("Can't parse MessageEntity: Can't find field \"url\"")
            detail["url"] = _checked_link("text link", one["url"])
        if kind == "text_mention":
            detail["user_id"] = one["user"]["id"]
        result += [Entity(kind, offset, min(length, units - offset), detail)] if offset < units else []
    return result


def wire_entities(formatted: Formatted, user_of: Callable[[int], User | None]) -> list[MessageEntity] | None:
    """Entities as aiogram types; a mention of somebody unknown is dropped, as Telegram drops it."""
    result = []
    for entity in formatted.entities:
        detail = dict(entity.detail)
        if entity.type == "text_mention":
            user = user_of(detail.pop("user_id"))
            if user is None:
                continue
            detail["user"] = user
        result.append(MessageEntity(type=entity.type, offset=entity.offset, length=entity.length, **detail))
    return result or None


def read_markup(parameters: Parameters, *, private: bool, inline_only: bool = False) -> Markup | None:
    """The keyboard of a call; None when there is none, or an empty one."""
    given = parameters.decoded("reply_markup")
    if given is None:
        return None
    if not isinstance(given, dict):
        raise bad_request("Object expected as reply markup")
    kind = _markup_kind(given)
    if kind is None:
        return None
    if inline_only and kind is not InlineKeyboardMarkup:
        raise bad_request("Inline keyboard expected")
    _refuse_unknown(kind, given)
    if kind is InlineKeyboardMarkup:
        return _inline_keyboard(given["inline_keyboard"], private=private)
    if kind is ReplyKeyboardMarkup:
        given = given | {"keyboard": _reply_rows(given["keyboard"])}
    if utf16_length(str(given.get("input_field_placeholder") or "")) > PLACEHOLDER_MAX:
        raise bad_request("REPLY_MARKUP_PLACEHOLDER_TOO_LONG")
    return _validated(kind, given)


def _markup_kind(given: JsonObject) -> type[Markup] | None:
    if given.get("keyboard"):
        return ReplyKeyboardMarkup
    if given.get("inline_keyboard"):
        return InlineKeyboardMarkup
    if given.get("remove_keyboard"):
        return ReplyKeyboardRemove
    return ForceReply if given.get("force_reply") else None


def _refuse_unknown(kind: type[BaseModel], given: JsonObject) -> None:
    for name in given:
        if name not in kind.model_fields:
            raise bad_request(f'Can\'t parse {kind.__name__}: unknown field "{name}"')


def _validated(kind: type[T], given: JsonObject) -> T:
    _refuse_unknown(kind, given)
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        place = ".".join(str(step) for step in error.errors()[0]["loc"])
        raise bad_request(f'Can\'t parse {kind.__name__}: Field "{place}" is of the wrong type') from None


def _rows(given: Any, field: str, kind: str) -> list[list[Any]]:
    if not isinstance(given, list) or not all(isinstance(row, list) for row in given):
        raise bad_request(f'Field "{field}" of the {kind} must be an Array of Arrays')
    rows = [row for row in given if row]
    if sum(map(len, rows)) > BUTTONS_MAX or any(len(row) > ROW_BUTTONS_MAX for row in rows):
        raise bad_request("reply markup is too long")
    return rows


def _reply_rows(given: Any) -> list[list[KeyboardButton]]:
    rows = []
    for row in _rows(given, "keyboard", "ReplyKeyboardMarkup"):
        buttons = [{"text": button} if isinstance(button, str) else button for button in row]
        if not all(isinstance(button, dict) and button.get("text") for button in buttons):
            raise bad_request("Can't parse keyboard button: Keyboard button text must be non-empty")
        rows.append([_validated(KeyboardButton, button) for button in buttons])
    return rows


def _inline_keyboard(given: Any, *, private: bool) -> InlineKeyboardMarkup | None:
    rows = _rows(given, "inline_keyboard", "InlineKeyboardMarkup")
    buttons = [[_inline_button(button, private=private) for button in row] for row in rows]
    return InlineKeyboardMarkup(inline_keyboard=buttons) if buttons else None


def _inline_button(given: Any, *, private: bool) -> InlineKeyboardButton:
    if not isinstance(given, dict):
        raise bad_request("Can't parse inline keyboard button: InlineKeyboardButton must be an Object")
    for name in ("text", "url", "callback_data"):
        if not isinstance(given.get(name, ""), str):
            raise bad_request(f'Can\'t parse inline keyboard button: Field "{name}" must be of type String')
    if "text" not in given:
        raise bad_request("Can't parse inline keyboard button: Can't find field \"text\"")
    if not given["text"].strip():
        raise bad_request("Inline keyboard button text must be non-empty")
    kinds = [
        kind for kind in BUTTON_KINDS if given.get(kind) or (kind.startswith("switch") and kind in given)
    ]
    if not kinds:
        raise bad_request(
            "Can't parse inline keyboard button: Text buttons are unallowed in the inline keyboard"
        )
    if len(kinds) > 1:
        raise bad_request(
            f"Can't parse inline keyboard button: exactly one of {', '.join(kinds)} must be used"
        )
    return _button_of_kind(kinds[0], _validated(InlineKeyboardButton, given), private=private)


def _button_of_kind(kind: str, button: InlineKeyboardButton, *, private: bool) -> InlineKeyboardButton:
    if kind == "callback_data" and len(str(button.callback_data).encode()) > DATA_BYTES_MAX:
        raise bad_request("BUTTON_DATA_INVALID")
    if kind == "url":
        return button.model_copy(update={"url": _checked_link("inline keyboard button", str(button.url))})
    if kind == "web_app" and button.web_app:
        if not private:
            raise bad_request("BUTTON_TYPE_INVALID")
        _checked_link("inline keyboard button Web App", button.web_app.url, https_only=True)
    if (
        kind == "copy_text"
        and button.copy_text
        and not 0 < utf16_length(button.copy_text.text) <= COPY_TEXT_MAX
    ):
        raise bad_request("BUTTON_COPY_TEXT_INVALID")
    if kind in ("callback_game", "pay"):
        raise bad_request("BUTTON_TYPE_INVALID")
    return button


def _checked_link(place: str, link: str, *, https_only: bool = False) -> str:
    try:
        return normal_link(link, https_only=https_only)
    except WrongLink as error:
        raise bad_request(f"{place} URL '{link}' is invalid: {error}") from None
