"""What every Python container starts as PID 1: run the app folder's program, or serve its files.

One idea: between the container's birth and its first answer, do only what this app needs. An app with a
main.py becomes that program, in this same process; an app without one is a folder of files. Neither pays for
the other's imports.

`warm_up` and `run` are apart on purpose: a process started early may warm up first and be handed its code
afterwards.

    python3 entry.py [APP_FOLDER]      /app unless said otherwise; the port is PORT, or 3000
"""

# ruff: noqa: PLC0415, PTH100, PTH113, PTH118 - imports wait until they are needed, pathlib too: that is the point of this file
from __future__ import annotations

import gc
import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from pathlib import Path
    from types import FrameType

    from aiohttp import web

DEFAULT_APP_FOLDER = "/app"
DEFAULT_PORT = 3000
SHUTDOWN_TIMEOUT_S = 2.0

# Pages are asked again every time (a 304 when unchanged), so that an edit is seen at once. Everything else
# may be a minute old: enough to make the next page quick, short enough that nobody wonders where a new colour
# went.
PAGE_CACHE = "no-cache"
ASSET_CACHE = "public, max-age=60"

# Types that a slim image's table lacks, and text that must say its encoding: a beginner's page without a
# <meta charset> would turn Korean into noise.
EXTRA_TYPES = {
    ".avif": "image/avif",
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".md": "text/markdown",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
}

NOT_FOUND_PAGE = """<!doctype html><html lang="ko"><meta charset="utf-8"><title>404</title>
<meta name="viewport" content="width=device-width"><p>여기에는 아무것도 없어요.</p>
<p lang="en">There is nothing here.</p><p><a href="/">/</a></p></html>
"""


def warm_up() -> None:
    """Do the slow imports ahead of time. Only a process that waits for its code has time for this."""
    import importlib

    for module in ("aiohttp.web", "aiosqlite"):
        importlib.import_module(module)


def run(app_folder: str) -> None:
    """Become the app in `app_folder`. Returns when the app ends."""
    os.chdir(app_folder)
    if os.path.isfile("main.py"):
        run_program(app_folder)
    else:
        serve_files(app_folder)


def run_program(app_folder: str) -> None:
    """Run main.py as __main__, the way `python main.py` would."""
    import runpy

    sys.path[0] = app_folder
    sys.argv = [os.path.join(app_folder, "main.py")]
    # run_module, unlike run_path, uses main's compiled form from __pycache__ when the build left one.
    runpy.run_module("main", run_name="__main__", alter_sys=True)


def serve_files(app_folder: str) -> None:
    """Serve public/, or the folder itself, until SIGTERM."""
    # Reading the certificate authorities costs aiohttp a quarter of its import. A file server calls nobody.
    os.environ.setdefault("SSL_CERT_FILE", os.devnull)

    from pathlib import Path

    from aiohttp import web

    public = Path(app_folder, "public")
    root = (public if public.is_dir() else Path(app_folder)).resolve()
    port = int(os.environ.get("PORT") or DEFAULT_PORT)
    web.run_app(
        build_file_server(root),
        host="0.0.0.0",  # the container's own network is the boundary
        port=port,
        access_log=None,
        shutdown_timeout=SHUTDOWN_TIMEOUT_S,
        print=lambda _: print(f"serving {root} on port {port}"),
    )


def build_file_server(root: Path) -> web.Application:
    from aiohttp import web

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.method not in {"GET", "HEAD"}:
            raise web.HTTPMethodNotAllowed(request.method, ["GET", "HEAD"])
        found = find_file(root, request.path)
        if found is not None and found.is_dir():
            # Relative, so that "//elsewhere" in the address can never become another host.
            raise web.HTTPFound("./" + request.url.raw_parts[-1] + "/")
        if found is None:
            return not_found(root)
        return web.FileResponse(found, headers=file_headers(found))

    async def harden(_: web.Request, response: web.StreamResponse) -> None:
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers.pop("Server", None)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    app.on_response_prepare.append(harden)
    return app


def find_file(root: Path, url_path: str) -> Path | None:
    """The file behind a decoded URL path; a folder when the address lacks its closing slash; None when there
    is none.

    Never a dotfile, and never anything that a symbolic link leads to outside of `root`.
    """
    parts = [part for part in url_path.split("/") if part]
    if not all(map(is_plain_name, parts)):
        return None
    wanted = root.joinpath(*parts)
    wants_folder = url_path.endswith("/")
    try:
        real = (wanted / "index.html" if wants_folder else wanted).resolve(strict=True)
    except (OSError, RuntimeError):  # missing, too long a name, a loop of links
        return None
    inside = real.is_relative_to(root) and all(map(is_plain_name, real.relative_to(root).parts))
    wanted_kind = real.is_file() or (real.is_dir() and not wants_folder)
    return real if inside and wanted_kind else None


def is_plain_name(part: str) -> bool:
    return not part.startswith(".") and not any(bad in part for bad in ("\0", "\\", "/"))


def file_headers(path: Path) -> dict[str, str]:
    import mimetypes

    kind = EXTRA_TYPES.get(path.suffix.lower()) or mimetypes.guess_type(path.name)[0]
    kind = kind or "application/octet-stream"
    is_page = kind == "text/html"
    if kind.startswith("text/"):
        kind += "; charset=utf-8"
    return {"Content-Type": kind, "Cache-Control": PAGE_CACHE if is_page else ASSET_CACHE}


def not_found(root: Path) -> web.Response:
    from aiohttp import web

    own = find_file(root, "/404.html")
    text = own.read_text("utf-8", "replace") if own is not None and own.is_file() else NOT_FOUND_PAGE
    return web.Response(
        text=text,
        status=404,
        content_type="text/html",
        charset="utf-8",
        headers={"Cache-Control": PAGE_CACHE},
    )


def stop(_signal: int, _frame: FrameType | None) -> NoReturn:
    """PID 1 ignores SIGTERM unless it says otherwise; a program with its own handler replaces this one."""
    raise SystemExit(0)


def main() -> None:
    signal.signal(signal.SIGTERM, stop)
    # Logs are read live, line by line.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    # Little made while importing is garbage; looking for it every 700 objects costs several ms of the start.
    gc.set_threshold(20_000, 10, 10)
    run(os.path.abspath(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_APP_FOLDER)


if __name__ == "__main__":
    main()
