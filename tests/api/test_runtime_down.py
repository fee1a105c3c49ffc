"""Docker down: said plainly, nothing reserved, nothing touched, and healed by itself."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from tests.api.conftest import Answer, Box, StartBox
from tests.support.api import Api, Refusal

APPS = "/api/v1/apps"
WISH = {"appname": "diary", "templateId": "homepage-v1"}


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.worker.BACKOFF_S", (0.01,))
    monkeypatch.setattr("engine.reconciler._SETTLE_S", 0.01)
    monkeypatch.setattr("engine.reconciler._RECONNECT_S", 0.01)


def down(answer: Answer) -> None:
    assert (answer.status, answer.json["code"]) == (503, "runtime_down")
    assert int(answer.headers["Retry-After"]) >= 1
    assert "Docker is not answering" in answer.json["error"]


def rows(box: Box, sql: str) -> list[Any]:
    with closing(sqlite3.connect(box.settings.database_path)) as connection:
        return connection.execute(sql).fetchall()


async def test_creating_says_so_plainly_and_reserves_nothing(box: Box, alice: Api) -> None:
    box.runtime.down = True
    down(await box.send("POST", APPS, as_=alice, json=WISH))
    assert rows(box, "SELECT * FROM apps") == rows(box, "SELECT * FROM operations") == []
    box.runtime.down = False
    assert (await alice.create("diary"))["status"] == "running"


async def test_what_is_wrong_with_the_request_is_told_first(box: Box, alice: Api) -> None:
    box.runtime.down = True
    answer = await box.send("POST", APPS, as_=alice, json=WISH | {"appname": "!"})
    assert (answer.status, answer.json["field"]) == (400, "appname")


async def test_everything_that_is_there_stays_as_it_is(box: Box, alice: Api) -> None:
    await alice.create("diary")
    before = await alice.app("diary")
    box.runtime.down = True
    for verb in ("start", "restart"):
        down(await box.send("POST", f"{APPS}/alice/diary/{verb}", as_=alice))
    for query in ("", "?follow=1"):
        down(await box.send("GET", f"{APPS}/alice/diary/logs{query}", as_=alice))
    after = await alice.app("diary")
    assert {**after, "stats": None} == {**before, "stats": None}
    assert "stats" not in after, "what cannot be known is left out"
    assert box.edge.routes
    assert (await alice.call("GET", APPS))[0]["status"] == "running"
    box.runtime.down = False
    assert (await alice.change("diary", "restart"))["state"] == "succeeded"


async def test_a_restore_is_refused_and_stays_in_the_trash(box: Box, alice: Api) -> None:
    await alice.create("diary")
    await alice.change("diary", "delete")
    box.runtime.down = True
    down(await box.send("POST", f"{APPS}/alice/diary/restore", as_=alice))
    assert (await alice.app("diary"))["status"] == "trashed"


async def test_down_for_a_moment_in_the_middle_of_a_create_is_no_more_than_a_pause(
    box: Box, alice: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.worker.BACKOFF_S", (0.3,))
    real = box.runtime.image

    async def fails(name: str) -> str:
        box.runtime.down = True
        return await real(name)

    monkeypatch.setattr(box.runtime, "image", fails)
    operation = (await alice.call("POST", APPS, WISH))["operation"]["id"]
    await _told(box, "retry")
    box.runtime.down = False
    assert (await alice.ended(operation))["state"] == "succeeded"
    assert (await alice.app("diary"))["status"] == "running"


async def test_down_for_long_in_the_middle_of_a_create_leaves_nothing_once_it_is_back(
    box: Box, alice: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = box.runtime.wait_ready

    async def fails(*args: Any, **more: Any) -> None:
        box.runtime.down = True
        await real(*args, **more)

    monkeypatch.setattr(box.runtime, "wait_ready", fails)
    operation = (await alice.call("POST", APPS, WISH))["operation"]["id"]
    await _told(box, "undo")
    box.runtime.down = False
    with pytest.raises(Refusal) as refused:
        await alice.ended(operation)
    assert refused.value.code == "runtime_down"
    assert await alice.call("GET", APPS) == []
    assert rows(box, "SELECT * FROM routes") == []
    assert box.edge.routes == {}
    assert await box.runtime.list_owned() == []
    assert not (box.settings.apps_dir / "alice").exists()
    monkeypatch.setattr(box.runtime, "wait_ready", real)
    assert (await alice.create("diary"))["status"] == "running"


@pytest.mark.parametrize(("verb", "status"), [("stop", "stopped"), ("delete", "trashed")])
async def test_what_is_asked_for_meanwhile_is_done_once_it_is_back(
    box: Box, alice: Api, verb: str, status: str
) -> None:
    await alice.create("diary")
    box.runtime.down = True
    method, path = ("DELETE", "") if verb == "delete" else ("POST", f"/{verb}")
    operation = (await alice.call(method, f"{APPS}/alice/diary{path}"))["operation"]["id"]
    await _told(box, "retry", times=25)
    box.runtime.down = False
    assert (await alice.ended(operation))["state"] == "succeeded"
    assert (await alice.app("diary"))["status"] == status


async def test_a_program_that_ended_meanwhile_runs_again_afterwards(box: Box, alice: Api) -> None:
    await alice.create("diary")
    box.runtime.down = True
    box.runtime.crash("paas-app-alice-diary")
    box.runtime.down = False
    async with asyncio.timeout(20):
        while (await alice.app("diary")).get("stats") is None:
            pass


async def test_madang_starts_without_it_and_heals_when_it_comes(
    start_box: StartBox, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runtime.memory import MemoryRuntime

    real = MemoryRuntime.__init__

    def starts_down(self: MemoryRuntime, *args: Any) -> None:
        real(self, *args)
        self.down = True

    monkeypatch.setattr(MemoryRuntime, "__init__", starts_down)
    async with start_box() as box:
        alice = await box.person("alice")
        down(await box.send("POST", APPS, as_=alice, json=WISH))
        assert (await box.send("GET", "/api/health")).json["data"]["runtime"] == "down"
        box.runtime.down = False
        assert (await alice.create("diary"))["status"] == "running"
        assert (await box.send("GET", "/api/health")).json["data"]["status"] == "ok"


async def _told(box: Box, kind: str, *, times: int = 1) -> None:
    """Returns once the newest operation has told that so often."""
    async with asyncio.timeout(20):
        while rows(box, f"SELECT count(*) FROM events WHERE kind = '{kind}'")[0][0] < times:
            await asyncio.sleep(0)
