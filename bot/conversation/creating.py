"""Making something: template -> name -> the template's questions -> a confirm card -> progress."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bot.conversation.model import (
    Action,
    Ask,
    Button,
    CreateApp,
    OperationNews,
    Outcome,
    Screen,
    State,
    Turn,
    View,
)
from bot.conversation.progress import progress
from bot.conversation.words import menu_button, rows_of, sorry
from engine.catalogue import Option, Template, said
from engine.domain import valid_app_name
from engine.errors import MadangError
from engine.service.apps import NewApp


def pick(view: View) -> Turn:
    """Everything that the catalogue holds."""
    t = view.t
    lines = [f"{x.emoji} {said(x.name, t.locale)}: {said(x.summary, t.locale)}" for x in view.templates]
    buttons = [
        Button(f"{x.emoji} {said(x.name, t.locale)}", {"do": "template", "id": x.id}) for x in view.templates
    ]
    screen = Screen(
        "\n".join(lines), title=t("What shall I make?"), rows=rows_of(*buttons, menu_button(t)), again=True
    )
    return Turn(State("pick"), screen)


def begin(template_id: str, view: View) -> Turn:
    """A template was picked: asks for the name. `flow` ties later buttons to this attempt."""
    if view.template(template_id) is None:
        return pick(view)
    flow = str(round(view.now.timestamp() * 1000))
    return ask_name(State("name", {"flow": flow, "template": template_id, "settings": {}}), view)


def ask_name(state: State, view: View, *, fault: str = "") -> Turn:
    template = _template(state, view)
    t = view.t
    suggestion = _free_name(template.suggested_name, view)
    address = view.address_pattern.format(label=f"{_me(view)}-{suggestion}")
    question = t(
        "What shall it be called? The name becomes its address, for example {address}", address=address
    )
    screen = Screen(
        f"{fault}\n\n{question}" if fault else question,
        title=f"{template.emoji} {said(template.name, t.locale)}",
        rows=(
            (Button(suggestion, _tied(state, do="name", value=suggestion), style="primary"),),
            (Button(t("Cancel"), {"do": "cancel"}),),
        ),
        ask=Ask(suggestion),
        again=not fault,
    )
    return Turn(State("name", state.data), screen)


def name_given(state: State, text: str, view: View) -> Turn:
    name = text.strip().lower()
    try:
        valid_app_name(name)
    except MadangError as error:
        return ask_name(state, view, fault=view.t.error(error))
    if any(v.app.name == name for v in view.apps):
        return ask_name(state, view, fault=view.t("You already have something called “{name}”.", name=name))
    return _next_question(State("option", {**state.data, "name": name, "settings": {}}), view)


def _next_question(state: State, view: View, *, fault: str = "") -> Turn:
    """The first of the template's questions that has no answer yet; the confirm card after the last."""
    option = _open_option(state, view)
    if option is None:
        return confirm(State("confirm", state.data), view)
    t = view.t
    question = said(option.label, t.locale)
    if option.type == "choice":
        buttons = [
            Button(said(choice.label, t.locale), _tied(state, do="option", id=option.id, value=choice.value))
            for choice in option.choices
        ]
    else:
        buttons = [Button(t("Skip"), _tied(state, do="option", id=option.id, value=option.default))]
    screen = Screen(
        f"{fault}\n\n{question}" if fault else question,
        title=str(state.data["name"]),
        rows=(*rows_of(*buttons), (Button(t("Cancel"), {"do": "cancel"}),)),
        ask=Ask(option.default) if option.type == "text" else None,
        again=not fault,
    )
    return Turn(State("option", state.data), screen)


def option_given(state: State, option_id: str | None, value: str, view: View) -> Turn:
    """An answer by button (`option_id`), or by words to the question that is open."""
    option = _open_option(state, view)
    if option is None or (option_id is not None and option_id != option.id):
        return _next_question(state, view)
    if option.type == "choice" and option_id is None:
        value = next(
            (c.value for c in option.choices if value in (c.value, said(c.label, view.t.locale))), value
        )
    try:
        option.checked(value)
    except MadangError as error:
        return _next_question(state, view, fault=view.t.error(error))
    settings = {**state.data["settings"], option.id: value}
    return _next_question(State("option", {**state.data, "settings": settings}), view)


def confirm(state: State, view: View) -> Turn:
    """What will be made, and the address that it will have."""
    t, template, settings = view.t, _template(state, view), state.data["settings"]
    lines = [view.address(state.data["name"])]
    lines += [
        _answer(option, settings[option.id], t.locale)
        for option in template.options
        if settings.get(option.id)
    ]
    if template.private and settings.get("enableApi", "true") == "true":
        lines.append(t("🔒 Only you can open it; I give you a key for it."))
    screen = Screen(
        "\n".join(lines),
        title=t("{emoji} Shall I make “{name}”?", emoji=template.emoji, name=state.data["name"]),
        rows=(
            (Button(t("Make it"), _tied(state, do="create"), style="primary"),),
            (Button(t("Another name"), _tied(state, do="rename")), Button(t("Cancel"), {"do": "cancel"})),
        ),
        again=True,
    )
    return Turn(State("confirm", state.data), screen)


def create(state: State) -> Turn:
    data = state.data
    wish = NewApp(
        data["name"], data["template"], data["settings"], title=data["settings"].get("title") or None
    )
    return Turn(state, command=CreateApp(wish))


def asked(state: State, outcome: Outcome, view: View) -> Turn:
    """The engine has taken the wish, or refused it."""
    error = outcome.error
    if error is None:
        news = OperationNews(outcome.value, (), 0.0)
        return Turn(State("progress", {"operation": outcome.value.id}), progress(news, view))
    if error.code in ("app_exists", "bad_app_name"):
        return ask_name(state, view, fault=view.t.error(error))
    return Turn(state, sorry(outcome, view, again=_tied(state, do="create")))


def redraw(state: State, view: View) -> Turn:
    """The same question once more."""
    if _maybe_template(state, view) is None:
        return pick(view)
    match state.at:
        case "name":
            return ask_name(state, view)
        case "option":
            return _next_question(state, view)
    return confirm(state, view)


def belongs(action: Action, state: State) -> bool:
    """Whether a button is of the attempt that is under way."""
    return "flow" in action and action["flow"] == state.data.get("flow")


def _tied(state: State, **action: Any) -> Mapping[str, Any]:
    return {**action, "flow": state.data["flow"]}


def _maybe_template(state: State, view: View) -> Template | None:
    return view.template(state.data.get("template"))


def _template(state: State, view: View) -> Template:
    found = _maybe_template(state, view)
    assert found is not None
    return found


def _open_option(state: State, view: View) -> Option | None:
    settings = state.data["settings"]
    return next((option for option in _template(state, view).options if option.id not in settings), None)


def _answer(option: Option, value: str, locale: str) -> str:
    return "· " + next((said(c.label, locale) for c in option.choices if c.value == value), value)


def _free_name(wished: str, view: View) -> str:
    taken = {v.app.name for v in view.apps}
    return next(n for n in (wished, *(f"{wished}{i}" for i in range(2, 1000))) if n not in taken)


def _me(view: View) -> str:
    assert view.account is not None
    return view.account.userid
