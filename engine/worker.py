"""Runs operations: claims what is due, walks its plan step by step, retries, undoes, ends.

The rule (DESIGN.md): up to and including the commit step, a failure journals the decision to abort before anything is
undone; after it there is only forward. Every journal write is fenced by the lease, so a worker that lost its
operation stops at the next write. Whatever a killed worker left half done is claimed again and gone through again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from engine import metrics
from engine.bus import NEW_WORK
from engine.domain import App, Operation, OpState, Phase, moved, new_id
from engine.errors import MadangError, Refused, Transient
from engine.operations.plan import Plan, Step, Work, World
from engine.operations.plans import PLANS
from engine.store import accounts, apps, operations
from engine.store.database import Tx
from engine.store.operations import Lost

log = logging.getLogger(__name__)

LEASE_S: Final = 30.0
TRIES_BEFORE_ABORT: Final = 5
TRIES_FORWARD: Final = 20
BACKOFF_S: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
AGAIN_S: Final = 1.0  # until a queue that could not be read is read again
_IDLE_S: Final = 30.0


class Worker:
    """`concurrency` operations at a time, each of another app."""

    def __init__(self, world: World, *, concurrency: int) -> None:
        self._world = world
        self._id = new_id()
        self._free = asyncio.Semaphore(concurrency)

    async def run(self) -> None:
        """Works until cancelled. What is under way then is left to the next start."""
        async with asyncio.TaskGroup() as running:
            with self._world.bus.watch(NEW_WORK) as news:
                while True:
                    await self._free.acquire()
                    news.clear()
                    operation, wait_s = await self._next()
                    if operation is None:
                        self._free.release()
                        with suppress(TimeoutError):
                            async with asyncio.timeout(wait_s):
                                await news.wait()
                    else:
                        running.create_task(self._guarded(operation), name=f"operation-{operation.id}")

    async def _next(self) -> tuple[Operation | None, float]:
        """The next operation that is due; where there is none, the seconds until a retry or a lease comes due."""
        now = self._world.clock.now()
        try:
            async with self._world.database.write() as tx:
                operation = await operations.claim(tx, self._id, now, LEASE_S)
                due = None if operation else await operations.next_due(tx)
        except MadangError as error:
            log.warning("the queue cannot be read: %s", error)
            return None, AGAIN_S
        wait_s = _IDLE_S if due is None else min(_IDLE_S, (due - now).total_seconds())
        return operation, max(wait_s, 0.01)

    async def _guarded(self, operation: Operation) -> None:
        """One operation; nothing that goes wrong in it may stop the worker."""
        try:
            async with self._heartbeat(operation):
                await self._carry_out(operation)
        except Lost:
            log.warning("operation %s is another worker's now", operation.id)
        except MadangError as error:
            log.warning("operation %s could not be journalled: %s", operation.id, error)
        except Exception:
            log.exception("bug around operation %s; its lease will run out", operation.id)
        finally:
            self._free.release()
            self._world.bus.nudge(operation.id)
            self._world.bus.nudge(NEW_WORK)

    @asynccontextmanager
    async def _heartbeat(self, operation: Operation) -> AsyncIterator[None]:
        task = asyncio.create_task(self._extend(operation))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _extend(self, operation: Operation) -> None:
        with suppress(Lost):
            while True:
                await asyncio.sleep(LEASE_S / 3)
                until = self._world.clock.now() + timedelta(seconds=LEASE_S)
                try:
                    async with self._world.database.write() as tx:
                        await operations.extend(tx, operation, until)
                except MadangError as error:  # there is time for another beat or two
                    log.warning("the lease of operation %s was not extended: %s", operation.id, error)

    async def _carry_out(self, operation: Operation) -> None:
        plan = PLANS[operation.kind]
        async with self._world.database.read() as tx:
            app = await apps.by_id(tx, operation.app_id)
        if app is None:
            await self._finish(operation, None, OpState.FAILED, None, Refused("app_gone"))
            return
        if app.phase not in plan.allowed:
            # It came too late, which says nothing about the app.
            await self._finish(operation, None, OpState.FAILED, None, Refused("wrong_phase", phase=app.phase))
            return
        work = Work(self._world, operation, app, dict(operation.journal))
        if operation.aborting:
            await self._abort(work, plan)
        else:
            await self._forward(work, plan)

    async def _forward(self, work: Work, plan: Plan) -> None:
        for step in plan.steps[plan.index(work.operation.step) :]:
            async with self._world.database.write() as tx:
                await operations.enter_step(
                    tx, work.operation, step.name, work.journal, self._world.clock.now()
                )
            again = step.name == work.operation.step
            work.operation = replace(
                work.operation, step=step.name, tries=work.operation.tries if again else 0
            )
            self._world.bus.nudge(work.operation.id)
            failure = await self._attempt(step.do, step, work)
            if failure is not None:
                await self._failed(work, plan, failure)
                return
        await self._finish(work.operation, work.app, OpState.SUCCEEDED, plan.success, None)

    async def _attempt(self, effect: Any, step: Step, work: Work) -> MadangError | None:
        """Runs one effect within its deadline; the step boundary, where any failure becomes a value (STYLE 8)."""
        with metrics.OPERATION_STEP_SECONDS.labels(work.operation.kind, step.name).time():
            try:
                async with asyncio.timeout(step.timeout_s):
                    await effect(work)
            except TimeoutError:
                return Refused("step_timeout", step=step.name, seconds=round(step.timeout_s))
            except MadangError as error:
                return error
            except Exception:
                log.exception("bug in step %s of %s", step.name, work.operation.kind)
                return MadangError("internal")
        return None

    async def _failed(self, work: Work, plan: Plan, failure: MadangError) -> None:
        """Tries again later, gives up, or turns back: whichever the failure and the step call for."""
        operation = work.operation
        undoable, transient = plan.undoable(operation.step), isinstance(failure, Transient)
        if undoable:
            again = transient and (plan.patient or operation.tries + 1 < TRIES_BEFORE_ABORT)
        else:  # half-way is no place to stay, so it waits for as long as waiting may help
            again = transient or operation.tries + 1 < TRIES_FORWARD
        if again:
            await self._put_back(operation, failure)
        elif undoable:
            now = self._world.clock.now()
            async with self._world.database.write() as tx:
                await operations.decide_abort(tx, operation, failure.code, failure.params, now)
            work.operation = replace(
                operation, aborting=True, tries=0, error_code=failure.code, error_params=dict(failure.params)
            )
            self._world.bus.nudge(operation.id)
            await self._abort(work, plan)
        else:
            await self._finish(operation, work.app, OpState.FAILED, work.app.phase, failure)

    async def _put_back(self, operation: Operation, failure: MadangError) -> None:
        wait = BACKOFF_S[min(operation.tries, len(BACKOFF_S) - 1)]
        log.info("operation %s will try %s again in %s s: %s", operation.id, operation.step, wait, failure)
        now = self._world.clock.now()
        async with self._world.database.write() as tx:
            await operations.put_back(tx, operation, now + timedelta(seconds=wait), failure.code, now)

    async def _abort(self, work: Work, plan: Plan) -> None:
        """Undoes the steps that were begun, last first, and ends as failed with the reason that was journalled."""
        for step in reversed(plan.steps[: plan.index(work.operation.step) + 1]):
            if step.undo is None:
                continue
            failure = await self._attempt(step.undo, step, work)
            if failure is not None:
                await self._put_back(work.operation, failure)  # the undo is owed until it is done
                return
        reason = MadangError(work.operation.error_code or "internal", **work.operation.error_params)
        await self._finish(work.operation, work.app, OpState.FAILED, plan.failure, reason)

    async def _finish(
        self,
        operation: Operation,
        app: App | None,
        state: OpState,
        phase: Phase | None,
        reason: MadangError | None,
    ) -> None:
        """The app's new phase (None: it is gone) and the operation's end, in one transaction."""
        code, params = (reason.code, reason.params) if reason else (None, {})
        now = self._world.clock.now()
        async with self._world.database.write() as tx:
            if app is not None:
                await self._move(tx, app, phase, code)
            await operations.finish(tx, operation, state, now, code, _safe(params))
            outcome = code or "done"
            await accounts.record(
                tx,
                now,
                operation.owner_id,
                operation.via,
                f"{operation.kind}.ended",
                operation.target,
                outcome,
            )
        metrics.OPERATIONS.labels(operation.kind, state).inc()
        took = (now - operation.created_at).total_seconds()
        metrics.OPERATION_SECONDS.labels(operation.kind).observe(took)
        log.info(
            "%s %s %s in %.2f s%s",
            operation.kind,
            operation.target,
            state,
            took,
            f" ({code})" if code else "",
        )

    async def _move(self, tx: Tx, app: App, phase: Phase | None, code: str | None) -> None:
        if phase is None:
            await apps.delete(tx, app.id)
        elif phase is not app.phase or app.failure != code:
            await apps.set_phase(tx, app.id, moved(app.phase, phase), self._world.clock.now(), code)


def _safe(params: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: value if isinstance(value, (int, float, bool)) else str(value) for key, value in params.items()
    }
