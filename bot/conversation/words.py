"""Words that several flows share: states, steps and kinds of change, in plain language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from bot.conversation.model import Action, Button, Outcome, Screen, View
from engine.domain import Kind, Phase
from engine.ports import Stats
from engine.service.apps import AppView
from engine.words import N_, Translator

_PHASES: Final[Mapping[Phase, tuple[str, str]]] = {
    Phase.PENDING: ("⏳", N_("Being made")),
    Phase.LIVE: ("🟢", N_("Running")),
    Phase.ASLEEP: ("🌙", N_("Asleep; it wakes when somebody visits")),
    Phase.STOPPED: ("⚪", N_("Stopped")),
    Phase.FAILED: ("🔴", N_("Not well")),
    Phase.TRASHED: ("🗑", N_("In the trash")),
    Phase.DELETED: ("🗑", N_("Deleted")),
}
_BUSY: Final[Mapping[Kind, str]] = {
    Kind.CREATE: N_("Being made …"),
    Kind.START: N_("Starting …"),
    Kind.STOP: N_("Stopping …"),
    Kind.RESTART: N_("Restarting …"),
    Kind.TRASH: N_("Being put into the trash …"),
    Kind.RESTORE: N_("Being restored …"),
    Kind.PURGE: N_("Being deleted for good …"),
    Kind.REPAIR: N_("Being put right …"),
}
STEPS: Final[Mapping[str, str]] = {
    "files": N_("Laying out the files"),
    "container": N_("Starting the program"),
    "ready": N_("Waiting for its first answer"),
    "route": N_("Opening the address"),
    "verify": N_("Trying the address"),
    "unroute": N_("Closing the address"),
    "stop": N_("Stopping the program"),
    "remove": N_("Clearing the program away"),
    "erase": N_("Erasing everything it kept"),
}
_MIB: Final = 1024 * 1024


def dot(view: AppView) -> str:
    return "🔄" if view.busy else _PHASES[view.app.phase][0]


def standing(view: AppView, t: Translator) -> str:
    """Its state in words, with a dot."""
    if view.busy:
        return f"🔄 {t(_BUSY[view.busy.kind])}"
    mark, words = _PHASES[view.app.phase]
    return f"{mark} {t(words)}"


def use(stats: Stats, t: Translator) -> str:
    return t(
        "Memory {used} of {limit} MB · CPU {cpu} %",
        used=round(stats.memory_bytes / _MIB),
        limit=round(stats.memory_limit_bytes / _MIB),
        cpu=f"{stats.cpu_percent:.1f}",
    )


def rows_of(*buttons: Button, width: int = 1) -> Sequence[Sequence[Button]]:
    """The buttons in rows of `width`."""
    return tuple(buttons[i : i + width] for i in range(0, len(buttons), width))


def menu_button(t: Translator) -> Button:
    return Button(t("Menu"), {"do": "menu"})


def apps_button(t: Translator) -> Button:
    return Button(t("🌱 My things"), {"do": "apps"})


def sorry(outcome: Outcome, view: View, *, again: Action | None = None) -> Screen:
    """What happened, what to do, a button that does it, a reference (CHAT.md)."""
    assert outcome.error is not None
    t = view.t
    helps = []
    if again is not None:
        helps.append(Button(t("Try again"), again, style="primary"))
    if outcome.error.code in ("app_quota", "box_quota", "app_in_trash"):
        helps.append(apps_button(t))
    reference = t("Reference: {reference}", reference=outcome.reference)
    text = f"{t.error(outcome.error)}\n\n{reference}"
    return Screen(text, title=t("That did not work"), rows=rows_of(*helps, menu_button(t), width=2))
