"""Apps over HTTP: making, changing and losing them, one at a time and many at once, and who may have how many."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from runtime.memory import Behaviour
from tests.api.conftest import Box, StartBox
from tests.support.api import Api, Refusal
from tests.support.worlds import StillClock

APPS = "/api/v1/apps"


def wish(appname: str = "diary", **more: Any) -> dict[str, Any]:
    return {"appname": appname, "templateId": "homepage-v1"} | more


async def refused(call: Any) -> Refusal:
    with pytest.raises(Refusal) as found:
        await call
    return found.value


def rows(box: Box, sql: str) -> list[Any]:
    with closing(sqlite3.connect(box.settings.database_path)) as connection:
        return connection.execute(sql).fetchall()


def set_limit(box: Box, userid: str, limit: int) -> None:
    with closing(sqlite3.connect(box.settings.database_path)) as connection, connection:
        connection.execute("UPDATE accounts SET max_apps = ? WHERE userid = ?", (limit, userid))


# --- one life


async def test_templates_are_told_in_the_readers_language(box: Box) -> None:
    korean = await box.send("GET", "/api/v1/templates", headers={"Accept-Language": "ko"})
    english = await box.send("GET", "/api/v1/templates")
    names = {one["id"]: one["name"] for one in english.json["data"]}
    assert names["diary-v1"] == "Diary"
    assert {one["id"]: one["name"] for one in korean.json["data"]}["diary-v1"] == "일기장"
    homepage = next(one for one in english.json["data"] if one["id"] == "homepage-v1")
    assert [option["id"] for option in homepage["options"]] == ["title", "intro", "theme"]


async def test_an_app_from_its_first_day_to_its_last(box: Box, alice: Api) -> None:
    answer = await box.send(
        "POST", APPS, as_=alice, json=wish("diary", templateId="diary-v1", enableApi=True, title="나의 일기")
    )
    assert answer.status == 202
    data = answer.json["data"]
    assert answer.headers["Location"] == f"/api/v1/operations/{data['operation']['id']}"
    assert (data["app"]["status"], data["operation"]["kind"]) == ("pending", "create")
    await alice.ended(data["operation"]["id"])
    app = await alice.app("diary")
    assert (app["userid"], app["appname"], app["templateId"]) == ("alice", "diary", "diary-v1")
    assert (app["status"], app["enableApi"], app["title"]) == ("running", True, "나의 일기")
    assert app["url"] == f"http://alice-diary.localhost:{box.settings.paas_http_port}"
    assert app["keyUrl"].startswith(app["url"] + "/#key=")
    assert app["stats"]["memoryLimitBytes"] == box.settings.default_mem_limit
    assert app["operation"] is None
    for verb, status in (
        ("stop", "stopped"),
        ("start", "running"),
        ("restart", "running"),
        ("stop", "stopped"),
    ):
        operation = await alice.change("diary", verb)
        assert (operation["kind"], operation["state"]) == (verb, "succeeded")
        assert (await alice.app("diary"))["status"] == status
    await alice.change("diary", "delete")
    trashed = await alice.app("diary")
    assert (trashed["status"], bool(trashed["trashedAt"])) == ("trashed", True)
    await alice.change("diary", "restore")
    assert (await alice.app("diary"))["status"] == "running"
    assert (await alice.app("diary"))["trashedAt"] is None
    await alice.change("diary", "delete", {"keepData": False})
    assert (await refused(alice.app("diary"))).status == 404
    assert rows(box, "SELECT * FROM routes") == []
    assert not (box.settings.apps_dir / "alice").exists()
    assert await box.runtime.inspect("paas-app-alice-diary") is None


async def test_data_outlives_the_trash_and_not_the_purge(box: Box, alice: Api) -> None:
    await alice.create("diary")
    data = box.settings.apps_dir / "alice" / "diary" / "data"
    (data / "db.sqlite3").write_text("precious")
    await alice.change("diary", "delete")
    assert (data / "db.sqlite3").read_text() == "precious"
    await alice.change("diary", "restore")
    assert (data / "db.sqlite3").read_text() == "precious"
    await alice.change("diary", "delete")
    await alice.change("diary", "delete", {"keepData": False})
    assert not data.exists()


async def test_the_key_of_a_private_app_is_for_its_owner_and_the_list_is_in_order(
    box: Box, alice: Api
) -> None:
    for name in ("one", "two", "three"):
        await alice.create(name)
    await alice.create("page", "homepage-v1")
    found = await alice.call("GET", APPS)
    assert [one["appname"] for one in found] == ["one", "two", "three", "page"]
    assert len({one["keyUrl"] for one in found}) == 4
    assert found[3]["keyUrl"] is None


async def test_an_admin_sees_somebodys_diary_and_not_its_key(box: Box, alice: Api) -> None:
    await alice.create("diary")
    admin = await box.admin()
    one = await admin.call("GET", f"{APPS}/alice/diary")
    assert (one["appname"], one["keyUrl"]) == ("diary", None)
    assert [each["keyUrl"] for each in await admin.call("GET", APPS)] == [None]


async def test_each_start_brings_the_compose_file_up_to_date(box: Box, alice: Api) -> None:
    await alice.create("page", "homepage-v1")
    compose = box.settings.apps_dir / "alice" / "page" / "docker-compose.yml"
    right = compose.read_text()
    compose.write_text("services: {app: {image: an-older-one}}\n")
    await alice.change("page", "restart")
    assert compose.read_text() == right


async def test_of_wishes_that_wait_the_last_one_counts(box: Box, alice: Api) -> None:
    await alice.create("page", "homepage-v1")
    box.hold("alice", "page")
    asked = [
        (await alice.call("POST", f"{APPS}/alice/page/{verb}"))["operation"]["id"]
        for verb in ("restart", "stop", "start", "stop")
    ]
    assert asked[3] == asked[1]
    await box.let_go("alice", "page")
    assert [(await alice.ended(one))["state"] for one in asked] == ["succeeded"] * 4
    assert (await alice.app("page"))["status"] == "stopped"


async def test_a_diary_with_the_api_off_has_no_key(box: Box, alice: Api) -> None:
    app = await alice.create("diary", enableApi=False)
    assert (app["enableApi"], app["keyUrl"]) == (False, None)


# --- names


async def test_a_name_is_taken_once_in_the_trash_too(box: Box, alice: Api) -> None:
    await alice.create("diary")
    again = await refused(alice.create("diary"))
    assert (again.status, again.code, again.body["field"]) == (409, "app_exists", "appname")
    await alice.change("diary", "delete")
    again = await refused(alice.create("diary"))
    assert (again.status, again.code) == (409, "app_in_trash")
    await alice.change("diary", "delete", {"keepData": False})
    await alice.create("diary")


async def test_two_people_may_use_one_name(box: Box, alice: Api, bob: Api) -> None:
    await asyncio.gather(alice.create("diary"), bob.create("diary"))
    assert set(box.edge.routes) == {"alice-diary", "bobby-diary"}


async def test_of_20_who_make_one_app_at_once_exactly_one_does(box: Box, alice: Api) -> None:
    answers = await asyncio.gather(*(box.send("POST", APPS, as_=alice, json=wish()) for _ in range(20)))
    assert sorted(answer.status for answer in answers) == [202] + [409] * 19
    made = next(answer for answer in answers if answer.status == 202).json["data"]
    await alice.ended(made["operation"]["id"])
    assert len(await alice.call("GET", APPS)) == 1
    assert rows(box, "SELECT count(*) FROM operations") == [(1,)]


async def test_an_address_on_the_network_is_nobody_elses_ever(box: Box, alice: Api) -> None:
    """A cache or a bookmark may still lead to where the last one was."""
    seen = set()
    for _ in range(3):
        await alice.create("diary")
        seen |= set(rows(box, "SELECT slot FROM apps"))
        await alice.change("diary", "delete", {"keepData": False})
    assert len(seen) == 3


async def test_once_every_address_was_used_free_ones_are_used_again(
    box: Box, alice: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.memory.CAPACITY", 2)
    await alice.create("one")
    await alice.create("two")
    full = await refused(alice.create("three"))
    assert (full.status, full.code) == (429, "no_slot")
    await alice.change("one", "delete", {"keepData": False})
    await alice.create("three")
    assert set(rows(box, "SELECT name, slot FROM apps")) == {("two", 2), ("three", 1)}


# --- quotas


async def test_a_persons_quota_says_what_is_used_and_what_was_asked_for(start_box: StartBox) -> None:
    async with start_box(max_apps_per_user=2) as box:
        alice, bob = await box.person("alice"), await box.person("bobby")
        await alice.create("one")
        await alice.create("two")
        full = await refused(alice.create("three"))
        assert (full.status, full.code) == (429, "app_quota")
        assert full.body["quota"] == {"used": 2, "limit": 2, "requested": 1}
        await bob.create("one")


async def test_the_box_has_a_quota_of_its_own(start_box: StartBox) -> None:
    async with start_box(max_apps_per_user=5, max_total_apps=3) as box:
        alice, bob = await box.person("alice"), await box.person("bobby")
        await alice.create("one")
        await alice.create("two")
        await bob.create("one")
        full = await refused(bob.create("two"))
        assert (full.status, full.code) == (429, "box_quota")
        assert full.body["quota"] == {"used": 3, "limit": 3, "requested": 1}


async def test_quotas_hold_when_everybody_asks_at_once(start_box: StartBox) -> None:
    async with start_box(max_apps_per_user=3, max_total_apps=8) as box:
        people = [await box.person(f"person{number}") for number in range(4)]
        answers = await asyncio.gather(
            *(box.send("POST", APPS, as_=one, json=wish(f"app{n}")) for n in range(10) for one in people)
        )
        made = [answer for answer in answers if answer.status == 202]
        assert len(made) == 8
        assert {answer.status for answer in answers} == {202, 429}
        per_person = dict(rows(box, "SELECT userid, count(*) FROM apps GROUP BY userid"))
        assert max(per_person.values()) <= 3
        for answer in answers:
            if answer.status == 429:
                quota = answer.json["quota"]
                assert quota["used"] >= quota["limit"] in (3, 8)


async def test_what_lies_in_the_trash_does_not_count_and_restoring_it_does(start_box: StartBox) -> None:
    async with start_box(max_apps_per_user=1, max_total_apps=2) as box:
        alice = await box.person("alice")
        await alice.create("one")
        await alice.change("one", "delete")
        await alice.create("two")
        full = await refused(alice.change("one", "restore"))
        assert (full.status, full.code) == (429, "app_quota")
        assert full.body["quota"] == {"used": 1, "limit": 1, "requested": 1}
        assert (await alice.app("one"))["status"] == "trashed"
        await alice.change("two", "delete")
        await alice.change("one", "restore")


async def test_of_many_restored_at_once_only_as_many_as_fit_are(start_box: StartBox) -> None:
    async with start_box(max_apps_per_user=2, max_total_apps=20) as box:
        alice = await box.person("alice")
        for number in range(6):
            await alice.create(f"app{number}")
            await alice.change(f"app{number}", "delete")
        answers = await asyncio.gather(
            *(box.send("POST", f"{APPS}/alice/app{n}/restore", as_=alice) for n in range(6))
        )
        assert sorted(answer.status for answer in answers) == [202, 202, 429, 429, 429, 429]


async def test_a_create_that_failed_counts_no_more(start_box: StartBox) -> None:
    async with start_box(max_apps_per_user=1) as box:
        alice = await box.person("alice")
        box.runtime.behave("paas-app-alice-diary", Behaviour.CRASHES)
        assert (await refused(alice.create("diary"))).code == "app_crashed"
        assert await alice.call("GET", APPS) == []
        assert not (box.settings.apps_dir / "alice").exists()
        assert await box.runtime.inspect("paas-app-alice-diary") is None
        box.runtime.behave("paas-app-alice-diary", Behaviour.ANSWERS)
        await alice.create("diary")


async def test_a_person_may_have_a_limit_of_their_own_and_zero_is_none(box: Box, alice: Api) -> None:
    set_limit(box, "alice", 0)
    full = await refused(alice.create("diary"))
    assert full.body["quota"] == {"used": 0, "limit": 0, "requested": 1}
    set_limit(box, "alice", 1)
    await alice.create("diary")


# --- for others


async def test_an_admin_may_make_things_for_others_who_then_own_them(start_box: StartBox) -> None:
    async with start_box(max_apps_per_user=1) as box:
        alice, admin = await box.person("alice"), await box.admin()
        answer = await admin.call("POST", APPS, wish("gift", userid="alice"))
        await admin.ended(answer["operation"]["id"])
        assert (await alice.app("gift"))["status"] == "running"
        full = await refused(alice.create("another"))
        assert full.body["quota"]["used"] == 1, "it is in the owner's quota"
        mine = await admin.call("POST", APPS, wish("mine", userid="admin"))
        assert mine["app"]["userid"] == "admin"


@pytest.mark.parametrize("userid", ["nobody", "Not A Handle", "", "api"])
async def test_for_nobody_nothing_is_made(box: Box, userid: str) -> None:
    admin = await box.admin()
    answer = await refused(admin.call("POST", APPS, wish(userid=userid)))
    assert (answer.status, answer.code, answer.body["field"]) == (404, "not_found", "userid")


async def test_people_make_things_for_themselves_only(box: Box, alice: Api, bob: Api) -> None:
    for userid in ("bobby", "nobody"):
        answer = await refused(alice.call("POST", APPS, wish(userid=userid)))
        assert (answer.status, answer.code, answer.body["field"]) == (403, "forbidden", "userid")
    assert (await alice.call("POST", APPS, wish(userid="alice")))["app"]["userid"] == "alice"


# --- one change after another


async def test_a_command_that_already_waits_is_not_asked_for_twice(box: Box, alice: Api) -> None:
    await alice.create("diary")
    box.hold("alice", "diary")
    running = await alice.call("POST", f"{APPS}/alice/diary/restart")
    answers = await asyncio.gather(*(alice.call("POST", f"{APPS}/alice/diary/stop") for _ in range(10)))
    assert len({answer["operation"]["id"] for answer in answers}) == 1
    assert (await alice.app("diary"))["operation"]["id"] == running["operation"]["id"]
    await box.let_go("alice", "diary")
    await alice.ended(answers[0]["operation"]["id"])
    assert (await alice.app("diary"))["status"] == "stopped"


async def test_changes_happen_in_the_order_in_which_they_were_asked_for(box: Box, alice: Api) -> None:
    await alice.create("diary")
    box.hold("alice", "diary")
    asked = [
        (await alice.call("POST", f"{APPS}/alice/diary/{verb}"))["operation"]["id"]
        for verb in ("restart", "stop", "start")
    ]
    await box.let_go("alice", "diary")
    for operation in asked:
        await alice.ended(operation)
    finished = rows(box, "SELECT id FROM operations WHERE kind <> 'create' ORDER BY finished_at, seq")
    assert [one for (one,) in finished] == asked
    assert (await alice.app("diary"))["status"] == "running"


async def test_a_delete_waits_for_the_create_before_it(box: Box, alice: Api) -> None:
    box.hold("alice", "diary")
    made = await alice.call("POST", APPS, wish())
    gone = await alice.call("DELETE", f"{APPS}/alice/diary", {"keepData": False})
    await box.let_go("alice", "diary")
    await alice.ended(made["operation"]["id"])
    await alice.ended(gone["operation"]["id"])
    assert await alice.call("GET", APPS) == []
    assert rows(box, "SELECT * FROM routes") == []


async def test_what_lies_in_the_trash_is_restored_or_purged_and_nothing_else(box: Box, alice: Api) -> None:
    await alice.create("diary")
    assert (await refused(alice.change("diary", "restore"))).code == "not_in_trash"
    await alice.change("diary", "delete")
    for verb in ("start", "stop", "restart", "delete"):
        answer = await refused(alice.change("diary", verb))
        assert (answer.status, answer.code) == (409, "in_trash")


async def test_too_late_to_stop_what_went_to_the_trash_before(box: Box, alice: Api) -> None:
    await alice.create("diary")
    box.hold("alice", "diary")
    await alice.call("POST", f"{APPS}/alice/diary/restart")
    trash = await alice.call("DELETE", f"{APPS}/alice/diary")
    stop = await alice.call("POST", f"{APPS}/alice/diary/stop")
    await box.let_go("alice", "diary")
    await alice.ended(trash["operation"]["id"])
    late = await refused(alice.ended(stop["operation"]["id"]))
    assert late.code == "wrong_phase"
    app = await alice.app("diary")
    assert (app["status"], app["failure"]) == ("trashed", None)


async def test_what_is_being_purged_is_not_restored(
    box: Box, alice: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer would promise what the purge before it in the queue takes away."""
    await alice.create("diary")
    await alice.change("diary", "delete")
    hold, inside = asyncio.Event(), asyncio.Event()
    real = box.runtime.remove

    async def slow(name: str) -> None:
        inside.set()
        await hold.wait()
        await real(name)

    monkeypatch.setattr(box.runtime, "remove", slow)
    purge = await alice.call("DELETE", f"{APPS}/alice/diary", {"keepData": False})
    await inside.wait()
    late = await refused(alice.call("POST", f"{APPS}/alice/diary/restore"))
    assert (late.status, late.code) == (409, "busy")
    hold.set()
    await alice.ended(purge["operation"]["id"])
    assert (await refused(alice.app("diary"))).status == 404


