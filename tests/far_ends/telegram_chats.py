"""Chats as people see them: messages with their edits, keyboards to press, and a transcript for a failed test."""

import mimetypes
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from aiogram.types import (
    Chat,
    Document,
    InlineKeyboardButton,
    InlineKeyboardMarkup,
    Message,
    MessageEntity,
    PhotoSize,
    ReplyKeyboardMarkup,
    User,
)

from .telegram_limits import Clock, Limits
from .telegram_markup import Markup
from .telegram_updates import Changes, UpdateQueue

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
T = TypeVar("T")

FIRST_GROUP_ID = -1_001_000_000_001


@dataclass(frozen=True)
class StoredFile:
    file_id: str
    kind: str  # "document" or "photo"
    name: str
    mime_type: str
    content: bytes

    @property
    def unique_id(self) -> str:
        return f"u{self.file_id[2:]}"

    @property
    def path(self) -> str:
        """Where getFile says that it is."""
        return f"{self.kind}s/file_{self.file_id[2:]}{mimetypes.guess_extension(self.mime_type) or ''}"

    def as_document(self) -> Document:
        return Document(
            file_id=self.file_id,
            file_unique_id=self.unique_id,
            file_name=self.name,
            mime_type=self.mime_type,
            file_size=len(self.content),
        )

    def as_photo(self) -> list[PhotoSize]:
        width, height = 640, 480  # only PNG says its size where we look
        if self.content.startswith(PNG_MAGIC):
            width, height = struct.unpack(">II", self.content[16:24])
        size = PhotoSize(
            file_id=self.file_id,
            file_unique_id=self.unique_id,
            width=width,
            height=height,
            file_size=len(self.content),
        )
        return [size]


@dataclass(frozen=True)
class Version:
    """How a message looked from `at` on."""

    text: str
    entities: tuple[MessageEntity, ...]
    buttons: tuple[tuple[str, ...], ...]
    at: datetime


class ChatMessage:
    """One message as it stands now; stays the same object through edits and deletion."""

    def __init__(
        self, room: "Room", current: Message, markup: Markup | None, file: StoredFile | None
    ) -> None:
        self.room = room
        self.current = current
        self.markup = markup
        self.file = file
        self.deleted_at: datetime | None = None
        self.revision = 0
        self.history: list[Version] = [self._version(current.date)]

    def __repr__(self) -> str:
        return f"<{self.id} {self.text!r} {self.buttons}>"

    @property
    def id(self) -> int:
        return self.current.message_id

    @property
    def text(self) -> str:
        """Plain text as it is read, or the caption."""
        return self.current.text or self.current.caption or ""

    @property
    def html(self) -> str:
        return self.current.html_text

    @property
    def entities(self) -> tuple[MessageEntity, ...]:
        return tuple(self.current.entities or self.current.caption_entities or ())

    @property
    def from_bot(self) -> bool:
        return bool(self.current.from_user and self.current.from_user.is_bot)

    @property
    def deleted(self) -> bool:
        return self.deleted_at is not None

    @property
    def edits(self) -> int:
        return len(self.history) - 1

    @property
    def keyboard(self) -> list[list[InlineKeyboardButton]]:
        return self.markup.inline_keyboard if isinstance(self.markup, InlineKeyboardMarkup) else []

    @property
    def buttons(self) -> list[list[str]]:
        """Labels, row by row."""
        return [[button.text for button in row] for row in self.keyboard]

    def button(self, label: str) -> InlineKeyboardButton | None:
        """The button of exactly this label, else the first whose label holds it."""
        everything = [button for row in self.keyboard for button in row]
        exact = [button for button in everything if button.text == label]
        near = [button for button in everything if label in button.text]
        return next(iter(exact + near), None)

    def _version(self, at: datetime) -> Version:
        return Version(self.text, self.entities, tuple(map(tuple, self.buttons)), at)

    def change(self, markup: Markup | None, at: datetime, **fields: Any) -> None:
        inline = markup if isinstance(markup, InlineKeyboardMarkup) else None
        self.markup = markup
        self.current = self.current.model_copy(update={**fields, "reply_markup": inline})
        self.history.append(self._version(at))
        self._changed()

    def delete(self) -> None:
        self.deleted_at = self.room.world.clock.now()
        self._changed()

    def _changed(self) -> None:
        self.revision = self.room.world.changes.announce()

    def lines(self) -> Iterator[str]:
        who = self.current.from_user.first_name if self.current.from_user else "?"
        marks = [f"edited {self.edits}x"] if self.edits else []
        marks += ["deleted"] if self.deleted else []
        marks += [f"file {self.file.name} ({len(self.file.content)} bytes)"] if self.file else []
        yield f"#{self.id} {who}{' [' + ', '.join(marks) + ']' if marks else ''}: {self.text}"
        for row in self.buttons:
            yield "    " + " ".join(f"[{label}]" for label in row)
        if isinstance(self.markup, ReplyKeyboardMarkup):
            for keys in self.markup.keyboard:
                yield "    " + " ".join(f"({key.text})" for key in keys)


