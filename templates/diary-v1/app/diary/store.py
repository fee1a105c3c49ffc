"""Where entries live: one SQLite file.

Every write is a single statement, so that SQLite itself keeps simultaneous requests apart, and is on the disk
(synchronous=FULL) before the browser hears "saved".

Search uses LIKE. A trigram index would be faster on a huge diary, but it finds nothing shorter than three
characters, and most Korean words have two. LIKE reads ten thousand entries in a few hundredths of a second.
"""

# ruff: noqa: S608 - the only text put into SQL is our own: column names, conditions() and question marks
from __future__ import annotations

import asyncio
import errno
import secrets
import sqlite3
import sys
import uuid
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiosqlite

if TYPE_CHECKING:
    from collections.abc import Iterable

BUSY_TIMEOUT_S = 5.0
KEEP_DELETED = timedelta(days=1)  # "undo" works this long; after that the words are really gone

# One script per version of the file. Never edit one that is out in the world: add the next.
MIGRATIONS = (
    """
    CREATE TABLE entries (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        client_id TEXT NOT NULL UNIQUE,
        date TEXT NOT NULL,
        title TEXT NOT NULL,
        body TEXT NOT NULL,
        mood TEXT NOT NULL,
        created_at TEXT NOT NULL,
        updated_at TEXT NOT NULL,
        deleted_at TEXT
    );
    CREATE INDEX entries_by_date ON entries (date, id) WHERE deleted_at IS NULL;
    CREATE TABLE secret (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
    """,
)

COLUMNS = "id, client_id, date, title, body, mood, created_at, updated_at"


class StorageTrouble(Exception):
    """The disk will not take or give the diary: `full` when there is no room left, else it may pass."""

    def __init__(self, reason: str, *, full: bool = False) -> None:
        super().__init__(reason)
        self.full = full


@dataclass(frozen=True)
class Draft:
    """What a person wrote, already checked."""

    date: str
    title: str
    body: str
    mood: str


@dataclass(frozen=True)
class Filter:
    """Which entries: all words of `words` somewhere in title or body, and a date from..to inclusive."""

    words: tuple[str, ...] = ()
    from_date: str | None = None
    to_date: str | None = None


@dataclass(frozen=True)
class Entry:
    id: int
    client_id: str
    date: str
    title: str
    body: str
    mood: str
    created_at: str
    updated_at: str

    def as_json(self) -> dict[str, Any]:
        row = asdict(self)
        row["clientId"] = row.pop("client_id")
        row["createdAt"] = row.pop("created_at")
        row["updatedAt"] = row.pop("updated_at")
        return row


Position = tuple[str, int]  # (date, id): where a page of the list ended


