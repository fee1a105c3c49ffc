"""Carries a conversation: reads what a step may look at, runs the step and its commands, keeps the state, shows the
screen, and follows an operation's progress into the message that shows it.

Every surface is driven through here, so that all of them behave alike. State is written before a screen is shown: a
restart at any moment finds the talk where the person last saw it, or one answer further. In the same way the watch on
an operation is written before its progress is shown, and ends only after its end was shown.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial
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
    Follow,
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
from engine.errors import MadangError, NotFound, Transient
from engine.ports import Clock
from engine.service.accounts import AccountService
from engine.service.apps import AppService
from engine.service.conversations import Chat, ConversationService, Watch
from engine.words import translator

log = logging.getLogger(__name__)

_STEPS_MAX: Final = 8  # a turn that has not come to a screen by then is a bug
_REDRAW_S: Final = 1.0  # an elapsed time is redrawn this often at most; Telegram allows one edit a second
_TEXT_MAX: Final = 16_000  # no question takes as much; Telegram's own limit is 4096
_MENU_ID: Final = "menu"  # the button of a message whose buttons could not be kept
_REFS_MAX: Final = 4  # messages of one chat that come to show the same end
_Key = tuple[str, str]


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


@dataclass(slots=True)
class _Following:
    """An operation that a chat watches. `refs` are the messages that show it: the newest, last, shows its progress, and
    all of them come to show its end."""

    refs: list[str] = field(default_factory=list)
    task: asyncio.Task[None] | None = None

    def add(self, ref: str | None) -> None:
        if ref is not None:
            self.refs = [*(other for other in self.refs if other != ref), ref][-_REFS_MAX:]

    @property
    def newest(self) -> str | None:
        return self.refs[-1] if self.refs else None


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
        self._locks: WeakValueDictionary[_Key, asyncio.Lock] = WeakValueDictionary()  # by surface and address
        self._followed: dict[_Key, _Following] = {}  # by chat and operation
        self._closed = False

    async def say(
        self, surface: Surface, address: str, text: str, *, locale: str, update_id: str | None = None
    ) -> None:
        """The person typed something."""
        text = text[:_TEXT_MAX].encode("utf-8", "replace").decode()  # half a character can be kept nowhere
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
        """Lets go of what is being followed, for good; the `resume` of the next start takes it up again."""
        self._closed = True
        tasks = [following.task for following in self._followed.values() if following.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

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
            await surface.show(address, _apology(error, locale), None)
        except Exception:
            outcome = "bug"
            await surface.show(address, _apology(MadangError("internal"), locale), None)
            raise
        finally:
            metrics.CHAT_UPDATES.labels(surface.name, outcome).inc()
            metrics.CHAT_SECONDS.labels(surface.name).observe(time.monotonic() - started)

    async def _turn(
        self, surface: Surface, address: str, given: Given | str, locale: str, message_ref: str | None
    ) -> None:
        chat, account = await self._conversations.open(surface.name, address, locale)
        if isinstance(given, str):
            given = Pressed(await self._action(chat, given))
        chat, screen = await self._step(chat, account, given)
        shown = await self._keep(chat, screen)
        place = self._place(chat, screen, message_ref)
        if screen.watch is None:
            await surface.show(address, shown, place)
        else:
            await self._show_watched(surface, Watch(chat, screen.watch, None), shown, place)

    async def _action(self, chat: Chat, button_id: str) -> Action | None:
        return {"do": "menu"} if button_id == _MENU_ID else await self._conversations.action(chat, button_id)

    def _place(self, chat: Chat, screen: Screen, message_ref: str | None) -> str | None:
        """The message to draw over. One that shows the progress of an operation is that operation's until its end."""
        if not screen.again or message_ref is None:
            return None
        for (chat_id, operation_id), following in self._followed.items():
            if chat_id == chat.id and operation_id != screen.watch and message_ref in following.refs:
                return None
        return message_ref

    async def _show_watched(self, surface: Surface, watch: Watch, shown: Shown, place: str | None) -> None:
        """The watch is kept first: whatever befalls the message, how the operation ends will be shown."""
        ref = None
        await self._conversations.watch(watch)
        try:
            ref = await surface.show(watch.chat.address, shown, place)
        finally:
            self._follow(surface, replace(watch, message_ref=ref))
        if ref is not None:
            await self._note_message(watch, ref)

    async def _note_message(self, watch: Watch, ref: str) -> None:
        """Keeps which message shows the operation, unless it has ended meanwhile."""
        if (watch.chat.id, watch.operation_id) in self._followed:
            await self._conversations.watch(replace(watch, message_ref=ref))

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
                    if account is not None:
                        account = await self._accounts.set_locale(account, locale)
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
            case Follow(operation_id):
                operation = await self._apps.operation(actor, operation_id)
                return self._news(operation, [operation.step] if operation.step else [])
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
        """From now on the message shows the operation's progress, and in the end how it ended."""
        if self._closed:
            return  # the watch is kept; `resume` takes it up
        key = (watch.chat.id, watch.operation_id)
        following = self._followed.get(key)
        if following is None:
            following = self._followed[key] = _Following()
            following.task = asyncio.create_task(
                self._follow_to_end(surface, watch, following), name=f"follow-{watch.operation_id}"
            )
            following.task.add_done_callback(partial(self._let_go, key))
        following.add(watch.message_ref)

    def _let_go(self, key: _Key, task: asyncio.Task[None]) -> None:
        if key in self._followed and self._followed[key].task is task:
            del self._followed[key]
        if not task.cancelled() and (bug := task.exception()) is not None:
            log.error("the progress of operation %s was lost until the next start", key[1], exc_info=bug)

    async def _follow_to_end(self, surface: Surface, watch: Watch, following: _Following) -> None:
        """Waits out what passes by itself. The watch is kept until the end was shown."""
        while True:
            try:
                await self._draw_to_end(surface, watch, following)
            except NotFound:
                await self._conversations.unwatch(watch)
            except Transient as error:
                log.warning("the progress of operation %s is waited for: %s", watch.operation_id, error)
                await asyncio.sleep(error.retry_after_s)
                continue
            return

    async def _draw_to_end(self, surface: Surface, watch: Watch, following: _Following) -> None:
        """Redraws the message at each step of the operation and while time goes by, and shows how it ended."""
        account = await self._conversations.account(watch.chat)
        if account is None:
            raise NotFound
        actor = Actor(account, watch.chat.surface)
        operation = await self._apps.operation(actor, watch.operation_id)
        steps: list[str] = []
        async with aclosing(_paced(await self._apps.events(actor, watch.operation_id), _REDRAW_S)) as events:
            async for event in events:
                if event is not None and (event.kind != "step" or event.data["step"] in steps):
                    continue
                steps += [event.data["step"]] if event is not None else []
                await self._redraw(surface, watch, following, self._news(operation, steps))
        operation = await self._apps.operation(actor, watch.operation_id)
        await self._end(surface, watch, following, self._news(operation, steps))

    def _news(self, operation: Operation, steps: Sequence[str]) -> OperationNews:
        elapsed = (operation.finished_at or self._clock.now()) - operation.created_at
        return OperationNews(operation, tuple(steps), max(elapsed.total_seconds(), 0.0))

    async def _redraw(
        self, surface: Surface, watch: Watch, following: _Following, news: OperationNews
    ) -> None:
        screen = flows.progress(news, translator(watch.chat.locale))
        before = following.newest
        ref = await surface.show(watch.chat.address, _shown(screen, watch.chat.locale, ()), before)
        if ref is not None and ref != before:
            following.refs = [other for other in following.refs if other != before]
            following.add(ref)
            await self._note_message(watch, ref)

    async def _end(self, surface: Surface, watch: Watch, following: _Following, news: OperationNews) -> None:
        """Shows how it ended where its progress was shown; the talk may stand elsewhere by now."""
        chat = watch.chat
        lock = self._locks.setdefault((surface.name, chat.address), asyncio.Lock())
        async with lock:
            chat, account = await self._conversations.open(chat.surface, chat.address, chat.locale)
            chat, screen = await self._step(chat, account, news)
            shown = await self._keep(chat, screen)
            refs: Sequence[str | None] = following.refs or (None,)
            for ref in refs:
                await surface.show(chat.address, shown, ref)
            await self._conversations.unwatch(watch)
            self._followed.pop((watch.chat.id, watch.operation_id), None)


async def _paced(events: AsyncIterator[Event], every_s: float) -> AsyncGenerator[Event | None, None]:
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


def _apology(error: MadangError, locale: str) -> Shown:
    """For when nothing could be kept: what happened, a way on, and a reference that the log has too."""
    t, reference = translator(locale), secrets.token_hex(4)
    log.warning("a chat input could not be handled [%s]: %s", reference, error)
    text = f"{t.error(error)}\n\n" + t("Reference: {reference}", reference=reference)
    again = ShownButton(t("Menu"), _MENU_ID, None, "primary")
    return _shown(Screen(text, title=t("That did not work")), t.locale, ((again,),))


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
