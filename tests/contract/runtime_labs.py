"""Where the Runtime suite is run: one lab per driver, which gives it specs and makes things happen to instances."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import aiohttp
from aiodocker import Docker

from engine.ports import InstanceSpec, Runtime
from runtime.docker import DockerRuntime
from runtime.docker_config import DockerOptions
from runtime.memory import Behaviour, MemoryRuntime

PROGRAMS = Path(__file__).parent / "programs"
USERID = f"t{os.getpid()}"
MIB = 1024 * 1024
READY_S = 30.0
SLOTS = itertools.count(1)
T = TypeVar("T")


def closing(stream: AsyncIterator[T]) -> aclosing[AsyncGenerator[T, None]]:
    """A stream that is left before its end is closed at once, not whenever it is collected."""
    return aclosing(cast("AsyncGenerator[T, None]", stream))


class Lab(Protocol):
    """A runtime under test, and a hand on the world around it."""

    runtime: Runtime

    def spec(self, behaviour: Behaviour = Behaviour.ANSWERS, **changes: Any) -> InstanceSpec:
        """A new app's, with a name and a slot of its own."""

    def stranger(self, name: str) -> Any:
        """Something of another installation holds `name` meanwhile. Gives a question: is it still as it was?"""

    def unreachable(self) -> Runtime:
        """A runtime that is down."""

    async def say(self, name: str, line: str) -> None:
        """The app writes a line."""

    async def crash(self, name: str) -> None:
        """The app ends by itself, with exit code 3."""

    async def exhaust(self, name: str) -> None:
        """The app asks for more memory than it may have."""


def new_spec(folder: Path, **changes: Any) -> InstanceSpec:
    slot = next(SLOTS)
    appname = f"app-{slot}"
    code, data = folder / appname / "code", folder / appname / "data"
    code.mkdir(parents=True)
    spec = InstanceSpec(
        name=f"paas-app-{USERID}-{appname}",
        app_id=f"id-{slot}",
        userid=USERID,
        appname=appname,
        domain="localhost",
        slot=slot,
        image="python",
        code_dir=code,
        data_dir=data,
        memory_bytes=64 * MIB,
        restart_policy="no",
    )
    return replace(spec, **changes)


class MemoryLab:
    def __init__(self, folder: Path) -> None:
        self.runtime = MemoryRuntime(folder / "state")
        self._folder = folder

    def spec(self, behaviour: Behaviour = Behaviour.ANSWERS, **changes: Any) -> InstanceSpec:
        spec = new_spec(self._folder, **changes)
        self.runtime.behave(spec.name, behaviour)
        return spec

    @asynccontextmanager
    async def stranger(self, name: str) -> AsyncIterator[Callable[[], Awaitable[bool]]]:
        self.runtime.occupy(name)

        async def untouched() -> bool:
            return True

        yield untouched

    def unreachable(self) -> Runtime:
        runtime = MemoryRuntime()
        runtime.down = True
        return runtime

    async def say(self, name: str, line: str) -> None:
        self.runtime.say(name, line)

    async def crash(self, name: str) -> None:
        self.runtime.crash(name, exit_code=3)

    async def exhaust(self, name: str) -> None:
        self.runtime.crash(name, exit_code=137, out_of_memory=True)


class DockerLab:
    """On the real daemon. What it makes carries this test session's own installation id."""

    def __init__(self, folder: Path, options: DockerOptions) -> None:
        self.options = options
        self.runtime = DockerRuntime(options)
        self._folder = folder

    def spec(self, behaviour: Behaviour = Behaviour.ANSWERS, **changes: Any) -> InstanceSpec:
        spec = new_spec(self._folder, **changes)
        shutil.copy(PROGRAMS / f"{behaviour.value}.py", spec.code_dir / "main.py")
        return spec

    @asynccontextmanager
    async def stranger(self, name: str, **config: Any) -> AsyncIterator[Callable[[], Awaitable[bool]]]:
        async with Docker(url=self.options.docker_host) as docker:
            labels = {"paas.type": "user-app", "paas.installation": "somebody-else"}
            image = await current_image(self.options)
            body = {"Image": image, "Entrypoint": ["sleep", "600"], "Cmd": [], "Labels": labels, **config}
            container = await docker.containers.create(body, name=name)
            try:
                await container.start()
                before = _identity(await container.show())

                async def untouched() -> bool:
                    return _identity(await container.show()) == before

                yield untouched
            finally:
                await container.delete(force=True)

    def unreachable(self) -> Runtime:
        return DockerRuntime(replace(self.options, docker_host="unix:///nonexistent/docker.sock"))

    async def say(self, name: str, line: str) -> None:
        await self.ask(name, "/say", line=line)

    async def crash(self, name: str) -> None:
        await self._ask_for_death(name, "/exit", code="3")

    async def exhaust(self, name: str) -> None:
        await self._ask_for_death(name, "/hog")

    async def ask(self, name: str, path: str, **query: str) -> str:
        """What the app inside answers."""
        instance = await self.runtime.inspect(name)
        assert instance is not None
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://{instance.address}{path}", params=query) as answer,
        ):
            return await answer.text()

    async def facts(self, name: str) -> Mapping[str, Any]:
        facts: Mapping[str, Any] = json.loads(await self.ask(name, "/facts"))
        return facts

    async def _ask_for_death(self, name: str, path: str, **query: str) -> None:
        try:
            await self.ask(name, path, **query)
        except aiohttp.ClientError:
            return
        raise AssertionError("it should have died before it could answer")


async def current_image(options: DockerOptions) -> str:
    """Made by the session's fixture."""
    async with Docker(url=options.docker_host) as docker:
        images = await docker.images.list(filters={"reference": ["madang-runtime-python"]})
    return str(max(images, key=lambda image: image["Created"])["Id"])


def _identity(data: Mapping[str, Any]) -> tuple[str, str, int]:
    return data["Id"], data["State"]["Status"], data["State"]["Pid"]
