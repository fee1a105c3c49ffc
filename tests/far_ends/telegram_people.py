"""People who chat with the bot: what they type, press and send becomes updates; what the bot does they see."""

import mimetypes
from datetime import UTC, datetime
from typing import Any

from aiogram.enums import ChatMemberStatus
from aiogram.types import (
    CallbackQuery,
    Chat,
    ChatMemberBanned,
    ChatMemberMember,
    ChatMemberUpdated,
    InaccessibleMessage,
    Message,
    User,
)

from .telegram_chats import FIRST_GROUP_ID, ChatMessage, Press, Room, StoredFile, Toast, Wanted, World
from .telegram_markup import wire_entities
from .telegram_text import Formatted, cleaned, settled
from .telegram_updates import Queued

BLOCKED = "bot was blocked by the user"
KICKED = "bot was kicked from the supergroup chat"


class Group(Room):
    """A supergroup with the bot in it; its first member is its owner.

    With `privacy` (Telegram's default) the bot sees commands, mentions of it and replies to it, nothing else.
    """

    def __init__(self, world: World, title: str, *, username: str | None, privacy: bool) -> None:
        chat_id = FIRST_GROUP_ID - world.next_number()
        super().__init__(world, Chat(id=chat_id, type="supergroup", title=title, username=username))
        self.privacy = privacy
        self.bot_is_admin = False

    def shows_bot(self, message: Message) -> bool:
        if not self.privacy or self.bot_is_admin:
            return True
        text = message.text or message.caption or ""
        name = f"@{self.world.bot.username}"
        first = text.split(maxsplit=1)[0] if text.strip() else ""
        is_command = first.startswith("/") and ("@" not in first or first.endswith(name))
        replied = message.reply_to_message
        is_reply = bool(replied and replied.from_user and replied.from_user.id == self.world.bot.id)
        return is_command or is_reply or name in text

    def kick_bot(self, by: "Person") -> None:
        self.refusal = KICKED
        by.member_update(self, banned=True)

    def add_bot(self, by: "Person") -> None:
        self.refusal = ""
        by.member_update(self, banned=False)


