"""Words and buttons that several flows share: states, steps, reasons, in plain language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from babel.dates import format_date

from bot.conversation.model import Action, Button, Outcome, Screen, View
from engine.domain import App, Kind, Phase
from engine.ports import Stats
from engine.service.apps import AppView
from engine.words import ERRORS, N_, Translator

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


def heading(app: App) -> str:
    """Its title, and the name that its address has."""
    return app.name if app.title == app.name else f"{app.title} ({app.name})"


def use(stats: Stats, t: Translator) -> str:
    return t(
        "Memory {used} of {limit} MB · CPU {cpu} %",
        used=round(stats.memory_bytes / _MIB),
        limit=round(stats.memory_limit_bytes / _MIB),
        cpu=f"{stats.cpu_percent:.1f}",
    )


def unlinked(url: str) -> str:
    """An address that nothing answers at yet, in a form that surfaces do not make a link of."""
    return url.partition("://")[2]


def trash_words(view: View, since: datetime) -> str:
    """How long what went into the trash at `since` waits there."""
    t = view.t
    if not view.trash_days:
        return t("It waits there until you delete it for good, and can be restored with everything in it.")
    until = format_date(since + timedelta(days=view.trash_days), "long", locale=t.locale)
    return t("It waits there until {date} and can be restored with everything in it.", date=until)


# --- buttons


def rows_of(*buttons: Button, width: int = 1) -> Sequence[Sequence[Button]]:
    """The buttons in rows of `width`."""
    return tuple(buttons[i : i + width] for i in range(0, len(buttons), width))


def menu_button(t: Translator) -> Button:
    return Button(t("Menu"), {"do": "menu"})


def apps_button(t: Translator) -> Button:
    return Button(t("🌱 My things"), {"do": "apps"})


def details_button(t: Translator, app_id: str) -> Button:
    return Button(t("Details"), {"do": "card", "app": app_id})


def logs_button(t: Translator, app_id: str) -> Button:
    return Button(t("Logs"), {"do": "logs", "app": app_id})


def start_button(t: Translator, app_id: str) -> Button:
    return Button(t("Start"), {"do": "change", "app": app_id, "kind": Kind.START.value}, style="primary")


def restore_button(t: Translator, app_id: str) -> Button:
    return Button(t("Restore"), {"do": "change", "app": app_id, "kind": Kind.RESTORE.value}, style="primary")


# --- what went wrong


def reason(t: Translator, code: str, params: Mapping[str, Any]) -> str:
    """The sentence of an error code, with our own words for the phases and steps in it."""
    if code == "app_crashed":
        return t("The program ended right after its start.")  # its last words stand apart, as a log
    said = dict(params)
    phase, step, seconds = said.get("phase"), said.get("step"), said.get("seconds")
    if phase in set(Phase):
        said["phase"] = t(_PHASES[Phase(phase)][1])
    if isinstance(step, str) and step in STEPS:
        said["step"] = t(STEPS[step])
    if isinstance(seconds, float):
        said["seconds"] = round(seconds)
    return t.code(code, said)


def failure(t: Translator, code: str) -> str:
    """Why it is not well. Only the code is kept with an app, so a sentence with details in it is told without them."""
    if code == "app_crashed" or "{" not in ERRORS.get(code, ""):
        return reason(t, code, {})
    return t("It could not be started. Its log may say why.")


def last_words(params: Mapping[str, Any]) -> str:
    """What the program wrote before it ended."""
    return str(params.get("log", "")).strip("\n")


def sorry(outcome: Outcome, view: View, *helps: Button, again: Action | None = None) -> Screen:
    """What happened, what to do, buttons that do it, a reference (CHAT.md)."""
    assert outcome.error is not None
    t, error = view.t, outcome.error
    full = error.code in ("app_quota", "box_quota")  # trying again helps only once something is deleted
    buttons = []
    if again is not None:
        buttons.append(Button(t("Try again"), again, style="default" if full else "primary"))
    buttons += helps
    if full or error.code == "not_found":
        buttons.append(replace(apps_button(t), style="primary" if full else "default"))
    reference = t("Reference: {reference}", reference=outcome.reference)
    return Screen(
        f"{reason(t, error.code, error.params)}\n\n{reference}",
        title=t("That did not work"),
        code=last_words(error.params),
        rows=rows_of(*buttons, menu_button(t), width=2),
        again=True,
    )
