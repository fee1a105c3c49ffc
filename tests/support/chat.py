"""A chat as a program has it: the conversation's own JSON over the WebSocket (docs/chat-protocol.md)."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Callable
from typing import Any, Self

import aiohttp

Screen = dict[str, Any]


class Chat:
    """`async with Chat(url) as chat`: `say` and `press` return the next screen that answers."""

    def __init__(self, url: str, *, locale: str = "en") -> None:
        self._url = f"{url}/chat"
        self._locale = locale
        self._numbers = itertools.count()
        self._mark = secrets.token_hex(4)
        self.screen: Screen = {}
        self.message = ""

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession()
        self._socket = await self._session.ws_connect(self._url)
        await self._socket.send_json({"type": "begin", "program": True, "locale": self._locale})
        await self.next()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._socket.close()
        await self._session.close()

    async def say(self, text: str) -> Screen:
        await self._send({"type": "say", "text": text})
        return await self.next()

    async def press(self, label: str) -> Screen:
        await self.only_press(label)
        return await self.next()

    async def only_press(self, label: str) -> None:
        """Presses without waiting for what comes of it."""
        buttons = [button for row in self.screen["buttons"] for button in row]
        button = next(button for button in buttons if label in button["label"])
        await self._send({"type": "press", "button": button["id"], "message": self.message})

    async def until(self, condition: Callable[[Screen], bool], timeout_s: float = 60) -> Screen:
        """The first screen, from now on, that satisfies `condition`."""
        async with asyncio.timeout(timeout_s):
            while not condition(await self.next()):
                pass
        return self.screen

    async def next(self) -> Screen:
        while True:
            frame = await self._socket.receive_json(timeout=60)
            if frame["type"] == "screen":
                self.screen, self.message = frame["screen"], frame["message"]
                return self.screen

    async def _send(self, frame: dict[str, Any]) -> None:
        await self._socket.send_json(frame | {"id": f"{self._mark}-{next(self._numbers)}"})


def link_of(screen: Screen) -> str:
    """Where the screen's button to open the app leads."""
    return next(str(b["url"]) for row in screen["buttons"] for b in row if b.get("url"))