class Store:
    def __init__(self, path: str) -> None:
        self._path = path
        self._db: aiosqlite.Connection | None = None
        self._opening = asyncio.Lock()
        self._secret: bytes | None = None

    # -- opening ---------------------------------------------------------------------------------------------

    async def open_or_log(self) -> None:
        try:
            await self._connection()
        except StorageTrouble as trouble:
            print(f"the diary's file {self._path} cannot be opened: {trouble}", file=sys.stderr, flush=True)

    async def check(self) -> None:
        """Return when the file is open and readable, else raise StorageTrouble."""
        await self._query("SELECT 1")

    async def close(self) -> None:
        if self._db is not None:
            await self._db.close()
            self._db = None

    async def _connection(self) -> aiosqlite.Connection:
        """The open file. A disk that was full or missing at the start may be well by now, so each request
        tries again.
        """
        if self._db is None:
            async with self._opening:
                if self._db is None:
                    self._db = await self._open()
        return self._db

    async def _open(self) -> aiosqlite.Connection:
        db: aiosqlite.Connection | None = None
        try:
            Path(self._path).parent.mkdir(parents=True, exist_ok=True)
            # isolation_level=None: every statement is its own transaction, with no hidden BEGIN.
            db = await aiosqlite.connect(self._path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON", "temp_store=MEMORY"):
                await db.execute_fetchall(f"PRAGMA {pragma}")
            await migrate(db)
            await db.execute_fetchall(
                "INSERT OR IGNORE INTO secret VALUES ('session', ?)", (secrets.token_bytes(32),)
            )
            await db.execute_fetchall("DELETE FROM entries WHERE deleted_at < ?", (stamp(-KEEP_DELETED),))
        except (OSError, sqlite3.Error) as error:
            if db is not None:
                await db.close()
            raise trouble_of(error) from error
        return db

    async def _query(self, sql: str, values: Iterable[object] = ()) -> list[Any]:
        db = await self._connection()
        try:
            return list(await db.execute_fetchall(sql, tuple(values)))
        except sqlite3.Error as error:
            raise trouble_of(error) from error

    async def session_secret(self) -> bytes:
        if self._secret is None:
            [(value,)] = await self._query("SELECT value FROM secret WHERE name = 'session'")
            self._secret = bytes(value)
        return self._secret

    # -- writing ---------------------------------------------------------------------------------------------

    async def add(self, draft: Draft, client_id: str | None) -> tuple[Entry, bool]:
        """Store an entry; (entry, True). With a client_id seen before: (the entry as it is now, False).

        A browser that never heard our answer sends the same client_id again. If the entry was deleted in
        between, it comes back: whoever sends it wants it kept.
        """
        now = stamp()
        client_id = client_id or uuid.uuid4().hex
        rows = await self._query(
            "INSERT INTO entries (client_id, date, title, body, mood, created_at, updated_at)"
            f" VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (client_id) DO NOTHING RETURNING {COLUMNS}",
            (client_id, draft.date, draft.title, draft.body, draft.mood, now, now),
        )
        if rows:
            return Entry(*rows[0]), True
        rows = await self._query(
            f"UPDATE entries SET deleted_at = NULL WHERE client_id = ? RETURNING {COLUMNS}", (client_id,)
        )
        return Entry(*rows[0]), False

    async def change(self, entry_id: int, draft: Draft) -> Entry | None:
        rows = await self._query(
            "UPDATE entries SET date = ?, title = ?, body = ?, mood = ?, updated_at = ?"
            f" WHERE id = ? AND deleted_at IS NULL RETURNING {COLUMNS}",
            (draft.date, draft.title, draft.body, draft.mood, stamp(), entry_id),
        )
        return Entry(*rows[0]) if rows else None

    async def delete(self, entry_id: int) -> bool:
        """Hide the entry now; its words are wiped when KEEP_DELETED has passed."""
        rows = await self._query(
            "UPDATE entries SET deleted_at = ? WHERE id = ? AND deleted_at IS NULL RETURNING id",
            (stamp(), entry_id),
        )
        await self._query("DELETE FROM entries WHERE deleted_at < ?", (stamp(-KEEP_DELETED),))
        return bool(rows)

    async def restore(self, entry_id: int) -> Entry | None:
        """Undo a delete. An entry that was not deleted is simply returned."""
        rows = await self._query(
            f"UPDATE entries SET deleted_at = NULL WHERE id = ? RETURNING {COLUMNS}", (entry_id,)
        )
        return Entry(*rows[0]) if rows else None

    # -- reading ---------------------------------------------------------------------------------------------

    async def get(self, entry_id: int) -> Entry | None:
        rows = await self._query(
            f"SELECT {COLUMNS} FROM entries WHERE id = ? AND deleted_at IS NULL", (entry_id,)
        )
        return Entry(*rows[0]) if rows else None

    async def page(
        self, which: Filter, limit: int, after: Position | None
    ) -> tuple[list[Entry], Position | None]:
        """Newest first, and where the next page starts (None at the end).

        A position names the last entry seen rather than counting rows, so nothing is skipped or shown twice
        when an entry is written while someone scrolls.
        """
        where, values = conditions(which)
        if after is not None:
            where += " AND (date, id) < (?, ?)"
            values += after
        rows = await self._query(
            f"SELECT {COLUMNS} FROM entries WHERE {where} ORDER BY date DESC, id DESC LIMIT ?",
            (*values, limit + 1),
        )
        entries = [Entry(*row) for row in rows[:limit]]
        return entries, (entries[-1].date, entries[-1].id) if len(rows) > limit else None

    async def count(self, which: Filter) -> int:
        where, values = conditions(which)
        [(count,)] = await self._query(f"SELECT count(*) FROM entries WHERE {where}", values)
        return int(count)

    async def days(self, month: str) -> list[dict[str, Any]]:
        """The days of a month (YYYY-MM) that have entries, each with its latest mood."""
        rows = await self._query(
            # SQLite gives the other columns of the row that has the max(id).
            "SELECT date, count(*), mood, max(id) FROM entries"
            " WHERE deleted_at IS NULL AND date BETWEEN ? AND ? GROUP BY date ORDER BY date",
            (f"{month}-01", f"{month}-31"),
        )
        return [{"date": date, "count": count, "mood": mood} for date, count, mood, _ in rows]

    async def on_these_days_before(self, days: tuple[str, ...], today: str) -> list[Entry]:
        """Entries of earlier years on any of `days` (MM-DD), newest first."""
        marks = ", ".join("?" * len(days))
        rows = await self._query(
            f"SELECT {COLUMNS} FROM entries WHERE deleted_at IS NULL AND substr(date, 6) IN ({marks})"
            " AND substr(date, 1, 4) < ? ORDER BY date DESC, id DESC LIMIT 20",
            (*days, today[:4]),
        )
        return [Entry(*row) for row in rows]


async def migrate(db: aiosqlite.Connection) -> None:
    [(version,)] = await db.execute_fetchall("PRAGMA user_version")
    if version > len(MIGRATIONS):
        raise sqlite3.DatabaseError(f"written by a newer diary (version {version})")
    for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
        await db.executescript(f"BEGIN IMMEDIATE; {script} PRAGMA user_version = {number}; COMMIT;")


def conditions(which: Filter) -> tuple[str, tuple[object, ...]]:
    where = ["deleted_at IS NULL"]
    values: list[object] = []
    for word in which.words:
        pattern = "%" + word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        where.append("(title LIKE ? ESCAPE '\\' OR body LIKE ? ESCAPE '\\')")
        values += (pattern, pattern)
    for sql, value in (("date >= ?", which.from_date), ("date <= ?", which.to_date)):
        if value is not None:
            where.append(sql)
            values.append(value)
    return " AND ".join(where), tuple(values)


def stamp(offset: timedelta = timedelta()) -> str:
    """Now, plus an offset, as text that sorts by time."""
    return (datetime.now(UTC) + offset).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def trouble_of(error: Exception) -> StorageTrouble:
    name = getattr(error, "sqlite_errorname", "") or type(error).__name__
    is_full = name.startswith("SQLITE_FULL") or getattr(error, "errno", None) == errno.ENOSPC
    return StorageTrouble(f"{name}: {error}", full=is_full)
