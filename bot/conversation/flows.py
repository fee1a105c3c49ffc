"""The whole conversation: one pure step, from (state, input, what may be seen) to a Turn.

Buttons and typed words come to the same actions; `_act` is the table of them. An input that belongs to nothing any more
redraws where the person stands.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from bot.conversation import cards, creating
from bot.conversation.model import (
    Action,
    Ask,
    Began,
    Button,
    ChangeApp,
    CreateApp,
    Given,
    LookAt,
    OperationNews,
    Outcome,
    Pressed,
    ReadLogs,
    Said,
    Screen,
    SetLocale,
    SignUp,
    State,
    Turn,
    View,
)
from bot.conversation.progress import ended, progress
from bot.conversation.understand import is_greeting, understand
from bot.conversation.words import apps_button, menu_button, sorry
from engine.domain import valid_handle
from engine.errors import MadangError
from engine.words import LOCALES

__all__ = ["progress", "step"]

_CREATING: Final = frozenset({"name", "option", "confirm"})
_LANGUAGES: Final = {"ko": "한국어", "en": "English"}


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
        return _first_contact(state, given, view)
    if not view.account.approved:
        return Turn(
            State("waiting"), Screen(view.t("Your name is noted. Somebody here has to let you in first."))
        )
    match given:
        case Began():
            return _began(state, view)
        case Pressed(action):
            return _pressed(state, action, view)
        case Said(text):
            return _said(state, text, view)


# --- first contact


def _first_contact(state: State, given: Given, view: View) -> Turn:
    if state.at != "handle" or not isinstance(given, Said):
        return _ask_handle(view)
    handle = given.text.strip().lower()
    if handle.startswith("/") or is_greeting(handle):
        return _ask_handle(view)
    try:
        valid_handle(handle)
    except MadangError as error:
        return _ask_handle(view, fault=view.t.error(error))
    return Turn(state, command=SignUp(handle))


def _ask_handle(view: View, *, fault: str = "") -> Turn:
    t = view.t
    example = view.address_pattern.format(label="minji-diary")
    question = t(
        "What shall I call you? Your name becomes part of your addresses, such as {example}", example=example
    )
    if fault:
        return Turn(State("handle"), Screen(f"{fault}\n\n{question}", ask=Ask("minji")))
    text = t("I am Madang. Say what you would like to have on the web, and seconds later it is there.")
    other = tuple(
        Button(name, {"do": "locale", "value": code}) for code, name in _LANGUAGES.items() if code != t.locale
    )
    return Turn(
        State("handle"),
        Screen(f"{text}\n\n{question}", title=t("Hello! 👋"), rows=(other,), ask=Ask("minji")),
    )


# --- what comes in


def _began(state: State, view: View) -> Turn:
    if state.at in _CREATING or state.at == "delete":
        turn = _redraw(state, view)
        return replace(turn, screen=replace(turn.screen, again=False)) if turn.screen else turn
    return _menu(view, greet=True)


def _pressed(state: State, action: Action | None, view: View) -> Turn:
    if action is None:
        return _stale(state, view)
    if "flow" in action and not creating.belongs(action, state):
        return _stale(state, view)
    return _act(state, action, view)


def _stale(state: State, view: View) -> Turn:
    """A button from before: answered with where the person stands now."""
    turn = _redraw(state, view)
    if turn.screen is None:
        return turn
    note = view.t("That button is from earlier. This is where we are:")
    return replace(turn, screen=replace(turn.screen, text=f"{note}\n\n{turn.screen.text}", again=False))


def _said(state: State, text: str, view: View) -> Turn:
    if text.strip().startswith("/"):
        action = understand(text, view)
        return _act(state, action, view) if action else _not_understood(view)
    match state.at:
        case "name":
            return _fresh(creating.name_given(state, text, view))
        case "option":
            return _fresh(creating.option_given(state, None, text.strip(), view))
        case "delete":
            return _fresh(cards.name_typed(state, text, view))
    action = understand(text, view)
    return _fresh(_act(state, action, view)) if action else _not_understood(view)


def _fresh(turn: Turn) -> Turn:
    """What answers typed words is said anew below them, never drawn over an older message."""
    return replace(turn, screen=replace(turn.screen, again=False)) if turn.screen else turn


def _act(state: State, action: Action, view: View) -> Turn:  # noqa: C901, PLR0911, PLR0912 - the table of actions
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
        case {"do": "create"}:
            return creating.create(state)
        case {"do": "apps"}:
            return cards.things(view)
        case {"do": "card", "app": app_id}:
            return cards.look(app_id, view)
        case {"do": "change", "app": app_id, "kind": kind}:
            return cards.change(app_id, kind, view)
        case {"do": "logs", "app": app_id}:
            return cards.read_logs(app_id, view)
        case {"do": "delete", "app": app_id}:
            return cards.ask_delete(app_id, view)
        case {"do": "settings"}:
            return _settings(view)
        case {"do": "help"}:
            return _help(view)
        case {"do": "cancel"} if state.at in _CREATING or state.at == "delete":
            return _menu(view, note=view.t("All right, nothing was done."))
    return _menu(view)


def _outcome(state: State, outcome: Outcome, view: View) -> Turn:
    match outcome.command:
        case SignUp():
            return _signed_up(outcome, view)
        case SetLocale():
            return _ask_handle(view) if view.account is None else _settings(view)
        case CreateApp():
            return creating.asked(state, outcome, view)
        case ChangeApp():
            return cards.changed(outcome, view)
        case LookAt():
            return cards.looked(state, outcome, view)
        case ReadLogs():
            return cards.logs(state, outcome, view)


def _signed_up(outcome: Outcome, view: View) -> Turn:
    t = view.t
    if outcome.error is not None:
        if outcome.error.field == "username":
            return _ask_handle(view, fault=t.error(outcome.error))
        return Turn(State("handle"), sorry(outcome, view))
    assert view.account is not None
    if not view.account.approved:
        return Turn(State("waiting"), Screen(t("Your name is noted. Somebody here has to let you in first.")))
    return _menu(view, note=t("Nice to meet you, {name}!", name=view.account.userid))


def _news(state: State, news: OperationNews, view: View) -> Turn:
    """The watched operation ended. Who has gone on to something else stays there; the message tells it all the same."""
    here = state.at == "progress" and state.data.get("operation") == news.operation.id
    return Turn(State("menu") if here else state, ended(news, view))


def _redraw(state: State, view: View) -> Turn:
    if state.at in _CREATING:
        return creating.redraw(state, view)
    match state.at:
        case "delete":
            return cards.draw_delete(state, view)
        case "apps":
            return cards.things(view)
        case "card":
            return cards.look(state.data["app"], view)
        case "settings":
            return _settings(view)
    return _menu(view)


# --- menu, help, settings


def _menu_rows(view: View) -> tuple[tuple[Button, ...], ...]:
    t = view.t
    return (
        (Button(t("✨ Make something"), {"do": "new"}, style="primary"),),
        (apps_button(t),),
        (Button(t("Help"), {"do": "help"}), Button(t("Settings"), {"do": "settings"})),
    )


def _menu(view: View, *, note: str = "", greet: bool = False) -> Turn:
    t = view.t
    assert view.account is not None
    if greet:
        note = t("Hello, {name}!", name=view.account.userid)
    live = [v for v in view.apps if v.app.counts]
    state = t("Things here: {count}", count=len(live)) if live else t("You have nothing here yet.")
    text = f"{note} {state}".strip()
    return Turn(
        State("menu"), Screen(text, title=t("What shall we do?"), rows=_menu_rows(view), again=not note)
    )


def _not_understood(view: View) -> Turn:
    text = view.t("I did not understand that. Press a button, or write something like “make me a diary”.")
    return Turn(State("menu"), Screen(text, rows=_menu_rows(view)))


def _help(view: View) -> Turn:
    t = view.t
    text = "\n".join(
        (
            t("Press buttons, or write to me:"),
            t("· make me a diary"),
            t("· stop diary, start diary, logs diary"),
            t("· /new, /apps, /settings, /cancel, /menu"),
            "",
            t("What you make runs here, at an address of its own. Deleted things wait in the trash."),
        )
    )
    return Turn(State("menu"), Screen(text, title=t("Help"), rows=((menu_button(t),),), again=True))


def _settings(view: View) -> Turn:
    t = view.t
    assert view.account is not None
    languages = tuple(
        Button(
            f"✓ {_LANGUAGES[code]}" if code == t.locale else _LANGUAGES[code], {"do": "locale", "value": code}
        )
        for code in LOCALES
    )
    text = t("Your name here: {name}", name=view.account.userid) + "\n" + t("Language:")
    return Turn(
        State("settings"), Screen(text, title=t("Settings"), rows=(languages, (menu_button(t),)), again=True)
    )
