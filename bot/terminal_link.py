"""A program's end of the chat (docs/chat-protocol.md): connects again by itself, and sends again what was not
acknowledged. A frame keeps its id, so that the server acts on it once."""

from __future__ import annotations

import asyncio
import json
import random
import secrets
from collections.abc import Callable
from typing import Any, Final, Protocol

import aiohttp
from yarl import URL

Frame = dict[str, Any]

_FIRST_WAIT_S: Final = 0.2
_LONGEST_WAIT_S: Final = 10.0
_CONNECT_TIMEOUT_S: Final = 10.0
_HEARTBEAT_S: Final = 20.0


class Unreachable(Exception):
    """Nothing answers there; with a `status`, something else than the chat does."""

    def __init__(self, status: int | None = None) -> None:
        self.status = status
        super().__init__(f"status {status}")


class NotLetIn(Exception):
    """The chat answers, and says why it does not begin."""


class Listener(Protocol):
    """Is told what comes; a frame is handled before the next one is read."""

    async def heard(self, frame: Frame) -> None: ...

    async def lost(self) -> None: ...

    async def back(self) -> None: ...


class Link:
    """`patience_s`: how long a lost connection is sought before `Unreachable`; None: for ever."""

    def __init__(
        self,
        url: str,
        listener: Listener,
        *,
        locale: str,
        token: str | None,
        keep_token: Callable[[str], None],
        patience_s: float | None = None,
    ) -> None:
        self._url = URL(url) / "chat"
        self._listener = listener
        self._locale = locale
        self._token = token
        self._keep_token = keep_token
        self._patience_s = patience_s
        self._owed: dict[str, tuple[Frame, asyncio.Future[None]]] = {}
        self._ws: aiohttp.ClientWebSocketResponse | None = None  # from the welcome on
        self._mark = ""
        self._lost_at: float | None = None
        self._wait_s = _FIRST_WAIT_S
        self.begun = asyncio.Event()  # where the talk stands has been shown

    async def run(self) -> None:
        """Stays connected until it is cancelled. Raises Unreachable and NotLetIn."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                fault = await self._connection(session)
                if not self.begun.is_set() or self._patience_is_over():
                    raise fault
                await self._note_loss()
                await asyncio.sleep(self._wait_s * random.uniform(0.75, 1.25))
                self._wait_s = min(self._wait_s * 2, _LONGEST_WAIT_S)

    async def send(self, **fields: str) -> asyncio.Future[None]:
        """Sends the frame, now or when the connection is back. The future is done when it has been handled."""
        frame: Frame = {**fields, "id": secrets.token_hex(12)}
        handled = asyncio.get_running_loop().create_future()
        self._owed[frame["id"]] = frame, handled
        if self._ws is not None:
            await _send(self._ws, frame)
        return handled

    async def _connection(self, session: aiohttp.ClientSession) -> Exception:
        """One connection from its beginning to its end, and what ended it."""
        try:
            async with session.ws_connect(self._url, heartbeat=_HEARTBEAT_S) as ws:
                await self._converse(ws)
        except aiohttp.WSServerHandshakeError as error:
            return Unreachable(error.status)
        except (aiohttp.ClientError, OSError):
            return Unreachable()
        finally:
            self._ws = None
        return Unreachable()

    async def _converse(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        begin = {"type": "begin", "id": "begin", "program": True, "locale": self._locale, "mark": self._mark}
        if self._token is not None:
            begin["token"] = self._token
        await _send(ws, begin)
        async for message in ws:
            if message.type is aiohttp.WSMsgType.TEXT:
                await self._received(ws, json.loads(message.data))

    async def _received(self, ws: aiohttp.ClientWebSocketResponse, frame: Frame) -> None:
        match frame["type"]:
            case "welcome":
                await self._welcomed(ws, frame)
            case "ack":
                self._settle(frame["id"])
            case "error":
                if self._ws is None:
                    await self._refused(ws, frame)
                    return
                self._settle(frame.get("id") or "")
                await self._listener.heard(frame)
            case "screen":
                await self._listener.heard(frame)
                self._mark = frame["mark"]

    async def _welcomed(self, ws: aiohttp.ClientWebSocketResponse, frame: Frame) -> None:
        if frame["token"] != self._token:
            self._token = frame["token"]
            self._keep_token(frame["token"])
        self._ws = ws
        self._wait_s = _FIRST_WAIT_S
        if self._lost_at is not None:
            self._lost_at = None
            await self._listener.back()
        for owed, _ in list(self._owed.values()):
            await _send(ws, owed)

    async def _refused(self, ws: aiohttp.ClientWebSocketResponse, frame: Frame) -> None:
        if frame["code"] == "bad_token" and self._token is not None:
            self._token = None
            await _send(ws, {"type": "begin", "id": "begin", "program": True, "locale": self._locale})
            return
        raise NotLetIn(frame["text"])

    def _settle(self, frame_id: str) -> None:
        if frame_id == "begin":
            self.begun.set()
        _, handled = self._owed.pop(frame_id, (None, None))
        if handled is not None and not handled.done():
            handled.set_result(None)

    async def _note_loss(self) -> None:
        if self._lost_at is None:
            self._lost_at = asyncio.get_running_loop().time()
            await self._listener.lost()

    def _patience_is_over(self) -> bool:
        if self._lost_at is None or self._patience_s is None:
            return False
        return asyncio.get_running_loop().time() - self._lost_at > self._patience_s


async def _send(ws: aiohttp.ClientWebSocketResponse, frame: Frame) -> None:
    try:
        await ws.send_json(frame)
    except ConnectionError:
        return  # it is owed, and sent again when the connection is back
