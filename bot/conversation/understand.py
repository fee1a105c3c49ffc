"""What a person means by typed words: commands with arguments, and plain sentences such as "diary 시작".

The answer is the same action that a button would carry, so that there is one way through a flow. A sentence that names
a thing and is no clear order ("why did diary stop?") leads to the thing's card, where everything can be seen and done.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from bot.conversation.model import Action, View
from engine.catalogue import Template
from engine.domain import App, Phase

_COMMANDS: Final[Mapping[str, str]] = {
    "menu": "menu", "cancel": "cancel", "start": "menu", "new": "new", "apps": "apps", "help": "help",
    "settings": "settings", "start_app": "start", "stop_app": "stop", "restart_app": "restart", "logs": "logs",
    "delete": "delete", "restore": "restore", "app": "card",
}  # fmt: skip
_WAYS_OUT: Final[Mapping[str, str]] = {
    "cancel": "cancel", "취소": "cancel", "취소해줘": "cancel", "그만": "cancel", "그만할래": "cancel",
    "menu": "menu", "메뉴": "menu", "help": "help", "도움말": "help", "도와줘": "help", "도와주세요": "help",
}  # fmt: skip
_PLACES: Final[Mapping[str, str]] = {
    **_WAYS_OUT, "settings": "settings", "설정": "settings", "language": "settings", "언어": "settings",
    "apps": "apps", "my apps": "apps", "my things": "apps", "내 것": "apps", "내가 만든 것": "apps", "목록": "apps",
}  # fmt: skip
_GREETINGS: Final = frozenset(
    {"hello", "hello there", "hi", "hi there", "hey", "good morning", "good evening", "안녕", "안녕하세요", "안녕하십니까",
     "반가워", "반가워요", "반갑습니다", "ㅎㅇ", "하이", "헬로", "헬로우"}
)  # fmt: skip
_THANKS: Final = frozenset(
    {
        "thanks",
        "thank you",
        "thank you so much",
        "thx",
        "고마워",
        "고마워요",
        "고맙습니다",
        "감사해요",
        "감사합니다",
        "땡큐",
    }
)
_YES: Final = frozenset(
    {"yes", "y", "yes please", "ok", "okay", "sure", "go", "make it", "do it", "네", "넵", "예", "응", "ㅇㅇ", "ㅇㅋ", "오케이",
     "좋아", "좋아요", "그래", "그래요", "만들기", "만들어", "만들어줘", "만들어 줘", "만들어주세요", "만들어 주세요"}
)  # fmt: skip
_NO: Final = frozenset(
    {
        "no",
        "n",
        "no thanks",
        "keep it",
        "아니",
        "아니요",
        "아니오",
        "아뇨",
        "ㄴㄴ",
        "싫어",
        "안 해",
        "그대로 두기",
    }
)
_SMALL_TALK: Final = frozenset(
    {"yes", "no", "ok", "okay", "start", "stop", "new", "thanks", "what", "who", "why"}
)

_ORDERS: Final[Mapping[str, str]] = {
    "restart": "restart", "reboot": "restart", "restore": "restore", "start": "start", "stop": "stop", "logs": "logs",
    "log": "logs", "delete": "delete", "remove": "delete", "open": "card", "show": "card",
}  # fmt: skip
# Korean joins endings to its verbs, so the stems are looked for. Longest first: "재시작" holds "시작".
_STEMS: Final = (
    ("재시작", "restart"), ("다시 시작", "restart"), ("다시 켜", "restart"), ("복구", "restore"), ("되살", "restore"),
    ("되돌려", "restore"), ("시작", "start"), ("켜", "start"), ("중지", "stop"), ("정지", "stop"), ("멈춰", "stop"),
    ("멈추", "stop"), ("꺼", "stop"), ("로그", "logs"), ("삭제", "delete"), ("지워", "delete"), ("열어", "card"),
    ("보여", "card"),
)  # fmt: skip
_NO_ORDER: Final = re.compile(
    r"\?|？|\b(?:why|when|how|did|does|was|not|never|don't|doesn't|didn't|won't|can't)\b|왜|않|못|말고|지 ?마|안 [돼되]"
)
_REQUEST: Final = re.compile(r"(?:줘|줘요|주세요|줄래|줄래요|뭐야|뭐예요|뭐에요|[?？])[.!?~ ]*$")
_BESIDES: Final = frozenset(
    {"it", "this", "that", "please", "show", "me", "the", "이거", "그거", "이것", "그것", "좀", "다시", "줘", "주세요",
     "해줘", "해주세요", "보여", "보여줘", "보여주세요"}
)  # fmt: skip
_MAKE: Final = re.compile(r"\b(?:make|create|new|want|build)\b|만들|새 |새로|갖고|원해")
_NAME_MAX: Final = 40  # of what is said back


def understand(text: str, view: View) -> Action | None:
    """The action that `text` asks for; None when it asks for none that is known."""
    words = " ".join(text.split())
    if words.startswith("/"):
        return _command(words[1:], view)
    words = words.lower()
    if is_greeting(words):
        return {"do": "menu"}
    if _bare(words) in _THANKS:
        return {"do": "thanks"}
    place = _PLACES.get(_bare(words))
    if place is not None:
        return {"do": place}
    return _order(words, view) or _wish(words, view) or _mention(words, view) or _template(words, view)


def bare_order(text: str, view: View) -> Action | None:
    """ "stop it", "지워줘": an order that names nothing. It is for the one thing that it can be meant for."""
    words = _bare(text.lower())
    verb = None if _NO_ORDER.search(words) else _verb(words)
    if verb is None or sum(word not in _BESIDES for word in re.findall(r"\w+", words)) > 1:
        return None
    meant = [app for app in _apps(view) if _may_be_meant(verb, app.phase)]
    if len(meant) > 1:
        return {"do": "apps"}
    return _on_app(verb, meant[0]) if meant else None


def _may_be_meant(verb: str, phase: Phase) -> bool:
    if verb == "start":
        return phase in (Phase.STOPPED, Phase.FAILED)
    return (phase is Phase.TRASHED) == (verb == "restore")


def is_request(text: str) -> bool:
    """Whether words ask for something to be done or told, and so are no title: "홈페이지 지워줘", "설정"."""
    return _REQUEST.search(text) is not None or (not text.isascii() and _bare(text) in _PLACES)


def way_out(text: str) -> str | None:
    """ "cancel", "menu" or "help", when a bare word asks for it in the middle of a question."""
    return _WAYS_OUT.get(_bare(text.lower()))


def is_yes(text: str) -> bool:
    return _bare(text.lower()) in _YES


def is_no(text: str) -> bool:
    return _bare(text.lower()) in _NO


def is_greeting(text: str) -> bool:
    return _bare(text.lower()) in _GREETINGS


def is_small_talk(text: str) -> bool:
    """Whether this is a word that people say to a bot, rather than a name of their own."""
    bare = _bare(text.lower())
    return bare in _GREETINGS or bare in _PLACES or bare in _SMALL_TALK


def _bare(text: str) -> str:
    return " ".join(text.split()).rstrip(".!?~ ")


def _command(words: str, view: View) -> Action | None:
    name, _, argument = words.partition(" ")
    verb = _COMMANDS.get(name.partition("@")[0].lower())
    if verb is None:
        return None
    if verb == "new":
        return _wish(f"new {argument.lower()}", view)
    if verb in ("menu", "cancel", "apps", "help", "settings"):
        return {"do": verb}
    return _command_on(verb, argument.strip().lower(), view)


def _command_on(verb: str, name: str, view: View) -> Action:
    found = [app for app in _apps(view) if app.name == name] or _titled(name, view)
    if len(found) == 1:
        return _on_app(verb, found[0])
    return {"do": "apps", "unknown": name[:_NAME_MAX]} if name and not found else {"do": "apps"}


def _order(words: str, view: View) -> Action | None:
    """ "stop diary", "diary 시작", "일기장 꺼 줘"."""
    if _NO_ORDER.search(words):
        return None
    named = {app.id: rest for app in _apps(view) if (rest := _without_name(app, words)) is not None}
    for app in _apps(view):
        verb = _verb(named.get(app.id, ""))
        if verb is not None:
            return _on_app(verb, app)
    titled, verb = _titled(words, view), _verb(words)
    if named or not titled or verb is None:
        return None
    return _on_app(verb, titled[0]) if len(titled) == 1 else {"do": "apps"}


def _verb(words: str) -> str | None:
    spoken = set(re.findall(r"[a-z]+", words))
    in_english = next((verb for word, verb in _ORDERS.items() if word in spoken), None)
    return in_english or next((verb for stem, verb in _STEMS if stem in words), None)


def _on_app(verb: str, app: App) -> Action:
    if verb in ("start", "stop", "restart", "restore"):
        return {"do": "change", "app": app.id, "kind": verb}
    return {"do": verb, "app": app.id}


def _mention(words: str, view: View) -> Action | None:
    """The card of the one thing that is named."""
    named = [app for app in _apps(view) if _without_name(app, words) is not None] or _titled(words, view)
    if not named:
        return None
    return {"do": "card", "app": named[0].id} if len(named) == 1 else {"do": "apps"}


def _apps(view: View) -> Sequence[App]:
    return [v.app for v in view.apps]


def _without_name(app: App, words: str) -> str | None:
    """The words but for the thing's name; None where it is not named. The name "art" is not in "start"."""
    rest, named = re.subn(rf"(?<![a-z0-9-]){re.escape(app.name)}(?![a-z0-9-])", " ", words, count=1)
    return rest if named else None


def _titled(words: str, view: View) -> Sequence[App]:
    """The things whose title, or whose template's name, is in the words."""
    found = []
    for app in _apps(view):
        template = view.template(app.template)
        called = [app.title, *(template.name.values() if template else ())]
        if any(len(name) > 1 and name.lower() in words for name in called):
            found.append(app)
    return found


def _wish(words: str, view: View) -> Action | None:
    """ "make me a diary": that template; "make something": the choice of all."""
    if not _MAKE.search(words):
        return None
    template = next((t for t in view.templates if _names(t, words)), None)
    return {"do": "template", "id": template.id} if template else {"do": "new"}


def _template(words: str, view: View) -> Action | None:
    """Nothing but the name of a template."""
    template = next((t for t in view.templates if _bare(words) in _called(t)), None)
    return {"do": "template", "id": template.id} if template else None


def _called(template: Template) -> Sequence[str]:
    return [template.suggested_name, *(name.lower() for name in template.name.values())]


def _names(template: Template, words: str) -> bool:
    # People shorten Korean names: "일기" for "일기장".
    return any(name in words for name in _called(template)) or template.name.get("ko", "\0")[:2] in words
