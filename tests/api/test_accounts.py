"""Accounts over HTTP: registering, proving who one is, and what ends a proof."""

from __future__ import annotations

import asyncio
import base64
import json
import sqlite3
from contextlib import closing
from datetime import timedelta
from http.cookies import SimpleCookie
from typing import Any

import aiohttp
import jwt
import pytest

from engine.errors import Broken
from tests.api.conftest import Box, StartBox
from tests.support.api import Api, Refusal
from tests.support.worlds import StillClock

PASSWORD = "a good password"
ME = "/api/v1/auth/me"
LOGIN = "/api/v1/auth/login"
CHANGE = "/api/v1/auth/change-password"


def registration(userid: str = "alice", **more: str) -> dict[str, str]:
    return {"username": userid, "email": f"{userid}@example.com", "password": PASSWORD} | more


async def session_of(box: Box, userid: str = "alice") -> str:
    """The session cookie that a log-in sets."""
    answer = await box.send("POST", LOGIN, json={"username": userid, "password": PASSWORD})
    return SimpleCookie(answer.headers["Set-Cookie"])[box.settings.session_cookie_name].value


def cookie(box: Box, session: str, **more: str) -> dict[str, str]:
    return {"Cookie": f"{box.settings.session_cookie_name}={session}"} | more


# --- registering and logging in


async def test_a_new_account_is_told_what_it_is_and_never_its_password(box: Box) -> None:
    answer = await box.send("POST", "/api/v1/auth/register", json=registration(email="Alice@Example.COM"))
    assert answer.status == 201
    data = answer.json["data"]
    assert (data["userid"], data["email"], data["role"]) == ("alice", "alice@example.com", "user")
    assert (data["approved"], data["mustChangePassword"]) == (True, False)
    assert PASSWORD not in answer.text
    assert "$2b$" not in answer.text


@pytest.mark.parametrize(
    ("second", "code", "field"),
    [
        (registration("alice", email="other@example.com"), "handle_taken", "username"),
        (registration("other", email="alice@example.com"), "email_taken", "email"),
        (registration("other", email="ALICE@EXAMPLE.com"), "email_taken", "email"),
    ],
)
async def test_a_name_and_an_address_are_taken_once(
    box: Box, alice: Api, second: dict[str, str], code: str, field: str
) -> None:
    answer = await box.send("POST", "/api/v1/auth/register", json=second)
    assert (answer.status, answer.json["code"], answer.json["field"]) == (409, code, field)


async def test_of_20_who_want_one_name_at_once_exactly_one_has_it(box: Box) -> None:
    answers = await asyncio.gather(
        *(
            box.send("POST", "/api/v1/auth/register", json=registration(email=f"a{n}@example.com"))
            for n in range(20)
        )
    )
    assert sorted(answer.status for answer in answers) == [201] + [409] * 19


@pytest.mark.parametrize(
    "body",
    [
        {"username": "alice", "password": PASSWORD},
        {"email": "alice@example.com", "password": PASSWORD},
        {"email": "ALICE@example.com", "password": PASSWORD},
        {"username": "alice@example.com", "password": PASSWORD},
    ],
)
async def test_one_logs_in_by_name_or_address(box: Box, alice: Api, body: dict[str, str]) -> None:
    answer = await box.send("POST", LOGIN, json=body)
    assert answer.status == 200
    assert answer.headers["Cache-Control"] == "no-store"
    token = answer.json["data"]["token"]
    me = await box.send("GET", ME, headers={"Authorization": f"Bearer {token}"})
    assert me.json["data"]["userid"] == "alice"


@pytest.mark.parametrize("kind", ["urlencoded", "multipart"])
async def test_one_logs_in_by_a_form(box: Box, alice: Api, kind: str) -> None:
    form = aiohttp.FormData(
        {"username": "alice", "password": PASSWORD}, default_to_multipart=kind == "multipart"
    )
    answer = await box.send("POST", LOGIN, data=form)
    assert (answer.status, answer.json["data"]["userid"]) == (200, "alice")


@pytest.mark.parametrize(
    "body",
    [
        {"username": "alice", "password": "not the password"},
        {"username": "alice", "password": ""},
        {"username": "nobody", "password": PASSWORD},
        {"username": "ALICE", "password": PASSWORD},
        {"email": "nobody@example.com", "password": PASSWORD},
        {"username": "alice' OR '1'='1", "password": PASSWORD},
        {"username": "alice", "password": PASSWORD + "x" * 100},
    ],
)
async def test_whatever_was_wrong_the_answer_is_the_same(box: Box, alice: Api, body: dict[str, str]) -> None:
    answer = await box.send("POST", LOGIN, json=body)
    assert (answer.status, answer.json["code"]) == (401, "bad_credentials")
    assert "Set-Cookie" not in answer.headers


