"""The one table of commands. Nothing but Python itself is imported here (see the package's docstring)."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from engine.errors import Broken

# The folder that holds `engine/`: a checkout, or where the wheel was installed.
ROOT: Final = Path(__file__).resolve().parent.parent.parent


def N_(message: str) -> str:  # noqa: N802 - `engine.words` has it too, but needs Babel, which may not be there yet
    """Marks a message id for the catalogues."""
    return message


@dataclass(frozen=True, slots=True)
class Command:
    """`module` has `main(args) -> exit code`. `dev`: needs the development packages too."""

    usage: str
    summary: str
    module: str
    dev: bool = False


COMMANDS: Final[Mapping[str, Command]] = {
    "run": Command("run", N_("Start Madang. Installs what is missing; Ctrl-C stops it."), "engine.cli.run"),
    "chat": Command(
        "chat [--demo]", N_("Chat in this terminal; --demo needs nothing else running."), "engine.cli.chat"
    ),
    "admin-password": Command(
        "admin-password",
        N_("Make a new one-time password for the administrator."),
        "engine.cli.admin_password",
    ),
    "test": Command(
        "test [pytest options]", N_("Run the tests, on real servers."), "engine.cli.test", dev=True
    ),
    "check": Command(
        "check", N_("Formatting, lint, types, imports, translations."), "engine.cli.check", dev=True
    ),
    "bench": Command("bench [name]", N_("Measure how fast it is."), "engine.cli.bench", dev=True),
    "lock": Command(
        "lock", N_("Write the requirements files anew from pyproject.toml."), "engine.cli.lock", dev=True
    ),
    "help": Command("help", N_("Show this list."), "engine.cli"),
}


def require_checkout() -> None:
    """Raises Broken("not_a_checkout") where Madang was installed as a package, without its sources beside it."""
    if not (ROOT / "pyproject.toml").exists():
        raise Broken("not_a_checkout")


def help_text() -> str:
    """The list of commands, in the language of the terminal where its words are at hand."""
    t = _translate()
    width = max(len(command.usage) for command in COMMANDS.values())
    lines = [f"  madang {command.usage:<{width}}  {t(command.summary)}" for command in COMMANDS.values()]
    intro = t(N_("Madang: make small web things of your own by chatting."))
    outro = t(N_("Start with “run”. Settings live in a file called .env; .env.example explains each one."))
    return "\n".join([intro, "", *lines, "", outro])


def _translate() -> Callable[[str], str]:
    try:
        words = importlib.import_module("engine.words")
    except ImportError:  # before the first set-up
        return str
    from engine.cli.terminal import language  # noqa: PLC0415 - only where words are at hand

    translate: Callable[[str], str] = words.translator(language())
    return translate
