"""The database: group commit, atomic units, readers, full disks, and the schema's own invariants."""

from __future__ import annotations

import asyncio
import os
import random
import re
import sqlite3
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any

import pytest
from alembic import command

from engine.errors import Broken, Transient
from engine.store import database as store
from engine.store.database import Database, Tx, UniqueViolation
from engine.store.migrate import alembic_config, migrate, newest_revision

Open = Callable[..., Awaitable[Database]]


@pytest.fixture
async def open_database(tmp_path: Path) -> AsyncIterator[Open]:
    """`await open_database()`: a migrated database with a table `marks`; closed after the test."""
    opened: list[Database] = []

    async def open_one(path: Path = tmp_path / "madang.sqlite3") -> Database:
        migrate(path)
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS marks (unit INTEGER, part INTEGER, blob BLOB)")
        opened.append(await Database.open(path))
        return opened[-1]

    yield open_one
    for one in opened:
        await one.close()


async def mark(tx: Tx, unit: int, part: int = 0, size: int = 0) -> None:
    await tx.run("INSERT INTO marks VALUES (?, ?, zeroblob(?))", unit, part, size)


def on_disk(path: Path) -> dict[int, int]:
    """What any other program sees: unit -> how many of its parts."""
    with closing(sqlite3.connect(path)) as connection:
        return dict(connection.execute("SELECT unit, count(*) FROM marks GROUP BY unit"))


# --- group commit


async def test_each_of_many_units_at_once_is_on_disk_when_it_returns(
    open_database: Open, tmp_path: Path
) -> None:
    database = await open_database()

    async def unit(number: int) -> None:
        async with database.write() as tx:
            await mark(tx, number)
        assert on_disk(tmp_path / "madang.sqlite3")[number] == 1

    await asyncio.gather(*(unit(number) for number in range(200)))
    assert on_disk(tmp_path / "madang.sqlite3") == dict.fromkeys(range(200), 1)


async def test_units_that_queue_together_share_their_commits(open_database: Open) -> None:
    database = await open_database()
    statements: list[str] = []
    await database._writer.set_trace_callback(statements.append)

    async def unit(number: int) -> None:
        async with database.write() as tx:
            await mark(tx, number)

    await asyncio.gather(*(unit(number) for number in range(100)))
    assert 1 <= sum(text.startswith("COMMIT") for text in statements) <= 5


async def test_a_unit_alone_does_not_wait_for_company(open_database: Open) -> None:
    database = await open_database()
    async with asyncio.timeout(5):
        for number in range(20):
            async with database.write() as tx:
                await mark(tx, number)


async def test_a_unit_that_raises_undoes_only_itself(open_database: Open, tmp_path: Path) -> None:
    database = await open_database()

    async def unit(number: int) -> None:
        async with database.write() as tx:
            await mark(tx, number, 1)
            await mark(tx, number, 2)
            if number % 3 == 0:
                raise LookupError(number)

    results = await asyncio.gather(*(unit(number) for number in range(60)), return_exceptions=True)
    assert [isinstance(result, LookupError) for result in results] == [n % 3 == 0 for n in range(60)]
    assert on_disk(tmp_path / "madang.sqlite3") == {n: 2 for n in range(60) if n % 3}


async def test_a_refused_statement_leaves_the_rest_of_its_unit_alone(open_database: Open) -> None:
    """Callers turn a refusal of an index into an answer, and go on."""
    database = await open_database()
    async with database.write() as tx:
        await tx.run("INSERT INTO installation VALUES ('a', '1')")
        with pytest.raises(UniqueViolation) as refused:
            await tx.run("INSERT INTO installation VALUES ('a', '2')")
        await tx.run("INSERT INTO installation VALUES ('b', '3')")
    assert refused.value.columns == "installation.key"
    async with database.read() as tx:
        assert [row["value"] for row in await tx.all("SELECT value FROM installation ORDER BY key")] == [
            "1",
            "3",
        ]


