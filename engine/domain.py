"""The things Madang keeps, as frozen values, and the rules that need nothing but them.

State changes go through `moved`, the one door; it refuses an edge that is not in `EDGES` (DESIGN.md, Objects).
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from engine.errors import Conflict, Invalid

HANDLE: Final = re.compile(r"[a-z][a-z0-9]{2,19}")
APP_NAME: Final = re.compile(r"[a-z][a-z0-9-]{2,29}")
EMAIL: Final = re.compile(r"[^@\s]{1,64}@[^@\s.][^@\s]*\.[^@\s.]{2,}")
# Names that would read as the platform's own address or owner.
RESERVED_HANDLES: Final = frozenset(
    {"admin", "api", "app", "apps", "chat", "docs", "git", "health", "madang", "metrics", "root", "static", "support", "system",
     "webhooks", "www"}
)  # fmt: skip
PASSWORD_MIN: Final = 8
PASSWORD_MAX_BYTES: Final = 72  # bcrypt reads no further
TITLE_MAX: Final = 80


class Phase(StrEnum):
    """Where an app stands. "Deploying" and the like are derived from the running operation, never stored."""

    PENDING = "pending"
    LIVE = "running"
    ASLEEP = "asleep"
    STOPPED = "stopped"
    FAILED = "failed"
    TRASHED = "trashed"
    DELETED = "deleted"


_ALIVE: Final = (Phase.PENDING, Phase.LIVE, Phase.ASLEEP, Phase.STOPPED, Phase.FAILED)
EDGES: Final[frozenset[tuple[Phase, Phase]]] = frozenset(
    {
        (Phase.PENDING, Phase.LIVE),
        (Phase.PENDING, Phase.FAILED),
        (Phase.LIVE, Phase.STOPPED),
        (Phase.LIVE, Phase.ASLEEP),
        (Phase.LIVE, Phase.FAILED),
        (Phase.ASLEEP, Phase.LIVE),
        (Phase.ASLEEP, Phase.STOPPED),
        (Phase.ASLEEP, Phase.FAILED),
        (Phase.STOPPED, Phase.LIVE),
        (Phase.STOPPED, Phase.FAILED),
        (Phase.FAILED, Phase.LIVE),
        (Phase.FAILED, Phase.STOPPED),
        (Phase.TRASHED, Phase.STOPPED),
        (Phase.TRASHED, Phase.DELETED),
        *((phase, Phase.TRASHED) for phase in _ALIVE),
    }
)


def moved(current: Phase, target: Phase) -> Phase:
    """`target`, if an app in `current` may go there; a repeated move is no move. Raises Conflict otherwise."""
    if current is not target and (current, target) not in EDGES:
        raise Conflict("wrong_phase", phase=current.value, wanted=target.value)
    return target


class Role(StrEnum):
    ADMIN = "admin"
    USER = "user"


class Kind(StrEnum):
    """What an operation does to its app."""

    CREATE = "create"
    START = "start"
    STOP = "stop"
    RESTART = "restart"
    TRASH = "trash"
    RESTORE = "restore"
    PURGE = "purge"
    REPAIR = "repair"


class OpState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self in (OpState.SUCCEEDED, OpState.FAILED, OpState.CANCELLED)


@dataclass(frozen=True, slots=True)
class Account:
    """A person. `userid` is the public handle; `password_hash` is None for people who only ever chat."""

    id: str
    userid: str
    role: Role
    created_at: datetime
    email: str | None = None
    password_hash: str | None = field(default=None, repr=False)
    must_change_password: bool = False
    approved: bool = True
    token_version: int = 0  # raised to end every token given before
    max_apps: int | None = None  # None: the setting MAX_APPS_PER_USER
    locale: str | None = None


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks, and by which front end (`api`, `telegram`, `browser`, ...; `system` for Madang itself)."""

    account: Account
    via: str

    @property
    def is_admin(self) -> bool:
        return self.account.role is Role.ADMIN


@dataclass(frozen=True, slots=True)
class App:
    """One thing that somebody made. `slot` is its address on the network, for life; `settings` are its template's."""

    id: str
    owner_id: str
    userid: str
    name: str
    kind: str
    template: str
    title: str
    phase: Phase
    slot: int
    settings: Mapping[str, str]
    created_at: datetime
    changed_at: datetime
    owner_key: str | None = field(default=None, repr=False)
    failure: str | None = None
    trashed_at: datetime | None = None

    @property
    def label(self) -> str:
        """The first label of its host name. A handle holds no hyphen, so it splits one way only."""
        return f"{self.userid}-{self.name}"

    @property
    def counts(self) -> bool:
        """Whether it counts against quotas: everything but what lies in the trash."""
        return self.phase not in (Phase.TRASHED, Phase.DELETED)


@dataclass(frozen=True, slots=True)
class Operation:
    """One change under way or ended. `attempt` and `owner` fence every journal write (DESIGN.md)."""

    id: str
    kind: Kind
    app_id: str
    owner_id: str
    target: str  # "userid/appname", kept when the app is gone
    state: OpState
    step: str | None
    journal: Mapping[str, Any]
    payload: Mapping[str, Any]
    attempt: int
    created_at: datetime
    via: str = "system"
    aborting: bool = False
    tries: int = 0
    lease_owner: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    error_code: str | None = None
    error_params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to an operation, in order of `id`. `kind`: queued, step, retry, undo, ended."""

    id: int
    operation_id: str
    app_id: str
    at: datetime
    kind: str
    data: Mapping[str, Any]


def new_id() -> str:
    """An opaque identifier: 16 bytes of chance, 22 URL-safe characters, never guessable."""
    return secrets.token_urlsafe(16)


def valid_handle(text: str) -> str:
    """`text` as a handle. Raises Invalid(field="username")."""
    if not HANDLE.fullmatch(text):
        raise Invalid("bad_handle", field="username")
    if text in RESERVED_HANDLES:
        raise Invalid("reserved_handle", field="username", handle=text)
    return text


def valid_app_name(text: str) -> str:
    """`text` as an app name. Raises Invalid(field="appname")."""
    if not APP_NAME.fullmatch(text):
        raise Invalid("bad_app_name", field="appname")
    return text


def valid_email(text: str) -> str:
    """`text` as an address, lower-cased. Raises Invalid(field="email")."""
    if len(text) > 254 or not EMAIL.fullmatch(text):
        raise Invalid("bad_email", field="email")
    return text.lower()


def valid_password(text: str, *, field_name: str = "password") -> str:
    """`text` as a new password. Raises Invalid naming `field_name`."""
    if len(text) < PASSWORD_MIN:
        raise Invalid("short_password", field=field_name, minimum=PASSWORD_MIN)
    if len(text.encode()) > PASSWORD_MAX_BYTES:
        raise Invalid("long_password", field=field_name, maximum=PASSWORD_MAX_BYTES)
    return text
