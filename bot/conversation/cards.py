"""One's things: the list, a card for each, its log and key, changing it, deleting it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from bot.conversation.model import (
    Ask,
    Button,
    ChangeApp,
    LookAt,
    Outcome,
    ReadLogs,
    Screen,
    State,
    Turn,
    View,
)
from bot.conversation.progress import begun
from bot.conversation.words import (
    apps_button,
    details_button,
    dot,
    failure,
    heading,
    logs_button,
    menu_button,
    restore_button,
    rows_of,
    sorry,
    standing,
    start_button,
    trash_words,
    use,
)
from engine.domain import Kind, Phase
from engine.ports import Stats
from engine.service.apps import AppView

LOG_LINES: Final = 40
CONFIRM_WITHIN: Final = timedelta(minutes=5)
_PER_PAGE: Final = 8
_QUOTES: Final = " \"'`“”‘’「」."


def things(view: View, *, page: int = 0, unknown: str = "") -> Turn:
    """Everything of the person's, the trash last. `unknown` is the name of a thing that was asked for in vain."""
    t = view.t
    ordered = sorted(view.apps, key=lambda v: v.app.phase is Phase.TRASHED)
    page = max(0, min(page, (len(ordered) - 1) // _PER_PAGE))
    shown = ordered[page * _PER_PAGE : (page + 1) * _PER_PAGE]
    buttons = [Button(f"{dot(v)} {heading(v.app)}", {"do": "card", "app": v.app.id}) for v in shown]
    text = t("Pick one to see how it is.") if buttons else t("You have nothing yet. Shall we make something?")
    if unknown:
        text = t("You have nothing called “{name}”.", name=unknown) + "\n" + text
    new = Button(t("✨ Make something"), {"do": "new"}, style="default" if buttons else "primary")
    rows = (*rows_of(*buttons), *_pages(page, len(ordered)), (new, menu_button(t)))
    return Turn(State("apps", {"page": page}), Screen(text, title=t("My things"), rows=rows, again=True))


def _pages(page: int, count: int) -> tuple[tuple[Button, ...], ...]:
    turns = []
    if page > 0:
        turns.append(Button("◀", {"do": "apps", "page": page - 1}))
    if (page + 1) * _PER_PAGE < count:
        turns.append(Button("▶", {"do": "apps", "page": page + 1}))
    return (tuple(turns),) if turns else ()


def look(app_id: str, view: View) -> Turn:
    if view.app(app_id) is None:
        return _gone(view)
    return Turn(State("card", {"app": app_id}), command=LookAt(app_id))


def _gone(view: View) -> Turn:
    t = view.t
    rows = ((apps_button(t), menu_button(t)),)
    return Turn(State("menu"), Screen(t("It is not there any more."), rows=rows, again=True))


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
    lines = [standing(app, t)]
    if app.app.phase is Phase.TRASHED:
        lines.append(trash_words(view, app.app.trashed_at or view.now))
    else:
        lines.append(app.url)
    if stats is not None and not app.busy:
        lines.append(use(stats, t))
    if app.app.failure and app.app.phase is Phase.FAILED and not app.busy:
        lines += ["", failure(t, app.app.failure), t("Press “Start” to try it again.")]
    emoji = f"{template.emoji} " if template else ""
    return Screen(
        "\n".join(lines), title=f"{emoji}{heading(app.app)}", rows=_card_rows(app, view), again=True
    )


def _card_rows(app: AppView, view: View) -> tuple[tuple[Button, ...], ...]:
    t, app_id = view.t, app.app.id
    back = (apps_button(t), Button(t("Refresh"), {"do": "card", "app": app_id}))
    logs = logs_button(t, app_id)
    if app.busy:
        following = Button(t("Show progress"), {"do": "follow", "operation": app.busy.id}, style="primary")
        return ((following, logs), back)
    delete = Button(t("Delete"), {"do": "delete", "app": app_id}, style="danger")
    match app.app.phase:
        case Phase.TRASHED:
            purge = Button(t("Delete for good"), {"do": "delete", "app": app_id}, style="danger")
            return ((restore_button(t, app_id),), (purge,), back)
        case Phase.STOPPED | Phase.FAILED | Phase.PENDING:
            return ((start_button(t, app_id),), (logs, delete), back)
    opening = [Button(t("Open"), url=app.key_url or app.url, style="primary")]
    if app.key_url:
        opening.append(Button(t("🔑 Key link"), {"do": "key", "app": app_id}))
    stop = Button(t("Stop"), {"do": "change", "app": app_id, "kind": Kind.STOP.value})
    restart = Button(t("Restart"), {"do": "change", "app": app_id, "kind": Kind.RESTART.value})
    return (tuple(opening), (stop, restart), (logs, delete), back)


def key(app_id: str, view: View) -> Turn:
    """The link that opens a private thing on any device."""
    app, t = view.app(app_id), view.t
    if app is None:
        return _gone(view)
    if app.key_url is None:
        return look(app_id, view)
    text = t(
        "Open this link once on each phone or computer of yours; from then on the address alone is enough there. "
        "Whoever has the link can read everything, so keep it to yourself."
    )
    rows = (
        (Button(t("Open"), url=app.key_url, style="primary"),),
        (details_button(t, app_id), menu_button(t)),
    )
    title = t("🔑 Key link of {name}", name=app.app.name)
    return Turn(
        State("card", {"app": app_id}), Screen(text, title=title, code=app.key_url, rows=rows, again=True)
    )


def change(app_id: str, kind: str, view: View) -> Turn:
    if view.app(app_id) is None:
        return _gone(view)
    return Turn(State("change", {"app": app_id}), command=ChangeApp(app_id, Kind(kind)))


def changed(state: State, outcome: Outcome, view: View) -> Turn:
    """The engine has taken the change, or refused it."""
    error = outcome.error
    if error is None:
        return begun(state, outcome.value, view)
    assert isinstance(outcome.command, ChangeApp)
    app_id, kind = outcome.command.app_id, outcome.command.kind
    found = view.app(app_id)
    if found is None:
        return _gone(view)
    again = None
    if kind not in (Kind.PURGE, Kind.TRASH) and error.code not in ("in_trash", "not_in_trash", "app_quota"):
        again = {"do": "change", "app": app_id, "kind": kind.value}
    helps = [restore_button(view.t, app_id)] if error.code == "in_trash" else []
    return Turn(State("menu"), sorry(outcome, view, *helps, details_button(view.t, app_id), again=again))


def read_logs(app_id: str, view: View) -> Turn:
    if view.app(app_id) is None:
        return _gone(view)
    return Turn(State("card", {"app": app_id}), command=ReadLogs(app_id, LOG_LINES))


def logs(state: State, outcome: Outcome, view: View) -> Turn:
    t, app_id = view.t, state.data["app"]
    if outcome.error is not None:
        if view.app(app_id) is None:
            return _gone(view)
        again = {"do": "logs", "app": app_id}
        return Turn(state, sorry(outcome, view, details_button(t, app_id), again=again))
    app, text = outcome.value
    said = t("It has not said anything yet.")
    if text.strip():
        said = t("The newest lines, at most {lines}:", lines=LOG_LINES)
    rows = (
        (Button(t("Refresh"), {"do": "logs", "app": app_id}), details_button(t, app_id)),
        (apps_button(t), menu_button(t)),
    )
    title = t("Log of {name}", name=app.app.name)
    return Turn(state, Screen(said, title=title, code=text.rstrip("\n"), rows=rows, again=True))


# --- deleting: what goes and what stays, the name typed, within five minutes, by the same person in the same chat


def ask_delete(app_id: str, view: View) -> Turn:
    until = (view.now + CONFIRM_WITHIN).timestamp()
    return draw_delete(State("delete", {"app": app_id, "until": until}), view)


def draw_delete(state: State, view: View, *, fault: str = "") -> Turn:
    app, t = view.app(state.data["app"]), view.t
    if app is None:
        return _gone(view)
    if view.now > datetime.fromtimestamp(state.data["until"], view.now.tzinfo):
        return _too_late(app, view)
    name = app.app.name
    if app.app.phase is Phase.TRASHED:
        title = t("Delete {name} for good?", name=name)
        text = t("Everything goes: its files, and all that was kept in it. Nobody can bring it back.")
    else:
        title = t("Delete {name}?", name=name)
        text = t("Its address closes and its program ends. What was kept in it goes into the trash.")
        text += "\n" + trash_words(view, view.now)
    question = t("To confirm, type its name: {name}", name=name) + "\n" + t("(within five minutes)")
    keep = Button(t("Keep it"), {"do": "card", "app": app.app.id})
    parts = (fault, text, question)
    screen = Screen(
        "\n\n".join(part for part in parts if part), title=title, rows=((keep,),), ask=Ask(name), again=True
    )
    return Turn(state, screen)


def name_typed(state: State, text: str, view: View) -> Turn:
    """The name typed: only exactly that, and in time, deletes."""
    app, t = view.app(state.data["app"]), view.t
    if app is None:
        return _gone(view)
    if not is_its_name(state, text, view):
        return draw_delete(state, view, fault=t("That is not its name, so nothing was deleted."))
    if view.now.timestamp() > state.data["until"]:
        return _too_late(app, view)
    kind = Kind.PURGE if app.app.phase is Phase.TRASHED else Kind.TRASH
    return Turn(State("change", {"app": app.app.id}), command=ChangeApp(app.app.id, kind))


def is_its_name(state: State, text: str, view: View) -> bool:
    app = view.app(state.data.get("app"))
    return app is not None and text.strip(_QUOTES).lower() == app.app.name


def _too_late(app: AppView, view: View) -> Turn:
    t, app_id = view.t, app.app.id
    rows = (
        (Button(t("Delete"), {"do": "delete", "app": app_id}, style="danger"), details_button(t, app_id)),
        (menu_button(t),),
    )
    text = t("More than five minutes have gone by, so nothing was deleted.")
    return Turn(State("card", {"app": app_id}), Screen(text, title=app.app.name, rows=rows, again=True))
