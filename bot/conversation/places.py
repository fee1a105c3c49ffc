"""The places that are always there: menu, help, settings."""

from __future__ import annotations

from typing import Final

from bot.conversation.model import Button, Screen, State, Turn, View
from bot.conversation.words import apps_button, dot, menu_button
from engine.words import LOCALES, Translator

LANGUAGES: Final = {"ko": "한국어", "en": "English"}
_GLANCE_MAX: Final = 6


def menu(view: View, *, note: str = "") -> Turn:
    t = view.t
    here = [v for v in view.apps if v.app.counts]
    glance = " · ".join(f"{dot(v)} {v.app.name}" for v in here[:_GLANCE_MAX])
    if len(here) > _GLANCE_MAX:
        glance += " …"
    if not here:
        glance = t("You have nothing here yet.")
    question = t("What shall we do?")
    text = f"{glance}\n{question}" if note else glance
    return Turn(State("menu"), Screen(text, title=note or question, rows=menu_rows(t), again=True))


def menu_rows(t: Translator) -> tuple[tuple[Button, ...], ...]:
    return (
        (Button(t("✨ Make something"), {"do": "new"}, style="primary"),),
        (apps_button(t),),
        (Button(t("Help"), {"do": "help"}), Button(t("Settings"), {"do": "settings"})),
    )


def not_understood(view: View) -> Turn:
    text = view.t("I did not understand that. Choose below, or write something like “make me a diary”.")
    return Turn(State("menu"), Screen(text, rows=menu_rows(view.t)))


def help_(view: View) -> Turn:
    t = view.t
    text = "\n".join(
        (
            t("Press buttons, or write to me:"),
            t("· make me a diary"),
            t("· stop diary, start diary, logs diary"),
            t("· delete diary, restore diary"),
            t("· /new makes something, /apps shows your things, /settings, /cancel, /menu"),
            "",
            t("What you make runs here, at an address of its own. Deleted things wait in the trash."),
        )
    )
    rows = ((Button(t("✨ Make something"), {"do": "new"}), apps_button(t)), (menu_button(t),))
    return Turn(State("help"), Screen(text, title=t("Help"), rows=rows, again=True))


def settings(view: View) -> Turn:
    t = view.t
    assert view.account is not None
    languages = tuple(
        Button(
            f"✓ {LANGUAGES[code]}" if code == t.locale else LANGUAGES[code], {"do": "locale", "value": code}
        )
        for code in LOCALES
    )
    text = t("Your name here: {name}", name=view.account.userid) + "\n" + t("Language:")
    rows = (languages, (menu_button(t),))
    return Turn(State("settings"), Screen(text, title=t("Settings"), rows=rows, again=True))


def other_languages(t: Translator) -> tuple[Button, ...]:
    """For screens before there are settings: the languages that this one is not in."""
    return tuple(
        Button(name, {"do": "locale", "value": code}) for code, name in LANGUAGES.items() if code != t.locale
    )
