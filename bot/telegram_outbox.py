"""What each Telegram chat is owed: in order, at a bearable pace, and until it has arrived.

A chat has its own lane, so that a chat that has to wait holds up no other. New messages arrive in their order. A message
that is redrawn again before it could be redrawn shows only the newest: Telegram bears about one edit a second.

A message that was sent while the line broke may have arrived without our knowing, and is then sent twice: better than
never. What is owed is kept in memory, and lost when the process ends.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Literal, TypeVar

from bot.talk import Shown

log = logging.getLogger(__name__)

_OWED_MAX: Final = 50
_REMEMBERED_MAX: Final = 1000


@dataclass(frozen=True, slots=True)
class Timing:
    """`overall_per_s`: messages in all, as https://core.telegram.org/bots/faq bears them. Poll and request: one call."""

    edit_every_s: float = 1.0
    overall_per_s: float = 30.0
    retry_first_s: float = 1.0
    retry_most_s: float = 60.0
    poll_s: int = 25
    request_s: int = 30
    grace_s: float = 2.0

    def backoff_s(self, failures: int) -> float:
        """How long to wait after so many failures in a row; not for all chats alike."""
        longest = min(self.retry_first_s * 2.0 ** min(failures - 1, 16), self.retry_most_s)
        return longest * random.uniform(0.7, 1.0)


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of an attempt. `arrived`: as message `ref`. `busy`: again after `after_s`. `down`: again later.
    `gone`: the message cannot be redrawn. `unreachable`: the person has shut us out. `wrong`: never, for `detail`."""

    outcome: Literal["arrived", "busy", "down", "gone", "unreachable", "wrong"]
    ref: str | None = None
    after_s: float = 0.0
    detail: str = ""


Deliver = Callable[
    [str, str | None, Shown], Awaitable[Delivery]
]  # address, the message to redraw, what to show


@dataclass(frozen=True, slots=True)
class _Owed:
    """`ref`: the message to redraw, None for a new one. `anew`: it is gone, and a new one takes its place."""

    shown: Shown
    ref: str | None = None
    anew: bool = False
    told: asyncio.Future[str | None] | None = None

    def tell(self, ref: str | None) -> None:
        if self.told is not None and not self.told.done():
            self.told.set_result(ref)


class _Lane:
    """One chat, while it is owed something. `failures` in a row are those that the platform's recovery may end."""

    def __init__(self) -> None:
        self.owed: list[_Owed] = []
        self.under_way: _Owed | None = None
        self.changed = asyncio.Event()
        self.held_until_s = 0.0
        self.failures = 0

    def hold(self, wait_s: float) -> None:
        self.held_until_s = time.monotonic() + wait_s

    def put_back(self, owed: _Owed) -> None:
        """To the front again, unless something newer is owed in its place."""
        if owed.ref is None or all(other.ref != owed.ref for other in self.owed):
            self.owed.insert(0, owed)

    def settle_all(self) -> None:
        for owed in (self.under_way, *self.owed):
            if owed is not None:
                owed.tell(None)
        self.owed.clear()
        self.changed.set()


