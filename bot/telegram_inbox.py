"""Work that has come in from Telegram: one after another for each chat, side by side for different chats."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

log = logging.getLogger(__name__)

_PER_CHAT_MAX: Final = 50
_IN_ALL_MAX: Final = 2000

Work = Callable[[], Awaitable[object]]


class Inbox:
    """Each piece of work is a task that waits for the one before it in its chat. A bug in one is logged, and ends it
    alone."""

    def __init__(self) -> None:
        self._newest: dict[str, asyncio.Task[None]] = {}
        self._waiting: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._room = asyncio.Event()
        self._room.set()

    def put(self, chat: str, work: Work) -> None:
        """Takes work for a chat; drops it where the chat has far too much waiting."""
        if self._waiting[chat] >= _PER_CHAT_MAX:
            log.warning("chat %s sends faster than it can be answered; an input is dropped", chat)
            return
        task = asyncio.create_task(_after(self._newest.get(chat), work), name=f"telegram-inbox-{chat}")
        self._newest[chat] = task
        self._waiting[chat] += 1
        self._tasks.add(task)
        task.add_done_callback(partial(self._ended, chat))
        if len(self._tasks) >= _IN_ALL_MAX:
            self._room.clear()

    async def wait_for_room(self) -> None:
        """Until more may come in; what is not fetched meanwhile is kept by Telegram."""
        await self._room.wait()

    async def close(self, grace_s: float) -> None:
        """Leaves a moment for what was taken to be done."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace_s)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, chat: str, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._waiting[chat] -= 1
        if self._newest.get(chat) is task:
            del self._newest[chat], self._waiting[chat]
        if len(self._tasks) < _IN_ALL_MAX:
            self._room.set()
        if not task.cancelled() and (bug := task.exception()) is not None:
            log.error("an input of chat %s met a bug", chat, exc_info=bug)


async def _after(before: asyncio.Task[None] | None, work: Work) -> None:
    if before is not None:
        await asyncio.wait([before])
    await work()
