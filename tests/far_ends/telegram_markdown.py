"""parse_mode MarkdownV2, with Telegram's words for a character that should have been escaped."""

from dataclasses import dataclass

from .telegram_text import Entity, Formatted, WrongEntities, link_entity, utf16_length

RESERVED = "_*[]()~`>#+-=|{}.!"
# Longest first: "__" must not be read as two "_".
MARKERS = (
    ("```", "pre"),
    ("__", "underline"),
    ("||", "spoiler"),
    ("![", "custom_emoji"),
    ("*", "bold"),
    ("_", "italic"),
    ("~", "strikethrough"),
    ("`", "code"),
    ("[", "text_link"),
)
TELEGRAM_NAMES = {
    "pre": "Pre",
    "underline": "Underline",
    "spoiler": "Spoiler",
    "custom_emoji": "CustomEmoji",
    "bold": "Bold",
    "italic": "Italic",
    "strikethrough": "Strikethrough",
    "code": "Code",
    "text_link": "TextUrl",
    "blockquote": "BlockQuote",
}
CLOSERS = {kind: marker for marker, kind in MARKERS} | {"text_link": "]", "custom_emoji": "]"}


@dataclass
class _Open:
    kind: str
    offset: int
    begins: int
    source_index: int
    language: str = ""


class _Reader:
    def __init__(self, source: str) -> None:
        self.source = source
        self.at = 0
        self.plain = ""
        self.open: list[_Open] = []
        self.entities: list[Entity] = []

    def read(self) -> Formatted:
        while self.at < len(self.source):
            self._step()
        if self._in_quote():
            self._close_quote()
        if self.open:
            self._fail_open()
        return Formatted(self.plain, tuple(self.entities))

    def _step(self) -> None:
        character = self.source[self.at]
        kind = self.open[-1].kind if self.open else ""
        following = self.source[self.at + 1 : self.at + 2]
        if character == "\\" and following and 0 < ord(following) <= 126:
            self._take(following, 2)
        elif kind and self._closes(kind):
            self._close()
        elif kind in ("code", "pre"):
            if character == "`":
                self._fail_reserved(character)
            self._take(character, 1)
        elif character == "\n" and self._in_quote() and not self.source.startswith(">", self.at + 1):
            self._close_quote()
            self._take(character, 1)
        elif character == ">" and self._at_line_start():
            if not self._in_quote():
                self._push("blockquote")
            self.at += 1
        elif character in RESERVED:
            self._start(character)
        else:
            self._take(character, 1)

    def _closes(self, kind: str) -> bool:
        if kind == "blockquote" or (kind == "italic" and self.source.startswith("__", self.at)):
            return False
        return self.source.startswith(CLOSERS[kind], self.at)

    def _take(self, text: str, width: int) -> None:
        self.plain += text
        self.at += width

    def _at_line_start(self) -> bool:
        return not self.plain or self.plain.endswith("\n")

    def _in_quote(self) -> bool:
        return any(one.kind == "blockquote" for one in self.open)

    def _push(self, kind: str) -> None:
        self.open.append(_Open(kind, utf16_length(self.plain), len(self.plain), self.at))

    def _start(self, character: str) -> None:
        for marker, kind in MARKERS:
            if self.source.startswith(marker, self.at):
                self._push(kind)
                self.at += len(marker)
                if kind == "pre":
                    self._language()
                return
        self._fail_reserved(character)

    def _language(self) -> None:
        line, newline, _ = self.source[self.at :].partition("\n")
        if newline and "`" not in line and " " not in line:
            self.open[-1].language = line
            self.at += len(line) + 1

    def _close(self) -> None:
        one = self.open.pop()
        self.at += len(CLOSERS[one.kind])
        length = utf16_length(self.plain) - one.offset
        target = self._target(one)
        entity = Entity(one.kind, one.offset, length)
        if one.kind == "custom_emoji":
            if not target.lower().startswith("tg://emoji?id=") or not target.rpartition("=")[2].isdecimal():
                raise WrongEntities("Invalid tg://emoji or tg://time URL specified")
            entity = entity.with_detail(custom_emoji_id=target.rpartition("=")[2])
        elif one.kind == "text_link":
            found = link_entity(target or self.plain[one.begins :], one.offset, length)
            self.entities += [found] if found and length else []
            return
        if length:
            self.entities.append(entity.with_detail(language=one.language) if one.language else entity)

    def _target(self, one: _Open) -> str:
        if one.kind not in ("text_link", "custom_emoji"):
            return ""
        if not self.source.startswith("(", self.at):
            if one.kind == "custom_emoji":
                raise WrongEntities("The entity must contain a tg://emoji or tg://time URL")
            return ""
        begin = self.at = self.at + 1
        target = ""
        while self.at < len(self.source) and self.source[self.at] != ")":
            if self.source[self.at] == "\\":
                self.at += 1
            target += self.source[self.at : self.at + 1]
            self.at += 1
        if self.at >= len(self.source):
            raise WrongEntities(f"Can't find end of a URL at byte offset {self._byte_offset(begin)}")
        self.at += 1
        return target

    def _close_quote(self) -> None:
        """A spoiler opened at the very end of a quotation is the mark that makes it expandable."""
        expandable = self.open[-1].kind == "spoiler" and self.open[-1].begins == len(self.plain)
        if expandable:
            self.open.pop()
        if self.open[-1].kind != "blockquote":
            self._fail_open()
        one = self.open.pop()
        length = utf16_length(self.plain) - one.offset
        if length:
            self.entities.append(
                Entity("expandable_blockquote" if expandable else "blockquote", one.offset, length)
            )

    def _byte_offset(self, index: int) -> int:
        return len(self.source[:index].encode())

    def _fail_open(self) -> None:
        one = self.open[-1]
        name = "PreCode" if one.language else TELEGRAM_NAMES[one.kind]
        raise WrongEntities(
            f"Can't find end of {name} entity at byte offset {self._byte_offset(one.source_index)}"
        )

    def _fail_reserved(self, character: str) -> None:
        raise WrongEntities(
            f"Character '{character}' is reserved and must be escaped with the preceding '\\'"
        )


def parse_markdown_v2(source: str) -> Formatted:
    """Plain text and entities; raises WrongEntities."""
    return _Reader(source).read()
