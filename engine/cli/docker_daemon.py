"""A Docker daemon that answers: the one that runs, the service's where there is a service manager, else one of our own.

A daemon that Madang starts outlives it, as the apps do.
"""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from engine.cli.cgroups import ensure_cgroups
from engine.cli.search import which
from engine.errors import Broken

_LOCAL_HOSTS: Final = ("unix:///var/run/docker.sock", "unix:///run/docker.sock")
_PID_FILES: Final = {
    Path("/var/run/docker.pid"): "dockerd",
    Path("/var/run/docker/containerd/containerd.pid"): "containerd",
}
_SYSTEMD: Final = Path("/run/systemd/system")  # there exactly when systemd runs the machine
_PING_TIMEOUT_S: Final = 3
_START_TIMEOUT_S: Final = 60
_SHOWN_LINES: Final = 8


def answers(docker_host: str) -> bool:
    """Whether a working daemon is at `unix:///path` or `tcp://host:port`. At most 3 s per exchange."""
    try:
        with _connect(docker_host) as connection:
            connection.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
            _, _, rest = connection.recv(64).partition(b" ")
    except OSError:
        return False
    return rest.startswith(b"200")


def _connect(docker_host: str) -> socket.socket:
    url = urlsplit(docker_host)
    if url.scheme != "unix":
        return socket.create_connection((url.hostname or "", url.port or 2375), timeout=_PING_TIMEOUT_S)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(_PING_TIMEOUT_S)
    try:
        connection.connect(url.path)
    except OSError:
        connection.close()
        raise
    return connection


def ensure_docker(docker_host: str, log_file: Path, step: Callable[[], AbstractContextManager[None]]) -> None:
    """Afterwards a daemon answers at `docker_host`. Only asks, where one does already.

    Raises Broken: `docker_unreachable` where it is not this machine's own, `docker_not_started` with its last words.
    """
    if answers(docker_host):
        return
    if docker_host not in _LOCAL_HOSTS:
        raise Broken("docker_unreachable", host=docker_host)
    with step():
        if _SYSTEMD.exists():
            _start_service()
            _wait(docker_host, None, log_file)
        else:
            _wait(docker_host, _start_daemon(log_file), log_file)


def _start_service() -> None:
    result = _run("systemctl", "start", "docker")
    if result.returncode != 0:
        journal = _run("journalctl", "--no-pager", "--lines", str(_SHOWN_LINES), "--unit", "docker")
        raise Broken(
            "docker_not_started", log="journalctl -u docker", detail=_tail(journal.stdout or result.stderr)
        )


def _start_daemon(log_file: Path) -> subprocess.Popen[bytes] | None:
    """A daemon in a session of its own, unless one is on its way up already (None)."""
    if any(comm == "dockerd" and _runs(path, comm) for path, comm in _PID_FILES.items()):
        return None
    ensure_cgroups()
    for path, comm in _PID_FILES.items():  # left by a crash, its number may be another program's by now
        if not _runs(path, comm):
            path.unlink(missing_ok=True)
    log_file.parent.mkdir(parents=True, exist_ok=True)
    with log_file.open("ab") as log:
        return subprocess.Popen(
            [which("dockerd") or "dockerd"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,
        )


def _runs(pid_file: Path, comm: str) -> bool:
    """Whether the process of that pid file is alive, and is what the file says."""
    try:
        pid = int(pid_file.read_text(encoding="ascii"))
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip() == comm
    except (OSError, ValueError):
        return False


def _wait(docker_host: str, daemon: subprocess.Popen[bytes] | None, log_file: Path) -> None:
    deadline_s = time.monotonic() + _START_TIMEOUT_S
    while not answers(docker_host):
        if (daemon is not None and daemon.poll() is not None) or time.monotonic() > deadline_s:
            words = log_file.read_text(encoding="utf-8", errors="replace") if log_file.exists() else ""
            raise Broken("docker_not_started", log=str(log_file), detail=_tail(words))
        time.sleep(0.05)  # a daemon that is not there yet has nothing to wait on


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


def _tail(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-_SHOWN_LINES:])
