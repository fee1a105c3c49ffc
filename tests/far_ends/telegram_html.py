"""parse_mode HTML: the tags Telegram takes, its entities, and its words for what it does not take."""

import re
from dataclasses import dataclass
from typing import NoReturn

from .telegram_text import Entity, Formatted, WrongEntities, link_entity, utf16_length

TYPE_BY_TAG = {
    "b": "bold",
    "strong": "bold",
    "i": "italic",
    "em": "italic",
    "u": "underline",
    "ins": "underline",
    "s": "strikethrough",
    "strike": "strikethrough",
    "del": "strikethrough",
    "tg-spoiler": "spoiler",
    "span": "spoiler",
    "code": "code",
    "pre": "pre",
    "blockquote": "blockquote",
    "a": "text_link",
    "tg-emoji": "custom_emoji",
    "tg-time": "date_time",
}
CHARACTERS = {"lt": "<", "gt": ">", "amp": "&", "quot": '"'}

_CHARACTER = re.compile(r"&(?:#x([0-9A-Fa-f]*)|#([0-9]*)|([A-Za-z]*));?")
_SPACE = " \t\r\n\v"


@dataclass(frozen=True)
class _Tag:
    name: str
    attributes: dict[str, str]
    offset: int
    begins: int  # index in the plain text


