"""What a person means by typed words: commands with arguments, and plain sentences such as "diary 시작".

The answer is the same action that a button would carry, so that there is one way through a flow.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from bot.conversation.model import Action, View
from engine.catalogue import Template

_COMMANDS: Final[Mapping[str, str]] = {
    "menu": "menu", "cancel": "cancel", "start": "menu", "new": "new", "apps": "apps", "help": "help",
    "settings": "settings", "start_app": "start", "stop_app": "stop", "restart_app": "restart", "logs": "logs",
    "delete": "delete", "restore": "restore", "app": "card",
}  # fmt: skip
_PLACES: Final[Mapping[str, str]] = {
    "menu": "menu", "메뉴": "menu", "취소": "cancel", "cancel": "cancel", "그만": "cancel", "help": "help",
    "도움말": "help", "도와줘": "help", "settings": "settings", "설정": "settings", "apps": "apps",
    "my things": "apps", "내 것": "apps", "목록": "apps",
}  # fmt: skip
_GREETINGS: Final = frozenset({"hello", "hi", "hey", "안녕", "안녕하세요", "ㅎㅇ", "하이", "헬로"})
# Longest first: "재시작" holds "시작", and "restart" holds "start".
_VERBS: Final = (
    ("restart", "restart"), ("재시작", "restart"), ("다시 시작", "restart"), ("restore", "restore"), ("복구", "restore"),
    ("되살", "restore"), ("start", "start"), ("시작", "start"), ("켜", "start"), ("stop", "stop"), ("중지", "stop"),
    ("정지", "stop"), ("멈춰", "stop"), ("꺼", "stop"), ("logs", "logs"), ("log", "logs"), ("로그", "logs"),
    ("delete", "delete"), ("remove", "delete"), ("삭제", "delete"), ("지워", "delete"), ("open", "card"),
    ("열어", "card"), ("show", "card"), ("보여", "card"),
)  # fmt: skip
_MAKE: Final = ("make", "create", "new", "want", "만들", "새 ", "새로", "갖고", "원해")


def understand(text: str, view: View) -> Action | None:
    """The action that `text` asks for; None when it asks for none that is known."""
    words = " ".join(text.strip().split())
    if words.startswith("/"):
        return _command(words[1:], view)
    if is_greeting(words):
        return {"do": "menu"}
    place = _PLACES.get(words.lower().rstrip(".!?~"))
    if place is not None:
        return {"do": place}
    return _about_app(words.lower(), view) or _wish(words.lower(), view)


def is_greeting(text: str) -> bool:
    return text.strip().lower().rstrip(".!?~ ") in _GREETINGS


def _command(words: str, view: View) -> Action | None:
    name, _, argument = words.partition(" ")
    verb = _COMMANDS.get(name.partition("@")[0].lower())
    if verb is None:
        return None
    if verb == "new":
        return _wish(f"new {argument.lower()}", view)
    if verb in ("menu", "cancel", "apps", "help", "settings"):
        return {"do": verb}
    return _on_app(verb, argument.strip().lower(), view)


def _about_app(words: str, view: View) -> Action | None:
    """ "stop diary", "diary 시작", or just "diary"."""
    tokens = set(re.findall(r"[a-z][a-z0-9-]*", words))
    for app in (v.app for v in view.apps):
        if app.name not in tokens:
            continue
        rest = words.replace(app.name, " ", 1)
        verb = next((verb for word, verb in _VERBS if word in rest), None)
        if verb is not None:
            return _on_app(verb, app.name, view)
        if not rest.strip():
            return _on_app("card", app.name, view)
    return None


def _on_app(verb: str, name: str, view: View) -> Action:
    found = next((v.app for v in view.apps if v.app.name == name), None)
    if found is None:
        return {"do": "apps"}
    if verb in ("start", "stop", "restart", "restore"):
        return {"do": "change", "app": found.id, "kind": verb}
    return {"do": verb, "app": found.id}


def _wish(words: str, view: View) -> Action | None:
    """ "make me a diary": that template; "make something": the choice of all."""
    if not any(word in words for word in _MAKE):
        return None
    template = next((t for t in view.templates if _names(t, words)), None)
    return {"do": "template", "id": template.id} if template else {"do": "new"}


def _names(template: Template, words: str) -> bool:
    called = [template.suggested_name, *template.name.values()]
    return any(name.lower() in words for name in called) or template.name.get("ko", "\0")[:2] in words
