"""Updates on their way to the bot: one queue, taken by long polling or pushed to a webhook."""

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

import aiohttp
from aiogram.types import Update

from .telegram_limits import Clock, Limits
from .telegram_wire import JsonObject, Refusal, as_texts, check_shape, to_wire

T = TypeVar("T")

FIRST_UPDATE_ID = 700_000_001
FUTURE_OFFSET_MAX = 10
LONG_POLL_MAX_S = 50

UPDATE_TYPES = frozenset(name for name in Update.model_fields if name != "update_id")
DEFAULT_TYPES = UPDATE_TYPES - {"chat_member", "message_reaction", "message_reaction_count"}

ANOTHER_POLLER = (
    "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running"
)
WEBHOOK_TOOK_OVER = "Conflict: terminated by setWebhook request"
WEBHOOK_ACTIVE = "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first"


class Changes:
    """Wakes whoever waits for something here to become true; nobody polls."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()
        self.count = 0

    def announce(self) -> int:
        self.count += 1
        for future in self._waiting:
            if not future.done():
                future.set_result(None)
        return self.count

    async def wait_until(self, probe: Callable[[], T | None], timeout_s: float) -> T:
        """The first result of the probe that is not None or False; raises TimeoutError."""
        async with asyncio.timeout(timeout_s):
            while True:
                found = probe()
                if found is not None and found is not False:
                    return found
                future = asyncio.get_running_loop().create_future()
                self._waiting.add(future)
                try:
                    await future
                finally:
                    self._waiting.discard(future)


@dataclass
class Queued:
    """One update; `lane` keeps those of one chat in order when a webhook takes several at once."""

    update_id: int
    body: JsonObject
    lane: int
    deliveries: int = 0


@dataclass(frozen=True)
class Webhook:
    url: str
    secret_token: str = ""
    max_connections: int = 40
    ip_address: str = ""


class UpdateQueue:
    def __init__(self, changes: Changes, limits: Limits, clock: Clock) -> None:
        self.pending: deque[Queued] = deque()
        self.by_id: dict[int, Queued] = {}
        self.allowed: frozenset[str] = DEFAULT_TYPES
        self.webhook: Webhook | None = None
        self.last_error: tuple[datetime, str] | None = None
        # Runs a method that the bot put into its answer to the webhook.
        self.answer: Callable[[str, dict[str, str]], Awaitable[None]] | None = None
        self._changes = changes
        self._limits = limits
        self._clock = clock
        self._again: list[Queued] = []
        self._next_id = FIRST_UPDATE_ID
        self._poller: asyncio.Future[Refusal | None] | None = None
        self._lanes: dict[int, asyncio.Task[None]] = {}
        self._connections = asyncio.Semaphore(1)

    def add(self, kind: str, content: Any, lane: int) -> Queued | None:
        """None when the bot did not allow updates of this kind."""
        if kind not in self.allowed:
            return None
        update = Update.model_validate({"update_id": self._next_id, kind: content})
        queued = Queued(self._next_id, to_wire(update), lane)
        check_shape(Update, queued.body)
        self._next_id += 1
        self.by_id[queued.update_id] = queued
        self.pending.append(queued)
        self._wake(queued)
        return queued

    def allow(self, names: Iterable[str] | None) -> None:
        """None keeps what was allowed; an empty list means Telegram's default."""
        if names is not None:
            self.allowed = (frozenset(names) & UPDATE_TYPES) or DEFAULT_TYPES

    def drop_pending(self) -> None:
        self.pending.clear()

    async def poll(self, offset: int, limit: int, timeout_s: int) -> list[JsonObject]:
        """getUpdates: forgets what lies before the offset, then waits for something to give."""
        if self.webhook:
            raise Refusal(409, WEBHOOK_ACTIVE)
        self._confirm(offset)
        if not self._ready() and timeout_s > 0:
            await self._wait(min(timeout_s, LONG_POLL_MAX_S))
        ready = self._ready()[: max(1, min(limit, 100))]
        self._again = [queued for queued in self._again if queued not in ready]
        return [self._delivered(queued) for queued in ready]

    def _confirm(self, offset: int) -> None:
        if offset < 0:
            while len(self.pending) > -offset:
                self.pending.popleft()
        elif offset < self._next_id + FUTURE_OFFSET_MAX:
            while self.pending and self.pending[0].update_id < offset:
                self.pending.popleft()

    def _ready(self) -> list[Queued]:
        return self._again + [queued for queued in self.pending if queued not in self._again]

    async def _wait(self, timeout_s: float) -> None:
        self.end_poll(ANOTHER_POLLER)
        poller = self._poller = asyncio.get_running_loop().create_future()
        self._changes.announce()
        try:
            async with asyncio.timeout(timeout_s):
                refusal = await poller
        except TimeoutError:
            return
        finally:
            if self._poller is poller:
                self._poller = None
        if refusal:
            raise refusal

    def end_poll(self, description: str, status: int = 409) -> None:
        if self._poller and not self._poller.done():
            self._poller.set_result(Refusal(status, description))

    @property
    def has_poller(self) -> bool:
        return self._poller is not None

    def _delivered(self, queued: Queued) -> JsonObject:
        queued.deliveries += 1
        self._changes.announce()
        return queued.body

    def _wake(self, queued: Queued) -> None:
        if self.webhook:
            self._start_lane(queued.lane)
        elif self._poller and not self._poller.done():
            self._poller.set_result(None)

    def repeat(self, queued: Queued) -> None:
        """Gives the same update once more, whatever the bot has confirmed."""
        self._again.append(queued)
        self._wake(queued)

    async def set_webhook(self, webhook: Webhook | None, *, drop_pending: bool) -> None:
        if webhook:
            self.end_poll(WEBHOOK_TOOK_OVER)
        await self.stop_lanes()
        if drop_pending:
            self.drop_pending()
        self.webhook = webhook
        self.last_error = None
        if webhook:
            self._connections = asyncio.Semaphore(webhook.max_connections)
            for queued in self._ready():
                self._start_lane(queued.lane)

    async def stop_lanes(self) -> None:
        tasks = list(self._lanes.values())
        self._lanes.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start_lane(self, lane: int) -> None:
        task = self._lanes.get(lane)
        if task is None or task.done():
            self._lanes[lane] = asyncio.create_task(self._run_lane(lane))

    async def _run_lane(self, lane: int) -> None:
        while self.webhook:
            queued = next((one for one in self._ready() if one.lane == lane), None)
            if queued is None:
                # The next update finds no lane and starts one; no await stands between the look and this.
                self._lanes.pop(lane, None)
                return
            await self._push(queued, self.webhook)

    async def _push(self, queued: Queued, webhook: Webhook) -> None:
        """Posts until the bot answers 2xx: at once after the first failure, then ever more slowly."""
        delay_s = 0.0
        while True:
            attempt = _Attempt(webhook, queued.body)
            async with self._connections:
                await attempt.post()
            if not attempt.error:
                break
            self.last_error = (self._clock.now(), attempt.error)
            self._changes.announce()
            await asyncio.sleep(attempt.retry_after_s or delay_s)
            delay_s = min(
                self._limits.webhook_longest_retry_s, delay_s * 2 or self._limits.webhook_first_retry_s
            )
        if queued in self._again:
            self._again.remove(queued)
        if queued in self.pending:
            self.pending.remove(queued)
        self._delivered(queued)
        if attempt.method and self.answer:
            await self.answer(attempt.method, attempt.values)


