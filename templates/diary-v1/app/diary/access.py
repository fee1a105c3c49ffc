"""Who may come in.

There is one owner and one key. We hold only the key's SHA-256; the key itself is long and random, so a plain
fast hash is enough. A browser shows the key once and then carries a signed cookie; a program sends the key
with every request.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

    from diary.settings import Settings
    from diary.store import Store

SESSION_S = 365 * 24 * 3600
LONGEST_STAMP = 13  # seconds since 1970 have ten digits; whoever sends hundreds is not our cookie
RENEW_AFTER_S = 30 * 24 * 3600  # someone who writes every month is never asked for the key again


class Access:
    """Answers one question, `is this the owner?`, from a key or from a cookie."""

    def __init__(self, settings: Settings, store: Store, now: Callable[[], float] = time.time) -> None:
        self.attempts = Attempts()
        self._settings = settings
        self._store = store
        self._now = now
        # The __Host- prefix keeps a neighbouring sub-domain from planting a cookie here. Browsers allow it
        # only on https.
        self.cookie_name = "__Host-diary" if settings.is_https else "diary_session"

    def is_key(self, key: str) -> bool:
        given = hashlib.sha256(key.strip().encode("utf-8", "surrogatepass")).hexdigest()
        expected = self._settings.owner_key_sha256
        return bool(expected) and hmac.compare_digest(given, expected)

    async def session_age_s(self, request: web.Request) -> float | None:
        """How old this browser's log-in is; None when it has none that counts."""
        issued, _, signature = request.cookies.get(self.cookie_name, "").partition(".")
        if not (issued.isascii() and issued.isdigit() and len(issued) < LONGEST_STAMP):
            return None
        expected = await self._sign(issued)
        age_s = self._now() - int(issued)
        is_ours = hmac.compare_digest(signature.encode(), expected.encode())
        return age_s if is_ours and age_s < SESSION_S else None

    async def give_session(self, response: web.StreamResponse) -> None:
        issued = str(int(self._now()))
        response.set_cookie(
            self.cookie_name,
            f"{issued}.{await self._sign(issued)}",
            max_age=SESSION_S,
            path="/",
            httponly=True,
            samesite="Lax",
            secure=self._settings.is_https,
        )

    def end_session(self, response: web.StreamResponse) -> None:
        response.del_cookie(
            self.cookie_name, path="/", httponly=True, samesite="Lax", secure=self._settings.is_https
        )

    async def _sign(self, issued: str) -> str:
        """Signed with a secret of this diary and the owner's key, so that a new key ends all older sessions."""
        secret = await self._store.session_secret()
        signing_key = hmac.digest(secret, self._settings.owner_key_sha256.encode(), "sha256")
        return hmac.new(signing_key, issued.encode(), "sha256").hexdigest()

    def is_same_origin(self, request: web.Request) -> bool:
        """Did our own page send this? A browser adds the cookie to requests that other sites start, too.

        Browsers say so themselves on https (Sec-Fetch-Site). "same-site" is not enough: our neighbours' apps
        live under the same domain. On plain http only Origin is there, and a request with neither did not come
        from a page of ours.
        """
        site = request.headers.get("Sec-Fetch-Site")
        if site is not None:
            return site == "same-origin"
        origin = request.headers.get("Origin", "").lower()
        scheme = "https" if self._settings.is_https else "http"
        return bool(origin) and origin in (self._settings.public_url, f"{scheme}://{request.host}".lower())


class Attempts:
    """Slows guessing down: after a few wrong keys one visitor waits 1, 2, 4 … 60 seconds before the next is
    looked at.

    Per visitor, because a shared limit would let a stranger lock the owner out.
    """

    FREE = 5
    LONGEST_WAIT_S = 60.0
    FORGET_AFTER_S = 900.0
    MOST_VISITORS = 1000

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def wait_s(self, visitor: str) -> float:
        count, last = self._wrong.get(visitor, (0, 0.0))
        if count < self.FREE:
            return 0.0
        pause_s = min(self.LONGEST_WAIT_S, 2.0 ** (count - self.FREE))
        return max(0.0, last + pause_s - self._now())

    def wrong(self, visitor: str) -> None:
        count, last = self._wrong.pop(visitor, (0, 0.0))
        if self._now() - last > self.FORGET_AFTER_S:
            count = 0
        self._wrong[visitor] = (count + 1, self._now())
        if len(self._wrong) > self.MOST_VISITORS:
            self._wrong.popitem(last=False)

    def right(self, visitor: str) -> None:
        self._wrong.pop(visitor, None)


def visitor_of(request: web.Request) -> str:
    """The address that nginx saw: it appends it last, so what a visitor writes in front does not matter."""
    forwarded = request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip()
    return forwarded or request.headers.get("X-Real-IP", "") or request.remote or ""
