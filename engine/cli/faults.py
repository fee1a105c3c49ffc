"""The words of what can go wrong before the engine runs. All other codes have theirs in `engine.words`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Final

from engine.errors import MadangError
from engine.words import N_, Translator

_FAULTS: Final[Mapping[str, str]] = {
    "packages_missing": N_(
        "These programs are missing: {programs}. Madang installs them by itself on Debian and Ubuntu only; "
        "install them by hand here, and start it again."
    ),
    "packages_not_installed": N_(
        "These programs could not be installed: {programs}. Is this machine online? The last words were:\n{detail}"
    ),
    "need_root": N_(
        "This needs administrator rights. Start Madang once as root or with an account that may use sudo, or run:\n"
        "    sudo {command}"
    ),
    "docker_unreachable": N_(
        "Docker does not answer at {host}. Start it there, or set DOCKER_HOST in .env to where it runs."
    ),
    "docker_not_started": N_("Docker does not start. Its log ({log}) ends with:\n{detail}"),
    "not_a_checkout": N_("This command works in a checkout of Madang only."),
}


def sentence(error: MadangError, t: Translator) -> str:
    """What happened and what to do, in the words of `t`."""
    text = _FAULTS.get(error.code)
    return t(text, **error.params) if text else t.error(error)


def report(error: MadangError, t: Translator) -> int:
    """Tells it to the person at the terminal. Returns the exit code."""
    print(sentence(error, t), file=sys.stderr)
    return 1
