"""`madang lock`: from the ranges of pyproject.toml to exact versions of every package, direct and indirect.

Two files: what runs Madang, and what develops it besides. They hold names and versions only.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from engine.cli.commands import ROOT, require_checkout
from engine.cli.faults import report
from engine.cli.terminal import Progress, language
from engine.errors import Broken, MadangError
from engine.words import translator

RUNTIME: Final = ROOT / "requirements.lock"
DEV: Final = ROOT / "requirements-dev.lock"
_HEADS: Final = {
    RUNTIME: "# What runs Madang. Written by `./madang lock` from pyproject.toml; do not edit.\n",
    DEV: "# What develops Madang, besides requirements.lock. Written by `./madang lock`; do not edit.\n",
}
_TIMEOUT_S: Final = 600


def main(argv: Sequence[str]) -> int:
    """Writes both files anew, with the newest versions that pyproject.toml allows. Returns the exit code."""
    del argv
    t = translator(language())
    try:
        require_checkout()
        with Progress().step(t("Choosing package versions")):
            runtime = _resolved(_wanted()[0])
            everything = _resolved([f"{name}=={version}" for name, version in runtime.items()] + _wanted()[1])
    except MadangError as error:
        return report(error, t)
    dev_only = {name: version for name, version in everything.items() if name not in runtime}
    for path, versions in ((RUNTIME, runtime), (DEV, dev_only)):
        lines = [f"{name}=={version}\n" for name, version in sorted(versions.items())]
        path.write_text(_HEADS[path] + "".join(lines), encoding="utf-8")
    return 0


def lock_faults() -> list[str]:
    """What pyproject.toml asks for and the files do not give, one line each; [] when they agree."""
    runtime, dev = _wanted()
    locked = dict(_locked(RUNTIME.read_text(encoding="utf-8")))
    faults = list(_unmet(runtime, locked))
    locked |= _locked(DEV.read_text(encoding="utf-8"))
    return faults + list(_unmet(dev, locked))


def _wanted() -> tuple[list[str], list[str]]:
    """Requirements of the project itself, and of its development."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return project["project"]["dependencies"], project["dependency-groups"]["dev"]


def _locked(text: str) -> dict[str, str]:
    lines = (line for line in text.splitlines() if "==" in line and not line.startswith("#"))
    return {name: version for name, _, version in (line.partition("==") for line in lines)}


def _unmet(requirements: Sequence[str], locked: Mapping[str, str]) -> Iterator[str]:
    from packaging.requirements import Requirement  # noqa: PLC0415 - a package of development
    from packaging.utils import canonicalize_name  # noqa: PLC0415

    for text in requirements:
        requirement = Requirement(text)
        version = locked.get(canonicalize_name(requirement.name))
        if version is None or not requirement.specifier.contains(version):
            yield f"{text}: the lock has {version or 'none'}; run ./madang lock"


def _resolved(requirements: Sequence[str]) -> dict[str, str]:
    """Versions that pip would install into an empty environment, by normalised name."""
    pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--quiet"]
    command = [*pip, "--dry-run", "--ignore-installed", "--report", "-", *requirements]
    result = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S
    )
    if result.returncode != 0:
        raise Broken("packages_not_installed", programs="pip", detail=result.stderr.strip())
    report_: dict[str, Any] = json.loads(result.stdout)
    metadata = (item["metadata"] for item in report_["install"])
    return {entry["name"].lower().replace("_", "-").replace(".", "-"): entry["version"] for entry in metadata}
