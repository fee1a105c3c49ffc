"""`madang chat` as a program: over a pipe and at a pseudo-terminal, against the real /chat with a scripted talk."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pexpect
import pytest
from aiohttp import web

from bot.conversation.model import Ask
from bot.talk import Shown, Surface
from bot.terminal import Tokens
from bot.terminal_screen import Paint, plain, screen_text, under_way
from engine.words import translator
from tests.support.engine import free_port
from tests.unit.scripted_talk import ChatServer, ScriptedTalk, button, link, serving, shown, steps

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = [sys.executable, "-c", "import sys; from bot.terminal import main; sys.exit(main(sys.argv[1:]))"]


@pytest.fixture
def talk() -> ScriptedTalk:
    menu = shown(
        "뭘 할까요?", [button("만들기", "s.0"), button("내 것", "s.1")], [link("열기", "http://a.localhost/")]
    )
    return ScriptedTalk({"menu": menu})


@pytest.fixture
async def server(talk: ScriptedTalk) -> AsyncIterator[ChatServer]:
    async with serving(talk) as running:
        yield running


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"], "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config"), "LANG": "ko_KR.UTF-8",
        "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", "PYTHONWARNINGS": "error", "PROMPT_TOOLKIT_NO_CPR": "1", "TERM": "xterm",
    }  # fmt: skip


async def start(environment: dict[str, str], *argv: str) -> Process:
    return await asyncio.create_subprocess_exec(
        *PROGRAM, *argv, env=environment, cwd=environment["HOME"], stdin=PIPE, stdout=PIPE, stderr=PIPE
    )


async def run(environment: dict[str, str], *argv: str, typed: str = "") -> tuple[int | None, str, str]:
    process = await start(environment, *argv)
    async with asyncio.timeout(60):
        out, err = await process.communicate(typed.encode())
    return process.returncode, out.decode(), err.decode()


async def read_until(process: Process, words: str | None) -> str:
    """What it writes up to the line with `words`; to its end for None."""
    assert process.stdout is not None
    out = ""
    async with asyncio.timeout(60):
        while words is None or words not in out:
            line = (await process.stdout.readline()).decode()
            if not line:
                assert words is None, f"{words} never came:\n{out}"
                break
            out += line
    return out


# --- what a screen looks like


def _screen(**fields: Any) -> dict[str, Any]:
    empty: dict[str, Any] = {
        "title": "",
        "text": "",
        "code": "",
        "buttons": [],
        "ask": None,
        "progress": [],
        "elapsed_s": None,
    }
    return empty | fields


def test_a_screen_as_text() -> None:
    screen = _screen(
        title="diary",
        text="켜져 있어요",
        code="one\ntwo\n",
        buttons=[
            [
                {"label": "끄기", "id": "s.0", "style": "danger"},
                {"label": "열기", "url": "http://a/", "style": "primary"},
            ],
            [{"label": "메뉴", "id": "s.1", "style": "default"}],
        ],
        progress=[{"label": "파일", "state": "done"}, {"label": "켜기", "state": "now"}],
        elapsed_s=3.9,
    )
    assert screen_text(screen, Paint(on=False), translator("en")) == (
        "\ndiary\n켜져 있어요\n\n│ one\n│ two\n\n  ✓ 파일\n  ▸ 켜기\n  3 s\n\n  2) 열기  http://a/\n  1) 끄기\n  3) 메뉴\n"
    )


def test_colours_where_they_are_shown() -> None:
    assert "\x1b[1mdiary\x1b[0m" in screen_text(_screen(title="diary"), Paint(on=True), translator("en"))


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("a\x1b[2Jb", "ab"), ("\x1b]0;title\x07x", "]0;titlex"), ("one\r\ntwo\rthree", "one\ntwo\nthree"), ("\x9b31m", "31m"),
        ("\u202eevil", "evil"), ("한\t글\n🎉", "한\t글\n🎉"), ("\x1b\x1b[31mx", "x"),
    ],
)  # fmt: skip
def test_nothing_shown_tells_the_terminal_to_do_things(text: str, left: str) -> None:
    assert plain(text) == left


def test_a_screen_is_under_way_until_every_step_is_done() -> None:
    states = [["done", "now"], ["todo"], ["done"], []]
    progress = [[{"label": "x", "state": state} for state in each] for each in states]
    assert [under_way(_screen(progress=each)) for each in progress] == [True, True, False, False]


# --- over a pipe


async def test_a_pipe_is_answered_line_by_line(
    server: ChatServer, talk: ScriptedTalk, environment: dict[str, str]
) -> None:
    typed = "menu\n\n2\nmenu\n3\nmenu\n9\n"
    status, out, err = await run(environment, "--url", server.url, typed=typed)
    assert (status, err) == (0, "")
    assert talk.heard == [
        ("terminal", "begin", "ko"), ("terminal", "say", "menu"), ("terminal", "press", "s.1"), ("terminal", "say", "menu"),
        ("terminal", "say", "menu"),
    ]  # fmt: skip
    assert "안녕하세요!" in out
    assert "  1) 만들기   2) 내 것\n  3) 열기  http://a.localhost/\n" in out
    assert "\nhttp://a.localhost/\n" in out
    assert "9" in out.rsplit("http://a.localhost/\n", 1)[1]
    assert "\x1b" not in out


async def test_a_pipe_ends_after_the_progress_it_watches(
    server: ChatServer, talk: ScriptedTalk, environment: dict[str, str]
) -> None:
    first, second = "파일 준비하기", "프로그램 켜기"
    refs: asyncio.Queue[str | None] = asyncio.Queue()

    def making(done: int) -> Shown:
        return shown("", title="만드는 중…", progress=steps(first, second, done=done), elapsed_s=1.0)

    async def make(surface: Surface, address: str, ref: str | None) -> None:
        await refs.put(await surface.show(address, making(0), None))

    talk.script["make"] = make
    process = await start(environment, "--url", server.url)
    assert process.stdin is not None
    process.stdin.write(b"make\n1\n")
    process.stdin.write_eof()
    ref, address = await refs.get(), talk.addresses[0]
    out = await read_until(process, first)
    for _ in range(2):
        await server.terminal.show(address, making(1), ref)
    out += await read_until(process, second)
    await server.terminal.show(address, shown("다 됐어요", [button("자세히", "s.7")]), ref)
    out += await read_until(process, None)
    assert await process.wait() == 0
    assert talk.heard[-1] == ("terminal", "press", "s.7")  # the number meant the screen that came at last
    assert "\n만드는 중…\n  ▸ 파일 준비하기\n  ▸ 프로그램 켜기\n\n다 됐어요\n" in out


async def test_a_number_is_said_where_something_is_asked(
    server: ChatServer, talk: ScriptedTalk, environment: dict[str, str]
) -> None:
    talk.script["age"] = shown("몇 살인가요?", [button("비밀", "s.0")], ask=Ask("10"))
    await run(environment, "--url", server.url, typed="age\n12\n")
    assert talk.heard[-1] == ("terminal", "say", "12")


async def test_one_is_known_again_and_only_oneself_can_read_how(
    server: ChatServer, talk: ScriptedTalk, environment: dict[str, str]
) -> None:
    for _ in range(2):
        assert (await run(environment, "--url", server.url + "/chat/"))[0] == 0
    assert len(set(talk.addresses)) == 1
    kept = Path(environment["XDG_CONFIG_HOME"]) / "madang" / "chat.json"
    assert list(json.loads(kept.read_text())) == [server.url]
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700
    assert list(kept.parent.iterdir()) == [kept]


async def test_a_token_that_is_not_taken_is_given_up(server: ChatServer, environment: dict[str, str]) -> None:
    kept = Path(environment["XDG_CONFIG_HOME"]) / "madang" / "chat.json"
    Tokens(kept).keep(server.url, "short")
    status, out, _ = await run(environment, "--url", server.url)
    assert status == 0
    assert "안녕하세요!" in out
    assert Tokens(kept).of(server.url) != "short"


@pytest.mark.parametrize("content", ["", "[]", "{", '{"http://a": 1}'])
def test_a_spoilt_file_of_tokens_is_as_none(tmp_path: Path, content: str) -> None:
    path = tmp_path / "chat.json"
    path.write_text(content)
    assert Tokens(path).of("http://a") is None
    Tokens(path).keep("http://a", "t")
    assert Tokens(path).of("http://a") == "t"


def test_a_folder_that_cannot_be_written_costs_the_memory_only(tmp_path: Path) -> None:
    (tmp_path / "madang").write_text("a file in the way")
    Tokens(tmp_path / "madang" / "chat.json").keep("http://a", "t")
    assert Tokens(tmp_path / "madang" / "chat.json").of("http://a") is None


@pytest.mark.parametrize(("lang", "words"), [("en", "./madang run"), ("ko", "./madang run")])
async def test_nothing_there_says_what_to_do(environment: dict[str, str], lang: str, words: str) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    status, out, err = await run(environment | {"MADANG_URL": url}, "--lang", lang, typed="hello\n")
    assert (status, out) == (1, "")
    assert url in err
    assert words in err
    assert "Traceback" not in err


async def test_something_else_there_says_so(environment: dict[str, str]) -> None:
    runner = web.AppRunner(web.Application())
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        status, _, err = await run(
            environment, "--url", f"127.0.0.1:{runner.addresses[0][1]}", "--lang", "en"
        )
    finally:
        await runner.cleanup()
    assert status == 1
    assert "HTTP 404" in err


async def test_a_restarted_engine_is_found_again_and_answers_what_was_owed(
    server: ChatServer, talk: ScriptedTalk, environment: dict[str, str]
) -> None:
    process = await start(environment, "--url", server.url, "--lang", "en")
    assert process.stdin is not None
    out = await read_until(process, "안녕하세요!")
    await server.stop()
    process.stdin.write(b"hello\n")
    process.stdin.write_eof()
    out += await read_until(process, "다시 연결하는 중")
    await server.start()
    out += await read_until(process, None)
    assert await process.wait() == 0
    assert "다시 연결됐어요." in out
    assert "“hello”" in out
    assert out.count("안녕하세요!") == 1
    assert talk.heard.count(("terminal", "say", "hello")) == 1


async def test_an_interrupt_ends_politely(server: ChatServer, environment: dict[str, str]) -> None:
    process = await start(environment, "--url", server.url)
    assert process.stderr is not None
    await read_until(process, "안녕하세요!")
    process.send_signal(signal.SIGINT)
    assert await process.wait() == 0
    assert await process.stderr.read() == b""


# --- at a terminal


@contextmanager
def terminal(environment: dict[str, str], *argv: str) -> Iterator[pexpect.spawn]:
    child = pexpect.spawn(
        PROGRAM[0], [*PROGRAM[1:], *argv], env=environment, cwd=environment["HOME"], encoding="utf-8", timeout=30,
        dimensions=(40, 100),
    )  # fmt: skip
    try:
        yield child
    finally:
        child.close(force=True)


async def expect(child: pexpect.spawn, *patterns: str) -> None:
    """In its own thread: the server lives in this loop."""
    for pattern in patterns:
        await asyncio.to_thread(child.expect_exact, pattern)


async def test_at_a_terminal_numbers_press_and_words_are_said(
    server: ChatServer, talk: ScriptedTalk, environment: dict[str, str]
) -> None:
    with terminal(environment, "--url", server.url) as child:
        await expect(child, "안녕하세요!", "›", "minsu")
        child.send("menu\r")
        await expect(child, "만들기", "http://a.localhost/", "›")
        child.send("1\r")
        await talk.until_heard("terminal", "press", "s.0")
        await expect(child, "“s.0”", "›")
        child.send("menu\r")
        await expect(child, "만들기", "›")
        child.send("3\r")
        await expect(child, "http://a.localhost/", "›")
        child.sendeof()
        await expect(child, "\r\n")
        await asyncio.to_thread(child.expect, pexpect.EOF)
        child.wait()
        assert child.exitstatus == 0
    assert [heard[1:] for heard in talk.heard[1:]] == [("say", "menu"), ("press", "s.0"), ("say", "menu")]


async def test_at_a_terminal_progress_moves_above_the_prompt(
    server: ChatServer, talk: ScriptedTalk, environment: dict[str, str]
) -> None:
    with terminal(environment, "--url", server.url) as child:
        await expect(child, "안녕하세요!", "›")
        address = talk.addresses[0]
        labels = ("파일 준비하기", "프로그램 켜기")
        first = shown("", title="만드는 중…", progress=steps(*labels, done=0), elapsed_s=1.0)
        ref = await server.terminal.show(address, first, None)
        await expect(child, "만드는 중…", "▸ 파일 준비하기", "· 프로그램 켜기")
        second = shown("", title="만드는 중…", progress=steps(*labels, done=1), elapsed_s=2.0)
        await server.terminal.show(address, second, ref)
        await expect(child, "✓ ", "▸ ")
        child.send("hel")  # typing goes on meanwhile
        await expect(child, "hel")
        await server.terminal.show(address, shown("다 됐어요"), ref)
        await expect(child, "다 됐어요", "hel")
        child.send("lo\r")
        await talk.until_heard("terminal", "say", "hello")


async def test_control_c_ends_politely(server: ChatServer, environment: dict[str, str]) -> None:
    with terminal(environment, "--url", server.url, "--lang", "en") as child:
        await expect(child, "›")
        child.sendintr()
        await expect(child, "안녕히 가세요")
        await asyncio.to_thread(child.expect, pexpect.EOF)
        child.wait()
        assert child.exitstatus == 0


async def test_at_a_terminal_a_restart_is_said_and_survived(
    server: ChatServer, talk: ScriptedTalk, environment: dict[str, str]
) -> None:
    with terminal(environment, "--url", server.url, "--lang", "en") as child:
        await expect(child, "›")
        await server.stop()
        await expect(child, "다시 연결하는 중", "›")
        child.send("hello\r")
        await expect(child, "› hello")
        await server.start()
        await expect(child, "다시 연결됐어요", "“hello”")


# --- without a Madang


async def test_the_demonstration_needs_nothing_and_keeps_nothing(
    environment: dict[str, str], tmp_path: Path
) -> None:
    status, out, err = await run(
        environment | {"TMPDIR": str(tmp_path)}, "--demo", "--lang", "en", typed="minsu\n"
    )
    assert (status, err) == (0, "")
    assert "demonstration" in out
    assert "minsu" in out
    assert list(tmp_path.iterdir()) == []
