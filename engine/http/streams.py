"""Event streams (text/event-stream): they end when their source does, when the client is gone, and when Madang stops."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web
from aiohttp_sse import EventSourceResponse, sse_response

from engine.errors import MadangError
from engine.http.errors import words_for

log = logging.getLogger(__name__)

CLOSING: Final = web.AppKey("closing", asyncio.Event)
PING_S: Final = 10.0  # how long it may take until a client that has gone is noticed


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """`data` is sent as JSON. A client that comes again names the `id` of the last event that it got."""

    kind: str
    data: Any
    id: str | None = None


async def stream(request: web.Request, source: AsyncGenerator[ServerEvent, None]) -> web.StreamResponse:
    """Sends what comes from `source`. What fails on the way is told by an event `error`: the headers are out by then."""
    headers = {"X-Accel-Buffering": "no"}
    async with sse_response(request, headers=headers, ping_interval=PING_S) as response:
        sending = asyncio.create_task(_send(request, response, source))
        ends = [asyncio.create_task(response.wait()), asyncio.create_task(request.app[CLOSING].wait())]
        try:
            await asyncio.wait([sending, *ends], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, *ends):
                task.cancel()
            await asyncio.wait([sending, *ends])
    return response


async def _send(
    request: web.Request, response: EventSourceResponse, source: AsyncGenerator[ServerEvent, None]
) -> None:
    try:
        async with aclosing(source):
            async for event in source:
                await _event(response, event)
    except (ConnectionError, TimeoutError):
        return  # the client is gone
    except MadangError as error:
        told = {"code": error.code, "error": words_for(request).error(error)}
        await _event(response, ServerEvent("error", told))
    except Exception:
        log.exception("bug in the event stream %s", request.path)


async def _event(response: EventSourceResponse, event: ServerEvent) -> None:
    await response.send(json.dumps(event.data, ensure_ascii=False), event=event.kind, id=event.id)


async def end_streams(app: web.Application) -> None:
    """Ends every stream that is open; their clients come again by themselves."""
    app[CLOSING].set()
