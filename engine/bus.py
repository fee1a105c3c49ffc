"""Tells those who watch an operation that something new is in its event log.

Only a nudge: what happened is read from the database, so a watcher misses nothing and sees it in order.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

NEW_WORK: Final = "new-work"  # the topic of operations that wait to be claimed


class Bus:
    """In-process nudges, by topic."""

    def __init__(self) -> None:
        self._watchers: dict[str, set[asyncio.Event]] = defaultdict(set)

    def nudge(self, topic: str) -> None:
        for watcher in self._watchers.get(topic, ()):
            watcher.set()

    @contextmanager
    def watch(self, topic: str) -> Iterator[asyncio.Event]:
        """An event that is set at every nudge; clear it before reading."""
        event = asyncio.Event()
        self._watchers[topic].add(event)
        try:
            yield event
        finally:
            self._watchers[topic].discard(event)
            if not self._watchers[topic]:
                del self._watchers[topic]
