"""Compares what should be with what is, and asks for repair. It never acts on an app that has an operation.

Nudged by the runtime's events, with a slow sweep behind them for what an event stream can miss. Whatever Madang did not
label it never sees; labelled instances of no app are removed only past a grace age.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from datetime import timedelta
from typing import Final

from engine import metrics
from engine.bus import NEW_WORK
from engine.domain import App, Kind, Operation, OpState, Phase, new_id
from engine.errors import Conflict, MadangError, Transient
from engine.operations.plan import World
from engine.ports import Instance, InstanceState
from engine.store import accounts, apps, chats, operations

log = logging.getLogger(__name__)

SWEEP_S: Final = 60.0
GRACE: Final = timedelta(seconds=60)
_SETTLE_S: Final = 2.0  # a restart under way looks like an end for this long
_RECONNECT_S: Final = 2.0
_PREPARE_EVERY: Final = timedelta(seconds=55)
_SEEN_FOR: Final = timedelta(hours=24)
_STRANGERS_FOR: Final = timedelta(days=30)


class Reconciler:
    def __init__(self, world: World) -> None:
        self._world = world
        self._dirty = asyncio.Event()
        self._ready = False
        self._prepared_at = world.clock.now()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen(), name="runtime-events")
            tasks.create_task(self._sweep_for_ever(), name="reconciler-sweep")

    async def _sweep_for_ever(self) -> None:
        while True:
            self._dirty.clear()
            for part in (self._keep_prepared, self.sweep):
                try:
                    await part()
                except MadangError as error:
                    log.warning("%s was put off: %s", part.__name__.strip("_"), error)
            with suppress(TimeoutError):
                async with asyncio.timeout(SWEEP_S):
                    await self._dirty.wait()
                    await asyncio.sleep(_SETTLE_S)

    async def _keep_prepared(self) -> None:
        """Looks after network and walls now and then: a firewall that was reloaded has forgotten ours."""
        now = self._world.clock.now()
        if self._ready and now - self._prepared_at > _PREPARE_EVERY:
            await self._world.runtime.prepare()
            self._prepared_at = now

    async def _listen(self) -> None:
        """Follows the runtime's events; after each loss of connection everything is prepared and compared anew."""
        while True:
            try:
                await self._world.runtime.check()
                if not self._ready:
                    await self._world.runtime.prepare()
                    self._prepared_at = self._world.clock.now()
                self._ready = True
                metrics.RUNTIME_UP.set(1)
                self._dirty.set()
                async for event in self._world.runtime.events():
                    log.debug("%s %s", event.name, event.kind)
                    self._dirty.set()
            except MadangError as error:
                if self._ready or not isinstance(error, Transient):
                    log.warning("the runtime is out of reach: %s", error)
                self._ready = False
                metrics.RUNTIME_UP.set(0)
            await asyncio.sleep(_RECONNECT_S)

    def prepared(self) -> None:
        """Tells that `runtime.prepare` has just been run by the start."""
        self._ready = True

    async def sweep(self) -> None:
        """One comparison of everything. Raises Transient, having touched nothing, while the runtime is down."""
        # The apps before the instances: an instance of an app that is not known yet is then too young to be removed.
        async with self._world.database.read() as tx:
            everything = await apps.everything(tx)
            busy = await operations.active(tx)
            routed = {route.label for route in await apps.routes(tx)}
        owned = {instance.app_id: instance for instance in await self._world.runtime.list_owned()}
        for app in everything:
            kind = wanted_repair(app, owned.get(app.id), routed=app.label in routed)
            if kind and app.id not in busy:
                await self._enqueue(app, kind)
        known = {app.id for app in everything} | busy.keys()
        await self._remove_leftovers([i for i in owned.values() if i.app_id not in known])
        await self._world.routes.publish()
        await self._tidy(everything)

    async def _remove_leftovers(self, instances: list[Instance]) -> None:
        now = self._world.clock.now()
        for instance in instances:
            # By its name another app's may be found by now; one that is still the same is nobody's.
            if now - instance.created_at > GRACE and await self._is_still(instance):
                log.warning("removing %s: it is ours, and of no app", instance.name)
                await self._world.runtime.remove(instance.name)

    async def _is_still(self, instance: Instance) -> bool:
        found = await self._world.runtime.inspect(instance.name)
        return found is not None and found.app_id == instance.app_id

    async def _enqueue(self, app: App, kind: Kind) -> None:
        """Asks for it, unless anything has become of the app since it was looked at."""
        now = self._world.clock.now()
        operation = Operation(
            id=new_id(), kind=kind, app_id=app.id, owner_id=app.owner_id, target=f"{app.userid}/{app.name}",
            state=OpState.QUEUED, step=None, journal={}, payload={}, attempt=0, created_at=now,
        )  # fmt: skip
        with suppress(Conflict):
            async with self._world.database.write() as tx:
                if await operations.active_on(tx, app.id) or await apps.by_id(tx, app.id) != app:
                    return
                await operations.enqueue(tx, operation)
            log.info("%s %s: it is not as it should be", kind, operation.target)
            self._world.bus.nudge(NEW_WORK)

    async def _tidy(self, everything: list[App]) -> None:
        """Empties the trash of what has waited long enough, and forgets what nobody can ask for any more."""
        now = self._world.clock.now()
        keep_days = self._world.settings.trash_keep_days
        for app in everything:
            if keep_days and app.trashed_at and now - app.trashed_at > timedelta(days=keep_days):
                await self._enqueue(app, Kind.PURGE)
        async with self._world.database.write() as tx:
            await chats.forget_before(tx, now - _SEEN_FOR)
            await chats.forget_strangers(tx, now - _STRANGERS_FOR)
            metrics.USERS.set(await accounts.count(tx))
        for phase in Phase:
            metrics.APPS.labels(phase.value).set(sum(app.phase is phase for app in everything))


def wanted_repair(app: App, instance: Instance | None, *, routed: bool) -> Kind | None:
    """What would bring `app` to where it should be; None when it is there."""
    running = instance is not None and instance.state is InstanceState.RUNNING
    match app.phase:
        case Phase.LIVE if not (running and routed):
            return Kind.REPAIR
        case Phase.STOPPED if running:
            return Kind.STOP
        case Phase.FAILED if running:
            return Kind.START
        case Phase.TRASHED if instance is not None:
            return Kind.TRASH
    return None
