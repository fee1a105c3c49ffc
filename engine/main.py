"""The composition root: the one place that knows every part, puts them together, and takes them apart again."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aiohttp import web

from bot import browser
from bot.talk import Surface, Talk
from engine.bus import Bus
from engine.catalogue import load_catalogue
from engine.domain import new_id
from engine.errors import Broken, NotFound, Transient
from engine.folders import Folders
from engine.http.app import build_app
from engine.logs import log_to, stop_logging
from engine.operations.plan import World
from engine.operations.routes import PublishedRoutes
from engine.ports import Clock, Edge, Runtime, SystemClock
from engine.reconciler import Reconciler
from engine.service.accounts import AccountService
from engine.service.apps import AppService
from engine.service.conversations import ConversationService
from engine.service.health import HealthService
from engine.service.keys import Passwords, Tokens, kept_secret
from engine.settings import Settings, port_is_free
from engine.store import accounts, operations
from engine.store.database import Database
from engine.store.migrate import migrate
from engine.worker import Worker

if TYPE_CHECKING:
    from bot.telegram import TelegramSurface

log = logging.getLogger(__name__)

_SHUTDOWN_S: Final = 5.0
_IDENTIFY_S: Final = 3.0
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Ready:
    """What a person needs to know once it runs. `admin_password` only when it was made just now."""

    url: str
    chat_url: str
    admin_password: str | None
    telegram: str | None


@dataclass(frozen=True, slots=True)
class Parts:
    """What may be put in other than the settings say: by the demonstration and by tests."""

    runtime: Runtime | None = None
    edge: Edge | None = None
    clock: Clock = field(default_factory=SystemClock)


async def serve(settings: Settings, *, on_ready: Callable[[Ready], None], on_progress: Progress) -> None:
    """Runs until SIGINT or SIGTERM. Raises MadangError when it cannot start; apps go on running in any case."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop.set)
    async with running(settings, on_progress=on_progress) as ready:
        on_ready(ready)
        await stop.wait()


@asynccontextmanager
async def running(
    settings: Settings, *, parts: Parts | None = None, on_progress: Progress = lambda _: None
) -> AsyncIterator[Ready]:
    """A whole Madang for the length of the block. Raises what `serve` raises."""
    async with AsyncExitStack() as stack:
        stack.enter_context(_only_one(settings.root))
        stack.callback(stop_logging, log_to(settings.root / "log", settings.log_level))
        if settings.database_url:  # better than to go on, quietly, on another database than was asked for
            raise Broken(
                "bad_setting", detail="DATABASE_URL: only SQLite is there in this version; leave it out"
            )
        if not port_is_free("127.0.0.1", settings.portal_port):
            raise Broken("port_taken", port=settings.portal_port, setting="PORTAL_PORT")
        await asyncio.to_thread(migrate, settings.database_path)
        database = await Database.open(settings.database_path)
        stack.push_async_callback(database.close)
        world = await _world(settings, database, parts or Parts(), on_progress)
        stack.push_async_callback(world.runtime.close)
        yield await _start(stack, world, on_progress)


async def new_admin_password(settings: Settings) -> str:
    """A new one-time password for the administrator, whether Madang runs or not. Raises NotFound before its first start."""
    if not settings.database_path.exists():
        raise NotFound("not_found")
    async with AsyncExitStack() as stack:
        await asyncio.to_thread(migrate, settings.database_path)
        database = await Database.open(settings.database_path)
        stack.push_async_callback(database.close)
        passwords = Passwords(settings.bcrypt_rounds)
        stack.callback(passwords.close)
        tokens = Tokens("", timedelta())  # none are given here
        return await AccountService(settings, database, SystemClock(), passwords, tokens).reset_admin()


async def _world(settings: Settings, database: Database, parts: Parts, on_progress: Progress) -> World:
    async with database.write() as tx:
        installation = await accounts.installation_value(tx, "id", new_id())
        await operations.release_all(tx)
    folders = Folders(settings.apps_dir)
    await asyncio.to_thread(folders.prepare)
    edge = parts.edge or _edge(settings)
    return World(
        settings=settings,
        database=database,
        runtime=parts.runtime or _runtime(settings, installation, on_progress),
        edge=edge,
        clock=parts.clock,
        folders=folders,
        catalogue=load_catalogue(settings.templates_dir),
        routes=PublishedRoutes(database, edge),
        bus=Bus(),
    )


