"""/chat over real sockets, with a scripted talk behind it; and its page in a real browser."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any

import aiohttp
import pytest
from aiohttp import WSCloseCode, WSMsgType
from playwright.async_api import Browser, Page, async_playwright, expect

from bot.browser import PAGE_HEADERS, BrowserSurface
from bot.conversation.model import Ask
from bot.talk import Surface
from bot.web.frames import NotUnderstood, read_frame
from bot.web.page import page, page_words, static_files
from bot.web.sockets import Recent, Unsent
from engine.words import translator
from tests.unit.scripted_talk import ChatServer, ScriptedTalk, button, link, serving, shown, steps

TOKEN = "t" * 43


@pytest.fixture
def talk() -> ScriptedTalk:
    return ScriptedTalk()


@pytest.fixture
async def server(talk: ScriptedTalk) -> AsyncIterator[ChatServer]:
    async with serving(talk) as running:
        yield running


class Client:
    """One window: what it received, and the frames in the order they came."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.ws = ws

    async def send(self, **fields: Any) -> None:
        await self.ws.send_json(fields)

    async def receive(self, kind: str = "") -> dict[str, Any]:
        """The next frame (of that type; acknowledgements are passed over)."""
        async with asyncio.timeout(10):
            while True:
                frame: dict[str, Any] = await self.ws.receive_json()
                if frame["type"] == kind or (not kind and frame["type"] != "ack"):
                    return frame

    async def closed(self) -> int | None:
        async with asyncio.timeout(10):
            while (await self.ws.receive()).type is WSMsgType.TEXT:
                pass
        return self.ws.close_code


@asynccontextmanager
async def connected(server: ChatServer) -> AsyncIterator[Client]:
    """A program that has not begun."""
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{server.url}/chat") as ws:
        yield Client(ws)


@asynccontextmanager
async def program(server: ChatServer, **begin: Any) -> AsyncIterator[Client]:
    async with connected(server) as client:
        await client.send(type="begin", program=True, **({"token": TOKEN} | begin))
        assert (await client.receive())["type"] == "welcome"
        yield client


class Window:
    """A browser's cookies, without the browser."""

    def __init__(self, server: ChatServer, session: aiohttp.ClientSession) -> None:
        self.server = server
        self.session = session

    async def load(self, **headers: str) -> aiohttp.ClientResponse:
        async with self.session.get(f"{self.server.url}/chat", headers=headers) as response:
            await response.read()
            return response

    @asynccontextmanager
    async def connected(self, *, origin: str | None = "", **begin: Any) -> AsyncIterator[Client]:
        headers = {} if origin is None else {"Origin": origin or self.server.url}
        async with self.session.ws_connect(f"{self.server.url}/chat", headers=headers) as ws:
            client = Client(ws)
            await client.send(type="begin", **begin)
            yield client


@pytest.fixture
async def window(server: ChatServer) -> AsyncIterator[Window]:
    jar = aiohttp.CookieJar(unsafe=True)  # cookies of an address in numbers too
    async with aiohttp.ClientSession(cookie_jar=jar) as session:
        yield Window(server, session)


# --- the page


async def test_the_page_comes_with_a_cookie_and_strict_headers(window: Window) -> None:
    response = await window.load()
    morsel = response.cookies["madang_chat"]
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", morsel.value)
    assert (morsel["path"], morsel["samesite"], morsel["httponly"]) == ("/chat", "Lax", True)
    assert int(morsel["max-age"]) == 365 * 24 * 3600
    assert not morsel["secure"]
    assert {name: response.headers[name] for name in PAGE_HEADERS} == PAGE_HEADERS


async def test_the_cookie_stays_the_same_and_lives_on(window: Window) -> None:
    first = (await window.load()).cookies["madang_chat"].value
    assert (await window.load()).cookies["madang_chat"].value == first


async def test_by_https_the_cookie_is_one_that_no_app_can_plant(window: Window) -> None:
    response = await window.load(**{"X-Forwarded-Proto": "https", "Cookie": f"madang_chat={TOKEN}"})
    morsel = response.cookies["__Host-madang_chat"]
    assert (morsel["path"], morsel["secure"], morsel["domain"]) == ("/", True, "")
    assert morsel.value != TOKEN


