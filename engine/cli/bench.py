"""`madang bench NAME`: runs `tests/bench/bench_<name>.py`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from engine.cli.commands import ROOT, require_checkout
from engine.cli.faults import report
from engine.cli.provision import prepare_to_test
from engine.cli.terminal import language
from engine.errors import MadangError
from engine.words import translator


def main(argv: Sequence[str]) -> int:
    """Runs the benchmark that `argv` begins with; lists them where it names none. Returns the exit code."""
    t = translator(language())
    names = sorted(path.stem.removeprefix("bench_") for path in (ROOT / "tests" / "bench").glob("bench_*.py"))
    if not argv or argv[0] not in names:
        print(t("Benchmarks: {names}", names=", ".join(names) or "-"))
        return 2 if argv else 0
    try:
        require_checkout()
        prepare_to_test(["bench", *argv], t)
        sys.path.insert(0, str(ROOT))
        return int(importlib.import_module(f"tests.bench.bench_{argv[0]}").main(list(argv[1:])))
    except MadangError as error:
        return report(error, t)
