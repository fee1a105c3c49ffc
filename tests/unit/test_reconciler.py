"""What happens behind our back is noticed by event, and put right; what is not ours is never touched."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from engine.bus import NEW_WORK
from engine.domain import Actor, App, Kind, OpState, Phase
from engine.errors import Conflict, Transient
from engine.operations.spec import instance_spec
from engine.ports import Instance, InstanceSpec, InstanceState
from engine.reconciler import GRACE, SWEEP_S, Reconciler, wanted_repair
from engine.service.apps import AppService
from engine.service.conversations import ConversationService
from engine.store import apps
from runtime.memory import Behaviour
from tests.support.worlds import EPOCH, PATIENCE_S, Lab, alongside, an_account, an_app, lab


@pytest.fixture
async def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Lab]:
    monkeypatch.setattr("engine.reconciler._SETTLE_S", 0.01)
    monkeypatch.setattr("engine.reconciler._RECONNECT_S", 0.01)
    assert SWEEP_S > PATIENCE_S, "what these tests wait for comes by event, not by the sweep"
    async with lab(tmp_path / "var") as one:
        yield one


@asynccontextmanager
async def watched(box: Lab) -> AsyncIterator[None]:
    """With a worker, and a reconciler that has had its first look and hears every event from now on."""
    async with box.worker(), alongside(Reconciler(box.world).run()):
        async with asyncio.timeout(PATIENCE_S):
            while not box.runtime._subscribers:
                await asyncio.sleep(0)
        yield


async def until(box: Lab, wanted: Callable[[], Awaitable[bool]]) -> None:
    """Returns once it is so; looked at again whenever an operation begins or ends."""
    with box.world.bus.watch(NEW_WORK) as news:
        async with asyncio.timeout(PATIENCE_S):
            while not await wanted():
                await news.wait()
                news.clear()


async def phase(box: Lab, app: App) -> Phase | None:
    found = await box.find(app)
    return found.phase if found else None


async def runs(box: Lab, app: App) -> bool:
    instance = await box.runtime.inspect(box.name(app))
    return instance is not None and instance.state is InstanceState.RUNNING


async def operations_of(box: Lab, app: App) -> list[tuple[str, str]]:
    rows = await box.rows("SELECT kind, state FROM operations WHERE app_id = ? ORDER BY seq", app.id)
    return [(row["kind"], row["state"]) for row in rows]


# --- what is wanted


_INSTANCE = Instance("x", "a", InstanceState.RUNNING, "198.18.0.1:3000", EPOCH)
_WANTED = {
    # phase: (running, stopped, none) with a route, running without one
    Phase.PENDING: (None, None, None, None),
    Phase.LIVE: (None, Kind.REPAIR, Kind.REPAIR, Kind.REPAIR),
    Phase.ASLEEP: (None, None, None, None),
    Phase.STOPPED: (Kind.STOP, None, None, Kind.STOP),
    Phase.FAILED: (Kind.START, None, None, Kind.START),
    Phase.TRASHED: (Kind.TRASH, Kind.TRASH, None, Kind.TRASH),
    Phase.DELETED: (None, None, None, None),
}


@pytest.mark.parametrize("current", Phase)
def test_what_would_bring_an_app_to_where_it_should_be(current: Phase) -> None:
    app = an_app(phase=current)
    stopped = replace(_INSTANCE, state=InstanceState.STOPPED)
    found = (
        wanted_repair(app, _INSTANCE, routed=True),
        wanted_repair(app, stopped, routed=True),
        wanted_repair(app, None, routed=True),
        wanted_repair(app, _INSTANCE, routed=False),
    )
    assert found == _WANTED[current]


# --- by event


async def test_a_program_that_ended_behind_our_back_runs_again(box: Lab) -> None:
    app = await box.live(await box.account())
    async with watched(box):
        box.runtime.crash(box.name(app))
        await until(box, lambda: runs(box, app))
        await until(box, lambda: _ended(box, app, 2))
    assert await operations_of(box, app) == [("create", "succeeded"), ("repair", "succeeded")]
    assert await phase(box, app) is Phase.LIVE
    assert box.edge.routes


async def _ended(box: Lab, app: App, count: int) -> bool:
    found = await operations_of(box, app)
    return len(found) == count and all(OpState(state).ended for _, state in found)


async def test_a_container_that_somebody_removed_is_made_again(box: Lab) -> None:
    app = await box.live(await box.account())
    async with watched(box):
        box.runtime.vanish(box.name(app))
        await until(box, lambda: _ended(box, app, 2))
    assert await runs(box, app)


async def test_a_program_that_cannot_stay_up_is_told_as_failed_with_its_last_words(box: Lab) -> None:
    app = await box.live(await box.account())
    async with watched(box):
        box.runtime.behave(box.name(app), Behaviour.CRASHES)
        box.runtime.crash(box.name(app))
        await until(box, lambda: _ended(box, app, 2))
    assert (await box.read(app)).failure == "app_crashed"
    assert await phase(box, app) is Phase.FAILED
    rows = await box.rows("SELECT error_code, error_params FROM operations WHERE kind = 'repair'")
    assert rows[0]["error_code"] == "app_crashed"
    assert "the program ends at once" in rows[0]["error_params"]
    assert box.edge.routes == {}, "its address shows the friendly page instead"


async def test_a_failed_app_is_not_tried_over_and_over(box: Lab) -> None:
    app = await box.live(await box.account())
    reconciler = Reconciler(box.world)
    async with watched(box):
        box.runtime.behave(box.name(app), Behaviour.CRASHES)
        box.runtime.crash(box.name(app))
        await until(box, lambda: _ended(box, app, 2))
        for _ in range(3):
            await reconciler.sweep()
        assert await _ended(box, app, 2)


async def test_a_stopped_app_that_is_started_by_hand_is_stopped_again(box: Lab) -> None:
    app = await box.live(await box.account())
    async with box.worker():
        await box.done(Kind.STOP, app)
    async with watched(box):
        await box.runtime.ensure(_spec(box, app))
        await until(box, lambda: _ended(box, app, 3))
    assert not await runs(box, app)
    assert await phase(box, app) is Phase.STOPPED


def _spec(box: Lab, app: App) -> InstanceSpec:
    world = box.world
    return instance_spec(app, world.catalogue.get(app.template), world.folders.of(app), world.settings)


async def test_a_live_app_whose_route_is_gone_gets_it_back(box: Lab) -> None:
    """As a stop leaves it that gave up half-way."""
    app = await box.live(await box.account())
    async with box.world.database.write() as tx:
        await apps.close_route(tx, app.id)
    await box.world.routes.publish()
    async with box.worker():
        await Reconciler(box.world).sweep()
        await until(box, lambda: _ended(box, app, 2))
    assert list(box.edge.routes) == [app.label]


async def test_a_whole_box_is_left_in_peace(box: Lab) -> None:
    owner = await box.account()
    live = await box.live(owner, "live")
    stopped = await box.live(owner, "stopped")
    trashed = await box.live(owner, "trashed")
    async with box.worker():
        await box.done(Kind.STOP, stopped)
        await box.done(Kind.TRASH, trashed)
    before = await box.rows("SELECT count(*) AS n FROM operations")
    await Reconciler(box.world).sweep()
    assert await box.rows("SELECT count(*) AS n FROM operations") == before
    assert await runs(box, live)


async def test_an_app_with_an_operation_is_left_to_it(box: Lab) -> None:
    app = await box.live(await box.account())
    box.runtime.crash(box.name(app))
    await box.ask(Kind.STOP, app)
    await Reconciler(box.world).sweep()
    assert await operations_of(box, app) == [("create", "succeeded"), ("stop", "queued")]


async def test_nothing_is_done_to_an_app_that_changed_while_it_was_looked_at(
    box: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it sees of the box is a moment older than what the database says."""
    app = await box.live(await box.account())
    real = box.runtime.list_owned

    async def slow() -> object:
        box.runtime.crash(box.name(app))
        found = await real()
        async with box.worker():
            await box.done(Kind.STOP, app)
        return found

    monkeypatch.setattr(box.runtime, "list_owned", slow)
    await Reconciler(box.world).sweep()
    assert await operations_of(box, app) == [("create", "succeeded"), ("stop", "succeeded")]


