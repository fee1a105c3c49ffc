"""The worker: what happens to an operation whatever its steps do, and whenever the program ends."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from engine.bus import NEW_WORK, Bus
from engine.domain import App, Kind, Operation, OpState, Phase
from engine.errors import Broken, MadangError, Refused, Transient
from engine.operations.plan import Plan, Step, Work
from engine.operations.plans import PLANS
from engine.store import apps, operations
from engine.store.database import Database
from engine.worker import BACKOFF_S, LEASE_S, TRIES_BEFORE_ABORT, TRIES_FORWARD, Worker
from tests.support.worlds import Lab, alongside, lab

ANY = frozenset(Phase)


@pytest.fixture
async def box(tmp_path: Path) -> AsyncIterator[Lab]:
    async with lab(tmp_path / "var") as one:
        yield one


@pytest.fixture
async def app(box: Lab) -> App:
    return await box.app(await box.account(), phase=Phase.LIVE)


@dataclass
class Script:
    """What each step does when it is called: an error is raised, an event waited for, a function awaited."""

    told: list[str] = field(default_factory=list)
    acts: dict[str, list[object]] = field(default_factory=dict)
    reached: dict[str, asyncio.Event] = field(default_factory=dict)

    def step(self, name: str, *, undo: bool = True, timeout_s: float = 60) -> Step:
        return Step(
            name, self._effect(name), undo=self._effect(f"undo {name}") if undo else None, timeout_s=timeout_s
        )

    def _effect(self, name: str) -> Callable[[Work], Awaitable[None]]:
        async def effect(work: Work) -> None:
            self.told.append(name)
            self.reached.setdefault(name, asyncio.Event()).set()
            acts = self.acts.get(name)
            act = acts.pop(0) if acts else None
            if isinstance(act, BaseException):
                raise act
            if isinstance(act, asyncio.Event):
                await act.wait()
            elif callable(act):
                await act(work)

        return effect

    async def reaches(self, name: str) -> None:
        async with asyncio.timeout(10):
            await self.reached.setdefault(name, asyncio.Event()).wait()


def use(monkeypatch: pytest.MonkeyPatch, plans: Mapping[Kind, Plan]) -> None:
    monkeypatch.setattr("engine.worker.PLANS", plans)


def plan_of(script: Script, *names: str, commit: str | None, **more: Any) -> Plan:
    values: dict[str, Any] = {"allowed": ANY, "success": Phase.STOPPED, "failure": Phase.FAILED}
    return Plan(steps=tuple(script.step(name) for name in names), commit=commit, **values | more)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    """The plan of RESTART is the steps one, two, three (which commits), four."""
    made = Script()
    use(monkeypatch, {Kind.RESTART: plan_of(made, "one", "two", "three", "four", commit="three")})
    return made


def kinds(events: list[Any]) -> list[str]:
    return [
        f"{event.kind} {event.data.get('step') or event.data.get('code') or ''}".strip() for event in events
    ]


# --- forward


async def test_steps_run_in_order_each_is_told_and_the_app_ends_where_the_plan_says(
    box: Lab, app: App, script: Script
) -> None:
    async with box.worker():
        operation = await box.done(Kind.RESTART, app)
    assert script.told == ["one", "two", "three", "four"]
    assert operation.state is OpState.SUCCEEDED
    assert (await box.read(app)).phase is Phase.STOPPED
    events = await box.events(operation)
    assert kinds(events) == ["queued", "step one", "step two", "step three", "step four", "ended"]
    assert events[-1].data == {"state": "succeeded"}


async def test_a_plan_without_an_end_forgets_the_app(
    box: Lab, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, {Kind.PURGE: plan_of(Script(), "one", commit=None, success=None)})
    async with box.worker():
        operation = await box.done(Kind.PURGE, app)
    assert await box.find(app) is None
    assert (operation.state, operation.target) == (OpState.SUCCEEDED, "alice/diary")


async def test_the_outcome_is_in_the_audit_log(box: Lab, app: App, script: Script) -> None:
    script.acts["two"] = [Refused("app_crashed", log="...")]
    async with box.worker():
        await box.done(Kind.RESTART, app)
        await box.done(Kind.RESTART, app)
    rows = await box.rows("SELECT action, target, outcome FROM audit ORDER BY id")
    assert [tuple(row) for row in rows] == [
        ("restart.ended", "alice/diary", "app_crashed"),
        ("restart.ended", "alice/diary", "done"),
    ]


async def test_what_a_step_leaves_in_the_journal_is_there_for_the_next_even_after_a_restart(
    box: Lab, app: App, script: Script
) -> None:
    seen: list[object] = []

    async def leave(work: Work) -> None:
        work.journal["address"] = "10.0.0.1:3000"

    async def look(work: Work) -> None:
        seen.append(work.journal["address"])

    script.acts = {"one": [leave], "two": [asyncio.Event(), look]}
    async with box.worker():
        operation = await box.ask(Kind.RESTART, app)
        await script.reaches("two")
    box.wait_over(seconds=LEASE_S + 1)
    async with box.worker():
        await box.ended(operation)
    assert seen == ["10.0.0.1:3000"]


async def test_a_killed_step_is_repeated_and_those_before_it_are_not(
    box: Lab, app: App, script: Script
) -> None:
    script.acts["two"] = [asyncio.Event()]
    async with box.worker():
        operation = await box.ask(Kind.RESTART, app)
        await script.reaches("two")
    assert (await box.operation(operation)).state is OpState.RUNNING
    async with box.world.database.write() as tx:
        await operations.release_all(tx)  # as a start does
    async with box.worker():
        assert (await box.ended(operation)).state is OpState.SUCCEEDED
    assert script.told == ["one", "two", "two", "three", "four"]


# --- tries and retreat


async def test_a_transient_failure_is_tried_again_later_and_later_and_then_everything_is_undone(
    box: Lab, app: App, script: Script
) -> None:
    script.acts["two"] = [Transient("runtime_down") for _ in range(TRIES_BEFORE_ABORT)]
    async with box.worker():
        operation = await box.ask(Kind.RESTART, app)
        for number in range(1, TRIES_BEFORE_ABORT):
            await box.retried(operation, number)
            rows = await box.rows("SELECT not_before FROM operations")
            waits = rows[0]["not_before"] / 1000 - box.clock.now().timestamp()
            assert waits == pytest.approx(BACKOFF_S[number - 1])
            box.wait_over(seconds=BACKOFF_S[number - 1])
        ended = await box.ended(operation)
    assert script.told == ["one", *["two"] * TRIES_BEFORE_ABORT, "undo two", "undo one"]
    assert (ended.state, ended.error_code) == (OpState.FAILED, "runtime_down")
    after = await box.read(app)
    assert (after.phase, after.failure) == (Phase.FAILED, "runtime_down")


async def test_a_transient_failure_that_passes_leaves_no_trace(box: Lab, app: App, script: Script) -> None:
    script.acts["two"] = [Transient("runtime_down"), Transient("runtime_busy")]
    script.acts["three"] = [Transient("route_not_open")] * (TRIES_BEFORE_ABORT - 1)
    async with box.worker():
        operation = await box.ask(Kind.RESTART, app)
        for number in (1, 2):
            await box.retried(operation, number)
            box.wait_over(seconds=60)
        for number in range(1, TRIES_BEFORE_ABORT):  # each step has tries of its own
            await box.until(operation, lambda now, n=number: now.step == "three" and now.tries >= n)  # type: ignore[misc]
            box.wait_over(seconds=60)
        ended = await box.ended(operation)
    assert (ended.state, ended.error_code) == (OpState.SUCCEEDED, None)
    assert (await box.read(app)).failure is None


async def test_a_repair_waits_for_as_long_as_a_runtime_is_away_and_fails_no_app_for_it(
    box: Lab, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Script()
    repair = replace(
        plan_of(script, "one", commit="one"), patient=PLANS[Kind.REPAIR].patient, success=Phase.LIVE
    )
    use(monkeypatch, {Kind.REPAIR: repair})
    away = 3 * TRIES_BEFORE_ABORT
    script.acts["one"] = [Transient("runtime_down") for _ in range(away)]
    async with box.worker():
        operation = await box.ask(Kind.REPAIR, app)
        for number in range(1, away + 1):
            await box.retried(operation, number)
            box.wait_over(seconds=60)
        ended = await box.ended(operation)
    assert ended.state is OpState.SUCCEEDED
    assert (await box.read(app)).phase is Phase.LIVE


async def test_a_repair_of_an_app_that_crashes_still_fails(
    box: Lab, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Script()
    use(monkeypatch, {Kind.REPAIR: replace(plan_of(script, "one", commit="one"), patient=True)})
    script.acts["one"] = [Refused("app_crashed", log="Boom")]
    async with box.worker():
        await box.done(Kind.REPAIR, app)
    assert (await box.read(app)).phase is Phase.FAILED


@pytest.mark.parametrize("failure", [Refused("app_crashed", log="Boom"), Broken("disk_full")])
async def test_any_other_failure_turns_back_at_once(
    box: Lab, app: App, script: Script, failure: MadangError
) -> None:
    script.acts["three"] = [failure]
    async with box.worker():
        operation = await box.done(Kind.RESTART, app)
    assert script.told == ["one", "two", "three", "undo three", "undo two", "undo one"]
    assert (operation.state, operation.error_code) == (OpState.FAILED, failure.code)
    assert operation.error_params == failure.params
    events = await box.events(operation)
    assert kinds(events)[-2:] == [f"undo {failure.code}", f"ended {failure.code}"]
    assert events[-1].data["params"] == failure.params


async def test_the_decision_to_turn_back_is_on_disk_before_anything_is_undone(
    box: Lab, app: App, script: Script
) -> None:
    seen: list[tuple[object, ...]] = []

    async def look(_: Work) -> None:
        rows = await box.rows("SELECT aborting, error_code FROM operations")
        seen.append(tuple(rows[0]))

    script.acts = {"three": [Refused("app_crashed", log="")], "undo three": [look]}
    async with box.worker():
        await box.done(Kind.RESTART, app)
    assert seen == [(1, "app_crashed")]


async def test_killed_while_it_turns_back_it_goes_on_turning_back(box: Lab, app: App, script: Script) -> None:
    script.acts = {"three": [Refused("app_crashed", log="Boom")], "undo two": [asyncio.Event()]}
    async with box.worker():
        operation = await box.ask(Kind.RESTART, app)
        await script.reaches("undo two")
    box.wait_over(seconds=LEASE_S + 1)
    script.told.clear()
    async with box.worker():
        ended = await box.ended(operation)
    assert script.told == ["undo three", "undo two", "undo one"]
    assert (ended.state, ended.error_code, ended.error_params) == (
        OpState.FAILED,
        "app_crashed",
        {"log": "Boom"},
    )


async def test_an_undo_that_fails_is_owed_until_it_is_done_and_the_first_reason_stays(
    box: Lab, app: App, script: Script
) -> None:
    tries = TRIES_BEFORE_ABORT + 3
    faults: list[object] = [Broken("disk_full"), Transient("runtime_down"), ValueError("bug")]
    script.acts = {"two": [Refused("app_crashed", log="Boom")], "undo one": (faults * 5)[:tries]}
    async with box.worker():
        operation = await box.ask(Kind.RESTART, app)
        for number in range(1, tries + 1):
            await box.retried(operation, number)
            assert (await box.operation(operation)).state is OpState.RUNNING
            box.wait_over(seconds=60)
        ended = await box.ended(operation)
    assert script.told.count("undo one") == tries + 1
    assert (ended.state, ended.error_code) == (OpState.FAILED, "app_crashed")


async def test_after_the_commit_there_is_only_forward(box: Lab, app: App, script: Script) -> None:
    script.acts["four"] = [Refused("app_crashed", log=""), Broken("disk_full"), Transient("runtime_down")]
    async with box.worker():
        operation = await box.ask(Kind.RESTART, app)
        for number in (1, 2, 3):
            await box.retried(operation, number)
            box.wait_over(seconds=60)
        assert (await box.ended(operation)).state is OpState.SUCCEEDED
    assert script.told == ["one", "two", "three", *["four"] * 4]


async def test_forward_it_waits_for_as_long_as_waiting_may_help(box: Lab, app: App, script: Script) -> None:
    """Giving up half-way would leave an app without its route while Docker is away for an hour."""
    tries = TRIES_FORWARD + 5
    script.acts["four"] = [Transient("runtime_down") for _ in range(tries)]
    async with box.worker():
        operation = await box.ask(Kind.RESTART, app)
        for number in range(1, tries + 1):
            await box.retried(operation, number)
            box.wait_over(seconds=60)
        assert (await box.ended(operation)).state is OpState.SUCCEEDED


async def test_forward_it_gives_up_in_the_end_on_what_waiting_does_not_mend(
    box: Lab, app: App, script: Script
) -> None:
    script.acts["four"] = [Broken("runtime_error", detail="no") for _ in range(TRIES_FORWARD)]
    async with box.worker():
        operation = await box.ask(Kind.RESTART, app)
        for number in range(1, TRIES_FORWARD):
            await box.retried(operation, number)
            box.wait_over(seconds=60)
        ended = await box.ended(operation)
    assert (ended.state, ended.error_code) == (OpState.FAILED, "runtime_error")
    assert not any(name.startswith("undo") for name in script.told)
    after = await box.read(app)
    assert (after.phase, after.failure) == (Phase.LIVE, "runtime_error")


async def test_a_bug_in_a_step_is_logged_once_and_told_as_internal(
    box: Lab, app: App, script: Script, caplog: pytest.LogCaptureFixture
) -> None:
    script.acts["two"] = [ZeroDivisionError("a bug")]
    async with box.worker():
        operation = await box.done(Kind.RESTART, app)
    assert (operation.state, operation.error_code) == (OpState.FAILED, "internal")
    assert script.told == ["one", "two", "undo two", "undo one"]
    told = [record for record in caplog.records if record.exc_info]
    assert len(told) == 1
    assert "ZeroDivisionError" in str(told[0].exc_info)


async def test_a_step_that_takes_too_long_is_ended_and_undone(
    box: Lab, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Script(acts={"slow": [asyncio.Event()]})
    plan = replace(
        plan_of(script, "one", commit="slow"), steps=(script.step("one"), script.step("slow", timeout_s=0.05))
    )
    use(monkeypatch, {Kind.START: plan})
    async with box.worker():
        operation = await box.done(Kind.START, app)
    assert (operation.state, operation.error_code) == (OpState.FAILED, "step_timeout")
    assert operation.error_params["step"] == "slow"
    assert script.told == ["one", "slow", "undo slow", "undo one"]


# --- what it may not begin


async def test_an_operation_that_comes_too_late_leaves_the_app_alone(
    box: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Script()
    use(monkeypatch, {Kind.START: plan_of(script, "one", commit="one", allowed=frozenset({Phase.LIVE}))})
    app = await box.app(await box.account(), phase=Phase.TRASHED)
    before = await box.read(app)
    box.clock.forward(days=3)
    async with box.worker():
        operation = await box.done(Kind.START, app)
    assert (operation.state, operation.error_code) == (OpState.FAILED, "wrong_phase")
    assert operation.error_params == {"phase": "trashed"}
    assert script.told == []
    assert await box.read(app) == before


async def test_an_operation_on_an_app_that_is_gone_says_so(box: Lab, app: App, script: Script) -> None:
    async with box.world.database.write() as tx:
        await apps.delete(tx, app.id)
    async with box.worker():
        operation = await box.done(Kind.RESTART, app)
    assert (operation.state, operation.error_code) == (OpState.FAILED, "app_gone")
    assert script.told == []


# --- one at a time


async def test_operations_on_one_app_run_one_after_another_as_they_were_asked_for(
    box: Lab, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Script(acts={"restart": [hold := asyncio.Event()]})
    order = [Kind.RESTART, Kind.STOP, Kind.START, Kind.TRASH]
    use(monkeypatch, {kind: plan_of(script, kind.value, commit=None) for kind in order})
    async with box.worker():
        first = await box.ask(order[0], app)
        await script.reaches("restart")
        asked = [await box.ask(kind, app) for kind in order[1:]]
        assert {(await box.operation(one)).state for one in asked} == {OpState.QUEUED}
        hold.set()
        for operation in (first, *asked):
            await box.ended(operation)
    assert script.told == ["restart", "stop", "start", "trash"]


async def test_a_retry_of_one_app_holds_up_its_next_operation_and_no_other_app(
    box: Lab, app: App, script: Script
) -> None:
    other = await box.app(await box.account("bobby"), phase=Phase.LIVE)
    script.acts["one"] = [Transient("runtime_down")]
    async with box.worker():
        first = await box.ask(Kind.RESTART, app)
        await box.retried(first, 1)
        second = await box.ask(Kind.RESTART, app)
        assert (await box.done(Kind.RESTART, other)).state is OpState.SUCCEEDED
        assert (await box.operation(second)).state is OpState.QUEUED
        box.wait_over(seconds=1)
        await box.ended(first)
        assert (await box.ended(second)).state is OpState.SUCCEEDED


async def test_no_more_run_at_once_than_is_allowed(box: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    inside: asyncio.Queue[asyncio.Event] = asyncio.Queue()
    running, most = 0, 0

    async def busy(_: Work) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        inside.put_nowait(leave := asyncio.Event())
        await leave.wait()
        running -= 1

    script = Script(acts={"one": [busy] * 20})
    use(monkeypatch, {Kind.START: plan_of(script, "one", commit="one")})
    owner = await box.account()
    made = [await box.app(owner, f"app{number}", phase=Phase.LIVE) for number in range(20)]
    asked = [await box.ask(Kind.START, one) for one in made]
    async with box.worker(concurrency=3), asyncio.timeout(20):
        held = [await inside.get() for _ in range(3)]
        for _ in made[3:]:
            held.pop(0).set()
            held.append(await inside.get())
        for leave in held:
            leave.set()
        for operation in asked:
            await box.ended(operation)
    assert most == 3


async def test_two_workers_on_one_database_never_run_one_app_twice(
    box: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As two engines would: each with connections and nudges of its own."""
    running: Counter[str] = Counter()
    ran: list[str] = []
    faults: list[str] = []

    async def busy(work: Work) -> None:
        running[work.app.id] += 1
        if running[work.app.id] > 1:
            faults.append(work.app.name)
        for _ in range(3):
            await asyncio.sleep(0)
        ran.append(work.operation.id)
        running[work.app.id] -= 1

    order = [Kind.RESTART, Kind.STOP, Kind.START]
    scripts = Script(acts={kind.value: [busy] * 100 for kind in order})
    use(monkeypatch, {kind: plan_of(scripts, kind.value, commit=None) for kind in order})
    owner = await box.account()
    made = [await box.app(owner, f"app{number}", phase=Phase.LIVE) for number in range(15)]
    asked = [await box.ask(kind, one) for kind in order for one in made]
    async with AsyncExitStack() as stack:
        for _ in range(2):
            database = await Database.open(box.world.settings.database_path)
            stack.push_async_callback(database.close)
            world = replace(box.world, database=database, bus=Bus())
            await stack.enter_async_context(alongside(Worker(world, concurrency=4).run()))
        async with asyncio.timeout(30):
            while await box.rows("SELECT 1 FROM operations WHERE finished_at IS NULL"):
                await asyncio.sleep(0)
    assert faults == []
    assert sorted(ran) == sorted(operation.id for operation in asked)
    for one in made:
        mine = [operation.id for operation in asked if operation.app_id == one.id]
        assert [found for found in ran if found in mine] == mine


