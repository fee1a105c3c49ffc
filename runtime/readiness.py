"""When a program answers: its port is asked directly, every few milliseconds, the moment it may be up.

Docker's own health check runs once a second at best and starts a process each time (DESIGN, Facts measured).
"""

from __future__ import annotations

import asyncio
from typing import Final

FIRST_PAUSE_S: Final = 0.003
LAST_PAUSE_S: Final = 0.1
CONNECT_S: Final = 0.3
ANSWER_S: Final = 5.0
ERROR_STATUS: Final = 500


async def answering(host: str, port: int, path: str) -> None:
    """Returns once http://host:port/path answers below 500. The caller sets the deadline."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while True:
        status = await _status(host, port, path)
        if status is not None and status < ERROR_STATUS:
            return
        # Eager at first, when a few milliseconds count; patient with a program that takes seconds.
        await asyncio.sleep(min(LAST_PAUSE_S, max(FIRST_PAUSE_S, (loop.time() - began) / 100)))


async def _status(host: str, port: int, path: str) -> int | None:
    """The status of one GET; None when there is no sound answer."""
    try:
        async with asyncio.timeout(CONNECT_S):
            reader, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError):
        return None
    try:
        async with asyncio.timeout(ANSWER_S):
            writer.write(request(host, port, path))
            line = await reader.readline()
        return status_in(line)
    except (OSError, TimeoutError, ValueError):
        return None
    finally:
        writer.close()


def request(host: str, port: int, path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUser-Agent: madang\r\nConnection: close\r\n\r\n".encode()


def status_in(line: bytes) -> int | None:
    """The status in the first line of an HTTP answer; None when it is none."""
    parts = line.split(maxsplit=2)
    if len(parts) < 2 or not parts[0].startswith(b"HTTP/") or not parts[1].isdigit():
        return None
    return int(parts[1])