async def test_by_approval_an_account_waits_until_the_administrator_lets_it_in(start_box: StartBox) -> None:
    async with start_box(registration="approval") as box:
        api = await box.stranger()
        assert (await api.call("POST", "/api/v1/auth/register", registration()))["approved"] is False
        with pytest.raises(Refusal) as refused:
            await api.log_in("alice")
        assert (refused.value.status, refused.value.code) == (403, "account_waiting")
        admin = await box.admin()
        await admin.call("POST", "/api/v1/accounts/alice/approve")
        await api.log_in("alice")
        with pytest.raises(Refusal) as refused:
            await api.call("POST", "/api/v1/accounts/alice/approve")
        assert refused.value.status == 403
        with pytest.raises(Refusal) as refused:
            await admin.call("POST", "/api/v1/accounts/nobody/approve")
        assert refused.value.status == 404


async def test_by_invitation_nobody_registers(start_box: StartBox) -> None:
    async with start_box(registration="invite") as box:
        answer = await box.send("POST", "/api/v1/auth/register", json=registration())
        assert (answer.status, answer.json["code"]) == (403, "registration_closed")


# --- the administrator's first password


async def test_the_first_password_is_made_once_and_good_for_nothing_but_its_own_change(
    start_box: StartBox,
) -> None:
    async with start_box() as box:
        first = box.admin_password
        assert first is not None
        assert len(first) >= 12
        api = await box.stranger()
        await api.log_in("admin", first)
        answer = await box.send("GET", "/api/v1/apps", as_=api)
        assert (answer.status, answer.json["code"]) == (403, "password_change_required")
        assert answer.json["error"].startswith("Password change required")
        admin = await box.admin()
        assert await admin.call("GET", "/api/v1/apps") == []
        with pytest.raises(Refusal) as refused:
            await api.log_in("admin", first)
        assert refused.value.status == 401
    async with start_box() as again:
        assert again.admin_password is None


async def test_admin_admin_is_possible_and_has_to_be_changed(start_box: StartBox) -> None:
    from pydantic import SecretStr

    async with start_box(admin_password=SecretStr("admin")) as box:
        api = await box.stranger()
        await api.log_in("admin", "admin")
        assert (await box.send("GET", ME, as_=api)).status == 403
        assert (await (await box.admin()).call("GET", ME))["mustChangePassword"] is False


async def test_a_first_password_that_could_never_be_typed_is_refused_at_the_start(
    start_box: StartBox,
) -> None:
    from pydantic import SecretStr

    with pytest.raises(Broken) as refused:
        async with start_box(admin_password=SecretStr("x" * 73)):
            pass
    assert "ADMIN_PASSWORD" in refused.value.params["detail"]


# --- changing the password


async def test_a_new_password_ends_all_that_the_old_one_opened(box: Box, alice: Api) -> None:
    session, old_token = await session_of(box), alice.token
    body = {"currentPassword": PASSWORD, "newPassword": "an even better one"}
    answer = await box.send("POST", CHANGE, as_=alice, json=body)
    assert answer.status == 200
    for headers in (cookie(box, session), {"Authorization": f"Bearer {old_token}"}):
        assert (await box.send("GET", ME, headers=headers)).status == 401
    fresh = answer.json["data"]["token"]
    assert (await box.send("GET", ME, headers={"Authorization": f"Bearer {fresh}"})).status == 200
    await alice.log_in("alice", "an even better one")


@pytest.mark.parametrize(
    ("current", "new", "code", "field"),
    [
        ("not it", "an even better one", "wrong_password", "currentPassword"),
        (PASSWORD, "short", "short_password", "newPassword"),
        (PASSWORD, "x" * 73, "long_password", "newPassword"),
        (PASSWORD, PASSWORD, "same_password", "newPassword"),
    ],
)
async def test_a_password_is_not_changed_by_mistake(
    box: Box, alice: Api, current: str, new: str, code: str, field: str
) -> None:
    answer = await box.send("POST", CHANGE, as_=alice, json={"currentPassword": current, "newPassword": new})
    assert (answer.status, answer.json["code"], answer.json["field"]) == (400, code, field)
    await alice.log_in("alice")


