"""The commands of `madang`. Whatever starts them comes through `main`; each command's module is loaded when it is run.

`commands` and `environment` need nothing but Python itself: they run before the packages are there.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from engine.cli.commands import COMMANDS, help_text


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command that `argv` begins with (the process's own arguments by default). Returns the exit code."""
    name, *args = list(sys.argv[1:] if argv is None else argv) or ["help"]
    if name in {"help", "-h", "--help"}:
        print(help_text())
        return 0
    command = COMMANDS.get(name)
    if command is None:
        print(f"madang: there is no command “{name}”.\n\n{help_text()}", file=sys.stderr)
        return 2
    try:
        return int(importlib.import_module(command.module).main(args))
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130