class _Reader:
    def __init__(self, source: str) -> None:
        self.source = source
        self.at = 0
        self.plain = ""
        self.open: list[_Tag] = []
        self.entities: list[Entity] = []

    def read(self) -> Formatted:
        while self.at < len(self.source):
            character = self.source[self.at]
            if character == "<":
                begin = self.at
                if self.source.startswith("</", begin):
                    self._end_tag(begin)
                else:
                    self._start_tag(begin)
            else:
                self.plain += self._character()
        if self.open:
            raise WrongEntities(f'Can\'t find end tag corresponding to start tag "{self.open[-1].name}"')
        return Formatted(self.plain, tuple(self.entities))

    def _character(self) -> str:
        """The next character, with a character reference resolved; an unknown one stands for itself."""
        found = _CHARACTER.match(self.source, self.at)
        if found is None:
            self.at += 1
            return self.source[self.at - 1]
        resolved = _resolved(found)
        self.at = found.end() if resolved else self.at + 1
        return resolved or "&"

    def _peek(self) -> str:
        return self.source[self.at] if self.at < len(self.source) else ""

    def _skip_space(self) -> None:
        while self._peek() and self._peek() in _SPACE:
            self.at += 1

    def _word(self, stops: str) -> str:
        begin = self.at
        while self._peek() and self._peek() not in stops:
            self.at += 1
        return self.source[begin : self.at]

    def _fail(self, what: str, index: int, rest: str = "") -> NoReturn:
        raise WrongEntities(f"{what} at byte offset {len(self.source[:index].encode())}{rest}")

    def _start_tag(self, begin: int) -> None:
        self.at += 1
        name = self._word(_SPACE + ">").lower()
        if not self._peek():
            self._fail("Unclosed start tag", begin)
        if name not in TYPE_BY_TAG:
            self._fail(f'Unsupported start tag "{name}"', begin)
        attributes: dict[str, str] = {}
        while True:
            self._skip_space()
            if self._peek() == ">":
                break
            key, value = self._attribute(name, begin)
            attributes.setdefault(key, value)
        self.at += 1
        if name == "span" and attributes.get("class") != "tg-spoiler":
            self._fail('Tag "span" must have class "tg-spoiler"', begin)
        self.open.append(_Tag(name, attributes, utf16_length(self.plain), len(self.plain)))

    def _attribute(self, tag: str, begin: int) -> tuple[str, str]:
        key = self._word(_SPACE + "=>/\"'")
        if not key:
            self._fail(f'Empty attribute name in the tag "{tag}"', begin)
        self._skip_space()
        if self._peek() != "=":
            if not self._peek():
                self._fail(f'Unclosed start tag "{tag}"', begin)
            return key, ""
        self.at += 1
        self._skip_space()
        if not self._peek():
            self._fail(f'Unclosed start tag "{tag}"', begin)
        value = self._quoted() if self._peek() in "\"'" else self._name_token()
        if not self._peek():
            self._fail("Unclosed start tag", begin)
        return key, value

    def _name_token(self) -> str:
        begin = self.at
        while re.match(r"[A-Za-z0-9.-]", self._peek()):
            self.at += 1
        if self._peek() and self._peek() not in _SPACE + ">":
            self._fail("Unexpected end of name token", begin)
        return self.source[begin : self.at].lower()

    def _quoted(self) -> str:
        quote = self._peek()
        self.at += 1
        value = ""
        while self._peek() and self._peek() != quote:
            value += self._character()
        self.at += 1
        return value

    def _end_tag(self, begin: int) -> None:
        if not self.open:
            self._fail("Unexpected end tag", begin)
        self.at += 2
        name = self._word(_SPACE + ">").lower()
        self._skip_space()
        if self._peek() != ">":
            self._fail("Unclosed end tag", begin)
        tag = self.open.pop()
        if name and name != tag.name:
            self._fail("Unmatched end tag", begin, f', expected "</{tag.name}>", found "</{name}>"')
        self.at += 1
        length = utf16_length(self.plain) - tag.offset
        if length:
            self._close(tag, length)

    def _close(self, tag: _Tag, length: int) -> None:
        entity = Entity(TYPE_BY_TAG[tag.name], tag.offset, length)
        if tag.name == "a":
            found = link_entity(tag.attributes.get("href") or self.plain[tag.begins :], tag.offset, length)
            self.entities += [found] if found else []
        elif tag.name == "tg-emoji":
            emoji = tag.attributes.get("emoji-id", "")
            if not emoji.isdecimal() or not int(emoji):
                raise WrongEntities("Invalid custom emoji identifier specified")
            self.entities.append(entity.with_detail(custom_emoji_id=emoji))
        elif tag.name == "tg-time":
            at = tag.attributes.get("unix", "")
            detail = {
                "unix_time": int(at) if at.isdecimal() else 0,
                "date_time_format": tag.attributes.get("format"),
            }
            self.entities += [entity.with_detail(**detail)] if detail["unix_time"] else []
        elif tag.name == "blockquote" and "expandable" in tag.attributes:
            self.entities.append(Entity("expandable_blockquote", tag.offset, length))
        elif tag.name in ("pre", "code"):
            self._close_code(tag, entity)
        else:
            self.entities.append(entity)

    def _close_code(self, tag: _Tag, entity: Entity) -> None:
        """<pre><code class="language-x"> is one `pre` that knows its language."""
        language = tag.attributes.get("class", "").removeprefix("language-") if tag.name == "code" else ""
        inner = self.entities[-1] if self.entities else None
        if tag.name == "pre" and inner and inner.type == "code" and inner.covers_same(entity):
            self.entities[-1] = entity.with_detail(language=inner.detail.get("language"))
        else:
            self.entities.append(entity.with_detail(language=language) if language else entity)


def _resolved(found: re.Match[str]) -> str:
    hexadecimal, decimal, name = found.groups()
    if name is not None:
        return CHARACTERS.get(name, "")
    digits = hexadecimal if hexadecimal is not None else decimal
    code = int(digits, 16 if hexadecimal is not None else 10) if digits else 0
    too_long = len(found[0].removesuffix(";")) >= 10
    is_surrogate = 0xD800 <= code <= 0xDFFF
    return "" if not 0 < code < 0x10FFFF or too_long or is_surrogate else chr(code)


def parse_html(source: str) -> Formatted:
    """Plain text and entities; raises WrongEntities."""
    return _Reader(source).read()