# --- leases


async def test_a_worker_that_lost_its_lease_stops_silently_at_its_next_write(
    box: Lab, app: App, script: Script, caplog: pytest.LogCaptureFixture
) -> None:
    script.acts["two"] = [hold := asyncio.Event()]
    async with box.worker():
        operation = await box.ask(Kind.RESTART, app)
        await script.reaches("two")
        async with box.world.database.write() as tx:
            await tx.run("UPDATE operations SET lease_owner = 'another', attempt = attempt + 1")
        events = await box.events(operation)
        with box.world.bus.watch(operation.id) as news:
            hold.set()
            async with asyncio.timeout(10):
                await news.wait()
        assert script.told == ["one", "two"]
        assert await box.events(operation) == events
        assert (await box.operation(operation)).lease_owner == "another"
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_an_operation_whose_worker_died_is_taken_over_when_its_lease_runs_out(
    box: Lab, app: App, script: Script
) -> None:
    script.acts["one"] = [asyncio.Event()]
    async with box.worker():
        operation = await box.ask(Kind.RESTART, app)
        await script.reaches("one")
    async with box.worker():
        box.wait_over(seconds=LEASE_S - 1)
        other = await box.app(await box.account("bobby"), phase=Phase.LIVE)
        await box.done(Kind.RESTART, other)
        assert (await box.operation(operation)).attempt == 1
        box.wait_over(seconds=2)
        assert (await box.ended(operation)).attempt == 2


