"""The nginx processes of one installation, known by what /proc says of them; a bare number is never believed."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_MASTER: Final = "nginx: master process "
_WORKER: Final = "nginx: worker process"
_RETIRED: Final = "nginx: worker process is shutting down"


@dataclass(frozen=True, slots=True)
class Processes:
    """Finds what runs with this configuration file, whatever the pid file says."""

    conf: Path
    pid_file: Path
    logs: Path

    def master(self) -> int | None:
        """The running master: by its pid file, or by its title where the file is lost or another's."""
        try:
            pid = int(self.pid_file.read_text())
        except (OSError, ValueError):
            pid = 0
        if self.is_master(pid):
            return pid
        return next((each for each in _all() if self.is_master(each)), None)

    def is_master(self, pid: int) -> bool:
        """A worker just forked still bears its master's title, but does not lead the daemon's session."""
        title = _title(pid)
        return title.startswith(_MASTER) and f" -c {self.conf} -e " in title and _leads(pid)

    def orphans(self) -> list[int]:
        """Workers that write our logs and whose master is gone. They go on serving, and hold the port."""
        return [pid for pid in _all() if self.is_orphan(pid)]

    def is_orphan(self, pid: int) -> bool:
        return _is_worker(pid) and not _title(_parent(pid)).startswith(_MASTER) and self._writes_logs(pid)

    def _writes_logs(self, pid: int) -> bool:
        prefix = f"{self.logs}/"
        try:
            return any(str(link.readlink()).startswith(prefix) for link in (_PROC / f"{pid}/fd").iterdir())
        except OSError:
            return False


def accepting_workers(master: int) -> list[int]:
    """The workers of `master` that take new connections."""
    try:
        children = (_PROC / f"{master}/task/{master}/children").read_text().split()
    except OSError:
        children = [str(pid) for pid in _all() if _parent(pid) == master]
    return [int(pid) for pid in children if accepts(int(pid))]


def accepts(pid: int) -> bool:
    """Whether this is a worker that takes new connections; nginx renames it the moment that it stops to."""
    title = _title(pid)
    return title.startswith(_WORKER) and not title.startswith(_RETIRED)


def send(pid: int, number: signal.Signals, *, still: Callable[[int], bool]) -> None:
    """Signals `pid` if `still` holds of it. The handle is taken first, so the check and the signal meet one process."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if still(pid):
            signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        pass
    finally:
        os.close(handle)


async def wait_end(pid: int, *, timeout_s: float | None) -> bool:
    """Whether the process ended within `timeout_s` (None: waits for good)."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(handle, ended.set)
    try:
        async with asyncio.timeout(timeout_s):
            await ended.wait()
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(handle)
        os.close(handle)
    return True


def _is_worker(pid: int) -> bool:
    return _title(pid).startswith(_WORKER)


def _all() -> Iterator[int]:
    return (int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit())


def _title(pid: int) -> str:
    """The command line as `ps` shows it; "" for none and for what has ended."""
    try:
        raw = (_PROC / f"{pid}/cmdline").read_bytes()
    except OSError:
        return ""
    return raw.replace(b"\0", b" ").decode(errors="replace")


def _leads(pid: int) -> bool:
    try:
        return os.getsid(pid) == pid
    except ProcessLookupError:
        return False


def _parent(pid: int) -> int:
    try:
        stat = (_PROC / f"{pid}/stat").read_text()
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[1])
