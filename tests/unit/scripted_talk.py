"""A talk that says what a test wants, behind the real /chat."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from bot.browser import BrowserSurface, add_to
from bot.conversation.model import Ask, ProgressStep
from bot.talk import Shown, ShownButton, Surface, Talk

Answer = Callable[[Surface, str, str | None], Awaitable[Any]]


def shown(text: str = "", *rows: Sequence[ShownButton], **fields: Any) -> Shown:
    """A screen; what is not given is empty."""
    empty: dict[str, Any] = {
        "title": "",
        "code": "",
        "ask": None,
        "progress": (),
        "elapsed_s": None,
        "locale": "ko",
    }
    return Shown(text=text, rows=rows, **(empty | fields))


def button(label: str, button_id: str = "s.0", **fields: Any) -> ShownButton:
    return ShownButton(label, button_id, None, fields.get("style", "default"))


def link(label: str, url: str, **fields: Any) -> ShownButton:
    return ShownButton(label, None, url, fields.get("style", "default"))


def steps(*labels: str, done: int) -> list[ProgressStep]:
    """`done` of them are done, the next one is under way."""
    states = ["done"] * done + ["now"] + ["todo"] * len(labels)
    return [ProgressStep(label, state) for label, state in zip(labels, states, strict=False)]  # type: ignore[arg-type]


class ScriptedTalk(Talk):
    """Answers words and buttons with the screens, or the coroutines, of `script`; anything else it repeats.

    `heard` is what came, in order; each input with its id once, as the real one keeps it.
    """

    def __init__(self, script: dict[str, Shown | Answer] | None = None) -> None:
        self.script = {"begin": shown("안녕하세요!", ask=Ask("minsu")), **(script or {})}
        self.heard: list[tuple[str, ...]] = []
        self.addresses: list[str] = []
        self.arrived = asyncio.Condition()
        self._seen: set[str] = set()

    async def begin(
        self, surface: Surface, address: str, *, locale: str, update_id: str | None = None
    ) -> None:
        await self._answer(surface, address, ("begin", locale), None, None)

    async def say(
        self, surface: Surface, address: str, text: str, *, locale: str, update_id: str | None = None
    ) -> None:
        await self._answer(surface, address, ("say", text), None, update_id)

    async def press(
        self,
        surface: Surface,
        address: str,
        button_id: str,
        *,
        message_ref: str | None,
        locale: str,
        update_id: str | None = None,
    ) -> None:
        await self._answer(surface, address, ("press", button_id), message_ref, update_id)

    async def until_heard(self, *what: str) -> None:
        async with asyncio.timeout(10), self.arrived:
            await self.arrived.wait_for(lambda: what in self.heard)

    async def _answer(
        self, surface: Surface, address: str, given: tuple[str, str], ref: str | None, update_id: str | None
    ) -> None:
        if update_id in self._seen:
            return
        if update_id is not None:
            self._seen.add(update_id)
        async with self.arrived:
            self.heard.append((surface.name, *given))
            self.addresses.append(address)
            self.arrived.notify_all()
        kind, text = given
        answer = self.script.get(kind if kind == "begin" else text, shown(f"“{text}”"))
        if isinstance(answer, Shown):
            await surface.show(address, answer, None)
        else:
            await answer(surface, address, ref)


class ChatServer:
    """/chat on a port of its own, which stays the same over a restart."""

    def __init__(self, talk: ScriptedTalk) -> None:
        self.talk = talk
        self.browser: BrowserSurface
        self.terminal: BrowserSurface
        self._port = 0
        self._runner: web.AppRunner

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        app = web.Application()
        self.browser, self.terminal = add_to(app, self.talk)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        await self._runner.cleanup()


@asynccontextmanager
async def serving(talk: ScriptedTalk) -> AsyncIterator[ChatServer]:
    server = ChatServer(talk)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
