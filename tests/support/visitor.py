"""Somebody with a web browser's idea of names: *.localhost is this machine (RFC 6761), as browsers and curl hold."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult


class LocalhostResolver(AbstractResolver):
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        assert host == "localhost" or host.endswith(".localhost"), f"a test asks for {host}"
        return [
            ResolveResult(
                hostname=host,
                host="127.0.0.1",
                port=port,
                family=socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
        ]

    async def close(self) -> None:
        pass


def visitor(**more: object) -> aiohttp.ClientSession:
    """A session for the public addresses; each request on a connection of its own."""
    connector = aiohttp.TCPConnector(resolver=LocalhostResolver(), force_close=True)
    return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=30), **more)  # type: ignore[arg-type]


def key_of(key_url: str) -> str:
    """The owner's key from the link that the chat hands out."""
    return key_url.partition("#key=")[2]


def bearer(key_url: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key_of(key_url)}"}


async def wait_for_status(
    session: aiohttp.ClientSession, url: str, status: int, timeout_s: float = 20
) -> None:
    """Returns once `url` answers with `status`; asks again at once when it does not."""
    seen: int | str = "nothing"
    try:
        async with asyncio.timeout(timeout_s):
            while seen != status:
                with suppress(aiohttp.ClientError):
                    async with session.get(url) as response:
                        seen = response.status
    except TimeoutError:
        raise AssertionError(f"{url} answered {seen}, not {status}") from None
