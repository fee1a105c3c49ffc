"""The chat in the browser and in programs: JSON frames over a WebSocket (docs/chat-protocol.md), and the page itself.

The talk's state is in the database. What stands here is only who is connected now and the last screens of each chat,
so that a phone that slept for a minute gets what it missed. Losing it costs one redraw.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import re
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any, Final

from aiohttp import WSCloseCode, WSMessage, WSMsgType, web
from yarl import URL

from bot.talk import Shown, Surface, Talk
from bot.web.page import page, static_files
from engine.words import Translator, pick_locale, translator

log = logging.getLogger(__name__)

Frame = dict[str, Any]

_FRAME_MAX_BYTES: Final = 16 * 1024  # refused with words
_FRAME_CUT_BYTES: Final = 256 * 1024  # refused by closing the connection
_TEXT_MAX: Final = 4000
_RATE_PER_S: Final = 10.0
_BURST: Final = 30.0
_REFUSED_MAX: Final = 200  # frames refused one after another, before the connection is closed
_UNHANDLED_MAX: Final = 32
_UNSENT_MAX: Final = 64
_SOCKETS_MAX: Final = 16  # of one chat
_CHATS_MAX: Final = 500  # whose last screens are remembered
_SCREENS_MAX: Final = 8  # remembered of each
_BEGIN_TIMEOUT_S: Final = 10.0
_SEND_TIMEOUT_S: Final = 10.0
_CLOSE_TIMEOUT_S: Final = 2.0
_HEARTBEAT_S: Final = 20.0
_COOKIE_AGE_S: Final = 365 * 24 * 3600

# Apps live on sub-domains, from where a script may plant a cookie for the whole site. No sub-domain can plant one
# whose name begins with __Host-; browsers take those by https only, and for the path / only.
_COOKIE: Final = "madang_chat"
_COOKIE_HTTPS: Final = "__Host-madang_chat"

_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{32,128}")
_REFERENCE: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}")

PAGE_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Vary": "Accept-Language, Cookie",
}


# --- frames from a client


@dataclass(frozen=True, slots=True)
class Begin:
    """`mark` is that of the last screen the client got; `program` clients carry a token instead of a cookie."""

    id: str
    locale: str
    program: bool
    token: str
    mark: str


@dataclass(frozen=True, slots=True)
class Say:
    id: str
    text: str


@dataclass(frozen=True, slots=True)
class Press:
    id: str
    button: str
    message: str


class NotUnderstood(Exception):
    """A frame that is answered with an error. `id` is the frame's own, where it could be read."""

    def __init__(self, code: str, frame_id: str = "") -> None:
        self.code = code
        self.id = frame_id
        super().__init__(code)


def read_frame(data: str) -> Begin | Say | Press:
    """What a client's text frame says. Raises NotUnderstood."""
    if len(data.encode(errors="surrogatepass")) > _FRAME_MAX_BYTES:
        raise NotUnderstood("too_large")
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError):
        raise NotUnderstood("bad_json") from None
    if not isinstance(fields, dict):
        raise NotUnderstood("bad_frame")
    frame_id = _reference(fields, "id", required=fields.get("type") in {"say", "press"})
    try:
        return _read_fields(fields, frame_id)
    except NotUnderstood as refusal:
        raise NotUnderstood(refusal.code, frame_id) from None


def _read_fields(fields: Mapping[str, Any], frame_id: str) -> Begin | Say | Press:
    match fields.get("type"):
        case "begin":
            return Begin(
                frame_id,
                locale=_text(fields, "locale", 35),
                program=fields.get("program") is True,
                token=_text(fields, "token", 128),
                mark=_reference(fields, "mark", required=False),
            )
        case "say":
            return Say(frame_id, _text(fields, "text", _TEXT_MAX))
        case "press":
            return Press(
                frame_id,
                button=_reference(fields, "button", required=True),
                message=_reference(fields, "message", required=True),
            )
    raise NotUnderstood("bad_frame")


def _text(fields: Mapping[str, Any], name: str, longest: int) -> str:
    value = fields.get(name) or ""
    if not isinstance(value, str):
        raise NotUnderstood("bad_frame")
    if len(value) > longest:
        raise NotUnderstood("too_long")
    return value.encode(errors="replace").decode()  # half of a surrogate pair cannot be stored


