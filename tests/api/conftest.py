"""People, and requests that say exactly what goes over the wire."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from multidict import CIMultiDictProxy

from engine.http.app import build_app
from engine.main import Parts, demonstration_settings, running
from engine.ports import Clock, SystemClock
from engine.settings import Settings
from nginx.memory import MemoryEdge
from runtime.memory import MemoryRuntime
from tests.support.api import Api
from tests.support.engine import free_port

ADMIN_PASSWORD = "a better password"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: CIMultiDictProxy[str]
    text: str

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.text)
        return found


@dataclass
class Box:
    """A whole Madang in this process, and what is inside of it."""

    settings: Settings
    runtime: MemoryRuntime
    edge: MemoryEdge
    stack: AsyncExitStack
    admin_password: str | None = None
    web: list[web.Application] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.settings.portal_port}"

    async def person(self, userid: str) -> Api:
        """Somebody who has just registered and logged in."""
        return await (await self.stranger()).register(userid)

    async def stranger(self) -> Api:
        return await self.stack.enter_async_context(Api(self.url))

    async def admin(self) -> Api:
        """The administrator, who has set a password."""
        api = await self.stranger()
        assert self.admin_password is not None
        await api.log_in("admin", self.admin_password)
        body = {"currentPassword": self.admin_password, "newPassword": ADMIN_PASSWORD}
        api.token = (await api.call("POST", "/api/v1/auth/change-password", body))["token"]
        return api

    async def send(self, method: str, path: str, *, as_: Api | None = None, **more: Any) -> Answer:
        """One request, exactly as given."""
        headers = dict(more.pop("headers", {}))
        if as_ is not None:
            headers.setdefault("Authorization", f"Bearer {as_.token}")
        async with (
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
            session.request(
                method, self.url + path, headers=headers, allow_redirects=False, **more
            ) as response,
        ):
            return Answer(response.status, response.headers, await response.text())

    def hold(self, userid: str, name: str) -> None:
        """The next operation on that app stands still in its last step, until `let_go`."""
        self.edge.unanswering.add(f"{userid}-{name}")

    async def let_go(self, userid: str, name: str) -> None:
        self.edge.unanswering.discard(f"{userid}-{name}")
        async with self.edge._changed:
            self.edge._changed.notify_all()


StartBox = Callable[..., AbstractAsyncContextManager[Box]]


@pytest.fixture
def start_box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StartBox:
    """`async with start_box(max_apps_per_user=1) as box`: settings by name, and `clock`; the same root each time."""

    @asynccontextmanager
    async def start(*, clock: Clock | None = None, **update: object) -> AsyncIterator[Box]:
        settings = Settings(_env_file=None, bcrypt_rounds=4)
        settings = demonstration_settings(settings, tmp_path / "var", free_port()).model_copy(update=update)
        async with AsyncExitStack() as stack:
            box = Box(settings, MemoryRuntime(settings.root / "memory"), MemoryEdge(), stack)
            real = build_app

            def build(*args: Any, **kwargs: Any) -> web.Application:
                box.web.append(real(*args, **kwargs))
                return box.web[-1]

            monkeypatch.setattr("engine.main.build_app", build)
            parts = Parts(box.runtime, box.edge, clock or SystemClock())
            async with running(settings, parts=parts) as ready:
                monkeypatch.setattr("engine.main.build_app", real)
                box.admin_password = ready.admin_password
                async with box.stack:
                    yield box

    return start


@pytest.fixture
async def box(start_box: StartBox) -> AsyncIterator[Box]:
    async with start_box() as one:
        yield one


@pytest.fixture
async def alice(box: Box) -> Api:
    return await box.person("alice")


@pytest.fixture
async def bob(box: Box) -> Api:
    return await box.person("bobby")
