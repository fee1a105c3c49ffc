"""One table maps what went wrong to a status (STYLE 7); the middleware makes the answer."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Handler

from engine.errors import (
    Broken,
    Conflict,
    Forbidden,
    Invalid,
    MadangError,
    NotFound,
    OverQuota,
    Refused,
    Transient,
    Unauthenticated,
)
from engine.words import Translator, pick_locale, translator

log = logging.getLogger(__name__)

_FAMILIES: Final[Mapping[type[MadangError], int]] = {
    Invalid: 400,
    Unauthenticated: 401,
    Forbidden: 403,
    NotFound: 404,
    Conflict: 409,
    OverQuota: 429,
    Refused: 400,
    Transient: 503,
    Broken: 503,
}
_CODES: Final[Mapping[str, int]] = {
    "too_large": 413,
    "unsupported_media_type": 415,
    "method_not_allowed": 405,
}


def status_of(error: MadangError) -> int:
    """The HTTP status of an expected failure; 500 for what is none."""
    if error.code in _CODES:
        return _CODES[error.code]
    return next((_FAMILIES[c] for c in type(error).__mro__ if c in _FAMILIES), 500)


def words_for(request: web.Request) -> Translator:
    """The language of an answer: what the client asks for, else English."""
    return translator(pick_locale(request.headers.get("Accept-Language")))


def answer(data: Any, status: int = 200) -> web.Response:
    """`{"ok": true, "data": …}` (SPEC 7)."""
    return web.json_response({"ok": True, "data": data}, status=status)


def refusal(request: web.Request, error: MadangError, *, reference: str | None = None) -> web.Response:
    """`{"ok": false, "error": "message", "code": "snake_case", …}` (SPEC 7)."""
    status = status_of(error)
    body: dict[str, Any] = {"ok": False, "error": words_for(request).error(error), "code": error.code}
    if error.field is not None:
        body["field"] = error.field
    if isinstance(error, OverQuota):
        body["quota"] = {
            key: error.params[key] for key in ("used", "limit", "requested") if key in error.params
        }
    if reference is not None:
        body["reference"] = reference
    headers = {"Cache-Control": "no-store"}
    if isinstance(error, Transient):
        headers["Retry-After"] = str(max(1, round(error.retry_after_s)))
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="madang"'
    return web.json_response(body, status=status, headers=headers)


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every failure becomes an answer; a bug is logged under a reference that the answer carries (STYLE 8)."""
    try:
        return await handler(request)
    except MadangError as error:
        return refusal(request, error)
    except web.HTTPRequestEntityTooLarge as error:
        limit = request.app._client_max_size  # noqa: SLF001 - aiohttp has no public name for it
        return refusal(request, Invalid("too_large", limit=limit or error.status))
    except web.HTTPMethodNotAllowed as error:
        response = refusal(request, Invalid("method_not_allowed", method=request.method))
        response.headers["Allow"] = ", ".join(sorted(error.allowed_methods))
        return response
    except web.HTTPNotFound:
        return refusal(request, NotFound("not_found"))
    except web.HTTPException:
        raise
    except ConnectionResetError:
        raise
    except Exception:
        reference = secrets.token_hex(4)
        log.exception("bug [%s] in %s %s", reference, request.method, request.path)
        return refusal(request, MadangError("internal"), reference=reference)
