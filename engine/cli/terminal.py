"""What the commands show while they work: one line per long step, with its seconds counting where that can be seen."""

from __future__ import annotations

import os
import sys
import threading
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, TextIO

_CLEAR_LINE: Final = "\r\x1b[K"


def language() -> str:
    """The language tag of this terminal, such as "ko_KR.UTF-8"; "en" where none is set."""
    names = ("LC_ALL", "LC_MESSAGES", "LANG")
    return next((os.environ[name] for name in names if os.environ.get(name)), "en")


def padded(text: str, columns: int) -> str:
    """`text` filled with blanks up to so many columns; a Korean letter takes two."""
    used = sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)
    return text + " " * (columns - used)


class Progress:
    """Steps, one after another. A person sees the seconds go by; a log gets a line when a step begins and ends."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._live = self._out.isatty()
        self._text = ""
        self._began_s = 0.0
        self._ended = threading.Event()
        self._ticker: threading.Thread | None = None

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Shows `text` while the body runs."""
        self.begin(text)
        try:
            yield
        finally:
            self.end()

    def begin(self, text: str) -> None:
        """Shows `text` until the next `begin` or `end`. The same text again changes nothing."""
        if text == self._text:
            return
        self.end()
        self._text, self._began_s = text, time.monotonic()
        self._write(f"{text} …" if self._live else f"{text} …\n")
        if self._live:
            self._ended = threading.Event()
            self._ticker = threading.Thread(target=self._tick, args=(text, self._ended), daemon=True)
            self._ticker.start()

    def end(self) -> None:
        """Closes the line of the step under way, if any."""
        if not self._text:
            return
        self._ended.set()
        if self._ticker is not None:
            self._ticker.join()
            self._ticker = None
        seconds = time.monotonic() - self._began_s
        self._write(f"{_CLEAR_LINE if self._live else ''}{self._text} … {seconds:.0f} s\n")
        self._text = ""

    def _tick(self, text: str, ended: threading.Event) -> None:
        while not ended.wait(1):
            self._write(f"{_CLEAR_LINE}{text} … {time.monotonic() - self._began_s:.0f} s")

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()