def _runtime(settings: Settings, installation: str, on_progress: Progress) -> Runtime:
    if settings.runtime_driver == "memory":
        from runtime.memory import MemoryRuntime  # noqa: PLC0415 - one driver is loaded, not all

        return MemoryRuntime(settings.root / "memory")
    from runtime.docker import DockerRuntime  # noqa: PLC0415
    from runtime.docker_config import DockerOptions  # noqa: PLC0415

    return DockerRuntime(
        DockerOptions(
            installation=installation,
            docker_host=settings.docker_host,
            network=settings.paas_network,
            subnet=settings.paas_subnet,
            egress_private=settings.app_egress_private,
            base_image=settings.runtime_base_image,
            runtime_image=settings.runtime_image,
            cache_dir=settings.cache_dir,
            progress=on_progress,
        )
    )


def _edge(settings: Settings) -> Edge:
    if settings.runtime_driver == "memory":
        from nginx.memory import MemoryEdge  # noqa: PLC0415

        return MemoryEdge()
    from nginx.edge import NginxEdge  # noqa: PLC0415
    from nginx.render import EdgeOptions  # noqa: PLC0415

    return NginxEdge(
        EdgeOptions(
            root=settings.root,
            domain=settings.paas_domain,
            bind=settings.paas_bind,
            http_port=settings.paas_http_port,
            engine_port=settings.portal_port,
            trusted_proxies=tuple(
                filter(None, (part.strip() for part in settings.trusted_proxies.split(",")))
            ),
        )
    )


async def _start(stack: AsyncExitStack, world: World, on_progress: Progress) -> Ready:
    """Starts everything in the order in which the parts need one another; the stack ends them in reverse."""
    settings = world.settings
    services = _services(world)
    stack.callback(services.passwords.close)
    prepared = await _prepare_runtime(world, on_progress)
    await world.edge.start()
    stack.push_async_callback(world.edge.stop)
    # After everything that may refuse to start, so that a password that is made is also shown.
    admin_password = await services.accounts.ensure_admin()
    web_surfaces = await _serve_http(stack, world, services)
    reconciler = Reconciler(world)
    if prepared:
        reconciler.prepared()
    given = settings.telegram_bot_token
    telegram = _TelegramBot(given.get_secret_value(), world, services.talk) if given else None
    telegram_name = await telegram.name() if telegram else None
    stack.push_async_callback(services.talk.close)
    tasks = [
        Worker(world, concurrency=settings.worker_concurrency).run(),
        reconciler.run(),
        *([world.edge.watch()] if hasattr(world.edge, "watch") else []),
        *([telegram.run()] if telegram else []),
    ]
    await stack.enter_async_context(_background(tasks))
    for surface in web_surfaces:
        await services.talk.resume(surface)
    return Ready(
        url=settings.public_url,
        chat_url=f"{settings.public_url}/chat",
        admin_password=admin_password,
        telegram=telegram_name,
    )


@dataclass(frozen=True, slots=True)
class _Services:
    passwords: Passwords
    accounts: AccountService
    apps: AppService
    talk: Talk
    health: HealthService


def _services(world: World) -> _Services:
    settings = world.settings
    given = settings.jwt_secret
    secret = given.get_secret_value() if given else kept_secret(settings.root / "secrets" / "jwt")
    passwords = Passwords(settings.bcrypt_rounds)
    tokens = Tokens(secret, timedelta(hours=settings.jwt_ttl_hours))
    account_service = AccountService(settings, world.database, world.clock, passwords, tokens)
    app_service = AppService(world)
    talk = Talk(
        accounts=account_service,
        apps=app_service,
        conversations=ConversationService(world.database, world.clock),
        clock=world.clock,
        address_pattern=settings.app_url("{label}"),
        trash_days=settings.trash_keep_days,
    )
    health = HealthService(world.database, world.runtime)
    return _Services(passwords, account_service, app_service, talk, health)