async def test_a_mistake_in_sql_stays_a_bug(open_database: Open) -> None:
    database = await open_database()
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        async with database.write() as tx:
            await tx.run("INSERT INTO nowhere VALUES (1)")
    with pytest.raises(sqlite3.IntegrityError, match="NOT NULL"):
        async with database.write() as tx:
            await tx.run("INSERT INTO installation VALUES ('a', NULL)")


# --- cancellation


async def _cancelled_now_and_then(database: Database, chance: random.Random, units: int) -> list[object]:
    """Runs units of two parts each, and cancels about half of them, some twice, after any number of loop turns."""

    async def unit(number: int) -> None:
        async with database.write() as tx:
            await mark(tx, number, 1)
            await mark(tx, number, 2)

    async def turns(count: int) -> None:
        for _ in range(count):
            await asyncio.sleep(0)

    tasks = [asyncio.create_task(unit(number)) for number in range(units)]

    async def cancel(task: asyncio.Task[None]) -> None:
        await turns(chance.randrange(400))
        task.cancel()
        if chance.random() < 0.5:
            await turns(chance.randrange(5))
            task.cancel()

    victims = [task for task in tasks if chance.random() < 0.5]
    await asyncio.gather(*(cancel(task) for task in victims))
    return list(await asyncio.gather(*tasks, return_exceptions=True))


@pytest.mark.parametrize("seed", range(25))
async def test_cancelled_units_are_whole_or_not_there_and_harm_nobody(
    open_database: Open, tmp_path: Path, seed: int
) -> None:
    database = await open_database()
    async with asyncio.timeout(60):
        results = await _cancelled_now_and_then(database, random.Random(seed), 40)
        async with database.write() as tx:
            await mark(tx, 1000)
    found = on_disk(tmp_path / "madang.sqlite3")
    assert found.pop(1000) == 1
    assert set(found.values()) <= {2}, "half of a unit is on disk"
    for number, result in enumerate(results):
        assert result is None or isinstance(result, asyncio.CancelledError), result
        assert result is not None or number in found, "a unit that returned is not on disk"


async def test_a_unit_cancelled_inside_its_block_is_undone(open_database: Open, tmp_path: Path) -> None:
    database = await open_database()
    inside = asyncio.Event()

    async def unit() -> None:
        async with database.write() as tx:
            await mark(tx, 1)
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(unit())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with database.write() as tx:
        await mark(tx, 2)
    assert on_disk(tmp_path / "madang.sqlite3") == {2: 1}


@pytest.mark.parametrize("turns", range(12))
async def test_cancelling_twice_at_once_leaves_the_writer_usable(
    open_database: Open, tmp_path: Path, turns: int
) -> None:
    """A deadline and the end of the program may come together; the second must not cut the tidying short."""
    database = await open_database()

    async def unit() -> None:
        async with database.write() as tx:
            await mark(tx, 1)
            await mark(tx, 2)

    task = asyncio.create_task(unit())
    for _ in range(turns):
        await asyncio.sleep(0)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    await asyncio.wait([task])
    async with asyncio.timeout(5), database.write() as tx:
        await mark(tx, 3)
    assert on_disk(tmp_path / "madang.sqlite3") in ({3: 1}, {1: 1, 2: 1, 3: 1})


async def test_a_cancelled_reader_gives_its_place_back(open_database: Open) -> None:
    database = await open_database()

    async def reading() -> None:
        async with database.read() as tx:
            await tx.all("SELECT 1")

    for round_ in range(50):
        task = asyncio.create_task(reading())
        for _ in range(round_ % 5):
            await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    async with asyncio.timeout(5):
        await asyncio.gather(*(reading() for _ in range(10)))


# --- a full disk


async def _outcomes(units: list[Callable[[], Awaitable[None]]]) -> list[str]:
    """How each unit, all asked for at once, ended: "done" or a code."""

    async def outcome(unit: Callable[[], Awaitable[None]]) -> str:
        try:
            await unit()
        except Broken as error:
            return error.code
        return "done"

    return list(await asyncio.gather(*(outcome(unit) for unit in units)))