class Outbox:
    def __init__(self, deliver: Deliver, timing: Timing) -> None:
        self._deliver = deliver
        self._timing = timing
        self._pace = _Pace(timing.overall_per_s)
        self._lanes: dict[str, _Lane] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._redrawn_at_s: dict[tuple[str, str], float] = {}
        self._instead: dict[tuple[str, str], str] = {}
        self._barred: set[str] = set()
        self._closed = False

    async def show(self, address: str, shown: Shown, replaces: str | None) -> str | None:
        """Sends a new message and returns its reference once it has arrived; or sees to it that the message `replaces`
        comes to show this, and returns at once. None where the chat cannot be reached.

        Does not return once the outbox is closed: what waits must not take it for shown.
        """
        if self._closed:
            await asyncio.Event().wait()
        if address in self._barred:
            return None
        if replaces is not None:
            ref = self._current(address, replaces)
            self._redraw(address, ref, shown)
            return ref
        told: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._add(address, _Owed(shown, told=told))
        return await told

    def bar(self, address: str) -> None:
        """The person has shut us out: owes the chat nothing any more, until `unbar`."""
        if address not in self._barred:
            log.info("chat %s has shut the bot out", address)
        self._barred.add(address)
        if address in self._lanes:
            self._lanes[address].settle_all()

    def unbar(self, address: str) -> None:
        self._barred.discard(address)

    def wake(self) -> None:
        """The platform is back: whoever waits for it tries again now."""
        for lane in self._lanes.values():
            if lane.failures:
                lane.failures = 0
                lane.hold(0)
                lane.changed.set()

    async def close(self) -> None:
        """Leaves a moment for what is owed to arrive."""
        self._closed = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._timing.grace_s)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- a lane

    def _redraw(self, address: str, ref: str, shown: Shown) -> None:
        lane = self._lanes.get(address)
        for i, owed in enumerate(lane.owed if lane else ()):
            if lane and owed.ref == ref:
                lane.owed[i] = replace(owed, shown=shown)
                return
        self._add(address, _Owed(shown, ref=ref))

    def _add(self, address: str, owed: _Owed) -> None:
        lane = self._lanes.get(address)
        if lane is None:
            lane = self._lanes[address] = _Lane()
            task = asyncio.create_task(self._work(address, lane), name=f"telegram-outbox-{address}")
            self._tasks.add(task)
            task.add_done_callback(partial(self._ended, address, lane))
        lane.owed.append(owed)
        lane.changed.set()
        if len(lane.owed) > _OWED_MAX:
            log.warning("chat %s is owed too much; the oldest message is dropped", address)
            lane.owed.pop(0).tell(None)

    def _ended(self, address: str, lane: _Lane, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._lanes.get(address) is lane:
            del self._lanes[address]
        if not task.cancelled() and (bug := task.exception()) is not None:
            log.error("what chat %s was owed met a bug", address, exc_info=bug)
            lane.settle_all()

    async def _work(self, address: str, lane: _Lane) -> None:
        while lane.owed:
            wait_s = (
                max(lane.held_until_s, self._due_s(address, self._next(address, lane))) - time.monotonic()
            )
            if wait_s > 0:
                await _wait_for(lane.changed, wait_s)
                continue
            await self._pace.turn()
            if not lane.owed:
                break
            owed = lane.under_way = self._next(address, lane)
            lane.owed.remove(owed)
            self._settle(
                address, lane, owed, await self._deliver(address, self._target(address, owed), owed.shown)
            )
            lane.under_way = None
        del self._lanes[address]

    def _next(self, address: str, lane: _Lane) -> _Owed:
        """The first that is due; an edit that has to wait is overtaken by what need not."""
        now_s = time.monotonic()
        return min(lane.owed, key=lambda owed: max(self._due_s(address, owed), now_s))

    def _due_s(self, address: str, owed: _Owed) -> float:
        target = self._target(address, owed)
        redrawn_at_s = self._redrawn_at_s.get((address, target)) if target is not None else None
        return redrawn_at_s + self._timing.edit_every_s if redrawn_at_s is not None else 0.0

    def _target(self, address: str, owed: _Owed) -> str | None:
        if owed.ref is None or owed.anew:
            return None
        return self._current(address, owed.ref)

    def _current(self, address: str, ref: str) -> str:
        """The message itself, or the one that took the place of a message that was gone."""
        while (address, ref) in self._instead:
            ref = self._instead[address, ref]
        return ref

    def _settle(self, address: str, lane: _Lane, owed: _Owed, delivery: Delivery) -> None:
        if address in self._barred:
            return
        lane.failures = lane.failures + 1 if delivery.outcome == "down" else 0
        match delivery.outcome:
            case "arrived":
                self._arrived(address, owed, delivery.ref)
            case "busy":
                lane.hold(delivery.after_s)
                lane.put_back(owed)
            case "down":
                lane.hold(self._timing.backoff_s(lane.failures))
                lane.put_back(owed)
            case "gone":
                lane.put_back(replace(owed, anew=True))
            case "unreachable":
                self.bar(address)
            case "wrong":
                log.error("chat %s could not be shown a message: %s", address, delivery.detail)
                owed.tell(None)

    def _arrived(self, address: str, owed: _Owed, ref: str | None) -> None:
        if owed.ref is not None and ref is not None:
            _remember(self._redrawn_at_s, (address, ref), time.monotonic())
            gone = self._current(address, owed.ref)
            if gone != ref:
                _remember(self._instead, (address, gone), ref)
        owed.tell(ref)


class _Pace:
    """So many turns a second in all, and as many at once after a quiet second."""

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._free_at_s = 0.0

    async def turn(self) -> None:
        now_s = time.monotonic()
        self._free_at_s = max(self._free_at_s, now_s - 1.0) + 1.0 / self._per_s
        if self._free_at_s > now_s:
            await asyncio.sleep(self._free_at_s - now_s)


_Value = TypeVar("_Value")


def _remember(memory: dict[tuple[str, str], _Value], key: tuple[str, str], value: _Value) -> None:
    """Keeps the newest; what is forgotten costs one refused or early edit."""
    memory.pop(key, None)
    memory[key] = value
    if len(memory) > _REMEMBERED_MAX:
        del memory[next(iter(memory))]


async def _wait_for(changed: asyncio.Event, timeout_s: float) -> None:
    changed.clear()
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await changed.wait()
