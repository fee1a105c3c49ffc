"""The chat's page and its files, read once. Words that the page's script says come with it, in every language,
because the person may change the language while chatting."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from engine.words import LOCALES, Translator, translator

_HERE: Final = Path(__file__).resolve().parent
_TYPES: Final = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class StaticFile:
    """`version` is the hash of the content."""

    body: bytes
    content_type: str
    version: str


@functools.cache
def static_files() -> dict[str, StaticFile]:
    """The files of the page by name."""
    files = {}
    for path in sorted((_HERE / "static").iterdir()):
        body = path.read_bytes()
        files[path.name] = StaticFile(body, _TYPES[path.suffix], sha256(body).hexdigest()[:16])
    return files


@functools.cache
def page(locale: str) -> str:
    """The page in that language."""
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    words = {language: page_words(translator(language)) for language in LOCALES}
    return environment.get_template("chat.html").render(
        locale=locale, t=translator(locale), words=words, static=_static_url
    )


def _static_url(name: str) -> str:
    return f"/chat/static/{name}?v={static_files()[name].version}"


def page_words(t: Translator) -> dict[str, str]:
    """What the page says itself."""
    return {
        "title": t("Madang"),
        "log": t("Conversation"),
        "message": t("Message"),
        "placeholder": t("Write a message"),
        "send": t("Send"),
        "newest": t("Newest messages"),
        "madang": t("Madang says"),
        "you": t("You"),
        "lost": t("The connection was lost. Connecting again…"),
        "writing": t("Madang is writing…"),
        "copy": t("Copy"),
        "copied": t("Copied"),
        "done": t("done"),
        "now": t("under way"),
        "todo": t("not yet"),
        "seconds": t("{seconds} s"),
        "minutes": t("{minutes} min {seconds} s"),
        "opens": t("opens in a new window"),
        "script": t("This page needs JavaScript. Telegram, Slack and the terminal work without it."),
    }
