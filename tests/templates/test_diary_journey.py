"""A person with a phone, from the key link to logging out, in a real browser."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, Page, ViewportSize, async_playwright, expect

from tests.templates.conftest import KEY, Api, Program, Start

pytestmark = pytest.mark.chromium

CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
PHONE: ViewportSize = {"width": 390, "height": 844}


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        await browser.close()


@pytest.fixture
async def phone(browser: Browser) -> AsyncIterator[BrowserContext]:
    context = await browser.new_context(
        viewport=PHONE, has_touch=True, is_mobile=True, locale="ko-KR", timezone_id="Asia/Seoul"
    )
    yield context
    await context.close()


async def new_page(context: BrowserContext) -> tuple[Page, list[str]]:
    """A page, and what it complains about: script errors and Content-Security-Policy reports."""
    page = await context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda line: complaints.append(line.text) if "Content Security" in line.text else None)
    return page, complaints


async def opened(page: Page, address: str) -> None:
    await page.goto(address)
    await page.wait_for_selector("html[data-ready]", state="attached")


async def write(page: Page, body: str, **fields: str) -> None:
    await page.get_by_label("일기 내용").fill(body)
    for name, value in fields.items():
        await page.locator(f"#write [name={name}]").fill(value)
    await page.get_by_role("button", name="저장", exact=True).click()
    await expect(page.locator("#toast-text")).to_have_text("저장했어요.")


async def test_a_day_with_the_diary(diary: Program, api: Api, phone: BrowserContext) -> None:
    today = dt.datetime.now(dt.timezone(dt.timedelta(hours=9))).date()
    last_year = today.replace(year=today.year - 1, day=min(today.day, 28))
    if today.day <= 28:
        await api.ok("POST", "/api/entries", {"date": str(last_year), "body": "작년 오늘의 이야기"})
    page, complaints = await new_page(phone)

    # The key link opens the diary, and the key does not stay in the address.
    await opened(page, f"{diary.url}/#key={KEY}")
    assert page.url == diary.url + "/"
    await expect(page.get_by_role("heading", level=1)).to_have_text("일기장")
    if today.day <= 28:
        await expect(page.locator("#memories")).to_contain_text("1년 전 오늘")

    # Write and see.
    await page.get_by_label("일기 내용").fill("마당에 첫눈이 왔다.")
    await expect(page.locator("#write [name=date]")).to_have_value(str(today))
    await page.get_by_role("button", name="기뻐요").click()
    await write(page, "마당에 첫눈이 왔다.", title="첫눈")
    card = page.locator("#entries .entry").first
    await expect(card).to_contain_text("😊 첫눈")
    await expect(card).to_contain_text("마당에 첫눈이 왔다.")
    await expect(page.get_by_label("일기 내용")).to_have_value("")
    await write(page, "<b>둘째</b> 글: 라면을 먹었다.")
    await expect(page.locator("#entries .entry").first).to_contain_text("<b>둘째</b>")

    # Search two letters.
    await page.get_by_role("searchbox").fill("첫눈")
    await expect(page.locator("#count")).to_have_text("일기 1편을 찾았어요.")
    await expect(page.locator("#entries mark").first).to_have_text("첫눈")
    await page.get_by_role("searchbox").fill("없는말")
    await expect(page.locator("#empty-title")).to_have_text("‘없는말’에 맞는 일기가 없어요")
    await page.get_by_role("searchbox").fill("")
    await expect(page.locator("#entries .entry")).to_have_count(3 if today.day <= 28 else 2)

    # The calendar leads to the day.
    await page.get_by_role("button", name="달력 열고 닫기").click()
    await page.locator(f'#days [data-day="{today}"][data-written]').click()
    await expect(page.locator("#filter-text")).to_contain_text("일기만 보고 있어요")
    await expect(page.locator("#entries .entry")).to_have_count(2)
    await page.get_by_role("button", name="모두 보기").click()
    await expect(page.locator("#filter")).to_be_hidden()

    # Edit.
    card = page.locator("#entries .entry", has_text="첫눈")
    await card.locator("summary").click()
    await card.get_by_role("button", name="고치기").click()
    editor = page.get_by_role("form", name="일기 고치기")
    await editor.locator("textarea").fill("마당에 첫눈이 펑펑 왔다.")
    await editor.get_by_role("button", name="저장").click()
    await expect(page.locator("#entries")).to_contain_text("펑펑")

    # Delete: asked first, and can be undone.
    card = page.locator("#entries .entry", has_text="펑펑")
    await card.locator("summary").click()
    await card.get_by_role("button", name="지우기").click()
    await page.get_by_role("button", name="그만두기").click()
    await expect(card).to_have_count(1)
    await card.locator("summary").click()
    await card.get_by_role("button", name="지우기").click()
    await page.get_by_role("dialog").get_by_role("button", name="지우기").click()
    await expect(card).to_have_count(0)
    await page.get_by_role("button", name="되돌리기").click()
    await expect(card).to_have_count(1)
    await page.reload()
    await expect(page.locator("#entries .entry", has_text="펑펑")).to_have_count(1)

    # Log out; the back button shows nothing.
    await page.get_by_label("메뉴", exact=True).click()
    await page.get_by_role("button", name="로그아웃").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("주인만 볼 수 있는 일기장이에요")
    await page.goto(diary.url + "/")
    await expect(page.locator("body")).not_to_contain_text("펑펑")
    assert complaints == []


async def test_a_wrong_key_is_told_kindly_and_the_right_one_opens(
    diary: Program, phone: BrowserContext
) -> None:
    page, complaints = await new_page(phone)
    await page.goto(f"{diary.url}/#key=wrong")
    await expect(page.get_by_role("alert")).to_have_text("열쇠가 맞지 않아요. 빠진 글자가 없는지 봐 주세요.")
    assert page.url == diary.url + "/"
    await page.get_by_label("열쇠").fill(KEY)
    await page.keyboard.press("Enter")
    await expect(page.get_by_label("일기 내용")).to_be_visible()
    assert complaints == []


async def test_words_survive_a_lost_network_and_are_saved_once(
    diary: Program, api: Api, phone: BrowserContext
) -> None:
    page, _ = await new_page(phone)
    await opened(page, f"{diary.url}/#key={KEY}")

    # The answer gets lost on the way back: the entry is stored, the page cannot know.
    async def lose_the_answer(route: Any) -> None:
        await route.fetch()
        await route.abort()

    await page.route("**/api/entries", lose_the_answer)
    await page.get_by_label("일기 내용").fill("지하철에서 쓴 글")
    await page.get_by_role("button", name="저장", exact=True).click()
    await expect(page.locator("#write .trouble")).to_contain_text("쓰던 글은 이 기기에 그대로 있어요.")

    await page.unroute("**/api/entries")
    await page.reload()  # the phone closed the tab
    await expect(page.get_by_label("일기 내용")).to_have_value("지하철에서 쓴 글")
    await page.get_by_label("일기 내용").fill("지하철에서 쓰고 고친 글")
    await page.get_by_role("button", name="저장", exact=True).click()
    await expect(page.locator("#toast-text")).to_have_text("저장했어요.")
    stored = (await api.ok("GET", "/api/entries"))["entries"]
    assert [entry["body"] for entry in stored] == ["지하철에서 쓰고 고친 글"]
    await page.reload()
    await expect(page.get_by_label("일기 내용")).to_have_value("")


async def test_a_full_disk_keeps_the_words_on_the_page(diary: Program, phone: BrowserContext) -> None:
    page, _ = await new_page(phone)
    await opened(page, f"{diary.url}/#key={KEY}")
    answer = json.dumps({"ok": False, "error": "full", "code": "disk_full"})
    await page.route("**/api/entries", lambda route: route.fulfill(status=507, body=answer))
    await page.get_by_label("일기 내용").fill("긴 하루")
    await page.get_by_role("button", name="저장", exact=True).click()
    await expect(page.locator("#write .trouble")).to_contain_text("저장할 자리가 없어요.")
    await expect(page.get_by_label("일기 내용")).to_have_value("긴 하루")
    await page.unroute("**/api/entries")
    await page.get_by_role("button", name="다시 해 보기").click()
    await expect(page.locator("#entries")).to_contain_text("긴 하루")


async def test_long_diaries_come_in_pages(diary: Program, api: Api, phone: BrowserContext) -> None:
    for number in range(45):
        await api.ok("POST", "/api/entries", {"date": f"2026-0{number % 9 + 1}-10", "body": f"글 {number}"})
    page, _ = await new_page(phone)
    await opened(page, f"{diary.url}/#key={KEY}")
    while await page.locator("#more").is_visible():
        shown = await page.locator("#entries .entry").count()
        await page.locator("#more").scroll_into_view_if_needed()
        await expect(page.locator(f"#entries .entry >> nth={shown}")).to_be_attached()
    await expect(page.locator("#entries .entry")).to_have_count(45)
    await expect(page.locator("#entries .month")).to_have_count(9)
    months = await page.locator("#entries .month").evaluate_all("all => all.map(m => m.dataset.key)")
    assert months == sorted(months, reverse=True)


async def test_the_keyboard_is_enough(diary: Program, browser: Browser) -> None:
    context = await browser.new_context(viewport={"width": 1280, "height": 800}, locale="en-US")
    page, complaints = await new_page(context)
    await opened(page, f"{diary.url}/#key={KEY}")
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to past entries")).to_be_focused()
    await page.get_by_label("Your entry").focus()
    await page.keyboard.type("Typed without a mouse.")
    await page.keyboard.press("Control+Enter")
    await expect(page.locator("#entries")).to_contain_text("Typed without a mouse.")
    await page.locator("#entries summary").focus()
    await page.keyboard.press("Enter")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("dialog")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.locator("#entries summary")).to_be_focused()
    unnamed = await page.evaluate(
        "[...document.querySelectorAll('button, a, input, textarea, summary')].filter((e) =>"
        " !(e.ariaLabel || e.textContent.trim() || e.labels?.length)).map((e) => e.outerHTML)"
    )
    assert unnamed == []
    assert complaints == []
    await context.close()


async def test_a_diary_in_the_browser_only(
    start_program: Start, diary_folder: Path, phone: BrowserContext, tmp_path: Path
) -> None:
    program = await start_program(diary_folder, ENABLE_API="false", APP_LOCALE="ko")
    page, complaints = await new_page(phone)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/api/" in request.url else None)
    await opened(page, program.url)
    await expect(page.get_by_text("일기는 이 브라우저에만 저장돼요.")).to_be_visible()
    await write(page, "서버에는 없는 글")
    await page.reload()
    await expect(page.locator("#entries")).to_contain_text("서버에는 없는 글")

    await page.get_by_label("메뉴", exact=True).click()
    async with page.expect_download() as download:
        await page.get_by_role("button", name="백업 파일 내려받기").click()
    backup = tmp_path / "backup.json"
    await (await download.value).save_as(backup)
    assert json.loads(backup.read_text())["entries"][0]["body"] == "서버에는 없는 글"

    await page.evaluate("localStorage.clear()")
    await page.reload()
    await expect(page.locator("#empty-title")).to_be_visible()
    for _ in range(2):  # bringing it in twice doubles nothing
        await page.locator("#import-file").set_input_files(backup)
        await expect(page.locator("#toast-text")).to_have_text("일기 1편을 가져왔어요.")
    await expect(page.locator("#entries .entry")).to_have_count(1)
    await page.get_by_role("searchbox").fill("서버")
    await expect(page.locator("#entries mark")).to_have_text("서버")
    assert asked == []
    assert complaints == []
