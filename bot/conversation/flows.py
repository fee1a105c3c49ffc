"""The whole conversation: one pure step, from (state, input, what may be seen) to a Turn.

Buttons and typed words come to the same actions; `_act` is the table of them. An input that belongs to nothing any more
redraws where the person stands.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from bot.conversation import cards, creating, places, welcome
from bot.conversation.model import (
    Action,
    Began,
    ChangeApp,
    CreateApp,
    Follow,
    Given,
    LookAt,
    OperationNews,
    Outcome,
    Pressed,
    ReadLogs,
    Said,
    SetLocale,
    SignUp,
    State,
    Turn,
    View,
)
from bot.conversation.progress import ended, follow, followed, progress
from bot.conversation.understand import bare_order, is_no, is_request, is_yes, understand, way_out

__all__ = ["progress", "step"]

_PLACES: Final = {"pick": "new", "settings": "settings", "help": "help"}


def step(state: State, given: Given, view: View) -> Turn:
    """One step. Never raises for anything that a person can do."""
    match given:
        case OperationNews():
            return _news(state, given, view)
        case Outcome():
            return _outcome(state, given, view)
        case Pressed(action) if action is not None and action["do"] == "locale":
            return Turn(state, command=SetLocale(action["value"]))
    if view.account is None:
        return welcome.first_contact(state, given, view)
    if not view.account.approved:
        return welcome.waiting(view)
    if state.at == "waiting":
        return welcome.let_in(view)
    return _taken(State("pick") if creating.lost(state, view) else state, given, view)


# --- what comes in


def _taken(state: State, given: Began | Pressed | Said, view: View) -> Turn:
    match given:
        case Began():
            return _began(state, view)
        case Pressed(action):
            return _pressed(state, action, view)
        case Said(text):
            return _said(state, text, view)


def _began(state: State, view: View) -> Turn:
    """What is half done goes on; else a greeting."""
    if state.at in creating.CREATING or state.at in ("delete", "progress"):
        return _redraw(state, view)
    assert view.account is not None
    return places.menu(view, note=view.t("Hello, {name}!", name=view.account.userid))


def _pressed(state: State, action: Action | None, view: View) -> Turn:
    if action is None:
        return _stale(state, view)
    if "flow" in action and not creating.belongs(action, state):
        return _stale(state, view)
    return _act(state, action, view)


def _stale(state: State, view: View) -> Turn:
    """A button from before: answered with where the person stands now."""
    return _noted(state, view, view.t("That button is from earlier. This is where we are:"))


def _noted(state: State, view: View, note: str) -> Turn:
    turn = _redraw(state, view)
    if turn.screen is None:
        return turn
    return replace(turn, screen=replace(turn.screen, text=f"{note}\n\n{turn.screen.text}", again=False))


def _said(state: State, text: str, view: View) -> Turn:
    command = text.lstrip().startswith("/")
    turn = None if command else _answered(state, text, view)
    if turn is not None:
        return turn
    action = understand(text, view)
    if action is not None:
        return _act(state, action, view)
    if state.at in creating.CREATING or state.at == "delete":
        return _noted(state, view, view.t("I did not understand that."))
    action = bare_order(text, view)
    if action is not None:
        return _act(state, action, view)
    return places.not_understood(view)


def _answered(state: State, text: str, view: View) -> Turn | None:
    """The words as an answer to the question that is open; None where there is none, or they ask for the way out."""
    leaving = way_out(text)
    match state.at:
        case "confirm" if is_yes(text):
            return creating.create(state, view)
        case "confirm" | "delete" if is_no(text) and not cards.is_its_name(state, text, view):
            return _go(state, {"do": "cancel"}, view)
        case "name" if is_yes(text):
            return creating.name_given(state, creating.suggested(state, view), view)
        case "name" if leaving is None and not is_request(text):
            return creating.name_given(state, text, view)
        case "option" if leaving is None or (leaving != "cancel" and creating.asks_for_words(state, view)):
            return creating.option_given(state, None, text, view)
        case "delete" if leaving is None or cards.is_its_name(state, text, view):
            return cards.name_typed(state, text, view)
    return None


def _act(state: State, action: Action, view: View) -> Turn:
    turn = _act_on_app(action, view) if "app" in action else _act_creating(state, action, view)
    return turn or _go(state, action, view)


def _act_on_app(action: Action, view: View) -> Turn | None:
    match action:
        case {"do": "card", "app": app_id}:
            return cards.look(app_id, view)
        case {"do": "change", "app": app_id, "kind": kind}:
            return cards.change(app_id, kind, view)
        case {"do": "logs", "app": app_id}:
            return cards.read_logs(app_id, view)
        case {"do": "key", "app": app_id}:
            return cards.key(app_id, view)
        case {"do": "delete", "app": app_id}:
            return cards.ask_delete(app_id, view)
    return None


def _act_creating(state: State, action: Action, view: View) -> Turn | None:  # noqa: PLR0911 - a table
    match action:
        case {"do": "new"}:
            return creating.pick(view)
        case {"do": "template", "id": template_id}:
            return creating.begin(template_id, view)
        case {"do": "name", "value": value}:
            return creating.name_given(state, value, view)
        case {"do": "option", "id": option_id, "value": value}:
            return creating.option_given(state, option_id, value, view)
        case {"do": "rename"}:
            return creating.ask_name(state, view)
        case {"do": "reanswer"}:
            return creating.reanswer(state, view)
        case {"do": "create"}:
            return creating.create(state, view)
        case {"do": "remake", "wish": wish}:
            return creating.remake(wish, view)
    return None


def _go(state: State, action: Action, view: View) -> Turn:
    match action:
        case {"do": "apps"}:
            return cards.things(view, page=action.get("page", 0), unknown=action.get("unknown", ""))
        case {"do": "follow", "operation": operation_id}:
            return follow(state, operation_id)
        case {"do": "settings"}:
            return places.settings(view)
        case {"do": "help"}:
            return places.help_(view)
        case {"do": "thanks"}:
            return places.menu(view, note=view.t("You are welcome!"))
        case {"do": "cancel"} if state.at in creating.CREATING:
            return places.menu(view, note=view.t("All right, nothing was made."))
        case {"do": "cancel"} if state.at == "delete":
            return places.menu(view, note=view.t("All right, nothing was deleted."))
    return places.menu(view)


# --- what the engine says


def _outcome(state: State, outcome: Outcome, view: View) -> Turn:
    match outcome.command:
        case SignUp():
            return welcome.signed_up(outcome, view)
        case SetLocale():
            return _spoken(state, view)
        case CreateApp():
            return creating.asked(state, outcome, view)
        case ChangeApp():
            return cards.changed(state, outcome, view)
        case LookAt():
            return cards.looked(state, outcome, view)
        case ReadLogs():
            return cards.logs(state, outcome, view)
        case Follow():
            return places.menu(view) if outcome.error else followed(state, outcome, view)


def _spoken(state: State, view: View) -> Turn:
    """The language was changed: the same place once more, in the new one."""
    if view.account is None:
        return welcome.ask_handle(view)
    if not view.account.approved:
        return welcome.waiting(view)
    return _redraw(state, view)


def _news(state: State, news: OperationNews, view: View) -> Turn:
    """The watched operation ended. Who has gone on to something else stays there; the message tells it all the same."""
    here = state.at == "progress" and state.data.get("operation") == news.operation.id
    return Turn(State("menu") if here else state, ended(state, news, view))


def _redraw(state: State, view: View) -> Turn:
    """Where the person stands, drawn once more."""
    if state.at in creating.CREATING:
        return creating.pick(view) if creating.lost(state, view) else creating.redraw(state, view)
    match state.at:
        case "delete":
            return cards.draw_delete(state, view)
        case "card":
            return cards.look(state.data["app"], view)
        case "progress":
            return follow(state, state.data["operation"])
        case "apps":
            return cards.things(view, page=state.data["page"])
    return _act(state, {"do": _PLACES.get(state.at, "menu")}, view)