def _reference(fields: Mapping[str, Any], name: str, *, required: bool) -> str:
    value = fields.get(name) or ""
    if not isinstance(value, str) or (value or required) and not _REFERENCE.fullmatch(value):
        raise NotUnderstood("bad_frame")
    return value


def _refusal(t: Translator, code: str) -> str:
    match code:
        case "too_large":
            return t.code(code, {"limit": _FRAME_MAX_BYTES})
        case "too_long":
            return t("That is too long; at most {limit} characters are taken.", limit=_TEXT_MAX)
        case "too_fast":
            return t("That was a little fast. Please wait a moment and try again.")
        case "too_many":
            return t("The chat is open in too many windows. Close some of them.")
        case "no_cookie":
            return t("This browser keeps no cookies for Madang. Allow them and load the page again.")
        case "not_begun":
            return t("The first frame of a connection is “begin”.")
        case "bad_token":
            return t("The token is not one that Madang gave. Begin without one to get a new one.")
        case "bad_json" | "bad_frame":
            return t("That was not understood.")
    return t.code("internal", {})


# --- frames to a client


class Unsent:
    """Frames on their way to one client. A newer state of a message takes the place of one not sent yet."""

    def __init__(self) -> None:
        self._frames: dict[str, Frame] = {}
        self._some = asyncio.Event()

    def put(self, key: str, frame: Frame) -> bool:
        """Whether there was room; a client that is so far behind is better cut off, and comes again."""
        older = self._frames.get(key)
        if older is None and len(self._frames) >= _UNSENT_MAX:
            return False
        if older is not None and frame["type"] == "screen":
            # The client has not heard of the message yet, and what waits behind has marks of its own.
            frame = frame | {"replaces": older["replaces"], "mark": older["mark"]}
        self._frames[key] = frame
        self._some.set()
        return True

    async def take(self) -> Frame:
        """The next frame, once there is one."""
        while not self._frames:
            self._some.clear()
            await self._some.wait()
        return self._frames.pop(next(iter(self._frames)))


class Recent:
    """The last screens of the chats that were shown something lately. A mark names a moment in that memory."""

    def __init__(self) -> None:
        self._epoch = secrets.token_urlsafe(6)
        self._numbers = itertools.count(1)
        self._chats: OrderedDict[str, OrderedDict[str, tuple[int, Frame]]] = OrderedDict()

    def add(self, address: str, frame: Frame) -> Frame:
        """The frame with its mark, remembered as its message's newest state."""
        number = next(self._numbers)
        frame = frame | {"mark": f"{self._epoch}.{number}"}
        screens = self._chats.setdefault(address, OrderedDict())
        screens[frame["message"]] = (number, frame)
        screens.move_to_end(frame["message"])
        self._chats.move_to_end(address)
        if len(screens) > _SCREENS_MAX:
            screens.popitem(last=False)
        if len(self._chats) > _CHATS_MAX:
            self._chats.popitem(last=False)
        return frame

    def since(self, address: str, mark: str) -> tuple[list[Frame], bool]:
        """What was shown after `mark`, and whether that is all the client needs to know where it stands."""
        epoch, _, number = mark.rpartition(".")
        screens = self._chats.get(address)
        if not epoch or screens is None:
            return [], False
        if epoch != self._epoch or not number.isdecimal():
            return [frame for _, frame in screens.values()], False
        return [frame for at, frame in screens.values() if at > int(number)], True


class Socket:
    """One connected client, as the surface sees it: sending never waits for it."""

    def __init__(self, ws: web.WebSocketResponse, transport: asyncio.Transport | None) -> None:
        self._ws = ws
        self._transport = transport
        self._unsent = Unsent()
        self._cut = asyncio.Event()

    def send(self, key: str, frame: Frame) -> None:
        if not self._unsent.put(key, frame):
            self._cut.set()

    async def write(self) -> None:
        """Sends until the client cannot be reached or is too far behind; the connection is closed then."""
        sending = asyncio.create_task(self._send_all())
        cut = asyncio.create_task(self._cut.wait())
        try:
            await asyncio.wait([sending, cut], return_when=asyncio.FIRST_COMPLETED)
        finally:
            sending.cancel()
            cut.cancel()
            await asyncio.gather(sending, cut, return_exceptions=True)
        await self.close(WSCloseCode.TRY_AGAIN_LATER)

    async def _send_all(self) -> None:
        with suppress(ConnectionError, TimeoutError):
            while True:
                frame = await self._unsent.take()
                async with asyncio.timeout(_SEND_TIMEOUT_S):
                    await self._ws.send_str(json.dumps(frame, ensure_ascii=False))

    async def close(self, code: int) -> None:
        """Says goodbye; a client that does not listen is cut off after a moment."""
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await self._ws.close(code=code)
        except (ConnectionError, TimeoutError):
            if self._transport is not None:
                self._transport.abort()


