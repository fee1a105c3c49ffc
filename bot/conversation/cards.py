"""One's things: the list, a card for each, its log, changing it, deleting it."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from bot.conversation.model import (
    Ask,
    Button,
    ChangeApp,
    LookAt,
    OperationNews,
    Outcome,
    ReadLogs,
    Screen,
    State,
    Turn,
    View,
)
from bot.conversation.progress import progress, trash_words
from bot.conversation.words import apps_button, dot, menu_button, rows_of, sorry, standing, use
from engine.domain import Kind, Phase
from engine.ports import Stats
from engine.service.apps import AppView

LOG_LINES: Final = 40
CONFIRM_WITHIN: Final = timedelta(minutes=5)


def things(view: View) -> Turn:
    """Everything of the person's, the trash last."""
    t = view.t
    ordered = sorted(view.apps, key=lambda v: v.app.phase is Phase.TRASHED)
    buttons = [Button(f"{dot(v)} {v.app.name}", {"do": "card", "app": v.app.id}) for v in ordered]
    text = t("Pick one to see how it is.") if buttons else t("You have nothing yet. Shall we make something?")
    new = Button(t("✨ Make something"), {"do": "new"}, style="default" if buttons else "primary")
    rows = (*rows_of(*buttons), (new, menu_button(t)))
    return Turn(State("apps"), Screen(text, title=t("My things"), rows=rows, again=True))


def look(app_id: str, view: View) -> Turn:
    if view.app(app_id) is None:
        return _gone(view)
    return Turn(State("card", {"app": app_id}), command=LookAt(app_id))


def _gone(view: View) -> Turn:
    t = view.t
    return Turn(
        State("apps"), Screen(t("It is not there any more."), rows=((apps_button(t), menu_button(t)),))
    )


def looked(state: State, outcome: Outcome, view: View) -> Turn:
    if outcome.error is not None:
        found = view.app(state.data["app"])
        if found is None:
            return _gone(view)
        return Turn(state, card(found, None, view))
    app, stats = outcome.value
    return Turn(state, card(app, stats, view))


def card(app: AppView, stats: Stats | None, view: View) -> Screen:
    """State in words and a dot, address, use, and what can be done."""
    t, template = view.t, view.template(app.app.template)
    lines = [standing(app, t), app.url]
    if stats is not None:
        lines.append(use(stats, t))
    if app.app.failure and app.app.phase is Phase.FAILED:
        lines.append(t.code(app.app.failure, {}))
    if app.app.phase is Phase.TRASHED:
        lines[1:] = [trash_words(t, view.trash_days)]
    emoji = f"{template.emoji} " if template else ""
    heading = app.app.name if app.app.title == app.app.name else f"{app.app.title} ({app.app.name})"
    return Screen("\n".join(lines), title=f"{emoji}{heading}", rows=_card_rows(app, view), again=True)


def _card_rows(app: AppView, view: View) -> tuple[tuple[Button, ...], ...]:
    t, app_id = view.t, app.app.id

    def change(label: str, kind: Kind, style: str = "default") -> Button:
        action = {"do": "change", "app": app_id, "kind": kind.value}
        return Button(label, action, style="primary" if style == "primary" else "default")

    back = (apps_button(t), Button(t("Refresh"), {"do": "card", "app": app_id}))
    logs = Button(t("Logs"), {"do": "logs", "app": app_id})
    delete = Button(t("Delete"), {"do": "delete", "app": app_id}, style="danger")
    match app.app.phase:
        case Phase.TRASHED:
            purge = Button(t("Delete for good"), {"do": "delete", "app": app_id}, style="danger")
            return ((change(t("Restore"), Kind.RESTORE, "primary"),), (purge,), back)
        case Phase.STOPPED | Phase.FAILED | Phase.ASLEEP:
            return ((change(t("Start"), Kind.START, "primary"),), (logs, delete), back)
        case Phase.PENDING:
            return (back,)
    opening = Button(t("Open"), url=app.key_url or app.url, style="primary")
    return (
        (opening,),
        (change(t("Stop"), Kind.STOP), change(t("Restart"), Kind.RESTART)),
        (logs, delete),
        back,
    )


