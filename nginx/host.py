"""What the edge asks of the machine before nginx is run: the program, the port, a user for workers, open folders."""

from __future__ import annotations

import errno
import grp
import hashlib
import os
import pwd
import shutil
import socket
from pathlib import Path
from typing import Final

from engine.errors import Broken
from nginx.render import EdgeOptions

_CACHE: Final = Path("/var/cache/madang")
SEARCH_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def found_binary(binary: str) -> str:
    """The program's path. Raises Broken("edge_missing")."""
    path = shutil.which(binary, path=SEARCH_PATH)
    if path is None:
        raise Broken("edge_missing", binary=binary)
    return path


def require_free_port(options: EdgeOptions) -> None:
    """Raises Broken("edge_port_taken") where something listens already: nginx itself would try for 2.5 s."""
    family = socket.AF_INET6 if ":" in options.bind else socket.AF_INET
    with socket.socket(family) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((options.bind, options.http_port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise Broken("edge_port_taken", port=options.http_port) from None
            raise Broken(
                "edge_refused", detail=f"{options.listen}: {os.strerror(error.errno or 0)}"
            ) from None


def worker_user(options: EdgeOptions) -> str:
    """User and group of the workers; "" when they stay what we are."""
    if os.geteuid() != 0:
        return ""
    for name in (options.worker_user,) if options.worker_user else ("www-data", "nobody"):
        try:
            found = pwd.getpwnam(name.partition(" ")[0])
        except KeyError:
            continue
        return f"{found.pw_name} {grp.getgrgid(found.pw_gid).gr_name}"
    raise Broken("edge_refused", detail=f"no such user: {options.worker_user or 'www-data, nobody'}")


def shared_folder(folder: Path, user: str) -> Path:
    """Where workers find pages and keep temporary files: `folder`, or one below /var/cache where `user` may not enter
    `folder`, as in a checkout in /root. Only root starts workers as somebody else, and only root writes there."""
    if not user:
        return folder
    worker = pwd.getpwnam(user.partition(" ")[0])
    if all(_may_enter(each.stat(), worker.pw_uid, worker.pw_gid) for each in (folder, *folder.parents)):
        return folder
    return _apart(folder)


def clear_shared(folder: Path) -> None:
    """Takes away what `shared_folder` may have put elsewhere."""
    shutil.rmtree(_apart(folder), ignore_errors=True)


def _apart(folder: Path) -> Path:
    return _CACHE / f"edge-{hashlib.sha256(str(folder).encode()).hexdigest()[:16]}"


def _may_enter(stat: os.stat_result, uid: int, gid: int) -> bool:
    if uid == 0:
        return True
    if stat.st_uid == uid:
        return bool(stat.st_mode & 0o100)
    if stat.st_gid == gid:
        return bool(stat.st_mode & 0o010)
    return bool(stat.st_mode & 0o001)
