"""Every address of the real route table: who may use it, what it answers otherwise, and what visitors see."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import web

from engine.bus import Bus
from tests.api.conftest import Answer, Box
from tests.support.api import Api, Refusal

# All else needs a log-in. A new address is either in here, or guarded.
PUBLIC = {
    ("GET", "/"), ("GET", "/-/edge"), ("GET", "/api/health"), ("GET", "/api/v1/health"), ("GET", "/metrics"),
    ("GET", "/api/metrics"), ("GET", "/api/v1/templates"), ("POST", "/api/v1/auth/register"),
    ("POST", "/api/v1/auth/login"), ("GET", "/chat"), ("GET", "/chat/static/{name}"),
}  # fmt: skip
FIRST_PASSWORD = {("POST", "/api/v1/auth/change-password"), ("POST", "/api/v1/auth/logout")}
FILLED = {"userid": "alice", "appname": "diary", "verb": "start", "id": "x", "name": "chat.css"}


def table(box: Box) -> Iterator[tuple[str, str]]:
    """(method, path) of every route there is."""
    for route in box.web[0].router.routes():
        resource = route.resource
        if route.method != "HEAD" and isinstance(resource, web.Resource):
            yield route.method, resource.canonical


def filled(path: str, **more: str) -> str:
    return re.sub(r"\{(\w+)\}", lambda found: (FILLED | more)[found[1]], path)


def guarded(box: Box) -> list[tuple[str, str]]:
    found = sorted(set(table(box)) - PUBLIC)
    assert len(found) >= 12
    return found


def check(answer: Answer, status: int, code: str) -> None:
    assert (answer.status, answer.json["ok"], answer.json["code"]) == (status, False, code), answer.text


async def test_what_is_public_is_there(box: Box) -> None:
    assert set(table(box)) >= PUBLIC


async def test_without_a_log_in_nothing_else_answers(box: Box) -> None:
    for method, path in guarded(box):
        bodies: list[dict[str, Any]] = [{}, {"json": {}}, {"data": b"\xff"}]
        for body in bodies:
            answer = await box.send(method, filled(path), **body)
            check(answer, 401, "unauthenticated")
            assert answer.headers["WWW-Authenticate"] == 'Bearer realm="madang"', path
            assert answer.headers["Cache-Control"] == "no-store", path
        for header in ("Bearer x", "Basic YWxpY2U6cGFzcw==", "Bearer", "x"):
            answer = await box.send(method, filled(path), headers={"Authorization": header})
            assert answer.status == 401, (method, path, header)
        answer = await box.send(method, filled(path), headers={"Cookie": "paas_portal_session=stolen"})
        check(answer, 401, "bad_token")


async def test_with_a_first_password_nothing_else_answers(box: Box) -> None:
    api = await box.stranger()
    assert box.admin_password is not None
    await api.log_in("admin", box.admin_password)
    alice = await box.person("alice")
    await alice.create("diary")
    operation = (await alice.app("diary"))["lastOperation"]
    for method, path in guarded(box):
        if (method, path) in FIRST_PASSWORD:
            continue
        body = {"appname": "diary", "templateId": "diary-v1"} if path.endswith("/apps") else None
        answer = await box.send(method, filled(path, id=operation), as_=api, json=body)
        check(answer, 403, "password_change_required")


async def test_anothers_things_are_not_there_whatever_one_does(box: Box, alice: Api, bob: Api) -> None:
    await alice.create("diary")
    before = await alice.app("diary")
    mine = [(m, p) for m, p in guarded(box) if "{appname}" in p or "{id}" in p]
    assert len(mine) >= 6
    for method, path in mine:
        for userid, name in (("alice", "diary"), ("alice", "nothing"), ("nobody", "diary")):
            answer = await box.send(
                method, filled(path, userid=userid, appname=name, id=before["lastOperation"]), as_=bob
            )
            check(answer, 404, "not_found")
    for verb in ("stop", "restart", "restore"):
        check(await box.send("POST", f"/api/v1/apps/alice/diary/{verb}", as_=bob), 404, "not_found")
    check(
        await box.send("DELETE", "/api/v1/apps/alice/diary", as_=bob, json={"keepData": False}),
        404,
        "not_found",
    )
    check(await box.send("GET", "/api/v1/apps/alice/diary/logs?follow=1", as_=bob), 404, "not_found")
    assert await alice.app("diary") == before
    assert await bob.call("GET", "/api/v1/apps") == []


async def test_the_administrator_sees_and_touches_everything(box: Box, alice: Api) -> None:
    await alice.create("diary")
    admin = await box.admin()
    assert [one["appname"] for one in await admin.call("GET", "/api/v1/apps")] == ["diary"]
    answer = await admin.call("POST", "/api/v1/apps/alice/diary/stop")
    await admin.ended(answer["operation"]["id"])
    assert (await alice.app("diary"))["status"] == "stopped"


# --- methods and addresses


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/nothing",
        "/api/v1/apps/",
        "/nothing",
        "/api/v1/apps/alice/diary/explode",
        "/api/v1/apps/a/b/c/d",
        "/%00",
        "//",
    ],
)
async def test_an_unknown_address_is_told_in_json(box: Box, path: str) -> None:
    for method in ("GET", "POST", "DELETE"):
        check(await box.send(method, path), 404, "not_found")


async def test_a_browser_reads_a_page_at_an_unknown_address(box: Box) -> None:
    browser = {"Accept": "text/html,*/*;q=0.8", "Accept-Language": "ko"}
    answer = await box.send("GET", "/nothing", headers=browser)
    assert answer.status == 404
    assert answer.headers["Content-Type"].startswith("text/html")
    check(await box.send("GET", "/api/v1/nothing", headers=browser), 404, "not_found")


async def test_another_method_is_told_which_there_are(box: Box) -> None:
    paths: dict[str, set[str]] = {}
    for method, path in table(box):
        paths.setdefault(path, set()).add(method)
    for path, methods in paths.items():
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"):
            if method not in methods:
                answer = await box.send(method, filled(path))
                check(answer, 405, "method_not_allowed")
                allowed = set(answer.headers["Allow"].split(", ")) - {"HEAD"}
                assert allowed == methods, path


async def test_head_answers_as_get_does_and_says_nothing(box: Box, alice: Api) -> None:
    await alice.create("diary")
    for path in (
        "/",
        "/chat",
        "/api/health",
        "/metrics",
        "/api/v1/templates",
        "/api/v1/apps",
        "/api/v1/apps/alice/diary",
    ):
        got, head = await box.send("GET", path, as_=alice), await box.send("HEAD", path, as_=alice)
        assert (head.status, head.text) == (got.status, ""), path
        assert head.headers["Content-Type"] == got.headers["Content-Type"]
    assert (await box.send("HEAD", "/api/v1/apps")).status == 401


async def test_head_of_a_stream_does_not_begin_one(box: Box, alice: Api) -> None:
    await alice.create("diary")
    operation = (await alice.app("diary"))["lastOperation"]
    for path in (f"/api/v1/operations/{operation}/events", "/api/v1/apps/alice/diary/logs?follow=1"):
        async with asyncio.timeout(5):
            assert (await box.send("HEAD", path, as_=alice)).status == 405


async def test_an_unknown_verb_is_no_verb(box: Box, alice: Api) -> None:
    await alice.create("diary")
    for verb in ("trash", "purge", "repair", "create", "START"):
        check(await box.send("POST", f"/api/v1/apps/alice/diary/{verb}", as_=alice), 404, "not_found")


# --- what everybody may see


async def test_health_says_what_is_degraded(box: Box) -> None:
    answer = await box.send("GET", "/api/health")
    assert answer.status == 200
    assert answer.json["data"].items() >= {"status": "ok", "database": "ok", "runtime": "ok"}.items()
    box.runtime.down = True
    answer = await box.send("GET", "/api/v1/health")
    assert answer.status == 200, "Madang itself answers"
    assert answer.json["data"].items() >= {"status": "degraded", "database": "ok", "runtime": "down"}.items()


async def test_health_fails_when_the_database_does(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.errors import Broken
    from engine.store import accounts

    async def fails(_: Any) -> int:
        raise Broken("disk_full")

    monkeypatch.setattr(accounts, "count", fails)
    answer = await box.send("GET", "/api/health")
    assert (answer.status, answer.json["ok"], answer.json["code"]) == (503, False, "disk_full")


async def test_metrics_have_their_names_and_no_persons_name_in_them(box: Box, alice: Api) -> None:
    await alice.create("secret-diary")
    for path in ("/api/v1/apps/alice/secret-diary", "/api/v1/apps/nobody/unheard-of", "/alice/unheard-of"):
        await box.send("GET", path, as_=alice)
    await box.send("GET", "/api/v1/templates", headers={"X-Alice": "alice"})
    with pytest.raises(Refusal):
        await alice.log_in("unheard-of")
    text = (await box.send("GET", "/metrics")).text
    assert (await box.send("GET", "/api/metrics")).status == 200
    for name in (
        "http_requests_total", "http_request_duration_seconds_bucket", "user_total", "user_login_total", "app_total",
        "operations_total", "operation_duration_seconds_bucket", "operation_step_duration_seconds_bucket",
        "runtime_connection_status", "chat_updates_total", "chat_handling_seconds_bucket",
    ):  # fmt: skip
        assert re.search(rf"^(# TYPE )?{name.removesuffix('_bucket')}", text, re.MULTILINE), name
    assert 'operations_total{kind="create",outcome="succeeded"}' in text
    assert 'endpoint="/api/v1/apps/{userid}/{appname}"' in text
    for name in ("alice", "secret-diary", "unheard-of", "nobody"):
        assert name not in text


async def test_odd_methods_and_addresses_make_no_new_labels(box: Box) -> None:
    before = (await box.send("GET", "/metrics")).text.count("http_requests_total{")
    for number in range(20):
        await box.send(f"ODD{number}", f"/odd/{number}")
    after = (await box.send("GET", "/metrics")).text.count("http_requests_total{")
    assert after - before <= 2


async def test_the_front_door_leads_to_the_chat_in_the_visitors_language(box: Box) -> None:
    korean = await box.send("GET", "/", headers={"Accept-Language": "ko"})
    english = await box.send("GET", "/", headers={"Accept-Language": "fr"})
    assert '<html lang="ko">' in korean.text
    assert '<html lang="en">' in english.text
    for page in (korean, english):
        assert 'href="/chat"' in page.text
        assert page.headers["Content-Language"] in page.text
        assert "<script" not in page.text
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
        assert page.headers["X-Content-Type-Options"] == "nosniff"


# --- the pages of the edge


async def edge(box: Box, label: str, reason: str = "unrouted", **headers: str) -> Answer:
    headers = {"X-Madang-Reason": reason, "X-Madang-Handover": "yes"} | headers
    return await box.send("GET", "/-/edge", params={"label": label, "reason": reason}, headers=headers)


async def test_only_the_web_server_asks_for_its_pages(box: Box, alice: Api) -> None:
    """A visitor could else be handed an app's content under the platform's own address."""
    await alice.create("diary")
    answer = await box.send("GET", "/-/edge?label=alice-diary&reason=unrouted")
    check(answer, 404, "not_found")
    assert "X-Accel-Redirect" not in answer.headers


@pytest.mark.parametrize(
    "label",
    [
        "",
        "alice",
        "alice-",
        "-",
        "--",
        "alice-nothing",
        "ALICE-diary",
        "<script>",
        "a" * 500,
        "alice-diary\0",
        "😀-x",
    ],
)
async def test_where_nobody_lives_the_page_says_so_and_nothing_of_the_address_is_in_it(
    box: Box, alice: Api, label: str
) -> None:
    await alice.create("diary")
    answer = await edge(box, label)
    assert (answer.status, answer.headers["X-Madang-Edge"]) == (404, "unknown")
    assert "<script" not in answer.text
    assert "no-store" in answer.headers["Cache-Control"]


async def test_an_open_route_is_handed_over_once_and_otherwise_waited_for(box: Box, alice: Api) -> None:
    await alice.create("diary")
    handed = await edge(box, "alice-diary")
    assert handed.headers["X-Accel-Redirect"] == "@direct"
    assert re.fullmatch(r"198\.18\.\d+\.\d+:3000", handed.headers["X-Madang-Address"])
    waited = await edge(box, "alice-diary", "unreachable")
    assert (waited.status, waited.headers["X-Madang-Edge"]) == (503, "starting")
    assert waited.headers["Retry-After"] == "2"
    assert 'http-equiv="refresh"' in waited.text


async def test_a_stopped_app_a_failed_one_and_one_in_the_trash_have_pages_of_their_own(
    box: Box, alice: Api
) -> None:
    from runtime.memory import Behaviour

    await alice.create("diary")
    await alice.change("diary", "stop")
    stopped = await edge(box, "alice-diary")
    assert (stopped.status, stopped.headers["X-Madang-Edge"]) == (503, "stopped")
    assert "refresh" not in stopped.text
    box.runtime.behave("paas-app-alice-diary", Behaviour.CRASHES)
    with pytest.raises(Refusal):
        await alice.change("diary", "start")
    assert (await edge(box, "alice-diary")).headers["X-Madang-Edge"] == "failed"
    await alice.change("diary", "delete")
    assert (await edge(box, "alice-diary")).headers["X-Madang-Edge"] == "unknown"


# --- a bug


async def test_a_bug_is_told_by_a_reference_that_the_log_has_too(
    box: Box, alice: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from engine.store import apps

    async def broken(*_: Any) -> Any:
        raise ZeroDivisionError("a very secret detail")

    monkeypatch.setattr(apps, "owned_by", broken)
    answer = await box.send("GET", "/api/v1/apps", as_=alice)
    check(answer, 500, "internal")
    for inside in ("ZeroDivision", "secret detail", "Traceback", ".py"):
        assert inside not in answer.text
    told = [record for record in caplog.records if record.exc_info]
    assert len(told) == 1
    assert answer.json["reference"] in told[0].getMessage()


def test_a_bus_forgets_those_who_left() -> None:
    bus = Bus()
    with bus.watch("topic") as first, bus.watch("topic") as second:
        bus.nudge("topic")
        assert first.is_set()
        assert second.is_set()
    bus.nudge("topic")
    assert not bus._watchers