def change(app_id: str, kind: str, view: View) -> Turn:
    if view.app(app_id) is None:
        return _gone(view)
    return Turn(State("change", {"app": app_id}), command=ChangeApp(app_id, Kind(kind)))


def changed(outcome: Outcome, view: View) -> Turn:
    """The engine has taken the change, or refused it."""
    if outcome.error is None:
        news = OperationNews(outcome.value, (), 0.0)
        return Turn(State("progress", {"operation": outcome.value.id}), progress(news, view))
    assert isinstance(outcome.command, ChangeApp)
    again = None
    if outcome.command.kind is not Kind.PURGE and outcome.command.kind is not Kind.TRASH:
        again = {"do": "change", "app": outcome.command.app_id, "kind": outcome.command.kind.value}
    return Turn(State("menu"), sorry(outcome, view, again=again))


def read_logs(app_id: str, view: View) -> Turn:
    if view.app(app_id) is None:
        return _gone(view)
    return Turn(State("card", {"app": app_id}), command=ReadLogs(app_id, LOG_LINES))


def logs(state: State, outcome: Outcome, view: View) -> Turn:
    t = view.t
    if outcome.error is not None:
        return Turn(state, sorry(outcome, view, again={"do": "logs", "app": state.data["app"]}))
    app, text = outcome.value
    rows = (
        (Button(t("Refresh"), {"do": "logs", "app": app.app.id}), Button(t("Its card"), {"do": "card", "app": app.app.id})),
    )  # fmt: skip
    said = (
        t("The last {lines} lines:", lines=LOG_LINES) if text.strip() else t("It has not said anything yet.")
    )
    title = t("Log of {name}", name=app.app.name)
    return Turn(state, Screen(said, title=title, code=text.rstrip("\n"), rows=rows, again=True))


# --- deleting: what goes and what stays, the name typed, within five minutes, by the same person in the same chat


def ask_delete(app_id: str, view: View) -> Turn:
    app = view.app(app_id)
    if app is None:
        return _gone(view)
    until = (view.now + CONFIRM_WITHIN).timestamp()
    return draw_delete(State("delete", {"app": app_id, "until": until}), view)


def draw_delete(state: State, view: View, *, fault: str = "") -> Turn:
    app, t = view.app(state.data["app"]), view.t
    if app is None:
        return _gone(view)
    name = app.app.name
    if app.app.phase is Phase.TRASHED:
        title = t("Delete {name} for good?", name=name)
        text = t("Everything goes: its files, and all that was kept in it. Nobody can bring it back.")
    else:
        title = t("Delete {name}?", name=name)
        text = t("Its address closes and its program ends. What was kept in it goes into the trash.")
        text += "\n" + trash_words(t, view.trash_days)
    text += "\n\n" + t("To confirm, type its name: {name}", name=name)
    screen = Screen(
        f"{fault}\n\n{text}" if fault else text,
        title=title,
        rows=((Button(t("Keep it"), {"do": "card", "app": app.app.id}),),),
        ask=Ask(name),
        again=not fault,
    )
    return Turn(state, screen)


def name_typed(state: State, text: str, view: View) -> Turn:
    """The name typed: only exactly that, and in time, deletes."""
    app, t = view.app(state.data["app"]), view.t
    if app is None:
        return _gone(view)
    if view.now.timestamp() > state.data["until"]:
        keep = ((Button(t("Its card"), {"do": "card", "app": app.app.id}), menu_button(t)),)
        return Turn(
            State("menu"),
            Screen(t("More than five minutes have gone by, so nothing was deleted."), rows=keep),
        )
    if text.strip().lower() != app.app.name:
        return draw_delete(state, view, fault=t("That is not its name, so nothing was deleted."))
    kind = Kind.PURGE if app.app.phase is Phase.TRASHED else Kind.TRASH
    return Turn(State("change", {"app": app.app.id}), command=ChangeApp(app.app.id, kind))
