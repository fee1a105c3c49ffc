"""The chat in the browser and in programs: JSON frames over a WebSocket (docs/chat-protocol.md), and the page itself.

The talk's state is in the database. What stands here is only who is connected now and the last screens of each chat,
so that a phone that slept for a minute gets what it missed. Losing it costs one redraw.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from contextlib import suppress
from dataclasses import asdict
from hashlib import sha256
from typing import Final

from aiohttp import WSCloseCode, WSMessage, WSMsgType, web
from yarl import URL

from bot.talk import Shown, Surface, Talk
from bot.web.frames import Begin, NotUnderstood, Press, Say, read_frame, refusal
from bot.web.page import page, static_files
from bot.web.sockets import CLOSE_TIMEOUT_S, Frame, Recent, Socket
from engine.words import pick_locale, translator

log = logging.getLogger(__name__)

_FRAME_CUT_BYTES: Final = 256 * 1024  # refused by closing the connection; less is refused with words
_RATE_PER_S: Final = 10.0
_BURST: Final = 30.0
_REFUSED_MAX: Final = 200  # frames refused one after another, before the connection is closed
_UNHANDLED_MAX: Final = 32
_SOCKETS_MAX: Final = 16  # of one chat
_BEGIN_TIMEOUT_S: Final = 10.0
_HEARTBEAT_S: Final = 20.0
_COOKIE_AGE_S: Final = 365 * 24 * 3600

# Apps live on sub-domains, from where a script may plant a cookie for the whole site. No sub-domain can plant one
# whose name begins with __Host-; browsers take those by https only, and for the path / only.
_COOKIE: Final = "madang_chat"
_COOKIE_HTTPS: Final = "__Host-madang_chat"

_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{32,128}")

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
                except NotUnderstood as fault:
                    self._refuse(fault.code, fault.id)
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
            except Exception:  # a frame's boundary, as the error middleware is a request's
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
        self._socket.send(f"error {frame_id}", refusal(translator(self._locale), code, frame_id))


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
            heartbeat=_HEARTBEAT_S, timeout=CLOSE_TIMEOUT_S, max_msg_size=_FRAME_CUT_BYTES, compress=False
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
        return False  # (https may have ended at a proxy that does not say so; that way round is fine)
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