@dataclass
class _Attempt:
    """One POST to the webhook, and what came back."""

    webhook: Webhook
    body: JsonObject
    error: str = ""
    retry_after_s: float = 0.0
    method: str = ""
    values: dict[str, str] = field(default_factory=dict)

    async def post(self) -> None:
        headers = {"Content-Type": "application/json"}
        if self.webhook.secret_token:
            headers["X-Telegram-Bot-Api-Secret-Token"] = self.webhook.secret_token
        data = json.dumps(self.body, ensure_ascii=False).encode()
        timeout = aiohttp.ClientTimeout(total=60)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.post(self.webhook.url, data=data, headers=headers, allow_redirects=False) as response,
            ):
                await self._read(response)
        except (aiohttp.ClientError, TimeoutError) as error:
            self.error = f"Connection failed: {error}"

    async def _read(self, response: aiohttp.ClientResponse) -> None:
        if not 200 <= response.status <= 299:
            self.error = f"Wrong response from the webhook: {response.status} {response.reason}"
            after = response.headers.get("Retry-After", "")
            self.retry_after_s = float(after) if after.isdecimal() else 0.0
            return
        values = await _answered_values(response)
        method = values.pop("method", "")
        if not method.lower().startswith(("get", "setwebhook", "deletewebhook", "close", "logout")):
            self.method, self.values = method, values


async def _answered_values(response: aiohttp.ClientResponse) -> dict[str, str]:
    """A method call in the body of the bot's answer; files in it are not played."""
    if response.content_type == "application/json":
        body = json.loads(await response.read() or b"{}")
        return as_texts(body) if isinstance(body, dict) else {}
    values: dict[str, str] = {}
    if response.content_type == "multipart/form-data":
        async for part in aiohttp.MultipartReader.from_response(response):
            if isinstance(part, aiohttp.BodyPartReader) and part.name:
                values[part.name] = await part.text()
    return values
