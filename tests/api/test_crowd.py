"""500 apps at once (SPEC 8): all live, no error, and soon."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable

import aiohttp
import pytest

from tests.api.conftest import StartBox
from tests.support.api import Api

MANY = 500
APPS = "/api/v1/apps"


@pytest.mark.timeout(240)
async def test_500_apps_at_once_are_all_live(
    start_box: StartBox, record_property: Callable[[str, object], None]
) -> None:
    async with start_box(max_apps_per_user=MANY, max_total_apps=MANY, worker_concurrency=32) as box:
        people = [await box.person(f"person{number}") for number in range(10)]
        took_ms: list[float] = []
        # Each person is one program with 50 connections of its own at most.
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=MANY)) as session:

            async def make(api: Api, name: str) -> str:
                began = time.perf_counter()
                body = {"appname": name, "templateId": "homepage-v1"}
                headers = {"Authorization": f"Bearer {api.token}"}
                async with session.post(box.url + APPS, json=body, headers=headers) as response:
                    assert response.status == 202, await response.text()
                    answer = await response.json()
                took_ms.append((time.perf_counter() - began) * 1000)
                return str(answer["data"]["operation"]["id"])

            began = time.perf_counter()
            asked = await asyncio.gather(
                *(make(people[number % 10], f"app{number}") for number in range(MANY))
            )
            accepted_s = time.perf_counter() - began
            ended = await asyncio.gather(
                *(people[number % 10].ended(operation, 120) for number, operation in enumerate(asked))
            )
            total_s = time.perf_counter() - began
        assert {operation["state"] for operation in ended} == {"succeeded"}
        for person in people:
            found = await person.call("GET", APPS)
            assert [one["status"] for one in found] == ["running"] * (MANY // 10)
        assert len(box.edge.routes) == len(await box.runtime.list_owned()) == MANY
        assert len(set(box.edge.routes.values())) == MANY
        cuts = statistics.quantiles(took_ms, n=100)
        figures = f"POST p50 {cuts[49]:.0f} ms, p99 {cuts[98]:.0f} ms; all accepted {accepted_s:.1f} s, all live {total_s:.1f} s"
        record_property("figures", figures)
        print(figures)
        assert total_s < 60, figures
