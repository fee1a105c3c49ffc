"""Around the containers: services of the host, and machines beside it, each behind an address of its own kind."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

LINK_LOCAL = "169.254.77.2"
PRIVATE = "192.168.177.2"
PUBLIC = "198.51.100.2"  # reserved for documentation, so nobody's; no private range
PORT = 8099
SERVER = f"""
import socket
server = socket.create_server(("", {PORT}))
print("up", flush=True)
while True:
    server.accept()[0].close()
"""


@asynccontextmanager
async def host_service() -> AsyncIterator[int]:
    """Something of the host's that listens on every address it has; gives its port."""
    server = await asyncio.start_server(lambda _, writer: writer.close(), "0.0.0.0", 0)
    port: int = server.sockets[0].getsockname()[1]
    sixth = await asyncio.start_server(lambda _, writer: writer.close(), "::", port)
    async with server, sixth:
        yield port


async def host_addresses() -> list[str]:
    """Every IPv4 and IPv6 address of this machine except loopback's."""
    interfaces = json.loads(await run("ip", "-json", "address"))
    return [
        f"{entry['local']}%eth0" if entry["scope"] == "link" and ":" in entry["local"] else entry["local"]
        for interface in interfaces
        for entry in interface["addr_info"]
        if interface["ifname"] != "lo"
    ]


@asynccontextmanager
async def neighbour() -> AsyncIterator[None]:
    """A machine beside the host, as a virtual machine or a cloud's metadata service is one: it answers on PORT."""
    space, here = f"mdt{os.getpid()}", f"mdt{os.getpid()}"[:15]
    await run("ip", "netns", "add", space)
    server = None
    try:
        await run("ip", "link", "add", here, "type", "veth", "peer", "name", "eth0", "netns", space)
        for address, mine in (
            (LINK_LOCAL, "169.254.77.1"),
            (PRIVATE, "192.168.177.1"),
            (PUBLIC, "198.51.100.1"),
        ):
            await run("ip", "address", "add", f"{mine}/30", "dev", here)
            await run("ip", "-n", space, "address", "add", f"{address}/30", "dev", "eth0")
        await run("ip", "link", "set", here, "up")
        await run("ip", "-n", space, "link", "set", "eth0", "up")
        server = await asyncio.create_subprocess_exec(
            "ip", "netns", "exec", space, sys.executable, "-c", SERVER, stdout=asyncio.subprocess.PIPE
        )
        assert server.stdout is not None
        assert await server.stdout.readline() == b"up\n"
        yield
    finally:
        if server is not None:
            server.kill()
            await server.communicate()
        await run("ip", "netns", "delete", space)


@asynccontextmanager
async def cable(docker_host: str, path: Path) -> AsyncIterator[tuple[str, Callable[[], None]]]:
    """A way to the daemon that can be cut: its DOCKER_HOST, and the scissors."""
    ends: list[asyncio.StreamWriter] = []

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await reader.read(65536):
                writer.write(piece)
                await writer.drain()
        writer.close()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_unix_connection(docker_host.removeprefix("unix://"))
        ends.extend((writer, far_writer))
        await asyncio.gather(carry(reader, far_writer), carry(far_reader, writer))

    def cut() -> None:
        for end in ends:
            end.transport.abort()

    async with await asyncio.start_unix_server(connect, path):
        yield f"unix://{path}", cut
        cut()


async def run(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, complaint = await process.communicate()
    assert process.returncode == 0, f"{' '.join(command)}: {complaint.decode()}"
    return output.decode()
