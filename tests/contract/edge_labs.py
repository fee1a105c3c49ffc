"""What the edge's suites stand between: a visitor, apps, a stand-in for the engine, and a bed for each edge."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from aiohttp import ClientSession, TCPConnector, web

from engine.errors import Broken
from engine.ports import Route
from nginx.edge import NginxEdge
from nginx.memory import MemoryEdge
from nginx.render import EdgeOptions

DOMAIN = "yard.test"


async def eventually(holds: Callable[[], bool], *, timeout_s: float = 10) -> None:
    async with asyncio.timeout(timeout_s):
        while not holds():
            await asyncio.sleep(0.005)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass(frozen=True)
class Visitor:
    """Asks over a fresh connection each time, and sends exactly the bytes it was told to."""

    port: int

    async def raw(self, head: str, body: bytes = b"") -> Answer:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body)
            async with asyncio.timeout(20):
                raw = await reader.read()
        finally:
            writer.close()
        top, _, rest = raw.partition(b"\r\n\r\n")
        first, *lines = top.decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        return Answer(int(first.split()[1]), headers, rest)

    async def get(self, host: str, path: str = "/", *, method: str = "GET", **headers: str) -> Answer:
        extra = "".join(f"\n{name.replace('_', '-')}: {value}" for name, value in headers.items())
        return await self.raw(f"{method} {path} HTTP/1.0\nHost: {host}:{self.port}{extra}")

    async def app(self, label: str, path: str = "/", **headers: str) -> Answer:
        return await self.get(f"{label}.{DOMAIN}", path, **headers)

    @contextlib.asynccontextmanager
    async def session(self, host: str, *, fresh: bool = True) -> AsyncIterator[ClientSession]:
        async with ClientSession(
            f"http://127.0.0.1:{self.port}",
            headers={"Host": f"{host}:{self.port}"},
            connector=TCPConnector(force_close=True) if fresh else TCPConnector(limit=1),
        ) as session:
            yield session


@dataclass
class Upstream:
    """An app: says its name, and does what apps do and should not do."""

    name: str
    port: int = field(default_factory=free_port)
    received: list[str] = field(default_factory=list)
    release: asyncio.Event = field(default_factory=asyncio.Event)
    _runner: web.AppRunner | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> Upstream:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_post("/hash", self._hash)
        app.router.add_post("/die", self._die)
        app.router.add_get("/socket", self._socket)
        app.router.add_get("/headers", self._headers)
        app.router.add_get("/steer", self._steer)
        app.router.add_get("/stream", self._stream)
        app.router.add_get("/fails", self._fails)
        app.router.add_route("*", "/{rest:.*}", self._name)
        self._runner = await _serve(app, self.port)
        return self

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _name(self, request: web.Request) -> web.Response:
        self.received.append(request.path_qs)
        return web.Response(text=self.name, headers={"X-Frame-Options": "DENY"})

    async def _hash(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.received.append(request.path_qs)
        return web.json_response({"size": len(body), "sha256": hashlib.sha256(body).hexdigest()})

    async def _die(self, request: web.Request) -> web.Response:
        await request.read()
        self.received.append(request.path_qs)
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        async for message in ws:
            await ws.send_str(f"{self.name}: {message.data}")
        return ws

    async def _headers(self, request: web.Request) -> web.Response:
        return web.json_response({name.lower(): value for name, value in request.headers.items()})

    async def _steer(self, request: web.Request) -> web.Response:
        return web.Response(
            text="steered",
            headers={
                "X-Accel-Redirect": request.query["to"],
                "X-Madang-Address": request.query.get("address", ""),
                "X-Madang-Edge": "unrouted",
                "Set-Cookie": f"tossed=1; Domain={DOMAIN}; Path=/",
            },
        )

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        return await stream(request, self.release)

    async def _fails(self, request: web.Request) -> web.Response:
        return web.Response(status=502, text="the app's own 502")


@dataclass
class StandInEngine:
    """The engine as the edge sees it. `direct` is where it hands requests over to; None: it shows its page."""

    port: int = field(default_factory=free_port)
    asked: list[web.Request] = field(default_factory=list)
    direct: str | None = None
    release: asyncio.Event = field(default_factory=asyncio.Event)
    _runner: web.AppRunner | None = None

    @property
    def reasons(self) -> list[str]:
        return [request.query["reason"] for request in self.asked]

    async def start(self) -> StandInEngine:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_get("/-/edge", self._edge)
        app.router.add_get("/api/health", self._health)
        app.router.add_get("/api/v1/operations/{id}/events", self._events)
        app.router.add_get("/headers", self._headers)
        app.router.add_post("/hash", self._hash)
        app.router.add_route("*", "/{rest:.*}", self._page)
        self._runner = await _serve(app, self.port)
        return self

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _edge(self, request: web.Request) -> web.Response:
        assert await request.read() == b""
        self.asked.append(request)
        if self.direct is not None:
            return web.Response(headers={"X-Accel-Redirect": "@direct", "X-Madang-Address": self.direct})
        status = 503 if request.query["reason"] == "unreachable" else 404
        page = f"page for {request.query['label']}: {request.query['reason']}"
        return web.Response(status=status, text=page, headers={"Retry-After": "3"})

    async def _health(self, request: web.Request) -> web.Response:
        return web.json_response({"ok": True})

    async def _events(self, request: web.Request) -> web.StreamResponse:
        return await stream(request, self.release)

    async def _headers(self, request: web.Request) -> web.Response:
        return web.json_response({name.lower(): value for name, value in request.headers.items()})

    async def _hash(self, request: web.Request) -> web.Response:
        body = await request.read()
        return web.json_response({"size": len(body), "sha256": hashlib.sha256(body).hexdigest()})

    async def _page(self, request: web.Request) -> web.Response:
        return web.Response(text=f"engine {request.method} {request.path_qs}")


async def stream(request: web.Request, release: asyncio.Event) -> web.StreamResponse:
    """Two events; the second only once `release` is set."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
    await response.prepare(request)
    await response.write(b"data: first\n\n")
    await release.wait()
    await response.write(b"data: second\n\n")
    return response