async def _prepare_runtime(world: World, on_progress: Progress) -> bool:
    """Whether the runtime is ready. One that is down is waited for in the background: what exists stays usable."""
    try:
        await world.runtime.prepare()
    except Transient as error:
        log.warning("the runtime is not ready yet: %s", error)
        on_progress("Docker is not answering; Madang starts without it and goes on trying.")
        return False
    return True


async def _serve_http(stack: AsyncExitStack, world: World, services: _Services) -> Sequence[Surface]:
    settings = world.settings
    app = build_app(
        settings, account_service=services.accounts, app_service=services.apps, health_service=services.health
    )
    surfaces = browser.add_to(app, services.talk)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_S)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, "127.0.0.1", settings.portal_port, reuse_address=True).start()
    if settings.runtime_driver == "memory" and settings.paas_http_port != settings.portal_port:
        await web.TCPSite(runner, settings.paas_bind, settings.paas_http_port, reuse_address=True).start()
    return surfaces


@asynccontextmanager
async def _background(tasks: Sequence[Coroutine[None, None, None]]) -> AsyncIterator[None]:
    """Runs the tasks for the length of the block; one that dies of a bug ends the block."""
    async with asyncio.TaskGroup() as group:
        started = [group.create_task(task) for task in tasks]
        try:
            yield
        finally:
            for task in started:
                task.cancel()


class _TelegramBot:
    """The Telegram surface. aiogram takes a second or two to load and a network may be slow, so a start that knows the
    bot's name from before waits for neither."""

    def __init__(self, token: str, world: World, talk: Talk) -> None:
        self._token = token
        self._world = world
        self._talk = talk
        self._key = f"telegram:{token.partition(':')[0]}"  # the bot's number, which is no secret
        self._loading: asyncio.Task[TelegramSurface] | None = None

    async def name(self) -> str | None:
        """The bot's name; None when Telegram does not say it soon. Raises Broken("bad_setting") for a refused token."""
        async with self._world.database.read() as tx:
            known = await accounts.remembered(tx, self._key)
        if known is not None:
            return known
        surface = await self._surface()
        try:
            async with asyncio.timeout(_IDENTIFY_S):
                name = await surface.identify()
        except (TimeoutError, Transient):
            return None
        async with self._world.database.write() as tx:
            return await accounts.installation_value(tx, self._key, name)

    async def run(self) -> None:
        """Serves until cancelled."""
        surface = await self._surface()
        await self._talk.resume(surface)
        await surface.run()

    async def _surface(self) -> TelegramSurface:
        self._loading = self._loading or asyncio.create_task(self._load())
        return await asyncio.shield(self._loading)

    async def _load(self) -> TelegramSurface:
        module = await asyncio.to_thread(import_module, "bot.telegram")
        surface: TelegramSurface = module.TelegramSurface(
            self._token, self._world.settings.telegram_api_base_url, self._talk
        )
        return surface


class _only_one:  # noqa: N801 - reads as a statement where it is used
    """Holds the state folder for one engine. Raises Broken("already_running"). Freed by the end of the process too."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def __enter__(self) -> None:
        self._root.mkdir(parents=True, exist_ok=True)
        self._file = (self._root / "engine.lock").open("w")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise Broken("already_running", root=str(self._root)) from None

    def __exit__(self, *_: object) -> None:
        self._file.close()


def demonstration_settings(settings: Settings, root: Path, port: int) -> Settings:
    """The settings of a demonstration: everything in memory, below `root`, on one loopback port."""
    return settings.model_copy(
        update={
            "runtime_driver": "memory", "paas_root": root, "paas_apps_dir": None, "portal_db_path": None,
            "paas_domain": "localhost", "paas_http_port": port, "portal_port": port, "paas_public_url": "",
            "registration": "open", "telegram_bot_token": None, "database_url": "",
        }
    )  # fmt: skip


__all__ = ["Parts", "Ready", "demonstration_settings", "new_admin_password", "running", "serve"]
