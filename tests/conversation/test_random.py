"""Whatever a person does, in whatever order: a step never raises, always ends in a screen, and no button is dead."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from bot.conversation.model import Button
from engine.domain import Kind, OpState, Phase
from engine.errors import Broken, Conflict, Forbidden, MadangError, NotFound, OverQuota, Transient
from tests.conversation.pure import TEMPLATES, Person, app_view, buttons, operation

WORDS = (
    "hello", "minji", "diary", "home", "일기장", "민지의 일기", "yes", "네", "no", "취소", "cancel", "menu", "메뉴", "skip",
    "make me a diary", "홈페이지 만들어줘", "stop diary", "diary 시작", "일기장 지워줘", "delete log", "/new", "/new homepage",
    "/apps", "/cancel", "/menu", "/help", "/settings", "/delete diary", "/logs log", "/start_app", "/start_app nothing",
    "/nonsense", "/", "", " ", "x" * 10_000, "🌸", "\x00", "{} {0}", "<script>", "'; DROP TABLE apps; --", "1", "2", "sea",
)  # fmt: skip
ERRORS: tuple[MadangError, ...] = (
    Transient("runtime_down"), OverQuota("app_quota", used=3, limit=3, requested=1), OverQuota("no_slot"),
    Conflict("app_exists", field="appname", name="diary"), Conflict("app_in_trash", field="appname", name="diary"),
    Conflict("handle_taken", field="username", handle="minji"), Conflict("busy"), Conflict("in_trash", name="diary"),
    Conflict("wrong_phase", phase="stopped"), NotFound("not_found"), Forbidden("registration_closed"),
    Forbidden("account_waiting"), Broken("disk_full"), MadangError("unheard_of"),
)  # fmt: skip


class Wanderer:
    """A person who does anything at all, in a world where anything may happen meanwhile."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.person = Person(known=self.chance.random() < 0.7, locale=self.chance.choice(["en", "ko"]))
        self.person.approves = self.chance.random() < 0.8
        self.seen: list[Button] = []

    def step(self) -> None:
        if self.chance.random() < 0.15:
            self.chance.choice(self.events)()
        self.chance.choices(self.inputs, weights=[6, 4, 2, 1, 1, 2])[0]()
        self.press_every_button_of_a_twin()
        self.seen += [button for button in buttons(self.person.screen) if button.action]

    @property
    def inputs(self) -> list[Callable[[], object]]:
        return [self.press, self.say, self.press_old, self.press_unknown, self.person.begin, self.end]

    @property
    def events(self) -> list[Callable[[], object]]:
        return [self.refuse, self.lose_app, self.move_app, self.pass_time, self.lose_template, self.let_in]

    def press(self) -> None:
        found = [button for button in buttons(self.person.screen) if button.action]
        if found:
            self.person.push(self.chance.choice(found))

    def press_old(self) -> None:
        if self.seen:
            self.person.push(self.chance.choice(self.seen))

    def press_unknown(self) -> None:
        self.person.act(None)

    def say(self) -> None:
        self.person.say(self.chance.choice(WORDS))

    def end(self) -> None:
        """Some operation ends, perhaps the one that is watched."""
        if self.person.account is None:
            return
        ended = operation(
            self.chance.choice(list(Kind)), self.chance.choice(["diary", "log"]),
            self.chance.choice([OpState.SUCCEEDED, OpState.FAILED, OpState.CANCELLED]),
            error_code=self.chance.choice([None, "app_crashed", "wrong_phase", "gave_up"]),
            error_params=self.chance.choice([{}, {"log": "last words", "phase": "running"}]),
        )  # fmt: skip
        if self.person.state.at == "progress" and self.chance.random() < 0.7:
            ended = replace(ended, id=self.person.state.data["operation"])
        self.person.news(ended)

    def refuse(self) -> None:
        self.person.refusal = self.chance.choice(ERRORS)

    def lose_app(self) -> None:
        if self.person.apps:
            self.person.apps.pop()

    def move_app(self) -> None:
        busy = operation(Kind.RESTART) if self.chance.random() < 0.3 else None
        phase = self.chance.choice([phase for phase in Phase if phase is not Phase.DELETED])
        view = app_view(
            self.chance.choice(["diary", "log"]), phase, owner_key=self.chance.choice([None, "k"]), busy=busy
        )
        self.person.apps = [v for v in self.person.apps if v.app.name != view.app.name] + [view]

    def pass_time(self) -> None:
        self.person.pass_time(minutes=self.chance.choice([0.001, 1, 6, 100_000]))

    def lose_template(self) -> None:
        self.person.templates = tuple(self.chance.sample(TEMPLATES, self.chance.choice([1, len(TEMPLATES)])))

    def let_in(self) -> None:
        if self.person.account is not None:
            self.person.account = replace(self.person.account, approved=True)

    def press_every_button_of_a_twin(self) -> None:
        for button in buttons(self.person.screen):
            if button.action:
                self.person.twin().push(button)


@pytest.mark.parametrize("seed", range(60))
def test_nothing_that_a_person_does_raises(seed: int) -> None:
    wanderer = Wanderer(seed)
    for _ in range(80):
        wanderer.step()


def test_the_way_back_to_the_menu_is_open_from_everywhere() -> None:
    for seed in range(60, 80):
        wanderer = Wanderer(seed)
        for _ in range(30):
            wanderer.step()
            twin = wanderer.person.twin()
            twin.refusal = None
            if twin.account is not None and twin.account.approved:
                twin.say("/menu")
                assert twin.state.at == "menu"
