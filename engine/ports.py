"""What the engine asks of the world. Each port promises behaviour; every implementation is held to one contract suite.

Common promises: every call has its own deadline and raises `Transient` when the far end does not answer in time or is
down, `Broken` when it refuses for a reason that waiting will not mend. A repeated call does no harm. Cancellation is
always passed on. No vendor type crosses this line.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol


class InstanceState(StrEnum):
    RUNNING = "running"
    STOPPED = "stopped"  # exists, and its program does not run


@dataclass(frozen=True, slots=True)
class InstanceSpec:
    """What is to run. `name` is unique on the box; `slot` is the app's address for life (1 ... capacity).

    `code_dir` is mounted read-only at /app, `data_dir` writable at /data. `image` is a runtime image ("python").
    """

    name: str
    app_id: str
    userid: str
    appname: str
    domain: str
    slot: int
    image: str
    code_dir: Path
    data_dir: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    port: int = 3000
    health_path: str = "/"
    memory_bytes: int = 256 * 1024 * 1024
    cpus: float = 0.5
    pids: int = 128
    restart_policy: str = "unless-stopped"


@dataclass(frozen=True, slots=True)
class Instance:
    """What is there. `address` is where the edge reaches it, "host:port"; None while it has none."""

    name: str
    app_id: str
    state: InstanceState
    address: str | None
    created_at: datetime
    exit_code: int | None = None
    out_of_memory: bool = False


@dataclass(frozen=True, slots=True)
class Stats:
    """Use at this moment. `cpu_percent` is of one core."""

    memory_bytes: int
    memory_limit_bytes: int
    cpu_percent: float


@dataclass(frozen=True, slots=True)
class InstanceEvent:
    """Something happened to an owned instance behind our back or not: `started`, `stopped`, `out_of_memory`, `removed`."""

    name: str
    app_id: str
    kind: str


class Runtime(Protocol):
    """Something that apps run on. Only instances that carry this installation's label are ever seen or touched."""

    @property
    def capacity(self) -> int:
        """How many slots there are; known once `prepare` has run."""

    async def check(self) -> None:
        """Returns when the runtime answers; raises Transient("runtime_down") otherwise. At most 5 s."""

    async def prepare(self) -> None:
        """Network, firewall, images: everything `ensure` relies on. Run at every start; repeatable."""

    async def image(self, name: str) -> str:
        """The full reference of a runtime image ("python"), as `docker run` would take it."""

    async def ensure(self, spec: InstanceSpec) -> Instance:
        """Afterwards an instance of exactly `spec` runs, able to write to its `data_dir`. One of another configuration
        is replaced, a stopped one started. Raises Conflict("name_taken_on_box") where something that is not ours holds the name."""

    async def wait_ready(self, name: str, *, port: int, path: str, timeout_s: float) -> None:
        """Returns once the program answers HTTP below 500 at `path`. Raises Refused("app_crashed", log=...) when it
        ended, Refused("app_not_ready", seconds=..., log=...) in time-out, NotFound where there is none."""

    async def inspect(self, name: str) -> Instance | None:
        """The instance, or None."""

    async def stop(self, name: str, *, grace_s: float = 10) -> None:
        """Afterwards it does not run: asked to end, then killed after `grace_s`. None there: no error."""

    async def remove(self, name: str) -> None:
        """Afterwards it is gone. Data folders are left alone. None there: no error."""

    async def logs(self, name: str, *, lines: int) -> str:
        """The last `lines` lines of both streams, oldest first; "" where there is none."""

    def follow_logs(self, name: str, *, lines: int) -> AsyncIterator[str]:
        """The last `lines`, then each new line as it comes, until the instance ends or the iterator is closed."""

    async def stats(self, name: str) -> Stats | None:
        """Use now; None where it does not run."""

    async def list_owned(self) -> Sequence[Instance]:
        """Every instance of this installation."""

    def events(self) -> AsyncIterator[InstanceEvent]:
        """Events as they come. Ends by raising Transient when the connection is lost: resync and call again."""

    async def close(self) -> None:
        """Lets go of connections; instances go on running."""


@dataclass(frozen=True, slots=True)
class Route:
    """Requests for `label`.PAAS_DOMAIN go to `address` ("host:port")."""

    label: str
    address: str


class Edge(Protocol):
    """The web server in front. It holds exactly the routes of the last `apply`."""

    async def start(self) -> None:
        """Runs it, or takes over the one that still runs from before. Raises Broken("edge_refused", detail=...)."""

    async def apply(self, routes: Sequence[Route]) -> None:
        """Afterwards these routes, and no others, are in force for new connections. Concurrent calls are coalesced:
        the newest set wins. A set that the server refuses changes nothing and raises Broken."""

    async def verify(self, label: str, *, path: str, timeout_s: float) -> None:
        """Returns once `label` answers through the edge from the app itself, below 500.
        Raises Transient("route_not_open") in time-out."""

    async def stop(self) -> None:
        """Ends it; requests under way are finished first, for at most a few seconds."""


class Clock(Protocol):
    def now(self) -> datetime:
        """The time, UTC-aware."""


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)
