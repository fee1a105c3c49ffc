"""A container's two streams, as Docker sends them: frames of eight header bytes and text, made into lines."""

from __future__ import annotations

import asyncio
import codecs
from collections.abc import AsyncIterator, Iterator
from typing import Final

from aiohttp import StreamReader

HEADER_BYTES: Final = 8
LINE_MAX: Final = 64 * 1024


async def lines_of(stream: StreamReader) -> AsyncIterator[str]:
    """Each line as it ends, without its line break; the last one even if it never does."""
    lines = Lines()
    while frame := await _frame(stream):
        for line in lines.fed(frame):
            yield line
    if lines.rest:
        yield lines.rest


class Lines:
    """Cuts text that arrives in pieces. A character or a line may be spread over several."""

    def __init__(self) -> None:
        self.rest = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def fed(self, piece: bytes) -> Iterator[str]:
        *whole, self.rest = (self.rest + self._decoder.decode(piece)).split("\n")
        for line in whole:
            yield line.removesuffix("\r")
        if len(self.rest) > LINE_MAX:
            endless, self.rest = self.rest, ""
            yield endless


async def _frame(stream: StreamReader) -> bytes:
    """The next frame's text; nothing at the end."""
    try:
        header = await stream.readexactly(HEADER_BYTES)
        return await stream.readexactly(int.from_bytes(header[4:]))
    except asyncio.IncompleteReadError:
        return b""
