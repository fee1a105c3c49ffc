"""Root's rights: Docker, nginx's packages and the firewall between apps need them. Had, got through sudo, or asked for."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from typing import Final

from engine.cli.search import which
from engine.errors import Broken

# What a command may be told by its environment, besides settings.
_KEPT: Final = ("CI", "LANG", "LC_ALL", "LC_MESSAGES", "PYTHONUNBUFFERED", "TERM")
_KEPT_PREFIX: Final = "PIP_"
# Root's compiled modules stay out of the checkout, where its owner could not delete them.
_COMPILED: Final = "/var/cache/madang/python"


def become_root(command: Sequence[str], *, keep: Sequence[str], notice: str) -> None:
    """Returns as root; otherwise this process becomes `command` run by sudo, with the variables `keep` in force.

    `notice` is shown before a password is asked for. Raises Broken("need_root") where sudo is not to be had.
    """
    if os.geteuid() == 0:
        return
    if not _quietly(["sudo", "-n", "true"]) and sys.stdin.isatty():
        print(notice, flush=True)
    variables = ",".join(
        name for name in os.environ if name in {*_KEPT, *keep} or name.startswith(_KEPT_PREFIX)
    )
    as_root(["./madang", *command])
    python = [sys.executable, "-X", f"pycache_prefix={_COMPILED}", "-m", "engine.cli", *command]
    os.execvp("sudo", ["sudo", "-n", f"--preserve-env={variables}", *python])  # noqa: S606 - no shell is wanted


def as_root(command: Sequence[str]) -> list[str]:
    """`command` in the form that runs it as root. May ask for the password, once, where a person is there to answer.

    Raises Broken("need_root", command=...), which names what the person can run instead.
    """
    if os.geteuid() == 0:
        return list(command)
    if which("sudo") is None or not _sudo_is_open():
        raise Broken("need_root", command=shlex.join(command))
    return ["sudo", "-n", *command]


def _sudo_is_open() -> bool:
    if _quietly(["sudo", "-n", "true"]):
        return True
    if not sys.stdin.isatty():
        return False
    return subprocess.run(["sudo", "-v"], check=False).returncode == 0


def _quietly(command: Sequence[str]) -> bool:
    try:
        return (
            subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode
            == 0
        )
    except FileNotFoundError:
        return False
