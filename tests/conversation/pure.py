"""Somebody who talks with the pure flow, and an engine that is told what to answer. No database, no clock, no task."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bot.conversation import flows
from bot.conversation.model import (
    Action,
    Began,
    Button,
    ChangeApp,
    Command,
    CreateApp,
    Follow,
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
    View,
)
from engine.catalogue import Template, load_catalogue
from engine.domain import Account, App, Kind, Operation, OpState, Phase, Role
from engine.errors import Conflict, MadangError, NotFound
from engine.ports import Stats
from engine.service.apps import AppView
from engine.words import Translator, translator

TEMPLATES = tuple(load_catalogue(Path(__file__).resolve().parents[2] / "templates").templates.values())
NOW = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
ADDRESS = "http://{label}.example.com"
LABEL_MAX = 64  # Telegram's


class StrictTranslator(Translator):
    """Fails on a sentence that has no words in this language."""

    def __call__(self, message: str, /, **params: Any) -> str:
        assert self.locale == "en" or message in self._messages, f"not in {self.locale}: {message!r}"
        return super().__call__(message, **params)


def strict(locale: str) -> Translator:
    return StrictTranslator(locale, translator(locale)._messages)


def account(userid: str = "minji", **fields: Any) -> Account:
    return Account(id=f"account-{userid}", userid=userid, role=Role.USER, created_at=NOW, **fields)


def app_view(name: str = "diary", phase: Phase = Phase.LIVE, **fields: Any) -> AppView:
    busy = fields.pop("busy", None)
    template = fields.pop("template", "diary-v1")
    app = App(
        id=f"id-{name}", owner_id="account-minji", userid="minji", name=name, kind="container", template=template,
        title=fields.pop("title", "일기장" if template == "diary-v1" else name), phase=phase, slot=1, settings={},
        created_at=NOW, changed_at=NOW, **fields,
    )  # fmt: skip
    url = ADDRESS.format(label=app.label)
    return AppView(app, url, f"{url}/#key={app.owner_key}" if app.owner_key else None, busy)


def operation(
    kind: Kind = Kind.CREATE, name: str = "diary", state: OpState = OpState.QUEUED, **fields: Any
) -> Operation:
    return Operation(
        id=f"operation-{kind}-{name}", kind=kind, app_id=f"id-{name}", owner_id="account-minji",
        target=f"minji/{name}", state=state, step=None, journal={}, payload={}, attempt=1, created_at=NOW, **fields,
    )  # fmt: skip


class Person:
    """`say`, `press` and `begin` return the screen that answers, after checking what holds for every screen."""

    def __init__(
        self,
        *apps: AppView,
        locale: str = "en",
        known: bool = True,
        templates: Sequence[Template] = TEMPLATES,
    ) -> None:
        self.locale = locale
        self.account: Account | None = account() if known else None
        self.apps = list(apps)
        self.templates = templates
        self.now = NOW
        self.trash_days = 30
        self.approves = True
        self.state = State()
        self.screen = Screen("")
        self.commands: list[Command] = []
        self.refusal: MadangError | None = None  # of the next command
        self.log = ""
        self.stats: Stats | None = Stats(30 * 2**20, 256 * 2**20, 1.25)

    def twin(self) -> Person:
        """Another one in the same place, whose steps leave this one where it is."""
        twin = copy.copy(self)
        twin.apps, twin.commands = list(self.apps), list(self.commands)
        return twin

    def begin(self) -> Screen:
        return self.give(Began())

    def say(self, text: str) -> Screen:
        return self.give(Said(text))

    def press(self, label: str) -> Screen:
        """The first button of the screen whose label contains `label`."""
        return self.push(self.button(label))

    def push(self, button: Button) -> Screen:
        assert button.action is not None, f"{button.label} opens an address"
        return self.give(Pressed(json.loads(json.dumps(button.action))))

    def act(self, action: Action | None) -> Screen:
        return self.give(Pressed(action))

    def news(self, operation: Operation, *steps: str, elapsed_s: float = 1.26) -> Screen:
        return self.give(OperationNews(operation, steps, elapsed_s))

    def button(self, label: str) -> Button:
        found = [button for button in buttons(self.screen) if label in button.label]
        assert found, f"no {label!r} among {labels(self.screen)}"
        return found[0]

    @property
    def view(self) -> View:
        usable = self.account is not None and self.account.approved
        return View(
            t=strict(self.locale), now=self.now, account=self.account, apps=tuple(self.apps) if usable else (),
            templates=self.templates, address_pattern=ADDRESS, trash_days=self.trash_days,
        )  # fmt: skip

    def pass_time(self, **delta: float) -> None:
        self.now += timedelta(**delta)

    def give(self, given: Given) -> Screen:
        for _ in range(8):
            turn = flows.step(self.state, given, self.view)
            self.state = State(turn.state.at, json.loads(json.dumps(dict(turn.state.data))))  # as it is kept
            if turn.command is None:
                assert turn.screen is not None
                self.screen = turn.screen
                check(self.screen)
                return self.screen
            self.commands.append(turn.command)
            given = self._outcome(turn.command)
        raise AssertionError(f"no screen, at {self.state}")

    # --- the engine

    def _outcome(self, command: Command) -> Outcome:
        refusal, self.refusal = self.refusal, None
        try:
            if refusal is not None:
                raise refusal
            return Outcome(command, self._do(command))
        except MadangError as error:
            return Outcome(command, error=error, reference="0f1e2d3c")

    def _do(self, command: Command) -> Any:
        match command:
            case SignUp(handle):
                self.account = account(handle, approved=self.approves)
            case SetLocale(locale):
                self.locale = locale
            case CreateApp(wish):
                if any(view.app.name == wish.appname for view in self.apps):
                    raise Conflict("app_exists", field="appname", name=wish.appname)
                made = operation(Kind.CREATE, wish.appname)
                new = app_view(wish.appname, Phase.PENDING, template=wish.template_id, busy=made)
                self.apps.append(replace(new, app=replace(new.app, title=wish.title or "")))
                return made
            case ChangeApp(app_id, kind):
                return operation(kind, self._find(app_id).app.name)
            case LookAt(app_id):
                return self._find(app_id), self.stats
            case ReadLogs(app_id):
                return self._find(app_id), self.log
            case Follow(operation_id):
                return OperationNews(replace(operation(), id=operation_id), ("files",), 2.0)
        return None

    def _find(self, app_id: str) -> AppView:
        found = next((view for view in self.apps if view.app.id == app_id), None)
        if found is None:
            raise NotFound("not_found")
        return found


def buttons(screen: Screen) -> list[Button]:
    return [button for row in screen.rows for button in row]


def labels(screen: Screen) -> list[str]:
    return [button.label for button in buttons(screen)]


def words(screen: Screen) -> str:
    return f"{screen.title}\n{screen.text}"


def check(screen: Screen) -> None:
    """What holds for every screen: it says something, leads on, and fits into every surface."""
    assert screen.title or screen.text
    assert not re.search(r"\{[a-z]", words(screen)), words(screen)
    assert len(screen.text) <= 2000
    assert len(buttons(screen)) <= 20
    for button in buttons(screen):
        assert button.label.strip()
        assert (button.action is None) != (button.url is None), button
        assert button.action is None or isinstance(button.action["do"], str)
    assert all(row for row in screen.rows)
    if screen.progress:
        assert screen.watch
    else:
        assert any(button.action for button in buttons(screen)), f"a dead end: {words(screen)}"
