"""The operations log: queue, claims with leases, journal, events.

A journal write names (id, lease_owner, attempt); when it touches no row, another worker has taken the operation over
and this one must let go (`Lost`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from engine.domain import Event, Kind, Operation, OpState
from engine.errors import Conflict
from engine.store.database import Row, Tx, UniqueViolation, from_ms, to_ms


class Lost(Exception):
    """The lease is another's now."""


def _operation(row: Row) -> Operation:
    return Operation(
        id=row["id"],
        kind=Kind(row["kind"]),
        app_id=row["app_id"],
        owner_id=row["owner_id"],
        target=row["target"],
        via=row["via"],
        state=OpState(row["state"]),
        step=row["step"],
        journal=json.loads(row["journal"]),
        payload=json.loads(row["payload"]),
        attempt=row["attempt"],
        tries=row["tries"],
        aborting=bool(row["aborting"]),
        lease_owner=row["lease_owner"],
        created_at=from_ms(row["created_at"]),
        started_at=from_ms(row["started_at"]) if row["started_at"] else None,
        finished_at=from_ms(row["finished_at"]) if row["finished_at"] else None,
        error_code=row["error_code"],
        error_params=json.loads(row["error_params"]),
    )


async def enqueue(tx: Tx, operation: Operation) -> Operation:
    """Puts it into the queue. Raises Conflict("busy") when one of its kind already waits for this app."""
    try:
        await tx.run(
            "INSERT INTO operations (id, kind, app_id, owner_id, target, via, state, journal, payload, lease_until,"
            " not_before, created_at, error_params) VALUES (?, ?, ?, ?, ?, ?, 'queued', '{}', ?, 0, 0, ?, '{}')",
            operation.id,
            operation.kind.value,
            operation.app_id,
            operation.owner_id,
            operation.target,
            operation.via,
            json.dumps(dict(operation.payload)),
            to_ms(operation.created_at),
        )
    except UniqueViolation:
        raise Conflict("busy") from None
    await add_event(tx, operation, operation.created_at, "queued", {})
    return operation


async def waiting(tx: Tx, app_id: str, kind: Kind) -> Operation | None:
    """The operation of that kind which already waits for this app."""
    row = await tx.one(
        "SELECT * FROM operations WHERE app_id = ? AND kind = ? AND state = 'queued'", app_id, kind.value
    )
    return _operation(row) if row else None


async def put_last(tx: Tx, operation: Operation) -> None:
    """Moves a waiting operation behind those of its app that were asked for later."""
    await tx.run(
        "UPDATE operations SET seq = (SELECT max(seq) + 1 FROM operations) WHERE id = ? AND state = 'queued'"
        " AND EXISTS (SELECT 1 FROM operations later WHERE later.app_id = operations.app_id"
        " AND later.state = 'queued' AND later.seq > operations.seq)",
        operation.id,
    )


async def active_on(tx: Tx, app_id: str) -> list[Operation]:
    rows = await tx.all(
        "SELECT * FROM operations WHERE app_id = ? AND state IN ('queued', 'running') ORDER BY seq", app_id
    )
    return [_operation(row) for row in rows]


async def active(tx: Tx) -> dict[str, Operation]:
    """The operation under way (else the first that waits) of each busy app, by app id."""
    rows = await tx.all(
        "SELECT * FROM operations WHERE state IN ('queued', 'running') ORDER BY state = 'queued', seq"
    )
    found: dict[str, Operation] = {}
    for row in rows:
        found.setdefault(row["app_id"], _operation(row))
    return found


async def last_on(tx: Tx, app_id: str) -> Operation | None:
    """The newest operation of this app, whatever became of it."""
    row = await tx.one("SELECT * FROM operations WHERE app_id = ? ORDER BY seq DESC LIMIT 1", app_id)
    return _operation(row) if row else None


async def failure_params(tx: Tx, app_id: str, code: str) -> Mapping[str, Any]:
    """What fills the words of the failure that the app was left with."""
    row = await tx.one(
        "SELECT error_params FROM operations WHERE app_id = ? AND error_code = ? ORDER BY seq DESC LIMIT 1",
        app_id,
        code,
    )
    return dict(json.loads(row["error_params"])) if row else {}


async def by_id(tx: Tx, operation_id: str) -> Operation | None:
    row = await tx.one("SELECT * FROM operations WHERE id = ?", operation_id)
    return _operation(row) if row else None


_DUE: Final = """
    (state = 'queued' AND not_before <= :now AND NOT EXISTS (
        SELECT 1 FROM operations r WHERE r.app_id = operations.app_id AND r.seq <> operations.seq
        AND (r.state = 'running' OR (r.state = 'queued' AND r.seq < operations.seq))))
    OR (state = 'running' AND lease_until <= :now AND not_before <= :now)
"""


