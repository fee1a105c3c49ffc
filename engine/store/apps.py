"""Apps and the routes that lead to them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime

from engine.domain import App, Phase
from engine.errors import Conflict
from engine.ports import Route
from engine.store.database import Row, Tx, UniqueViolation, from_ms, to_ms


def _app(row: Row) -> App:
    return App(
        id=row["id"],
        owner_id=row["owner_id"],
        userid=row["userid"],
        name=row["name"],
        kind=row["kind"],
        template=row["template"],
        title=row["title"],
        phase=Phase(row["phase"]),
        slot=row["slot"],
        settings=json.loads(row["settings"]),
        owner_key=row["owner_key"],
        failure=row["failure"],
        created_at=from_ms(row["created_at"]),
        changed_at=from_ms(row["changed_at"]),
        trashed_at=from_ms(row["trashed_at"]) if row["trashed_at"] else None,
    )


async def insert(tx: Tx, app: App) -> None:
    """Raises Conflict("app_exists") when the owner has one of that name."""
    try:
        await tx.run(
            "INSERT INTO apps (id, owner_id, userid, name, kind, template, title, phase, slot, settings, owner_key,"
            " created_at, changed_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            app.id,
            app.owner_id,
            app.userid,
            app.name,
            app.kind,
            app.template,
            app.title,
            app.phase.value,
            app.slot,
            json.dumps(dict(app.settings)),
            app.owner_key,
            to_ms(app.created_at),
            to_ms(app.changed_at),
        )
    except UniqueViolation as taken:
        if "name" in taken.columns:
            raise Conflict("app_exists", field="appname", name=app.name) from None
        raise


async def by_id(tx: Tx, app_id: str) -> App | None:
    row = await tx.one("SELECT * FROM apps WHERE id = ?", app_id)
    return _app(row) if row else None


async def by_name(tx: Tx, userid: str, name: str) -> App | None:
    row = await tx.one("SELECT * FROM apps WHERE userid = ? AND name = ?", userid, name)
    return _app(row) if row else None


async def owned_by(tx: Tx, owner_id: str) -> list[App]:
    return [
        _app(r)
        for r in await tx.all("SELECT * FROM apps WHERE owner_id = ? ORDER BY created_at, id", owner_id)
    ]


async def everything(tx: Tx) -> list[App]:
    return [_app(row) for row in await tx.all("SELECT * FROM apps ORDER BY created_at, id")]


async def count(tx: Tx, owner_id: str | None = None) -> int:
    """How many count against the quota: the owner's, or the whole box's."""
    if owner_id is None:
        row = await tx.one("SELECT count(*) AS n FROM apps WHERE phase <> 'trashed'")
    else:
        row = await tx.one(
            "SELECT count(*) AS n FROM apps WHERE phase <> 'trashed' AND owner_id = ?", owner_id
        )
    assert row is not None
    return int(row["n"])


async def take_slot(tx: Tx, capacity: int) -> int | None:
    """The next address never used, which is then used; once all were used, the lowest one free again. None when the network is full.

    A fresh address is preferred so that stale caches never lead to a stranger's app (DESIGN, Facts)."""
    row = await tx.one(
        "SELECT max(coalesce((SELECT max(slot) FROM apps), 0),"
        " coalesce((SELECT CAST(value AS INTEGER) FROM installation WHERE key = 'highest_slot'), 0)) + 1 AS next"
    )
    assert row is not None
    if row["next"] <= capacity:
        await tx.run(
            "INSERT INTO installation (key, value) VALUES ('highest_slot', ?)"
            " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            str(row["next"]),
        )
        return int(row["next"])
    used = {r["slot"] for r in await tx.all("SELECT slot FROM apps")}
    return next((slot for slot in range(1, capacity + 1) if slot not in used), None)


async def set_phase(tx: Tx, app_id: str, phase: Phase, now: datetime, failure: str | None = None) -> None:
    await tx.run(
        "UPDATE apps SET phase = ?, failure = ?, changed_at = ?, trashed_at = CASE WHEN ? THEN ? END WHERE id = ?",
        phase.value,
        failure,
        to_ms(now),
        int(phase is Phase.TRASHED),
        to_ms(now),
        app_id,
    )


async def delete(tx: Tx, app_id: str) -> None:
    await tx.run("DELETE FROM apps WHERE id = ?", app_id)


async def open_route(tx: Tx, app: App, address: str) -> None:
    await tx.run(
        "INSERT INTO routes (app_id, label, address) VALUES (?, ?, ?)"
        " ON CONFLICT (app_id) DO UPDATE SET label = excluded.label, address = excluded.address",
        app.id,
        app.label,
        address,
    )


async def close_route(tx: Tx, app_id: str) -> None:
    await tx.run("DELETE FROM routes WHERE app_id = ?", app_id)


async def routes(tx: Tx) -> Sequence[Route]:
    return [
        Route(r["label"], r["address"])
        for r in await tx.all("SELECT label, address FROM routes ORDER BY label")
    ]


async def route_of(tx: Tx, app_id: str) -> Route | None:
    row = await tx.one("SELECT label, address FROM routes WHERE app_id = ?", app_id)
    return Route(row["label"], row["address"]) if row else None
