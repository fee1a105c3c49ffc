"""What the in-memory runtime can do beyond the contract: survive, play dead, and be broken on purpose."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from engine.errors import Transient
from engine.ports import InstanceSpec, InstanceState
from runtime.memory import MemoryRuntime


def spec(folder: Path, number: int = 1) -> InstanceSpec:
    return InstanceSpec(
        name=f"paas-app-minji-app{number}",
        app_id=f"a-{number}",
        userid="minji",
        appname=f"app{number}",
        domain="localhost",
        slot=number,
        image="python",
        code_dir=folder / "code",
        data_dir=folder / "data",
        environment={"KEY": "secret"},
    )


async def test_instances_survive_the_engine(tmp_path: Path) -> None:
    before = MemoryRuntime(tmp_path / "state")
    await before.ensure(spec(tmp_path, 1))
    await before.ensure(spec(tmp_path, 2))
    await before.stop(spec(tmp_path, 2).name)
    after = MemoryRuntime(tmp_path / "state")
    assert await after.list_owned() == await before.list_owned()
    again = await after.ensure(spec(tmp_path, 1))
    assert again == await before.inspect(again.name)


async def test_what_is_removed_stays_removed(tmp_path: Path) -> None:
    runtime = MemoryRuntime(tmp_path / "state")
    await runtime.ensure(spec(tmp_path))
    await runtime.remove(spec(tmp_path).name)
    assert await MemoryRuntime(tmp_path / "state").list_owned() == []


async def test_no_secret_is_written_down(tmp_path: Path) -> None:
    await MemoryRuntime(tmp_path / "state").ensure(spec(tmp_path))
    assert "secret" not in "".join(file.read_text() for file in (tmp_path / "state").iterdir())


async def test_a_death_while_writing_leaves_the_old_state(tmp_path: Path) -> None:
    runtime = MemoryRuntime(tmp_path / "state")
    await runtime.ensure(spec(tmp_path))
    (tmp_path / "state" / f"{spec(tmp_path).name}.half").write_text('{"name": ')
    (instance,) = await MemoryRuntime(tmp_path / "state").list_owned()
    assert instance.state is InstanceState.RUNNING


async def test_events_end_when_it_goes_down(tmp_path: Path) -> None:
    runtime = MemoryRuntime()
    events = runtime.events()
    await runtime.ensure(spec(tmp_path))
    assert (await anext(events)).kind == "started"
    runtime.down = True
    with pytest.raises(Transient):
        await anext(events)
    with pytest.raises(Transient):
        await runtime.ensure(spec(tmp_path))
    runtime.down = False
    await runtime.check()


async def test_what_somebody_else_removes_is_told(tmp_path: Path) -> None:
    runtime = MemoryRuntime()
    await runtime.ensure(spec(tmp_path))
    events = runtime.events()
    runtime.vanish(spec(tmp_path).name)
    assert [(await anext(events)).kind for _ in range(2)] == ["stopped", "removed"]
    assert await runtime.inspect(spec(tmp_path).name) is None


async def test_five_hundred_at_once_are_quick(tmp_path: Path) -> None:
    runtime = MemoryRuntime(tmp_path / "state")
    async with asyncio.timeout(5):
        await asyncio.gather(*(runtime.ensure(spec(tmp_path, number)) for number in range(500)))
    assert len(await runtime.list_owned()) == 500