async def test_a_statement_that_finds_the_disk_full_never_lets_another_believe_that_it_is_on_disk(
    open_database: Open, tmp_path: Path
) -> None:
    """SQLite undoes the whole transaction then, with all the units that share it."""
    database = await open_database()
    async with database.write() as tx:
        pages = await tx.one("PRAGMA page_count")
        assert pages is not None
        await tx.all(f"PRAGMA max_page_count={pages['page_count'] + 2}")

    def unit(number: int, size: int) -> Callable[[], Awaitable[None]]:
        async def write() -> None:
            async with database.write() as tx:
                await mark(tx, number, size=size)

        return write

    ends = await _outcomes([unit(1, 10), unit(2, 10), unit(3, 200_000), unit(4, 10)])
    found = on_disk(tmp_path / "madang.sqlite3")
    assert ends[2] == "disk_full"
    assert {number for number, end in enumerate(ends, start=1) if end == "done"} == set(found)
    assert set(ends) <= {"done", "disk_full"}
    assert await _outcomes([unit(5, 10)]) == ["done"]
    assert 5 in on_disk(tmp_path / "madang.sqlite3")


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB of its own."""
    place = tmp_path / "tiny"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting takes a privilege that is not there")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


async def test_a_disk_that_is_full_at_the_commit_fails_every_unit_of_the_batch_and_heals(
    open_database: Open, tiny_disk: Path
) -> None:
    database = await open_database(tiny_disk / "madang.sqlite3")
    ballast = tiny_disk / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))

    def unit(number: int) -> Callable[[], Awaitable[None]]:
        async def write() -> None:
            async with database.write() as tx:
                await mark(tx, number, size=30_000)

        return write

    assert await _outcomes([unit(number) for number in range(5)]) == ["disk_full"] * 5
    async with database.read() as tx:
        assert await tx.all("SELECT * FROM marks") == []
    ballast.unlink()
    assert await _outcomes([unit(7)]) == ["done"]
    assert on_disk(tiny_disk / "madang.sqlite3") == {7: 1}


# --- readers, and other programs


async def test_readers_see_only_what_is_committed(open_database: Open) -> None:
    database = await open_database()

    async def seen() -> int:
        async with database.read() as tx:
            return len(await tx.all("SELECT * FROM marks"))

    async with database.write() as tx:
        await mark(tx, 1)
        assert await seen() == 0
    assert await seen() == 1
    with suppress(LookupError):
        async with database.write() as tx:
            await mark(tx, 2)
            raise LookupError
    assert await seen() == 1


async def test_readers_cannot_write(open_database: Open) -> None:
    database = await open_database()
    with pytest.raises(Broken):
        async with database.read() as tx:
            await mark(tx, 1)


async def test_foreign_keys_hold(open_database: Open) -> None:
    database = await open_database()
    with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
        async with database.write() as tx:
            await tx.run("INSERT INTO sessions VALUES ('hash', 'nobody', 0, 0)")


_OTHER_PROGRAM = """
import asyncio, sys
from pathlib import Path
from engine.store.database import Database

async def main() -> None:
    database = await Database.open(Path(sys.argv[1]))

    async def unit(number: int) -> None:
        async with database.write() as tx:
            await tx.run("INSERT INTO marks VALUES (?, 0, NULL)", number)

    await asyncio.gather(*(unit(number) for number in range(1000, 1100)))
    await database.close()

