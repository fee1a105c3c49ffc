"""The edge's promises: one suite over every edge, then what only a real nginx can keep."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

import nginx.edge
from engine.errors import Broken, Transient
from engine.ports import Edge, Route
from nginx.edge import NginxEdge
from nginx.process import accepting_workers
from tests.contract.edge_labs import (
    DOMAIN,
    Load,
    MemoryBed,
    NginxBed,
    Visitor,
    eventually,
    free_port,
    logged,
)

DIARY = "mina-diary"
SHOP = "joon-shop"
SECRET = "s3cr3tkey"
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(params=["memory", pytest.param("nginx", marks=pytest.mark.nginx)])
async def bed(request: pytest.FixtureRequest) -> AsyncIterator[MemoryBed | NginxBed]:
    made = MemoryBed() if request.param == "memory" else await NginxBed.make()
    await made.edge.start()
    yield made
    await made.close()


@pytest.fixture
async def real() -> AsyncIterator[NginxBed]:
    made = await NginxBed.make()
    await made.edge.start()
    yield made
    await made.close()


async def answers(edge: Edge, label: str, *, timeout_s: float = 0.2) -> bool:
    try:
        await edge.verify(label, path="/", timeout_s=timeout_s)
    except Transient as error:
        if error.code != "route_not_open":
            raise
        return False
    return True


class TestEveryEdge:
    async def test_a_route_answers_once_applied(self, bed: MemoryBed | NginxBed) -> None:
        await bed.edge.apply([Route(DIARY, await bed.app(DIARY))])
        await bed.edge.verify(DIARY, path="/", timeout_s=2)

    async def test_what_is_not_routed_does_not_answer(self, bed: MemoryBed | NginxBed) -> None:
        assert not await answers(bed.edge, DIARY)

    async def test_each_set_replaces_the_one_before(self, bed: MemoryBed | NginxBed) -> None:
        await bed.edge.apply([Route(DIARY, await bed.app(DIARY))])
        await bed.edge.apply([Route(SHOP, await bed.app(SHOP))])
        assert not await answers(bed.edge, DIARY)
        assert await answers(bed.edge, SHOP)
        await bed.edge.apply([])
        assert not await answers(bed.edge, SHOP)

    async def test_repeating_a_set_does_no_harm(self, bed: MemoryBed | NginxBed) -> None:
        for _ in range(3):
            await bed.edge.apply([Route(DIARY, await bed.app(DIARY))])
        assert await answers(bed.edge, DIARY)

    async def test_of_concurrent_sets_the_newest_wins(self, bed: MemoryBed | NginxBed) -> None:
        address = await bed.app(DIARY)
        sets = [[Route(f"user-app{chr(97 + i % 26)}{i}", address)] for i in range(100)]
        await asyncio.gather(*map(bed.edge.apply, sets))
        assert await answers(bed.edge, sets[-1][0].label)
        assert not await answers(bed.edge, sets[0][0].label)
        assert not await answers(bed.edge, sets[-2][0].label)

    async def test_a_refused_set_leaves_the_old_in_force(self, bed: MemoryBed | NginxBed) -> None:
        await bed.edge.apply([Route(DIARY, await bed.app(DIARY))])
        bed.refuse_next()
        with pytest.raises(Broken) as refusal:
            await bed.edge.apply([Route(SHOP, await bed.app(SHOP))])
        assert refusal.value.code == "edge_refused"
        assert "for the test" in refusal.value.params["detail"]
        assert await answers(bed.edge, DIARY)
        assert not await answers(bed.edge, SHOP)
        await bed.edge.apply([Route(SHOP, await bed.app(SHOP))])
        assert await answers(bed.edge, SHOP)

    @pytest.mark.parametrize(
        ("label", "address"),
        [
            ("nohyphen", "127.0.0.1:3000"),
            ("Mina-diary", "127.0.0.1:3000"),
            ("mina-diary;", "127.0.0.1:3000"),
            ("mina-diary", "127.0.0.1"),
            ("mina-diary", "127.0.0.1:0"),
            ("mina-diary", "127.0.0.1:3000;\n"),
            ("mina-diary", "evil.example:80"),
        ],
    )
    async def test_what_cannot_be_a_route_is_never_wanted(
        self, bed: MemoryBed | NginxBed, label: str, address: str
    ) -> None:
        await bed.edge.apply([Route(SHOP, await bed.app(SHOP))])
        with pytest.raises(ValueError, match=r"label|address"):
            await bed.edge.apply([Route(label, address)])
        assert await answers(bed.edge, SHOP)

    async def test_verify_waits_for_the_route_to_open(self, bed: MemoryBed | NginxBed) -> None:
        route = Route(DIARY, await bed.app(DIARY))
        async with asyncio.TaskGroup() as group:
            group.create_task(bed.edge.verify(DIARY, path="/", timeout_s=5))
            group.create_task(bed.edge.apply([route]))

    async def test_after_its_end_nothing_can_be_applied(self, bed: MemoryBed | NginxBed) -> None:
        await bed.edge.stop()
        await bed.edge.stop()
        with pytest.raises(Transient) as down:
            await bed.edge.apply([])
        assert down.value.code == "edge_down"
        await bed.edge.start()
        await bed.edge.apply([Route(DIARY, await bed.app(DIARY))])
        assert await answers(bed.edge, DIARY)


@pytest.mark.nginx
class TestRouting:
    async def test_requests_reach_the_app_unchanged(self, real: NginxBed) -> None:
        await real.route(DIARY, SHOP)
        answer = await real.visitor.app(DIARY, "/a%20b//c?x=1&y=%2F")
        assert (answer.status, answer.text) == (200, DIARY)
        assert answer.headers["x-frame-options"] == "DENY"
        assert (await real.visitor.app(SHOP)).text == SHOP
        async with real.visitor.session(f"{DIARY}.{DOMAIN}") as session, session.get("/") as again:
            assert await again.text() == DIARY

    async def test_the_bare_domain_is_the_engine(self, real: NginxBed) -> None:
        assert (await real.visitor.get(DOMAIN, "/a?b=c")).text == "engine GET /a?b=c"

    async def test_a_stranger_host_gets_a_page_and_probes_get_health(self, real: NginxBed) -> None:
        answer = await real.visitor.get("elsewhere.example")
        assert (answer.status, answer.headers["x-madang-edge"]) == (404, "unknown_host")
        assert real.engine.reasons == ["unknown_host"]
        assert (await real.visitor.get("127.0.0.1", "/api/health")).status == 200

    async def test_the_apps_own_failure_is_passed_on(self, real: NginxBed) -> None:
        await real.route(DIARY)
        answer = await real.visitor.app(DIARY, "/fails")
        assert (answer.status, answer.text) == (502, "the app's own 502")
        assert real.engine.asked == []

    async def test_a_websocket_reaches_the_app(self, real: NginxBed) -> None:
        await real.route(DIARY)
        assert await said_over_websocket(real.visitor, DIARY) == f"{DIARY}: hello"

    async def test_events_come_as_they_happen(self, real: NginxBed) -> None:
        await real.route(DIARY)
        app = await real.upstream(DIARY)
        for host, path, release in (
            (DOMAIN, "/api/v1/operations/x1/events", real.engine.release),
            (f"{DIARY}.{DOMAIN}", "/stream", app.release),
        ):
            async with real.visitor.session(host) as session, session.get(path) as answer:
                async with asyncio.timeout(5):
                    assert await answer.content.readuntil(b"\n\n") == b"data: first\n\n"
                release.set()
                assert await answer.content.readuntil(b"\n\n") == b"data: second\n\n"

    @pytest.mark.parametrize(("host", "megabytes"), [(DOMAIN, 31), (f"{DIARY}.{DOMAIN}", 60)])
    async def test_large_uploads_arrive_whole(self, real: NginxBed, host: str, megabytes: int) -> None:
        await real.route(DIARY)
        body = os.urandom(1 << 20) * megabytes
        async with (
            real.visitor.session(host) as session,
            session.post("/hash", data=io.BytesIO(body)) as answer,
        ):
            assert await answer.json() == hashed(body)

    @pytest.mark.parametrize(("host", "megabytes"), [(DOMAIN, 33), (f"{DIARY}.{DOMAIN}", 65)])
    async def test_too_large_an_upload_is_refused(self, real: NginxBed, host: str, megabytes: int) -> None:
        await real.route(DIARY)
        body = bytes(megabytes << 20)
        head = f"POST /hash HTTP/1.0\nHost: {host}\nContent-Length: {len(body)}"
        answer = await real.visitor.raw(head, body)
        assert answer.status == 413


@pytest.mark.nginx
class TestNoRoute:
    async def test_the_engine_shows_its_page(self, real: NginxBed) -> None:
        answer = await real.visitor.app(DIARY, "/some/where?x=1", Accept_Language="ko", Cookie="a=b")
        assert (answer.status, answer.text) == (404, f"page for {DIARY}: unrouted")
        assert answer.headers["x-madang-edge"] == "unrouted"
        assert answer.headers["retry-after"] == "3"
        asked = real.engine.asked[0].headers
        assert (asked["X-Madang-Label"], asked["X-Madang-Reason"]) == (DIARY, "unrouted")
        assert (asked["X-Madang-Handover"], asked["X-Madang-Method"]) == ("yes", "GET")
        assert asked["Accept-Language"] == "ko"
        assert "Cookie" not in asked

    async def test_a_dead_app_is_told_from_a_missing_one(self, real: NginxBed) -> None:
        await real.edge.apply([Route(DIARY, f"127.0.0.1:{free_port()}")])
        answer = await real.visitor.app(DIARY)
        assert (answer.status, answer.text) == (503, f"page for {DIARY}: unreachable")
        assert answer.headers["x-madang-edge"] == "unreachable"

    async def test_every_method_keeps_the_connection_in_step(self, real: NginxBed) -> None:
        async with real.visitor.session(f"{DIARY}.{DOMAIN}", fresh=False) as session:
            for method in ("HEAD", "GET", "PUT", "DELETE", "OPTIONS", "HEAD", "GET"):
                async with session.request(method, "/") as answer:
                    assert answer.status == 404
                    page = f"page for {DIARY}: unrouted"
                    assert await answer.text() == ("" if method == "HEAD" else page)
        assert [request.method for request in real.engine.asked] == ["GET"] * 7

    async def test_a_post_without_a_route_asks_without_its_body(self, real: NginxBed) -> None:
        async with (
            real.visitor.session(f"{DIARY}.{DOMAIN}") as session,
            session.post("/hash", data=b"x" * 100_000) as answer,
        ):
            assert answer.status == 404
        assert real.engine.asked[0].method == "GET"
        assert real.engine.asked[0].headers["X-Madang-Method"] == "POST"

    async def test_with_the_engine_down_routed_apps_go_on(self, real: NginxBed) -> None:
        await real.route(DIARY)
        await real.engine.stop()
        assert (await real.visitor.app(DIARY)).text == DIARY
        for host in (DOMAIN, f"{SHOP}.{DOMAIN}", "elsewhere.example"):
            for method in ("GET", "POST"):
                answer = await real.visitor.get(host, "/x", method=method)
                assert answer.status == 503
                assert answer.headers["retry-after"] == "5"
                assert answer.headers["x-madang-edge"] == "offline"
                assert answer.headers["content-type"] == "text/html; charset=utf-8"
                assert "One moment" in answer.text
                assert "잠시만" in answer.text
        answer = await real.visitor.get(DOMAIN, "/api/v1/apps")
        assert (answer.status, json.loads(answer.text)["code"]) == (503, "engine_offline")


@pytest.mark.nginx
class TestHandOver:
    async def test_a_request_goes_where_the_engine_says(self, real: NginxBed) -> None:
        app = await real.upstream(DIARY)
        real.engine.direct = app.address
        answer = await real.visitor.app(DIARY, "/page?x=1")
        assert (answer.status, answer.text) == (200, DIARY)
        assert "x-madang-edge" not in answer.headers
        assert "x-madang-address" not in answer.headers
        assert answer.headers["content-type"].startswith("text/plain")
        assert app.received == ["/page?x=1"]
        await real.edge.verify(DIARY, path="/", timeout_s=2)

    @pytest.mark.parametrize("chunked", [False, True])
    @pytest.mark.parametrize("routed", [False, True])
    async def test_a_body_arrives_whole(self, real: NginxBed, *, chunked: bool, routed: bool) -> None:
        app = await real.upstream(DIARY)
        real.engine.direct = app.address
        if routed:
            await real.edge.apply([Route(DIARY, f"127.0.0.1:{free_port()}")])
        body = os.urandom(1 << 20)
        data = pieces(body) if chunked else body
        async with (
            real.visitor.session(f"{DIARY}.{DOMAIN}") as session,
            session.post("/hash?x=1", data=data) as answer,
        ):
            assert await answer.json() == hashed(body)
        assert app.received == ["/hash?x=1"]

    async def test_a_websocket_is_handed_over(self, real: NginxBed) -> None:
        app = await real.upstream(DIARY)
        real.engine.direct = app.address
        assert await said_over_websocket(real.visitor, DIARY) == f"{DIARY}: hello"

    async def test_a_vain_hand_over_is_the_last(self, real: NginxBed) -> None:
        real.engine.direct = f"127.0.0.1:{free_port()}"
        answer = await real.visitor.app(DIARY)
        assert answer.headers["x-madang-edge"] == "unreachable"
        assert real.engine.reasons == ["unrouted", "unreachable"]
        assert [each.headers["X-Madang-Handover"] for each in real.engine.asked] == ["yes", "no"]

    async def test_an_address_that_is_none_is_not_followed(self, real: NginxBed) -> None:
        for address in ("madang_engine", "evil.example:80", "10.0.0.1:3000/x", ""):
            real.engine.direct = address
            answer = await real.visitor.app(DIARY)
            assert (answer.status, answer.headers["x-madang-edge"]) == (502, "broken")


@pytest.mark.nginx
class TestNoReplay:
    async def test_a_request_that_the_app_took_is_not_sent_again(self, real: NginxBed) -> None:
        await real.route(DIARY)
        await self._dies_once(real)
        assert real.engine.asked == []

    async def test_nor_after_a_hand_over(self, real: NginxBed) -> None:
        real.engine.direct = await real.app(DIARY)
        await self._dies_once(real)
        assert real.engine.reasons == ["unrouted"]

    async def _dies_once(self, real: NginxBed) -> None:
        async with (
            real.visitor.session(f"{DIARY}.{DOMAIN}") as session,
            session.post("/die", data=b"order") as answer,
        ):
            assert (answer.status, answer.headers["X-Madang-Edge"]) == (502, "broken")
            assert "did not finish" in await answer.text()
        assert (await real.upstream(DIARY)).received == ["/die"]


@pytest.mark.nginx
class TestStrangers:
    async def test_a_visitor_cannot_speak_as_the_edge(self, real: NginxBed) -> None:
        forged = {
            "X_Madang_Label": "other-app",
            "X_Madang_Reason": "wake",
            "X_Madang_Handover": "no",
            "X_Madang_Method": "PUT",
            "X_Accel_Redirect": "@direct",
            "X_Madang_Address": "127.0.0.1:1",
        }
        await real.visitor.app(DIARY, **forged)
        asked = real.engine.asked[0].headers
        assert {n: asked.getall(n) for n in asked if n.lower().startswith("x-madang")} == {
            "X-Madang-Label": [DIARY],
            "X-Madang-Reason": ["unrouted"],
            "X-Madang-Handover": ["yes"],
            "X-Madang-Method": ["GET"],
        }
        assert "X-Accel-Redirect" not in asked
        seen = json.loads((await real.visitor.get(DOMAIN, "/headers", **forged)).text)
        assert not {"x-madang-label", "x-madang-reason", "x-madang-handover", "x-madang-method"} & set(seen)

    async def test_where_a_visitor_comes_from_is_not_his_to_say(self, real: NginxBed) -> None:
        await real.route(DIARY)
        lies = {
            "X_Forwarded_For": "6.6.6.6",
            "X_Real_IP": "6.6.6.6",
            "X_Forwarded_Proto": "https",
            "X_Forwarded_Host": "evil.example",
            "Forwarded": "for=6.6.6.6",
            "Upgrade": "h2c",
            "Connection": "Upgrade",
        }
        for host in (DOMAIN, f"{DIARY}.{DOMAIN}"):
            seen = json.loads((await real.visitor.get(host, "/headers", **lies)).text)
            assert (seen["x-forwarded-for"], seen["x-real-ip"]) == ("127.0.0.1", "127.0.0.1")
            assert seen["x-forwarded-proto"] == "http"
            assert seen["x-forwarded-host"] == seen["host"] == f"{host}:{real.options.http_port}"
            assert "forwarded" not in seen
            assert "upgrade" not in seen

    async def test_two_hosts_in_one_request_are_the_one_that_was_served(self, real: NginxBed) -> None:
        await real.route(DIARY)
        head = f"GET http://{DIARY}.{DOMAIN}/headers HTTP/1.0\nHost: {DOMAIN}:80"
        seen = json.loads((await real.visitor.raw(head)).text)
        assert seen["host"] == f"{DIARY}.{DOMAIN}:80"

    async def test_a_trusted_proxy_is_believed(self) -> None:
        bed = await NginxBed.make(trusted_proxies=("127.0.0.0/8", "::1"))
        try:
            await bed.edge.start()
            answer = await bed.visitor.get(
                DOMAIN, "/headers", X_Forwarded_For="6.6.6.6, 8.8.8.8", X_Forwarded_Proto="https"
            )
            seen = json.loads(answer.text)
            assert (seen["x-forwarded-for"], seen["x-forwarded-proto"]) == ("8.8.8.8", "https")
        finally:
            await bed.close()

    @pytest.mark.parametrize("host", [DOMAIN, f"{DIARY}.{DOMAIN}", f"{SHOP}.{DOMAIN}", "elsewhere.example"])
    async def test_nobody_walks_into_the_back_room(self, real: NginxBed, host: str) -> None:
        await real.route(DIARY)
        for path in (
            "/-/edge?label=x&reason=y",
            "/%2d/edge",
            "//-/edge",
            "/x/../-/edge",
            "/-%2fedge",
            "/./-/edge",
        ):
            answer = await real.visitor.get(host, path)
            assert (answer.status, answer.headers.get("x-madang-edge")) == (404, "internal")
        assert real.engine.asked == []

    @pytest.mark.parametrize(
        "to", ["@direct", "@unrouted", "@stranded", "/-/edge", "/-/offline.html", "/other"]
    )
    async def test_an_app_cannot_steer_the_edge(self, real: NginxBed, to: str) -> None:
        await real.route(DIARY)
        answer = await real.visitor.app(DIARY, f"/steer?to={to}&address=127.0.0.1:{real.engine.port}")
        assert (answer.status, answer.text) == (200, "steered")
        assert not {"x-accel-redirect", "x-madang-address", "x-madang-edge"} & set(answer.headers)
        assert answer.headers["set-cookie"] == f"tossed=1; Domain={DIARY}.{DOMAIN}; Path=/"
        assert real.engine.asked == []

    async def test_nor_when_handed_over_to(self, real: NginxBed) -> None:
        real.engine.direct = await real.app(DIARY)
        answer = await real.visitor.app(DIARY, f"/steer?to=@unrouted&address=127.0.0.1:{real.engine.port}")
        assert (answer.status, answer.text) == (200, "steered")
        assert real.engine.reasons == ["unrouted"]

    async def test_no_secret_of_a_request_is_logged(self, real: NginxBed) -> None:
        await real.edge.apply([Route(DIARY, await real.app(DIARY)), Route(SHOP, f"127.0.0.1:{free_port()}")])
        query = f"?key={SECRET}"
        secrets = {"Referer": f"http://x/{query}", "Cookie": f"k={SECRET}", "Authorization": SECRET}
        for host in (DOMAIN, f"{DIARY}.{DOMAIN}", f"{SHOP}.{DOMAIN}", "elsewhere.example"):
            await real.visitor.get(host, f"/seen{query}", **secrets)
            await real.visitor.get(host, f"/die{query}", method="POST", **secrets)
        body = bytes(33 << 20)
        head = f"POST /big{query} HTTP/1.0\nHost: {DOMAIN}\nContent-Length: {len(body)}"
        assert (await real.visitor.raw(head, body)).status == 413
        await real.engine.stop()
        await real.visitor.get(DOMAIN, f"/last{query}", **secrets)
        # Each worker has a buffer of its own: the last line may be there before the ones before it.
        await eventually(lambda: "/last" in logged(real.options.logs))
        await eventually(lambda: logged(real.options.logs).count('"path":"/seen"') == 4)
        assert SECRET not in logged(real.options.logs)


@pytest.mark.nginx
class TestChanging:
    async def test_concurrent_changes_share_reloads(
        self, real: NginxBed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        reloads = 0
        genuine = real.edge._reload

        async def counted(master: int, generation: str) -> bool:
            nonlocal reloads
            reloads += 1
            return await genuine(master, generation)

        monkeypatch.setattr(real.edge, "_reload", counted)
        address = await real.app(DIARY)
        sets = [[Route(f"user-app{i}", address) for i in range(n)] for n in range(1, 101)]
        await asyncio.gather(*map(real.edge.apply, sets))
        assert reloads <= 2
        await real.edge.apply(sets[-1])
        assert reloads <= 2

    async def test_each_caller_returns_with_its_routes_in_force(self, real: NginxBed) -> None:
        address = await real.app(DIARY)
        labels = [f"user-app{i}" for i in range(20)]

        async def grow(count: int) -> int:
            await real.edge.apply([Route(label, address) for label in labels[:count]])
            return (await real.visitor.app(labels[count - 1])).status

        assert set(await asyncio.gather(*map(grow, range(1, 21)))) == {200}

    async def test_no_fresh_connection_meets_the_routes_of_before(self, real: NginxBed) -> None:
        for turn in range(6):
            here, gone = (DIARY, SHOP) if turn % 2 else (SHOP, DIARY)
            await real.route(here)
            found = await asyncio.gather(*(real.visitor.app(gone) for _ in range(40)))
            assert {answer.status for answer in found} == {404}
            found = await asyncio.gather(*(real.visitor.app(here) for _ in range(40)))
            assert {answer.status for answer in found} == {200}

    async def test_workers_do_not_grow_in_number(self, real: NginxBed) -> None:
        for turn in range(6):
            await real.route(*[f"user-app{i}" for i in range(turn)])
        assert len(accepting_workers(real.master)) == real.options.workers

    async def test_thirty_reloads_under_load_drop_nothing(self, real: NginxBed) -> None:
        await real.route(DIARY)
        done = asyncio.Event()
        fresh, kept = Load(), Load()

        async def visit(load: Load, *, anew: bool) -> None:
            async with real.visitor.session(f"{DIARY}.{DOMAIN}", fresh=anew) as session:

                async def ask() -> int:
                    async with session.get("/") as answer:
                        await answer.read()
                        return answer.status

                await load.run(ask, done)

        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(visit(fresh, anew=True))
                group.create_task(visit(kept, anew=False))
            for turn in range(30):
                await real.route(DIARY, *[f"user-app{i}" for i in range(turn % 3)])
            done.set()
        assert (fresh.bad, kept.bad) == ([], [])
        assert min(fresh.answered, kept.answered) > 100

    async def test_an_open_websocket_lives_through_changes(self, real: NginxBed) -> None:
        await real.route(DIARY)
        async with (
            real.visitor.session(f"{DIARY}.{DOMAIN}") as session,
            session.ws_connect("/socket") as ws,
            asyncio.timeout(10),
        ):
            for turn in range(3):
                await real.route(DIARY, *[f"user-app{i}" for i in range(turn + 1)])
                await ws.send_str(f"after {turn}")
                assert await ws.receive_str() == f"{DIARY}: after {turn}"

    async def test_nginx_itself_refusing_leaves_the_old_in_force(
        self, real: NginxBed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await real.route(DIARY)
        good = real.options.conf.read_text()
        real.options.conf.write_text(good + "\nnonsense;\n")
        monkeypatch.setattr(nginx.edge, "_IN_FORCE_TIMEOUT_S", 0.5)
        with pytest.raises(Broken) as refusal:
            await real.route(DIARY, SHOP)
        assert refusal.value.code == "edge_refused"
        assert "nonsense" in refusal.value.params["detail"]
        assert (await real.visitor.app(DIARY)).text == DIARY
        assert SHOP not in real.options.routes.read_text()
        assert DIARY in real.options.routes.read_text()
        real.options.conf.write_text(good)
        monkeypatch.undo()
        await real.route(DIARY, SHOP)
        assert (await real.visitor.app(SHOP)).text == SHOP


@pytest.mark.nginx
class TestLifeAndDeath:
    async def test_a_dead_master_is_brought_back(self, real: NginxBed) -> None:
        await real.route(DIARY)
        watching = asyncio.create_task(real.edge.watch())
        for _ in range(2):
            await killed_and_back(real)
            await real.edge.verify(DIARY, path="/", timeout_s=5)
        await real.edge.check()
        assert real.edge._processes.orphans() == []
        await real.edge.stop()
        await watching

    async def test_a_master_that_cannot_come_back_is_tried_again(self, real: NginxBed) -> None:
        await real.route(DIARY)
        watching = asyncio.create_task(real.edge.watch())
        real.refuse_next()
        await killed_and_back(real)
        assert not (real.options.root / "refuse").exists()
        await real.edge.verify(DIARY, path="/", timeout_s=5)
        await real.edge.stop()
        await watching

    async def test_large_logs_are_turned_over(self, real: NginxBed, monkeypatch: pytest.MonkeyPatch) -> None:
        logs = real.options.logs
        await real.visitor.get(DOMAIN, "/before")
        await eventually(lambda: "/before" in logged(logs))
        monkeypatch.setattr(nginx.edge, "_LOG_LIMIT_BYTES", 1)
        monkeypatch.setattr(nginx.edge, "_LOG_PERIOD_S", 0.1)
        watching = asyncio.create_task(real.edge.watch())
        await eventually((logs / "access.log").exists)
        await eventually((logs / "access.log.1").exists)
        monkeypatch.undo()
        await real.visitor.get(DOMAIN, "/after")
        await eventually(lambda: "/after" in logged(logs))
        await real.edge.stop()
        await watching

    async def test_logs_are_turned_over_where_workers_may_not_enter_their_folder(
        self, real: NginxBed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        log = real.options.logs / "access.log"
        real.options.root.chmod(0o700)
        await real.visitor.get(DOMAIN, "/before")
        await eventually(lambda: "/before" in log.read_text())
        monkeypatch.setattr(nginx.edge, "_LOG_LIMIT_BYTES", 1)
        real.edge._turn_logs()
        await real.visitor.get(DOMAIN, "/after")
        await eventually(lambda: "/after" in log.read_text())
        assert "/before" not in log.read_text()
        assert "/before" in log.with_name("access.log.1").read_text()

    async def test_a_full_disk_keeps_no_log_from_being_emptied(
        self, real: NginxBed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuses(*_: object) -> None:
            raise OSError(errno.ENOSPC, "no room")

        log = real.options.logs / "access.log"
        await real.visitor.get(DOMAIN, "/before")
        await eventually(lambda: "/before" in log.read_text())
        monkeypatch.setattr(nginx.edge, "_LOG_LIMIT_BYTES", 1)
        monkeypatch.setattr(shutil, "copyfile", refuses)
        real.edge._turn_logs()
        assert "/before" not in log.read_text()

    async def test_a_change_brings_a_dead_master_back(self, real: NginxBed) -> None:
        await real.route(DIARY)
        old = real.master
        os.kill(old, signal.SIGKILL)
        await real.route(DIARY, SHOP)
        assert real.master != old
        assert (await real.visitor.app(SHOP)).text == SHOP

    async def test_the_same_set_brings_a_dead_master_back(self, real: NginxBed) -> None:
        await real.route(DIARY)
        os.kill(real.master, signal.SIGKILL)
        await real.route(DIARY)
        await real.edge.check()

    async def test_it_outlives_the_engine_and_is_taken_over(self) -> None:
        bed = await NginxBed.make()
        try:
            address = await bed.app(DIARY)
            run_engine_that_is_killed(bed, DIARY, address)
            assert (await bed.visitor.app(DIARY)).text == DIARY
            before = bed.master
            await bed.edge.start()
            assert bed.master == before
            assert (await bed.visitor.app(DIARY)).text == DIARY
            await bed.route(SHOP)
            assert (await bed.visitor.app(SHOP)).text == SHOP
            assert (await bed.visitor.app(DIARY)).status == 404
        finally:
            await bed.close()

    async def test_two_installations_live_side_by_side(self, real: NginxBed) -> None:
        other = await NginxBed.make()
        try:
            await other.edge.start()
            await real.route(DIARY)
            await other.route(SHOP)
            assert (await real.visitor.app(DIARY)).status == 200
            assert (await real.visitor.app(SHOP)).status == 404
            assert (await other.visitor.app(SHOP)).status == 200
            await real.edge.stop()
            assert (await other.visitor.app(SHOP)).status == 200
        finally:
            await other.close()

    async def test_a_strangers_pid_is_never_signalled(self, real: NginxBed) -> None:
        with subprocess.Popen(["sleep", "60"]) as stranger:
            try:
                own = real.master
                real.options.pid_file.write_text(f"{stranger.pid}\n")
                await real.route(DIARY)
                assert (await real.visitor.app(DIARY)).status == 200
                real.options.pid_file.write_text(f"{stranger.pid}\n")
                await real.edge.stop()
                assert not real.edge._processes.is_master(own)
                assert stranger.poll() is None
            finally:
                stranger.kill()

    async def test_a_taken_port_is_named_and_costs_no_route(self, real: NginxBed) -> None:
        await real.route(DIARY)
        await real.edge.stop()
        taken = real.engine.port
        with pytest.raises(Broken) as refusal:
            await NginxEdge(replace(real.options, http_port=taken)).start()
        assert (refusal.value.code, refusal.value.params) == ("edge_port_taken", {"port": taken})
        await real.edge.start()
        assert (await real.visitor.app(DIARY)).text == DIARY

    async def test_a_missing_nginx_is_named(self) -> None:
        bed = await NginxBed.make(binary="/nowhere/nginx")
        try:
            with pytest.raises(Broken) as missing:
                await bed.edge.start()
            assert missing.value.code == "edge_missing"
        finally:
            await bed.close()

    @pytest.mark.skipif(os.geteuid() != 0, reason="workers change their user only under root")
    async def test_a_root_that_workers_cannot_enter_keeps_nothing_from_working(self) -> None:
        bed = await NginxBed.make()
        try:
            bed.options.root.chmod(0o700)
            await bed.edge.start()
            await bed.route(DIARY)
            body = os.urandom(3 << 20)
            async with (
                bed.visitor.session(f"{DIARY}.{DOMAIN}") as session,
                session.post("/hash", data=io.BytesIO(body)) as answer,
            ):
                assert await answer.json() == hashed(body)
            await bed.engine.stop()
            offline = await bed.visitor.get(DOMAIN)
            assert (offline.status, offline.headers["x-madang-edge"]) == (503, "offline")
        finally:
            await bed.close()

    async def test_requests_under_way_are_finished(self, real: NginxBed) -> None:
        await real.route(DIARY)
        app = await real.upstream(DIARY)
        async with (
            real.visitor.session(f"{DIARY}.{DOMAIN}") as session,
            session.get("/stream") as answer,
            asyncio.TaskGroup() as group,
        ):
            assert await answer.content.readuntil(b"\n\n") == b"data: first\n\n"
            group.create_task(real.edge.stop())
            await eventually(lambda: not accepting_workers(real.master))
            app.release.set()
            assert await answer.content.readuntil(b"\n\n") == b"data: second\n\n"


async def said_over_websocket(visitor: Visitor, label: str) -> str:
    async with (
        visitor.session(f"{label}.{DOMAIN}") as session,
        session.ws_connect("/socket") as ws,
        asyncio.timeout(5),
    ):
        await ws.send_str("hello")
        return await ws.receive_str()


async def pieces(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 50_000):
        yield body[start : start + 50_000]


def hashed(body: bytes) -> dict[str, object]:
    return {"size": len(body), "sha256": hashlib.sha256(body).hexdigest()}


async def killed_and_back(bed: NginxBed) -> None:
    old = bed.master
    os.kill(old, signal.SIGKILL)
    await eventually(lambda: bed.edge._processes.master() not in (None, old))


def run_engine_that_is_killed(bed: NginxBed, label: str, address: str) -> None:
    """A process that starts the edge, routes one app, and dies without a word."""
    program = (
        "import asyncio, os, signal\n"
        "from pathlib import Path, PosixPath\n"
        "from engine.ports import Route\n"
        "from nginx.edge import NginxEdge\n"
        "from nginx.render import EdgeOptions\n"
        "async def live():\n"
        f"    edge = NginxEdge({bed.options!r})\n"
        "    await edge.start()\n"
        f"    await edge.apply([Route({label!r}, {address!r})])\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(live())\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, timeout=30, check=False)
    assert ended.returncode == -signal.SIGKILL
