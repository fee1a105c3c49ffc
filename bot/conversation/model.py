"""What a conversation is made of: inputs, screens, commands, states. All frozen, all plain data.

A flow is a pure step `(state, given, view) -> Turn`. A Turn may carry a command for the engine; its result comes back
as the next input (`Outcome`), until a Turn carries a screen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from engine.catalogue import Template
from engine.domain import Account, Kind, Operation
from engine.errors import MadangError
from engine.service.apps import AppView, NewApp
from engine.words import Translator

Action = Mapping[str, Any]
Style = Literal["default", "primary", "danger"]


@dataclass(frozen=True, slots=True)
class Button:
    """A choice. It either does something (`action`, kept by us; the surface only gets an opaque id) or opens `url`."""

    label: str
    action: Action | None = None
    url: str | None = None
    style: Style = "default"


@dataclass(frozen=True, slots=True)
class Ask:
    """A typed answer is awaited. `placeholder` is an example of one."""

    placeholder: str = ""


@dataclass(frozen=True, slots=True)
class ProgressStep:
    """One step in plain words. `state`: done, now, or todo."""

    label: str
    state: Literal["done", "now", "todo"]


@dataclass(frozen=True, slots=True)
class Screen:
    """What a person is shown. `text` is plain, with line breaks; `code` is preformatted, its end the newest.

    `again`: redraws the message whose button was pressed, where there is one, instead of saying something new.
    `watch`: the operation whose progress this screen shows and will go on to show.
    """

    text: str
    title: str = ""
    code: str = ""
    rows: Sequence[Sequence[Button]] = ()
    ask: Ask | None = None
    progress: Sequence[ProgressStep] = ()
    elapsed_s: float | None = None
    again: bool = False
    watch: str | None = None


@dataclass(frozen=True, slots=True)
class State:
    """Where a talk stands: the place `at`, and what was said on the way there (JSON-able)."""

    at: str = "start"
    data: Mapping[str, Any] = field(default_factory=dict)


# --- inputs


@dataclass(frozen=True, slots=True)
class Began:
    """The person opened the chat (or said /start). Whatever stood half-way goes on."""


@dataclass(frozen=True, slots=True)
class Said:
    text: str


@dataclass(frozen=True, slots=True)
class Pressed:
    """A button; `action` None when it is no longer known."""

    action: Action | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the command of the Turn before: a value, or an expected failure with its reference."""

    command: Command
    value: Any = None
    error: MadangError | None = None
    reference: str = ""


@dataclass(frozen=True, slots=True)
class OperationNews:
    """The watched operation went on or ended. `steps` are those begun so far, the last one under way."""

    operation: Operation
    steps: Sequence[str]
    elapsed_s: float


Given = Began | Said | Pressed | Outcome | OperationNews


# --- commands for the engine


@dataclass(frozen=True, slots=True)
class SignUp:
    handle: str


@dataclass(frozen=True, slots=True)
class SetLocale:
    locale: str


@dataclass(frozen=True, slots=True)
class CreateApp:
    """Value: the Operation."""

    wish: NewApp


@dataclass(frozen=True, slots=True)
class ChangeApp:
    """Value: the Operation."""

    app_id: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class LookAt:
    """Value: (AppView, Stats or None)."""

    app_id: str


@dataclass(frozen=True, slots=True)
class ReadLogs:
    """Value: (AppView, the text)."""

    app_id: str
    lines: int


@dataclass(frozen=True, slots=True)
class Follow:
    """Value: the OperationNews of now."""

    operation_id: str


Command = SignUp | SetLocale | CreateApp | ChangeApp | LookAt | ReadLogs | Follow


@dataclass(frozen=True, slots=True)
class Turn:
    """What a step comes to: the new state, and either a screen to show or a command whose outcome comes next."""

    state: State
    screen: Screen | None = None
    command: Command | None = None


@dataclass(frozen=True, slots=True)
class View:
    """What a step may look at: read before the step, so that the step itself stays pure."""

    t: Translator
    now: datetime
    account: Account | None
    apps: Sequence[AppView]
    templates: Sequence[Template]
    address_pattern: str  # "http://{label}.localhost:8080"
    trash_days: int  # 0: the trash is never emptied by itself

    def address(self, name: str) -> str:
        """Where an app of that name will be, of the person who talks."""
        assert self.account is not None
        return self.address_pattern.format(label=f"{self.account.userid}-{name}")

    def app(self, app_id: object) -> AppView | None:
        return next((view for view in self.apps if view.app.id == app_id), None)

    def template(self, template_id: object) -> Template | None:
        return next((template for template in self.templates if template.id == template_id), None)
