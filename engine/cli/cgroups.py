"""Control groups, which Docker's limits rest on. An init system mounts them; a machine without one may have none."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

_ROOT: Final = Path("/sys/fs/cgroup")
_WANTED: Final = {"cpu", "memory", "pids"}


def ensure_cgroups() -> None:
    """Afterwards control groups are mounted: version 2 where the kernel gives it what Docker needs, else version 1,
    with every hierarchy that is in use."""
    mounts = Path("/proc/mounts").read_text(encoding="utf-8")
    if not any(line.split()[2] in {"cgroup", "cgroup2"} for line in mounts.splitlines()):
        if not _mount_version_2():
            _mount_version_1()
        return
    for kinds in unmounted_hierarchies(Path("/proc/self/cgroup").read_text(encoding="ascii"), mounts):
        folder = _ROOT / kinds.removeprefix("name=")
        _root("mkdir", "-p", str(folder))
        _mount(
            "-t",
            "cgroup",
            "-o",
            f"none,{kinds}" if kinds.startswith("name=") else kinds,
            "cgroup",
            str(folder),
        )


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


def unmounted_hierarchies(cgroups: str, mounts: str) -> list[str]:
    """The hierarchies of version 1 that are in use and mounted nowhere, from the texts of /proc/self/cgroup and
    /proc/mounts: "pids", "cpu,cpuacct", "name=systemd". While there is one, containerd measures no container and hears
    of no memory running out."""
    in_use = [line.split(":")[1] for line in cgroups.splitlines() if not line.startswith("0:")]
    rows = [line.split() for line in mounts.splitlines()]
    mounted = {option for row in rows if row[2] == "cgroup" for option in row[3].split(",")}
    return [kinds for kinds in in_use if not set(kinds.split(",")) & mounted]


def _mount(*arguments: str) -> bool:
    return _root("mount", *arguments)


def _root(*command: str) -> bool:
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return result.returncode == 0
