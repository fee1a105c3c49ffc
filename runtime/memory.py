"""Apps that only seem to run: the demonstration mode, and the double that tests use. The same promises as Docker's.

With a `state_dir` each instance is one small file, and survives the engine as a container would. Behaviour is chosen by
the test beforehand (`behave`), and what befalls an instance is said aloud (`crash`, `occupy`, `down`): nothing is left
to chance or to time.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from engine.errors import Conflict, NotFound, Refused, Transient
from engine.ports import Instance, InstanceEvent, InstanceSpec, InstanceState, Stats

CAPACITY: Final = 4078
LOG_LINES_KEPT: Final = 1000
WORDS_MAX: Final = 2000
MIB: Final = 1024 * 1024


class Behaviour(StrEnum):
    """What a program does once started."""

    ANSWERS = "answers"
    CRASHES = "crashes"  # ends by itself before it answers
    SILENT = "silent"  # runs, and never answers


@dataclass(frozen=True, slots=True)
class Record:
    """An instance, and what of its spec has to be known again. Never the environment: it may hold secrets."""

    instance: Instance
    config: str
    memory_limit_bytes: int


@dataclass(slots=True)
class _Output:
    """An instance's log: what was said, and who listens."""

    lines: deque[str] = field(default_factory=lambda: deque(maxlen=LOG_LINES_KEPT))
    listeners: list[asyncio.Queue[str | None]] = field(default_factory=list)

    def say(self, line: str) -> None:
        self.lines.append(line)
        for listener in self.listeners:
            listener.put_nowait(line)

    def end(self) -> None:
        for listener in self.listeners:
            listener.put_nowait(None)


class MemoryRuntime:
    """The Runtime of RUNTIME_DRIVER=memory. See engine.ports.Runtime for what each method promises."""

    name = "memory"

    def __init__(self, state_dir: Path | None = None) -> None:
        self._state_dir = state_dir
        self._records = {record.instance.name: record for record in _stored(state_dir)}
        self._outputs: dict[str, _Output] = {}
        self._behaviours: dict[str, Behaviour] = {}
        self._strangers: set[str] = set()
        self._subscribers: list[asyncio.Queue[InstanceEvent | None]] = []
        self._down = False

    # -- for tests and demonstrations -------------------------------------------------------------------------------

    @property
    def down(self) -> bool:
        """Whether it plays dead: every call raises Transient, every event stream ends."""
        return self._down

    @down.setter
    def down(self, value: bool) -> None:
        self._down = value
        if value:
            for subscriber in self._subscribers:
                subscriber.put_nowait(None)

    def behave(self, name: str, behaviour: Behaviour) -> None:
        """How the program of that name behaves from its next start on."""
        self._behaviours[name] = behaviour

    def occupy(self, name: str) -> None:
        """Something that is not ours holds the name."""
        self._strangers.add(name)

    def say(self, name: str, line: str) -> None:
        """The instance writes a line to its log."""
        self._output(name).say(line)

    def crash(self, name: str, *, exit_code: int = 1, out_of_memory: bool = False) -> None:
        """The program of a running instance ends by itself."""
        if out_of_memory:
            self._emit(name, "out_of_memory")
        self._end(name, exit_code=exit_code, out_of_memory=out_of_memory)

    def vanish(self, name: str) -> None:
        """Somebody removes the instance behind our back."""
        self._end(name, exit_code=137)
        self._forget(name)

    # -- the port ---------------------------------------------------------------------------------------------------

    @property
    def capacity(self) -> int:
        return CAPACITY

    async def check(self) -> None:
        self._answer()

    async def prepare(self) -> None:
        self._answer()
        if self._state_dir is not None:
            await asyncio.to_thread(self._state_dir.mkdir, parents=True, exist_ok=True)

    async def image(self, name: str) -> str:
        return f"memory/{name}:demonstration"

    async def ensure(self, spec: InstanceSpec) -> Instance:
        self._answer()
        if spec.name in self._strangers:
            raise Conflict("name_taken_on_box", name=spec.name)
        spec.data_dir.mkdir(parents=True, exist_ok=True)
        record, config = self._records.get(spec.name), _hash(spec)
        if record is not None and record.config != config:
            await self.remove(spec.name)
            record = None
        if record is None:
            instance = Instance(
                spec.name, spec.app_id, InstanceState.STOPPED, _address(spec), datetime.now(UTC)
            )
            record = Record(instance, config, spec.memory_bytes)
        if record.instance.state is not InstanceState.RUNNING:
            self._begin(record)
        return self._records[spec.name].instance

    async def wait_ready(self, name: str, *, port: int, path: str, timeout_s: float) -> None:
        self._answer()
        record = self._records.get(name)
        if record is None:
            raise NotFound("no_instance", name=name)
        if record.instance.state is not InstanceState.RUNNING:
            raise Refused("app_crashed", log=self._words(name))
        if self._behaviours.get(name) is Behaviour.SILENT:
            raise Refused("app_not_ready", seconds=timeout_s, log=self._words(name))

    async def inspect(self, name: str) -> Instance | None:
        self._answer()
        record = self._records.get(name)
        return record.instance if record else None

    async def stop(self, name: str, *, grace_s: float = 10) -> None:
        self._answer()
        self._end(name, exit_code=0)

    async def remove(self, name: str) -> None:
        self._answer()
        self._end(name, exit_code=137)
        self._forget(name)

    async def logs(self, name: str, *, lines: int) -> str:
        self._answer()
        return "".join(f"{line}\n" for line in self._last(name, lines))

    async def follow_logs(self, name: str, *, lines: int) -> AsyncIterator[str]:
        self._answer()
        record = self._records.get(name)
        if record is None:
            return
        output, news = self._output(name), asyncio.Queue[str | None]()
        earlier = self._last(name, lines)
        output.listeners.append(news)
        try:
            for line in earlier:
                yield line
            while self._runs(name) or not news.empty():
                coming = await news.get()
                if coming is None:
                    return
                yield coming
        finally:
            output.listeners.remove(news)

    async def stats(self, name: str) -> Stats | None:
        """Demonstration values: the same for the same name."""
        self._answer()
        if not self._runs(name):
            return None
        seed = hashlib.sha256(name.encode()).digest()
        limit = self._records[name].memory_limit_bytes
        return Stats(min(limit, (24 + seed[0] % 16) * MIB), limit, cpu_percent=seed[1] / 100)

    async def list_owned(self) -> Sequence[Instance]:
        self._answer()
        return [record.instance for record in self._records.values()]

    def events(self) -> AsyncIterator[InstanceEvent]:
        """From the moment of the call on."""
        news: asyncio.Queue[InstanceEvent | None] = asyncio.Queue()
        self._subscribers.append(news)
        return self._events(news)

    async def close(self) -> None:
        """Nothing is held."""

    # -- below: how -------------------------------------------------------------------------------------------------

    async def _events(self, news: asyncio.Queue[InstanceEvent | None]) -> AsyncIterator[InstanceEvent]:
        try:
            self._answer()
            while (event := await news.get()) is not None:
                yield event
        finally:
            self._subscribers.remove(news)
        self._answer()
        raise Transient("runtime_down")

    def _answer(self) -> None:
        if self._down:
            raise Transient("runtime_down")

    def _begin(self, record: Record) -> None:
        instance = replace(record.instance, state=InstanceState.RUNNING, exit_code=None, out_of_memory=False)
        self._store(replace(record, instance=instance))
        self._emit(instance.name, "started")
        self.say(instance.name, "demonstration: no program is really run")
        if self._behaviours.get(instance.name) is Behaviour.CRASHES:
            self.say(instance.name, "demonstration: the program ends at once")
            self.crash(instance.name)

    def _end(self, name: str, *, exit_code: int, out_of_memory: bool = False) -> None:
        if not self._runs(name):
            return
        record = self._records[name]
        stopped = replace(
            record.instance, state=InstanceState.STOPPED, exit_code=exit_code, out_of_memory=out_of_memory
        )
        self._store(replace(record, instance=stopped))
        self._output(name).end()
        self._emit(name, "stopped")

    def _forget(self, name: str) -> None:
        if name in self._records:
            self._emit(name, "removed")
            del self._records[name]
            self._outputs.pop(name, None)
            if self._state_dir is not None:
                self._file(self._state_dir, name).unlink(missing_ok=True)

    def _runs(self, name: str) -> bool:
        record = self._records.get(name)
        return record is not None and record.instance.state is InstanceState.RUNNING

    def _emit(self, name: str, kind: str) -> None:
        event = InstanceEvent(name, self._records[name].instance.app_id, kind)
        for subscriber in self._subscribers:
            subscriber.put_nowait(event)

    def _output(self, name: str) -> _Output:
        return self._outputs.setdefault(name, _Output())

    def _last(self, name: str, lines: int) -> list[str]:
        return list(self._outputs[name].lines)[-lines:] if name in self._outputs and lines > 0 else []

    def _words(self, name: str) -> str:
        return "\n".join(self._last(name, LOG_LINES_KEPT))[-WORDS_MAX:]

    def _store(self, record: Record) -> None:
        """A rename, so that a death at any moment leaves the old state or the new one."""
        self._records[record.instance.name] = record
        if self._state_dir is not None:
            file = self._file(self._state_dir, record.instance.name)
            half = file.with_suffix(".half")
            half.write_text(json.dumps(_to_json(record)))
            half.rename(file)

    @staticmethod
    def _file(state_dir: Path, name: str) -> Path:
        return state_dir / f"{name}.json"