async def claim(tx: Tx, worker: str, now: datetime, lease_s: float) -> Operation | None:
    """The oldest operation that is due, leased to `worker`; one per app, in the order they were asked for."""
    until = to_ms(now + timedelta(seconds=lease_s))
    due = _DUE.replace(":now", str(to_ms(now)))
    rows = await tx.all(
        "UPDATE operations SET state = 'running', lease_owner = ?, lease_until = ?, attempt = attempt + 1,"  # noqa: S608 - all that is put in is a number
        " started_at = coalesce(started_at, ?) WHERE seq ="
        f" (SELECT seq FROM operations WHERE state IN ('queued', 'running') AND ({due}) ORDER BY seq LIMIT 1)"
        " RETURNING *",
        worker,
        until,
        to_ms(now),
    )
    return _operation(rows[0]) if rows else None


async def next_due(tx: Tx) -> datetime | None:
    """When the earliest operation that waits for time (a retry, a lease) may be claimed."""
    row = await tx.one(
        "SELECT min(max(lease_until, not_before)) AS due FROM operations"
        " WHERE state = 'running' OR (state = 'queued' AND not_before > 0)"
    )
    return from_ms(row["due"]) if row and row["due"] else None


async def release_all(tx: Tx) -> None:
    """Ends every lease: for a start that knows that no other engine works on this database."""
    await tx.run("UPDATE operations SET lease_until = 0, not_before = 0 WHERE state = 'running'")


async def extend(tx: Tx, operation: Operation, until: datetime) -> None:
    await _journal(tx, operation, "lease_until = ?", to_ms(until))


async def enter_step(
    tx: Tx, operation: Operation, step: str, journal: Mapping[str, Any], now: datetime
) -> None:
    """Notes that `step` is about to be tried, so that its undo is known to be due even if it never ends, and what
    the steps before it have left in the journal."""
    tries = operation.tries if operation.step == step else 0
    await _journal(tx, operation, "step = ?, tries = ?, journal = ?", step, tries, json.dumps(dict(journal)))
    await add_event(tx, operation, now, "step", {"step": step})


async def decide_abort(
    tx: Tx, operation: Operation, code: str, params: Mapping[str, Any], now: datetime
) -> None:
    """From here on it only undoes; `code` is why."""
    await _journal(
        tx,
        operation,
        "aborting = 1, tries = 0, error_code = ?, error_params = ?",
        code,
        json.dumps(dict(params)),
    )
    await add_event(tx, operation, now, "undo", {"code": code})


async def put_back(tx: Tx, operation: Operation, not_before: datetime, code: str, now: datetime) -> None:
    """Lets go of it until `not_before`; it goes on to hold its app."""
    await _journal(
        tx,
        operation,
        "tries = tries + 1, lease_owner = NULL, lease_until = 0, not_before = ?",
        to_ms(not_before),
    )
    await add_event(tx, operation, now, "retry", {"code": code, "step": operation.step})


async def finish(
    tx: Tx, operation: Operation, state: OpState, now: datetime, code: str | None, params: Mapping[str, Any]
) -> None:
    await _journal(
        tx,
        operation,
        "state = ?, finished_at = ?, error_code = ?, error_params = ?, lease_owner = NULL",
        state.value,
        to_ms(now),
        code,
        json.dumps(dict(params)),
    )
    data = {"state": state.value, **({"code": code, "params": dict(params)} if code else {})}
    await add_event(tx, operation, now, "ended", data)


async def _journal(tx: Tx, operation: Operation, assignments: str, *values: object) -> None:
    touched = await tx.run(
        f"UPDATE operations SET {assignments} WHERE id = ? AND lease_owner = ? AND attempt = ?"  # noqa: S608 - ours
        " AND state = 'running'",
        *values,
        operation.id,
        operation.lease_owner,
        operation.attempt,
    )
    if not touched:
        raise Lost(operation.id)


async def add_event(tx: Tx, operation: Operation, at: datetime, kind: str, data: Mapping[str, Any]) -> None:
    await tx.run(
        "INSERT INTO events (operation_id, app_id, at, kind, data) VALUES (?, ?, ?, ?, ?)",
        operation.id,
        operation.app_id,
        to_ms(at),
        kind,
        json.dumps(dict(data)),
    )


async def events_after(tx: Tx, operation_id: str, event_id: int) -> list[Event]:
    rows = await tx.all(
        "SELECT * FROM events WHERE operation_id = ? AND id > ? ORDER BY id", operation_id, event_id
    )
    return [
        Event(r["id"], r["operation_id"], r["app_id"], from_ms(r["at"]), r["kind"], json.loads(r["data"]))
        for r in rows
    ]