async def test_log_ins_at_the_moment_of_a_change_open_nothing_with_the_old_password(
    box: Box, alice: Api
) -> None:
    body = {"currentPassword": PASSWORD, "newPassword": "an even better one"}
    change = asyncio.create_task(box.send("POST", CHANGE, as_=alice, json=body))
    log_ins = await asyncio.gather(
        *(box.send("POST", LOGIN, json={"username": "alice", "password": PASSWORD}) for _ in range(20))
    )
    assert (await change).status == 200
    for answer in log_ins:
        if answer.status == 200:
            session = SimpleCookie(answer.headers["Set-Cookie"])[box.settings.session_cookie_name].value
            token = answer.json["data"]["token"]
            assert (await box.send("GET", ME, headers=cookie(box, session))).status == 401
            assert (await box.send("GET", ME, headers={"Authorization": f"Bearer {token}"})).status == 401


# --- tokens


def _unsigned(claims: dict[str, Any]) -> str:
    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(claims)}."


async def test_only_our_own_whole_tokens_count(box: Box, alice: Api) -> None:
    assert alice.token is not None
    secret = (box.settings.root / "secrets" / "jwt").read_text().strip()
    claims = jwt.decode(alice.token, options={"verify_signature": False})
    head, body, signature = alice.token.split(".")
    other = "another key that is long enough for this purpose"
    forged = {
        "another signature": f"{head}.{body}.{'A' * len(signature)}",
        "a changed letter": f"{head}.{body[:-2]}{'AA' if body[-2:] != 'AA' else 'BB'}.{signature}",
        "no signature": f"{head}.{body}.",
        "alg none": _unsigned(claims),
        "another key": jwt.encode(claims, other, algorithm="HS256"),
        "another algorithm": jwt.encode(claims, secret * 2, algorithm="HS512"),
        "an empty key": jwt.encode(claims, "\0" * 32, algorithm="HS256"),
        "expired": jwt.encode(claims | {"exp": 1}, secret, algorithm="HS256"),
        "no expiry": jwt.encode({k: v for k, v in claims.items() if k != "exp"}, secret, algorithm="HS256"),
        "nobody": jwt.encode(claims | {"sub": "nobody"}, secret, algorithm="HS256"),
        "another version": jwt.encode(claims | {"ver": 7}, secret, algorithm="HS256"),
        "no version": jwt.encode(claims | {"ver": "x"}, secret, algorithm="HS256"),
        "an odd expiry": jwt.encode(claims | {"exp": "soon"}, secret, algorithm="HS256"),
        "nothing": "",
        "no token": "hello",
        "dots": "..",
        "long": "a" * 4000,
    }
    for what, token in forged.items():
        answer = await box.send("GET", ME, headers={"Authorization": f"Bearer {token}"})
        assert (answer.status, answer.json["code"]) == (401, "bad_token"), what
        assert answer.headers["WWW-Authenticate"].startswith("Bearer"), what
    assert (await box.send("GET", ME, as_=alice)).status == 200


async def test_bytes_that_are_no_text_are_no_credential(box: Box) -> None:
    for header in (b"Authorization: Bearer \xff\xfe", b"Cookie: paas_portal_session=\xff\xfe"):
        reader, writer = await asyncio.open_connection("127.0.0.1", box.settings.portal_port)
        writer.write(
            b"GET /api/v1/auth/me HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + header + b"\r\n\r\n"
        )
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        assert answer.startswith(b"HTTP/1.1 401"), answer


async def test_tokens_and_sessions_run_out_by_our_clock(start_box: StartBox) -> None:
    clock = StillClock()
    async with start_box(clock=clock, jwt_ttl_hours=1, session_ttl_hours=2) as box:
        alice = await box.person("alice")
        session = await session_of(box)
        clock.forward(minutes=59)
        assert (await box.send("GET", ME, as_=alice)).status == 200
        clock.forward(minutes=2)
        assert (await box.send("GET", ME, as_=alice)).status == 401
        assert (await box.send("GET", ME, headers=cookie(box, session))).status == 200
        clock.forward(hours=1)
        assert (await box.send("GET", ME, headers=cookie(box, session))).status == 401


async def test_an_empty_secret_left_by_a_crash_is_replaced(start_box: StartBox) -> None:
    """Whoever could guess it could sign a token for anybody."""
    async with start_box() as box:
        await box.person("alice")
        file = box.settings.root / "secrets" / "jwt"
    file.write_text("")
    async with start_box() as box:
        assert len(file.read_text().strip()) >= 32
        assert file.stat().st_mode & 0o077 == 0
        await (await box.stranger()).log_in("alice")


