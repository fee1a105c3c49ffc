"""One writer with group commit, several readers, on SQLite in WAL mode.

A unit of work (`async with db.write() as tx`) is a savepoint inside a shared transaction. The commit waits in the same
line as the units, so that all units which queued up before it share its one disk sync; each unit still returns only
once its own work is on disk. A unit that raises undoes only itself.
"""

from __future__ import annotations

import asyncio
import errno
import sqlite3
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

import aiosqlite

from engine.errors import Broken, Transient

Row = Mapping[str, Any]
_T = TypeVar("_T")
_BUSY_MS: Final = 5000
_READERS: Final = 3


class UniqueViolation(Exception):
    """A unique index refused a row. `columns` names it: "apps.owner_id, apps.name"."""

    def __init__(self, columns: str) -> None:
        super().__init__(columns)
        self.columns = columns


def to_ms(moment: datetime) -> int:
    """Milliseconds since 1970, as stored."""
    return round(moment.timestamp() * 1000)


def from_ms(value: int) -> datetime:
    return datetime.fromtimestamp(value / 1000, UTC)


class Tx:
    """A connection inside a unit of work, or a reader."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection

    async def all(self, sql: str, *params: object) -> list[Row]:
        try:
            return list(await self._connection.execute_fetchall(sql, params))  # type: ignore[arg-type]
        except sqlite3.Error as error:
            raise _told(error) from error

    async def one(self, sql: str, *params: object) -> Row | None:
        rows = await self.all(sql, *params)
        return rows[0] if rows else None

    async def run(self, sql: str, *params: object) -> int:
        """Executes; returns how many rows it touched."""
        try:
            cursor = await self._connection.execute(sql, params)
        except sqlite3.Error as error:
            raise _told(error) from error
        count = cursor.rowcount
        await cursor.close()
        return count

    async def run_many(self, sql: str, rows: Iterable[tuple[object, ...]]) -> None:
        try:
            await self._connection.executemany(sql, rows)
        except sqlite3.Error as error:
            raise _told(error) from error


class Database:
    """The open database. Made by `Database.open`; closed by `close`."""

    def __init__(self, writer: aiosqlite.Connection, readers: list[aiosqlite.Connection]) -> None:
        self._writer = writer
        self._readers: asyncio.Queue[aiosqlite.Connection] = asyncio.Queue()
        for reader in readers:
            self._readers.put_nowait(reader)
        self._all = [writer, *readers]
        self._line = asyncio.Lock()  # first come, first served
        self._batch: asyncio.Future[None] | None = None
        self._commits: set[asyncio.Task[None]] = set()

    @classmethod
    async def open(cls, path: Path) -> Database:
        """Opens the database at `path`, whose schema must be in place already."""
        writer = await _connect(path, query_only=False)
        return cls(writer, [await _connect(path, query_only=True) for _ in range(_READERS)])

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Tx]:
        """A reader on what is committed; each statement sees the newest state."""
        reader = await self._readers.get()
        try:
            yield Tx(reader)
        finally:
            self._readers.put_nowait(reader)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Tx]:
        """A unit of work: on disk when the block is left, undone when it raises. Never await an outside thing in it."""
        async with self._line:
            begun = asyncio.ensure_future(self._begin_unit())
            try:
                batch = await _whole(begun)
                yield Tx(self._writer)
            except BaseException:
                if begun.done() and not begun.cancelled() and begun.exception() is None:
                    await _whole(asyncio.ensure_future(self._undo_unit()))
                raise
            await _whole(asyncio.ensure_future(self._release_unit()))
        await asyncio.shield(batch)

    async def _begin_unit(self) -> asyncio.Future[None]:
        if self._batch is None:
            try:
                await self._writer.execute("BEGIN IMMEDIATE")
            except sqlite3.Error as error:
                raise _told(error) from error
            self._batch = asyncio.get_running_loop().create_future()
            task = asyncio.create_task(self._commit(), name="store-commit")
            self._commits.add(task)
            task.add_done_callback(self._commits.discard)
        await self._writer.execute("SAVEPOINT unit")
        return self._batch

    async def _release_unit(self) -> None:
        await self._writer.execute("RELEASE unit")

    async def _undo_unit(self) -> None:
        await self._writer.execute("ROLLBACK TO unit")
        await self._writer.execute("RELEASE unit")

    async def _commit(self) -> None:
        async with self._line:
            batch, self._batch = self._batch, None
            assert batch is not None
            try:
                await self._writer.commit()
            except sqlite3.Error as error:
                await self._writer.rollback()
                batch.set_exception(_told(error))
                batch.exception()  # a batch of units that all raised has nobody left to hear it
            else:
                batch.set_result(None)

    async def close(self) -> None:
        """Waits for what is being committed, then closes."""
        while self._commits:
            await asyncio.wait(self._commits)
        for connection in self._all:
            await connection.close()


async def _whole(task: asyncio.Future[_T]) -> _T:
    """The result of `task`, which is waited for to its end even when the waiter is cancelled meanwhile."""
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if not task.done():
            await asyncio.wait([task])
        raise


async def _connect(path: Path, *, query_only: bool) -> aiosqlite.Connection:
    connection = await aiosqlite.connect(path, isolation_level=None)
    connection.row_factory = aiosqlite.Row
    for pragma in (
        f"busy_timeout={_BUSY_MS}",
        "foreign_keys=ON",
        "synchronous=FULL",
        f"query_only={int(query_only)}",
    ):
        await connection.execute(f"PRAGMA {pragma}")
    return connection


def _told(error: sqlite3.Error) -> Exception:
    """The database's complaint as one of ours; a bug stays what it is."""
    text = str(error)
    if isinstance(error, sqlite3.IntegrityError) and text.startswith("UNIQUE constraint failed: "):
        return UniqueViolation(text.removeprefix("UNIQUE constraint failed: "))
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith("SQLITE_FULL") or getattr(error, "errno", None) == errno.ENOSPC:
        return Broken("disk_full")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return Transient("temporarily_unavailable")
    return error
