"""Making something: template -> name -> the template's questions -> a confirm card -> progress.

The state's data: `flow` ties buttons to this attempt, `template`, `name`, `settings` (the answers so far), and `title`
where somebody answered the question for the name with words that no address can hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from bot.conversation.model import (
    Action,
    Ask,
    Button,
    CreateApp,
    Outcome,
    Screen,
    State,
    Turn,
    View,
)
from bot.conversation.progress import begun
from bot.conversation.words import menu_button, restore_button, rows_of, sorry, unlinked
from engine.catalogue import Option, Template, said
from engine.domain import TITLE_MAX, Phase, valid_app_name
from engine.errors import MadangError
from engine.service.apps import NewApp

CREATING: Final = frozenset({"name", "option", "confirm"})
_SKIPS: Final = frozenset({"skip", "건너뛰기"})


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
    """A template was picked: asks for the name."""
    if view.template(template_id) is None:
        return pick(view)
    flow = str(round(view.now.timestamp() * 1000))
    return ask_name(State("name", {"flow": flow, "template": template_id, "settings": {}}), view)


def lost(state: State, view: View) -> bool:
    """Whether what is being made cannot be made any more: its template has left the catalogue."""
    return state.at in CREATING and view.template(state.data.get("template")) is None


# --- the name


def ask_name(state: State, view: View, *helps: Button, fault: str = "") -> Turn:
    template, t = _template(state, view), view.t
    suggestion = suggested(state, view)
    question = t(
        "What shall it be called? The name becomes its address, for example {address}",
        address=unlinked(view.address(suggestion)),
    )
    screen = Screen(
        f"{fault}\n\n{question}" if fault else question,
        title=_title_line(template, view),
        rows=(
            (Button(suggestion, _tied(state, do="name", value=suggestion), style="primary"),),
            *rows_of(*helps),
            (_cancel(state, view),),
        ),
        ask=Ask(suggestion),
        again=True,
    )
    return Turn(State("name", state.data), screen)


def name_given(state: State, text: str, view: View) -> Turn:
    name, t = text.strip().lower(), view.t
    try:
        valid_app_name(name)
    except MadangError as error:
        return _not_a_name(state, " ".join(text.split()), t.error(error), view)
    taken = next((v.app for v in view.apps if v.app.name == name), None)
    if taken is not None and taken.phase is Phase.TRASHED:
        fault = t("“{name}” is in the trash. Restore it, or choose another name.", name=name)
        return ask_name(state, view, restore_button(t, taken.id), fault=fault)
    if taken is not None:
        return ask_name(state, view, fault=t("You already have something called “{name}”.", name=name))
    return _next_question(State("option", {**state.data, "name": name}), view)


def _not_a_name(state: State, text: str, fault: str, view: View) -> Turn:
    """Words in another script are no mistake: they become the title, and the address gets a name of its own."""
    if len(text) <= TITLE_MAX and any(letter.isalpha() and not letter.isascii() for letter in text):
        state = State("name", {**state.data, "title": text})
        kept = view.t("I keep “{title}” as its title. The address needs a name too.", title=text)
        fault = f"{kept}\n{fault}"
    return ask_name(state, view, fault=fault)


def suggested(state: State, view: View) -> str:
    return _free_name(_template(state, view).suggested_name, view)


def _free_name(wished: str, view: View) -> str:
    taken = {v.app.name for v in view.apps}
    return next(n for n in (wished, *(f"{wished[:26]}{i}" for i in range(2, 10_000))) if n not in taken)


# --- the template's questions


def _next_question(state: State, view: View, *, fault: str = "") -> Turn:
    """The first of the template's questions that has no answer yet; the confirm card after the last."""
    if "name" not in state.data:
        return ask_name(state, view)
    template, option = _template(state, view), _open_option(state, view)
    if option is None:
        return confirm(State("confirm", state.data), view)
    t = view.t
    question = said(option.label, t.locale)
    number, count = template.options.index(option) + 1, len(template.options)
    screen = Screen(
        f"{fault}\n\n{question}" if fault else question,
        title=f"{template.emoji} {state.data['name']}" + (f" · {number}/{count}" if count > 1 else ""),
        rows=(*_answers(state, option, view), (_cancel(state, view),)),
        ask=Ask(option.default) if option.type == "text" else None,
        again=True,
    )
    return Turn(State("option", state.data), screen)


def _answers(state: State, option: Option, view: View) -> tuple[tuple[Button, ...], ...]:
    if option.type == "text":
        return ((Button(view.t("Skip"), _tied(state, do="option", id=option.id, value=option.default)),),)
    return tuple(
        (
            Button(
                said(choice.label, view.t.locale), _tied(state, do="option", id=option.id, value=choice.value)
            ),
        )
        for choice in option.choices
    )


def option_given(state: State, option_id: str | None, value: str, view: View) -> Turn:
    """An answer by button (`option_id`), or by words to the question that is open."""
    option = _open_option(state, view)
    if option is None or (option_id is not None and option_id != option.id):
        return _next_question(state, view)
    if option_id is None:
        value = _typed(option, value)
    try:
        option.checked(value)
    except MadangError as error:
        return _next_question(state, view, fault=_fault(error, view))
    settings = {**state.data["settings"], option.id: value}
    return _next_question(State("option", {**state.data, "settings": settings}), view)


