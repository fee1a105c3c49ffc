"""The Python environment in `.venv`: made once, refreshed when the requirements change, otherwise only looked at.

Runs before any package is there, so it needs nothing but Python itself, and its few sentences are not in the catalogues.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NoReturn

from engine.cli.commands import COMMANDS, ROOT, help_text
from engine.cli.packages import Program, ensure_packages
from engine.cli.terminal import Progress, language
from engine.errors import Broken

# Requirement files of each set of packages. "dev" contains "runtime".
_SETS: Final = {
    "runtime": ("requirements.lock",),
    "dev": ("requirements.lock", "requirements-dev.lock"),
}
_PIP: Final = (
    "-m",
    "pip",
    "install",
    "--require-virtualenv",
    "--disable-pip-version-check",
    "--no-input",
    "--quiet",
)
_SHOWN_LINES: Final = 12


def launch(argv: Sequence[str]) -> NoReturn:
    """Becomes `engine.cli` with these arguments, in an environment that has what the command needs."""
    command = COMMANDS.get(argv[0] if argv else "help")
    if command is None or command is COMMANDS["help"]:
        _explain(argv)
    python = _ensure_environment("dev" if command.dev else "runtime")
    os.chdir(ROOT)  # .env and ./var are the checkout's, from wherever it was called
    os.execv(python, [str(python), "-m", "engine.cli", *argv])  # noqa: S606 - our own interpreter


def _explain(argv: Sequence[str]) -> NoReturn:
    python = _python()
    if python.exists() and _is_current("runtime"):  # with words in the person's language
        os.chdir(ROOT)
        os.execv(python, [str(python), "-m", "engine.cli", *argv])  # noqa: S606 - our own interpreter
    known = not argv or argv[0] in {"help", "-h", "--help"}
    if not known:
        print(f"madang: there is no command “{argv[0]}”.\n", file=sys.stderr)
    print(help_text(), file=sys.stdout if known else sys.stderr)
    sys.exit(0 if known else 2)


def _ensure_environment(wanted: str) -> Path:
    if not (_python().exists() and _is_current(wanted)):
        with _one_at_a_time():
            if not (_python().exists() and _is_current(wanted)):
                _prepare(wanted)
    return _python()


def _prepare(wanted: str) -> None:
    progress = Progress(sys.stderr)
    with progress.step(_say("Preparing Python packages, once", "파이썬 패키지를 준비해요 (처음 한 번)")):
        if not _python().exists() or _was_made_elsewhere():
            _ensure_venv_module()
            _run([sys.executable, "-m", "venv", "--clear", str(_venv())])
        requirements = [f"--requirement={ROOT / name}" for name in _SETS[wanted]]
        _run([str(_python()), *_PIP, *requirements])
    for folder in _venv().glob("lib/python3.*/site-packages"):
        (folder / "madang.pth").write_text(f"{ROOT}\n", encoding="utf-8")
    for name, files in _SETS.items():
        if set(files) <= set(_SETS[wanted]):
            _stamp(name).write_text(_identity() + _requirements(name), encoding="utf-8")


def _ensure_venv_module() -> None:
    if importlib.util.find_spec("ensurepip") is not None:
        return
    package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
    ensurepip = f"{sys.base_prefix}/lib/python{sys.version_info.major}.{sys.version_info.minor}/ensurepip"
    try:
        ensure_packages([Program("venv", (ensurepip,), (package,))])
    except Broken as error:
        sys.exit(
            f"Python's venv module is missing. Install it and start ./madang again:\n"
            f"    sudo apt-get install {package}\n({error})"
        )


def _run(command: Sequence[str]) -> None:
    """Runs it, out of sight unless it fails."""
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        tail = "\n".join((result.stdout + result.stderr).strip().splitlines()[-_SHOWN_LINES:])
        advice = _say(
            "Python packages could not be prepared. Is this machine online? Its last words:",
            "파이썬 패키지를 준비하지 못했어요. 인터넷에 연결되어 있나요? 마지막 출력:",
        )
        sys.exit(f"\n{advice}\n{tail}")


def _say(english: str, korean: str) -> str:
    return korean if language().startswith("ko") else english


def _venv() -> Path:
    return ROOT / ".venv"


def _python() -> Path:
    return _venv() / "bin" / "python"


def _stamp(wanted: str) -> Path:
    return _venv() / f"{wanted}.stamp"


def _identity() -> str:
    """What an environment is tied to: its place, and the Python behind it."""
    return f"{ROOT}\n{os.path.realpath(_python())}\n"


def _requirements(wanted: str) -> str:
    return "".join((ROOT / name).read_text(encoding="utf-8") for name in _SETS[wanted])


def _is_current(wanted: str) -> bool:
    """Whether that set, or one that contains it, was installed here from these very requirements."""
    larger = (name for name, files in _SETS.items() if set(_SETS[wanted]) <= set(files))
    return any(_read(_stamp(name)) == _identity() + _requirements(name) for name in larger)


def _was_made_elsewhere() -> bool:
    stamps = (_read(_stamp(name)) for name in _SETS)
    return any(stamp and not stamp.startswith(_identity()) for stamp in stamps)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Two that start together prepare one environment."""
    folder = os.open(ROOT, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
