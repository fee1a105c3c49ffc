"""A surface that remembers all that it was asked to show, and somebody who chats through it."""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bot.conversation.model import ProgressStep
from bot.talk import Shown, ShownButton, Talk
from nginx.memory import MemoryEdge
from tests.conftest import Madang

PATIENCE_S = 20.0


@dataclass(frozen=True, slots=True)
class Sight:
    """One screen that was shown: as the message `ref`, new or drawn over."""

    address: str
    ref: str
    shown: Shown
    redrawn: bool


class Recorder:
    """A talk.Surface. It outlives the engine, as a platform does."""

    name = "recorder"

    def __init__(self) -> None:
        self.sights: list[Sight] = []
        self.unreachable: set[str] = set()  # addresses that nothing can be shown to
        self.broken: Callable[[Shown], bool] = lambda _: False  # which screens meet a bug of the surface
        self.held: dict[str, asyncio.Event] = {}  # addresses where showing takes until the event
        self._numbers = itertools.count(1)
        self._seen = asyncio.Condition()

    async def show(self, address: str, shown: Shown, replaces: str | None) -> str | None:
        if address in self.held:
            await self.held[address].wait()
        if self.broken(shown):
            raise RuntimeError("the surface is broken")
        if address in self.unreachable:
            return None
        ref = replaces or f"m{next(self._numbers)}"
        self.sights.append(Sight(address, ref, shown, redrawn=replaces is not None))
        async with self._seen:
            self._seen.notify_all()
        return ref

    def of(self, address: str) -> list[Sight]:
        return [sight for sight in self.sights if sight.address == address]

    def messages(self, address: str) -> dict[str, Shown]:
        """What each message of the chat shows now."""
        return {sight.ref: sight.shown for sight in self.of(address)}

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S), self._seen:
            await self._seen.wait_for(condition)


class Chatter:
    """A person at one address. Looks at what was shown there last."""

    _updates = itertools.count(1)

    def __init__(self, talk: Talk, surface: Recorder, address: str = "7", locale: str = "en") -> None:
        self.talk = talk
        self.surface = surface
        self.address = address
        self.locale = locale

    async def begin(self) -> Shown:
        await self.talk.begin(self.surface, self.address, locale=self.locale, update_id=self.update())
        return self.last

    async def say(self, text: str, *, update_id: str | None = None) -> Shown:
        await self.talk.say(
            self.surface, self.address, text, locale=self.locale, update_id=update_id or self.update()
        )
        return self.last

    async def press(self, label: str) -> Shown:
        sight, button = self.find(label)
        await self.push(button, sight.ref)
        return self.last

    async def push(self, button: ShownButton, ref: str | None, *, update_id: str | None = None) -> None:
        assert button.id is not None
        await self.talk.press(
            self.surface, self.address, button.id, message_ref=ref, locale=self.locale,
            update_id=update_id or self.update(),
        )  # fmt: skip

    def find(self, label: str) -> tuple[Sight, ShownButton]:
        """The button on the screen that was shown last."""
        sight = self.surface.of(self.address)[-1]
        found = [button for row in sight.shown.rows for button in row if label in button.label]
        assert found, f"no {label!r} in {sight.shown}"
        return sight, found[0]

    async def until(self, title: str) -> Sight:
        """The last sight, once one with that title was shown."""
        await self.surface.until(lambda: any(s.shown.title == title for s in self.surface.of(self.address)))
        return next(s for s in reversed(self.surface.of(self.address)) if s.shown.title == title)

    @property
    def last(self) -> Shown:
        return self.surface.of(self.address)[-1].shown

    def update(self) -> str:
        return f"update-{next(self._updates)}"

    async def arrive(self, userid: str = "minji") -> None:
        await self.begin()
        await self.say(userid)

    async def make_diary(self, name: str = "diary") -> Sight:
        await self.confirm_diary(name)
        await self.press("Make it")
        return await self.until(f"🎉 {name} is ready")

    async def confirm_diary(self, name: str = "diary") -> None:
        await self.say("/new diary")
        await self.say(name)
        await self.press("On the server")


class House:
    """A Madang and its talk."""

    def __init__(self, madang: Madang, talk: Talk) -> None:
        self.madang = madang
        self.talk = talk

    def hold(self, label: str) -> None:
        """Whatever has to see the app at its address waits from here on."""
        self.madang.edge.unanswering.add(label)

    async def release(self, label: str) -> None:
        edge: MemoryEdge = self.madang.edge
        edge.unanswering.discard(label)
        async with edge._changed:
            edge._changed.notify_all()

    async def watched(self) -> int:
        return len(await self.talk._conversations.watches(Recorder.name))

    async def settled(self) -> None:
        """Nothing is followed any more."""
        tasks = [following.task for following in self.talk._followed.values() if following.task]
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*tasks, return_exceptions=True)


def labels(shown: Shown) -> list[str]:
    return [button.label for row in shown.rows for button in row]


def reached(progress: Sequence[ProgressStep]) -> int:
    return sum(step.state != "todo" for step in progress)


def by_message(sights: Sequence[Sight]) -> dict[str, list[Shown]]:
    found: dict[str, list[Shown]] = defaultdict(list)
    for sight in sights:
        found[sight.ref].append(sight.shown)
    return found
