"""What a plan is made of. A plan reads top to bottom; every step may be repeated without harm."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from engine.bus import Bus
from engine.catalogue import Catalogue, Template
from engine.domain import App, Operation, Phase
from engine.folders import Folders
from engine.operations.routes import PublishedRoutes
from engine.ports import Clock, Edge, Runtime
from engine.settings import Settings
from engine.store.database import Database


@dataclass(frozen=True, slots=True)
class World:
    """Everything that operations act on."""

    settings: Settings
    database: Database
    runtime: Runtime
    edge: Edge
    clock: Clock
    folders: Folders
    catalogue: Catalogue
    routes: PublishedRoutes
    bus: Bus


@dataclass(slots=True)
class Work:
    """One operation being run: what it is about, and the journal that its steps leave for the later ones."""

    world: World
    operation: Operation
    app: App
    journal: dict[str, Any] = field(default_factory=dict)

    @property
    def template(self) -> Template:
        return self.world.catalogue.get(self.app.template)


Effect = Callable[[Work], Awaitable[None]]
STEP_TIMEOUT_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Step:
    """`do` has its effect at most once however often it is called; `undo` takes it back, done or half done or not."""

    name: str
    do: Effect
    undo: Effect | None = None
    timeout_s: float = STEP_TIMEOUT_S


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps in order. A failure up to and including step `commit` undoes everything; after it there is only forward.

    `commit` None: forward from the first step on. `success` and `failure` are the phases to end in; None forgets the
    app altogether. `allowed` are the phases to begin in. `patient`: what waiting may mend never counts as a failure; for
    changes that nobody asked for, and that must not cost an app its standing because its runtime is away.
    """

    steps: tuple[Step, ...]
    commit: str | None
    allowed: frozenset[Phase]
    success: Phase | None
    failure: Phase | None = Phase.FAILED
    patient: bool = False

    def index(self, step: str | None) -> int:
        return next((i for i, s in enumerate(self.steps) if s.name == step), 0)

    def undoable(self, step: str | None) -> bool:
        """Whether a failure in `step` still takes everything back."""
        return self.commit is not None and self.index(step) <= self.index(self.commit)