Wanted = str | Callable[[ChatMessage], bool]


class Room:
    """A chat, private or group. `wait_for` looks at what the bot says, never at what people say."""

    def __init__(self, world: "World", chat: Chat) -> None:
        self.world = world
        self.info = chat
        self.everything: list[ChatMessage] = []
        self.actions: list[str] = []
        self.refusal = ""  # why the bot may not write here, in Telegram's words
        self.menu_button: dict[str, Any] | None = None

    @property
    def id(self) -> int:
        return self.info.id

    @property
    def is_private(self) -> bool:
        return self.info.type == "private"

    @property
    def messages(self) -> list[ChatMessage]:
        """Everything in the chat, oldest first, deleted messages too (see their `deleted`)."""
        return list(self.everything)

    @property
    def bot_messages(self) -> list[ChatMessage]:
        """What the bot has said and not deleted, oldest first."""
        return [message for message in self.everything if message.from_bot and not message.deleted]

    @property
    def revision(self) -> int:
        """A mark for `wait_for(since=…)`: grows with whatever happens anywhere."""
        return self.world.changes.count

    @property
    def reply_keyboard(self) -> list[list[str]]:
        """The keys below the input field, as the newest message that speaks of them left them."""
        for message in reversed(self.bot_messages):
            if isinstance(message.markup, ReplyKeyboardMarkup):
                return [[key.text for key in row] for row in message.markup.keyboard]
            if message.markup is not None and not message.keyboard:
                return []
        return []

    def message(self, message_id: int) -> ChatMessage | None:
        return next((one for one in self.everything if one.id == message_id and not one.deleted), None)

    def put(self, message: ChatMessage) -> ChatMessage:
        self.everything.append(message)
        message.revision = self.world.changes.announce()
        return message

    async def wait_for(self, wanted: Wanted, timeout: float = 5.0, *, since: int = 0) -> ChatMessage:
        """The newest message of the bot whose text holds `wanted` (or for which it is true), once there is one.

        A message that already stands counts, unless nothing has happened to it after `since`. Raises TimeoutError
        with the transcript.
        """

        def found() -> ChatMessage | None:
            fresh = [message for message in self.bot_messages if message.revision > since]
            return next((message for message in reversed(fresh) if _satisfies(message, wanted)), None)

        return await self._waited(found, timeout, f"no message of the bot satisfies {wanted!r}")

    async def wait_until(self, condition: Callable[[], bool], timeout: float = 5.0) -> None:
        """Until a condition holds that depends on this chat; raises TimeoutError with the transcript."""
        await self._waited(condition, timeout, "the condition never held")

    async def _waited(self, probe: Callable[[], T | None], timeout: float, complaint: str) -> T:
        try:
            return await self.world.changes.wait_until(probe, timeout)
        except TimeoutError:
            raise TimeoutError(f"{complaint} within {timeout} s\n{self.transcript()}") from None

    def transcript(self) -> str:
        title = self.info.title or self.info.first_name or ""
        lines = [line for message in self.everything for line in message.lines()]
        return "\n".join([f"--- chat {self.id} ({title})", *(lines or ["(nothing yet)"]), "---"])


