"""/api/v1/auth/..."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from engine.domain import Account
from engine.errors import Invalid
from engine.http.auth import ACCOUNTS, SETTINGS, authenticate, check_same_origin, session_of, set_session
from engine.http.errors import answer
from engine.http.models import ChangePasswordBody, LogInBody, RegisterBody, read_body
from engine.service.accounts import LogIn, check_usable

routes = web.RouteTableDef()


def account_json(account: Account) -> dict[str, Any]:
    return {
        "userid": account.userid,
        "email": account.email,
        "role": account.role.value,
        "approved": account.approved,
        "mustChangePassword": account.must_change_password,
        "createdAt": account.created_at.isoformat(),
    }


def _logged_in(request: web.Request, log_in: LogIn) -> web.Response:
    ttl_s = request.app[SETTINGS].jwt_ttl_hours * 3600
    response = answer({"token": log_in.token, "expiresIn": ttl_s, **account_json(log_in.account)})
    response.headers["Cache-Control"] = "no-store"
    set_session(request, response, log_in.session)
    return response


@routes.post("/api/v1/auth/register")
async def register(request: web.Request) -> web.Response:
    check_same_origin(request)
    body = await read_body(request, RegisterBody)
    account = await request.app[ACCOUNTS].register(
        email=body.email, password=body.password, username=body.username, via="api"
    )
    return answer(account_json(account), status=201)


@routes.post("/api/v1/auth/login")
async def log_in(request: web.Request) -> web.Response:
    check_same_origin(request)
    body = await read_body(request, LogInBody, form=True)
    identifier = body.username or body.email
    if not identifier:
        raise Invalid("missing_field", field="username", name="username")
    return _logged_in(
        request, await request.app[ACCOUNTS].log_in(identifier=identifier, password=body.password, via="api")
    )


@routes.get("/api/v1/auth/me")
async def me(request: web.Request) -> web.Response:
    account = (await authenticate(request)).account
    check_usable(account)
    return answer(account_json(account))


@routes.post("/api/v1/auth/logout")
async def log_out(request: web.Request) -> web.Response:
    await authenticate(request)
    session = session_of(request)
    if session is not None:
        await request.app[ACCOUNTS].log_out(session)
    response = answer({})
    response.del_cookie(request.app[SETTINGS].session_cookie_name, path="/")
    return response


@routes.post("/api/v1/auth/change-password")
async def change_password(request: web.Request) -> web.Response:
    actor = await authenticate(request)
    body = await read_body(request, ChangePasswordBody)
    return _logged_in(
        request,
        await request.app[ACCOUNTS].change_password(
            actor, current=body.current_password, new=body.new_password
        ),
    )


@routes.post("/api/v1/accounts/{userid}/approve")
async def approve(request: web.Request) -> web.Response:
    actor = await authenticate(request)
    await request.app[ACCOUNTS].approve(actor, request.match_info["userid"])
    return answer({})
