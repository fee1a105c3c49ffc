"""entry.py: folders of files, programs, and stopping as PID 1; and the homepage, which is such a folder."""

from __future__ import annotations

import asyncio
import html.parser
import re
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yarl

from tests.templates.conftest import TEMPLATES, Program, Render, Start


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with what a beginner uploads, and with what must never leave it."""
    (tmp_path / "secret.txt").write_text("outside")
    folder = tmp_path / "site"
    public = folder / "public"
    (public / "sub").mkdir(parents=True)
    (public / "empty").mkdir()
    (public / ".git").mkdir()
    (public / "index.html").write_text("<p>안녕")
    (public / "sub/index.html").write_text("sub")
    (public / "style.css").write_text("p { color: green }")
    (public / "글 하나.txt").write_text("한글")
    (public / ".env").write_text("TOKEN=1")
    (public / ".git/config").write_text("x")
    (public / "leak.txt").symlink_to(tmp_path / "secret.txt")
    (public / "leak").symlink_to(tmp_path)
    (public / "visible.txt").symlink_to(public / ".env")
    (public / "loop").symlink_to(public / "loop")
    (public / "inside.txt").symlink_to(public / "style.css")
    (folder / "notes.txt").write_text("beside public/")
    return folder


async def fetch(
    session: aiohttp.ClientSession, program: Program, path: str, **kwargs: Any
) -> tuple[aiohttp.ClientResponse, str]:
    """The status and body of an address, sent exactly as written."""
    url = yarl.URL(program.url + path, encoded=True)
    async with session.get(url, allow_redirects=False, **kwargs) as response:
        return response, await response.text()


async def test_files_with_their_headers(
    start_program: Start, site: Path, browser_session: aiohttp.ClientSession
) -> None:
    program = await start_program(site)
    response, text = await fetch(browser_session, program, "/")
    assert (response.status, text) == (200, "<p>안녕")
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert response.headers["Cache-Control"] == "no-cache"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert {"ETag", "Last-Modified"} <= response.headers.keys()
    again, _ = await fetch(browser_session, program, "/", headers={"If-None-Match": response.headers["ETag"]})
    assert again.status == 304
    response, _ = await fetch(browser_session, program, "/style.css")
    assert "max-age" in response.headers["Cache-Control"]
    assert (await fetch(browser_session, program, "/%EA%B8%80%20%ED%95%98%EB%82%98.txt"))[1] == "한글"
    assert (await fetch(browser_session, program, "/inside.txt"))[0].status == 200


async def test_folders_show_their_index_or_nothing(
    start_program: Start, site: Path, browser_session: aiohttp.ClientSession
) -> None:
    program = await start_program(site)
    response, _ = await fetch(browser_session, program, "/sub")
    assert (response.status, response.headers["Location"]) == (302, "./sub/")
    assert (await fetch(browser_session, program, "/sub/"))[1] == "sub"
    response, text = await fetch(browser_session, program, "/empty/")
    assert response.status == 404
    assert "sub" not in text


@pytest.mark.parametrize(
    "path",
    ["/.env", "/.git/config", "/sub/../.env", "/leak.txt", "/leak/secret.txt", "/visible.txt", "/loop",
     "/../secret.txt", "/..%2fsecret.txt", "/%2e%2e/%2e%2e/secret.txt", "/..\\secret.txt", "/%00", "/" + "a" * 300,
     "/notes.txt", "/../notes.txt", "/style.css/", "/index.html/x", "//etc/passwd"],
)  # fmt: skip
async def test_nothing_hidden_or_outside_is_served(
    start_program: Start, site: Path, browser_session: aiohttp.ClientSession, path: str
) -> None:
    program = await start_program(site)
    response, text = await fetch(browser_session, program, path)
    assert response.status == 404
    assert "TOKEN" not in text and "outside" not in text


async def test_only_reading(start_program: Start, site: Path, browser_session: aiohttp.ClientSession) -> None:
    program = await start_program(site)
    async with browser_session.post(program.url + "/") as response:
        assert response.status == 405
    async with browser_session.head(program.url + "/") as response:
        assert response.status == 200


async def test_an_own_404_page(
    start_program: Start, site: Path, browser_session: aiohttp.ClientSession
) -> None:
    (site / "public/404.html").write_text("<p>길을 잃었어요")
    program = await start_program(site)
    response, text = await fetch(browser_session, program, "/nowhere")
    assert (response.status, text) == (404, "<p>길을 잃었어요")


async def test_a_folder_without_public_is_served_itself(
    start_program: Start, tmp_path: Path, browser_session: aiohttp.ClientSession
) -> None:
    (tmp_path / "index.html").write_text("flat")
    program = await start_program(tmp_path)
    assert (await fetch(browser_session, program, "/"))[1] == "flat"


async def test_a_file_server_stops_at_once_with_a_connection_open(
    start_program: Start, site: Path, browser_session: aiohttp.ClientSession
) -> None:
    program = await start_program(site)
    await fetch(browser_session, program, "/")
    async with asyncio.timeout(1.5):
        assert await program.stop() == 0


async def test_a_program_runs_as_main_with_its_own_modules(start_program: Start, tmp_path: Path) -> None:
    (tmp_path / "words.py").write_text("PLACE = 'yard'")
    (tmp_path / "main.py").write_text(
        "import os, signal, sys, words\n"
        "assert __name__ == '__main__' and sys.path[0] == os.getcwd()\n"
        "print(words.PLACE, 'on port ', os.environ['PORT'], sys.argv[0])\n"
        "signal.pause()\n"
    )
    program = await start_program(tmp_path)
    assert program.log == [f"yard on port  {program.port} {tmp_path}/main.py\n"]  # seen at once: not buffered
    assert await program.stop() == 0  # without a handler of its own


async def test_a_broken_program_says_why(start_program: Start, tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("raise RuntimeError('no such yard')")
    with pytest.raises(AssertionError, match="no such yard"):
        await start_program(tmp_path)


class Outline(html.parser.HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("theme", ["garden", "sunset", "sea"])
async def test_the_homepage_shows_what_its_owner_said(
    start_program: Start, render_template: Render, browser_session: aiohttp.ClientSession, theme: str
) -> None:
    options = {"title": "지은 <네> 마당", "intro": '안녕 & "반가워요"', "theme": theme}
    folder = render_template("homepage-v1", options=options, appname="home", userid="jieun", title="home")
    program = await start_program(folder)
    response, text = await fetch(browser_session, program, "/")
    assert response.status == 200
    outline = Outline(text)
    assert "지은 <네> 마당" in outline.text
    assert '안녕 & "반가워요"' in outline.text
    assert "script" not in outline.tags
    assert f'<body class="{theme}">' in text
    for address in re.findall(r'(?:href|src)="(/[^"]+)"', text):
        assert (await fetch(browser_session, program, address))[0].status == 200
    response, text = await fetch(browser_session, program, "/nowhere")
    assert response.status == 404
    assert f'<body class="{theme}">' in text
    css = (folder / "public/style.css").read_text()
    assert theme == "garden" or css.count(f"body.{theme}") == 2  # light and dark


async def test_a_homepage_without_answers_still_says_hello(render_template: Render) -> None:
    options = {"title": "", "intro": "", "theme": "garden"}
    folder = render_template("homepage-v1", options=options, appname="home", userid="jieun", title="나의 홈")
    page = Outline((folder / "public/index.html").read_text())
    assert "나의 홈" in page.text
    assert "반가워요" in page.text


def test_the_homepage_is_explained_in_both_languages() -> None:
    text = (TEMPLATES / "homepage-v1/app/public/index.html.j2").read_text()
    assert len(re.findall(r"<!--.*?-->", text, re.DOTALL)) >= 6