def asks_for_words(state: State, view: View) -> bool:
    """Whether any words at all may be the answer that is awaited."""
    option = _open_option(state, view) if state.at == "option" else None
    return option is not None and option.type == "text"


def _typed(option: Option, text: str) -> str:
    """The answer that was typed; for a choice its number, or the words on its button in any language."""
    text = text.strip()
    if option.type == "text":
        return option.default if _folded(text) in _SKIPS else text
    for number, choice in enumerate(option.choices, start=1):
        words = [str(number), choice.value, *choice.label.values()]
        if _folded(text) in [_folded(word) for word in words]:
            return choice.value
    return text


def _folded(text: str) -> str:
    """The letters and digits only: nobody types the emoji of a button."""
    return "".join(letter for letter in text.lower() if letter.isalnum())


def _fault(error: MadangError, view: View) -> str:
    if error.code == "long_option":
        return view.t(
            "That is a little long: at most {maximum} characters fit.", maximum=error.params["maximum"]
        )
    return view.t("Please choose one of these.")


# --- the confirm card


def confirm(state: State, view: View) -> Turn:
    """What will be made, and the address that it will have."""
    t, template, settings = view.t, _template(state, view), state.data["settings"]
    lines = [f"🔗 {unlinked(view.address(state.data['name']))}"]
    if state.data.get("title"):
        lines.append(f"🏷 {state.data['title']}")
    lines += [
        _answer(option, settings[option.id], t.locale)
        for option in template.options
        if settings.get(option.id)
    ]
    if template.private and settings.get("enableApi", "true") == "true":
        lines.append(t("🔒 Only you can open it: I give you a link with your key in it."))
    second = [Button(t("Another name"), _tied(state, do="rename"))]
    if template.options:
        second.append(Button(t("Answer again"), _tied(state, do="reanswer")))
    screen = Screen(
        "\n".join(lines),
        title=t("{emoji} Shall I make “{name}”?", emoji=template.emoji, name=state.data["name"]),
        rows=(
            (Button(t("Make it"), _tied(state, do="create"), style="primary"),),
            tuple(second),
            (_cancel(state, view),),
        ),
        again=True,
    )
    return Turn(State("confirm", state.data), screen)


def _answer(option: Option, value: str, locale: str) -> str:
    return "· " + next((said(c.label, locale) for c in option.choices if c.value == value), value)


def reanswer(state: State, view: View) -> Turn:
    """Asks the template's questions once more."""
    return _next_question(State("option", {**state.data, "settings": {}}), view)


def create(state: State, view: View) -> Turn:
    if state.at != "confirm":
        return redraw(state, view)
    data = state.data
    title = data["settings"].get("title") or data.get("title")
    title = title or said(_template(state, view).name, view.t.locale)
    title = " ".join(title.split())[:TITLE_MAX]
    wish = NewApp(data["name"], data["template"], data["settings"], title=title)
    return Turn(state, command=CreateApp(wish))


def remake(wish: Mapping[str, Any], view: View) -> Turn:
    """Once more what failed: with the same name and answers."""
    state = State("confirm", wish)
    return pick(view) if lost(state, view) else create(state, view)


def asked(state: State, outcome: Outcome, view: View) -> Turn:
    """The engine has taken the wish, or refused it."""
    error, t = outcome.error, view.t
    if error is None:
        return begun(state, outcome.value, view)
    if error.code in ("app_exists", "app_in_trash"):
        return name_given(state, state.data["name"], view)
    if error.field == "appname":
        return ask_name(state, view, fault=t.error(error))
    if error.code in ("app_quota", "box_quota"):  # what helps is elsewhere; the wish waits in its button
        again = {"do": "remake", "wish": dict(state.data)}
        return Turn(State("menu"), sorry(outcome, view, again=again))
    return Turn(state, sorry(outcome, view, again=_tied(state, do="create")))


# --- buttons and states


def redraw(state: State, view: View) -> Turn:
    """The same question once more."""
    match state.at:
        case "name":
            return ask_name(state, view)
        case "option":
            return _next_question(state, view)
    return confirm(state, view)


def belongs(action: Action, state: State) -> bool:
    """Whether a button is of the attempt that is under way."""
    return state.at in CREATING and action.get("flow") == state.data.get("flow")


def _tied(state: State, **action: Any) -> Mapping[str, Any]:
    return {**action, "flow": state.data["flow"]}


def _cancel(state: State, view: View) -> Button:
    return Button(view.t("Cancel"), _tied(state, do="cancel"))


def _title_line(template: Template, view: View) -> str:
    return f"{template.emoji} {said(template.name, view.t.locale)}"


def _template(state: State, view: View) -> Template:
    found = view.template(state.data.get("template"))
    assert found is not None
    return found


def _open_option(state: State, view: View) -> Option | None:
    settings = state.data["settings"]
    return next((option for option in _template(state, view).options if option.id not in settings), None)
