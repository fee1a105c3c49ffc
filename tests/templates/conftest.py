"""Templates are tested as what they are: programs started by entry.py, spoken to over HTTP."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import jinja2
import pytest

ROOT = Path(__file__).resolve().parents[2]
ENTRY = ROOT / "runtime/images/python/entry.py"
TEMPLATES = ROOT / "templates"
KEY = "a-long-random-key-that-the-engine-made"
START_TIMEOUT_S = 20
STOP_TIMEOUT_S = 10


class Program:
    """One app, run the way its container runs it."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.folder = folder
        self.env = env
        self.log: list[str] = []
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, **env: str) -> None:
        self.env |= env
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(ENTRY),
            str(self.folder),
            env={
                "PATH": os.environ["PATH"],
                "PYTHONDONTWRITEBYTECODE": "1",
                "PORT": str(self.port),
                "PUBLIC_URL": self.url,
                **self.env,
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(START_TIMEOUT_S):
            await self.wait_for_log(" on port ")

    async def wait_for_log(self, text: str) -> None:
        assert self._process
        assert self._process.stdout
        async for line in self._process.stdout:
            self.log.append(line.decode())
            if text in self.log[-1]:
                return
        raise AssertionError("ended early:\n" + "".join(self.log))

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    async def stop(self) -> int:
        """SIGTERM; the exit status."""
        assert self._process
        self._process.terminate()
        return await self._ended()

    async def kill(self) -> None:
        assert self._process
        self._process.kill()
        await self._ended()

    async def _ended(self) -> int:
        assert self._process
        async with asyncio.timeout(STOP_TIMEOUT_S):
            rest, _ = await self._process.communicate()
        self.log += rest.decode().splitlines(keepends=True)
        status = self._process.returncode
        self._process = None
        assert status is not None
        return status

    async def close(self) -> None:
        if self._process is not None and self._process.returncode is None:
            await self.kill()


Start = Callable[..., Awaitable[Program]]
Render = Callable[..., Path]


class Api:
    """JSON requests, as a program with the key or as a browser with a cookie."""

    def __init__(self, session: aiohttp.ClientSession, url: str, headers: dict[str, str]) -> None:
        self._session = session
        self.url = url
        self.headers = headers

    async def __call__(
        self, method: str, path: str, content: Any = None, **headers: str
    ) -> tuple[int, dict[str, Any]]:
        if content is not None and not isinstance(content, bytes):
            content = (content if isinstance(content, str) else json.dumps(content)).encode()
        body = None if content is None else io.BytesIO(content)
        sent = {"Content-Type": "application/json"} | self.headers | headers
        async with self._session.request(method, self.url + path, data=body, headers=sent) as response:
            return response.status, await response.json()

    async def ok(self, method: str, path: str, content: Any = None) -> Any:
        status, answer = await self(method, path, content)
        assert status in {200, 201}, answer
        return answer["data"]


@pytest.fixture
async def start_program() -> AsyncIterator[Start]:
    started: list[Program] = []

    async def start(folder: Path, **env: str) -> Program:
        program = Program(folder, env)
        started.append(program)
        await program.start()
        return program

    yield start
    for program in started:
        await program.close()


@pytest.fixture
def diary_folder() -> Path:
    return TEMPLATES / "diary-v1/app"


@pytest.fixture
async def diary(start_program: Start, diary_folder: Path, tmp_path: Path) -> Program:
    """A private diary with an empty database."""
    return await start_program(
        diary_folder,
        ENABLE_API="true",
        SQLITE_PATH=str(tmp_path / "data/db.sqlite3"),
        OWNER_KEY_SHA256=hashlib.sha256(KEY.encode()).hexdigest(),
        APP_LOCALE="ko",
    )


@pytest.fixture
async def browser_session() -> AsyncIterator[aiohttp.ClientSession]:
    """Keeps cookies, also those of an IP address, and follows no redirects by itself when told so."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        yield session


@pytest.fixture
async def api(diary: Program) -> AsyncIterator[Api]:
    """The API with the owner's key, as a program uses it."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield Api(session, diary.url, {"Authorization": f"Bearer {KEY}"})


@pytest.fixture
async def stranger(diary: Program) -> AsyncIterator[Api]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield Api(session, diary.url, {})


@pytest.fixture
def render_template(tmp_path: Path) -> Render:
    """Copy a template's app folder and render its .j2 files, by the contract of templates/."""

    def render(template_id: str, **context: Any) -> Path:
        folder = tmp_path / template_id
        shutil.copytree(TEMPLATES / template_id / "app", folder)
        for source in sorted(folder.rglob("*.j2")):
            environment = jinja2.Environment(
                autoescape=source.name.endswith(".html.j2"), undefined=jinja2.StrictUndefined
            )
            text = environment.from_string(source.read_text("utf-8")).render(**context)
            source.with_suffix("").write_text(text, "utf-8")
            source.unlink()
        return folder

    return render
