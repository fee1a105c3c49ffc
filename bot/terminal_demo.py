"""A Madang for trying out, in this process: nothing is really started, and nothing is kept."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory


@asynccontextmanager
async def demonstration() -> AsyncIterator[str]:
    """Yields its address. It needs neither root nor Docker."""
    from engine.main import demonstration_settings, running  # noqa: PLC0415 - the engine is for this option only
    from engine.settings import Settings  # noqa: PLC0415 - the same

    with TemporaryDirectory(prefix="madang-demo-") as folder:
        settings = demonstration_settings(Settings(_env_file=None), Path(folder), _free_port())
        async with running(settings):
            yield settings.engine_url


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
