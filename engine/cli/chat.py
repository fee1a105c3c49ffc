"""`madang chat`: the conversation in this terminal."""

from __future__ import annotations

from collections.abc import Sequence

from engine.errors import Broken
from engine.settings import load_settings


def main(argv: Sequence[str]) -> int:
    """Options: --demo, --url, --lang; `bot.terminal` explains them."""
    from bot.terminal import main as chat  # noqa: PLC0415 - a surface of the conversation, for this command only

    return chat(list(argv), url=_address())


def _address() -> str | None:
    """Where the Madang of this folder is by its settings; None where they cannot be read."""
    try:
        return load_settings().public_url
    except Broken:
        return None
