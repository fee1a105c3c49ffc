"""The diary. This file is the table of contents: which address leads where.

    diary/settings.py   what the environment says: port, title, owner key …
    diary/access.py     who may come in: the owner key, the session cookie
    diary/store.py      where entries live: one SQLite file
    diary/api.py        the JSON API under /api
    diary/pages.py      the pages, and the files in public/
    public/             what the browser gets: HTML, CSS, JavaScript, words in two languages

Try it on your own computer:
    ENABLE_API=false python3 main.py      then open http://localhost:3000
"""

import os
import sys

# The diary calls no other server, so nobody needs the list of certificate authorities that aiohttp would read
# while it is imported. That list is a quarter of the time this program takes to start.
os.environ.setdefault("SSL_CERT_FILE", os.devnull)

from aiohttp import web
from diary import api, pages
from diary.access import Access
from diary.settings import Settings
from diary.store import Store


def build_app(settings: Settings) -> web.Application:
    app = web.Application(middlewares=[api.answer_errors, api.guard], client_max_size=api.MAX_REQUEST_BYTES)
    app[api.SETTINGS] = settings
    app[pages.PAGES] = pages.Pages(settings)
    app.on_response_prepare.append(pages.add_security_headers)

    app.router.add_get("/healthz", api.healthz)
    app.router.add_get("/", pages.home)
    app.router.add_get("/manifest.webmanifest", pages.manifest)
    app.router.add_get("/assets/{version}/{name:.+}", pages.asset)

    if settings.keeps_entries:
        store = Store(settings.sqlite_path)
        app[api.STORE] = store
        app[api.ACCESS] = Access(settings, store)
        app.on_startup.append(open_store)
        app.on_cleanup.append(close_store)

        app.router.add_post("/login", pages.log_in)
        app.router.add_post("/logout", pages.log_out)
        app.router.add_get("/api/entries", api.list_entries)
        app.router.add_post("/api/entries", api.add_entry)
        app.router.add_get("/api/entries/{id}", api.get_entry)
        app.router.add_put("/api/entries/{id}", api.change_entry)
        app.router.add_delete("/api/entries/{id}", api.delete_entry)
        app.router.add_post("/api/entries/{id}/restore", api.restore_entry)
        app.router.add_get("/api/calendar", api.calendar)
        app.router.add_get("/api/memories", api.memories)
        app.router.add_get("/api/export", api.export)
    return app


async def open_store(app: web.Application) -> None:
    """Open the file before the first visitor. When it cannot be opened the diary still starts, and says why."""
    await app[api.STORE].open_or_log()


async def close_store(app: web.Application) -> None:
    await app[api.STORE].close()


def main() -> None:
    settings = Settings.from_environ(os.environ)
    if settings.is_locked:
        print("OWNER_KEY_SHA256 is not set: the diary answers nobody until it is", file=sys.stderr)
    web.run_app(
        build_app(settings),
        host="0.0.0.0",  # inside its container; nginx is the only neighbour
        port=settings.port,
        access_log=None,  # what the owner reads and searches is nobody's business, not even the log's
        shutdown_timeout=3,
        print=lambda _: print(f"diary listening on port {settings.port}", flush=True),
    )


if __name__ == "__main__":
    main()
