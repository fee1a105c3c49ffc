"""`madang run`: prepares the machine, then serves until Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine.cli.faults import report
from engine.cli.provision import prepare_to_run
from engine.cli.terminal import Progress, language
from engine.cli.welcome import welcome
from engine.errors import MadangError
from engine.settings import Settings, load_settings
from engine.words import Translator, translator

if TYPE_CHECKING:
    from engine.main import Ready


def main(argv: Sequence[str]) -> int:
    """Serves with the settings of the environment and ./.env. Returns 0 once stopped, 1 when it could not start."""
    argparse.ArgumentParser(prog="madang run").parse_args(argv)
    t = translator(language())
    progress = Progress()
    try:
        settings = load_settings()
        if settings.runtime_driver == "docker":
            prepare_to_run(["run", *argv], settings, progress, t)
        asyncio.run(_serve(settings, progress, t))
    except MadangError as error:
        progress.end()
        return report(error, t)
    print("\n" + t("Madang has stopped. What you made goes on running."))
    return 0


async def _serve(settings: Settings, progress: Progress, t: Translator) -> None:
    from engine.main import serve  # noqa: PLC0415 - the whole engine: not before the machine is ready

    def on_ready(ready: Ready) -> None:
        progress.end()
        print(welcome(ready, t), flush=True)

    await serve(settings, on_ready=on_ready, on_progress=progress.begin)
