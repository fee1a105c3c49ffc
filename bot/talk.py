"""Carries a conversation: reads what a step may look at, runs the step and its commands, keeps the state, shows the
screen, and follows an operation's progress into the message that shows it.

Every surface is driven through here, so that all of them behave alike. State is written before a screen is shown: a
restart at any moment finds the talk where the person last saw it, or one answer further.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol
from weakref import WeakValueDictionary

from bot.conversation import flows
from bot.conversation.model import (
    Action,
    Ask,
    Began,
    Button,
    ChangeApp,
    Command,
    CreateApp,
    Given,
    LookAt,
    OperationNews,
    Outcome,
    Pressed,
    ProgressStep,
    ReadLogs,
    Said,
    Screen,
    SetLocale,
    SignUp,
    State,
    Style,
    View,
)
from engine import metrics
from engine.domain import Account, Actor, Event, Operation
from engine.errors import MadangError, NotFound
from engine.ports import Clock
from engine.service.accounts import AccountService
from engine.service.apps import AppService
from engine.service.conversations import Chat, ConversationService, Watch
from engine.words import translator

log = logging.getLogger(__name__)

_STEPS_MAX: Final = 8  # a turn that has not come to a screen by then is a bug
_REDRAW_S: Final = 1.0  # an elapsed time is redrawn this often at most; Telegram allows one edit a second


@dataclass(frozen=True, slots=True)
class ShownButton:
    """`id` for what it does (at most 16 characters), or `url` for what it opens; never both."""

    label: str
    id: str | None
    url: str | None
    style: Style


@dataclass(frozen=True, slots=True)
class Shown:
    """A screen as a surface gets it: words, and buttons with opaque ids."""

    text: str
    title: str
    code: str
    rows: Sequence[Sequence[ShownButton]]
    ask: Ask | None
    progress: Sequence[ProgressStep]
    elapsed_s: float | None
    locale: str


class Surface(Protocol):
    """Where a conversation is shown."""

    name: str

    async def show(self, address: str, shown: Shown, replaces: str | None) -> str | None:
        """Shows it to the chat at `address`: in place of the message `replaces` where that can be done, else as a new
        message. Returns the message's reference, None where nothing could be shown. Does not raise for a chat that
        cannot be reached."""


class Talk:
    def __init__(
        self,
        *,
        accounts: AccountService,
        apps: AppService,
        conversations: ConversationService,
        clock: Clock,
        address_pattern: str,
        trash_days: int,
    ) -> None:
        self._accounts = accounts
        self._apps = apps
        self._conversations = conversations
        self._clock = clock
        self._address_pattern = address_pattern
        self._trash_days = trash_days
        self._locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()
        self._followers: dict[tuple[str, str], asyncio.Task[None]] = {}

    async def say(
        self, surface: Surface, address: str, text: str, *, locale: str, update_id: str | None = None
    ) -> None:
        """The person typed something."""
        given: Given = Began() if text.strip() == "/start" else Said(text)
        await self._handle(surface, address, given, locale, None, update_id)

    async def begin(
        self, surface: Surface, address: str, *, locale: str, update_id: str | None = None
    ) -> None:
        """The person opened the chat."""
        await self._handle(surface, address, Began(), locale, None, update_id)

    async def press(
        self,
        surface: Surface,
        address: str,
        button_id: str,
        *,
        message_ref: str | None,
        locale: str,
        update_id: str | None = None,
    ) -> None:
        """The person pressed a button of the message `message_ref`."""
        await self._handle(surface, address, button_id, locale, message_ref, update_id)

    async def resume(self, surface: Surface) -> None:
        """After a restart: goes on to show the progress that chats of this surface were watching."""
        for watch in await self._conversations.watches(surface.name):
            self._follow(surface, watch)

    async def close(self) -> None:
        """Lets go of what is being followed; `resume` takes it up again."""
        followers = list(self._followers.values())
        for task in followers:
            task.cancel()
        await asyncio.gather(*followers, return_exceptions=True)

    async def _handle(
        self,
        surface: Surface,
        address: str,
        given: Given | str,
        locale: str,
        message_ref: str | None,
        update_id: str | None,
    ) -> None:
        started = time.monotonic()
        outcome = "done"
        try:
            if update_id is not None and not await self._conversations.first_seen(surface.name, update_id):
                outcome = "seen"
                return
            lock = self._locks.setdefault((surface.name, address), asyncio.Lock())
            async with lock:
                await self._turn(surface, address, given, locale, message_ref)
        except MadangError as error:
            outcome = "failed"
            log.warning("a chat input could not be handled: %s", error)
            await surface.show(address, _shown(Screen(translator(locale).error(error)), locale, ()), None)
        except Exception:
            outcome = "bug"
            raise
        finally:
            metrics.CHAT_UPDATES.labels(surface.name, outcome).inc()
            metrics.CHAT_SECONDS.labels(surface.name).observe(time.monotonic() - started)

    async def _turn(
        self, surface: Surface, address: str, given: Given | str, locale: str, message_ref: str | None
    ) -> None:
        chat, account = await self._conversations.open(surface.name, address, locale)
        if isinstance(given, str):
            given = Pressed(await self._conversations.action(chat, given))
        chat, screen = await self._step(chat, account, given)
        shown = await self._keep(chat, screen)
        ref = await surface.show(address, shown, message_ref if screen.again else None)
        if screen.watch is not None:
            watch = Watch(chat, screen.watch, ref)
            await self._conversations.watch(watch)
            self._follow(surface, watch)

    async def _step(self, chat: Chat, account: Account | None, given: Given) -> tuple[Chat, Screen]:
        """Steps, runs the command, steps with its outcome, ... until there is a screen."""
        state = State(**chat.state) if chat.state else State()
        for _ in range(_STEPS_MAX):
            view = await self._view(chat, account)
            turn = flows.step(state, given, view)
            state = turn.state
            if turn.command is None:
                assert turn.screen is not None
                return replace(chat, state={"at": state.at, "data": dict(state.data)}), turn.screen
            given, chat, account = await self._run(turn.command, chat, account)
        raise AssertionError(f"no screen after {_STEPS_MAX} steps, at {state.at}")

    async def _view(self, chat: Chat, account: Account | None) -> View:
        usable = account is not None and account.approved and not account.must_change_password
        return View(
            t=translator(chat.locale),
            now=self._clock.now(),
            account=account,
            apps=await self._apps.list(Actor(account, chat.surface)) if account and usable else (),
            templates=self._apps.templates(),
            address_pattern=self._address_pattern,
            trash_days=self._trash_days,
        )

    async def _run(
        self, command: Command, chat: Chat, account: Account | None
    ) -> tuple[Outcome, Chat, Account | None]:
        try:
            match command:
                case SignUp(handle):
                    account = await self._accounts.sign_up_in_chat(
                        username=handle, locale=chat.locale, via=chat.surface
                    )
                    return Outcome(command), replace(chat, account_id=account.id), account
                case SetLocale(locale):
                    return Outcome(command), replace(chat, locale=locale), account
                case _:
                    assert account is not None
                    return (
                        Outcome(command, await self._ask(command, Actor(account, chat.surface))),
                        chat,
                        account,
                    )
        except MadangError as error:
            reference = secrets.token_hex(4)
            log.info("refused in a chat [%s]: %s", reference, error)
            return Outcome(command, error=error, reference=reference), chat, account

    async def _ask(self, command: Command, actor: Actor) -> Any:
        match command:
            case CreateApp(wish):
                return (await self._apps.create(actor, wish))[1]
            case ChangeApp(app_id, kind):
                app = (await self._apps.get_by_id(actor, app_id)).app
                return await self._apps.change(actor, app.userid, app.name, kind)
            case LookAt(app_id):
                view = await self._apps.get_by_id(actor, app_id)
                return view, await self._apps.stats(view)
            case ReadLogs(app_id, lines):
                view = await self._apps.get_by_id(actor, app_id)
                return view, await self._apps.logs(actor, view.app.userid, view.app.name, lines=lines)
        raise AssertionError(command)

    async def _keep(self, chat: Chat, screen: Screen) -> Shown:
        """Stores state and buttons, and gives the buttons their ids."""
        actions: list[Action] = [b.action for row in screen.rows for b in row if b.action is not None]
        screen_id = await self._conversations.save(chat, actions)
        numbers = iter(range(len(actions)))
        return _shown(
            screen, chat.locale, [[_shown_button(b, screen_id, numbers) for b in row] for row in screen.rows]
        )

    # --- progress

    def _follow(self, surface: Surface, watch: Watch) -> None:
        key = (watch.chat.id, watch.operation_id)
        if key in self._followers:
            return  # the same operation asked for twice: its first message goes on to show it
        task = asyncio.create_task(self._follow_guarded(surface, watch), name=f"follow-{watch.operation_id}")
        self._followers[key] = task
        task.add_done_callback(lambda _: self._followers.pop(key, None))

    async def _follow_guarded(self, surface: Surface, watch: Watch) -> None:
        try:
            await self._follow_to_end(surface, watch)
        except NotFound:
            await self._conversations.unwatch(watch)
        except MadangError as error:
            log.warning("the progress of operation %s was lost: %s", watch.operation_id, error)

    async def _follow_to_end(self, surface: Surface, watch: Watch) -> None:
        """Redraws the message at each step of the operation and while time goes by, and shows how it ended."""
        account = await self._conversations.account(watch.chat)
        if account is None:
            return
        actor = Actor(account, watch.chat.surface)
        operation = await self._apps.operation(actor, watch.operation_id)
        steps: list[str] = []
        async for event in _paced(await self._apps.events(actor, watch.operation_id), _REDRAW_S):
            if event is not None and event.kind == "step" and event.data["step"] not in steps:
                steps.append(event.data["step"])
            elif event is not None:
                continue
            await self._redraw(surface, watch, operation, steps)
        await self._end(surface, watch, await self._apps.operation(actor, watch.operation_id), steps)

    async def _redraw(
        self, surface: Surface, watch: Watch, operation: Operation, steps: Sequence[str]
    ) -> None:
        view = await self._view(watch.chat, await self._conversations.account(watch.chat))
        elapsed = (self._clock.now() - operation.created_at).total_seconds()
        screen = flows.progress(OperationNews(operation, tuple(steps), elapsed), view)
        await surface.show(watch.chat.address, _shown(screen, watch.chat.locale, ()), watch.message_ref)

    async def _end(self, surface: Surface, watch: Watch, operation: Operation, steps: Sequence[str]) -> None:
        """Shows how it ended in the message that showed its progress; the talk may stand elsewhere by now."""
        chat = watch.chat
        lock = self._locks.setdefault((surface.name, chat.address), asyncio.Lock())
        async with lock:
            chat, account = await self._conversations.open(chat.surface, chat.address, chat.locale)
            elapsed = ((operation.finished_at or self._clock.now()) - operation.created_at).total_seconds()
            chat, screen = await self._step(chat, account, OperationNews(operation, tuple(steps), elapsed))
            shown = await self._keep(chat, screen)
            await surface.show(chat.address, shown, watch.message_ref)
            await self._conversations.unwatch(watch)


async def _paced(events: AsyncIterator[Event], every_s: float) -> AsyncIterator[Event | None]:
    """The events, and None whenever none came for `every_s` seconds."""
    iterator = aiter(events)
    coming: asyncio.Future[Event | None] | None = None
    try:
        while True:
            coming = coming or asyncio.ensure_future(anext(iterator, None))
            await asyncio.wait([coming], timeout=every_s)
            if not coming.done():
                yield None
                continue
            event, coming = coming.result(), None
            if event is None:
                return
            yield event
    finally:
        if coming is not None:
            coming.cancel()
            await asyncio.wait([coming])


def _shown_button(button: Button, screen_id: str, numbers: Iterator[int]) -> ShownButton:
    button_id = f"{screen_id}.{next(numbers)}" if button.action is not None else None
    return ShownButton(button.label, button_id, button.url, button.style)


def _shown(screen: Screen, locale: str, rows: Sequence[Sequence[ShownButton]]) -> Shown:
    return Shown(
        text=screen.text,
        title=screen.title,
        code=screen.code,
        rows=rows,
        ask=screen.ask,
        progress=screen.progress,
        elapsed_s=screen.elapsed_s,
        locale=locale,
    )