# --- failure


async def test_why_an_app_failed_is_told_with_its_last_words(box: Box, alice: Api) -> None:
    await alice.create("diary")
    await alice.change("diary", "stop")
    box.runtime.behave("paas-app-alice-diary", Behaviour.CRASHES)
    failed = await refused(alice.change("diary", "start"))
    assert failed.code == "app_crashed"
    for app in (await alice.app("diary"), (await alice.call("GET", APPS))[0]):
        assert (app["status"], app["failure"]["code"]) == ("failed", "app_crashed")
        assert "the program ends at once" in app["failure"]["message"]
    assert "the program ends at once" in (await alice.call("GET", f"{APPS}/alice/diary/logs"))["text"]
    box.runtime.behave("paas-app-alice-diary", Behaviour.ANSWERS)
    await alice.change("diary", "start")
    assert (await alice.app("diary"))["failure"] is None


async def test_a_name_that_something_else_on_the_box_has_is_left_to_it(box: Box, alice: Api) -> None:
    box.runtime.occupy("paas-app-alice-diary")
    failed = await refused(alice.create("diary"))
    assert failed.code == "name_taken_on_box"
    assert await alice.call("GET", APPS) == []
    assert not (box.settings.apps_dir / "alice").exists()


# --- the trash


async def test_the_trash_is_emptied_after_its_days(
    start_box: StartBox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.reconciler.SWEEP_S", 0.02)
    clock = StillClock()
    async with start_box(clock=clock, trash_keep_days=3, jwt_ttl_hours=1000) as box:
        alice = await box.person("alice")
        await alice.create("old")
        await alice.create("young")
        await alice.change("old", "delete")
        clock.forward(days=2)
        await alice.change("young", "delete")
        clock.forward(days=1.5)
        async with asyncio.timeout(20):
            while len(found := await alice.call("GET", APPS)) > 1:
                pass
        assert [one["appname"] for one in found] == ["young"]
        assert not (box.settings.apps_dir / "alice" / "old").exists()
