"""A whole Madang in a child process, with a root, ports and a network of its own; killed and started again at will."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sqlite3
import sys
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Self

from runtime.docker import DockerRuntime
from runtime.docker_config import DockerOptions
from tests.support.api import Api

START_S = 60.0
REPOSITORY = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Engine:
    """`async with Engine(root, driver="docker") as engine`: runs until the end of the block, whatever happens in it."""

    def __init__(self, root: Path, *, driver: str, **settings: str) -> None:
        self.root = root
        self.driver = driver
        self.http_port, self.engine_port = free_port(), free_port()
        # Each tree of tests has its own network; "memory" needs none.
        self.network = f"paas-test-{os.getpid()}-{self.http_port}"
        self._settings = settings
        self._process: Process | None = None
        self._errors: deque[str] = deque(maxlen=200)
        self._reader: asyncio.Task[None] | None = None
        self.ready: Mapping[str, Any] = {}
        self.admin_password: str | None = None

    @property
    def url(self) -> str:
        """The front door, through nginx (through the engine itself for the memory runtime)."""
        return f"http://localhost:{self.http_port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def environment(self) -> dict[str, str]:
        kept = {
            key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "MADANG_CACHE", "LANG")
        }
        return {
            **kept,
            "PYTHONPATH": str(REPOSITORY),
            "PYTHONWARNINGS": "error",
            "MADANG_TEST_STATE": str(self.root),
            "PAAS_ROOT": str(self.root / "var"),
            "PAAS_HTTP_PORT": str(self.http_port),
            "PORTAL_PORT": str(self.engine_port),
            "PAAS_NETWORK": self.network,
            "RUNTIME_DRIVER": self.driver,
            "BCRYPT_ROUNDS": "4",
            **self._settings,
        }

    async def start(self, **more: str) -> None:
        """Starts it, and returns once it is ready."""
        assert self._process is None
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.support.child", cwd=REPOSITORY, env=self.environment() | more,
            stdin=asyncio.subprocess.DEVNULL, stdout=PIPE, stderr=PIPE,
        )  # fmt: skip
        self._reader = asyncio.create_task(self._read_errors())
        assert self._process.stdout is not None
        async with asyncio.timeout(START_S):
            while line := await self._process.stdout.readline():
                if line.startswith(b"READY "):
                    self.ready = json.loads(line.removeprefix(b"READY "))
                    self.admin_password = self.ready["admin_password"] or self.admin_password
                    return
        await self._process.wait()
        raise AssertionError("the engine did not start:\n" + "\n".join(self._errors))

    async def _read_errors(self) -> None:
        assert self._process is not None
        assert self._process.stderr is not None
        while line := await self._process.stderr.readline():
            self._errors.append(line.decode(errors="replace").rstrip())

    async def wait_killed(self, timeout_s: float = 60) -> None:
        """Returns once the process has ended by SIGKILL."""
        assert self._process is not None
        async with asyncio.timeout(timeout_s):
            code = await self._process.wait()
        await self._forget()
        assert code == -signal.SIGKILL, f"ended with {code}:\n" + "\n".join(self._errors)

    async def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        await self.wait_killed()

    async def stop(self) -> None:
        """Asks it to end, as Ctrl-C would."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        async with asyncio.timeout(30):
            code = await self._process.wait()
        await self._forget()
        assert code == 0, f"ended with {code}:\n" + "\n".join(self._errors)

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def _forget(self) -> None:
        assert self._reader is not None
        await self._reader
        self._process = None

    def arm(self, at: int, when: str | None) -> None:
        """From now on effects are counted; it kills itself `when` the `at`-th happens (see `child`)."""
        (self.root / "control.json").write_text(json.dumps({"at": at, "when": when}))
        os.kill(self.pid, signal.SIGUSR1)

    def effects(self) -> list[str]:
        return (self.root / "effects.log").read_text().splitlines()

    @property
    def log(self) -> str:
        return (self.root / "var" / "log" / "engine.log").read_text()

    def api(self) -> Api:
        """Straight to the engine's own port."""
        return Api(f"http://127.0.0.1:{self.engine_port}")

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process is not None:
            if self._process.returncode is None:
                self._process.send_signal(signal.SIGINT)
                with suppress(TimeoutError):
                    async with asyncio.timeout(30):
                        await self._process.wait()
                if self._process.returncode is None:
                    self._process.kill()
            await self._process.wait()
            await self._forget()
        if self.driver == "docker":
            await self.clear_docker()

    async def clear_docker(self) -> None:
        """Takes away what this installation, and no other, has on the Docker engine."""
        with closing(sqlite3.connect(self.root / "var" / "portal.sqlite3")) as database:
            row = database.execute("SELECT value FROM installation WHERE key = 'id'").fetchone()
        options = DockerOptions(installation=row[0], cache_dir=self.root, network=self.network)
        runtime = DockerRuntime(options)
        for instance in await runtime.list_owned():
            await runtime.remove(instance.name)
        await runtime.unprepare()
        await runtime.close()
