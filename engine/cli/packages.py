"""What has to be installed on the machine: looked for by what it brings, fetched with apt where it is missing."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from engine.cli.privilege import as_root
from engine.cli.search import which
from engine.errors import Broken

# Shows what is being installed while it is.
Step = Callable[[str], AbstractContextManager[None]]

_POLICY: Final = Path("/usr/sbin/policy-rc.d")
_POLICY_MARK: Final = "Written by Madang"
_POLICY_TEXT: Final = f"""\
#!/bin/sh
# {_POLICY_MARK} while it installs packages, and removed afterwards: the distribution's nginx must not take port 80.
case "$1" in nginx*) exit 101 ;; esac
exit 0
"""
_ENVIRONMENT: Final = ("env", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C")
_APT: Final = (*_ENVIRONMENT, "apt-get", "-y", "-q", "-o", "DPkg::Lock::Timeout=300")
_APT_TIMEOUT_S: Final = 1500
_LOCK_WAIT_S: Final = 300
_LOCK_PAUSE_S: Final = 3
_LOCK_WORDS: Final = ("Could not get lock", "Unable to lock", "is another process using it")
_SHOWN_LINES: Final = 8


@dataclass(frozen=True, slots=True)
class Program:
    """Something Madang uses: there when any of `found_as` (a program's name or a path) is, else in `packages`.

    `packages` may list names of several releases; those that this one knows are taken. What is not `needed` may fail.
    """

    label: str
    found_as: tuple[str, ...]
    packages: tuple[str, ...]
    needed: bool = True


def missing(programs: Sequence[Program]) -> list[Program]:
    """Those of `programs` that are not on this machine."""
    return [program for program in programs if not any(map(which, program.found_as))]


def ensure_packages(programs: Sequence[Program], step: Step = lambda _labels: nullcontext()) -> None:
    """Afterwards every needed one of `programs` is there. Only looks, where nothing is missing.

    Raises Broken: `packages_missing` where there is no apt, `need_root`, `packages_not_installed` with apt's last words.
    """
    absent = missing(programs)
    if not absent or not _may_install(absent):
        return
    with step(_labels(absent)), _nginx_held_back(absent):
        last_words = _install(absent)
    if still_absent := _needed(missing(programs)):
        raise Broken("packages_not_installed", programs=_labels(still_absent), detail=last_words)


def _may_install(absent: Sequence[Program]) -> bool:
    """Whether apt can be used here. Where it cannot: an error for what is needed, False for the rest."""
    needed = _needed(absent)
    if which("apt-get") is None:
        if needed:
            raise Broken("packages_missing", programs=_labels(needed))
        return False
    try:  # asks for the password, if any, before a progress line begins
        as_root(["apt-get", "install", *(name for program in absent for name in program.packages)])
    except Broken:
        if needed:
            raise
        return False
    return True


def _needed(programs: Sequence[Program]) -> list[Program]:
    return [program for program in programs if program.needed]


def _labels(programs: Sequence[Program]) -> str:
    return ", ".join(program.label for program in programs)


def _install(absent: Sequence[Program]) -> str:
    """Tries with the lists at hand, then with fresh ones. Returns apt's last words."""
    words = _attempt(absent)
    if _needed(missing(absent)):
        _apt("update")  # one unreachable source must not stop the others
        words = _attempt(absent)
    return words


def _attempt(absent: Sequence[Program]) -> str:
    wanted = [name for program in absent for name in program.packages]
    names = _known(wanted)
    if not names:
        return f"apt knows none of {', '.join(wanted)}"
    result = _apt("install", "--no-install-recommends", *names)
    return "\n".join((result.stdout + result.stderr).strip().splitlines()[-_SHOWN_LINES:])


def _known(names: Sequence[str]) -> list[str]:
    """Those of `names` that apt could install."""
    command = ["apt-cache", "madison", *names]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    offered = {line.split("|")[0].strip() for line in result.stdout.splitlines()}
    return [name for name in names if name in offered]


def _apt(*arguments: str) -> subprocess.CompletedProcess[str]:
    """One run of apt-get, waiting for another one to finish first."""
    deadline_s = time.monotonic() + _LOCK_WAIT_S
    while True:
        result = subprocess.run(
            as_root([*_APT, *arguments]),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_APT_TIMEOUT_S,
        )
        locked = result.returncode != 0 and any(words in result.stderr for words in _LOCK_WORDS)
        if not locked or time.monotonic() > deadline_s:
            return result
        time.sleep(_LOCK_PAUSE_S)  # apt offers nothing to wait on


@contextmanager
def _nginx_held_back(absent: Sequence[Program]) -> Iterator[None]:
    """Keeps the service of an nginx that is installed in the body from starting, now and at boot.

    An nginx that was there before is left as it is. A policy of the machine's own stays in force.
    """
    if not any("nginx" in program.packages for program in absent):
        yield
        return
    ours = not _POLICY.exists() or _POLICY_MARK in _POLICY.read_text(encoding="utf-8", errors="replace")
    if ours:
        _write_policy()
    try:
        yield
    finally:
        if ours:
            _quietly("rm", "-f", str(_POLICY))
        if which("nginx") is not None:
            _quietly("update-rc.d", "nginx", "disable")


def _write_policy() -> None:
    with tempfile.NamedTemporaryFile("w", prefix="madang-policy-", encoding="utf-8") as file:
        file.write(_POLICY_TEXT)
        file.flush()
        _quietly("install", "-m", "755", file.name, str(_POLICY))


def _quietly(*command: str) -> None:
    subprocess.run(as_root(command), stdin=subprocess.DEVNULL, capture_output=True, check=False)
