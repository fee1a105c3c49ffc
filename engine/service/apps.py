"""Apps: making them, changing them, looking at them. Everything that changes one becomes an operation."""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from engine.bus import NEW_WORK
from engine.catalogue import Template, said
from engine.domain import (
    TITLE_MAX,
    Account,
    Actor,
    App,
    Event,
    Kind,
    Operation,
    OpState,
    Phase,
    moved,
    new_id,
    valid_app_name,
)
from engine.errors import Conflict, Forbidden, Invalid, NotFound, OverQuota, Transient
from engine.operations.plan import World
from engine.operations.plans import PLANS
from engine.operations.spec import instance_name
from engine.ports import Stats
from engine.service.accounts import check_usable
from engine.store import accounts, apps, operations
from engine.store.database import Tx

LOG_LINES_MAX: Final = 2000
# A title is one line, and goes into an environment.
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_NEEDS_RUNTIME: Final = frozenset({Kind.START, Kind.RESTART, Kind.RESTORE})


@dataclass(frozen=True, slots=True)
class AppView:
    """An app as its owner sees it. `busy` is what is being done to it now. `key_url` opens a private app; a secret, for its owner.
    `why` fills the words of the app's failure."""

    app: App
    url: str
    key_url: str | None
    busy: Operation | None
    why: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NewApp:
    """What somebody asks for. `userid` is another's only when an admin asks."""

    appname: str
    template_id: str
    settings: Mapping[str, str]
    title: str | None = None
    userid: str | None = None


def step_names(kind: Kind) -> Sequence[str]:
    """The steps that an operation of this kind goes through, in order."""
    return tuple(step.name for step in PLANS[kind].steps)


