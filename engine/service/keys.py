"""Passwords, tokens and the keys that sign them."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import bcrypt
import jwt

from engine.domain import Account

_ALGORITHM: Final = "HS256"
_THREADS: Final = 2  # a log-in storm may keep so many cores busy, and not the event loop


class Passwords:
    """bcrypt, on threads of its own: one hash takes 50 ms at 10 rounds."""

    def __init__(self, rounds: int) -> None:
        self._rounds = rounds
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="bcrypt")
        self._nobody: bytes | None = None

    async def hash(self, password: str) -> str:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._hash, password)

    async def verify(self, password: str, stored: str | None) -> bool:
        """Whether `password` is the one of `stored`. Takes as long when there is none, so that time tells nothing."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._verify, password, stored)

    def _hash(self, password: str) -> str:
        return bcrypt.hashpw(password.encode(), bcrypt.gensalt(self._rounds)).decode()

    def _verify(self, password: str, stored: str | None) -> bool:
        if self._nobody is None:
            self._nobody = bcrypt.hashpw(secrets.token_bytes(16), bcrypt.gensalt(self._rounds))
        right = bcrypt.checkpw(password.encode()[:72], stored.encode() if stored else self._nobody)
        return right and stored is not None

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


class Tokens:
    """Bearer tokens: signed, with an expiry, void once the account's password changes."""

    def __init__(self, secret: str, ttl: timedelta) -> None:
        self._secret = secret
        self._ttl = ttl

    def issue(self, account: Account, now: datetime) -> str:
        claims = {"sub": account.id, "ver": account.token_version, "iat": now, "exp": now + self._ttl}
        return jwt.encode(claims, self._secret, algorithm=_ALGORITHM)

    def read(self, token: str, now: datetime) -> tuple[str, int] | None:
        """(account id, token version) of a valid token; None for any other. The algorithm is pinned."""
        try:
            claims = jwt.decode(
                token,
                self._secret,
                algorithms=[_ALGORITHM],
                # Its times are judged by our clock, below.
                options={"require": ["exp", "sub", "ver", "iat"], "verify_exp": False, "verify_iat": False},
            )
            valid = float(claims["exp"]) > now.timestamp()
            return (str(claims["sub"]), int(claims["ver"])) if valid else None
        except (jwt.InvalidTokenError, ValueError):
            return None


def token_hash(token: str) -> str:
    """How a random token is kept: it has entropy enough that a plain hash is as good as a slow one."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()  # a header may hold any byte


def kept_secret(path: Path) -> str:
    """The secret in that file, made by chance and readable by its owner only when there is none yet.

    An empty file is none: whoever knows that the secret is empty could sign anything."""
    with suppress(FileNotFoundError):
        if kept := path.read_text().strip():
            return kept
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    fresh.touch(mode=0o600)
    fresh.write_text(secrets.token_urlsafe(48) + "\n")
    fresh.rename(path)
    return path.read_text().strip()
