"""`madang test`: installs what the tests need, starts the servers they need, and becomes pytest."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from engine.cli.commands import ROOT, require_checkout
from engine.cli.faults import report
from engine.cli.provision import prepare_to_test
from engine.cli.terminal import language
from engine.errors import MadangError
from engine.words import translator


def main(argv: Sequence[str]) -> int:
    """Runs pytest with `argv`, on all tests without any. Returns only where it could not begin."""
    t = translator(language())
    try:
        require_checkout()
        prepare_to_test(["test", *argv], t)
    except MadangError as error:
        return report(error, t)
    return _become_pytest(argv)


def _become_pytest(argv: Sequence[str]) -> NoReturn:
    os.chdir(ROOT)
    os.execv(sys.executable, [sys.executable, "-m", "pytest", *argv])  # noqa: S606 - our own interpreter
