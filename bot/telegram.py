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
# By Telegram's language tag; people of all others ("") are spoken to in English, as `pick_locale` does.
_MENUS: Final = {"": "en", "ko": "ko"}
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
        dispatcher.message.register(
            self._on_group, F.chat.type.in_({ChatType.GROUP, ChatType.SUPERGROUP}), F.text
        )
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
        self._inbox.put(
            address, partial(self._talk.say, self, address, text, locale=locale, update_id=update_id)
        )

    async def _on_thing(self, message: Message) -> None:
        address = self._reachable(message)
        if self._thing_notices.due(address):
            t = translator(_locale(message.from_user))
            shown = _notice(t("I understand words and buttons. Write to me, or see what there is: /menu"), t)
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

    async def _on_group(self, message: Message) -> None:
        """Says where it is done, when asked; people who talk with one another are left in peace."""
        address = str(message.chat.id)
        if self._is_meant(message.text or "") and self._group_notices.due(address):
            t = translator(_locale(message.from_user))
            door = ShownButton(t("Write to me"), None, f"https://t.me/{self._username}?start=hi", "primary")
            shown = _notice(t("What you make is yours alone, so we talk about it in private."), t, door)
            self._inbox.put(address, partial(self.show, address, shown, None))

    def _is_meant(self, text: str) -> bool:
        command = _COMMAND.match(text)
        return (command is not None and command[1] is None) or f"@{self._username}".lower() in text.lower()

    async def _on_membership(self, change: ChatMemberUpdated) -> None:
        if change.new_chat_member.status == ChatMemberStatus.KICKED:
            self._outbox.bar(str(change.chat.id))
        else:
            self._outbox.unbar(str(change.chat.id))

    def _reachable(self, message: Message) -> str:
        """The address of a private chat; who writes there does not shut us out (any more)."""
        address = str(message.chat.id)
        self._outbox.unbar(address)
        return address


async def _on_bug(event: ErrorEvent) -> bool:
    log.error("update %s met a bug", event.update.update_id, exc_info=event.exception)
    return True


def _locale(user: User | None) -> str:
    return pick_locale(user.language_code if user else None)


def _without_mention(text: str) -> str:
    """The text "/new@madang_bot diary" is "/new diary": in a private chat nobody else can be meant."""
    command = _COMMAND.match(text)
    if command is None or command[1] is None:
        return text
    return text[: command.start(1)] + text[command.end(1) :]


def _commands(t: Translator) -> dict[str, str]:
    return {
        "new": t("Make something"),
        "apps": t("My things"),
        "menu": t("Menu"),
        "help": t("Help"),
        "settings": t("Settings"),
        "cancel": t("Stop what is half done"),
    }


def _notice(text: str, t: Translator, *buttons: ShownButton) -> Shown:
    """What this surface says by itself, outside of any conversation."""
    rows = (buttons,) if buttons else ()
    return Shown(text, "", "", rows=rows, ask=None, progress=(), elapsed_s=None, locale=t.locale)


# --- trouble


_OPERATOR_WORDS: Final[dict[Fault, str]] = {
    "token": "Telegram refuses the token. Set TELEGRAM_BOT_TOKEN to the one that @BotFather gave, and start again",
    "rival": "another program takes this bot's messages. Stop it, or give Madang a bot of its own from @BotFather",
    "webhook": "this bot's messages go to a webhook, which is being removed so that they come here",
    "busy": "Telegram asks to wait",
    "down": "Telegram cannot be reached; trying until it can",
}


def _wait_s(error: AiogramError, failures: int, timing: Timing) -> float:
    if isinstance(error, TelegramRetryAfter):
        return error.retry_after
    return timing.retry_most_s if fault(error) == "token" else timing.backoff_s(failures)


class _Trouble:
    """What keeps updates from coming. The operator reads of it when it begins, changes and ends."""

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self._failures = 0
        self._fault: Fault | None = None

    @property
    def now(self) -> bool:
        return self._failures > 0

    def met(self, error: AiogramError) -> float:
        """How many seconds to wait before trying again."""
        self._failures += 1
        found = fault(error)
        if found != self._fault:
            self._fault = found
            log.warning("%s (%s)", _OPERATOR_WORDS.get(found, "Telegram gives no messages"), told(error))
        if found == "webhook" and self._failures == 1:
            return 0.0
        return _wait_s(error, self._failures, self._timing)

    def over(self) -> bool:
        """Whether there was any until now."""
        was, self._failures, self._fault = self.now, 0, None
        if was:
            log.warning("Telegram answers again")
        return was


class _Seldom:
    """Something that is due once in `every_s` for each chat."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._last_s: dict[str, float] = {}

    def due(self, chat: str) -> bool:
        now_s = time.monotonic()
        self._last_s = {key: at_s for key, at_s in self._last_s.items() if now_s - at_s < self._every_s}
        return self._last_s.setdefault(chat, now_s) == now_s