# --- cookies


async def test_the_session_cookie_is_out_of_reach_of_scripts_and_other_sites(box: Box, alice: Api) -> None:
    answer = await box.send("POST", LOGIN, json={"username": "alice", "password": PASSWORD})
    morsel = SimpleCookie(answer.headers["Set-Cookie"])["paas_portal_session"]
    assert (morsel["httponly"], morsel["samesite"], morsel["path"]) == (True, "Lax", "/")
    assert int(morsel["max-age"]) == timedelta(hours=box.settings.session_ttl_hours).total_seconds()
    assert not morsel["secure"], "plain http at home"


@pytest.mark.parametrize(
    "update", [{"portal_cookie_secure": True}, {"paas_public_url": "https://example.com"}]
)
async def test_behind_https_the_cookie_says_so(start_box: StartBox, update: dict[str, Any]) -> None:
    async with start_box(**update) as box:
        await box.person("alice")
        answer = await box.send("POST", LOGIN, json={"username": "alice", "password": PASSWORD})
        assert "Secure" in answer.headers["Set-Cookie"]


async def test_only_a_hash_of_the_session_is_kept(box: Box, alice: Api) -> None:
    session = await session_of(box)
    with closing(sqlite3.connect(box.settings.database_path)) as connection:
        dump = "\n".join(connection.iterdump())
    assert session not in dump
    assert PASSWORD not in dump


async def test_logging_out_ends_the_session(box: Box, alice: Api) -> None:
    session = await session_of(box)
    answer = await box.send("POST", "/api/v1/auth/logout", headers=cookie(box, session))
    assert answer.status == 200
    assert SimpleCookie(answer.headers["Set-Cookie"])["paas_portal_session"]["max-age"] == "0"
    assert (await box.send("GET", ME, headers=cookie(box, session))).status == 401


_HOME = "http://127.0.0.1:{port}"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": _HOME}, 200),
        ({"Origin": _HOME, "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "http://alice-diary.localhost:{port}"}, 403),
        ({"Origin": "http://127.0.0.1"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
        ({"Origin": "http://["}, 403),
        ({"Origin": "//"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
async def test_with_a_cookie_nothing_is_changed_from_another_site(
    box: Box, alice: Api, headers: dict[str, str], status: int
) -> None:
    """Apps live on sub-domains of the same site: to a browser they are same-site."""
    session = await session_of(box)
    told = {name: value.format(port=box.settings.portal_port) for name, value in headers.items()}
    body = {"appname": "diary", "templateId": "nothing"}
    answer = await box.send("POST", "/api/v1/apps", headers=cookie(box, session, **told), json=body)
    assert answer.status == (400 if status == 200 else 403), answer.text
    assert answer.json["code"] == ("unknown_template" if status == 200 else "cross_site")
    assert (await box.send("GET", ME, headers=cookie(box, session, **told))).status == 200, (
        "reading is harmless"
    )


async def test_a_form_of_another_site_logs_nobody_in(box: Box, alice: Api) -> None:
    for path, body in (
        (LOGIN, {"username": "alice", "password": PASSWORD}),
        ("/api/v1/auth/register", registration("carol")),
    ):
        answer = await box.send("POST", path, data=body, headers={"Origin": "https://evil.example"})
        assert (answer.status, answer.json["code"]) == (403, "cross_site")


async def test_a_token_counts_before_a_cookie(box: Box, alice: Api, bob: Api) -> None:
    session = await session_of(box, "bobby")
    answer = await box.send("GET", ME, as_=alice, headers=cookie(box, session))
    assert answer.json["data"]["userid"] == "alice"


# --- the audit log


async def test_who_did_what_is_written_down(box: Box, alice: Api) -> None:
    await box.send("POST", LOGIN, json={"username": "alice", "password": "wrong password"})
    await alice.create("diary")
    with closing(sqlite3.connect(box.settings.database_path)) as connection:
        rows = connection.execute("SELECT via, action, target, outcome FROM audit ORDER BY id").fetchall()
    assert rows == [
        ("api", "account.register", "alice", "done"),
        ("api", "account.log-in", "alice", "done"),
        ("api", "account.log-in", "alice", "bad_credentials"),
        ("api", "app.create", "alice/diary", "asked"),
        ("api", "create.ended", "alice/diary", "done"),
    ]