async def test_a_cookie_that_is_not_ours_is_replaced(window: Window) -> None:
    response = await window.load(Cookie="madang_chat=short")
    assert len(response.cookies["madang_chat"].value) == 43


@pytest.mark.parametrize(("wanted", "language"), [("ko-KR,ko;q=0.9", "ko"), ("en-GB", "en"), ("fr", "en")])
async def test_the_page_speaks_the_browsers_language(window: Window, wanted: str, language: str) -> None:
    async with window.session.get(
        f"{window.server.url}/chat", headers={"Accept-Language": wanted}
    ) as response:
        text = await response.text()
    assert f'<html lang="{language}">' in text
    assert page_words(translator(language))["placeholder"] in text


async def test_the_page_names_every_outside_thing_by_its_content(window: Window) -> None:
    addresses = re.findall(r'(?:src|href)="([^"]+)"', page("ko"))
    assert {address.split("?")[0] for address in addresses} == {
        "/chat/static/mark.svg", "/chat/static/chat.css", "/chat/static/chat.js",
    }  # fmt: skip
    for address in addresses:
        async with window.session.get(window.server.url + address) as response:
            assert response.status == 200
            assert "immutable" in response.headers["Cache-Control"]


async def test_a_file_without_its_hash_is_asked_for_again_but_sent_once(window: Window) -> None:
    address = f"{window.server.url}/chat/static/view.js"
    async with window.session.get(address) as response:
        assert response.headers["Cache-Control"] == "no-cache"
        assert response.content_type == "text/javascript"
        etag = response.headers["ETag"]
    async with window.session.get(address, headers={"If-None-Match": etag}) as response:
        assert (response.status, await response.read()) == (304, b"")


@pytest.mark.parametrize("name", ["nothing.js", "..%2Fpage.py", "%2e%2e%2fpage.py"])
async def test_there_are_no_other_files(window: Window, name: str) -> None:
    async with window.session.get(f"{window.server.url}/chat/static/{name}") as response:
        assert response.status == 404


def test_modules_load_only_each_other() -> None:
    for name, file in static_files().items():
        for wanted in re.findall(r'from "\./([^"]+)"', file.body.decode()):
            assert wanted in static_files(), f"{name} wants {wanted}"
        assert not re.search(r"https?://(?!www\.w3\.org)[\w.]", file.body.decode())


# --- who may connect


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example", "http://minsu-diary.localhost:8080", "null", "file://", "http://127.0.0.1:1", "::", "http://[",
        "",
    ],
)  # fmt: skip
async def test_another_origin_is_refused(window: Window, origin: str) -> None:
    await window.load()
    with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
        await window.session.ws_connect(f"{window.server.url}/chat", headers={"Origin": origin})
    assert refusal.value.status == 403


async def test_an_origin_by_http_is_refused_where_the_page_came_by_https(window: Window) -> None:
    headers = {"X-Forwarded-Proto": "https", "Host": "chat.example"}
    for origin, welcome in (("http://chat.example", False), ("https://chat.example", True)):
        try:
            ws = await window.session.ws_connect(
                f"{window.server.url}/chat", headers={**headers, "Origin": origin}
            )
        except aiohttp.WSServerHandshakeError:
            assert not welcome
        else:
            assert welcome
            await ws.close()


async def test_https_that_ended_before_us_is_fine(window: Window) -> None:
    headers = {"Host": "chat.example", "Origin": "https://chat.example:443"}
    async with window.session.ws_connect(f"{window.server.url}/chat", headers=headers) as ws:
        assert not ws.closed


async def test_without_an_origin_the_cookie_counts_for_nothing(window: Window) -> None:
    await window.load()
    async with window.connected(origin=None) as client:
        assert (await client.receive())["code"] == "no_cookie"
    async with window.connected(origin=None, program=True) as client:
        token = (await client.receive("welcome"))["token"]
    assert token not in {cookie.value for cookie in window.session.cookie_jar}


