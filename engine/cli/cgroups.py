"""Control groups, which Docker's limits rest on. An init system mounts them; a machine without one may have none."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

_ROOT: Final = Path("/sys/fs/cgroup")
_WANTED: Final = {"cpu", "memory", "pids"}


def ensure_cgroups() -> None:
    """Afterwards control groups are mounted: version 2 where the kernel gives it what Docker needs, else version 1."""
    mounts = Path("/proc/mounts").read_text(encoding="utf-8")
    if any(line.split()[2] in {"cgroup", "cgroup2"} for line in mounts.splitlines()):
        return
    if not _mount_version_2():
        _mount_version_1()


def _mount_version_2() -> bool:
    if not _mount("-t", "cgroup2", "cgroup2", str(_ROOT)):
        return False
    offered = set((_ROOT / "cgroup.controllers").read_text(encoding="ascii").split())
    if offered >= _WANTED:
        return True
    _root("umount", str(_ROOT))
    return False


def _mount_version_1() -> None:
    _mount("-t", "tmpfs", "-o", "mode=755", "cgroup", str(_ROOT))
    hierarchies = {
        name: name for name in enabled_controllers(Path("/proc/cgroups").read_text(encoding="ascii"))
    }
    # Some kernels have this one whether systemd runs or not; with it unmounted, containerd measures nothing.
    hierarchies["systemd"] = "none,name=systemd"
    for folder, options in hierarchies.items():
        _root("mkdir", "-p", str(_ROOT / folder))
        _mount("-t", "cgroup", "-o", options, "cgroup", str(_ROOT / folder))


def enabled_controllers(table: str) -> list[str]:
    """Names of the controllers that are on, from the text of /proc/cgroups."""
    rows = [line.split() for line in table.splitlines() if not line.startswith("#")]
    return [name for name, _hierarchy, _count, enabled in rows if enabled == "1"]


def _mount(*arguments: str) -> bool:
    return _root("mount", *arguments)


def _root(*command: str) -> bool:
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return result.returncode == 0