async def _serve(app: web.Application, port: int) -> web.AppRunner:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, reuse_address=True).start()
    return runner


@dataclass
class MemoryBed:
    edge: MemoryEdge = field(default_factory=MemoryEdge)

    async def app(self, name: str) -> str:
        return "127.0.0.1:3000"

    def refuse_next(self) -> None:
        self.edge.failures.append(Broken("edge_refused", detail="for the test"))

    async def close(self) -> None:
        await self.edge.stop()


@dataclass
class NginxBed:
    """An edge in a folder of its own. `options.binary` is a wrapper that refuses while `refuse` exists."""

    options: EdgeOptions
    engine: StandInEngine
    edge: NginxEdge
    apps: dict[str, Upstream] = field(default_factory=dict)
    others: list[NginxEdge] = field(default_factory=list)

    @classmethod
    async def make(cls, **changes: object) -> NginxBed:
        # Not pytest's own folder: it is closed to the user that the workers become.
        root = Path(tempfile.mkdtemp(prefix="edge-"))
        root.chmod(0o755)
        engine = await StandInEngine().start()
        options = EdgeOptions(
            root=root,
            domain=DOMAIN,
            http_port=free_port(),
            engine_port=engine.port,
            binary=str(wrapper(root)),
        )
        options = replace(options, **changes)  # type: ignore[arg-type]
        return cls(options, engine, NginxEdge(options))

    @property
    def visitor(self) -> Visitor:
        return Visitor(self.options.http_port)

    async def upstream(self, name: str) -> Upstream:
        if name not in self.apps:
            self.apps[name] = await Upstream(name).start()
        return self.apps[name]

    async def app(self, name: str) -> str:
        return (await self.upstream(name)).address

    async def route(self, *labels: str) -> None:
        await self.edge.apply([Route(label, await self.app(label)) for label in labels])

    def refuse_next(self) -> None:
        (self.options.root / "refuse").touch()

    def another(self) -> NginxEdge:
        """The edge as the next engine would make it."""
        self.others.append(NginxEdge(self.options))
        return self.others[-1]

    @property
    def master(self) -> int:
        return int(self.options.pid_file.read_text())

    async def close(self) -> None:
        for edge in (self.edge, *self.others):
            await edge.stop()
        for app in self.apps.values():
            await app.stop()
        await self.engine.stop()
        shutil.rmtree(self.options.root)


def wrapper(root: Path) -> Path:
    """nginx, but once `refuse` exists in `root`, one command is refused."""
    script = root / "nginx-wrapper"
    script.write_text(
        "#!/bin/sh\n"
        f'if rm "{root}/refuse" 2>/dev/null; then echo "nginx: [emerg] refused for the test" >&2; exit 1; fi\n'
        f'exec {shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")} "$@"\n'
    )
    script.chmod(0o755)
    return script


@dataclass
class Load:
    """Asks for one page over and over. `bad` are answers other than 200 and failed requests."""

    answered: int = 0
    bad: list[str] = field(default_factory=list)

    async def run(self, ask: Callable[[], Awaitable[int]], until: asyncio.Event) -> None:
        while not until.is_set():
            try:
                status = await ask()
            except Exception as error:  # noqa: BLE001 - whatever a visitor would see as a failure
                self.bad.append(repr(error))
                continue
            self.answered += 1
            if status != 200:
                self.bad.append(str(status))


def logged(folder: Path) -> str:
    return "".join(path.read_text() for path in folder.iterdir())
