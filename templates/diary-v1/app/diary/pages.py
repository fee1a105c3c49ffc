"""The pages, and the files behind them.

Pages are the HTML files in public/ with {{words}} filled in from public/i18n, so that the first thing a
reader sees is already in their language. Everything else in public/ is served under /assets/<version>/, where
the version is a hash of all of it: browsers may keep it for a year, and after a change ask under another name.
"""

from __future__ import annotations

import hashlib
import html
import json
import mimetypes
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from diary.access import RENEW_AFTER_S
from diary.api import ACCESS, LOCKED, SETTINGS, Problem, done, read_object, try_key
from diary.settings import LANGUAGES
from diary.store import StorageTrouble

if TYPE_CHECKING:
    from diary.settings import Settings

PUBLIC = Path(__file__).resolve().parent.parent / "public"
LANGUAGE_COOKIE = "diary_lang"
YEAR_S = 365 * 24 * 3600

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
        " manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


async def add_security_headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(SECURITY_HEADERS)
    response.headers.pop("Server", None)


class Pages:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.files = {
            path.relative_to(PUBLIC).as_posix(): path.read_bytes()
            for path in sorted(PUBLIC.rglob("*"))
            if path.is_file() and path.suffix != ".html"
        }
        digest = hashlib.sha256()
        for name, content in self.files.items():
            digest.update(name.encode() + b"\0" + content)
        self.version = digest.hexdigest()[:12]
        self.words = {language: json.loads(self.files[f"i18n/{language}.json"]) for language in LANGUAGES}
        self.render = cache(self._render)

    def language_of(self, request: web.Request) -> str:
        """The reader's choice, else their browser's first language that we speak, else the owner's."""
        chosen = request.cookies.get(LANGUAGE_COOKIE)
        if chosen in LANGUAGES:
            return chosen
        for tag in request.headers.get("Accept-Language", "").split(","):
            language = tag.strip()[:2].lower()
            if language in LANGUAGES:
                return language
        return self._settings.default_language

    def title(self, language: str) -> str:
        return self._settings.title or str(self.words[language]["app.title"])

    def _render(self, name: str, language: str, notice: str = "") -> str:
        """A page in one language. `notice` is the key of a message to show, or "" for none."""
        values = self.words[language] | {
            "lang": language,
            "other-lang": next(other for other in LANGUAGES if other != language),
            "title": self.title(language),
            "mode": "server" if self._settings.keeps_entries else "local",
            "assets": f"/assets/{self.version}",
            "notice": self.words[language][notice] if notice else "",
        }
        source = (PUBLIC / name).read_text("utf-8")
        return re.sub(r"\{\{([\w.-]+)\}\}", lambda match: html.escape(values[match[1]]), source)


PAGES = web.AppKey("pages", Pages)


def page(request: web.Request, name: str, notice: str = "", status: int = 200) -> web.Response:
    pages = request.app[PAGES]
    return web.Response(
        text=pages.render(name, pages.language_of(request), notice),
        status=status,
        content_type="text/html",
        charset="utf-8",
        # no-store: after logging out, the back button must not show the diary again.
        headers={"Cache-Control": "no-store", "Vary": "Cookie, Accept-Language"},
    )


async def home(request: web.Request) -> web.StreamResponse:
    """The diary for its owner, the log-in page for everyone else."""
    settings = request.app[SETTINGS]
    if request.query.get("lang") in LANGUAGES:
        return choose_language(request.query["lang"], is_https=settings.is_https)
    if settings.is_locked:
        return page(request, "message.html", "closed.no_owner_key", LOCKED.status)
    if not settings.keeps_entries:
        return page(request, "index.html")
    if "key" in request.query:
        return await enter(request, request.query["key"])
    access = request.app[ACCESS]
    try:
        age_s = await access.session_age_s(request)
    except StorageTrouble:
        return page(request, "message.html", "closed.storage", 503)
    if age_s is None:
        return page(request, "login.html")
    response = page(request, "index.html")
    if age_s > RENEW_AFTER_S:
        await access.give_session(response)
    return response


def choose_language(language: str, *, is_https: bool) -> web.Response:
    response = web.Response(status=303, headers={"Location": "/", "Cache-Control": "no-store"})
    response.set_cookie(LANGUAGE_COOKIE, language, max_age=YEAR_S, samesite="Lax", secure=is_https)
    return response


async def enter(request: web.Request, key: str) -> web.StreamResponse:
    """Key in, diary out: for a link with ?key= and for the log-in form of a browser without JavaScript."""
    try:
        try_key(request, key)
    except Problem as problem:
        response = page(request, "login.html", f"error.{problem.code}", problem.status)
        if problem.retry_after_s is not None:
            response.headers["Retry-After"] = problem.answer().headers["Retry-After"]
        return response
    response = web.Response(status=303, headers={"Location": "/", "Cache-Control": "no-store"})
    await request.app[ACCESS].give_session(response)
    return response


async def log_in(request: web.Request) -> web.StreamResponse:
    if request.content_type != "application/json":
        return await enter(request, str((await request.post()).get("key", "")))
    try_key(request, str((await read_object(request)).get("key", "")))
    response = done({})
    await request.app[ACCESS].give_session(response)
    return response


async def log_out(request: web.Request) -> web.Response:
    """Reached only with a session and from our own page (see `guard`), so nobody can log the owner out from
    afar.
    """
    response = done({})
    request.app[ACCESS].end_session(response)
    return response


async def manifest(request: web.Request) -> web.Response:
    """What a phone asks for when the diary is put on its home screen."""
    pages = request.app[PAGES]
    language = pages.language_of(request)
    icons = f"/assets/{pages.version}/icons"
    content = {
        "name": pages.title(language),
        "short_name": pages.title(language)[:12],
        "lang": language,
        "id": "/",
        "start_url": "/",
        "scope": "/",
        "display": "standalone",
        "background_color": "#faf7f2",
        "theme_color": "#faf7f2",
        "icons": [
            {"src": f"{icons}/icon.svg", "sizes": "any", "type": "image/svg+xml"},
            {"src": f"{icons}/icon-192.png", "sizes": "192x192", "type": "image/png"},
            {
                "src": f"{icons}/icon-512.png",
                "sizes": "512x512",
                "type": "image/png",
                "purpose": "any maskable",
            },
        ],
    }
    return web.json_response(
        content,
        content_type="application/manifest+json",
        headers={"Cache-Control": "no-cache", "Vary": "Cookie, Accept-Language"},
    )


async def asset(request: web.Request) -> web.Response:
    """One of the files read at the start; the address can name nothing else on the disk."""
    pages = request.app[PAGES]
    name = request.match_info["name"]
    content = pages.files.get(name)
    if content is None:
        raise web.HTTPNotFound
    is_current = request.match_info["version"] == pages.version
    kind = (
        "text/javascript"
        if name.endswith(".js")
        else mimetypes.guess_type(name)[0] or "application/octet-stream"
    )
    is_text = kind.startswith("text/") or kind == "application/json"
    return web.Response(
        body=content,
        content_type=kind,
        charset="utf-8" if is_text else None,
        headers={"Cache-Control": f"public, max-age={YEAR_S}, immutable" if is_current else "no-cache"},
    )
