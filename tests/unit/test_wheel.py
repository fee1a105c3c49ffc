"""The wheel: what is installed from it works without a checkout, data files and all."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ("engine", "bot", "webhooks", "runtime", "nginx", "templates")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    _run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)], cwd=ROOT)
    return next(folder.glob("madang-*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel in it, and no checkout around it."""
    target = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, "--no-deps", "--no-index", "--target", str(target), str(wheel)], cwd=target)
    return target


def test_every_file_of_the_packages_is_in_the_wheel(wheel: Path) -> None:
    shipped = {name for name in zipfile.ZipFile(wheel).namelist() if not name.startswith("madang-")}
    assert shipped == set(_files())


def test_settings_find_the_templates(installed: Path) -> None:
    script = "from engine.settings import load_settings; print(load_settings(None).templates_dir)"
    assert Path(_python(installed, script)) == installed / "templates"


def test_the_words_of_every_language_are_there(installed: Path) -> None:
    script = "from engine.words import translator; t = translator('ko'); print(t('Please log in first.'))"
    assert _python(installed, script) not in {"", "Please log in first."}


def test_the_command_is_there(installed: Path) -> None:
    assert "madang run" in _python(installed, "import engine.cli; engine.cli.main(['help'])")


def test_a_command_for_checkouts_says_so(installed: Path) -> None:
    result = _python_process(installed, "import engine.cli; raise SystemExit(engine.cli.main(['check']))")
    assert result.returncode == 1
    assert "checkout" in result.stderr
    assert "Traceback" not in result.stderr


def _files() -> Iterator[str]:
    """Every file of the packages in the checkout that is a source."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", *SHIPPED]
    if (ROOT / ".git").exists():
        names = _run(listed, cwd=ROOT).rstrip("\0").split("\0")
        yield from (name for name in names if (ROOT / name).exists())
        return
    for package in SHIPPED:  # an unpacked archive
        files = (path for path in (ROOT / package).rglob("*") if path.is_file())
        yield from (str(path.relative_to(ROOT)) for path in files if "__pycache__" not in path.parts)


def _python(installed: Path, script: str) -> str:
    result = _python_process(installed, script)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def _python_process(installed: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Runs `script` where the only Madang to be found first is the installed one."""
    proof = f"import engine; assert engine.__file__.startswith({str(installed)!r}), engine.__file__\n"
    environment = {**os.environ, "PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-c", proof + script]
    return subprocess.run(
        command, cwd=installed, env=environment, capture_output=True, text=True, check=False
    )


def _run(command: list[str], *, cwd: Path) -> str:
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout
