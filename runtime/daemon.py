"""The one connection to the Docker daemon: deadlines on every call, and its errors turned into ours.

aiodocker's own errors stop here and in the two or three places that expect a status (404: none there).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import aiohttp
from aiodocker import Docker, DockerError
from aiohttp import ClientResponse
from yarl import URL

from engine.errors import Broken, MadangError, NotFound, Transient

CHECK_S: Final = 5.0
CALL_S: Final = 30.0
DETAIL_MAX: Final = 300
NOT_CONNECTED: Final = 900  # aiodocker's own status
FORBIDDEN: Final = 403
GONE: Final = 404
TAKEN: Final = 409
UNAVAILABLE: Final = 503
FIRST_FAULT: Final = 400


class Daemon:
    """A client that connects when first used. `host` is a DOCKER_HOST: unix:///… or tcp://…"""

    def __init__(self, host: str) -> None:
        self._host = host
        self._docker: Docker | None = None

    @asynccontextmanager
    async def call(self, timeout_s: float | None = CALL_S) -> AsyncIterator[Docker]:
        """The client, for `timeout_s`; None for what ends with the thing that it watches.

        Raises Transient("runtime_down") when Docker does not answer in time or at all, NotFound for what is not there,
        Broken("runtime_error", detail=...) for any other answer that the body did not expect.
        """
        try:
            async with asyncio.timeout(timeout_s):
                yield self._connected()
        except TimeoutError:
            raise Transient("runtime_down", retry_after_s=2) from None
        except DockerError as error:
            raise translated(error) from error
        except (aiohttp.ClientError, OSError) as error:
            raise Transient("runtime_down", retry_after_s=2) from error

    @asynccontextmanager
    async def get(
        self, path: str, params: Mapping[str, str], *, timeout_s: float | None = CALL_S
    ) -> AsyncIterator[ClientResponse]:
        """The answer to a GET for which aiodocker has no method, or one that does not close what it opens."""
        async with self.call(timeout_s) as docker:
            if docker.api_version == "auto":
                await docker.version()
            url = URL(f"{docker.docker_host}/{docker.api_version}/{path}").with_query(params)
            async with docker.session.get(url) as response:
                if response.status >= FIRST_FAULT:
                    raise DockerError(response.status, await response.text())
                yield response

    async def close(self) -> None:
        docker, self._docker = self._docker, None
        if docker is not None:
            await docker.close()
            await docker.connector.close()

    def _connected(self) -> Docker:
        if self._docker is None:
            # No limit: every followed log and every awaited start holds a connection of its own.
            if self._host.startswith("unix://"):
                connector: aiohttp.BaseConnector = aiohttp.UnixConnector(self._host[7:], limit=0)
                self._docker = Docker(url="unix://localhost", connector=connector)
            else:
                url = self._host.replace("tcp://", "http://", 1)
                self._docker = Docker(url=url, connector=aiohttp.TCPConnector(limit=0))
        return self._docker


@contextmanager
def tolerating(*statuses: int) -> Iterator[None]:
    """Leaves the block quietly when Docker answers with one of `statuses`."""
    try:
        yield
    except DockerError as error:
        if error.status not in statuses:
            raise


def translated(error: DockerError) -> MadangError:
    """Our error for one of Docker's. Its text goes to the operator only, cut short."""
    if error.status == GONE:
        return NotFound("no_instance")
    if error.status in (NOT_CONNECTED, UNAVAILABLE):
        return Transient("runtime_down", retry_after_s=2)
    lines = error.message.strip().splitlines() or ["no reason given"]
    return Broken("runtime_error", status=error.status, detail=lines[0][:DETAIL_MAX])
