"""Whether the parts that Madang stands on answer."""

from __future__ import annotations

from engine.errors import MadangError
from engine.ports import Runtime
from engine.store import accounts
from engine.store.database import Database


class HealthService:
    def __init__(self, database: Database, runtime: Runtime) -> None:
        self._database = database
        self._runtime = runtime

    async def report(self) -> dict[str, str]:
        """{"status": "ok" | "degraded", "database": "ok", "runtime": "ok" | "down"}. Raises when the database fails."""
        async with self._database.read() as tx:
            await accounts.count(tx)
        try:
            await self._runtime.check()
        except MadangError:
            return {"status": "degraded", "database": "ok", "runtime": "down"}
        return {"status": "ok", "database": "ok", "runtime": "ok"}
