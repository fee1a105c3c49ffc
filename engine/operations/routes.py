"""The routes in the database, published to the edge: always the whole set, always the newest."""

from __future__ import annotations

import asyncio

from engine.ports import Edge
from engine.store import apps
from engine.store.database import Database


class PublishedRoutes:
    """`publish` returns once a set read after the call is in force. Callers that wait together share one publication."""

    def __init__(self, database: Database, edge: Edge) -> None:
        self._database = database
        self._edge = edge
        self._lock = asyncio.Lock()
        self._asked = 0
        self._done = 0

    async def publish(self) -> None:
        """Raises what the edge raises; the set in force is then the one before."""
        self._asked += 1
        mine = self._asked
        async with self._lock:
            if self._done >= mine:
                return
            covered = self._asked
            async with self._database.read() as tx:
                routes = await apps.routes(tx)
            await self._edge.apply(routes)
            self._done = covered