asyncio.run(main())
"""


async def test_two_programs_write_side_by_side(open_database: Open, tmp_path: Path) -> None:
    database = await open_database()
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-c", _OTHER_PROGRAM, str(tmp_path / "madang.sqlite3"),
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )  # fmt: skip

    async def unit(number: int) -> None:
        async with database.write() as tx:
            await mark(tx, number)

    for number in range(100):
        await unit(number)
    assert await other.wait() == 0
    assert on_disk(tmp_path / "madang.sqlite3") == dict.fromkeys([*range(100), *range(1000, 1100)], 1)


async def test_another_program_that_holds_the_database_too_long_is_transient(
    open_database: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_BUSY_MS", 20)
    database = await open_database()
    with closing(sqlite3.connect(tmp_path / "madang.sqlite3", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Transient):
            async with database.write() as tx:
                await mark(tx, 1)
        other.execute("ROLLBACK")
    async with database.write() as tx:
        await mark(tx, 2)
    assert on_disk(tmp_path / "madang.sqlite3") == {2: 1}


async def test_a_file_that_is_no_database_is_told_and_leaves_no_thread_behind(tmp_path: Path) -> None:
    import threading

    garbage = tmp_path / "madang.sqlite3"
    garbage.write_bytes(b"not a database at all, whatever its name says" * 100)
    before = threading.active_count()
    with pytest.raises(Broken) as refused:
        await asyncio.to_thread(migrate, garbage)
    assert str(garbage) in str(refused.value)
    with pytest.raises(Broken):
        await Database.open(garbage)
    for thread in threading.enumerate():
        if "_connection_worker_thread" in thread.name:
            await asyncio.to_thread(thread.join, 10)
            assert not thread.is_alive()
    assert threading.active_count() <= before + 1  # asyncio's own


@asynccontextmanager
async def _closing(database: Database) -> AsyncIterator[Database]:
    try:
        yield database
    finally:
        await database.close()


async def test_closing_waits_for_what_is_being_committed(tmp_path: Path) -> None:
    path = tmp_path / "madang.sqlite3"
    migrate(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE marks (unit INTEGER, part INTEGER, blob BLOB)")
    async with _closing(await Database.open(path)) as database:

        async def unit() -> None:
            async with database.write() as tx:
                await mark(tx, 1)

        task = asyncio.create_task(unit())
        while database._batch is None:
            await asyncio.sleep(0)
        async with database._line:
            pass
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    assert on_disk(path) == {1: 1}


# --- migrations


def _schema(path: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(
            "SELECT name, coalesce(sql, '') FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY name"
        )
        return [(name, re.sub(r"\s+", " ", sql)) for name, sql in rows]


def test_a_fresh_database_is_made_private_in_wal_mode_and_of_the_newest_revision(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "madang.sqlite3"
    migrate(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == (
            newest_revision(),
        )


def test_migrating_again_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "madang.sqlite3"
    migrate(path)
    before = path.read_bytes()
    migrate(path)
    assert path.read_bytes() == before


def test_the_database_of_a_newer_madang_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "madang.sqlite3"
    migrate(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(Broken) as refused:
        migrate(path)
    assert (refused.value.code, refused.value.params) == ("database_newer", {"found": "9999"})


def test_down_and_up_again_gives_the_same_schema(tmp_path: Path) -> None:
    path = tmp_path / "madang.sqlite3"
    migrate(path)
    schema = _schema(path)
    command.downgrade(alembic_config(path), "base")
    assert {name for name, _ in _schema(path)} == {"alembic_version"}
    migrate(path)
    assert _schema(path) == schema


@pytest.mark.parametrize("name", ["50% of it", "what?", "a#b", "한글 이름", "a;b=c"])
def test_any_folder_name_will_do(tmp_path: Path, name: str) -> None:
    path = tmp_path / name / "madang.sqlite3"
    migrate(path)
    assert "apps" in {table for table, _ in _schema(path)}
    assert list(tmp_path.iterdir()) == [tmp_path / name]


def test_a_migration_that_is_interrupted_leaves_nothing_half_done(tmp_path: Path) -> None:
    """The last table of the first migration is in its way; without it, the next start goes through."""
    path = tmp_path / "madang.sqlite3"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE seen_updates (x)")
    with pytest.raises(Exception, match="already exists"):
        migrate(path)
    assert {name for name, _ in _schema(path)} <= {"alembic_version", "seen_updates"}
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE seen_updates")
    migrate(path)
    assert "apps" in {name for name, _ in _schema(path)}


# --- invariants live in the database


_ACCOUNT = "INSERT INTO accounts (id, userid, email, role, created_at) VALUES (?, ?, ?, 'user', 0)"
_APP = (
    "INSERT INTO apps (id, owner_id, userid, name, kind, template, title, phase, slot, settings, created_at,"
    " changed_at) VALUES (?, 'a1', 'alice', ?, 'container', 't', 'T', 'running', ?, '{}', 0, 0)"
)
_OPERATION = (
    "INSERT INTO operations (id, kind, app_id, owner_id, target, via, state, journal, payload, lease_until,"
    " not_before, created_at, error_params) VALUES (?, ?, ?, 'a1', 'x', 'api', ?, '{}', '{}', 0, 0, 0, '{}')"
)
_SET_UP: list[tuple[Any, ...]] = [
    (_ACCOUNT, "a1", "alice", "alice@example.com"),
    (_APP, "p1", "diary", 1),
    (_OPERATION, "o1", "start", "p1", "running"),
    (_OPERATION, "o2", "start", "p1", "queued"),
    ("INSERT INTO routes VALUES ('p1', 'alice-diary', '10.0.0.1:3000')",),
    ("INSERT INTO chats (id, surface, address, locale, state, created_at, changed_at) VALUES ('c1', 's', 'x', 'ko', '{}', 0, 0)",),
]  # fmt: skip
_REFUSED: dict[str, tuple[Any, ...]] = {
    "a handle twice": (_ACCOUNT, "a2", "alice", None),
    "an email twice": (_ACCOUNT, "a2", "bob", "alice@example.com"),
    "a name twice": (_APP, "p2", "diary", 2),
    "a slot twice": (_APP, "p2", "other", 1),
    "two running on one app": (_OPERATION, "o3", "stop", "p1", "running"),
    "two queued of one kind": (_OPERATION, "o3", "start", "p1", "queued"),
    "an operation id twice": (_OPERATION, "o1", "stop", "p9", "queued"),
    "a second route of an app": ("INSERT INTO routes VALUES ('p1', 'alice-x', '10.0.0.2:3000')",),
    "a label twice": ("INSERT INTO routes VALUES ('p2', 'alice-diary', '10.0.0.2:3000')",),
    "a chat twice": (
        "INSERT INTO chats (id, surface, address, locale, state, created_at, changed_at) VALUES ('c2', 's', 'x', 'ko', '{}', 0, 0)",
    ),
}  # fmt: skip
_ALLOWED: dict[str, tuple[Any, ...]] = {
    "two without an email": (_ACCOUNT, "a2", "bob", None),
    "another kind queued": (_OPERATION, "o3", "stop", "p1", "queued"),
    "a second ended one": (_OPERATION, "o3", "start", "p1", "succeeded"),
    "one running on another app": (_OPERATION, "o3", "start", "p2", "running"),
}


@pytest.fixture
async def populated(open_database: Open) -> Database:
    database = await open_database()
    async with database.write() as tx:
        for sql, *params in _SET_UP:
            await tx.run(sql, *params)
        await tx.run(_ACCOUNT, "a0", "zoe", None)
    return database


@pytest.mark.parametrize("what", _REFUSED)
async def test_the_database_itself_refuses(populated: Database, what: str) -> None:
    sql, *params = _REFUSED[what]
    with pytest.raises(UniqueViolation):
        async with populated.write() as tx:
            await tx.run(sql, *params)


@pytest.mark.parametrize("what", _ALLOWED)
async def test_the_database_allows(populated: Database, what: str) -> None:
    sql, *params = _ALLOWED[what]
    async with populated.write() as tx:
        assert await tx.run(sql, *params) == 1


async def test_a_route_goes_with_its_app(populated: Database) -> None:
    async with populated.write() as tx:
        await tx.run("DELETE FROM apps WHERE id = 'p1'")
    async with populated.read() as tx:
        assert await tx.all("SELECT * FROM routes") == []
