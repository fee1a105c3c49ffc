"""How much a bot may do: flood limits and the time left to answer a button, on a clock that tests can turn."""

import math
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from .telegram_wire import too_many_requests

COUNTED_METHODS = frozenset(
    {"sendMessage", "sendDocument", "sendPhoto", "editMessageText", "editMessageReplyMarkup"}
)


class Clock:
    """The time of day, plus whatever a test has turned it forward by."""

    def __init__(self) -> None:
        self._ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self._ahead

    def advance(self, seconds: float) -> None:
        self._ahead += timedelta(seconds=seconds)


@dataclass
class Limits:
    """Floods are off (None) unless set; `like_telegram` gives the numbers of Telegram's FAQ."""

    per_chat_per_s: float | None = None
    per_chat_burst: int = 1
    per_group_per_min: int | None = None
    overall_per_s: float | None = None
    callback_answer_s: float = 15.0
    delete_within_s: float = 48 * 3600.0
    delivery_timeout_s: float = 5.0
    webhook_first_retry_s: float = 1.0
    webhook_longest_retry_s: float = 60.0

    @classmethod
    def like_telegram(cls) -> "Limits":
        return cls(per_chat_per_s=1.0, per_chat_burst=3, per_group_per_min=20, overall_per_s=30.0)


class Floods:
    """Counts what a bot sends and edits, and refuses what is too much; a refused call does not count."""

    def __init__(self, limits: Limits, now: Callable[[], datetime]) -> None:
        self._limits = limits
        self._now = now
        self._sent: dict[str, deque[datetime]] = defaultdict(deque)

    def count(self, method: str, chat_id: str) -> None:
        """Raises the 429 refusal with the whole seconds to wait."""
        if method not in COUNTED_METHODS:
            return
        windows = self._windows(chat_id)
        wait_s = max((self._wait_s(key, most, over_s) for key, most, over_s in windows), default=0.0)
        if wait_s > 0:
            raise too_many_requests(max(1, math.ceil(wait_s)))
        for key, _, _ in windows:
            self._sent[key].append(self._now())

    def _windows(self, chat_id: str) -> list[tuple[str, int, float]]:
        """(what is counted, how many are allowed, over how many seconds)"""
        limits = self._limits
        result = []
        if limits.per_chat_per_s:
            result.append((chat_id, limits.per_chat_burst, limits.per_chat_burst / limits.per_chat_per_s))
        if limits.per_group_per_min and chat_id.startswith("-"):
            result.append((f"{chat_id} in a minute", limits.per_group_per_min, 60.0))
        if limits.overall_per_s:
            most = max(1, int(limits.overall_per_s))
            result.append(("everywhere", most, most / limits.overall_per_s))
        return result

    def _wait_s(self, key: str, most: int, over_s: float) -> float:
        sent = self._sent[key]
        while sent and (self._now() - sent[0]).total_seconds() >= over_s:
            sent.popleft()
        if len(sent) < most:
            return 0.0
        return over_s - (self._now() - sent[-most]).total_seconds()
