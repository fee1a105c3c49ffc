"""Makes the pictures of the README anew, from a real conversation: `.venv/bin/python docs/make_pictures.py`.

Needs what the tests need (`./madang test` installs it), and colour emoji (fonts-noto-color-emoji) to look its best.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from datetime import date, timedelta
from pathlib import Path

from playwright.async_api import Browser, Page, async_playwright, expect

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from engine.settings import port_is_free
from tests.support.browser import LAUNCH
from tests.support.engine import Engine
from tests.support.visitor import bearer, visitor

PICTURES = Path(__file__).parent / "pictures"
WORDS = {
    "ko": ("minji", "일기장 만들어줘", "서버에 보관하고 모든 기기에서 보기", "만들기", "다 됐어요", "열기"),
    "en": (
        "jamie",
        "make me a diary",
        "On the server, to read on all my devices",
        "Make it",
        "diary is ready",
        "Open",
    ),
}
ENTRIES = (
    (0, "감나무", "까치밥 세 개를 남기고 감을 다 땄다. 손이 시렸지만 하늘이 파랬다.", "😊"),
    (1, "", "비가 왔다. 창가에 앉아 오래된 편지를 읽었다.", "😌"),
    (3, "칼국수", "점심에 민지와 칼국수. 오래 못 본 사이에 서로 많이 달라졌는데, 웃는 건 그대로였다.", "😍"),
    (365, "김장하던 날", "엄마랑 배추 스무 포기를 절였다. 허리가 아팠지만 수육이 정말 맛있었다.", "😊"),
)


async def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        madang = Engine(Path(folder), driver="docker")
        madang.http_port = 8080 if port_is_free("127.0.0.1", 8080) else madang.http_port
        async with madang as engine, async_playwright() as playwright:
            chromium = await playwright.chromium.launch(**LAUNCH)
            links = {}
            for locale in WORDS:
                await front(chromium, engine, locale)
                links[locale] = await chat(chromium, engine, locale)
            await diary(chromium, links["ko"])
            await chromium.close()


async def opened(chromium: Browser, locale: str, url: str, *, dark: bool = False) -> Page:
    context = await chromium.new_context(
        locale={"ko": "ko-KR", "en": "en-US"}[locale],
        viewport={"width": 390, "height": 844},
        device_scale_factor=2,
        color_scheme="dark" if dark else "light",
    )
    page = await context.new_page()
    await page.goto(url)
    return page


async def front(chromium: Browser, engine: Engine, locale: str) -> None:
    page = await opened(chromium, locale, engine.url)
    await page.screenshot(path=PICTURES / f"front-{locale}.png")


async def chat(chromium: Browser, engine: Engine, locale: str) -> str:
    """Signs up and makes a diary; returns its key link."""
    name, wish, keep, make, ready, open_ = WORDS[locale]
    page = await opened(chromium, locale, f"{engine.url}/chat")
    box = page.get_by_role("textbox")
    for text, answer in ((name, "✨"), (wish, "diary")):
        await expect(box).to_be_enabled()
        await box.fill(text)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("button", name=answer).last).to_be_visible()
    for button in ("diary", keep, make):
        await page.get_by_role("button", name=button, exact=True).last.click()
    await expect(page.get_by_role("log").get_by_text(ready).last).to_be_visible(timeout=60_000)
    await page.screenshot(path=PICTURES / f"chat-{locale}.png")
    link = await page.get_by_role("link", name=open_).last.get_attribute("href")
    assert link is not None
    return link


async def diary(chromium: Browser, link: str) -> None:
    url = link.partition("/#")[0]
    async with visitor(headers=bearer(link)) as person:
        for days, title, body, mood in reversed(ENTRIES):
            day = (date.today() - timedelta(days=days)).isoformat()  # noqa: DTZ011 - the diary's own day
            entry = {"date": day, "title": title, "body": body, "mood": mood}
            async with person.post(f"{url}/api/entries", json=entry) as answer:
                assert answer.status == 201, await answer.text()
    for name, dark in (("diary", False), ("diary-dark", True)):
        page = await opened(chromium, "ko", link, dark=dark)
        await expect(page.get_by_text("김장하던 날").first).to_be_visible()
        await page.screenshot(path=PICTURES / f"{name}.png")


if __name__ == "__main__":
    asyncio.run(main())