async def test_a_browser_is_known_by_its_cookie(window: Window, talk: ScriptedTalk) -> None:
    secret = (await window.load()).cookies["madang_chat"].value
    async with window.connected(locale="ko") as client:
        assert await client.receive() == {"type": "welcome", "locale": "ko"}
        await client.receive("screen")
    assert talk.heard == [("browser", "begin", "ko")]
    assert talk.addresses == [sha256(secret.encode()).hexdigest()]


async def test_a_program_is_given_a_token_and_known_by_it(server: ChatServer, talk: ScriptedTalk) -> None:
    async with connected(server) as client:
        await client.send(type="begin", program=True, locale="en-GB")
        welcome = await client.receive()
        assert (welcome["type"], welcome["locale"]) == ("welcome", "en")
        await client.receive("screen")
    async with program(server, token=welcome["token"]) as again:
        await again.receive("screen")
    assert [name for name, *_ in talk.heard] == ["terminal", "terminal"]
    assert set(talk.addresses) == {sha256(welcome["token"].encode()).hexdigest()}


@pytest.mark.parametrize("token", ["short", "x" * 31, "ö" * 40, "x" * 129])
async def test_a_token_that_could_be_guessed_is_refused(server: ChatServer, token: str) -> None:
    async with connected(server) as client:
        await client.send(type="begin", program=True, token=token)
        assert (await client.receive())["code"] in {"bad_token", "too_long"}
        await client.send(type="begin", program=True)
        assert (await client.receive())["type"] == "welcome"