class BrowserSurface:
    """Shows screens to every open window of a chat. `name` tells browsers and programs apart."""

    def __init__(self, name: str = "browser") -> None:
        self.name = name
        self._sockets: dict[str, set[Socket]] = {}
        self._recent = Recent()

    async def show(self, address: str, shown: Shown, replaces: str | None) -> str | None:
        """See `Surface`. With nobody there it is dropped, but for what `Recent` keeps."""
        frame = self._frame(address, shown, replaces)
        for socket in self._sockets.get(address, ()):
            socket.send(frame["message"], frame)
        return str(frame["message"])

    def redraw_for(self, socket: Socket) -> Surface:
        """This surface for a talk's begin(): its answer is for the window that began."""
        return _Redraw(self, socket)

    def redraw(self, address: str, shown: Shown, replaces: str | None, socket: Socket) -> str:
        """Shows where the talk stands to one window only."""
        frame = self._frame(address, shown, replaces) | {"redraw": True}
        socket.send(frame["message"], frame)
        return str(frame["message"])

    def is_full(self, address: str) -> bool:
        """Whether the chat has as many windows as it may."""
        return len(self._sockets.get(address, ())) >= _SOCKETS_MAX

    def open(self, address: str, socket: Socket, mark: str) -> bool:
        """Shows the window everything from now on, and what came after `mark`. Whether that is all it needs to know
        where it stands."""
        self._sockets.setdefault(address, set()).add(socket)
        missed, whole = self._recent.since(address, mark)
        for frame in missed:
            socket.send(frame["message"], frame)
        return whole

    def leave(self, address: str, socket: Socket) -> None:
        sockets = self._sockets.get(address, set())
        sockets.discard(socket)
        if not sockets:
            self._sockets.pop(address, None)

    async def close(self) -> None:
        """Closes every connection; the clients come again by themselves."""
        sockets = [socket for sockets in self._sockets.values() for socket in sockets]
        await asyncio.gather(*(socket.close(WSCloseCode.GOING_AWAY) for socket in sockets))

    def _frame(self, address: str, shown: Shown, replaces: str | None) -> Frame:
        frame = {
            "type": "screen",
            "message": replaces or secrets.token_urlsafe(9),
            "replaces": replaces is not None,
            "locale": shown.locale,
            "screen": screen_fields(shown),
        }
        return self._recent.add(address, frame)


class _Redraw:
    def __init__(self, surface: BrowserSurface, socket: Socket) -> None:
        self.name = surface.name
        self._surface = surface
        self._socket: Socket | None = socket

    async def show(self, address: str, shown: Shown, replaces: str | None) -> str | None:
        if self._socket is None:  # the progress of an operation that the redrawn screen watches
            return await self._surface.show(address, shown, replaces)
        socket, self._socket = self._socket, None
        return self._surface.redraw(address, shown, replaces, socket)


def screen_fields(shown: Shown) -> Frame:
    """A screen as the protocol writes it."""
    return {
        "title": shown.title,
        "text": shown.text,
        "code": shown.code,
        "buttons": [
            [
                {"label": b.label, "style": b.style} | ({"url": b.url} if b.id is None else {"id": b.id})
                for b in row
            ]
            for row in shown.rows
        ],
        "ask": None if shown.ask is None else asdict(shown.ask),
        "progress": [asdict(step) for step in shown.progress],
        "elapsed_s": shown.elapsed_s,
    }


# --- one connection


class _Allowance:
    """So many frames at once and so many a second."""

    def __init__(self) -> None:
        self._left = _BURST
        self._at = asyncio.get_running_loop().time()
        self.refused = 0  # one after another

    def take(self) -> bool:
        now = asyncio.get_running_loop().time()
        self._left = min(_BURST, self._left + (now - self._at) * _RATE_PER_S)
        self._at = now
        self.refused = 0 if self._left >= 1 else self.refused + 1
        if not self.refused:
            self._left -= 1
        return not self.refused


