"""One person, four ways to talk. Each knows how its surface shows a screen; the journeys know none of that."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path
from typing import Any, Protocol

import pexpect
from playwright.async_api import Page, expect

from tests.far_ends.telegram import TelegramServer
from tests.support.engine import REPOSITORY

WAIT_S = 60
KEY_LINK = re.compile(r"https?://\S+#key=[\w-]+")
_ANSI = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b\][^\x07]*\x07|\x1b[()][AB012]|[\r\x0f\x0e]")


class Talker(Protocol):
    """`sees` returns everything shown since the last thing that the person did, once it holds `text`."""

    async def say(self, text: str) -> None: ...

    async def press(self, label: str) -> None: ...

    async def sees(self, text: str) -> str: ...

    async def close(self) -> None: ...


class TerminalTalker:
    """`madang chat` in a pseudo-terminal. Buttons are pressed by their number."""

    def __init__(self, url: str, home: Path, command: list[str] | None = None) -> None:
        program, *arguments = command or [sys.executable, "-m", "engine.cli", "chat"]
        self._child = pexpect.spawn(
            program,
            [*arguments, "--url", url, "--lang", "en"],
            cwd=str(REPOSITORY),
            env={**os.environ, "XDG_CONFIG_HOME": str(home), "TERM": "xterm", "PYTHONPATH": str(REPOSITORY)},
            encoding="utf-8",
            dimensions=(60, 160),
            timeout=WAIT_S,
        )
        self._seen = ""

    async def say(self, text: str) -> None:
        self._seen = ""
        await asyncio.to_thread(self._child.send, text + "\r")

    async def press(self, label: str) -> None:
        choice = re.compile(rf"(\d+)\)\s*{re.escape(label)}(?=\s|$)")
        await self._until(choice)
        await self.say(choice.findall(self._seen)[-1])

    async def sees(self, text: str) -> str:
        await self._until(re.compile(re.escape(text)))
        return self._seen

    async def _until(self, wanted: re.Pattern[str]) -> None:
        try:
            async with asyncio.timeout(WAIT_S):
                while not wanted.search(self._seen):
                    self._seen += _ANSI.sub("", await asyncio.to_thread(self._read))
        except (TimeoutError, pexpect.EOF) as error:
            raise AssertionError(f"{wanted.pattern!r} is not in:\n{self._seen}") from error

    def _read(self) -> str:
        try:
            return str(self._child.read_nonblocking(4096, 1))
        except pexpect.TIMEOUT:
            return ""

    async def close(self) -> None:
        await asyncio.to_thread(self._child.close, True)


class BrowserTalker:
    """/chat in Chromium."""

    def __init__(self, page: Page) -> None:
        self._page = page

    async def say(self, text: str) -> None:
        await self._page.get_by_role("textbox").fill(text)
        await self._page.keyboard.press("Enter")

    async def press(self, label: str) -> None:
        await self._page.get_by_role("button", name=label, exact=True).last.click()

    async def sees(self, text: str) -> str:
        log = self._page.get_by_role("log")
        await expect(log.get_by_text(text).last).to_be_visible(timeout=WAIT_S * 1000)
        links = await log.get_by_role("link").evaluate_all("links => links.map(a => a.href)")
        return await log.inner_text() + "\n" + "\n".join(links)

    async def close(self) -> None:
        await self._page.close()


class TelegramTalker:
    """A person in Telegram, against a Bot API server that speaks the wire protocol."""

    def __init__(self, server: TelegramServer, **person: Any) -> None:
        self._person = server.person(id=7001, first_name="Minji", language_code="en", **person)
        self._since = 0

    async def say(self, text: str) -> None:
        self._since = self._person.revision
        await self._person.send(text)

    async def press(self, label: str) -> None:
        await self._person.wait_for(
            lambda message: any(label in row for row in message.buttons), WAIT_S, since=self._since
        )
        self._since = self._person.revision
        await self._person.press(label)

    async def sees(self, text: str) -> str:
        await self._person.wait_for(text, WAIT_S, since=self._since)
        return self._person.transcript()

    async def close(self) -> None:
        pass
