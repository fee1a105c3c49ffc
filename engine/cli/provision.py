"""What the machine has to have before Madang, or its tests, can run. Every start looks; only a lack costs time."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from engine.cli.docker_daemon import answers, ensure_docker
from engine.cli.packages import Program, ensure_packages
from engine.cli.privilege import become_root
from engine.cli.search import search_path
from engine.cli.terminal import Progress
from engine.settings import Settings, load_settings
from engine.words import Translator

_DOCKER: Final = Program("Docker", ("dockerd",), ("docker.io",))
_TOOLS: Final = (
    Program("nginx", ("nginx",), ("nginx",)),
    Program("git", ("git",), ("git",)),
    Program("iptables", ("iptables",), ("iptables",)),
    # Only a machine that cannot pull its base image makes one; see docs/air-gapped.md.
    Program("debootstrap", ("debootstrap",), ("debootstrap",), needed=False),
)
_ARCHITECTURES: Final = ("x86_64", "aarch64")
_TEST_TOOLS: Final = (
    # Debian 12 has the client in docker.io; later releases have it apart.
    Program("docker", ("docker",), ("docker-cli", "docker.io")),
    Program("docker-compose", ("docker-compose",), ("docker-compose",), needed=False),
    Program("Chromium", ("chromium", "chromium-browser", "google-chrome"), ("chromium",)),
    Program("fonts-nanum", ("/usr/share/fonts/truetype/nanum",), ("fonts-nanum",)),
    # What Playwright's driver is linked against.
    Program(
        "libatomic1",
        tuple(f"/usr/lib/{arch}-linux-gnu/libatomic.so.1" for arch in _ARCHITECTURES),
        ("libatomic1",),
    ),
    Program("iproute2", ("ip",), ("iproute2",)),
)


def prepare_to_run(command: Sequence[str], settings: Settings, progress: Progress, t: Translator) -> None:
    """Afterwards we are root, what `madang run` uses is installed, and Docker answers. Raises Broken otherwise.

    Where we are not root, `command` is started anew by sudo in place of this process.
    """
    _prepare(_TOOLS, command, settings.docker_host, settings.root / "log", progress, t)


def prepare_to_test(command: Sequence[str], t: Translator) -> None:
    """The same for what the tests use. Sets MADANG_CACHE for them."""
    settings = load_settings(None)
    os.environ["MADANG_CACHE"] = str(settings.cache_dir)
    _prepare(
        (*_TOOLS, *_TEST_TOOLS), command, settings.docker_host, settings.cache_dir / "log", Progress(), t
    )
    settings.cache_dir.mkdir(parents=True, exist_ok=True)


def _prepare(
    tools: Sequence[Program],
    command: Sequence[str],
    docker_host: str,
    log_dir: Path,
    progress: Progress,
    t: Translator,
) -> None:
    notice = t("Madang needs administrator rights to set up Docker and to keep apps apart.")
    become_root(command, keep=[name.upper() for name in Settings.model_fields], notice=notice)
    os.environ["PATH"] = search_path()  # nginx and iptables, for whatever is started from here

    def installing(labels: str) -> AbstractContextManager[None]:
        return progress.step(t("Installing {labels}", labels=labels))

    def starting() -> AbstractContextManager[None]:
        return progress.step(t("Starting Docker"))

    ensure_packages(tools if answers(docker_host) else (_DOCKER, *tools), installing)
    ensure_docker(docker_host, log_dir / "dockerd.log", starting)
