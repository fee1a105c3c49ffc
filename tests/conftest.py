"""Fixtures that every kind of test may use."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from engine.main import Parts, demonstration_settings, running
from engine.settings import Settings
from nginx.memory import MemoryEdge
from runtime.memory import MemoryRuntime
from tests.support.api import Api
from tests.support.engine import free_port


class Madang:
    """A whole Madang in this process, on the memory runtime; its parts are at hand."""

    def __init__(self, settings: Settings, runtime: MemoryRuntime, edge: MemoryEdge) -> None:
        self.settings = settings
        self.runtime = runtime
        self.edge = edge
        self.url = f"http://127.0.0.1:{settings.portal_port}"
        self.admin_password: str | None = None

    def api(self) -> Api:
        return Api(self.url)


Start = Callable[..., AbstractAsyncContextManager[Madang]]


@pytest.fixture
def start_madang(tmp_path: Path) -> Start:
    """`async with start_madang(max_apps_per_user=1) as madang`: settings by name; the same root each time."""

    @asynccontextmanager
    async def start(**update: object) -> AsyncIterator[Madang]:
        settings = Settings(_env_file=None, bcrypt_rounds=4)
        settings = demonstration_settings(settings, tmp_path / "var", free_port()).model_copy(update=update)
        madang = Madang(settings, MemoryRuntime(settings.root / "memory"), MemoryEdge())
        async with running(settings, parts=Parts(madang.runtime, madang.edge)) as ready:
            madang.admin_password = ready.admin_password
            yield madang

    return start


@pytest.fixture
async def madang(start_madang: Start) -> AsyncIterator[Madang]:
    async with start_madang() as running_one:
        yield running_one
