"""/api/v1/templates, /api/v1/apps/..., /api/v1/operations/..."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, Final

from aiohttp import web

from engine.catalogue import Template, said
from engine.domain import Kind, Operation
from engine.errors import Invalid, MadangError
from engine.http.auth import authenticate
from engine.http.errors import answer, words_for
from engine.http.models import CreateAppBody, DeleteAppBody, read_body
from engine.http.streams import ServerEvent, stream
from engine.ports import Stats
from engine.service.apps import LOG_LINES_MAX, AppService, AppView, NewApp
from engine.words import Translator

APPS: Final = web.AppKey("apps", AppService)
routes = web.RouteTableDef()
_ONE: Final = "/api/v1/apps/{userid}/{appname}"


def template_json(template: Template, locale: str) -> dict[str, Any]:
    return {
        "id": template.id,
        "version": template.version,
        "kind": template.kind,
        "emoji": template.emoji,
        "name": said(template.name, locale),
        "summary": said(template.summary, locale),
        "suggestedName": template.suggested_name,
        "supportsApi": template.supports_api,
        "private": template.private,
        "options": [
            {
                "id": option.id,
                "type": option.type,
                "default": option.default,
                "label": said(option.label, locale),
                "choices": [{"value": c.value, "label": said(c.label, locale)} for c in option.choices],
            }
            for option in template.options
        ],
    }


def operation_json(operation: Operation, t: Translator) -> dict[str, Any]:
    error = None
    if operation.error_code is not None:
        message = t.code(operation.error_code, operation.error_params)
        error = {"code": operation.error_code, "message": message}
    return {
        "id": operation.id,
        "kind": operation.kind.value,
        "target": operation.target,
        "state": operation.state.value,
        "step": operation.step,
        "error": error,
        "createdAt": operation.created_at.isoformat(),
        "finishedAt": operation.finished_at.isoformat() if operation.finished_at else None,
    }


def app_json(view: AppView, t: Translator, stats: Stats | None = None) -> dict[str, Any]:
    app = view.app
    data: dict[str, Any] = {
        "userid": app.userid,
        "appname": app.name,
        "templateId": app.template,
        "kind": app.kind,
        "title": app.title,
        "status": app.phase.value,
        "url": view.url,
        "keyUrl": view.key_url,
        "enableApi": app.settings.get("enableApi", "false") == "true",
        "options": {key: value for key, value in app.settings.items() if key != "locale"},
        "failure": {"code": app.failure, "message": t.code(app.failure, view.why)} if app.failure else None,
        "operation": operation_json(view.busy, t) if view.busy else None,
        "createdAt": app.created_at.isoformat(),
        "trashedAt": app.trashed_at.isoformat() if app.trashed_at else None,
    }
    if stats is not None:
        data["stats"] = {
            "memoryBytes": stats.memory_bytes,
            "memoryLimitBytes": stats.memory_limit_bytes,
            "cpuPercent": round(stats.cpu_percent, 1),
        }
    return data


def _names(request: web.Request) -> tuple[str, str]:
    return request.match_info["userid"], request.match_info["appname"]


@routes.get("/api/v1/templates")
async def list_templates(request: web.Request) -> web.Response:
    locale = words_for(request).locale
    return answer([template_json(template, locale) for template in request.app[APPS].templates()])


@routes.post("/api/v1/apps")
async def create_app(request: web.Request) -> web.Response:
    actor = await authenticate(request)
    body = await read_body(request, CreateAppBody)
    wish = NewApp(body.appname, body.template_id, body.settings(), body.title, body.userid)
    view, operation = await request.app[APPS].create(actor, wish)
    t = words_for(request)
    response = answer({"app": app_json(view, t), "operation": operation_json(operation, t)}, status=202)
    response.headers["Location"] = f"/api/v1/operations/{operation.id}"
    return response


@routes.get("/api/v1/apps")
async def list_apps(request: web.Request) -> web.Response:
    actor = await authenticate(request)
    views = await request.app[APPS].list(actor, everyone=True)
    return answer([app_json(view, words_for(request)) for view in views])


@routes.get(_ONE)
async def one_app(request: web.Request) -> web.Response:
    actor = await authenticate(request)
    service = request.app[APPS]
    view = await service.get(actor, *_names(request))
    last = await service.last_operation(view)
    data = app_json(view, words_for(request), await _stats(service, view))
    return answer(data | {"lastOperation": last.id if last else None})


async def _stats(service: AppService, view: AppView) -> Stats | None:
    """Use now; a runtime that is down leaves it out rather than hiding the rest."""
    try:
        return await service.stats(view)
    except MadangError:
        return None


async def _change(request: web.Request, kind: Kind) -> web.Response:
    actor = await authenticate(request)
    operation = await request.app[APPS].change(actor, *_names(request), kind)
    response = answer({"operation": operation_json(operation, words_for(request))}, status=202)
    response.headers["Location"] = f"/api/v1/operations/{operation.id}"
    return response


@routes.post(_ONE + "/{verb:start|stop|restart|restore}")
async def change_app(request: web.Request) -> web.Response:
    return await _change(request, Kind(request.match_info["verb"]))


@routes.delete(_ONE)
async def delete_app(request: web.Request) -> web.Response:
    await authenticate(request)
    body = await read_body(request, DeleteAppBody, optional=True)
    return await _change(request, Kind.TRASH if body.keep_data else Kind.PURGE)


@routes.get(_ONE + "/logs")
async def app_logs(request: web.Request) -> web.StreamResponse:
    actor = await authenticate(request)
    lines = _number(request, "lines", default=100, maximum=LOG_LINES_MAX)
    if request.query.get("follow", "0") in ("1", "true"):
        return await _follow(request, lines)
    text = await request.app[APPS].logs(actor, *_names(request), lines=lines)
    return answer({"lines": text.splitlines(), "text": text})


async def _follow(request: web.Request, lines: int) -> web.StreamResponse:
    actor = await authenticate(request)
    following = await request.app[APPS].follow_logs(actor, *_names(request), lines=lines)

    async def events() -> AsyncGenerator[ServerEvent, None]:
        async for line in following:
            yield ServerEvent("log", {"line": line})
        yield ServerEvent("end", {})

    return await stream(request, events())


def _number(request: web.Request, name: str, *, default: int, maximum: int) -> int:
    found = _natural(request.query.get(name, str(default)))
    if found is None or not 1 <= found <= maximum:
        raise Invalid("bad_lines", field=name, maximum=maximum)
    return found


def _natural(text: str) -> int | None:
    """The number that `text` is, in plain digits and no longer than a database takes."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else None


@routes.get("/api/v1/operations/{id}")
async def one_operation(request: web.Request) -> web.Response:
    actor = await authenticate(request)
    operation = await request.app[APPS].operation(actor, request.match_info["id"])
    return answer(operation_json(operation, words_for(request)))


@routes.get("/api/v1/operations/{id}/events")
async def operation_events(request: web.Request) -> web.StreamResponse:
    """Every event so far, then each new one, up to the end. A reconnect with Last-Event-ID goes on after it."""
    actor = await authenticate(request)
    after = _natural(request.headers.get("Last-Event-ID", "")) or 0
    found = await request.app[APPS].events(actor, request.match_info["id"], after=after)

    async def events() -> AsyncGenerator[ServerEvent, None]:
        async for event in found:
            yield ServerEvent(event.kind, {"at": event.at.isoformat(), **event.data}, id=str(event.id))

    return await stream(request, events())