class Person:
    """Somebody with a Telegram account, and their private chat with the bot."""

    def __init__(self, world: World, user: User, *, met: bool) -> None:
        self.world = world
        self.user = user
        chat = Chat(id=user.id, type="private", first_name=user.first_name, username=user.username)
        self.private = Room(world, chat)
        world.users[user.id] = user
        self.toasts: list[Toast] = world.toasts.setdefault(user.id, [])
        if met:
            self._open_private()

    @property
    def id(self) -> int:
        return self.user.id

    @property
    def messages(self) -> list[ChatMessage]:
        return self.private.messages

    @property
    def bot_messages(self) -> list[ChatMessage]:
        return self.private.bot_messages

    @property
    def revision(self) -> int:
        return self.private.revision

    @property
    def commands(self) -> list[str]:
        """The names in the command menu that this person sees in the private chat."""
        return [command.command for command in self.world.command_menu(self.private, self.user)]

    def transcript(self) -> str:
        return self.private.transcript()

    async def wait_for(self, wanted: Wanted, timeout: float = 5.0, *, since: int = 0) -> ChatMessage:
        return await self.private.wait_for(wanted, timeout, since=since)

    async def wait_for_toast(self, text: str, timeout: float = 5.0) -> Toast:
        def found() -> Toast | None:
            return next((toast for toast in reversed(self.toasts) if text in toast.text), None)

        try:
            return await self.world.changes.wait_until(found, timeout)
        except TimeoutError:
            raise TimeoutError(f"no toast with {text!r}, only {self.toasts}\n{self.transcript()}") from None

    async def send(
        self, text: str, *, chat: Room | None = None, reply_to: ChatMessage | None = None, wait: bool = True
    ) -> ChatMessage:
        """Types a message; returns when the bot has been given it (at once with wait=False)."""
        formatted = settled(Formatted(cleaned(text)))
        assert formatted.text, "an empty message cannot be sent"
        entities = wire_entities(formatted, self.world.users.get)
        return await self._say(chat, wait=wait, reply_to=reply_to, text=formatted.text, entities=entities)

    async def send_document(
        self, name: str, content: bytes, *, caption: str = "", chat: Room | None = None, wait: bool = True
    ) -> ChatMessage:
        mime_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
        file = self.world.store("document", name, mime_type, content)
        return await self._say(chat, wait=wait, file=file, document=file.as_document(), **_caption(caption))

    async def send_photo(
        self, content: bytes, *, caption: str = "", chat: Room | None = None, wait: bool = True
    ) -> ChatMessage:
        file = self.world.store("photo", "photo.jpg", "image/jpeg", content)
        return await self._say(chat, wait=wait, file=file, photo=file.as_photo(), **_caption(caption))

    async def edit(self, message: ChatMessage, text: str, *, wait: bool = True) -> None:
        """Rewrites a message of one's own."""
        assert message.current.from_user == self.user, "only one's own messages"
        formatted = settled(Formatted(cleaned(text)))
        now = self.world.clock.now()
        entities = wire_entities(formatted, self.world.users.get)
        message.change(None, now, text=formatted.text, entities=entities, edit_date=int(now.timestamp()))
        queued = self.world.updates.add("edited_message", message.current, message.room.id)
        await self._delivered(queued, wait=wait)

    def delete(self, message: ChatMessage) -> None:
        """Removes a message for both sides; Telegram tells the bot nothing."""
        message.delete()

    async def press(
        self, label: str, message: ChatMessage | None = None, *, chat: Room | None = None, wait: bool = True
    ) -> Press | None:
        """Presses the button on this message, or on the newest one that has it, or a key of the reply keyboard.

        Returns when the bot has been given it; None for a key, which only sends its text.
        """
        room = message.room if message else chat or self.private
        candidates = [message] if message else list(reversed(room.bot_messages))
        for candidate in candidates:
            button = candidate.button(label)
            if button and not candidate.deleted:
                assert button.callback_data is not None, f"[{button.text}] is a link to {button.url}"
                return await self.press_raw(button.callback_data, candidate, wait=wait)
        if message is None and any(label in row for row in room.reply_keyboard):
            await self.send(label, chat=room, wait=wait)
            return None
        raise AssertionError(f"no button {label!r}\n{room.transcript()}")

    async def press_raw(self, data: str, message: ChatMessage, *, wait: bool = True) -> Press:
        """A press with any data on any message, as an old or a forged client would send it."""
        room = message.room
        press = Press(
            str(4_000_000_000_000 + self.world.next_number()),
            self.id,
            self.world.clock.now(),
            self.world.changes,
        )
        self.world.presses[press.id] = press
        shown: Message | InaccessibleMessage = message.current
        if message.deleted:
            shown = InaccessibleMessage(chat=room.info, message_id=message.id, date=0)
        query = CallbackQuery(
            id=press.id,
            from_user=self.user,
            chat_instance=str(hash(room.id) % (1 << 62)),
            message=shown,
            data=data,
        )
        # Telegram keeps presses in order for each person, whatever the chat.
        queued = self.world.updates.add("callback_query", query, self.id)
        press.update_id = queued.update_id if queued else None
        await self._delivered(queued, wait=wait)
        return press

    def block(self) -> None:
        self.private.refusal = BLOCKED
        self.member_update(self.private, banned=True)

    def unblock(self) -> None:
        self.private.refusal = ""
        self.member_update(self.private, banned=False)

    def member_update(self, room: Room, *, banned: bool) -> None:
        """Tells the bot that this person has put it out of a chat, or let it back in."""
        bot = self.world.bot
        out = ChatMemberBanned(
            status=ChatMemberStatus.KICKED, user=bot, until_date=datetime.fromtimestamp(0, UTC)
        )
        before = ChatMemberMember(status=ChatMemberStatus.MEMBER, user=bot)
        change = ChatMemberUpdated(
            chat=room.info,
            from_user=self.user,
            date=self._now(),
            old_chat_member=before if banned else out,
            new_chat_member=out if banned else before,
        )
        self.world.updates.add("my_chat_member", change, room.id)

    def _now(self) -> datetime:
        return self.world.clock.now().replace(microsecond=0)

    def _open_private(self) -> None:
        self.world.rooms[self.id] = self.private

    async def _say(
        self,
        chat: Room | None,
        *,
        wait: bool,
        reply_to: ChatMessage | None = None,
        file: StoredFile | None = None,
        **content: Any,
    ) -> ChatMessage:
        room = chat or self.private
        if room is self.private:
            assert not room.refusal, "somebody who has blocked the bot must unblock it before writing"
            self._open_private()
        else:
            assert self.id in self.world.members[room.id], "not a member of this group"
        message = Message(
            message_id=self.world.next_message_id(room),
            date=self._now(),
            chat=room.info,
            from_user=self.user,
            reply_to_message=reply_to.current.model_copy(update={"reply_to_message": None})
            if reply_to
            else None,
            **content,
        )
        said = room.put(ChatMessage(room, message, None, file))
        visible = not isinstance(room, Group) or (not room.refusal and room.shows_bot(message))
        queued = self.world.updates.add("message", message, room.id) if visible else None
        await self._delivered(queued, wait=wait)
        return said

    async def _delivered(self, queued: Queued | None, *, wait: bool) -> None:
        if queued is None or not wait:
            return
        timeout_s = self.world.limits.delivery_timeout_s
        try:
            await self.world.changes.wait_until(lambda: queued.deliveries > 0, timeout_s)
        except TimeoutError:
            raise TimeoutError(
                f"update {queued.update_id} was not taken within {timeout_s} s: is the bot polling?\n{self.transcript()}"
            ) from None


def _caption(text: str) -> dict[str, Any]:
    formatted = settled(Formatted(cleaned(text)))
    return {"caption": formatted.text or None, "caption_entities": wire_entities(formatted, lambda _: None)}