# --- leftovers


async def _leftover(box: Lab, name: str, age: timedelta) -> str:
    """A labelled instance of no app."""
    app = an_app(an_account("ghost"), name, slot=500)
    await box.runtime.ensure(_spec(box, app))
    box.clock.moment = datetime.now(UTC) + age
    return box.name(app)


async def test_a_labelled_instance_of_no_app_is_removed_past_its_grace_only(box: Lab) -> None:
    name = await _leftover(box, "young", GRACE - timedelta(seconds=10))
    await Reconciler(box.world).sweep()
    assert await box.runtime.inspect(name) is not None
    box.clock.forward(seconds=20)
    await Reconciler(box.world).sweep()
    assert await box.runtime.inspect(name) is None


async def test_an_instance_of_an_app_is_never_a_leftover_however_old(box: Lab) -> None:
    app = await box.live(await box.account())
    box.clock.moment = datetime.now(UTC) + timedelta(days=1000)
    await Reconciler(box.world).sweep()
    assert await runs(box, app)


async def test_the_namesake_of_a_leftover_is_spared(box: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look and the removal the owner made a new app of the old one's name."""
    name = await _leftover(box, "again", GRACE + timedelta(seconds=10))
    real = box.runtime.list_owned

    async def slow() -> object:
        found = await real()
        await box.runtime.remove(name)
        await box.runtime.ensure(_spec(box, an_app(an_account("ghost"), "again", slot=501)))
        return found

    monkeypatch.setattr(box.runtime, "list_owned", slow)
    await Reconciler(box.world).sweep()
    assert await box.runtime.inspect(name) is not None


async def test_a_trashed_app_keeps_no_container(box: Lab) -> None:
    app = await box.live(await box.account())
    async with box.worker():
        await box.done(Kind.TRASH, app)
    trashed = await box.read(app)
    await box.runtime.ensure(_spec(box, app))
    async with box.worker():
        await Reconciler(box.world).sweep()
        await until(box, lambda: _ended(box, app, 3))
    assert await box.runtime.inspect(box.name(app)) is None
    assert await box.read(app) == trashed, "and its time in the trash goes on"


async def test_what_is_being_cleared_away_is_not_restored_into_the_trash(box: Lab) -> None:
    alice = await box.account()
    app = await box.live(alice)
    async with box.worker():
        await box.done(Kind.TRASH, app)
    await box.runtime.ensure(_spec(box, app))
    await Reconciler(box.world).sweep()
    service, actor = AppService(box.world), Actor(alice, "api")
    with pytest.raises(Conflict, match="busy"):
        await service.change(actor, "alice", "diary", Kind.RESTORE)
    async with box.worker():
        await until(box, lambda: _ended(box, app, 3))
        await box.ended(await service.change(actor, "alice", "diary", Kind.RESTORE))
    assert await phase(box, app) is Phase.LIVE


async def test_strangers_who_only_looked_are_forgotten_after_a_month(box: Lab) -> None:
    alice = await box.account()
    conversations = ConversationService(box.world.database, box.clock)
    await conversations.open("browser", "a robot", "en")
    known, _ = await conversations.open("browser", "a person", "en")
    await conversations.save(replace(known, account_id=alice.id), [{"do": "menu"}])
    for days, left in ((29, 2), (2, 1)):
        box.clock.forward(days=days)
        await Reconciler(box.world).sweep()
        assert len(await box.rows("SELECT * FROM chats")) == left
    assert (await box.rows("SELECT address FROM chats"))[0]["address"] == "a person"


# --- a runtime that is down


async def test_while_the_runtime_is_down_nothing_is_touched(box: Lab) -> None:
    app = await box.live(await box.account())
    before = await box.read(app)
    box.runtime.down = True
    with pytest.raises(Transient):
        await Reconciler(box.world).sweep()
    assert await operations_of(box, app) == [("create", "succeeded")]
    assert await box.read(app) == before
    assert list(box.edge.routes) == [app.label]


async def test_once_the_runtime_is_back_everything_is_compared_anew(box: Lab) -> None:
    app = await box.live(await box.account())
    async with watched(box):
        box.runtime.down = True
        async with asyncio.timeout(PATIENCE_S):
            while box.runtime._subscribers:
                await asyncio.sleep(0)
        box.runtime._end(box.name(app), exit_code=137)  # nobody hears it
        box.runtime.down = False
        await until(box, lambda: _ended(box, app, 2))
    assert await runs(box, app)


async def test_a_runtime_that_comes_back_is_prepared_first(box: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    prepared = asyncio.Event()

    async def prepare() -> None:
        told.append("prepare")
        prepared.set()

    monkeypatch.setattr(box.runtime, "prepare", prepare)
    async with watched(box):
        box.runtime.down = True
        async with asyncio.timeout(PATIENCE_S):
            while box.runtime._subscribers:
                await asyncio.sleep(0)
            told.clear()
            prepared.clear()
            box.runtime.down = False
            await prepared.wait()
    assert told[0] == "prepare"


# --- the trash


async def test_the_trash_is_emptied_after_its_days_and_not_before(box: Lab) -> None:
    app = await box.live(await box.account())
    async with box.worker():
        await box.done(Kind.TRASH, app)
        box.clock.forward(days=box.world.settings.trash_keep_days - 0.1)
        await Reconciler(box.world).sweep()
        assert await phase(box, app) is Phase.TRASHED
        assert box.world.folders.of(app).data.is_dir()
        box.clock.forward(days=0.2)
        await Reconciler(box.world).sweep()
        await until(box, lambda: _gone(box, app))
    assert not box.world.folders.of(app).path.exists()


async def _gone(box: Lab, app: App) -> bool:
    return await box.find(app) is None


async def test_an_app_restored_while_the_trash_is_looked_through_is_not_purged(
    box: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = await box.live(await box.account())
    async with box.worker():
        await box.done(Kind.TRASH, app)
    box.clock.forward(days=1000)
    real = box.runtime.list_owned

    async def slow() -> object:
        async with box.world.database.write() as tx:
            await apps.set_phase(tx, app.id, Phase.STOPPED, box.clock.now())
        async with box.worker():
            await box.done(Kind.RESTORE, app)
        return await real()

    monkeypatch.setattr(box.runtime, "list_owned", slow)
    await Reconciler(box.world).sweep()
    assert [kind for kind, _ in await operations_of(box, app)] == ["create", "trash", "restore"]


async def test_with_zero_days_the_trash_is_kept_for_ever(tmp_path: Path) -> None:
    async with lab(tmp_path / "var", trash_keep_days=0) as box:
        app = await box.live(await box.account())
        async with box.worker():
            await box.done(Kind.TRASH, app)
        box.clock.forward(days=10_000)
        await Reconciler(box.world).sweep()
        assert await phase(box, app) is Phase.TRASHED
        assert await _ended(box, app, 2)


async def test_a_sweep_of_many_apps_does_not_hold_up_the_loop(box: Lab) -> None:
    """Looking for each app's instance among all instances would take its square."""
    owner = await box.account()
    made = [an_app(owner, f"app{number}", slot=number + 1, phase=Phase.LIVE) for number in range(2000)]
    async with box.world.database.write() as tx:
        for app in made:
            await apps.insert(tx, app)
            await apps.open_route(tx, app, "198.18.0.1:3000")

    async def nothing() -> None:
        return None

    found = [replace(_INSTANCE, name=box.name(app), app_id=app.id) for app in made]

    async def listed() -> list[Instance]:
        return found

    box.runtime.list_owned = listed  # type: ignore[method-assign]
    began = asyncio.get_running_loop().time()
    await Reconciler(box.world).sweep()
    assert asyncio.get_running_loop().time() - began < 2
    assert await box.rows("SELECT 1 FROM operations") == []