def _satisfies(message: ChatMessage, wanted: Wanted) -> bool:
    return wanted in message.text if isinstance(wanted, str) else wanted(message)


@dataclass(frozen=True)
class Toast:
    """What answerCallbackQuery showed: a passing line, or an alert to be closed."""

    text: str
    show_alert: bool
    url: str
    at: datetime


@dataclass
class Press:
    """A pressed button; `answered_at` is set when its spinner stops."""

    id: str
    user_id: int
    pressed_at: datetime
    changes: Changes
    update_id: int | None = None
    answered_at: datetime | None = None
    toast: Toast | None = None

    async def answer(self, timeout: float = 5.0) -> Toast | None:
        """Waits for the bot to answer; None when it answered without words. Raises TimeoutError."""
        await self.changes.wait_until(lambda: self.answered_at, timeout)
        return self.toast


@dataclass
class World:
    """Everything that the bot's methods and the people share."""

    bot: User
    token: str
    local_mode: bool
    limits: Limits
    clock: Clock
    changes: Changes
    updates: UpdateQueue
    rooms: dict[int, Room] = field(default_factory=dict)
    users: dict[int, User] = field(default_factory=dict)
    toasts: dict[int, list[Toast]] = field(default_factory=dict)
    members: dict[int, list[int]] = field(default_factory=dict)
    presses: dict[str, Press] = field(default_factory=dict)
    files: dict[str, StoredFile] = field(default_factory=dict)
    downloads: dict[str, StoredFile] = field(default_factory=dict)
    commands: dict[tuple[str, str], list[Any]] = field(default_factory=dict)
    profile: dict[tuple[str, str], str] = field(default_factory=dict)
    menu_button: dict[str, Any] = field(default_factory=lambda: {"type": "commands"})
    logged_out: bool = False
    _last_message_id: int = 0
    _last_number: int = 0

    def next_message_id(self, room: Room) -> int:
        """Supergroups count for themselves; all other chats of a bot share one row of numbers."""
        if room.is_private:
            self._last_message_id += 1
            return self._last_message_id
        return max((message.id for message in room.everything), default=0) + 1

    def next_number(self) -> int:
        self._last_number += 1
        return self._last_number

    def room(self, chat_id: str) -> Room | None:
        """By number, or by @username for a group that has one. A person who never wrote is not found."""
        if chat_id.startswith("@"):
            named = [room for room in self.rooms.values() if not room.is_private]
            return next((room for room in named if room.info.username == chat_id[1:]), None)
        try:
            return self.rooms.get(int(chat_id))
        except ValueError:
            return None

    def store(self, kind: str, name: str, mime_type: str, content: bytes) -> StoredFile:
        prefix = {"document": "BQ", "photo": "Ag"}[kind]
        file = StoredFile(f"{prefix}ACAgUAAx{self.next_number():08d}", kind, name, mime_type, content)
        self.files[file.file_id] = file
        return file

    def command_menu(self, room: Room, user: User) -> list[Any]:
        """What this person sees in this chat, by the order of scopes in the documentation."""
        is_admin = not room.is_private and self.members[room.id][:1] == [user.id]
        scopes = [f"chat_member:{room.id}:{user.id}"] if not room.is_private else []
        scopes += [f"chat_administrators:{room.id}"] if is_admin else []
        scopes.append(f"chat:{room.id}")
        scopes += ["all_chat_administrators"] if is_admin else []
        scopes += ["all_private_chats" if room.is_private else "all_group_chats", "default"]
        for scope in scopes:
            for language in (user.language_code or "", ""):
                if (scope, language) in self.commands:
                    return self.commands[scope, language]
        return []
