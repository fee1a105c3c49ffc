"""Every kind of change, as a plan that reads top to bottom."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from engine.domain import Kind, Phase
from engine.operations.plan import Plan, Step
from engine.operations.steps import (
    close_route,
    ensure_folder,
    ensure_instance,
    open_route,
    remove_folder,
    remove_instance,
    renew_instance,
    stop_instance,
    verify_route,
    wait_until_ready,
)

_READY = Step("ready", wait_until_ready, timeout_s=600)  # START_TIMEOUT_S ends it sooner
_ROUTE = Step("route", open_route, undo=close_route)
_VERIFY = Step("verify", verify_route)
_UNROUTE = Step("unroute", close_route)
_STOP = Step("stop", stop_instance)
_REMOVE = Step("remove", remove_instance)
# The route opens while the program is still starting: nobody could reach it before, and until it answers the edge shows
# the page that waits for it. A start that fails leaves the stopped instance in place, so that its log can be read.
_RUN = (Step("container", renew_instance, undo=stop_instance), _ROUTE, _READY, _VERIFY)

_STANDING = frozenset({Phase.LIVE, Phase.ASLEEP, Phase.STOPPED, Phase.FAILED})
_ANY = _STANDING | {Phase.TRASHED}

PLANS: Final[Mapping[Kind, Plan]] = {
    Kind.CREATE: Plan(
        steps=(
            Step("files", ensure_folder, undo=remove_folder),
            Step("container", ensure_instance, undo=remove_instance),
            _ROUTE,
            _READY,
            _VERIFY,
        ),
        commit="verify",
        allowed=frozenset({Phase.PENDING}),
        success=Phase.LIVE,
        failure=None,
    ),
    Kind.START: Plan(steps=_RUN, commit="verify", allowed=_STANDING, success=Phase.LIVE),
    Kind.RESTART: Plan(steps=(_STOP, *_RUN), commit="verify", allowed=_STANDING, success=Phase.LIVE),
    Kind.RESTORE: Plan(steps=_RUN, commit="verify", allowed=_STANDING, success=Phase.LIVE),
    Kind.REPAIR: Plan(
        steps=_RUN, commit="verify", allowed=frozenset({Phase.LIVE}), success=Phase.LIVE, patient=True
    ),
    Kind.STOP: Plan(steps=(_UNROUTE, _STOP), commit=None, allowed=_STANDING, success=Phase.STOPPED),
    Kind.TRASH: Plan(steps=(_UNROUTE, _REMOVE), commit=None, allowed=_ANY, success=Phase.TRASHED),
    Kind.PURGE: Plan(
        steps=(_UNROUTE, _REMOVE, Step("erase", remove_folder)), commit=None, allowed=_ANY, success=None
    ),
}
