"""An operation under way, and how it ended."""

from __future__ import annotations

from typing import Final

from bot.conversation.model import (
    Button,
    Follow,
    OperationNews,
    Outcome,
    ProgressStep,
    Screen,
    State,
    Turn,
    View,
)
from bot.conversation.words import (
    STEPS,
    apps_button,
    details_button,
    last_words,
    logs_button,
    menu_button,
    reason,
    restore_button,
    rows_of,
    start_button,
    trash_words,
)
from engine.domain import Kind, Operation, OpState
from engine.service.apps import AppView, step_names
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
    Kind.RESTART: N_("{name} has restarted"),
    Kind.TRASH: N_("{name} is in the trash"),
    Kind.RESTORE: N_("{name} is back"),
    Kind.PURGE: N_("{name} is gone for good"),
    Kind.REPAIR: N_("{name} is running again"),
}
_ONCE_MORE: Final = {
    Kind.START: Kind.START,
    Kind.STOP: Kind.STOP,
    Kind.RESTART: Kind.RESTART,
    Kind.RESTORE: Kind.START,  # it has left the trash; only its start failed
    Kind.REPAIR: Kind.START,
}


def progress(news: OperationNews, t: Translator) -> Screen:
    """The steps in plain words: done, under way, to come."""
    operation = news.operation
    names = list(step_names(operation.kind))
    reached = max((names.index(step) for step in news.steps if step in names), default=-1)
    steps = tuple(
        ProgressStep(t(STEPS[name]), "done" if i < reached else "now" if i == reached else "todo")
        for i, name in enumerate(names)
    )
    title = t(_UNDER_WAY[operation.kind], name=_name(operation))
    return Screen("", title=title, progress=steps, elapsed_s=news.elapsed_s, again=True, watch=operation.id)


def begun(state: State, operation: Operation, view: View) -> Turn:
    """Shows the operation from its beginning. Where it was a wish, `state` holds it, so that it can be tried again."""
    news = OperationNews(operation, (), 0.0)
    wish = dict(state.data) if operation.kind is Kind.CREATE else None
    return Turn(State("progress", {"operation": operation.id, "wish": wish}), progress(news, view.t))


def follow(state: State, operation_id: str) -> Turn:
    """Shows how far it is; the outcome comes to `followed`."""
    wish = state.data.get("wish") if state.data.get("operation") == operation_id else None
    return Turn(State("progress", {"operation": operation_id, "wish": wish}), command=Follow(operation_id))


def followed(state: State, outcome: Outcome, view: View) -> Turn:
    """What `follow` found; the operation may have ended by now."""
    news: OperationNews = outcome.value
    if news.operation.state.ended:
        return Turn(State("menu"), ended(state, news, view))
    return Turn(state, progress(news, view.t))


def ended(state: State, news: OperationNews, view: View) -> Screen:
    """How it ended, and what to do next."""
    if news.operation.state is not OpState.SUCCEEDED:
        return _failed(state, news.operation, view)
    title = view.t(_DONE[news.operation.kind], name=_name(news.operation))
    app = view.app(news.operation.app_id)
    if app is None:
        gone = news.operation.kind is Kind.PURGE
        text = (
            view.t("Nothing of it is left. Its name is free again.")
            if gone
            else view.t("It is not there any more.")
        )
        return Screen(text, title=title, rows=((apps_button(view.t), menu_button(view.t)),), again=True)
    match news.operation.kind:
        case Kind.TRASH:
            return _trashed(title, app, view)
        case Kind.STOP:
            return _stopped(title, app, view.t)
    return _running(title, app, news, view.t)


def _name(operation: Operation) -> str:
    return operation.target.partition("/")[2]


def _failed(state: State, operation: Operation, view: View) -> Screen:
    t, app, kind = view.t, view.app(operation.app_id), operation.kind
    lines = [reason(t, operation.error_code or "internal", operation.error_params)]
    buttons = []
    wish = state.data.get("wish") if state.data.get("operation") == operation.id else None
    if kind is Kind.CREATE:
        lines.append(t("Nothing of it was left behind, so the same name can be used again."))
        again = {"do": "remake", "wish": wish} if wish else {"do": "new"}
        buttons.append(Button(t("Try again"), again, style="primary"))
    elif app is not None and kind in _ONCE_MORE:
        again = {"do": "change", "app": app.app.id, "kind": _ONCE_MORE[kind].value}
        buttons.append(Button(t("Try again"), again, style="primary"))
    if app is not None:
        buttons += [logs_button(t, app.app.id), details_button(t, app.app.id)]
    lines += ["", t("Reference: {reference}", reference=operation.id[:8])]
    return Screen(
        "\n".join(lines),
        title=t("{name}: that did not work", name=_name(operation)),
        code=last_words(operation.error_params),
        rows=rows_of(*buttons, menu_button(t), width=2),
        again=True,
    )


def _trashed(title: str, app: AppView, view: View) -> Screen:
    t = view.t
    return Screen(
        trash_words(view, app.app.trashed_at or view.now),
        title=title,
        rows=((restore_button(t, app.app.id),), (apps_button(t), menu_button(t))),
        again=True,
    )


def _stopped(title: str, app: AppView, t: Translator) -> Screen:
    text = t("Visitors see that it is closed. What is kept in it is safe.")
    rows = ((start_button(t, app.app.id), details_button(t, app.app.id)), (menu_button(t),))
    return Screen(text, title=title, rows=rows, again=True)


def _running(title: str, app: AppView, news: OperationNews, t: Translator) -> Screen:
    took = t("It took {seconds} seconds.", seconds=f"{news.elapsed_s:.1f}")
    lines = [app.url, "", took]
    if news.operation.kind is Kind.CREATE:
        lines = [app.url, "", *_first_steps(app, t), "", took]
    opening = Button(t("Open"), url=app.key_url or app.url, style="primary")
    rows = ((opening,), (details_button(t, app.app.id), menu_button(t)))
    return Screen("\n".join(lines), title=title, rows=rows, again=True)


def _first_steps(app: AppView, t: Translator) -> list[str]:
    """What to know and to do with something new."""
    lines = []
    if app.key_url:
        lines.append(
            t("🔒 “Open” carries your key. Keep it to yourself: whoever has it can read everything.")
        )
    lines.append(
        t("Put it on your home screen or bookmark it. You find it here again too, under “My things”.")
    )
    return lines
