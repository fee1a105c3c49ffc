"""Every promise of engine.ports.Runtime, kept by every driver."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from engine.errors import Conflict, NotFound, Refused, Transient
from engine.ports import InstanceEvent, InstanceSpec, InstanceState
from runtime.memory import Behaviour
from tests.contract.runtime_labs import READY_S, Lab, closing


async def running(lab: Lab, spec: InstanceSpec) -> InstanceSpec:
    await lab.runtime.ensure(spec)
    await ready(lab, spec)
    return spec


async def ready(lab: Lab, spec: InstanceSpec, timeout_s: float = READY_S) -> None:
    await lab.runtime.wait_ready(spec.name, port=spec.port, path=spec.health_path, timeout_s=timeout_s)


async def kinds_until(events: AsyncIterator[InstanceEvent], name: str, last: str) -> list[str]:
    """What happens to an instance, up to and with the first event of kind `last`."""
    kinds = []
    async with asyncio.timeout(READY_S):
        async for event in events:
            if event.name == name:
                kinds.append(event.kind)
                if event.kind == last:
                    return kinds
    raise AssertionError("the events ended")


async def ended(lab: Lab, name: str) -> None:
    """Returns once the instance has stopped."""
    async with asyncio.timeout(READY_S), closing(lab.runtime.follow_logs(name, lines=0)) as lines:
        async for _ in lines:
            pass


# -- being there --------------------------------------------------------------------------------------------------------


async def test_a_runtime_that_is_up_passes_its_check(lab: Lab) -> None:
    await lab.runtime.check()


async def test_preparing_again_does_no_harm(lab: Lab) -> None:
    spec = await running(lab, lab.spec())
    await lab.runtime.prepare()
    await ready(lab, spec)


async def test_a_runtime_that_is_down_says_so_in_every_call_and_in_time(lab: Lab) -> None:
    down, spec = lab.unreachable(), lab.spec()
    calls = [
        down.check(),
        down.prepare(),
        down.ensure(spec),
        down.wait_ready(spec.name, port=1, path="/", timeout_s=1),
        down.inspect(spec.name),
        down.stop(spec.name),
        down.remove(spec.name),
        down.logs(spec.name, lines=1),
        anext(aiter(down.follow_logs(spec.name, lines=1))),
        down.stats(spec.name),
        down.list_owned(),
        anext(aiter(down.events())),
    ]
    began = time.monotonic()
    for call in calls:
        with pytest.raises(Transient) as caught:
            await call
        assert caught.value.code == "runtime_down"
    assert time.monotonic() - began < 5
    await down.close()


# -- ensure -------------------------------------------------------------------------------------------------------------


async def test_ensure_makes_an_instance_that_runs_and_answers(lab: Lab) -> None:
    spec = lab.spec()
    instance = await lab.runtime.ensure(spec)
    await ready(lab, spec)
    assert (instance.name, instance.app_id, instance.state) == (spec.name, spec.app_id, InstanceState.RUNNING)
    assert instance.address is not None
    seen = await lab.runtime.inspect(spec.name)
    assert seen is not None
    assert (seen.state, seen.address, seen.exit_code) == (InstanceState.RUNNING, instance.address, None)
    assert abs((seen.created_at - instance.created_at).total_seconds()) < 5


async def test_ensure_again_changes_nothing(lab: Lab) -> None:
    spec = await running(lab, lab.spec())
    before = await lab.runtime.inspect(spec.name)
    async with closing(lab.runtime.events()) as events:
        await lab.runtime.ensure(spec)
        assert await lab.runtime.inspect(spec.name) == before
        await lab.runtime.remove(spec.name)
        assert "started" not in await kinds_until(events, spec.name, "removed")


@pytest.mark.parametrize(
    "change",
    [{"environment": {"COLOUR": "green"}}, {"memory_bytes": 96 * 1024**2}, {"port": 3001}, {"cpus": 0.25}],
)
async def test_ensure_replaces_an_instance_of_another_configuration(
    lab: Lab, change: dict[str, object]
) -> None:
    spec = await running(lab, lab.spec())
    changed = replace(spec, **change)  # type: ignore[arg-type]
    async with closing(lab.runtime.events()) as events:
        await lab.runtime.ensure(changed)
        assert await kinds_until(events, spec.name, "started") == ["stopped", "removed", "started"]
    await ready(lab, changed)
    assert len(await lab.runtime.list_owned()) == 1


async def test_ensure_starts_a_stopped_instance_at_the_same_address(lab: Lab) -> None:
    spec = await running(lab, lab.spec())
    before = await lab.runtime.inspect(spec.name)
    await lab.runtime.stop(spec.name)
    started = await lab.runtime.ensure(spec)
    await ready(lab, spec)
    assert before is not None
    assert (started.state, started.address, started.created_at) == (
        before.state,
        before.address,
        before.created_at,
    )
    assert started.exit_code is None


async def test_ensure_starts_one_that_has_crashed(lab: Lab) -> None:
    spec = await running(lab, lab.spec())
    await lab.crash(spec.name)
    await ended(lab, spec.name)
    await lab.runtime.ensure(spec)
    await ready(lab, spec)


async def test_ensure_refuses_a_name_that_somebody_else_holds_and_leaves_it_alone(lab: Lab) -> None:
    spec = lab.spec()
    async with lab.stranger(spec.name) as untouched:
        with pytest.raises(Conflict) as caught:
            await lab.runtime.ensure(spec)
        assert caught.value.code == "name_taken_on_box"
        assert caught.value.params["name"] == spec.name
        assert await untouched()


async def test_twenty_at_once_all_come_up(lab: Lab) -> None:
    specs = [lab.spec() for _ in range(20)]
    await asyncio.gather(*(running(lab, spec) for spec in specs))
    owned = await lab.runtime.list_owned()
    assert {instance.name for instance in owned} == {spec.name for spec in specs}
    assert len({instance.address for instance in owned}) == 20


async def test_many_calls_for_one_name_make_one_instance(lab: Lab) -> None:
    spec = lab.spec()
    instances = await asyncio.gather(*(lab.runtime.ensure(spec) for _ in range(8)))
    await ready(lab, spec)
    assert {instance.state for instance in instances} == {InstanceState.RUNNING}
    assert len(await lab.runtime.list_owned()) == 1


# -- wait_ready ---------------------------------------------------------------------------------------------------------


async def test_waiting_for_one_that_ends_tells_at_once_and_shows_what_it_said(lab: Lab) -> None:
    spec = lab.spec(Behaviour.CRASHES)
    await lab.runtime.ensure(spec)
    with pytest.raises(Refused) as caught:
        await ready(lab, spec)
    assert caught.value.code == "app_crashed"
    assert caught.value.params["log"].strip()
    assert len(caught.value.params["log"]) <= 2000


async def test_waiting_for_one_that_never_answers_ends_in_time_and_shows_what_it_said(lab: Lab) -> None:
    spec = lab.spec(Behaviour.SILENT)
    await lab.runtime.ensure(spec)
    with pytest.raises(Refused) as caught:
        await ready(lab, spec, timeout_s=1.0)
    assert (caught.value.code, caught.value.params["seconds"]) == ("app_not_ready", 1.0)
    assert caught.value.params["log"].strip()


async def test_waiting_for_one_that_is_not_there_is_refused(lab: Lab) -> None:
    with pytest.raises(NotFound):
        await ready(lab, lab.spec())


# -- stop and remove ----------------------------------------------------------------------------------------------------


async def test_stopping_ends_the_program_and_keeps_the_instance(lab: Lab) -> None:
    spec = await running(lab, lab.spec())
    await lab.runtime.stop(spec.name)
    await lab.runtime.stop(spec.name)
    instance = await lab.runtime.inspect(spec.name)
    assert instance is not None
    assert instance.state is InstanceState.STOPPED
    assert instance.exit_code is not None


async def test_removing_leaves_the_data_alone_and_may_be_repeated(lab: Lab) -> None:
    spec = await running(lab, lab.spec())
    kept = spec.data_dir / "diary.txt"
    kept.write_text("today")
    await lab.runtime.remove(spec.name)
    await lab.runtime.remove(spec.name)
    assert await lab.runtime.inspect(spec.name) is None
    assert kept.read_text() == "today"
    await running(lab, spec)
    assert kept.read_text() == "today"


async def test_what_is_not_there_is_no_error(lab: Lab) -> None:
    name = lab.spec().name
    await lab.runtime.stop(name)
    await lab.runtime.remove(name)
    assert await lab.runtime.inspect(name) is None
    assert await lab.runtime.logs(name, lines=10) == ""
    assert await lab.runtime.stats(name) is None
    assert [line async for line in lab.runtime.follow_logs(name, lines=10)] == []


# -- only our own -------------------------------------------------------------------------------------------------------


async def test_only_what_is_ours_is_seen_or_touched(lab: Lab) -> None:
    ours, theirs = await running(lab, lab.spec()), lab.spec()
    async with lab.stranger(theirs.name) as untouched:
        assert [instance.name for instance in await lab.runtime.list_owned()] == [ours.name]
        assert await lab.runtime.inspect(theirs.name) is None
        assert await lab.runtime.logs(theirs.name, lines=10) == ""
        assert await lab.runtime.stats(theirs.name) is None
        await lab.runtime.stop(theirs.name)
        await lab.runtime.remove(theirs.name)
        assert await untouched()


async def test_the_list_holds_running_and_stopped_ones(lab: Lab) -> None:
    first, second = await running(lab, lab.spec()), await running(lab, lab.spec())
    await lab.runtime.stop(second.name)
    states = {instance.name: instance.state for instance in await lab.runtime.list_owned()}
    assert states == {first.name: InstanceState.RUNNING, second.name: InstanceState.STOPPED}
    listed = {instance.app_id: instance.address for instance in await lab.runtime.list_owned()}
    inspected = await lab.runtime.inspect(second.name)
    assert inspected is not None
    assert listed[second.app_id] == inspected.address


# -- logs ---------------------------------------------------------------------------------------------------------------


async def test_logs_are_the_last_lines_oldest_first(lab: Lab) -> None:
    spec = await running(lab, lab.spec())
    for number in range(5):
        await lab.say(spec.name, f"line {number} 안녕")
    assert await lab.runtime.logs(spec.name, lines=2) == "line 3 안녕\nline 4 안녕\n"


async def test_followed_logs_begin_with_the_last_lines_and_end_with_the_instance(lab: Lab) -> None:
    spec = await running(lab, lab.spec())
    await lab.say(spec.name, "before")
    seen = []
    async with asyncio.timeout(READY_S):
        async for line in lab.runtime.follow_logs(spec.name, lines=1):
            seen.append(line)
            if line == "before":
                await lab.say(spec.name, "after")
            if line == "after":
                await lab.crash(spec.name)
    assert seen == ["before", "after"]


async def test_followed_logs_can_be_left(lab: Lab) -> None:
    spec = await running(lab, lab.spec())
    await lab.say(spec.name, "first")
    async with closing(lab.runtime.follow_logs(spec.name, lines=1)) as lines:
        assert await anext(lines) == "first"
    await lab.runtime.check()


# -- stats --------------------------------------------------------------------------------------------------------------


async def test_stats_tell_use_and_limit_of_one_that_runs(measured_lab: Lab) -> None:
    lab = measured_lab
    spec = await running(lab, lab.spec())
    for _ in range(2):
        stats = await lab.runtime.stats(spec.name)
        assert stats is not None
        assert 0 < stats.memory_bytes <= stats.memory_limit_bytes == spec.memory_bytes
        assert 0 <= stats.cpu_percent < 400
    await lab.runtime.stop(spec.name)
    assert await lab.runtime.stats(spec.name) is None


# -- events -------------------------------------------------------------------------------------------------------------


async def test_events_tell_a_life_from_the_moment_they_were_asked_for(lab: Lab) -> None:
    spec = lab.spec()
    async with closing(lab.runtime.events()) as events:
        await running(lab, spec)
        await lab.crash(spec.name)
        await ended(lab, spec.name)
        await lab.runtime.remove(spec.name)
        assert await kinds_until(events, spec.name, "removed") == ["started", "stopped", "removed"]


async def test_events_name_the_app(lab: Lab) -> None:
    spec = lab.spec()
    async with closing(lab.runtime.events()) as events:
        await lab.runtime.ensure(spec)
        async with asyncio.timeout(READY_S):
            assert await anext(events) == InstanceEvent(spec.name, spec.app_id, "started")


async def test_running_out_of_memory_is_told_apart(measured_lab: Lab) -> None:
    lab = measured_lab
    spec = await running(lab, lab.spec())
    async with closing(lab.runtime.events()) as events:
        await lab.exhaust(spec.name)
        assert await kinds_until(events, spec.name, "stopped") == ["out_of_memory", "stopped"]
    instance = await lab.runtime.inspect(spec.name)
    assert instance is not None
    assert (instance.out_of_memory, instance.exit_code) == (True, 137)


async def test_two_can_listen_to_events(lab: Lab) -> None:
    spec = lab.spec()
    async with closing(lab.runtime.events()) as one, closing(lab.runtime.events()) as other:
        await lab.runtime.ensure(spec)
        assert await kinds_until(one, spec.name, "started") == ["started"]
        assert await kinds_until(other, spec.name, "started") == ["started"]