class Connection:
    """Reads one client's frames and hands them to the talk in their order.

    A frame that was taken in is handled to its end even when the client goes away meanwhile: it will send the frame
    again with the same id, and that one is then known.
    """

    def __init__(self, front: Front, ws: web.WebSocketResponse, request: web.Request) -> None:
        self._front = front
        self._ws = ws
        # Without an Origin no browser vouches that the page was ours, so the cookie counts for nothing.
        self._cookie = _cookie(request) if "Origin" in request.headers else ""
        self._locale = pick_locale(request.headers.get("Accept-Language"))
        self._socket = Socket(ws, request.transport)
        self._frames: asyncio.Queue[Begin | Say | Press | None] = asyncio.Queue(_UNHANDLED_MAX)
        self._allowance = _Allowance()
        self._surface: BrowserSurface | None = None  # from the begin frame on
        self._address = ""
        self._whole = False

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            writing = tasks.create_task(self._socket.write())
            handling = tasks.create_task(self._handle_all())
            with suppress(TimeoutError):
                await self._read()
            if self._surface is not None:
                self._surface.leave(self._address, self._socket)
            await self._frames.put(None)
            await handling
            writing.cancel()

    async def _read(self) -> None:
        async with asyncio.timeout(_BEGIN_TIMEOUT_S) as limit:
            async for message in self._ws:
                try:
                    self._take(message)
                except NotUnderstood as refusal:
                    self._refuse(refusal.code, refusal.id)
                if self._surface is not None:
                    limit.reschedule(None)
                if self._allowance.refused > _REFUSED_MAX:
                    await self._socket.close(WSCloseCode.POLICY_VIOLATION)

    def _take(self, message: WSMessage) -> None:
        if not self._allowance.take():
            raise NotUnderstood("too_fast")
        if message.type is not WSMsgType.TEXT:
            raise NotUnderstood("bad_frame")
        frame = read_frame(message.data)
        if isinstance(frame, Begin):
            self._begin(frame)
        elif self._surface is None:
            raise NotUnderstood("not_begun", frame.id)
        try:
            self._frames.put_nowait(frame)
        except asyncio.QueueFull:
            raise NotUnderstood("too_fast", frame.id) from None

    def _begin(self, frame: Begin) -> None:
        if self._surface is not None:
            raise NotUnderstood("bad_frame", frame.id)
        self._locale = pick_locale(frame.locale, self._locale)
        if not frame.program and not self._cookie:
            raise NotUnderstood("no_cookie", frame.id)
        if frame.token and not _TOKEN.fullmatch(frame.token):
            raise NotUnderstood("bad_token", frame.id)
        secret = (frame.token or secrets.token_urlsafe(32)) if frame.program else self._cookie
        surface = self._front.terminal if frame.program else self._front.browser
        address = sha256(secret.encode()).hexdigest()
        if surface.is_full(address):
            raise NotUnderstood("too_many", frame.id)
        welcome = {"type": "welcome", "locale": self._locale} | ({"token": secret} if frame.program else {})
        self._socket.send("welcome", welcome)
        self._surface, self._address = surface, address
        self._whole = surface.open(address, self._socket, frame.mark)

    async def _handle_all(self) -> None:
        while (frame := await self._frames.get()) is not None:
            try:
                await self._handle(frame)
            except Exception:  # noqa: BLE001 - a frame's boundary, as the error middleware is a request's
                log.exception("a chat frame could not be handled")
                self._refuse("internal", frame.id)
                continue
            if frame.id:
                self._socket.send(f"ack {frame.id}", {"type": "ack", "id": frame.id})

    async def _handle(self, frame: Begin | Say | Press) -> None:
        assert self._surface is not None
        talk, surface, address = self._front.talk, self._surface, self._address
        update_id = f"{address}.{frame.id}"
        match frame:
            case Begin():
                if not self._whole:
                    await talk.begin(surface.redraw_for(self._socket), address, locale=self._locale)
            case Say(text=text):
                await talk.say(surface, address, text, locale=self._locale, update_id=update_id)
            case Press(button=button, message=message):
                await talk.press(
                    surface, address, button, message_ref=message, locale=self._locale, update_id=update_id
                )

    def _refuse(self, code: str, frame_id: str) -> None:
        text = _refusal(translator(self._locale), code)
        self._socket.send(f"error {frame_id}", {"type": "error", "code": code, "text": text, "id": frame_id or None})


