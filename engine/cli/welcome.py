"""What a person reads once Madang runs: where it is, and how to talk to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.cli.terminal import padded
from engine.words import Translator

if TYPE_CHECKING:
    from engine.main import Ready

_LABEL_COLUMNS = 10


def welcome(ready: Ready, t: Translator) -> str:
    """The block of lines to print. The administrator's password is in it only when it was made just now."""
    blocks = [
        [t("Madang is ready.")],
        _where(ready, t),
        _telegram(ready, t),
        _slack(t),
        [t("Ctrl-C stops Madang.")],
    ]
    return "\n" + "\n\n".join("\n".join(lines) for lines in blocks) + "\n"


def _where(ready: Ready, t: Translator) -> list[str]:
    lines = [
        _line(t("Address"), ready.url),
        _line(t("Chat"), t("{url} (or here, in a second terminal: ./madang chat)", url=ready.chat_url)),
    ]
    if ready.admin_password is not None:
        lines += [
            _line(t("Admin"), t("name admin, password {password}", password=ready.admin_password)),
            _line("", t("This password is shown only now; a new one is asked for at the first log-in.")),
        ]
    return lines


def _telegram(ready: Ready, t: Translator) -> list[str]:
    if ready.telegram is not None:
        return [_line("Telegram", f"https://t.me/{ready.telegram}")]
    return [
        _line("Telegram", t("1. Write /newbot to @BotFather in Telegram and answer its two questions.")),
        _line("", t("2. Put the token that it gives you into .env: TELEGRAM_BOT_TOKEN=…")),
        _line("", t("3. Start Madang again; its Telegram address is shown here.")),
    ]


def _slack(t: Translator) -> list[str]:
    return [_line("Slack", t("Slack joins in a later version."))]


def _line(label: str, text: str) -> str:
    return f"  {padded(label, _LABEL_COLUMNS)}{text}"
