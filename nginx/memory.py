"""The edge of the demonstration and of tests: routes in a dictionary, the same promises as the real one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from engine.errors import MadangError, Transient
from engine.ports import Route
from nginx.render import LABEL, routing_table


class MemoryEdge:
    """See `engine.ports.Edge`. `failures` are raised by the next calls of `apply`, one each; labels in
    `unanswering` are routed and do not answer."""

    def __init__(self) -> None:
        self.routes: dict[str, str] = {}
        self.failures: list[MadangError] = []
        self.unanswering: set[str] = set()
        self.running = False
        self._changed = asyncio.Condition()

    async def start(self) -> None:
        self.running = True

    async def apply(self, routes: Sequence[Route]) -> None:
        if not self.running:
            raise Transient("edge_down")
        table = routing_table(routes)
        if self.failures:
            raise self.failures.pop(0)
        self.routes = table
        async with self._changed:
            self._changed.notify_all()

    async def verify(self, label: str, *, path: str, timeout_s: float) -> None:
        if not LABEL.fullmatch(label) or not path.startswith("/"):
            raise ValueError(f"not to be asked for: {label!r:.80} {path!r:.80}")
        try:
            async with asyncio.timeout(timeout_s), self._changed:
                await self._changed.wait_for(lambda: self._answers(label))
        except TimeoutError:
            raise Transient("route_not_open", label=label) from None

    async def stop(self) -> None:
        self.running = False

    def _answers(self, label: str) -> bool:
        return self.running and label in self.routes and label not in self.unanswering
