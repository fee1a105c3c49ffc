"""From a chat to a diary that lives, on real parts: the same conversation in every surface."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import async_playwright

from tests.far_ends.telegram import TelegramServer
from tests.journeys.talkers import KEY_LINK, BrowserTalker, Talker, TelegramTalker, TerminalTalker
from tests.support.browser import LAUNCH
from tests.support.engine import Engine
from tests.support.visitor import bearer, visitor, wait_for_status

pytestmark = [pytest.mark.journey, pytest.mark.docker, pytest.mark.nginx, pytest.mark.timeout(420)]
TOKEN = "7000001:journey-token-that-is-long-enough-0001"
ENTRY = "오늘은 마당을 쓸었다."


@asynccontextmanager
async def terminal(root: Path) -> AsyncIterator[tuple[Engine, Talker]]:
    async with Engine(root, driver="docker") as engine:
        talker = TerminalTalker(engine.url, root)
        yield engine, talker
        await talker.close()


@asynccontextmanager
async def browser(root: Path) -> AsyncIterator[tuple[Engine, Talker]]:
    async with Engine(root, driver="docker") as engine, async_playwright() as playwright:
        chromium = await playwright.chromium.launch(**LAUNCH)
        context = await chromium.new_context(locale="en-US", viewport={"width": 390, "height": 844})
        page = await context.new_page()
        await page.goto(f"{engine.url}/chat")
        yield engine, BrowserTalker(page)
        await chromium.close()


@asynccontextmanager
async def telegram(root: Path) -> AsyncIterator[tuple[Engine, Talker]]:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(await TelegramServer.start(token=TOKEN))
        settings = {"TELEGRAM_BOT_TOKEN": TOKEN, "TELEGRAM_API_BASE_URL": server.base_url}
        engine = await stack.enter_async_context(Engine(root, driver="docker", **settings))
        talker = TelegramTalker(server)
        await talker.say("/start")
        yield engine, talker
        assert TOKEN not in engine.log


SURFACES = {"terminal": terminal, "browser": browser, "telegram": telegram}


@pytest.fixture(
    params=[pytest.param(name, marks=pytest.mark.chromium if name == "browser" else ()) for name in SURFACES]
)
async def talk(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Engine, Talker]]:
    async with SURFACES[request.param](tmp_path) as (engine, talker):
        yield engine, talker


async def entries(url: str, headers: dict[str, str]) -> list[str]:
    async with visitor(headers=headers) as person, person.get(f"{url}/api/entries") as response:
        assert response.status == 200, await response.text()
        return [entry["body"] for entry in (await response.json())["data"]["entries"]]


async def make_a_diary(talker: Talker, userid: str) -> str:
    """hello -> handle -> new diary; returns the key link that the chat hands out."""
    await talker.sees("What shall I call you?")
    await talker.say("hello")
    await talker.sees("What shall I call you?")
    await talker.say(userid)
    await talker.sees(f"Nice to meet you, {userid}!")
    await talker.say("make me a diary")
    await talker.press("diary")
    await talker.press("On the server, to read on all my devices")
    await talker.press("Make it")
    links = KEY_LINK.findall(await talker.sees("diary is ready"))
    assert links
    return str(links[-1])


async def test_a_diary_made_in_a_chat_keeps_its_entry_through_everything(talk: tuple[Engine, Talker]) -> None:
    engine, talker = talk
    userid = f"minji{engine.http_port}"
    link = await make_a_diary(talker, userid)
    url, headers = link.partition("/#")[0], bearer(link)
    assert url == f"http://{userid}-diary.localhost:{engine.http_port}"
    async with visitor() as person:
        await wait_for_status(person, url, 200)
        async with person.post(f"{url}/api/entries", json={"body": ENTRY}) as refused:
            assert refused.status == 401
        async with person.post(f"{url}/api/entries", json={"body": ENTRY}, headers=headers) as written:
            assert written.status == 201

        await talker.say("stop diary")
        await talker.sees("diary is stopped")
        await wait_for_status(person, url, 503)
        await talker.say("start diary")
        await talker.sees("diary is running")
        assert await entries(url, headers) == [ENTRY]

        await engine.restart()
        assert await entries(url, headers) == [ENTRY]

        await talker.say("/delete diary")
        await talker.sees("To confirm, type its name: diary")
        await talker.say("diary")
        await talker.sees("diary is in the trash")
        await wait_for_status(person, url, 404)
        await talker.press("Restore")
        await talker.sees("diary is back")
        assert await entries(url, headers) == [ENTRY]

    await talker.say("/delete diary")
    await talker.say("diary")
    await talker.sees("diary is in the trash")
    await talker.say("/delete diary")
    await talker.sees("Delete diary for good?")
    await talker.say("diary")
    await talker.sees("diary is gone for good")
    assert "Traceback" not in engine.log
