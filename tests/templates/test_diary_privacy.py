"""A diary is its owner's: the key, the cookie, other people's pages, and a diary without a key."""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.templates.conftest import KEY, Api, Program, Start

PRIVATE = [
    ("GET", "/api/entries"),
    ("POST", "/api/entries"),
    ("GET", "/api/entries/1"),
    ("PUT", "/api/entries/1"),
    ("DELETE", "/api/entries/1"),
    ("POST", "/api/entries/1/restore"),
    ("GET", "/api/calendar?month=2026-05"),
    ("GET", "/api/memories"),
    ("GET", "/api/export"),
    ("GET", "/api/nothing"),
    ("GET", "/api"),
    ("POST", "/logout"),
]


async def log_in(
    session: aiohttp.ClientSession, diary: Program, key: str = KEY
) -> tuple[int, Mapping[str, str]]:
    async with session.post(diary.url + "/login", json={"key": key}) as response:
        return response.status, response.headers


@pytest.mark.parametrize(("method", "path"), PRIVATE)
async def test_nothing_is_open_to_strangers(stranger: Api, method: str, path: str) -> None:
    status, answer = await stranger(method, path, {"body": "x"} if method in {"POST", "PUT"} else None)
    assert (status, answer["code"]) == (401, "login_required")


@pytest.mark.parametrize("credentials", ["Bearer wrong", "Bearer ", "Bearer", "Basic " + KEY, KEY])
async def test_a_wrong_key_opens_nothing(stranger: Api, credentials: str) -> None:
    assert (await stranger("GET", "/api/entries", Authorization=credentials))[0] == 401


async def test_visitors_meet_the_log_in_page_and_no_entry(
    api: Api, diary: Program, browser_session: aiohttp.ClientSession
) -> None:
    await api.ok("POST", "/api/entries", {"body": "아무도 모르는 이야기"})
    async with browser_session.get(diary.url + "/") as response:
        text = await response.text()
    assert response.status == 200
    assert response.headers["Cache-Control"] == "no-store"
    assert 'id="login"' in text
    assert "아무도" not in text


async def test_a_key_gives_a_cookie_and_the_cookie_opens_the_diary(
    diary: Program, browser_session: aiohttp.ClientSession
) -> None:
    status, headers = await log_in(browser_session, diary)
    cookie = headers["Set-Cookie"]
    assert status == 200
    for part in ("HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=31536000"):
        assert part in cookie
    assert "Secure" not in cookie  # http
    assert KEY not in cookie
    async with browser_session.get(diary.url + "/api/entries") as response:
        assert response.status == 200
    async with browser_session.get(diary.url + "/") as response:
        assert "editor-template" in await response.text()


async def test_on_https_the_cookie_is_secure_and_bound_to_the_host(
    diary: Program, browser_session: aiohttp.ClientSession
) -> None:
    await diary.stop()
    await diary.start(PUBLIC_URL="https://alice-diary.example.com")
    _, headers = await log_in(browser_session, diary)
    assert headers["Set-Cookie"].startswith("__Host-diary=")
    assert "Secure" in headers["Set-Cookie"]


async def test_a_link_with_the_key_logs_in_and_leaves_the_address_clean(
    diary: Program, browser_session: aiohttp.ClientSession
) -> None:
    async with browser_session.get(f"{diary.url}/?key={KEY}", allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (303, "/")
        assert "Set-Cookie" in response.headers
    async with browser_session.get(f"{diary.url}/?key=wrong", allow_redirects=False) as response:
        assert response.status == 401
        assert "열쇠가 맞지 않아요" in await response.text()


async def test_the_form_works_without_javascript(
    diary: Program, browser_session: aiohttp.ClientSession
) -> None:
    async with browser_session.post(
        diary.url + "/login", data={"key": f" {KEY}\n"}, allow_redirects=False
    ) as response:
        assert (response.status, response.headers["Location"]) == (303, "/")
    async with browser_session.get(diary.url + "/") as response:
        assert "editor-template" in await response.text()


async def test_logging_out_takes_the_cookie_back(
    diary: Program, browser_session: aiohttp.ClientSession
) -> None:
    await log_in(browser_session, diary)
    async with browser_session.post(diary.url + "/logout", headers={"Origin": diary.url}) as response:
        assert response.status == 200
    async with browser_session.get(diary.url + "/api/entries") as response:
        assert response.status == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, 201),
        ({"Origin": "SELF"}, 201),
        ({"Sec-Fetch-Site": "same-site", "Origin": "SELF"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "none"}, 403),
        ({"Origin": "http://bob-page.example.com"}, 403),
        ({"Origin": "null"}, 403),
        ({}, 403),
    ],
)
async def test_a_cookie_writes_only_from_our_own_page(
    diary: Program, browser_session: aiohttp.ClientSession, headers: dict[str, str], status: int
) -> None:
    await log_in(browser_session, diary)
    sent = {name: diary.url if value == "SELF" else value for name, value in headers.items()}
    as_browser = Api(browser_session, diary.url, sent)
    assert (await as_browser("POST", "/api/entries", {"body": "x"}))[0] == status
    total = (await as_browser.ok("GET", "/api/entries"))["total"]
    assert total == (1 if status == 201 else 0)


