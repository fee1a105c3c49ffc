"""The calls that one bot makes, and what Telegram's refusals mean. The token leaves this file in the requests only.

Telegram tells many refusals apart by their English descriptions alone; the table of those stands here and nowhere else.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, TypeVar

from aiogram import Bot
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer
from aiogram.exceptions import (
    AiogramError,
    ClientDecodeError,
    TelegramAPIError,
    TelegramBadRequest,
    TelegramConflictError,
    TelegramEntityTooLarge,
    TelegramForbiddenError,
    TelegramNetworkError,
    TelegramNotFound,
    TelegramRetryAfter,
    TelegramServerError,
    TelegramUnauthorizedError,
)
from aiogram.methods import EditMessageText, GetUpdates, SendMessage, TelegramMethod
from aiogram.types import BotCommand, BotCommandScopeAllPrivateChats, Update
from aiogram.utils.token import TokenValidationError
from pydantic import ValidationError

from bot.talk import Shown
from bot.telegram_outbox import Delivery, Timing
from bot.telegram_render import payload
from engine.errors import Broken

log = logging.getLogger(__name__)

_ANSWER_S: Final = 10  # a press may be answered for about so long
_POLL_SLACK_S: Final = 10

Fault = Literal[
    "busy", "down", "token", "rival", "webhook", "unreachable", "gone", "unchanged", "link", "wrong"
]
_KINDS: Final[tuple[tuple[type[AiogramError] | tuple[type[AiogramError], ...], Fault], ...]] = (
    (TelegramRetryAfter, "busy"),
    ((TelegramUnauthorizedError, TelegramNotFound), "token"),
    (TelegramForbiddenError, "unreachable"),
    (TelegramEntityTooLarge, "wrong"),
    ((TelegramNetworkError, TelegramServerError, ClientDecodeError), "down"),
)
_DESCRIPTIONS: Final[tuple[tuple[str, Fault], ...]] = (
    ("message is not modified", "unchanged"),
    ("message to edit not found", "gone"),
    ("message can't be edited", "gone"),
    ("message_id_invalid", "gone"),
    ("there is no text in the message", "gone"),
    ("chat not found", "unreachable"),
    ("peer_id_invalid", "unreachable"),
    ("not enough rights to send", "unreachable"),
    ("inline keyboard button url", "link"),
    ("button_url_invalid", "link"),
)

_Result = TypeVar("_Result")


def fault(error: AiogramError) -> Fault:
    """What a failed call means for us.

    `busy`: wait as told. `down`: no answer, or one from a platform in trouble. `token`: not ours. `rival`: somebody
    else polls. `webhook`: updates go to an address. `link`: a button may not lead there. `wrong`: our mistake.
    """
    said = error.message.lower() if isinstance(error, TelegramAPIError) else ""
    if isinstance(error, TelegramConflictError):
        return "webhook" if "webhook" in said else "rival"
    if isinstance(error, TelegramBadRequest):
        return next((meaning for words, meaning in _DESCRIPTIONS if words in said), "wrong")
    unknown: Fault = "down" if "too many requests" in said else "wrong"
    return next((meaning for kinds, meaning in _KINDS if isinstance(error, kinds)), unknown)


def told(error: AiogramError) -> str:
    """What the operator may read of it: never what people write."""
    return error.message if isinstance(error, TelegramAPIError) else type(error).__name__


class TelegramClient:
    """Raises AiogramError where nothing else is said. Not before the first call is there a connection."""

    def __init__(self, token: str, base_url: str, timing: Timing) -> None:
        """Raises Broken("bad_setting") for what cannot be a token."""
        self._timing = timing
        self._unconfirmed: int | None = None
        session = _DiscreetSession(token, TelegramAPIServer.from_base(base_url), float(timing.request_s))
        try:
            self.bot = Bot(token, session=session)
        except TokenValidationError:
            raise Broken("bad_setting", detail="TELEGRAM_BOT_TOKEN is not of the form 123456:ABC…") from None

    async def username(self) -> str:
        return (await self.bot.get_me()).username or ""

    async def updates(self, kinds: Sequence[str], *, wait: bool) -> Sequence[Update]:
        """What has come in since the call before, whose updates are confirmed by this one."""
        wait_s = self._timing.poll_s if wait else 0
        call = GetUpdates(offset=self._unconfirmed, timeout=wait_s, allowed_updates=list(kinds))
        try:
            updates = await self.bot(call, request_timeout=wait_s + _POLL_SLACK_S)
        except ClientDecodeError as error:
            updates = self._readable(error.data)
        if updates:
            self._unconfirmed = max(update.update_id for update in updates) + 1
        return updates

    def _readable(self, answer: Any) -> list[Update]:
        """One update of a kind or shape that is not known yet must not hold up those around it."""
        updates = []
        for raw in answer["result"]:
            self._unconfirmed = raw["update_id"] + 1
            try:
                updates.append(Update.model_validate(raw, context={"bot": self.bot}))
            except ValidationError:
                log.warning("update %s is of an unknown shape and was left out", raw["update_id"])
        return updates

    async def drop_webhook(self) -> None:
        """What waits for the webhook comes by polling afterwards."""
        await self.bot.delete_webhook(drop_pending_updates=False)

    async def ensure_menu(self, language: str, commands: Mapping[str, str]) -> None:
        """The menu of private chats for people with that Telegram language, "" for all others. Set only if it differs."""
        scope = BotCommandScopeAllPrivateChats()
        there = await self.bot.get_my_commands(scope=scope, language_code=language)
        if {command.command: command.description for command in there} != commands:
            wanted = [BotCommand(command=name, description=words) for name, words in commands.items()]
            await self.bot.set_my_commands(wanted, scope=scope, language_code=language)

    async def answer(self, query_id: str) -> None:
        """Ends the waiting sign of a pressed button. A failure is of no consequence."""
        try:
            await self.bot.answer_callback_query(query_id, request_timeout=_ANSWER_S)
        except AiogramError as error:
            log.info("a press could not be answered: %s", told(error))

    async def deliver(self, address: str, ref: str | None, shown: Shown) -> Delivery:
        """Sends it, or redraws the message `ref` with it. Does not raise AiogramError."""
        delivery, refused_link = await self._try(address, ref, shown, link_buttons=True)
        if refused_link:
            delivery, _ = await self._try(address, ref, shown, link_buttons=False)
        return delivery

    async def _try(
        self, address: str, ref: str | None, shown: Shown, *, link_buttons: bool
    ) -> tuple[Delivery, bool]:
        content = payload(shown, link_buttons=link_buttons)
        try:
            if ref is None:
                message = await self.bot(SendMessage(chat_id=address, **content))
                return Delivery("arrived", str(message.message_id)), False
            if not ref.isdecimal():
                return Delivery("gone"), False
            await self.bot(EditMessageText(chat_id=address, message_id=int(ref), **content))
        except AiogramError as error:
            return _failed(error, ref), fault(error) == "link"
        return Delivery("arrived", ref), False

    async def close(self) -> None:
        await self.bot.session.close()


def _failed(error: AiogramError, ref: str | None) -> Delivery:
    match fault(error):
        case "busy":
            assert isinstance(error, TelegramRetryAfter)
            return Delivery("busy", after_s=error.retry_after)
        case "unchanged":
            return Delivery("arrived", ref)
        case "gone":
            return Delivery("gone")
        case "unreachable":
            return Delivery("unreachable")
        case "down" | "token":
            return Delivery("down")
    return Delivery("wrong", detail=told(error))


class _DiscreetSession(AiohttpSession):
    """Errors of the connection may quote the address, and the address holds the token: they leave here without it."""

    def __init__(self, token: str, api: TelegramAPIServer, timeout_s: float) -> None:
        super().__init__(api=api, timeout=timeout_s)
        self._secrets = (token, token.partition(":")[2])

    async def make_request(
        self, bot: Bot, method: TelegramMethod[_Result], timeout: int | None = None
    ) -> _Result:
        failure: AiogramError
        try:
            return await super().make_request(bot, method, timeout)
        except TelegramAPIError as error:
            error.message = self._scrubbed(error.message)
            failure = error
        except ClientDecodeError as error:
            known_shape = isinstance(error.original, ValidationError)
            failure = error if known_shape else TelegramNetworkError(method, "the answer was not JSON")
        except (OSError, ValueError) as error:
            failure = TelegramNetworkError(method, self._scrubbed(f"{type(error).__name__}: {error}"))
        failure.__cause__ = failure.__context__ = None
        raise failure

    def _scrubbed(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "…")
        return text