class AppService:
    def __init__(self, world: World) -> None:
        self._world = world

    def templates(self) -> Sequence[Template]:
        return tuple(self._world.catalogue.templates.values())

    async def create(self, actor: Actor, wish: NewApp) -> tuple[AppView, Operation]:
        """Reserves name, place and address in one transaction, and asks for the rest.

        Raises Invalid naming the field, Conflict("app_exists" | "app_in_trash"), OverQuota, Transient("runtime_down").
        """
        check_usable(actor.account)
        name = valid_app_name(wish.appname)
        template = self._world.catalogue.get(wish.template_id)
        settings = template.settings(wish.settings)
        title = _title(wish.title, template, actor.account)
        owner = await self._owner(actor, wish.userid)
        await self._check_runtime()
        async with self._world.database.write() as tx:
            app = await self._reserve(tx, owner, name, template, title, settings)
            operation = await self._ask(tx, actor, app, Kind.CREATE)
        self._world.bus.nudge(NEW_WORK)
        return self._view(actor, app, operation), operation

    async def _check_runtime(self) -> None:
        """Raises Transient("runtime_down"), also while it has come back and is not yet prepared."""
        await self._world.runtime.check()
        if not self._world.runtime.capacity:
            raise Transient("runtime_down")

    async def _owner(self, actor: Actor, userid: str | None) -> Account:
        if userid is None or userid == actor.account.userid:
            return actor.account
        if not actor.is_admin:
            raise Forbidden("forbidden", field="userid")
        async with self._world.database.read() as tx:
            owner = await accounts.by_userid(tx, userid)
        if owner is None:
            raise NotFound("not_found", field="userid")
        return owner

    async def _reserve(
        self, tx: Tx, owner: Account, name: str, template: Template, title: str, settings: Mapping[str, str]
    ) -> App:
        existing = await apps.by_name(tx, owner.userid, name)
        if existing is not None:
            code = "app_in_trash" if existing.phase is Phase.TRASHED else "app_exists"
            raise Conflict(code, field="appname", name=name)
        await self._check_quota(tx, owner)
        slot = await apps.take_slot(tx, self._world.runtime.capacity)
        if slot is None:
            raise OverQuota("no_slot")
        now = self._world.clock.now()
        private = template.private and settings.get("enableApi", "true") == "true"
        app = App(
            id=new_id(),
            owner_id=owner.id,
            userid=owner.userid,
            name=name,
            kind=template.kind,
            template=template.id,
            title=title,
            phase=Phase.PENDING,
            slot=slot,
            settings={**settings, "locale": owner.locale or "ko"},
            owner_key=secrets.token_urlsafe(24) if private else None,
            created_at=now,
            changed_at=now,
        )
        await apps.insert(tx, app)
        return app

    async def _check_quota(self, tx: Tx, owner: Account) -> None:
        """Inside the transaction that reserves (SPEC 1), so that concurrent requests cannot pass it together."""
        mine, limit = await apps.count(tx, owner.id), owner.max_apps
        if limit is None:
            limit = self._world.settings.max_apps_per_user
        if mine >= limit:
            raise OverQuota("app_quota", used=mine, limit=limit, requested=1)
        total, box = await apps.count(tx), self._world.settings.max_total_apps
        if total >= box:
            raise OverQuota("box_quota", used=total, limit=box, requested=1)

    async def list(self, actor: Actor, *, everyone: bool = False) -> Sequence[AppView]:
        """The actor's own things, oldest first; with `everyone`, an admin sees all."""
        check_usable(actor.account)
        async with self._world.database.read() as tx:
            if everyone and actor.is_admin:
                found = await apps.everything(tx)
            else:
                found = await apps.owned_by(tx, actor.account.id)
            busy = await operations.active(tx)
            return [await self._seen(tx, actor, app, busy.get(app.id)) for app in found]

    async def get(self, actor: Actor, userid: str, name: str) -> AppView:
        """Raises NotFound where there is none, or it is another's."""
        check_usable(actor.account)
        async with self._world.database.read() as tx:
            app = _seen_by(actor, await apps.by_name(tx, userid, name))
            busy = await operations.active_on(tx, app.id)
            return await self._seen(tx, actor, app, busy[0] if busy else None)

    async def get_by_id(self, actor: Actor, app_id: str) -> AppView:
        check_usable(actor.account)
        async with self._world.database.read() as tx:
            app = _seen_by(actor, await apps.by_id(tx, app_id))
            busy = await operations.active_on(tx, app.id)
            return await self._seen(tx, actor, app, busy[0] if busy else None)

    async def change(self, actor: Actor, userid: str, name: str, kind: Kind) -> Operation:
        """Asks for start, stop, restart, trash, restore or purge. One of its kind that already waits is returned, and
        comes after whatever was asked for since: the last wish counts.

        Raises NotFound, Conflict, OverQuota (restore), Transient("runtime_down") where it needs the runtime.
        """
        check_usable(actor.account)
        if kind in _NEEDS_RUNTIME:
            await self._check_runtime()
        async with self._world.database.write() as tx:
            app = _seen_by(actor, await apps.by_name(tx, userid, name))
            waiting = await operations.waiting(tx, app.id, kind)
            if waiting is not None:
                await operations.put_last(tx, waiting)
                return waiting
            await self._check_change(tx, app, kind)
            operation = await self._ask(tx, actor, app, kind)
        self._world.bus.nudge(NEW_WORK)
        return operation

    async def _check_change(self, tx: Tx, app: App, kind: Kind) -> None:
        trashed = app.phase is Phase.TRASHED
        if kind is Kind.RESTORE:
            if not trashed:
                raise Conflict("not_in_trash", name=app.name)
            # The reconciler asks for TRASH where something of a trashed app still runs: it would be trashed once more.
            if any(busy.kind in (Kind.PURGE, Kind.TRASH) for busy in await operations.active_on(tx, app.id)):
                raise Conflict("busy")
            owner = await accounts.by_id(tx, app.owner_id)
            assert owner is not None
            await self._check_quota(tx, owner)
            # Out of the trash at once, so that the quota holds from here on; the operation then starts it.
            await apps.set_phase(tx, app.id, moved(app.phase, Phase.STOPPED), self._world.clock.now())
        elif trashed and kind is not Kind.PURGE:
            raise Conflict("in_trash", name=app.name)

    async def _ask(self, tx: Tx, actor: Actor, app: App, kind: Kind) -> Operation:
        now = self._world.clock.now()
        operation = Operation(
            id=new_id(), kind=kind, app_id=app.id, owner_id=app.owner_id, target=f"{app.userid}/{app.name}",
            via=actor.via, state=OpState.QUEUED, step=None, journal={}, payload={}, attempt=0, created_at=now,
        )  # fmt: skip
        await operations.enqueue(tx, operation)
        await accounts.record(tx, now, actor.account.id, actor.via, f"app.{kind}", operation.target, "asked")
        return operation

    async def logs(self, actor: Actor, userid: str, name: str, *, lines: int) -> str:
        """The last `lines` (1 ... LOG_LINES_MAX) lines of its output."""
        view = await self.get(actor, userid, name)
        return await self._world.runtime.logs(instance_name(view.app), lines=_checked_lines(lines))

    async def follow_logs(self, actor: Actor, userid: str, name: str, *, lines: int) -> AsyncIterator[str]:
        """The last `lines`, then each new line, until the program ends."""
        view = await self.get(actor, userid, name)
        await self._check_runtime()
        return self._world.runtime.follow_logs(instance_name(view.app), lines=_checked_lines(lines))

    async def stats(self, view: AppView) -> Stats | None:
        """Use now, of an app that was seen through `get`; None where it does not run."""
        if view.app.phase is not Phase.LIVE:
            return None
        return await self._world.runtime.stats(instance_name(view.app))

    async def last_operation(self, view: AppView) -> Operation | None:
        """The newest change of an app that was seen through `get`."""
        async with self._world.database.read() as tx:
            return await operations.last_on(tx, view.app.id)

    async def operation(self, actor: Actor, operation_id: str) -> Operation:
        """Raises NotFound where there is none, or it is another's."""
        check_usable(actor.account)
        async with self._world.database.read() as tx:
            found = await operations.by_id(tx, operation_id)
        if found is None or (found.owner_id != actor.account.id and not actor.is_admin):
            raise NotFound("not_found")
        return found

    async def events(self, actor: Actor, operation_id: str, *, after: int = 0) -> AsyncIterator[Event]:
        """The operation's events after that id, then each new one, up to the last. Raises as `operation` does."""
        await self.operation(actor, operation_id)
        return self._events(operation_id, after)

    async def _events(self, operation_id: str, after: int) -> AsyncIterator[Event]:
        with self._world.bus.watch(operation_id) as news:
            while True:
                news.clear()
                async with self._world.database.read() as tx:
                    operation = await operations.by_id(tx, operation_id)
                    found = await operations.events_after(tx, operation_id, after)
                for event in found:
                    after = event.id
                    yield event
                # Read before its events, an ended operation has no further ones.
                if operation is None or operation.state.ended:
                    return
                await news.wait()

    async def by_label(self, label: str) -> tuple[App, str | None] | None:
        """For the edge: the app with that host label and its open route's address, whoever asks."""
        userid, _, name = label.partition("-")
        async with self._world.database.read() as tx:
            app = await apps.by_name(tx, userid, name)
            if app is None:
                return None
            route = await apps.route_of(tx, app.id)
        return app, route.address if route else None

    async def busy(self, app: App) -> Operation | None:
        async with self._world.database.read() as tx:
            active = await operations.active_on(tx, app.id)
        return active[0] if active else None

    async def _seen(self, tx: Tx, actor: Actor, app: App, busy: Operation | None) -> AppView:
        why = await operations.failure_params(tx, app.id, app.failure) if app.failure else {}
        return self._view(actor, app, busy, why)

    def _view(
        self, actor: Actor, app: App, busy: Operation | None, why: Mapping[str, Any] | None = None
    ) -> AppView:
        """The key is the owner's alone: an admin may stop somebody's diary, and not read it."""
        url = self._world.settings.app_url(app.label)
        key = app.owner_key if app.owner_id == actor.account.id else None
        return AppView(app, url, f"{url}/#key={key}" if key else None, busy, why or {})


def _seen_by(actor: Actor, app: App | None) -> App:
    if app is None or (app.owner_id != actor.account.id and not actor.is_admin):
        raise NotFound("not_found")
    return app


def _title(wished: str | None, template: Template, owner: Account) -> str:
    title = (wished if wished is not None else said(template.name, owner.locale or "ko")).strip()
    if not 1 <= len(title) <= TITLE_MAX or _CONTROL.search(title):
        raise Invalid("bad_title", field="title", maximum=TITLE_MAX)
    return title


def _checked_lines(lines: int) -> int:
    if not 1 <= lines <= LOG_LINES_MAX:
        raise Invalid("bad_lines", field="lines", maximum=LOG_LINES_MAX)
    return lines
