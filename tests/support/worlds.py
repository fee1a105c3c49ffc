"""The parts below the web: a World on the memory runtime, a clock that stands still, and people with apps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from engine.bus import NEW_WORK, Bus
from engine.catalogue import load_catalogue
from engine.domain import Account, App, Event, Kind, Operation, OpState, Phase, Role, new_id
from engine.folders import Folders
from engine.operations.plan import World
from engine.operations.routes import PublishedRoutes
from engine.operations.spec import instance_name
from engine.settings import Settings
from engine.store import accounts, apps, operations
from engine.store.database import Database, Row
from engine.store.migrate import migrate
from engine.worker import Worker
from nginx.memory import MemoryEdge
from runtime.memory import MemoryRuntime

EPOCH = datetime(2030, 1, 1, tzinfo=UTC)
PATIENCE_S = 20.0


class StillClock:
    """Stands still until it is moved."""

    def __init__(self, moment: datetime = EPOCH) -> None:
        self.moment = moment

    def now(self) -> datetime:
        return self.moment

    def forward(self, **delta: float) -> None:
        self.moment += timedelta(**delta)


def an_account(userid: str = "alice", **more: Any) -> Account:
    values: dict[str, Any] = {"id": new_id(), "userid": userid, "role": Role.USER, "created_at": EPOCH}
    return Account(**values | more)


def an_app(owner: Account | None = None, name: str = "diary", **more: Any) -> App:
    owner = owner or an_account()
    values: dict[str, Any] = {
        "id": new_id(), "owner_id": owner.id, "userid": owner.userid, "name": name, "kind": "container",
        "template": "homepage-v1", "title": "A title", "phase": Phase.PENDING, "slot": 1,
        "settings": {"title": "", "intro": "", "theme": "garden", "locale": "en"},
        "created_at": EPOCH, "changed_at": EPOCH,
    }  # fmt: skip
    return App(**values | more)


class Lab:
    """A World without worker and reconciler, for tests that start those themselves."""

    def __init__(self, world: World, runtime: MemoryRuntime, edge: MemoryEdge, clock: StillClock) -> None:
        self.world = world
        self.runtime = runtime
        self.edge = edge
        self.clock = clock
        self._slot = 0

    async def account(self, userid: str = "alice", **more: Any) -> Account:
        account = an_account(userid, **more)
        async with self.world.database.write() as tx:
            await accounts.insert(tx, account)
        return account

    async def app(self, owner: Account, name: str = "diary", **more: Any) -> App:
        """A row in the database and no more."""
        self._slot += 1
        app = an_app(owner, name, **{"slot": self._slot} | more)
        async with self.world.database.write() as tx:
            await apps.insert(tx, app)
            if app.phase is Phase.TRASHED:
                await apps.set_phase(tx, app.id, app.phase, self.clock.now())
        return app

    async def live(self, owner: Account, name: str = "diary") -> App:
        """An app made by the worker; it runs, and its route is open."""
        app = await self.app(owner, name)
        async with self.worker():
            assert (await self.done(Kind.CREATE, app)).state is OpState.SUCCEEDED
        return await self.read(app)

    async def read(self, app: App) -> App:
        found = await self.find(app)
        assert found is not None
        return found

    async def find(self, app: App) -> App | None:
        async with self.world.database.read() as tx:
            return await apps.by_id(tx, app.id)

    async def ask(self, kind: Kind, app: App) -> Operation:
        operation = Operation(
            id=new_id(), kind=kind, app_id=app.id, owner_id=app.owner_id, target=f"{app.userid}/{app.name}",
            state=OpState.QUEUED, step=None, journal={}, payload={}, attempt=0, created_at=self.clock.now(),
        )  # fmt: skip
        async with self.world.database.write() as tx:
            await operations.enqueue(tx, operation)
        self.world.bus.nudge(NEW_WORK)
        return operation

    async def done(self, kind: Kind, app: App) -> Operation:
        return await self.ended(await self.ask(kind, app))

    async def operation(self, operation: Operation) -> Operation:
        async with self.world.database.read() as tx:
            found = await operations.by_id(tx, operation.id)
        assert found is not None
        return found

    async def ended(self, operation: Operation) -> Operation:
        return await self.until(operation, lambda now: now.state.ended)

    async def until(self, operation: Operation, wanted: Callable[[Operation], bool]) -> Operation:
        """The operation, once it is as wanted; looked at again at each nudge."""
        with self.world.bus.watch(operation.id) as news:
            async with asyncio.timeout(PATIENCE_S):
                while not wanted(found := await self.operation(operation)):
                    await news.wait()
                    news.clear()
        return found

    async def retried(self, operation: Operation, tries: int) -> None:
        """Returns once the operation was put back for the `tries`-th time since its step began."""
        await self.until(operation, lambda now: now.tries >= tries and now.lease_owner is None)

    async def events(self, operation: Operation) -> list[Event]:
        async with self.world.database.read() as tx:
            return await operations.events_after(tx, operation.id, 0)

    async def rows(self, sql: str, *params: object) -> Sequence[Row]:
        async with self.world.database.read() as tx:
            return await tx.all(sql, *params)

    def wait_over(self, **delta: float) -> None:
        """Time passes, and the worker looks at its queue."""
        self.clock.forward(**delta)
        self.world.bus.nudge(NEW_WORK)

    def name(self, app: App) -> str:
        return instance_name(app)

    @asynccontextmanager
    async def worker(self, concurrency: int = 8) -> AsyncIterator[None]:
        async with alongside(Worker(self.world, concurrency=concurrency).run()):
            yield


@asynccontextmanager
async def alongside(work: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
    """Runs `work` for the length of the block; what it raises is raised."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def lab(root: Path, **update: object) -> AsyncIterator[Lab]:
    settings = Settings(_env_file=None)
    settings = settings.model_copy(update={"paas_root": root, **update})
    await asyncio.to_thread(migrate, settings.database_path)
    database = await Database.open(settings.database_path)
    runtime, edge, clock = MemoryRuntime(root / "memory"), MemoryEdge(), StillClock()
    folders = Folders(settings.apps_dir)
    folders.prepare()
    await runtime.prepare()
    await edge.start()
    world = World(
        settings=settings, database=database, runtime=runtime, edge=edge, clock=clock, folders=folders,
        catalogue=load_catalogue(settings.templates_dir), routes=PublishedRoutes(database, edge), bus=Bus(),
    )  # fmt: skip
    try:
        yield Lab(world, runtime, edge, clock)
    finally:
        await database.close()
