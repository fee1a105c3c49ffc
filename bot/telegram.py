"""The conversation in Telegram.

Updates come by long polling and are handed to aiogram's dispatcher, whose handlers only queue work: `Inbox` keeps the
order within a chat, `Outbox` what each chat is owed. A webhook would feed the same dispatcher.

Everything is done in private chats, where the address is the chat's number. A group is told so, and nothing else.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from functools import partial
from typing import Final

from aiogram import Dispatcher, F
from aiogram.enums import ChatMemberStatus, ChatType, ContentType
from aiogram.exceptions import AiogramError, TelegramRetryAfter
from aiogram.filters import CommandStart
from aiogram.types import CallbackQuery, ChatMemberUpdated, ErrorEvent, Message, Update, User

from bot.talk import Shown, ShownButton, Talk
from bot.telegram_client import Fault, TelegramClient, fault, told
from bot.telegram_inbox import Inbox
from bot.telegram_outbox import Outbox, Timing
from engine.errors import Broken, Transient
from engine.words import Translator, pick_locale, translator

log = logging.getLogger(__name__)

_TIMING: Final = Timing()
_GROUP_EVERY_S: Final = 3600.0
_THINGS_EVERY_S: Final = 3.0  # an album arrives as many messages
_MENUS: Final = {"": "en", "ko": "ko"}  # by Telegram's language; whoever has another one is spoken to in English
_COMMAND: Final = re.compile(r"/\w+(@\w+)?")
_THINGS: Final = frozenset(
    {
        ContentType.ANIMATION,
        ContentType.AUDIO,
        ContentType.CONTACT,
        ContentType.DICE,
        ContentType.DOCUMENT,
        ContentType.LOCATION,
        ContentType.PHOTO,
        ContentType.POLL,
        ContentType.STICKER,
        ContentType.STORY,
        ContentType.VENUE,
        ContentType.VIDEO,
        ContentType.VIDEO_NOTE,
        ContentType.VOICE,
    }
)


class TelegramSurface:
    """A talk.Surface. `run` carries it; nothing else has to be called."""

    name: str = "telegram"

    def __init__(self, token: str, base_url: str, talk: Talk, *, timing: Timing = _TIMING) -> None:
        """Raises Broken("bad_setting") for what cannot be a token. Connects nowhere yet."""
        self._talk = talk
        self._timing = timing
        self._client = TelegramClient(token, base_url, timing)
        self._inbox = Inbox()
        self._outbox = Outbox(self._client.deliver, timing)
        self._trouble = _Trouble(timing)
        self._dispatcher = self._routes()
        self._group_notices = _Seldom(_GROUP_EVERY_S)
        self._thing_notices = _Seldom(_THINGS_EVERY_S)
        self._username: str | None = None

    @property
    def username(self) -> str | None:
        """The bot's name without "@", once Telegram has said it."""
        return self._username

    async def identify(self) -> str:
        """The bot's name. Raises Broken("bad_setting") where the token is refused, Transient where nobody answers."""
        try:
            return await self._name()
        except AiogramError as error:
            if fault(error) == "token":
                raise Broken("bad_setting", detail=_OPERATOR_WORDS["token"]) from None
            raise Transient from None

    async def run(self) -> None:
        """Serves until cancelled, whatever Telegram does meanwhile. Then leaves a moment for what is under way."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._set_menus())
                group.create_task(self._poll())
        finally:
            await self._inbox.close(self._timing.grace_s)
            await self._outbox.close()
            await self._client.close()

    async def show(self, address: str, shown: Shown, replaces: str | None) -> str | None:
        """A new message has arrived when this returns. A redrawn one will: within a second, or when Telegram lets it;
        of several redrawings at once only the newest. Does not return any more once `run` has ended."""
        return await self._outbox.show(address, shown, replaces)

    # --- taking updates

    async def _poll(self) -> None:
        webhook = False
        while True:
            await self._inbox.wait_for_room()
            try:
                updates = await self._take(webhook=webhook)
            except AiogramError as error:
                webhook = fault(error) == "webhook"
                await asyncio.sleep(self._trouble.met(error))
                continue
            webhook = False
            if self._trouble.over():
                self._outbox.wake()
            for update in updates:
                await self._dispatcher.feed_update(self._client.bot, update)

    async def _take(self, *, webhook: bool) -> list[Update]:
        """After trouble asks without waiting, to know at once whether it is over."""
        await self._name()
        if webhook:
            await self._client.drop_webhook()
        kinds = self._dispatcher.resolve_used_update_types()
        return list(await self._client.updates(kinds, wait=not self._trouble.now))

    async def _name(self) -> str:
        if self._username is None:
            self._username = await self._client.username()
        return self._username

    async def _set_menus(self) -> None:
        trouble = 0
        for language, locale in _MENUS.items():
            while True:
                try:
                    await self._client.ensure_menu(language, _commands(translator(locale)))
                    break
                except AiogramError as error:
                    trouble += 1
                    if fault(error) == "wrong":
                        log.error("the menu of commands could not be set: %s", told(error))  # noqa: TRY400
                        break
                    await asyncio.sleep(_wait_s(error, trouble, self._timing))

    # --- what comes in

    def _routes(self) -> Dispatcher:
        dispatcher = Dispatcher(disable_fsm=True)
        private = F.chat.type == ChatType.PRIVATE
        dispatcher.message.register(self._on_start, private, CommandStart(ignore_mention=True))
        dispatcher.message.register(self._on_text, private, F.text)
        dispatcher.message.register(self._on_thing, private, F.content_type.in_(_THINGS))
        dispatcher.message.register(self._on_group, F.chat.type.in_({ChatType.GROUP, ChatType.SUPERGROUP}), F.text)
        dispatcher.callback_query.register(self._on_press)
        dispatcher.my_chat_member.register(self._on_membership, private)
        dispatcher.errors.register(_on_bug)
        return dispatcher

    async def _on_start(self, message: Message, event_update: Update) -> None:
        locale, update_id = _locale(message.from_user), str(event_update.update_id)
        address = self._reachable(message)
        self._inbox.put(address, partial(self._talk.begin, self, address, locale=locale, update_id=update_id))

    async def _on_text(self, message: Message, event_update: Update) -> None:
        locale, update_id = _locale(message.from_user), str(event_update.update_id)
        address, text = self._reachable(message), _without_mention(message.text or "")
        self._inbox.put(address, partial(self._talk.say, self, address, text, locale=locale, update_id=update_id))

    async def _on_thing(self, message: Message) -> None:
        address = self._reachable(message)
        if self._thing_notices.due(address):
            shown = _notice(translator(_locale(message.from_user)), _words_and_buttons_only)
            self._inbox.put(address, partial(self.show, address, shown, None))

    async def _on_press(self, query: CallbackQuery, event_update: Update) -> None:
        """The press is answered on a lane of its own: at once, whatever its chat is waiting for."""
        self._inbox.put(f"press {query.id}", partial(self._client.answer, query.id))
        message = query.message
        if message is None or query.data is None or message.chat.id != query.from_user.id:
            return
        address = str(message.chat.id)
        self._outbox.unbar(address)
        press = partial(
            self._talk.press,
            self,
            address,
            query.data,
            message_ref=str(message.message_id),
            locale=_locale(query.from_user),
            update_id=str(event_update.update_id),
        )
        self._inbox.put(address, press)
