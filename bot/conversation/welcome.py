"""First contact: a greeting, one question (the name), and waiting for approval where this Madang asks for it."""

from __future__ import annotations

from bot.conversation.model import Ask, Button, Given, Outcome, Said, Screen, SignUp, State, Turn, View
from bot.conversation.places import menu, other_languages
from bot.conversation.understand import is_greeting, is_small_talk
from bot.conversation.words import reason, unlinked
from engine.domain import valid_handle
from engine.errors import MadangError


def first_contact(state: State, given: Given, view: View) -> Turn:
    if state.at != "handle" or not isinstance(given, Said):
        return ask_handle(view)
    handle = given.text.strip().lower()
    if handle.startswith("/") or is_greeting(handle):
        return ask_handle(view)
    if is_small_talk(handle):
        return ask_handle(view, fault=view.t("First I need a name for you."))
    try:
        valid_handle(handle)
    except MadangError as error:
        return ask_handle(view, fault=view.t.error(error))
    return Turn(state, command=SignUp(handle))


def ask_handle(view: View, *, fault: str = "") -> Turn:
    t = view.t
    example = unlinked(view.address_pattern.format(label="minji-diary"))
    question = t(
        "What shall I call you? Your name becomes part of your addresses, such as {example}", example=example
    )
    first = fault or t(
        "I am Madang. Say what you would like to have on the web, and seconds later it is there."
    )
    screen = Screen(
        f"{first}\n\n{question}",
        title="" if fault else t("Hello! 👋"),
        rows=(other_languages(t),),
        ask=Ask("minji"),
        again=True,
    )
    return Turn(State("handle"), screen)


def signed_up(outcome: Outcome, view: View) -> Turn:
    error, t = outcome.error, view.t
    if error is None:
        assert view.account is not None
        if not view.account.approved:
            return waiting(view)
        return menu(view, note=t("Nice to meet you, {name}!", name=view.account.userid))
    if error.field == "username":
        return ask_handle(view, fault=t.error(error))
    text = f"{reason(t, error.code, error.params)}\n\n" + t(
        "Reference: {reference}", reference=outcome.reference
    )
    rows = ((Button(t("Try again"), {"do": "menu"}, style="primary"), *other_languages(t)),)
    return Turn(State("handle"), Screen(text, title=t("That did not work"), rows=rows, again=True))


def waiting(view: View) -> Turn:
    """Somebody who may not do anything yet."""
    t = view.t
    assert view.account is not None
    text = t("The administrator of this Madang lets new people in. Once that is done, we can begin.")
    rows = ((Button(t("Am I in yet?"), {"do": "menu"}, style="primary"), *other_languages(t)),)
    title = t("“{name}” is noted", name=view.account.userid)
    return Turn(State("waiting"), Screen(text, title=title, rows=rows, again=True))


def let_in(view: View) -> Turn:
    """The first input after the approval."""
    assert view.account is not None
    return menu(view, note=view.t("You are in now. Nice to meet you, {name}!", name=view.account.userid))
