"""An app's folder: PAAS_APPS_DIR/{userid}/{appname}/ with code, data, logs and a docker-compose.yml of its own.

It is laid out beside its place and moved there in one rename, so a folder is whole or not there. A marker file says
whose it is; a folder without ours is never touched. All of this blocks: callers use a thread.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, StrictUndefined

from engine.domain import App
from engine.errors import Broken, Conflict, MadangError, Transient

_MARKER: Final = ".madang.json"
_STAGING: Final = ".staging"
_ERASE_S: Final = 50.0  # within the time of a step
_PRIVATE: Final = 0o700  # other people of this machine do not read what is written into a diary


@dataclass(frozen=True, slots=True)
class AppFolder:
    """Where one app's files are."""

    path: Path

    @property
    def code(self) -> Path:
        return self.path / "code"

    @property
    def data(self) -> Path:
        return self.path / "data"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def compose(self) -> Path:
        return self.path / "docker-compose.yml"


class Folders:
    """The folders of all apps, below `root`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._people = threading.Lock()  # a person's folder goes with the last app, and comes with the next

    def of(self, app: App) -> AppFolder:
        return AppFolder(self._root / app.userid / app.name)

    def prepare(self) -> None:
        """Makes the root, and clears what an interrupted layout left beside it."""
        self._root.mkdir(parents=True, exist_ok=True)
        with suppress(OSError):
            _erase(self._root / _STAGING)

    def lay_out(self, app: App, source: Path, values: Mapping[str, Any], compose: str) -> AppFolder:
        """Fills the app's folder from the template files in `source`. Repeatable: a folder of this app stays as it is.
        Raises Conflict("folder_not_ours"), Broken("disk_full")."""
        folder = self.of(app)
        if folder.path.exists():
            if self._owner(folder) != app.id:
                raise Conflict("folder_not_ours", path=str(folder.path))
            return folder
        staging = AppFolder(self._root / _STAGING / app.id)
        try:
            shutil.rmtree(staging.path, ignore_errors=True)
            staging.code.mkdir(parents=True)
            for private in (staging.data, staging.logs):
                private.mkdir(_PRIVATE)
            _render_tree(source, staging.code, values)
            staging.compose.write_text(compose, encoding="utf-8")
            (staging.path / _MARKER).write_text(json.dumps({"app": app.id, "template": app.template}))
            with self._people:
                folder.path.parent.mkdir(parents=True, exist_ok=True)
                staging.path.rename(folder.path)
        except OSError as error:
            shutil.rmtree(staging.path, ignore_errors=True)
            raise _told(error) from error
        return folder

    def keep_compose(self, app: App, text: str) -> None:
        """Sees to it that the compose file says `text`: a newer image or other limits may have come since it was made."""
        folder = self.of(app)
        fresh = folder.compose.with_suffix(".new")
        try:
            if not folder.compose.exists() or folder.compose.read_text(encoding="utf-8") != text:
                fresh.write_text(text, encoding="utf-8")
                fresh.replace(folder.compose)
        except OSError as error:
            raise _told(error) from error

    def settle(self, app: App) -> None:
        """Sends the app's code and its folder's name to the disk, for a power cut. The data is its program's to sync."""
        folder = self.of(app)
        try:
            _sync_tree(folder.code)
            for path in (folder.compose, folder.path / _MARKER, folder.path, folder.path.parent):
                _sync(path)
        except OSError as error:
            raise _told(error) from error

    def remove(self, app: App) -> None:
        """Deletes the app's folder, data and all. None there, or not this app's: nothing happens."""
        folder = self.of(app)
        try:
            shutil.rmtree(self._root / _STAGING / app.id, ignore_errors=True)
            if self._owner(folder) == app.id:
                doomed = self._root / _STAGING / f"{app.id}.gone"
                doomed.parent.mkdir(parents=True, exist_ok=True)
                folder.path.rename(doomed)
                _erase(doomed)
            elif not folder.path.exists():
                _erase(self._root / _STAGING / f"{app.id}.gone")
            with self._people:
                if folder.path.parent.exists() and not any(folder.path.parent.iterdir()):
                    folder.path.parent.rmdir()
        except OSError as error:
            raise _told(error) from error

    def _owner(self, folder: AppFolder) -> str | None:
        try:
            return str(json.loads((folder.path / _MARKER).read_text())["app"])
        except (OSError, ValueError, KeyError, TypeError):
            return None


def _render_tree(source: Path, target: Path, values: Mapping[str, Any]) -> None:
    """Copies `source` to `target`; files ending in .j2 are rendered with `values` and lose that ending."""
    for path in sorted(source.rglob("*")):
        place = target / path.relative_to(source)
        if path.is_dir():
            if path.name != "__pycache__":
                place.mkdir(exist_ok=True)
        elif "__pycache__" in path.parts:
            continue
        elif path.suffix == ".j2":
            place.with_suffix("").write_text(_render(path, values), encoding="utf-8")
        else:
            shutil.copyfile(path, place)


def _render(path: Path, values: Mapping[str, Any]) -> str:
    environment = Environment(
        undefined=StrictUndefined, keep_trailing_newline=True, autoescape=path.name.endswith(".html.j2")
    )
    return environment.from_string(path.read_text(encoding="utf-8")).render(values)


def _erase(folder: Path) -> None:
    """Deletes `folder`; none there is no error. Links are not followed: an app may have put them there."""
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        if folder.exists():
            raise
    except (RecursionError, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.EMFILE:
            raise
        _erase_deep(folder)


def _erase_deep(folder: Path) -> None:
    """Python follows a thousand folders within one another and no more; an app may have made a million."""
    command = ["/bin/rm", "-rf", "--", str(folder)]
    with suppress(subprocess.TimeoutExpired):
        subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=_ERASE_S)
    if folder.exists():
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(folder))


def _sync_tree(path: Path) -> None:
    for folder, _, names in os.walk(path):
        for name in names:
            _sync(Path(folder) / name)
        _sync(Path(folder))


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _told(error: OSError) -> MadangError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Broken("disk_full")
    if error.errno in (errno.EAGAIN, errno.EBUSY, errno.EMFILE):
        return Transient("temporarily_unavailable")
    return Broken("folder_failed", detail=f"{error.filename}: {error.strerror}")
