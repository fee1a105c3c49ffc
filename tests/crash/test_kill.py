"""kill -9 of the engine before and after each effect of create, stop and delete (DESIGN: commit intent, then act).

For each change: one run counts its effects, then for each of them, before and after it, the engine is killed there and
started again. Afterwards everything is finished or rolled back, nothing is left over, and a stranger is untouched.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiodocker import Docker

from tests.support.api import Api, Refusal
from tests.support.engine import Engine
from tests.support.visitor import visitor

pytestmark = [pytest.mark.crash, pytest.mark.timeout(900)]
NAME = "diary"


@dataclass(frozen=True)
class Change:
    """A change to be interrupted: what stands before it, how it is asked for, and the states that it may end in."""

    verb: str
    body: dict[str, Any] | None
    before: str | None
    ends: frozenset[str | None]


CHANGES = {
    "create": Change("create", None, None, frozenset({"running", None})),
    "stop": Change("stop", None, "running", frozenset({"running", "stopped"})),
    "start": Change("start", None, "stopped", frozenset({"running", "stopped"})),
    "trash": Change("delete", None, "running", frozenset({"running", "trashed"})),
    "purge": Change("delete", {"keepData": False}, "running", frozenset({"running", None})),
}


class Box:
    """The engine under test, and every place where something of an app could be left over."""

    def __init__(self, engine: Engine, userid: str) -> None:
        self.engine = engine
        self.userid = userid

    @property
    def folder(self) -> Path:
        return self.engine.root / "var" / "apps" / self.userid / NAME

    async def instances(self) -> dict[str, bool]:
        """Every instance of this user's: name -> running."""
        if self.engine.driver == "memory":
            files = (self.engine.root / "var" / "memory").glob("*.json")
            found = [json.loads(file.read_text()) for file in files]
            return {one["name"]: one["state"] == "running" for one in found}
        async with Docker() as docker:
            filters = {"label": [f"paas.userid={self.userid}"]}
            listed = await docker.containers.list(all=True, filters=filters)
            return {one["Names"][0].lstrip("/"): one["State"] == "running" for one in listed}

    def routes(self) -> list[str]:
        """The labels in nginx's table; for the memory runtime those of the database (its edge dies with the engine)."""
        if self.engine.driver == "memory":
            return []
        table = (self.engine.root / "var" / "nginx" / "routes.map").read_text()
        return [line.split()[0] for line in table.splitlines() if line.startswith(self.userid)]

    def rows(self) -> dict[str, int]:
        """What the database still holds of this user's apps."""
        queries = {
            "apps": "SELECT count(*) FROM apps WHERE userid = ?",
            "routes": "SELECT count(*) FROM routes WHERE label LIKE ? || '-%'",
            "unfinished": "SELECT count(*) FROM operations WHERE state IN ('queued', 'running') AND target LIKE ? || '/%'",
        }
        with closing(sqlite3.connect(self.engine.root / "var" / "portal.sqlite3")) as database:
            return {
                name: database.execute(sql, (self.userid,)).fetchone()[0] for name, sql in queries.items()
            }

    async def status(self, api: Api) -> str | None:
        """The app's status once nothing is being done to it any more; None when there is no app."""
        async with asyncio.timeout(60):
            while True:
                try:
                    app = await api.app(NAME)
                except Refusal as refusal:
                    assert refusal.status == 404
                    return None
                if app["operation"] is None:
                    return str(app["status"])
                with suppress(Refusal):
                    await api.ended(app["operation"]["id"])

    async def check_nothing_is_left_over(self, status: str | None) -> None:
        """What there is agrees with `status`, everywhere."""
        instances, name = await self.instances(), f"paas-app-{self.userid}-{NAME}"
        expected = {"running": {name: True}, "stopped": {name: False}, "trashed": {}, None: {}}[status]
        assert instances == expected
        assert self.rows() == {
            "apps": int(status is not None),
            "routes": int(status == "running"),
            "unfinished": 0,
        }
        assert self.folder.exists() == (status is not None)
        staging = self.folder.parent.parent / ".staging"
        assert not staging.exists() or not list(staging.iterdir())
        if self.engine.driver == "docker":
            assert self.routes() == ([f"{self.userid}-{NAME}"] if status == "running" else [])
            await self._check_address(status)

    async def _check_address(self, status: str | None) -> None:
        url = f"http://{self.userid}-{NAME}.localhost:{self.engine.http_port}/healthz"
        async with visitor() as person, person.get(url) as response:
            assert response.status == {"running": 200, "stopped": 503}.get(status or "", 404)


@pytest.fixture(params=["memory", pytest.param("docker", marks=[pytest.mark.docker, pytest.mark.nginx])])
async def box(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Box]:
    tmp_path.chmod(0o755)
    engine = Engine(tmp_path, driver=request.param)
    async with engine:
        yield Box(engine, f"crash{engine.http_port}")


@pytest.fixture
async def stranger(box: Box) -> AsyncIterator[None]:
    """A container that Madang did not make, on the same daemon; at the end it must be as it was."""
    if box.engine.driver == "memory":
        yield
        return
    async with Docker() as docker:
        images = await docker.images.list(filters={"label": ["madang.image=python"]})
        config = {"Image": images[0]["Id"], "Entrypoint": ["sleep", "3600"]}
        container = await docker.containers.run(config, name=f"stranger-{box.userid}")
        try:
            before = await container.show()
            yield
            after = await container.show()
            assert after["State"]["Running"]
            assert after["State"]["StartedAt"] == before["State"]["StartedAt"]
        finally:
            await container.delete(force=True)


async def ask(api: Api, change: Change) -> None:
    """Asks for the change and follows it to its end, or to the engine's."""
    with suppress(aiohttp.ClientError, ConnectionError, asyncio.IncompleteReadError):
        if change.verb == "create":
            await api.create(NAME)
        else:
            await api.change(NAME, change.verb, change.body)


async def bring_to(api: Api, box: Box, wanted: str | None) -> None:
    """Puts the app into the state that a change begins in."""
    status = await box.status(api)
    if status == wanted:
        return
    if status is not None and (wanted is None or status == "trashed"):
        await api.change(NAME, "delete", {"keepData": False})
        status = None
    if status is None and wanted is not None:
        await api.create(NAME)
        status = "running"
    if status != wanted and wanted is not None:
        await api.change(NAME, {"running": "start", "stopped": "stop"}[wanted])


async def count_effects(api: Api, box: Box, change: Change) -> int:
    await bring_to(api, box, change.before)
    box.engine.arm(0, None)
    await ask(api, change)
    await box.status(api)
    return len(box.engine.effects())


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
async def test_a_kill_around_any_effect_leaves_nothing_half_done(
    box: Box, stranger: None, change: Change
) -> None:
    async with box.engine.api() as api:
        await api.register(box.userid)
        effects = await count_effects(api, box, change)
        assert effects >= 4, box.engine.effects()
        for number in range(1, effects + 1):
            for when in ("before", "after"):
                await bring_to(api, box, change.before)
                box.engine.arm(number, when)
                await ask(api, change)
                await box.engine.wait_killed()
                await box.engine.start()
                status = await box.status(api)
                place = f"{when} effect {number} of {box.engine.effects()}"
                assert status in change.ends, place
                await box.check_nothing_is_left_over(status)
        await bring_to(api, box, None)
        await box.check_nothing_is_left_over(None)
