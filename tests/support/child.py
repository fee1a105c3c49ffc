"""An engine in a process of its own, for tests: prints READY with what it announces, and dies where it is told to.

SIGUSR1 reads the control file {"at": n, "when": "before" | "after" | null}: from then on effects on the world are
counted (and written to `effects.log`), and the process kills itself before or after the n-th. Effects are what a power
cut could separate: a commit of the database, a changing call to Docker, a folder put in place or removed, a routing
table swapped, an instance of the memory runtime changed.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import shutil
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from aiodocker import Docker

from engine import main
from engine.settings import load_settings
from engine.store.database import Database


class Fuse:
    """Counts effects once armed, and blows at the one that it was set to."""

    def __init__(self, control: Path, log: Path) -> None:
        self._control = control
        self._log = log
        self._armed = False
        self._at, self._count = 0, 0
        self._when: str | None = None

    def arm(self) -> None:
        order = json.loads(self._control.read_text())
        self._at, self._when, self._count = order["at"], order["when"], 0
        self._log.write_text("")
        self._armed = True

    def before(self, name: str) -> int:
        if not self._armed:
            return 0
        self._count += 1
        with self._log.open("a") as file:
            file.write(f"{name}\n")
        self._blow(self._count, "before")
        return self._count

    def after(self, number: int) -> None:
        if number:
            self._blow(number, "after")

    def _blow(self, number: int, when: str) -> None:
        if (number, when) == (self._at, self._when):
            os.kill(os.getpid(), signal.SIGKILL)


def watch_async(
    owner: Any, method: str, name: str, fuse: Fuse, *, only: Callable[..., bool] | None = None
) -> None:
    original: Callable[..., Awaitable[Any]] = getattr(owner, method)

    @functools.wraps(original)
    async def watched(*args: Any, **kwargs: Any) -> Any:
        if only is not None and not only(*args, **kwargs):
            return await original(*args, **kwargs)
        number = fuse.before(name)
        result = await original(*args, **kwargs)
        fuse.after(number)
        return result

    setattr(owner, method, watched)


def watch_sync(owner: Any, method: str, name: str, fuse: Fuse) -> None:
    original: Callable[..., Any] = getattr(owner, method)

    @functools.wraps(original)
    def watched(*args: Any, **kwargs: Any) -> Any:
        number = fuse.before(name)
        result = original(*args, **kwargs)
        fuse.after(number)
        return result

    setattr(owner, method, watched)


def install(fuse: Fuse) -> None:
    watch_async(Database, "_commit", "database commit", fuse)
    watch_sync(Path, "rename", "folder rename", fuse)
    watch_sync(Path, "unlink", "file removal", fuse)
    watch_sync(shutil, "rmtree", "folder removal", fuse)
    watch_sync(os, "replace", "file swap", fuse)
    watch_async(Docker, "_do_query", "docker call", fuse, only=_changes_something)
    signal.signal(signal.SIGUSR1, lambda *_: fuse.arm())


def _changes_something(*args: Any, **kwargs: Any) -> bool:
    method = kwargs.get("method") or (args[2] if len(args) > 2 else "GET")
    return str(method).upper() in ("POST", "DELETE", "PUT")


def run() -> None:
    state = Path(os.environ["MADANG_TEST_STATE"])
    install(Fuse(state / "control.json", state / "effects.log"))
    settings = load_settings(env_file=None)

    def on_ready(ready: main.Ready) -> None:
        print("READY " + json.dumps(asdict(ready)), flush=True)

    def on_progress(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    asyncio.run(main.serve(settings, on_ready=on_ready, on_progress=on_progress))


if __name__ == "__main__":
    run()