async def test_a_session_outlives_a_restart_but_not_a_new_key(
    diary: Program, browser_session: aiohttp.ClientSession
) -> None:
    await log_in(browser_session, diary)
    await diary.stop()
    await diary.start()
    async with browser_session.get(diary.url + "/api/entries") as response:
        assert response.status == 200
    await diary.stop()
    await diary.start(OWNER_KEY_SHA256=hashlib.sha256(b"new key").hexdigest())
    async with browser_session.get(diary.url + "/api/entries") as response:
        assert response.status == 401
    assert (await log_in(browser_session, diary))[0] == 401
    assert (await log_in(browser_session, diary, "new key"))[0] == 200


async def test_a_cookie_of_another_diary_or_of_ones_own_making_does_not_count(
    diary: Program, browser_session: aiohttp.ClientSession
) -> None:
    await log_in(browser_session, diary)
    [cookie] = browser_session.cookie_jar
    issued, _, signature = cookie.value.partition(".")
    stranger_made = ["", ".", f"{issued}.", f"{int(issued) + 1}.{signature}", f"{issued}.{'0' * 64}", "é.é"]
    for value in stranger_made:
        sent = Api(browser_session, diary.url, {"Cookie": f"diary_session={value}"})
        browser_session.cookie_jar.clear()
        assert (await sent("GET", "/api/entries"))[0] == 401, value
    sent = Api(browser_session, diary.url, {"Cookie": f"diary_session={cookie.value}"})
    assert (await sent("GET", "/api/entries"))[0] == 200


async def test_guessing_is_slowed_down_for_the_guesser_only(stranger: Api) -> None:
    guesser = {"X-Forwarded-For": "8.8.8.8, 203.0.113.9"}
    for _ in range(5):
        assert (await stranger("POST", "/login", {"key": "guess"}, **guesser))[0] == 401
    status, answer = await stranger("POST", "/login", {"key": KEY}, **guesser)
    assert (status, answer["code"]) == (429, "too_many_tries")
    assert (await stranger("GET", "/api/entries", Authorization=f"Bearer {KEY}", **guesser))[0] == 429
    # What a visitor writes in front of the address that nginx adds does not make them another visitor.
    moved = {"X-Forwarded-For": "1.1.1.1, 203.0.113.9"}
    assert (await stranger("POST", "/login", {"key": KEY}, **moved))[0] == 429
    owner = {"X-Forwarded-For": "198.51.100.7"}
    assert (await stranger("POST", "/login", {"key": KEY}, **owner))[0] == 200


@pytest.fixture
def access_module(diary_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(str(diary_folder))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # the engine copies this folder as it is
    yield importlib.import_module("diary.access")
    for name in [name for name in sys.modules if name.split(".")[0] == "diary"]:
        del sys.modules[name]


def test_waiting_doubles_ends_and_is_forgotten(access_module: Any) -> None:
    now = 1000.0
    attempts = access_module.Attempts(now=lambda: now)
    waits = []
    for _ in range(13):
        attempts.wrong("v")
        waits.append(attempts.wait_s("v"))
    assert waits == [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60]
    now += 60
    assert attempts.wait_s("v") == 0
    now += 900
    attempts.wrong("v")
    assert attempts.wait_s("v") == 0
    for number in range(2000):
        attempts.wrong(str(number))
    assert len(attempts._wrong) == attempts.MOST_VISITORS


@pytest.mark.parametrize("key_hash", ["", "not-a-hash", "0" * 63])
async def test_without_an_owner_key_nobody_comes_in(
    start_program: Start,
    diary_folder: Path,
    tmp_path: Path,
    browser_session: aiohttp.ClientSession,
    key_hash: str,
) -> None:
    locked = await start_program(
        diary_folder, ENABLE_API="true", SQLITE_PATH=str(tmp_path / "db"), OWNER_KEY_SHA256=key_hash
    )
    async with browser_session.get(locked.url + "/") as response:
        assert response.status == 503
        assert "열쇠" in await response.text()
    as_browser = Api(browser_session, locked.url, {"Origin": locked.url, "Authorization": "Bearer "})
    for method, path in [*PRIVATE, ("POST", "/login"), ("GET", "/healthz")]:
        status, answer = await as_browser(method, path, {"key": ""} if method == "POST" else None)
        assert (status, answer["code"]) == (503, "no_owner_key"), path
    async with browser_session.get(locked.url + "/?key=") as response:
        assert response.status == 503


async def test_a_typo_in_enable_api_stays_closed(
    start_program: Start, diary_folder: Path, tmp_path: Path, browser_session: aiohttp.ClientSession
) -> None:
    program = await start_program(diary_folder, ENABLE_API="flase", SQLITE_PATH=str(tmp_path / "db"))
    async with browser_session.get(program.url + "/api/entries") as response:
        assert response.status == 503


async def test_every_answer_is_hardened(diary: Program, browser_session: aiohttp.ClientSession) -> None:
    for path in (
        "/",
        "/healthz",
        "/api/entries",
        "/manifest.webmanifest",
        "/nothing",
        "/assets/x/js/main.js",
    ):
        async with browser_session.get(diary.url + path) as response:
            policy = response.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert response.headers["X-Frame-Options"] == "DENY"
            assert response.headers["Referrer-Policy"] == "no-referrer"


async def test_the_log_holds_neither_keys_nor_words(
    diary: Program, api: Api, browser_session: aiohttp.ClientSession
) -> None:
    await api.ok("POST", "/api/entries", {"body": "비밀 이야기"})
    await api("GET", "/api/entries?query=secretword")
    await log_in(browser_session, diary)
    async with browser_session.get(f"{diary.url}/?key={KEY}"):
        pass
    await diary.stop()
    log = "".join(diary.log)
    assert "listening" in log
    assert all(secret not in log for secret in (KEY, "비밀", "secretword"))