# --- HTTP


def add_to(app: web.Application, talk: Talk) -> tuple[BrowserSurface, BrowserSurface]:
    """Adds /chat to the application; returns the surfaces of browsers and of programs, for `Talk.resume`."""
    front = Front(talk)
    app.add_routes([web.get("/chat", front.chat), web.get("/chat/static/{name}", front.static)])
    app.on_shutdown.append(front.close)
    return front.browser, front.terminal


class Front:
    """/chat: the page, its files and the WebSocket."""

    def __init__(self, talk: Talk) -> None:
        self.talk = talk
        self.browser = BrowserSurface("browser")
        self.terminal = BrowserSurface("terminal")
        self._files = static_files()

    async def close(self, _app: web.Application) -> None:
        await asyncio.gather(self.browser.close(), self.terminal.close())

    async def chat(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._connect(request)
        locale = pick_locale(request.headers.get("Accept-Language"))
        response = web.Response(text=page(locale), content_type="text/html", headers=PAGE_HEADERS)
        _give_cookie(request, response)
        return response

    async def static(self, request: web.Request) -> web.StreamResponse:
        """A file of the page. Asked for with the hash of its content it may be kept for ever."""
        file = self._files.get(request.match_info["name"])
        if file is None:
            raise web.HTTPNotFound
        forever = request.query.get("v") == file.version
        headers = {
            "Cache-Control": "public, max-age=31536000, immutable" if forever else "no-cache",
            "ETag": f'"{file.version}"',
            "X-Content-Type-Options": "nosniff",
        }
        known = any(etag.value == file.version for etag in request.if_none_match or ())
        if known:
            return web.Response(status=304, headers=headers)
        return web.Response(body=file.body, content_type=file.content_type, charset="utf-8", headers=headers)

    async def _connect(self, request: web.Request) -> web.StreamResponse:
        if not _same_origin(request):
            text = translator(request.headers.get("Accept-Language", "")).code("cross_site", {})
            return web.json_response({"ok": False, "error": text, "code": "cross_site"}, status=403)
        ws = web.WebSocketResponse(
            heartbeat=_HEARTBEAT_S, timeout=_CLOSE_TIMEOUT_S, max_msg_size=_FRAME_CUT_BYTES, compress=False
        )
        await ws.prepare(request)
        await Connection(self, ws, request).run()
        return ws


def _same_origin(request: web.Request) -> bool:
    """Whether a page of this very host asks, or a program, which has no Origin. Apps live on sub-domains of the same
    site, so that SameSite does not keep them out."""
    if "Origin" not in request.headers:
        return True
    try:
        origin = URL(request.headers["Origin"])
        host = URL(f"{origin.scheme}://{request.host}")
    except ValueError:
        return False
    if origin.scheme not in {"http", "https"} or (origin.scheme == "http" and _by_https(request)):
        return False  # https may have ended at a proxy that does not say so; the other way round is an intruder
    return (origin.host, origin.port) == (host.host, host.port)


def _by_https(request: web.Request) -> bool:
    forwarded = request.headers.get("X-Forwarded-Proto", "").split(",")[0].strip().lower()
    return request.scheme == "https" or forwarded == "https"


def _cookie(request: web.Request) -> str:
    """The chat's secret that the browser keeps; empty where it has none of ours."""
    for name in (_COOKIE_HTTPS, _COOKIE):
        value = request.cookies.get(name, "")
        if _TOKEN.fullmatch(value):
            return value
    return ""


def _give_cookie(request: web.Request, response: web.Response) -> None:
    """Keeps the chat's secret for a year from now, a new one where there is none."""
    secure = _by_https(request)
    name, path = (_COOKIE_HTTPS, "/") if secure else (_COOKIE, "/chat")
    value = request.cookies.get(name, "")
    if not _TOKEN.fullmatch(value):
        value = secrets.token_urlsafe(32)
    response.set_cookie(
        name, value, path=path, max_age=_COOKIE_AGE_S, httponly=True, samesite="Lax", secure=secure
    )
