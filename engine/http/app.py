"""The web application: middlewares, routes, health and metrics."""

from __future__ import annotations

import asyncio
import time
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Handler
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from engine import metrics
from engine.errors import MadangError
from engine.http import accounts, apps, pages
from engine.http.apps import APPS
from engine.http.auth import ACCOUNTS, SETTINGS
from engine.http.errors import errors
from engine.http.streams import CLOSING, end_streams
from engine.service.accounts import AccountService
from engine.service.apps import AppService
from engine.service.health import HealthService
from engine.settings import Settings

HEALTH: Final = web.AppKey("health", HealthService)
_BODY_MAX: Final = 1024 * 1024
_KNOWN_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
routes = web.RouteTableDef()


def program_version() -> str:
    try:
        return version("madang")
    except PackageNotFoundError:
        return "0+checkout"


@web.middleware
async def measure(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Counts by route, not by address, so that no name becomes a label (STYLE 18)."""
    started = time.perf_counter()
    status = 500
    try:
        response = await handler(request)
        status = response.status
        return response
    except web.HTTPException as error:
        status = error.status
        raise
    finally:
        resource = request.match_info.route.resource
        endpoint = resource.canonical if resource is not None else "none"
        method = request.method if request.method in _KNOWN_METHODS else "other"
        metrics.HTTP_REQUESTS.labels(method, endpoint, status).inc()
        metrics.HTTP_SECONDS.labels(method, endpoint).observe(time.perf_counter() - started)


@routes.get("/api/health")
@routes.get("/api/v1/health")
async def health(request: web.Request) -> web.Response:
    """200 while Madang can answer, with what is degraded; 503 when it cannot read its database."""
    report: dict[str, Any] = {"version": program_version()}
    try:
        report |= await request.app[HEALTH].report()
    except MadangError as error:
        return web.json_response({"ok": False, "error": str(error), "code": error.code}, status=503)
    return web.json_response({"ok": True, "data": report})


@routes.get("/metrics")
@routes.get("/api/metrics")
async def prometheus(_: web.Request) -> web.Response:
    return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})


def build_app(
    settings: Settings,
    *,
    account_service: AccountService,
    app_service: AppService,
    health_service: HealthService,
) -> web.Application:
    app = web.Application(middlewares=[measure, pages.friendly_missing, errors], client_max_size=_BODY_MAX)
    app[SETTINGS] = settings
    app[ACCOUNTS] = account_service
    app[APPS] = app_service
    app[HEALTH] = health_service
    app[CLOSING] = asyncio.Event()
    app.on_shutdown.append(end_streams)
    for table in (routes, accounts.routes, apps.routes, pages.routes):
        app.add_routes(table)
    return app