async def test_a_long_step_keeps_its_lease_even_when_the_database_is_busy_for_a_moment(
    box: Lab, app: App, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.worker.LEASE_S", 0.03)
    real, calls, extended = operations.extend, 0, asyncio.Event()

    async def extend(tx: Any, operation: Operation, until: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise Transient("temporarily_unavailable")
        await real(tx, operation, until)
        extended.set()

    monkeypatch.setattr(operations, "extend", extend)
    script.acts["two"] = [hold := asyncio.Event()]
    async with box.worker():
        operation = await box.ask(Kind.RESTART, app)
        async with asyncio.timeout(10):
            await extended.wait()
        hold.set()
        assert (await box.ended(operation)).state is OpState.SUCCEEDED


async def test_a_worker_that_ends_leaves_no_heartbeat_behind(
    box: Lab, app: App, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database is closed next; a unit of work still under way would meet a closed connection."""
    monkeypatch.setattr("engine.worker.LEASE_S", 0.03)
    beating = asyncio.Event()

    async def extend(*_: Any) -> None:
        beating.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(operations, "extend", extend)
    script.acts["two"] = [asyncio.Event()]
    before = asyncio.all_tasks()
    async with box.worker():
        await box.ask(Kind.RESTART, app)
        async with asyncio.timeout(10):
            await beating.wait()
    left = {task.get_name() for task in asyncio.all_tasks() - before} - {"store-commit"}
    assert left == set()


async def test_what_was_put_back_is_not_leased_by_a_late_heartbeat(
    box: Lab, app: App, script: Script
) -> None:
    script.acts["one"] = [Transient("runtime_down")]
    async with box.worker():
        operation = await box.ask(Kind.RESTART, app)
        claimed: list[Operation] = []

        async def remember(work: Work) -> None:
            claimed.append(work.operation)
            raise Transient("runtime_down")

        script.acts["one"] = [remember]
        await box.retried(operation, 1)
        with pytest.raises(operations.Lost):
            async with box.world.database.write() as tx:
                await operations.extend(tx, claimed[0], box.clock.now())


# --- a database in trouble


@pytest.mark.parametrize("call", ["claim", "next_due"])
async def test_a_queue_that_cannot_be_read_is_read_again_soon(
    box: Lab, app: App, script: Script, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    monkeypatch.setattr("engine.worker.AGAIN_S", 0.01)
    real, failures = getattr(operations, call), [Broken("disk_full"), Transient("temporarily_unavailable")]

    async def fails(*args: Any) -> Any:
        if failures:
            raise failures.pop()
        return await real(*args)

    monkeypatch.setattr(operations, call, fails)
    async with box.worker():
        box.world.bus.nudge(NEW_WORK)
        operation = await box.ask(Kind.RESTART, app)
        assert (await box.ended(operation)).state is OpState.SUCCEEDED
    assert len(failures) < 2


async def test_an_end_that_cannot_be_written_is_written_by_the_next_attempt(
    box: Lab, app: App, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, failed = operations.finish, asyncio.Event()

    async def fails_once(*args: Any) -> None:
        if not failed.is_set():
            failed.set()
            raise Broken("disk_full")
        await real(*args)

    monkeypatch.setattr(operations, "finish", fails_once)
    async with box.worker():
        operation = await box.ask(Kind.RESTART, app)
        await failed.wait()
        await box.until(operation, lambda _: True)
        assert (await box.read(app)).phase is Phase.LIVE
        box.wait_over(seconds=LEASE_S + 1)
        assert (await box.ended(operation)).state is OpState.SUCCEEDED
    assert script.told == ["one", "two", "three", "four", "four"]
