"""`madang chat`: the conversation in this terminal."""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str]) -> int:
    """Options: --demo, --url, --lang; `bot.terminal` explains them."""
    from bot.terminal import main as chat  # noqa: PLC0415 - a surface of the conversation, for this command only

    return chat(list(argv))
