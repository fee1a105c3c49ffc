"""What the diary promises about its file: saved means saved, and trouble is told without losing words."""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import resource
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.templates.conftest import KEY, Api, Program, Start


def database_of(diary: Program) -> Path:
    return Path(diary.env["SQLITE_PATH"])


async def test_what_was_answered_survives_a_kill(diary: Program, api: Api) -> None:
    """Writers at full speed, killed in the middle: each answered entry is there, and none is there twice."""
    answered: list[str] = []
    enough = asyncio.Event()

    async def writer(name: str) -> None:
        for number in range(10_000):
            try:
                await api.ok(
                    "POST", "/api/entries", {"body": f"{name}-{number}", "clientId": f"{name}-{number}"}
                )
            except aiohttp.ClientError:
                return
            answered.append(f"{name}-{number}")
            if len(answered) >= 40:
                enough.set()

    async with asyncio.TaskGroup() as writers:
        for name in "abcd":
            writers.create_task(writer(name))
        await enough.wait()
        await diary.kill()
    await diary.start()
    stored, cursor = [], ""
    while cursor is not None:
        page = await api.ok("GET", f"/api/entries?limit=100&cursor={cursor}")
        stored += [entry["body"] for entry in page["entries"]]
        cursor = page["nextCursor"]
    assert set(answered) <= set(stored)
    assert len(stored) == len(set(stored))


async def test_the_file_is_durable_versioned_and_wal(diary: Program, api: Api) -> None:
    await api.ok("POST", "/api/entries", {"body": "x"})
    await diary.stop()
    database = sqlite3.connect(database_of(diary))
    try:
        assert database.execute("PRAGMA user_version").fetchone() == (1,)
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    finally:
        database.close()


async def test_a_file_from_a_newer_diary_is_left_alone(diary: Program, api: Api) -> None:
    await api.ok("POST", "/api/entries", {"body": "x"})
    await diary.stop()
    database = sqlite3.connect(database_of(diary))
    database.execute("PRAGMA user_version = 99")
    database.close()
    await diary.start()
    assert (await api("GET", "/api/entries"))[1]["code"] == "storage_unavailable"


async def test_stop_is_prompt_even_with_a_browser_connected(
    diary: Program, browser_session: aiohttp.ClientSession
) -> None:
    async with browser_session.get(diary.url + "/healthz") as response:
        assert await response.text() == "ok"
    async with asyncio.timeout(1.5):  # the session keeps its connection open
        assert await diary.stop() == 0


async def test_a_file_that_cannot_be_opened_is_told_and_tried_again(
    start_program: Start, diary_folder: Path, tmp_path: Path, diary: Program
) -> None:
    await diary.stop()
    place = tmp_path / "gone" / "db.sqlite3"
    place.parent.write_text("a file where the folder should be")
    await diary.start(SQLITE_PATH=str(place))
    async with aiohttp.ClientSession() as session:
        api = Api(session, diary.url, {"Authorization": f"Bearer {KEY}"})
        for path in ("/healthz", "/api/entries"):
            status, answer = await api("GET", path)
            assert (status, answer["code"]) == (503, "storage_unavailable")
        async with session.get(diary.url + "/", headers={"Cookie": "diary_session=1.x"}) as response:
            assert response.status == 503
            assert "그대로 있으니" in await response.text()
        place.parent.unlink()  # the disk is back
        async with session.get(diary.url + "/healthz") as response:
            assert response.status == 200


async def test_a_write_that_fails_is_an_error_and_reading_goes_on(diary: Program, api: Api) -> None:
    """The kernel refuses to let any file grow, as a failing disk would."""
    await api.ok("POST", "/api/entries", {"body": "그 전에 쓴 글"})
    _, hard = resource.prlimit(diary.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(diary.pid, resource.RLIMIT_FSIZE, (1024, hard))
    status, answer = await api("POST", "/api/entries", {"body": "가" * 30_000, "clientId": "c"})
    assert (status, answer["code"]) == (503, "storage_unavailable")
    assert [e["body"] for e in (await api.ok("GET", "/api/entries"))["entries"]] == ["그 전에 쓴 글"]
    resource.prlimit(diary.pid, resource.RLIMIT_FSIZE, (hard, hard))
    assert (await api("POST", "/api/entries", {"body": "가" * 30_000, "clientId": "c"}))[0] == 201


@pytest.fixture
def diary_modules(diary_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    monkeypatch.syspath_prepend(str(diary_folder))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield importlib.import_module
    for name in [name for name in sys.modules if name.split(".")[0] in {"diary", "main"}]:
        del sys.modules[name]


async def test_a_full_disk_is_507(
    diary_modules: Callable[[str], Any], aiohttp_client: Any, tmp_path: Path
) -> None:
    """SQLite's own limit on pages gives the very error of a full disk."""
    api, main = diary_modules("diary.api"), diary_modules("main")
    key_hash = hashlib.sha256(KEY.encode()).hexdigest()
    settings = diary_modules("diary.settings").Settings.from_environ(
        {"OWNER_KEY_SHA256": key_hash, "SQLITE_PATH": str(tmp_path / "db")}
    )
    app = main.build_app(settings)
    client = await aiohttp_client(app)
    # Some builds of SQLite wipe and sync like this by themselves; the image's need not.
    assert await app[api.STORE]._query("PRAGMA secure_delete") == [(1,)]
    assert await app[api.STORE]._query("PRAGMA synchronous") == [(2,)]  # FULL
    await app[api.STORE]._query("PRAGMA max_page_count = 8")
    headers = {"Authorization": f"Bearer {KEY}"}
    response = await client.post("/api/entries", json={"body": "가" * 30_000}, headers=headers)
    assert (response.status, (await response.json())["code"]) == (507, "disk_full")
    response = await client.get("/api/entries", headers=headers)
    assert (await response.json())["data"]["entries"] == []


async def test_deleted_words_are_wiped_after_a_day(diary: Program, api: Api) -> None:
    entry = await api.ok("POST", "/api/entries", {"body": "지워질 비밀"})
    await api.ok("DELETE", f"/api/entries/{entry['id']}")
    await diary.stop()
    database = sqlite3.connect(database_of(diary))
    database.execute("UPDATE entries SET deleted_at = '2020-01-01T00:00:00.000Z'")
    database.commit()
    database.close()
    await diary.start()
    assert (await api("POST", f"/api/entries/{entry['id']}/restore"))[0] == 404
    await diary.stop()
    assert "지워질 비밀".encode() not in database_of(diary).read_bytes()
