"""Formatted text as Telegram keeps it: plain text beside entities whose offsets count UTF-16 code units."""

import re
from dataclasses import dataclass, field, replace
from typing import Any

from .telegram_links import WrongLink, mentioned_user_id, normal_link

MESSAGE_UNITS_MAX = 4096
CAPTION_UNITS_MAX = 1024

# Found by Telegram in any text; a bot cannot set them itself.
FOUND_TYPES = frozenset(
    {"mention", "hashtag", "cashtag", "bot_command", "url", "email", "phone_number", "bank_card_number"}
)
GIVEN_TYPES = frozenset(
    {
        *(
            "bold",
            "italic",
            "underline",
            "strikethrough",
            "spoiler",
            "code",
            "pre",
            "text_link",
            "text_mention",
        ),
        *("custom_emoji", "blockquote", "expandable_blockquote", "date_time"),
    }
)
CODE_TYPES = frozenset({"code", "pre"})

_FOUND = re.compile(
    r"(?P<url>\bhttps?://[^\s<>\"]*[^\s<>\".,;:!?)'\]])"
    r"|(?P<email>\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+)"
    r"|(?<![\w/<>])(?P<bot_command>/[A-Za-z0-9_]{1,64}(?:@[A-Za-z0-9_]{3,32})?)(?![\w/])"
    r"|(?<!\w)(?P<mention>@[A-Za-z][A-Za-z0-9_]{2,31})\b"
    r"|(?<!\w)(?P<hashtag>#(?!\d+\b)\w{1,256})"
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f]")
_INVISIBLE = " \n\t\u00a0\u200b\u200c\u200d\u2060\ufeff\u2800\u3164"


class WrongEntities(Exception):
    """The markup does not parse; the text is Telegram's, without "can't parse entities"."""


@dataclass(frozen=True)
class Entity:
    type: str
    offset: int
    length: int
    detail: dict[str, Any] = field(default_factory=dict)

    @property
    def end(self) -> int:
        return self.offset + self.length

    def with_detail(self, **detail: Any) -> "Entity":
        return replace(self, detail={key: value for key, value in detail.items() if value})

    def covers_same(self, other: "Entity") -> bool:
        return (self.offset, self.length) == (other.offset, other.length)


@dataclass(frozen=True)
class Formatted:
    text: str
    entities: tuple[Entity, ...] = ()


def utf16_length(text: str) -> int:
    return len(text) + sum(character > "\uffff" for character in text)


def utf16_slice(text: str, offset: int, length: int) -> str:
    return text.encode("utf-16-le")[offset * 2 : (offset + length) * 2].decode("utf-16-le", "ignore")


def link_entity(link: str, offset: int, length: int) -> Entity | None:
    """A text link, or a mention for tg://user; None when Telegram would drop the link without a word."""
    user_id = mentioned_user_id(link)
    if user_id:
        return Entity("text_mention", offset, length, {"user_id": user_id})
    try:
        return Entity("text_link", offset, length, {"url": normal_link(link)})
    except WrongLink:
        return None


def cleaned(text: str) -> str:
    return _CONTROL.sub(" ", text.replace("\r", ""))


def settled(formatted: Formatted) -> Formatted:
    """As it is shown: trimmed, code free of other entities, commands and links found, entities in order."""
    kept = formatted.text.rstrip()
    first = min((entity.offset for entity in formatted.entities), default=len(kept))
    leading = 0
    while leading < min(first, len(kept)) and kept[leading] in " \n":
        leading += 1
    text = kept[leading:]
    units = utf16_length(text)
    entities = [_moved(entity, leading, units) for entity in formatted.entities]
    given = _code_alone([entity for entity in entities if entity.length > 0])
    found = [
        entity
        for entity in _found(text)
        if not any(_overlap(entity, other) and other.type in CODE_TYPES | {"text_link"} for other in given)
    ]
    return Formatted(text, tuple(sorted([*given, *found], key=lambda one: (one.offset, -one.length))))


def is_blank(text: str) -> bool:
    return not text.strip(_INVISIBLE)


def _moved(entity: Entity, back: int, units: int) -> Entity:
    offset = entity.offset - back
    return replace(entity, offset=offset, length=min(entity.length, units - offset))


def _overlap(one: Entity, other: Entity) -> bool:
    return one.offset < other.end and other.offset < one.end


def _code_alone(entities: list[Entity]) -> list[Entity]:
    """Code and pre neither hold other entities nor lie in them: the others are cut around them."""
    codes = [entity for entity in entities if entity.type in CODE_TYPES]
    quotes = {"blockquote", "expandable_blockquote"}
    result = list(codes)
    for entity in entities:
        if entity.type in CODE_TYPES:
            continue
        pieces = [entity]
        for code in codes if entity.type not in quotes else ():
            pieces = [part for piece in pieces for part in _cut(piece, code)]
        result += pieces
    return result


def _cut(entity: Entity, hole: Entity) -> list[Entity]:
    if not _overlap(entity, hole):
        return [entity]
    before = replace(entity, length=hole.offset - entity.offset)
    after = replace(entity, offset=hole.end, length=entity.end - hole.end)
    return [part for part in (before, after) if part.length > 0]


def _found(text: str) -> list[Entity]:
    return [
        Entity(str(match.lastgroup), utf16_length(text[: match.start()]), utf16_length(match[0]))
        for match in _FOUND.finditer(text)
    ]
