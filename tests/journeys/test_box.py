"""The whole box on real Docker: many at once, limits under pressure, and a Docker that goes away and comes back."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.support.api import Api, Refusal
from tests.support.docker_proxy import DockerLine, docker_line
from tests.support.engine import Engine
from tests.support.visitor import visitor, wait_for_status

pytestmark = [pytest.mark.journey, pytest.mark.docker, pytest.mark.nginx, pytest.mark.timeout(600)]


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    async with Engine(tmp_path, driver="docker") as running:
        yield running


async def asked(api: Api, name: str) -> str:
    """Asks for a diary: its name once it lives, or the code of the refusal."""
    try:
        await api.create(name)
    except Refusal as refusal:
        if refusal.status == 429:
            quota = refusal.body["quota"]
            assert (quota["used"], quota["limit"], quota["requested"]) in ((5, 5, 1), (20, 20, 1)), quota
        return str(refusal.code)
    return name


async def test_twenty_diaries_at_once_all_live_and_not_one_more(engine: Engine) -> None:
    async with AsyncExitStack() as stack:
        people = [await stack.enter_async_context(engine.api()) for _ in range(5)]
        for number, api in enumerate(people):
            await api.register(f"p{number}x{engine.http_port}")
        wishes = [asked(api, f"diary{n}") for api in people[:4] for n in range(7)]
        outcomes = Counter(await asyncio.gather(*wishes))
        assert outcomes["app_quota"] == 8
        assert sum(outcomes[f"diary{n}"] for n in range(7)) == 20, outcomes
        assert await asked(people[4], "diary") == "box_quota"
        assert (
            await asked(people[0], (await people[0].call("GET", "/api/v1/apps"))[0]["appname"])
            == "app_exists"
        )
        apps = [app for api in people[:4] for app in await api.call("GET", "/api/v1/apps")]
        assert {app["status"] for app in apps} == {"running"}
        async with visitor() as person:
            await asyncio.gather(*(wait_for_status(person, f"{app['url']}/healthz", 200) for app in apps))
        assert "Traceback" not in engine.log
        owners = {api.userid: api for api in people}
        everything = {"keepData": False}
        removals = [owners[app["userid"]].change(app["appname"], "delete", everything) for app in apps]
        await asyncio.gather(*removals)


@pytest.fixture
async def cut_engine(tmp_path: Path) -> AsyncIterator[tuple[Engine, DockerLine]]:
    """An engine whose way to Docker can be cut. Socket names are short, so its folder is not pytest's."""
    with tempfile.TemporaryDirectory(prefix="line") as folder:
        async with (
            docker_line(Path(folder)) as line,
            Engine(tmp_path, driver="docker", DOCKER_HOST=line.host) as engine,
        ):
            yield engine, line


async def test_without_docker_creating_says_so_and_what_exists_is_untouched_until_it_heals(
    cut_engine: tuple[Engine, DockerLine],
) -> None:
    engine, line = cut_engine
    async with engine.api() as api, visitor() as person:
        await api.register(f"cut{engine.http_port}")
        first = await api.create("first")
        await line.cut()
        status, body = await api.raw("POST", "/api/v1/apps", {"appname": "second", "templateId": "diary-v1"})
        assert (status, body["code"]) == (503, "runtime_down")
        assert "Docker" in body["error"]
        apps = await api.call("GET", "/api/v1/apps")
        assert [(app["appname"], app["status"]) for app in apps] == [("first", "running")]
        await wait_for_status(person, f"{first['url']}/healthz", 200)
        health = await api.call("GET", "/api/health")
        assert health["runtime"] == "down"

        stopping = await api.call("POST", f"/api/v1/apps/{api.userid}/first/stop")
        await line.mend()
        await api.ended(stopping["operation"]["id"])
        await api.change("first", "start")
        await api.create("second")
        for name in ("first", "second"):
            await api.change(name, "delete", {"keepData": False})


async def test_an_engine_started_without_docker_serves_and_heals(
    cut_engine: tuple[Engine, DockerLine],
) -> None:
    engine, line = cut_engine
    async with engine.api() as api:
        await api.register(f"heal{engine.http_port}")
        await api.create("first")
        await engine.stop()
        await line.cut()
        await engine.start()
        await api.log_in(api.userid)
        assert (await api.app("first"))["status"] == "running"
        with pytest.raises(Refusal, match="runtime_down"):
            await api.create("second")
        await line.mend()
        async with asyncio.timeout(30):
            while (await api.call("GET", "/api/health"))["runtime"] != "ok":
                await asyncio.sleep(0)
        async with asyncio.timeout(30):
            while (await asked(api, "second")) != "second":
                await asyncio.sleep(0)
        for name in ("first", "second"):
            await api.change(name, "delete", {"keepData": False})