async def test_a_chat_has_so_many_windows_and_no_more(
    server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.browser._SOCKETS_MAX", 1)
    async with program(server), connected(server) as client:
        await client.send(type="begin", program=True, token=TOKEN)
        assert (await client.receive())["code"] == "too_many"


# --- saying and being shown


async def test_a_screen_has_everything_the_talk_shows(server: ChatServer, talk: ScriptedTalk) -> None:
    talk.script["card"] = shown(
        "켜져 있어요",
        [button("끄기", "s.0", style="danger"), link("열기", "http://a.localhost/", style="primary")],
        title="diary", code="log", ask=Ask("diary"), progress=steps("하나", "둘", done=1), elapsed_s=1.5,
    )  # fmt: skip
    async with program(server) as client:
        await client.receive("screen")
        await client.send(type="say", text="card", id="1")
        frame = await client.receive("screen")
        assert await client.receive("ack") == {"type": "ack", "id": "1"}
    assert frame["replaces"] is False
    assert frame["locale"] == "ko"
    assert frame["screen"] == {
        "title": "diary",
        "text": "켜져 있어요",
        "code": "log",
        "buttons": [
            [
                {"label": "끄기", "id": "s.0", "style": "danger"},
                {"label": "열기", "url": "http://a.localhost/", "style": "primary"},
            ]
        ],
        "ask": {"placeholder": "diary"},
        "progress": [{"label": "하나", "state": "done"}, {"label": "둘", "state": "now"}],
        "elapsed_s": 1.5,
    }


async def test_a_press_may_be_answered_in_place(server: ChatServer, talk: ScriptedTalk) -> None:
    async def again(surface: Surface, address: str, ref: str | None) -> None:
        assert await surface.show(address, shown("refreshed"), ref) == ref

    talk.script["s.0"] = again
    async with program(server) as client:
        first = await client.receive("screen")
        await client.send(type="press", button="s.0", message=first["message"], id="1")
        second = await client.receive("screen")
    assert (second["message"], second["replaces"]) == (first["message"], True)
    assert talk.heard[-1] == ("terminal", "press", "s.0")


async def test_every_window_of_a_person_is_shown_every_screen_and_nobody_elses(server: ChatServer) -> None:
    async with program(server) as one, program(server) as two, program(server, token="o" * 43) as other:
        assert [(await client.receive("screen"))["redraw"] for client in (one, two, other)] == [True] * 3
        await one.send(type="say", text="hello", id="1")
        assert await one.receive("screen") == await two.receive("screen")
        await other.send(type="say", text="mine", id="1")  # another's frame may have the same id
        assert (await other.receive("screen"))["screen"]["text"] == "“mine”"


async def test_one_window_beginning_shows_the_others_nothing(server: ChatServer) -> None:
    async with program(server) as one:
        await one.receive("screen")
        async with program(server) as two:
            await two.receive("screen")
            await one.send(type="say", text="next", id="1")
            assert (await one.receive("screen"))["screen"]["text"] == "“next”"


async def test_the_progress_that_a_redrawn_screen_watches_is_for_everyone(
    server: ChatServer, talk: ScriptedTalk
) -> None:
    async def begin(surface: Surface, address: str, ref: str | None) -> None:
        ref = await surface.show(address, shown("making"), None)
        await surface.show(address, shown("made"), ref)

    async with program(server) as one:
        await one.receive("screen")
        talk.script["begin"] = begin
        async with program(server) as two:
            while (await two.receive("screen"))["screen"]["text"] != "made":
                pass
            assert (await one.receive("screen"))["screen"]["text"] == "made"


async def test_with_nobody_there_a_screen_is_dropped() -> None:
    surface = BrowserSurface()
    first, second = [await surface.show("a", shown("x"), None) for _ in range(2)]
    assert first
    assert second
    assert first != second


# --- coming back


async def test_who_comes_back_gets_what_was_missed_and_no_redraw(
    server: ChatServer, talk: ScriptedTalk
) -> None:
    async with program(server) as client:
        first = await client.receive("screen")
    address = talk.addresses[0]
    ref = await server.terminal.show(address, shown("making"), None)
    await server.terminal.show(address, shown("made"), ref)
    async with program(server, mark=first["mark"], id="b") as client:
        missed = await client.receive("screen")
        assert (missed["message"], missed["screen"]["text"]) == (ref, "made")
        await client.receive("ack")
    async with program(server, mark=missed["mark"], id="b") as client:
        assert (await client.receive("ack")) == {"type": "ack", "id": "b"}
    assert len(talk.heard) == 1


async def test_after_a_restart_the_redraw_says_that_it_is_one(server: ChatServer, talk: ScriptedTalk) -> None:
    async with program(server) as client:
        mark = (await client.receive("screen"))["mark"]
    await server.stop()
    await server.start()
    async with program(server, mark=mark) as client:
        frame = await client.receive("screen")
    assert (frame["redraw"], frame["replaces"]) == (True, False)
    assert len(talk.heard) == 2


async def test_a_frame_sent_again_acts_once(server: ChatServer, talk: ScriptedTalk) -> None:
    for _ in range(2):
        async with program(server) as client:
            await client.send(type="say", text="diary", id="1")
            await client.receive("ack")
    assert talk.heard.count(("terminal", "say", "diary")) == 1


async def test_what_was_taken_in_is_done_though_the_client_left(
    server: ChatServer, talk: ScriptedTalk
) -> None:
    go, done = asyncio.Event(), asyncio.Event()

    async def slow(surface: Surface, address: str, ref: str | None) -> None:
        await go.wait()
        done.set()

    talk.script["slow"] = slow
    async with program(server) as client:
        await client.send(type="say", text="slow", id="1")
        await talk.until_heard("terminal", "say", "slow")
    go.set()
    async with asyncio.timeout(10):
        await done.wait()


async def test_stopping_asks_clients_to_come_again(server: ChatServer) -> None:
    async with program(server) as client:
        closing = asyncio.create_task(client.closed())
        await server.stop()
        assert await closing == WSCloseCode.GOING_AWAY
    await server.start()


def test_only_so_much_is_remembered() -> None:
    recent = Recent()
    first = recent.add("a", {"message": "0"})
    for number in range(1, 20):
        recent.add("a", {"message": str(number)})
    missed, whole = recent.since("a", first["mark"])
    assert ([frame["message"] for frame in missed], whole) == ([str(n) for n in range(12, 20)], True)
    assert recent.since("a", "") == ([], False)
    assert recent.since("b", first["mark"]) == ([], False)
    for number in range(500):
        recent.add(f"other {number}", {"message": "x"})
    assert recent.since("a", first["mark"]) == ([], False)


# --- slow clients


async def test_the_newest_state_of_a_message_takes_the_place_of_one_not_sent() -> None:
    unsent = Unsent()
    screen = {"type": "screen", "message": "m", "replaces": False, "mark": "e.1", "screen": 1}
    assert unsent.put("m", screen)
    assert unsent.put("other", {"type": "ack"})
    assert unsent.put("m", screen | {"replaces": True, "mark": "e.3", "screen": 2})
    assert await unsent.take() == screen | {"screen": 2}
    assert await unsent.take() == {"type": "ack"}


async def test_a_client_that_does_not_read_holds_up_nobody_and_is_cut_off(
    server: ChatServer, talk: ScriptedTalk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.browser.CLOSE_TIMEOUT_S", 0.1)
    monkeypatch.setattr("bot.web.sockets.CLOSE_TIMEOUT_S", 0.1)
    reader, writer = await _deaf_client(server)
    await talk.until_heard("terminal", "begin", "en")
    address = talk.addresses[0]
    async with asyncio.timeout(20):
        while server.terminal._sockets.get(address):
            await server.terminal.show(address, shown("x" * 100_000), None)
            await asyncio.sleep(0)  # lets the sender run
    del reader
    writer.transport.abort()


async def _deaf_client(server: ChatServer) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Begins, and reads nothing after that."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rsplit(":", 1)[1]), limit=1024)
    writer.write(
        b"GET /chat HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    payload = json.dumps({"type": "begin", "program": True, "token": TOKEN}).encode()
    writer.write(bytes([0x81, 0x80 | len(payload), 0, 0, 0, 0]) + payload)  # a mask of zeros changes nothing
    await writer.drain()
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    return reader, writer


# --- what is not understood


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ("", "bad_json"), ("{", "bad_json"), ("[" * 10_000, "bad_json"), ("[]", "bad_frame"), ("null", "bad_frame"),
        ('{"type": "dance"}', "bad_frame"), ('{"type": ["say"]}', "bad_frame"), ('{"type": "say", "text": "x"}', "bad_frame"),
        ('{"type": "say", "text": 1, "id": "a"}', "bad_frame"), ('{"type": "say", "text": "x", "id": "a b"}', "bad_frame"),
        ('{"type": "say", "text": "x", "id": 7}', "bad_frame"), ('{"type": "press", "id": "a"}', "bad_frame"),
        ('{"type": "press", "id": "a", "button": "b", "message": "%s"}' % ("m" * 65), "bad_frame"),
        ('{"type": "say", "id": "a", "text": "%s"}' % ("x" * 4001), "too_long"),
        ('{"type": "say", "id": "a", "text": "%s"}' % ("한" * 6000), "too_large"),
    ],
)  # fmt: skip
def test_a_frame_that_is_not_understood(data: str, code: str) -> None:
    with pytest.raises(NotUnderstood) as fault:
        read_frame(data)
    assert fault.value.code == code


def test_half_a_letter_does_not_reach_the_database() -> None:
    frame = read_frame('{"type": "say", "id": "a", "text": "\\ud83d!"}')
    assert getattr(frame, "text", None) == "?!"


async def test_garbage_is_answered_and_the_connection_stays(server: ChatServer) -> None:
    async with program(server) as client:
        await client.receive("screen")
        for data, frame_id in (("{", None), ("[]", None), ('{"type": "say", "text": 1, "id": "q"}', "q")):
            await client.ws.send_str(data)
            error = await client.receive()
            assert (error["type"], error["id"]) == ("error", frame_id)
            assert error["text"]
        await client.ws.send_bytes(b"\x00")
        assert (await client.receive())["code"] == "bad_frame"
        await client.send(type="say", text="still there", id="1")
        assert (await client.receive("screen"))["screen"]["text"] == "“still there”"


async def test_nothing_goes_before_begin_and_begin_goes_once(server: ChatServer, talk: ScriptedTalk) -> None:
    async with connected(server) as client:
        await client.send(type="say", text="hello", id="1")
        assert (await client.receive())["code"] == "not_begun"
        await client.send(type="begin", program=True)
        await client.receive("screen")
        await client.send(type="begin", program=True)
        assert (await client.receive())["code"] == "bad_frame"
    assert len(talk.heard) == 1


async def test_who_does_not_begin_is_let_go(server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.browser._BEGIN_TIMEOUT_S", 0.05)
    async with connected(server) as client:
        assert await client.closed() is not None


async def test_too_many_at_once_are_refused_and_then_the_connection_is_closed(
    server: ChatServer, talk: ScriptedTalk
) -> None:
    async with program(server) as client:
        await client.receive("screen")
        codes = set()
        closed = asyncio.create_task(client.closed())
        for number in range(1000):
            if client.ws.closed:
                break
            try:
                await client.send(type="say", text="x", id=str(number))
            except ConnectionError:
                break
        codes.add(await closed)
    assert codes == {WSCloseCode.POLICY_VIOLATION}
    assert len(talk.heard) < 100


async def test_a_frame_beyond_all_measure_closes_the_connection(server: ChatServer) -> None:
    async with program(server) as client:
        await client.receive("screen")
        await client.send(type="say", text="x" * 20_000, id="1")
        assert (await client.receive())["code"] == "too_large"
        await client.send(type="say", text="x" * 300_000, id="2")
        assert await client.closed() == WSCloseCode.MESSAGE_TOO_BIG


async def test_a_bug_is_answered_and_noted(
    server: ChatServer, talk: ScriptedTalk, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(surface: Surface, address: str, ref: str | None) -> None:
        raise ZeroDivisionError

    talk.script["broken"] = broken
    async with program(server) as client:
        await client.receive("screen")
        await client.send(type="say", text="broken", id="1")
        error = await client.receive()
        assert (error["code"], error["id"]) == ("internal", "1")
        await client.send(type="say", text="on", id="2")
        await client.receive("screen")
    assert "ZeroDivisionError" in caplog.text


# --- the page in a real browser


@pytest.fixture
async def chromium() -> AsyncIterator[Browser]:
    switches = (
        "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync"
    )
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=[*switches.split(), "--no-first-run"]
        )
        yield browser
        await browser.close()


@pytest.fixture
async def chat(server: ChatServer, chromium: Browser) -> AsyncIterator[Page]:
    """The page in Korean on a desktop; it must not log an error of its own."""
    context = await chromium.new_context(locale="ko-KR", viewport={"width": 1280, "height": 800})
    page = await context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    await page.goto(f"{server.url}/chat")
    await expect(page.locator(".from-madang")).to_have_count(1)
    yield page
    await context.close()
    assert [fault for fault in faults if "ERR_CONNECTION_REFUSED" not in fault] == []


@pytest.mark.chromium
async def test_the_page_greets_and_what_is_typed_appears_at_once(chat: Page, talk: ScriptedTalk) -> None:
    await expect(chat.locator(".from-madang .bubble p")).to_have_text("안녕하세요!")
    await expect(chat.locator("#text")).to_have_attribute("placeholder", "minsu")
    await expect(chat.locator("#text")).to_be_focused()
    await chat.keyboard.type("<b>minsu</b>")
    await chat.keyboard.press("Enter")
    await expect(chat.locator(".from-person .bubble")).to_contain_text("<b>minsu</b>")
    await expect(chat.locator(".here .bubble p")).to_have_text("“<b>minsu</b>”")
    await expect(chat.locator("#text")).to_have_value("")
    assert await chat.evaluate("document.documentElement.lang") == "ko"


@pytest.mark.chromium
async def test_a_pressed_choice_is_said_and_older_ones_can_be_pressed_still(
    chat: Page, talk: ScriptedTalk
) -> None:
    talk.script["menu"] = shown("메뉴", [button("만들기", "s.0", style="primary"), button("내 것", "s.1")])
    await chat.fill("#text", "menu")
    await chat.keyboard.press("Enter")
    await chat.get_by_role("button", name="만들기").click()
    await expect(chat.locator(".here .bubble p")).to_have_text("“s.0”")
    await expect(chat.locator(".from-person").nth(1)).to_contain_text("만들기")
    await expect(chat.locator("#text")).to_be_focused()
    await chat.get_by_role("button", name="내 것").click()
    await expect(chat.locator(".here .bubble p")).to_have_text("“s.1”")


@pytest.mark.chromium
async def test_an_answer_in_place_leaves_no_bubble(chat: Page, talk: ScriptedTalk) -> None:
    async def refreshed(surface: Surface, address: str, ref: str | None) -> None:
        await surface.show(address, shown("이제", [button("새로고침", "s.1")]), ref)

    talk.script["card"] = shown("아까", [button("새로고침", "s.0")])
    talk.script["s.0"] = refreshed
    await chat.fill("#text", "card")
    await chat.keyboard.press("Enter")
    await chat.get_by_role("button", name="새로고침").click()
    await expect(chat.locator(".here .bubble p")).to_have_text("이제")
    await expect(chat.locator(".from-person")).to_have_count(1)
    await expect(chat.locator(".from-madang")).to_have_count(2)


@pytest.mark.chromium
async def test_progress_moves_in_place_and_is_announced(
    chat: Page, talk: ScriptedTalk, server: ChatServer
) -> None:
    address = talk.addresses[0]
    labels = ("파일 준비하기", "프로그램 켜기")
    first = shown("", title="만드는 중…", progress=steps(*labels, done=0), elapsed_s=1.2)
    ref = await server.browser.show(address, first, None)
    await expect(chat.locator(".progress .now")).to_contain_text("파일 준비하기")
    list_before = await chat.locator(".progress").element_handle()
    second = shown("", title="만드는 중…", progress=steps(*labels, done=1), elapsed_s=65)
    await server.browser.show(address, second, ref)
    await expect(chat.locator(".progress .now")).to_contain_text("프로그램 켜기")
    await expect(chat.locator(".progress .done")).to_have_count(1)
    await expect(chat.locator("#step")).to_have_text("프로그램 켜기")
    minutes = page_words(translator("ko"))["minutes"].format(minutes=1, seconds=5)
    await expect(chat.locator(".elapsed")).to_have_text(minutes)
    assert list_before is not None
    assert await list_before.evaluate("node => node.isConnected")  # the spinner did not begin anew
    opening = link("열기", "http://minsu-diary.localhost:8080/#key=secret", style="primary")
    await server.browser.show(address, shown("다 됐어요", [opening]), ref)
    await expect(chat.locator(".here .bubble p")).to_have_text("다 됐어요")
    await expect(chat.locator(".from-madang")).to_have_count(2)
    anchor = chat.locator(".here a.choice")
    assert await anchor.get_attribute("rel") == "noopener noreferrer"
    assert await anchor.get_attribute("href") == "http://minsu-diary.localhost:8080/#key=secret"
    await expect(anchor.locator(".address")).to_have_text("minsu-diary.localhost:8080")


@pytest.mark.chromium
async def test_nothing_that_is_shown_is_taken_for_html_or_a_script(chat: Page, talk: ScriptedTalk) -> None:
    evil = "<img src=x onerror=document.title='evil'>"
    opening = link("열기", "javascript:document.title='evil'")
    talk.script["evil"] = shown(evil, [button(evil), opening], title=evil, code=evil)
    await chat.fill("#text", "evil")
    await chat.keyboard.press("Enter")
    await expect(chat.locator(".here pre")).to_have_text(evil)
    await expect(chat.locator(".here h2")).to_have_text(evil)
    assert await chat.locator(".log img, .log a").count() == 0


@pytest.mark.chromium
async def test_a_lost_connection_comes_back_with_what_was_typed_meanwhile(
    chat: Page, talk: ScriptedTalk, server: ChatServer
) -> None:
    await server.stop()
    await expect(chat.locator("#lost")).to_be_visible()
    await chat.fill("#text", "diary")
    await chat.keyboard.press("Enter")
    await expect(chat.locator(".from-person")).to_have_count(1)
    await server.start()
    await expect(chat.locator("#lost")).to_be_hidden(timeout=15_000)
    await expect(chat.locator(".here .bubble p")).to_have_text("“diary”")
    await expect(chat.locator(".from-madang")).to_have_count(2)  # the greeting was not said twice
    assert talk.heard.count(("browser", "say", "diary")) == 1


@pytest.mark.chromium
async def test_everything_can_be_done_with_the_keyboard(chat: Page, talk: ScriptedTalk) -> None:
    rows = [button("만들기", "s.0")], [button("내 것", "s.1"), button("설정", "s.2")]
    talk.script["menu"] = shown("메뉴", *rows)
    await chat.keyboard.type("menu")
    await chat.keyboard.press("Enter")
    await expect(chat.locator(".choice")).to_have_count(3)
    await chat.keyboard.press("ArrowUp")
    await expect(chat.get_by_role("button", name="만들기")).to_be_focused()
    await chat.keyboard.press("ArrowDown")
    await chat.keyboard.press("Enter")
    await expect(chat.locator(".here .bubble p")).to_have_text("“s.1”")
    await expect(chat.locator("#text")).to_be_focused()
    await chat.keyboard.press("Shift+Tab")  # the other way out of the composer
    await expect(chat.get_by_role("button", name="설정")).to_be_focused()
    await chat.keyboard.type("x")
    await expect(chat.locator("#text")).to_have_value("x")


@pytest.mark.chromium
async def test_enter_that_ends_a_korean_syllable_sends_nothing(chat: Page, talk: ScriptedTalk) -> None:
    session = await chat.context.new_cdp_session(chat)
    await session.send("Input.imeSetComposition", {"text": "한", "selectionStart": 1, "selectionEnd": 1})
    await chat.evaluate(
        """() => document.getElementById("text").dispatchEvent(
            new KeyboardEvent("keydown", {key: "Enter", isComposing: true, bubbles: true, cancelable: true}))"""
    )
    await session.send("Input.insertText", {"text": "한"})
    await chat.keyboard.press("Enter")
    await expect(chat.locator(".here .bubble p")).to_have_text("“한”")
    assert [heard for heard in talk.heard if heard[1] == "say"] == [("browser", "say", "한")]


@pytest.mark.chromium
async def test_the_page_follows_the_language_of_the_talk(chat: Page, talk: ScriptedTalk) -> None:
    talk.script["english"] = shown("Hello", locale="en")
    await chat.fill("#text", "english")
    await chat.keyboard.press("Enter")
    await expect(chat.locator("html")).to_have_attribute("lang", "en")
    await expect(chat.locator("#text")).to_have_attribute("placeholder", "Write a message")
    await expect(chat.locator(".composer .send")).to_have_attribute("aria-label", "Send")


@pytest.mark.chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_on_a_phone_all_fits_and_can_be_hit_and_read(
    server: ChatServer, talk: ScriptedTalk, chromium: Browser, scheme: str
) -> None:
    talk.script["menu"] = shown(
        "http://" + "a" * 200 + ".localhost",
        [button("하나", "s.0", style="primary"), button("둘", "s.1"), button("셋", "s.2", style="danger")],
        [link("열기", "http://minsu-diary.localhost:8080/")],
        code="x" * 500,
    )
    context = await chromium.new_context(
        viewport={"width": 360, "height": 640}, color_scheme="dark" if scheme == "dark" else "light"
    )
    page = await context.new_page()
    await page.goto(f"{server.url}/chat")
    for _ in range(2):
        await page.fill("#text", "menu")
        await page.keyboard.press("Enter")
    await expect(page.locator(".choice")).to_have_count(8)
    await page.evaluate("Promise.all(document.getAnimations().map(a => a.finished))")
    assert await page.evaluate("document.getElementById('log').scrollWidth") <= 360
    low = await page.evaluate(
        """[...document.querySelectorAll("button, a.choice")].filter(node => node.checkVisibility())
            .filter(node => node.getBoundingClientRect().height < 44).map(node => node.outerHTML)"""
    )
    assert low == []
    assert await page.evaluate(_CONTRASTS) == []
    await context.close()


# Texts with less contrast to what is behind them than WCAG's AA asks for.
_CONTRASTS = """() => {
  const parse = (c) => c.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const f = (v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b);
  };
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const c = parse(getComputedStyle(node).backgroundColor);
      if (c.length < 4 || c[3] > 0) return c;
    }
  };
  const faults = [];
  for (const node of document.querySelectorAll(".bubble, .bubble *, .choice, .choice *, .copy, h1")) {
    if (node.closest(".unseen") || !node.textContent.trim()) continue;
    const [a, b] = [light(parse(getComputedStyle(node).color)), light(behind(node))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) faults.push(`${node.className} ${ratio.toFixed(2)}`);
  }
  return faults;
}"""
