"""Event streams: everything that happened, in order, from wherever one left off, and no longer than anybody listens."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from engine.errors import Transient
from tests.api.conftest import Box, StartBox
from tests.support.api import Api

APPS = "/api/v1/apps"
STEPS = ["files", "container", "route", "ready", "verify"]


class Stream:
    """One connection to an event stream."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def next(self) -> tuple[str, dict[str, object], str | None] | None:
        """(event, data, id) of the next event; None at the end."""
        event: dict[str, str] = {}
        async with asyncio.timeout(20):
            while line := await self.response.content.readline():
                name, _, value = line.decode().rstrip("\r\n").partition(": ")
                if name:
                    event[name] = value
                elif "data" in event:
                    return event["event"], json.loads(event["data"]), event.get("id")
        return None


@asynccontextmanager
async def stream(box: Box, api: Api, path: str) -> AsyncIterator[Stream]:
    headers = {"Authorization": f"Bearer {api.token}"}
    async with aiohttp.ClientSession() as session, session.get(box.url + path, headers=headers) as response:
        assert response.status == 200
        assert response.headers["Content-Type"].startswith("text/event-stream")
        assert response.headers["X-Accel-Buffering"] == "no"
        yield Stream(response)


async def make(api: Api, name: str = "diary") -> str:
    """Asks for an app; the operation's id."""
    answer = await api.call("POST", APPS, {"appname": name, "templateId": "homepage-v1"})
    return str(answer["operation"]["id"])


# --- operations


async def test_an_operation_tells_every_step_and_its_end(box: Box, alice: Api) -> None:
    operation = await make(alice)
    events = await alice.events(operation)
    assert [event["event"] for event in events] == ["queued", *["step"] * len(STEPS), "ended"]
    assert [event["data"]["step"] for event in events[1:-1]] == STEPS
    assert events[-1]["data"]["state"] == "succeeded"
    ids = [int(event["id"]) for event in events]
    assert ids == sorted(set(ids))
    shown = await alice.call("GET", f"/api/v1/operations/{operation}")
    assert (shown["kind"], shown["target"], shown["state"]) == ("create", "alice/diary", "succeeded")
    assert (shown["step"], shown["error"]) == ("verify", None)
    assert shown["finishedAt"] >= shown["createdAt"]


async def test_whoever_comes_late_gets_all_of_it_and_whoever_comes_again_the_rest(
    box: Box, alice: Api
) -> None:
    operation = await make(alice)
    events = await alice.events(operation)
    assert await alice.events(operation) == events
    for index, event in enumerate(events):
        assert await alice.events(operation, event["id"]) == events[index + 1 :], "and nobody waits for more"


async def test_events_come_as_they_happen(box: Box, alice: Api) -> None:
    box.hold("alice", "diary")
    operation = await make(alice)
    async with stream(box, alice, f"/api/v1/operations/{operation}/events") as events:
        told = [await events.next() for _ in range(1 + len(STEPS))]
        assert told[-1] is not None
        assert told[-1][1]["step"] == "verify"
        assert (await alice.call("GET", f"/api/v1/operations/{operation}"))["state"] == "running"
        await box.let_go("alice", "diary")
        last = await events.next()
        assert last is not None
        assert last[0] == "ended"
        assert await events.next() is None


async def test_many_listen_to_one_operation(box: Box, alice: Api) -> None:
    box.hold("alice", "diary")
    operation = await make(alice)
    listening = [asyncio.create_task(alice.events(operation)) for _ in range(20)]
    await box.let_go("alice", "diary")
    heard = await asyncio.gather(*listening)
    assert all(events == heard[0] and events[-1]["event"] == "ended" for events in heard)


async def test_a_failed_operation_says_why_in_words(box: Box, alice: Api) -> None:
    box.runtime.occupy("paas-app-alice-diary")
    operation = await make(alice)
    events = await alice.events(operation)
    assert [event["event"] for event in events][-2:] == ["undo", "ended"]
    assert events[-1]["data"]["code"] == "name_taken_on_box"
    shown = await alice.call("GET", f"/api/v1/operations/{operation}")
    assert shown["error"]["code"] == "name_taken_on_box"
    assert "paas-app-alice-diary" in shown["error"]["message"]
    korean = await box.send(
        "GET", f"/api/v1/operations/{operation}", as_=alice, headers={"Accept-Language": "ko"}
    )
    assert korean.json["data"]["error"]["message"] != shown["error"]["message"]


