"""What somebody does who has just cloned Madang: the README's commands, in a clean copy of the sources."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pexpect
import pytest

from tests.journeys.talkers import KEY_LINK, TerminalTalker
from tests.support.engine import REPOSITORY, Engine, free_port
from tests.support.visitor import bearer, visitor, wait_for_status

pytestmark = [pytest.mark.journey, pytest.mark.docker, pytest.mark.nginx, pytest.mark.timeout(900)]
SET_UP_S = 600


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clean copy of what git would give, with ports and a network of its own in its .env."""
    folder = tmp_path / "madang"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY, check=True, capture_output=True, text=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.split("\0")):
        if (REPOSITORY / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, folder / name)
    return folder


@asynccontextmanager
async def started(clone: Path, timeout_s: float) -> AsyncIterator[str]:
    """`./madang run` in a terminal; gives what it printed, and ends with Ctrl-C."""
    terminal = pexpect.spawn(
        str(clone / "madang"),
        ["run"],
        cwd=str(clone),
        encoding="utf-8",
        timeout=timeout_s,
        dimensions=(50, 160),
    )
    try:
        await asyncio.to_thread(terminal.expect, "Ctrl-C")
        yield str(terminal.before)
        terminal.sendintr()
        await asyncio.to_thread(terminal.expect, pexpect.EOF)
        terminal.wait()
        assert terminal.exitstatus == 0, terminal.before
    except (pexpect.EOF, pexpect.TIMEOUT):
        raise AssertionError(f"./madang run said:\n{terminal.before}") from None
    finally:
        terminal.close(force=True)


async def test_the_first_five_minutes(clone: Path, tmp_path: Path) -> None:
    box = Engine(tmp_path, driver="docker")  # not started: it only knows how to clear up afterwards
    port = free_port()
    (clone / ".env").write_text(
        f"PAAS_HTTP_PORT={port}\nPORTAL_PORT={free_port()}\nPAAS_NETWORK={box.network}\nPAAS_ROOT={box.root / 'var'}\n"
    )
    try:
        async with started(clone, SET_UP_S) as printed:
            assert f"http://localhost:{port}" in printed
            assert f"http://localhost:{port}/chat" in printed
            assert re.search(r"password \S{12,}|비밀번호 \S{12,}", printed), printed
            assert "TELEGRAM_BOT_TOKEN" in printed
            link = await chat_until_a_diary_lives(clone, tmp_path, port)
        url = link.partition("/#")[0]
        async with started(clone, 60) as printed_again, visitor(headers=bearer(link)) as person:
            assert "비밀번호" not in printed_again
            assert not re.search(r"password \S{12,}", printed_again)
            await wait_for_status(person, f"{url}/api/entries", 200)
            async with person.get(f"{url}/api/entries") as answer:
                assert [e["body"] for e in (await answer.json())["data"]["entries"]] == ["first words"]
    finally:
        await box.clear_docker()


async def chat_until_a_diary_lives(clone: Path, home: Path, port: int) -> str:
    talker = TerminalTalker(f"http://localhost:{port}", home, [str(clone / "madang"), "chat"])
    await talker.sees("What shall I call you?")
    await talker.say("hello")
    await talker.sees("What shall I call you?")
    await talker.say(f"new{port}")
    await talker.sees("Nice to meet you")
    await talker.say("make me a diary")
    await talker.press("diary")
    await talker.press("On the server, to read on all my devices")
    await talker.press("Make it")
    await talker.sees("diary is ready")
    link = KEY_LINK.findall(await talker.sees("#key="))[-1]
    await talker.close()
    url = link.partition("/#")[0]
    async with visitor(headers=bearer(link)) as person:
        await wait_for_status(person, url, 200)
        async with person.post(f"{url}/api/entries", json={"body": "first words"}) as answer:
            assert answer.status == 201
    return str(link)


def test_the_demonstration_needs_neither_root_nor_docker(tmp_path: Path) -> None:
    python = Path(sys.executable).resolve()
    # As nobody, unless this Python or checkout is in somebody's closed home.
    open_to_all = all(
        each.stat().st_mode & 0o001 for path in (python, REPOSITORY) for each in (path, *path.parents)
    )
    nobody = 65534 if open_to_all else None
    talk = "hello\nminji\nmake me a diary\n1\n1\n1\n"
    done = subprocess.run(
        [sys.executable, "-m", "engine.cli", "chat", "--demo", "--lang", "en"],
        cwd=REPOSITORY, input=talk, capture_output=True, text=True, timeout=120, check=True, user=nobody, group=nobody,
        env={"PATH": "/nowhere", "HOME": str(tmp_path), "PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert "This is a demonstration" in done.stdout
    assert "diary is ready" in done.stdout
