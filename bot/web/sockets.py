"""What goes out to the clients of the chat: never waiting for one of them, and remembering a little for those who
were away for a moment."""

from __future__ import annotations

import asyncio
import itertools
import json
import secrets
from collections import OrderedDict
from contextlib import suppress
from typing import Any, Final

from aiohttp import web

Frame = dict[str, Any]

_UNSENT_MAX: Final = 64
_CHATS_MAX: Final = 500  # whose last screens are remembered
_SCREENS_MAX: Final = 8  # remembered of each
_SEND_TIMEOUT_S: Final = 10.0
CLOSE_TIMEOUT_S: Final = 2.0


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

    def send(self, key: str, frame: Frame) -> None:
        if not self._unsent.put(key, frame):
            self._cut()

    async def write(self) -> None:
        """Sends, until the client cannot be reached."""
        try:
            while True:
                frame = await self._unsent.take()
                async with asyncio.timeout(_SEND_TIMEOUT_S):
                    await self._ws.send_str(json.dumps(frame, ensure_ascii=False))
        except (ConnectionError, TimeoutError):
            self._cut()

    async def close(self, code: int) -> None:
        """Says goodbye, and waits a moment for the client to say so too."""
        with suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(2 * CLOSE_TIMEOUT_S):
                await self._ws.close(code=code, drain=False)
        self._cut()

    def _cut(self) -> None:
        """Ends the connection; its reader learns of it at once."""
        if self._transport is not None:
            self._transport.abort()