def _stored(state_dir: Path | None) -> Iterable[Record]:
    if state_dir is None:
        return []
    state_dir.mkdir(parents=True, exist_ok=True)
    return [_from_json(json.loads(file.read_text())) for file in sorted(state_dir.glob("*.json"))]


def _to_json(record: Record) -> dict[str, Any]:
    instance = record.instance
    return {
        "name": instance.name,
        "app_id": instance.app_id,
        "state": instance.state.value,
        "address": instance.address,
        "created_at": instance.created_at.isoformat(),
        "exit_code": instance.exit_code,
        "out_of_memory": instance.out_of_memory,
        "config": record.config,
        "memory_limit_bytes": record.memory_limit_bytes,
    }


def _from_json(data: dict[str, Any]) -> Record:
    instance = Instance(
        name=data["name"],
        app_id=data["app_id"],
        state=InstanceState(data["state"]),
        address=data["address"],
        created_at=datetime.fromisoformat(data["created_at"]),
        exit_code=data["exit_code"],
        out_of_memory=data["out_of_memory"],
    )
    return Record(instance, data["config"], data["memory_limit_bytes"])


def _address(spec: InstanceSpec) -> str:
    """By slot, from the range that RFC 2544 keeps for tests: it looks like an address, and leads nowhere."""
    return f"198.18.{spec.slot // 256}.{spec.slot % 256}:{spec.port}"


def _hash(spec: InstanceSpec) -> str:
    text = "\0".join(f"{key}={value}" for key, value in sorted(_facts(spec).items()))
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _facts(spec: InstanceSpec) -> dict[str, str]:
    return {name: str(getattr(spec, name)) for name in spec.__slots__ if name != "environment"} | {
        "environment": json.dumps(dict(spec.environment), sort_keys=True)
    }
