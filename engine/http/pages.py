"""The pages that people meet outside of the chat: the front door, and the friendly ones for what does not answer."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Handler
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from engine.domain import App, Phase
from engine.errors import NotFound
from engine.http.apps import APPS
from engine.http.auth import SETTINGS
from engine.http.errors import words_for
from engine.words import N_, Translator

routes = web.RouteTableDef()
_PAGES: Final = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "pages"), undefined=StrictUndefined, autoescape=True
)


def page(request: web.Request, name: str, *, status: int = 200, **values: Any) -> web.Response:
    """A page from `pages/`, in the visitor's language. Its style travels in it, allowed by a nonce: on an app's host
    name there is no other address of ours that could serve it."""
    t = words_for(request)
    nonce = secrets.token_urlsafe(12)
    text = _PAGES.get_template(name).render(t=t, nonce=nonce, base=request.app[SETTINGS].public_url, **values)
    policy = f"default-src 'none'; style-src 'nonce-{nonce}'; img-src data:; base-uri 'none'; frame-ancestors 'none'"
    headers = {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
        "Content-Language": t.locale,
        "Vary": "Accept-Language",
    }
    return web.Response(text=text, content_type="text/html", status=status, headers=headers)


@web.middleware
async def friendly_missing(request: web.Request, handler: Handler) -> web.StreamResponse:
    """A person with a browser who mistyped an address of Madang itself reads a page; a program reads JSON."""
    response = await handler(request)
    wants_page = request.method == "GET" and "text/html" in request.headers.get("Accept", "")
    if response.status != 404 or not wants_page or request.path.startswith(("/api/", "/-/")):
        return response
    return _friendly(request, 404, "missing")


@routes.get("/")
async def front_door(request: web.Request) -> web.Response:
    return page(request, "front.html")


@routes.get("/-/edge")
async def edge(request: web.Request) -> web.Response:
    """What nginx asks when an app's address leads nowhere. An open route that nginx does not know yet is handed over."""
    if "X-Madang-Reason" not in request.headers:
        raise NotFound("not_found")  # nobody but nginx asks this; it strips the header from visitors
    label, reason = request.query.get("label", ""), request.query.get("reason", "unrouted")
    found = await request.app[APPS].by_label(label) if "-" in label else None
    if found is None or found[0].phase is Phase.TRASHED:
        return _friendly(request, 404, "elsewhere" if reason == "unknown_host" else "unknown")
    app, address = found
    may_hand_over = request.headers.get("X-Madang-Handover") == "yes" and reason == "unrouted"
    if address is not None and app.phase is Phase.LIVE and may_hand_over:
        return web.Response(headers={"X-Accel-Redirect": "@direct", "X-Madang-Address": address})
    return _friendly(request, 503, await _what(request, app))


async def _what(request: web.Request, app: App) -> str:
    if await request.app[APPS].busy(app) or app.phase in (Phase.PENDING, Phase.LIVE, Phase.ASLEEP):
        return "starting"
    return "stopped" if app.phase is Phase.STOPPED else "failed"


_WORDS: Final = {
    "elsewhere": (N_("Madang lives elsewhere"), N_("This computer answers, but Madang is at {base}.")),
    "unknown": (N_("Nobody lives here"), N_("There is no app at this address. Perhaps a letter is different?")),
    "missing": (N_("There is nothing here"), N_("Perhaps a letter of the address is different? Madang is at {base}.")),
    "starting": (N_("Just a moment"), N_("This is being started. The page opens by itself.")),
    "stopped": (N_("Closed for now"), N_("Its owner has stopped it. Nothing is lost; it can be started again at any time.")),
    "failed": (N_("Not feeling well"), N_("It ended unexpectedly. Its owner can see why, and start it again, in the chat.")),
}  # fmt: skip


def _friendly(request: web.Request, status: int, what: str) -> web.Response:
    t: Translator = words_for(request)
    title, text = _WORDS[what]
    response = page(
        request,
        "edge.html",
        status=status,
        what=what,
        title=t(title),
        text=t(text).format(base=request.app[SETTINGS].public_url),
        refresh=what == "starting",
    )
    response.headers["X-Madang-Edge"] = what
    if status == 503:
        response.headers["Retry-After"] = "2" if what == "starting" else "60"
    return response
