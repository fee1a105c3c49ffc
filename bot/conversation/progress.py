"""An operation under way, and how it ended."""

from __future__ import annotations

from typing import Final

from bot.conversation.model import Action, Button, OperationNews, ProgressStep, Screen, View
from bot.conversation.words import STEPS, apps_button, menu_button, rows_of
from engine.domain import Kind, Operation, OpState
from engine.service.apps import step_names
from engine.words import N_, Translator

_UNDER_WAY: Final = {
    Kind.CREATE: N_("Making {name} …"),
    Kind.START: N_("Starting {name} …"),
    Kind.STOP: N_("Stopping {name} …"),
    Kind.RESTART: N_("Restarting {name} …"),
    Kind.TRASH: N_("Putting {name} into the trash …"),
    Kind.RESTORE: N_("Restoring {name} …"),
    Kind.PURGE: N_("Deleting {name} for good …"),
    Kind.REPAIR: N_("Putting {name} right …"),
}
_DONE: Final = {
    Kind.CREATE: N_("🎉 {name} is ready"),
    Kind.START: N_("{name} is running"),
    Kind.STOP: N_("{name} is stopped"),
    Kind.RESTART: N_("{name} is running afresh"),
    Kind.TRASH: N_("{name} is in the trash"),
    Kind.RESTORE: N_("{name} is back"),
    Kind.PURGE: N_("{name} is gone for good"),
    Kind.REPAIR: N_("{name} is running again"),
}


def _name(operation: Operation) -> str:
    return operation.target.partition("/")[2]


def progress(news: OperationNews, view: View) -> Screen:
    """The steps in plain words: done, under way, to come."""
    t, operation = view.t, news.operation
    names = list(step_names(operation.kind))
    reached = max((names.index(step) for step in news.steps if step in names), default=-1)
    steps = tuple(
        ProgressStep(t(STEPS[name]), "done" if i < reached else "now" if i == reached else "todo")
        for i, name in enumerate(names)
    )
    title = t(_UNDER_WAY[operation.kind], name=_name(operation))
    return Screen("", title=title, progress=steps, elapsed_s=news.elapsed_s, again=True, watch=operation.id)


def ended(news: OperationNews, view: View) -> Screen:
    """How it ended, and what to do next."""
    operation = news.operation
    if operation.state is OpState.SUCCEEDED:
        return _succeeded(news, view)
    t = view.t
    reason = t.code(operation.error_code or "internal", operation.error_params)
    text = f"{reason}\n\n" + t("Reference: {reference}", reference=operation.id[:8])
    again = _again(operation, view)
    buttons = [Button(t("Try again"), again, style="primary")] if again else []
    app = view.app(operation.app_id)
    if app is not None:
        buttons.append(Button(t("Logs"), {"do": "logs", "app": app.app.id}))
    title = t("{name}: that did not work", name=_name(operation))
    return Screen(text, title=title, rows=rows_of(*buttons, menu_button(t), width=2), again=True)


def _again(operation: Operation, view: View) -> Action | None:
    app = view.app(operation.app_id)
    if app is None:
        return {"do": "new"} if operation.kind is Kind.CREATE else None
    if operation.kind in (Kind.START, Kind.RESTART, Kind.STOP, Kind.RESTORE):
        kind = Kind.START if operation.kind is Kind.RESTORE else operation.kind
        return {"do": "change", "app": app.app.id, "kind": kind.value}
    return None


def _succeeded(news: OperationNews, view: View) -> Screen:
    t, operation = view.t, news.operation
    title = t(_DONE[operation.kind], name=_name(operation))
    app = view.app(operation.app_id)
    if app is None:
        return Screen(
            t("Nothing of it is left."), title=title, rows=((apps_button(t), menu_button(t)),), again=True
        )
    card = Button(t("Its card"), {"do": "card", "app": app.app.id})
    if operation.kind is Kind.TRASH:
        restore = Button(
            t("Restore"), {"do": "change", "app": app.app.id, "kind": "restore"}, style="primary"
        )
        return Screen(
            trash_words(t, view.trash_days),
            title=title,
            rows=((restore,), (apps_button(t), menu_button(t))),
            again=True,
        )
    if operation.kind is Kind.STOP:
        start = Button(t("Start"), {"do": "change", "app": app.app.id, "kind": "start"}, style="primary")
        return Screen(
            t("What it keeps is safe."), title=title, rows=((start, card), (menu_button(t),)), again=True
        )
    lines = [app.url, t("It took {seconds} seconds.", seconds=f"{news.elapsed_s:.1f}")]
    if operation.kind is Kind.CREATE and app.key_url:
        lines.append(
            t(
                "🔒 The button below carries your key. Keep it to yourself: whoever has it can read everything."
            )
        )
    opening = Button(t("Open"), url=app.key_url or app.url, style="primary")
    return Screen("\n".join(lines), title=title, rows=((opening,), (card, menu_button(t))), again=True)


def trash_words(t: Translator, days: int) -> str:
    if days:
        return t("It waits there for {days} days and can be restored with everything in it.", days=days)
    return t("It waits there until you delete it for good, and can be restored with everything in it.")
