"""One writer with group commit, several readers, on SQLite in WAL mode.

A unit of work (`async with db.write() as tx`) is a savepoint inside a shared transaction. The commit waits in the same
line as the units, so that all units which queued up before it share its one disk sync; each unit still returns only
once its own work is on disk. A unit that raises undoes only itself.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

import aiosqlite

from engine.errors import Broken, MadangError, Transient

Row = Mapping[str, Any]
_T = TypeVar("_T")
_BUSY_MS: Final = 5000
_READERS: Final = 3
_OUT_OF_ORDER: Final = (
    "SQLITE_IOERR",
    "SQLITE_CORRUPT",
    "SQLITE_NOTADB",
    "SQLITE_READONLY",
    "SQLITE_CANTOPEN",
)


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
        async with AsyncExitStack() as opened:
            writer = await _connect(opened, path, query_only=False)
            readers = [await _connect(opened, path, query_only=True) for _ in range(_READERS)]
            opened.pop_all()
        return cls(writer, readers)

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
            except BaseException as error:
                if begun.done() and not begun.cancelled() and begun.exception() is None:
                    await _whole(asyncio.ensure_future(self._undo_unit(error)))
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
            task = asyncio.create_task(self._commit(self._batch), name="store-commit")
            self._commits.add(task)
            task.add_done_callback(self._commits.discard)
        await self._writer.execute("SAVEPOINT unit")
        return self._batch

    async def _release_unit(self) -> None:
        try:
            await self._writer.execute("RELEASE unit")
        except sqlite3.Error as error:
            await self._lose(_told(error))
            raise _told(error) from error

    async def _undo_unit(self, cause: BaseException) -> None:
        try:
            await self._writer.execute("ROLLBACK TO unit")
            await self._writer.execute("RELEASE unit")
        except sqlite3.Error:
            await self._lose(cause)

    async def _lose(self, cause: BaseException) -> None:
        """Some failures (a full disk) make SQLite undo the whole transaction: every unit that shares it has to know."""
        batch, self._batch = self._batch, None
        if batch is not None:
            _fail(batch, cause if isinstance(cause, MadangError) else Transient("temporarily_unavailable"))
        await self._writer.rollback()

    async def _commit(self, batch: asyncio.Future[None]) -> None:
        async with self._line:
            if self._batch is not batch:
                return  # lost meanwhile
            self._batch = None
            try:
                await self._writer.commit()
            except sqlite3.Error as error:
                _fail(batch, _told(error))
                await self._writer.rollback()
            else:
                batch.set_result(None)

    async def close(self) -> None:
        """Waits for what is being committed, then closes."""
        while self._commits:
            await asyncio.wait(self._commits)
        for connection in self._all:
            await connection.close()


async def _whole(task: asyncio.Future[_T]) -> _T:
    """The result of `task`, which is waited for to its end however often the waiter is cancelled meanwhile."""
    cancelled = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        task.exception()  # heard, though there is nobody to tell
        raise cancelled
    return task.result()


def _fail(batch: asyncio.Future[None], error: Exception) -> None:
    batch.set_exception(error)
    batch.exception()  # a batch of units that all raised has nobody left to hear it


async def _connect(opened: AsyncExitStack, path: Path, *, query_only: bool) -> aiosqlite.Connection:
    """A connection that `opened` closes."""
    connection = await aiosqlite.connect(path, isolation_level=None)
    opened.push_async_callback(connection.close)
    connection.row_factory = aiosqlite.Row
    try:
        for pragma in (
            f"busy_timeout={_BUSY_MS}",
            "foreign_keys=ON",
            "synchronous=FULL",
            f"query_only={int(query_only)}",
        ):
            await connection.execute(f"PRAGMA {pragma}")
    except sqlite3.Error as error:
        raise _told(error) from error
    return connection


def _told(error: sqlite3.Error) -> Exception:
    """The database's complaint as one of ours; a bug stays what it is."""
    text = str(error)
    if isinstance(error, sqlite3.IntegrityError) and text.startswith("UNIQUE constraint failed: "):
        return UniqueViolation(text.removeprefix("UNIQUE constraint failed: "))
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith("SQLITE_FULL"):
        return Broken("disk_full")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return Transient("temporarily_unavailable")
    if name.startswith(_OUT_OF_ORDER):
        return Broken("broken", detail=text)
    return error