# --- logs


async def test_the_last_lines_of_a_log(box: Box, alice: Api) -> None:
    await alice.create("diary")
    for number in range(150):
        box.runtime.say("paas-app-alice-diary", f"line {number} 한글 \x1b[31m")
    found = await alice.call("GET", f"{APPS}/alice/diary/logs")
    assert len(found["lines"]) == 100
    assert found["lines"][-1].startswith("line 149 한글")
    assert (await alice.call("GET", f"{APPS}/alice/diary/logs?lines=1"))["lines"] == found["lines"][-1:]


async def test_a_log_is_followed_until_the_program_ends(box: Box, alice: Api) -> None:
    await alice.create("diary")
    async with stream(box, alice, f"{APPS}/alice/diary/logs?follow=1&lines=1") as log:
        first = await log.next()
        assert first is not None
        assert first[0] == "log"
        box.runtime.say("paas-app-alice-diary", "안녕 {x} \r fake: event")
        assert await log.next() == ("log", {"line": "안녕 {x} \r fake: event"}, None)
        await alice.change("diary", "stop")
        assert await log.next() == ("end", {}, None)
        assert await log.next() is None


async def test_following_the_log_of_what_does_not_run_ends_at_once(box: Box, alice: Api) -> None:
    await alice.create("diary")
    await alice.change("diary", "delete")
    async with stream(box, alice, f"{APPS}/alice/diary/logs?follow=true") as log:
        assert await log.next() == ("end", {}, None)


async def test_whoever_leaves_is_not_listened_for_any_longer(
    box: Box, alice: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A silent log or a long operation would else keep each closed window of a browser for ever."""
    monkeypatch.setattr("engine.http.streams.PING_S", 0.02)
    await alice.create("diary")
    box.hold("alice", "other")
    operation = await make(alice, "other")
    listeners = box.runtime._outputs["paas-app-alice-diary"].listeners
    async with (
        stream(box, alice, f"{APPS}/alice/diary/logs?follow=1&lines=1") as log,
        stream(box, alice, f"/api/v1/operations/{operation}/events") as events,
    ):
        await log.next()
        await events.next()
        assert len(listeners) == 1
    async with asyncio.timeout(20):
        while listeners:
            await asyncio.sleep(0)
    await box.let_go("alice", "other")
    await alice.ended(operation)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_runtime_that_goes_away_ends_a_followed_log_with_the_reason(
    box: Box, alice: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def breaks(*_: object, **__: object) -> AsyncIterator[str]:
        yield "the last line"
        raise Transient("runtime_down")

    await alice.create("diary")
    monkeypatch.setattr(box.runtime, "follow_logs", breaks)
    async with stream(box, alice, f"{APPS}/alice/diary/logs?follow=1") as log:
        assert await log.next() == ("log", {"line": "the last line"}, None)
        told = await log.next()
        assert told is not None
        assert (told[0], told[1]["code"]) == ("error", "runtime_down")
        assert await log.next() is None


async def test_a_bug_on_the_way_ends_the_stream_and_is_logged_once(
    box: Box, alice: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def breaks(*_: object, **__: object) -> AsyncIterator[str]:
        yield "the last line"
        raise ZeroDivisionError("secret")

    await alice.create("diary")
    monkeypatch.setattr(box.runtime, "follow_logs", breaks)
    async with stream(box, alice, f"{APPS}/alice/diary/logs?follow=1") as log:
        await log.next()
        assert await log.next() is None
    assert len([record for record in caplog.records if record.exc_info]) == 1


async def test_open_streams_do_not_hold_up_the_end(start_box: StartBox) -> None:
    async with start_box() as box:
        alice = await box.person("alice")
        await alice.create("diary")
        headers = {"Authorization": f"Bearer {alice.token}"}
        session = aiohttp.ClientSession()
        response = await session.get(f"{box.url}{APPS}/alice/diary/logs?follow=1", headers=headers)
        await Stream(response).next()
        began = asyncio.get_running_loop().time()
    took = asyncio.get_running_loop().time() - began
    response.close()
    await session.close()
    assert took < 3, f"{took:.1f} s"
