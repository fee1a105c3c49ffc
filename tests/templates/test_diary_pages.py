"""The pages of the diary: two languages, files of its own only, and the kind without a server."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import aiohttp
import pytest

from tests.templates.conftest import ROOT, TEMPLATES, Api, Program, Start

PUBLIC = TEMPLATES / "diary-v1/app/public"
WORDS = {language: json.loads((PUBLIC / f"i18n/{language}.json").read_text()) for language in ("ko", "en")}


def test_both_languages_are_complete() -> None:
    assert WORDS["ko"].keys() == WORDS["en"].keys()
    for key, korean in WORDS["ko"].items():
        english = WORDS["en"][key]
        assert korean.strip() and english.strip(), key
        assert set(re.findall(r"\{(\w+)\}", korean)) == set(re.findall(r"\{(\w+)\}", english)), key
        if key != "menu.other_language":
            assert not re.search("[가-힣]", english), key
            assert re.search("[가-힣]", korean), key


def test_every_word_used_exists_and_every_word_is_used() -> None:
    pages = "".join(path.read_text() for path in PUBLIC.glob("*.html"))
    scripts = "".join(path.read_text() for path in PUBLIC.glob("js/*.js"))
    python = "".join(path.read_text() for path in (TEMPLATES / "diary-v1/app").rglob("*.py"))
    used = set(re.findall(r"\{\{([a-z]+\.[\w.]+)\}\}", pages))
    # A key is a string in the code; "x.one" and "x.other" are asked for as "x".
    quoted = set(re.findall(r"[\"'`]([a-z]+\.[a-z_]+(?:\.[a-z_]+)?)[\"'`]", scripts + python))
    used |= quoted & WORDS["ko"].keys()
    used |= {f"{key}.{form}" for key in quoted for form in ("one", "other") if f"{key}.one" in WORDS["ko"]}
    composed = {key for key in WORDS["ko"] if key.startswith(("error.", "mood."))}
    assert WORDS["ko"].keys() - used - composed == set()
    missing = {key for key in re.findall(r"say\(\"([\w.]+)\"", scripts) if key not in WORDS["ko"]}
    missing |= {
        key for key in re.findall(r"sayCount\(\"([\w.]+)\"", scripts) if f"{key}.other" not in WORDS["ko"]
    }
    missing |= used - WORDS["ko"].keys()
    assert missing == set()


def test_every_code_of_the_api_that_a_person_can_meet_has_words() -> None:
    for code in ("too_long", "bad_date", "empty", "disk_full", "storage_unavailable", "login_required",
                 "wrong_key", "too_many_tries", "not_found", "offline", "local_full"):  # fmt: skip
        assert f"error.{code}" in WORDS["ko"]


def test_pages_need_no_other_host_and_no_inline_code() -> None:
    for path in PUBLIC.rglob("*"):
        if path.suffix in {".html", ".css", ".js"}:
            text = path.read_text()
            assert not re.search(r"(?<!xmlns=\")https?://", text), path
            assert not re.search(r"\sstyle=|\son\w+=\"|javascript:|innerHTML|eval\(", text), path
            assert "<script>" not in text and "<style" not in text, path
            assert len(text.splitlines()) < 500, path


@pytest.mark.parametrize(
    ("headers", "language"),
    [
        ({}, "ko"),
        ({"Accept-Language": "en-US,en;q=0.9"}, "en"),
        ({"Accept-Language": "ko-KR,ko;q=0.9,en;q=0.8"}, "ko"),
        ({"Accept-Language": "fr-FR,en;q=0.8"}, "en"),
        ({"Accept-Language": "ja"}, "ko"),
        ({"Accept-Language": "ko", "Cookie": "diary_lang=en"}, "en"),
        ({"Cookie": "diary_lang=xx"}, "ko"),
    ],
)
async def test_the_page_speaks_the_readers_language(
    diary: Program, browser_session: aiohttp.ClientSession, headers: dict[str, str], language: str
) -> None:
    async with browser_session.get(diary.url + "/", headers=headers) as response:
        text = await response.text()
    assert f'<html lang="{language}"' in text
    assert WORDS[language]["login.heading"].replace("’", "’") in text
    assert "{{" not in text


async def test_the_switch_remembers_the_language(
    diary: Program, browser_session: aiohttp.ClientSession
) -> None:
    async with browser_session.get(diary.url + "/?lang=en") as response:
        assert '<html lang="en"' in await response.text()
    async with browser_session.get(diary.url + "/") as response:
        assert '<html lang="en"' in await response.text()


async def test_a_title_is_text_and_never_markup(
    diary: Program, browser_session: aiohttp.ClientSession
) -> None:
    await diary.stop()
    await diary.start(APP_TITLE='<script>alert("1")</script> & 나')
    async with browser_session.get(diary.url + "/") as response:
        text = await response.text()
    assert "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt; &amp; 나" in text
    assert "<script>" not in text
    async with browser_session.get(diary.url + "/manifest.webmanifest") as response:
        assert response.content_type == "application/manifest+json"
        manifest = json.loads(await response.text())
    assert manifest["name"] == '<script>alert("1")</script> & 나'
    for icon in manifest["icons"]:
        async with browser_session.get(diary.url + icon["src"]) as response:
            assert response.status == 200
            assert response.content_type == icon["type"]


async def test_assets_are_cached_by_version_and_nothing_else_is_reachable(
    diary: Program, browser_session: aiohttp.ClientSession
) -> None:
    async with browser_session.get(diary.url + "/") as response:
        text = await response.text()
    addresses = re.findall(r'(?:href|src)="(/assets/[^"]+)"', text)
    assert addresses
    for address in addresses:
        async with browser_session.get(diary.url + address) as response:
            assert response.status == 200
            assert "immutable" in response.headers["Cache-Control"]
    version = addresses[0].split("/")[2]
    async with browser_session.get(f"{diary.url}/assets/old/js/main.js") as response:
        assert (response.status, response.headers["Cache-Control"]) == (200, "no-cache")
    for name in ("..%2fmain.py", "%2e%2e/main.py", "index.html", "/etc/passwd", "js"):
        async with browser_session.get(f"{diary.url}/assets/{version}/{name}") as response:
            assert response.status in {401, 404}, name


async def test_without_the_api_there_is_a_page_and_nothing_on_the_server(
    start_program: Start, diary_folder: Path, tmp_path: Path, browser_session: aiohttp.ClientSession
) -> None:
    database = tmp_path / "never.sqlite3"
    program = await start_program(
        diary_folder, ENABLE_API="false", SQLITE_PATH=str(database), APP_LOCALE="en"
    )
    async with browser_session.get(program.url + "/") as response:
        text = await response.text()
    assert 'data-mode="local"' in text
    assert "kept in this browser only" in text
    as_anyone = Api(browser_session, program.url, {"Origin": program.url})
    for method, path in (("GET", "/api/entries"), ("POST", "/api/entries"), ("GET", "/api/export")):
        status, answer = await as_anyone(method, path)
        assert (status, answer["code"]) == (404, "api_off")
    async with browser_session.get(program.url + "/healthz") as response:
        assert (response.status, await response.text()) == (200, "ok")
    assert not database.exists()


@pytest.mark.parametrize("template", ["diary-v1", "homepage-v1"])
def test_the_catalogue_entry_keeps_its_contract(template: str) -> None:
    card = tomllib.loads((TEMPLATES / template / "template.toml").read_text())
    assert card["id"] == template
    assert (card["kind"], card["runtime"], card["port"]) == ("container", "python", 3000)
    assert card["health_path"].startswith("/")
    for flag in ("single_writer", "private", "supports_api"):
        assert isinstance(card[flag], bool)
    assert re.fullmatch("[a-z][a-z0-9-]{2,29}", card["suggested_name"])
    for words in (card["name"], card["summary"]):
        assert words.keys() == {"ko", "en"}
        assert all("\n" not in text and len(text) < 80 for text in words.values())
    for option in card["options"]:
        assert option["label"].keys() == {"ko", "en"}
        if option["type"] == "choice":
            assert option["default"] in [choice["value"] for choice in option["choices"]]
            assert all(choice["label"].keys() == {"ko", "en"} for choice in option["choices"])
        else:
            assert (option["type"], option["default"]) == ("text", "")
            assert option["max_length"] > 0


def test_the_image_installs_what_the_programs_import() -> None:
    wanted = (ROOT / "runtime/images/python/requirements.txt").read_text()
    for package in ("aiohttp", "aiosqlite"):
        assert re.search(rf"^{package}>=[\d.]+,<\d+$", wanted, re.MULTILINE)
