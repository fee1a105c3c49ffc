"""Who asks: a bearer token, or a session cookie with a same-origin check on whatever changes something.

User apps live on sub-domains of the same site, so SameSite cookies alone would not keep them out (SPEC 1).
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from engine.domain import Account, Actor
from engine.errors import Forbidden, Unauthenticated
from engine.service.accounts import AccountService
from engine.settings import Settings

ACCOUNTS: Final = web.AppKey("accounts", AccountService)
SETTINGS: Final = web.AppKey("settings", Settings)
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})


async def authenticate(request: web.Request) -> Actor:
    """The asking account, whatever its state. Raises Unauthenticated."""
    return Actor(await _account(request), via="api")


async def _account(request: web.Request) -> Account:
    service = request.app[ACCOUNTS]
    scheme, _, credential = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return await service.by_token(credential.strip())
    session = session_of(request)
    if session is None:
        raise Unauthenticated("unauthenticated")
    account = await service.by_session(session)
    if account is None:
        raise Unauthenticated("bad_token")
    check_same_origin(request)
    return account


def session_of(request: web.Request) -> str | None:
    return request.cookies.get(request.app[SETTINGS].session_cookie_name)


def check_same_origin(request: web.Request) -> None:
    """Raises Forbidden("cross_site") for a change that a browser sends from another origin."""
    if request.method in _SAFE:
        return
    origin = request.headers.get("Origin")
    if origin is not None and _host_of(origin) != request.host.lower():
        raise Forbidden("cross_site")
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        raise Forbidden("cross_site")


def _host_of(origin: str) -> str | None:
    """The host and port of an origin; None for one that has none, such as "null"."""
    try:
        return urlsplit(origin).netloc.lower() or None
    except ValueError:
        return None


def set_session(request: web.Request, response: web.Response, session: str) -> None:
    settings = request.app[SETTINGS]
    response.set_cookie(
        settings.session_cookie_name,
        session,
        max_age=settings.session_ttl_hours * 3600,
        httponly=True,
        secure=settings.portal_cookie_secure or settings.public_url.startswith("https://"),
        samesite="Lax",
        path="/",
    )
