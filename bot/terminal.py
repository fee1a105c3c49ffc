"""The chat in a terminal: `madang chat`. Choices are numbers; everything else is said as it is typed.

At a terminal the progress of an operation is redrawn above the prompt. Over a pipe every line is answered to its end
before the next one is read, so that a script's numbers always mean the screen that it has just seen.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import threading
import webbrowser
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Final, Protocol, TextIO

from prompt_toolkit import PromptSession
from prompt_toolkit.application import run_in_terminal
from prompt_toolkit.formatted_text import ANSI

from bot.terminal_demo import demonstration
from bot.terminal_link import Frame, Link, NotLetIn, Unreachable
from bot.terminal_screen import (
    Choice,
    Fields,
    Paint,
    choices,
    plain,
    progress_text,
    screen_text,
    step_text,
    under_way,
)
from engine.words import LOCALES, N_, Translator, pick_locale, translator

_DEFAULT_URL: Final = "http://localhost:8080"
_SCRIPT_PATIENCE_S: Final = 60.0
_PROMPT: Final = "› "
_GOODBYE: Final = N_("Goodbye. Your things stay as they are.")
_GOODBYE_DEMO: Final = N_("Goodbye. To keep what you make, start Madang: ./madang run")


def main(argv: Sequence[str], *, url: str | None = None) -> int:
    """Chats until the person ends it, with the Madang at `url` where they name none. Returns the exit status."""
    options = _options(argv, url or _DEFAULT_URL)
    with suppress(KeyboardInterrupt):
        return asyncio.run(_chat(options))
    return 0


def _options(argv: Sequence[str], default_url: str) -> argparse.Namespace:
    t = translator(_language(None))
    parser = argparse.ArgumentParser(prog="madang chat", description=t("Chat with Madang in this terminal."))
    parser.add_argument(
        "--url",
        default=os.environ.get("MADANG_URL") or default_url,
        help=t("where Madang is (MADANG_URL, or {url})", url=default_url),
    )
    parser.add_argument("--lang", choices=LOCALES, help=t("the language to chat in"))
    parser.add_argument(
        "--demo", action="store_true", help=t("try it without a Madang: nothing is really started")
    )
    return parser.parse_args(argv)


def _language(wanted: str | None) -> str:
    names = ("LC_ALL", "LC_MESSAGES", "LANG")
    return pick_locale(wanted, next((os.environ[name] for name in names if os.environ.get(name)), None))


async def _chat(options: argparse.Namespace) -> int:
    t = translator(_language(options.lang))
    ui: Ui = TtyUi() if sys.stdin.isatty() and sys.stdout.isatty() else PipeUi(sys.stdin, sys.stdout)
    async with AsyncExitStack() as stack:
        if options.demo:
            await ui.write(
                t("This is a demonstration: nothing is really started, and nothing of it is kept.") + "\n"
            )
            url, tokens = await stack.enter_async_context(demonstration()), Tokens(None)
        else:
            url, tokens = _address(options.url), Tokens(_config_path())
        try:
            await _converse(ui, url, tokens, t, goodbye=_GOODBYE_DEMO if options.demo else _GOODBYE)
        except Unreachable as error:
            sys.stderr.write(_unreachable_words(t, url, error) + "\n")
            return 1
        except NotLetIn as error:
            sys.stderr.write(f"{plain(str(error))}\n")
            return 1
    return 0


def _address(url: str) -> str:
    return (url if "://" in url else f"http://{url}").rstrip("/").removesuffix("/chat")


def _unreachable_words(t: Translator, url: str, error: Unreachable) -> str:
    if error.status is None:
        return t(
            "Madang does not answer at {url}. Start it with ./madang run, or say where it is with --url. "
            "To try it without, use --demo.",
            url=url,
        )
    return t(
        "Something answers at {url}, but it is not the chat (HTTP {status}). Say where Madang is with --url.",
        url=url,
        status=error.status,
    )


async def _converse(ui: Ui, url: str, tokens: Tokens, t: Translator, *, goodbye: str) -> None:
    """Runs the link and reads what is typed, until either ends."""
    room = Room(ui, t)
    link = Link(
        url,
        room,
        locale=t.locale,
        token=tokens.of(url),
        keep_token=lambda token: tokens.keep(url, token),
        patience_s=_SCRIPT_PATIENCE_S if ui.one_by_one else None,
    )
    tasks = {asyncio.create_task(link.run()), asyncio.create_task(_read(ui, link, room, goodbye))}
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


async def _read(ui: Ui, link: Link, room: Room, goodbye: str) -> None:
    await link.begun.wait()
    await room.settled()
    async for line in ui.lines():
        frame = await room.meaning(line)
        if frame is None:
            continue
        handled = await link.send(**frame)
        if ui.one_by_one:
            await handled
            await room.settled()
    await ui.write("\n" + room.t(goodbye) + "\n")


# --- what is shown


class Room:
    """What has been shown last, and so what a number means now."""

    def __init__(self, ui: Ui, t: Translator) -> None:
        self.t = t
        self._ui = ui
        self._here: Fields | None = None
        self._message = ""
        self._choices: list[Choice] = []
        self._going_on: dict[str, Fields] = {}  # by message: screens that show progress
        self._still = asyncio.Event()
        self._still.set()

    async def settled(self) -> None:
        """Waits until nothing that is shown goes on any more."""
        await self._still.wait()

    async def heard(self, frame: Frame) -> None:
        """A screen, or why something was refused."""
        if frame["type"] == "error":
            await self._ui.write(f"\n{plain(frame['text'])}\n")
            return
        self.t = translator(frame["locale"])
        screen, message = frame["screen"], frame["message"]
        goes_on = under_way(screen)
        ended = self._going_on.pop(message, None) is not None
        if goes_on:
            self._going_on[message] = screen
        await self._ui.progress(self._going_on, self.t)
        if not goes_on:
            await self._show(frame, may_be_known=ended or frame.get("redraw", False))
        if self._going_on:
            self._still.clear()
        else:
            self._still.set()

    async def _show(self, frame: Frame, *, may_be_known: bool) -> None:
        """Writes the screen; not again where a reconnect, or a second message of one operation, says the same."""
        screen = frame["screen"]
        known = may_be_known and self._here is not None and _words_of(self._here) == _words_of(screen)
        self._here, self._message, self._choices = screen, frame["message"], choices(screen)
        self._ui.expect(plain(screen["ask"]["placeholder"]) if screen["ask"] else "")
        if not known:
            await self._ui.write(screen_text(screen, self._ui.paint, self.t))

    async def lost(self) -> None:
        await self._ui.write("\n" + self.t("The connection was lost. Connecting again…") + "\n")

    async def back(self) -> None:
        await self._ui.write(self.t("Connected again.") + "\n")

    async def meaning(self, line: str) -> dict[str, str] | None:
        """The frame that a typed line stands for; None for one that only concerns this terminal."""
        text = line.strip()
        if not text:
            return None
        if not (text.isdecimal() and self._choices):
            return {"type": "say", "text": text}
        number = int(text)
        if not 1 <= number <= len(self._choices):
            if self._here is not None and self._here["ask"]:
                return {"type": "say", "text": text}
            await self._ui.write(self.t("There is no choice {number} here.", number=number) + "\n")
            return None
        choice = self._choices[number - 1]
        if choice.id is None:
            await self._ui.open(choice.url or "")
            return None
        return {"type": "press", "button": choice.id, "message": self._message}


def _words_of(screen: Fields) -> object:
    """A screen without what differs from one showing to the next."""
    labels = [choice.label for choice in choices(screen)]
    return screen["title"], screen["text"], screen["code"], labels, screen["ask"]


# --- where it is shown


class Ui(Protocol):
    """`one_by_one`: a line is answered to its end before the next is read."""

    one_by_one: bool
    paint: Paint

    def lines(self) -> AsyncIterator[str]:
        """What is typed, until the person ends it."""

    async def write(self, text: str) -> None: ...

    async def progress(self, going_on: dict[str, Fields], t: Translator) -> None:
        """Shows what goes on now, by message; empty when nothing does."""

    def expect(self, example: str) -> None:
        """An example of what may be typed next; empty when nothing is asked."""

    async def open(self, url: str) -> None:
        """Opens an address where that can be done; shows it in any case."""


class TtyUi:
    """A person at a terminal. Progress stands above the prompt and is redrawn there."""

    one_by_one = False

    def __init__(self) -> None:
        self.paint = Paint(on="NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb")
        self._progress = ""
        self._example = ""
        self._session: PromptSession[str] = PromptSession(
            message=lambda: ANSI(self._progress + _PROMPT),
            placeholder=lambda: ANSI(self.paint("2", self._example)),
            erase_when_done=True,
        )

    async def lines(self) -> AsyncIterator[str]:
        with suppress(EOFError, KeyboardInterrupt):
            while True:
                line = await self._session.prompt_async()
                if line.strip():
                    await self.write(self.paint("2", _PROMPT + plain(line.strip())) + "\n")
                yield line

    async def write(self, text: str) -> None:
        await run_in_terminal(lambda: _write(sys.stdout, text))

    async def progress(self, going_on: dict[str, Fields], t: Translator) -> None:
        blocks = [
            f"\n{self.paint('1', plain(screen['title']))}\n{progress_text(screen, self.paint, t)}\n\n"
            for screen in going_on.values()
        ]
        self._progress = "".join(blocks)
        self._session.app.invalidate()

    def expect(self, example: str) -> None:
        self._example = example
        self._session.app.invalidate()

    async def open(self, url: str) -> None:
        await self.write(self.paint("4", url) + "\n")
        if sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
            await asyncio.to_thread(webbrowser.open, url)


class PipeUi:
    """A script, or a terminal that is only read from: every line stays where it was written."""

    one_by_one = True
    paint = Paint(on=False)

    def __init__(self, source: TextIO, out: TextIO) -> None:
        self._source = source
        self._out = out
        self._written: dict[str, set[str]] = {}  # by message: the steps that were written

    async def lines(self) -> AsyncIterator[str]:
        queue: asyncio.Queue[str | None] = asyncio.Queue(1)
        loop = asyncio.get_running_loop()
        # Not a pool's thread: one that waits for input must not hold up the end of the program.
        threading.Thread(target=_read_into, args=(self._source, queue, loop), daemon=True).start()
        while (line := await queue.get()) is not None:
            yield line

    async def write(self, text: str) -> None:
        _write(self._out, text)

    async def progress(self, going_on: dict[str, Fields], t: Translator) -> None:
        self._written = {
            message: written for message, written in self._written.items() if message in going_on
        }
        for message, screen in going_on.items():
            if message not in self._written:
                self._written[message] = set()
                _write(self._out, f"\n{plain(screen['title'])}\n")
            for step in screen["progress"]:
                if step["state"] != "todo" and step["label"] not in self._written[message]:
                    self._written[message].add(step["label"])
                    _write(self._out, step_text({**step, "state": "now"}, self.paint) + "\n")

    def expect(self, example: str) -> None:
        """Nobody looks."""

    async def open(self, url: str) -> None:
        _write(self._out, f"{url}\n")


def _write(out: TextIO, text: str) -> None:
    out.write(text)
    out.flush()


def _read_into(source: TextIO, queue: asyncio.Queue[str | None], loop: asyncio.AbstractEventLoop) -> None:
    with suppress(RuntimeError):  # the loop was closed: nobody wants the rest
        for line in source:
            asyncio.run_coroutine_threadsafe(queue.put(line), loop).result()
        asyncio.run_coroutine_threadsafe(queue.put(None), loop).result()


# --- who one is


def _config_path() -> Path:
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(home) / "madang" / "chat.json"


class Tokens:
    """The token of each Madang that was chatted with, in a file that only its owner may read. None: kept nowhere."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def of(self, url: str) -> str | None:
        return self._read().get(url)

    def keep(self, url: str, token: str) -> None:
        """A folder that cannot be written to costs the memory, not the chat."""
        if self._path is None:
            return
        with suppress(OSError):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh = self._path.with_suffix(f".{os.getpid()}")
            fresh.touch(mode=0o600)
            fresh.write_text(json.dumps(self._read() | {url: token}, indent=1) + "\n")
            fresh.replace(self._path)

    def _read(self) -> dict[str, str]:
        if self._path is None:
            return {}
        try:
            kept = json.loads(self._path.read_text())
        except (OSError, ValueError):
            return {}
        return {k: v for k, v in kept.items() if isinstance(v, str)} if isinstance(kept, dict) else {}
