"""`madang admin-password`: a new one-time password for the administrator, for who has lost theirs."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence

from engine.cli.faults import report
from engine.cli.terminal import language
from engine.errors import Broken, MadangError, NotFound
from engine.main import new_admin_password
from engine.settings import load_settings
from engine.words import translator


def main(argv: Sequence[str]) -> int:
    """Prints it. Returns 1 where there is no administrator yet."""
    argparse.ArgumentParser(prog="madang admin-password").parse_args(argv)
    t = translator(language())
    try:
        settings = load_settings()
        password = asyncio.run(new_admin_password(settings))
    except NotFound:
        return report(Broken("no_admin"), t)
    except MadangError as error:
        return report(error, t)
    print(t("name admin, password {password}", password=password))
    print(t("A new one is asked for at the first log-in."))
    return 0
