"""`madang check`: everything that can be said about the code without running it, side by side."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from engine.cli.commands import ROOT, require_checkout
from engine.cli.faults import report
from engine.cli.terminal import language
from engine.errors import MadangError
from engine.words import translator

_PRINT_FAULTS: Final = (
    "import sys; from {module} import {name} as faults; sys.exit('\\n'.join(faults()) or 0)"
)
_CHECKS: Final = {
    "formatting": ("-m", "ruff", "format", "--check", "."),
    "lint": ("-m", "ruff", "check", "."),
    "types": ("-m", "mypy"),
    "imports": ("-c", "from importlinter.cli import lint_imports_command as main; main()"),
    "translations": ("-c", _PRINT_FAULTS.format(module="engine.words", name="catalogue_faults")),
    "requirements": ("-c", _PRINT_FAULTS.format(module="engine.cli.lock", name="lock_faults")),
}
_TIMEOUT_S: Final = 600


@dataclass(frozen=True, slots=True)
class _Outcome:
    name: str
    passed: bool
    seconds: float
    output: str


def main(argv: Sequence[str]) -> int:
    """Runs the checks that `argv` names, or all. Returns 0 when every one passes."""
    try:
        require_checkout()
    except MadangError as error:
        return report(error, translator(language()))
    unknown = [name for name in argv if name not in _CHECKS]
    if unknown:
        print(f"madang check: {', '.join(unknown)}? There are: {', '.join(_CHECKS)}", file=sys.stderr)
        return 2
    with ThreadPoolExecutor() as pool:
        outcomes = list(pool.map(_run, argv or _CHECKS))
    for outcome in outcomes:
        if not outcome.passed:
            print(f"── {outcome.name}\n{outcome.output.strip()}\n")
    for outcome in outcomes:
        print(f"{outcome.name:<14}{'ok' if outcome.passed else 'FAULTS':<8}{outcome.seconds:5.1f} s")
    return 0 if all(outcome.passed for outcome in outcomes) else 1


def _run(name: str) -> _Outcome:
    began_s = time.monotonic()
    result = subprocess.run(
        [sys.executable, *_CHECKS[name]],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=_TIMEOUT_S,
    )
    return _Outcome(name, result.returncode == 0, time.monotonic() - began_s, result.stdout)
