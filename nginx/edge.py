"""The edge, as an nginx of our own: rendered, tested, atomically swapped, applied, and seen to be in force.

It is a daemon that outlives the engine, with configuration, logs and temporary files in one folder; the distribution's
own nginx is neither read nor touched. Routes and generation stand in one map file, so they change in one rename. After
a reload nginx lets workers of both generations accept for 100 ms; as soon as all new ones do, the old are asked to
retire, and a change counts as in force once none of them accepts any more and the new generation answers.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import secrets
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from engine.errors import Broken, MadangError, Transient
from engine.ports import Route
from nginx.host import SEARCH_PATH, clear_shared, found_binary, require_free_port, shared_folder, worker_user
from nginx.process import Processes, accepting_workers, accepts, send, wait_end
from nginx.render import (
    GENERATION_HOST,
    LABEL,
    EdgeOptions,
    checked_options,
    parse_routes,
    render_config,
    render_pages,
    render_routes,
    routing_table,
)

log = logging.getLogger(__name__)

T = TypeVar("T")

_POLL_S: Final = 0.002
_PROBE_TIMEOUT_S: Final = 1.0
_COMMAND_TIMEOUT_S: Final = 20.0
_IN_FORCE_TIMEOUT_S: Final = 10.0
_ENDINGS: Final = ((signal.SIGQUIT, 5.0), (signal.SIGTERM, 3.0), (signal.SIGKILL, 2.0))
_SHORTEST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 10.0
_LOG_PERIOD_S: Final = 600.0
_LOG_LIMIT_BYTES: Final = 64 * 1024 * 1024
# nginx writes its title over its arguments and environment: a short environment would cut it. Nothing secret goes in.
_ENVIRONMENT: Final = {"PATH": SEARCH_PATH}
_PATH: Final = re.compile(r"/[\x21-\x7e]*")


@dataclass(frozen=True, slots=True)
class _Head:
    status: int
    headers: Mapping[str, str]


class NginxEdge:
    """See `engine.ports.Edge`. Run `watch` beside it to bring back a master that died."""

    def __init__(self, options: EdgeOptions) -> None:
        self._options = checked_options(options)
        self._processes = Processes(options.conf, options.pid_file, options.logs)
        self._binary = options.binary
        self._lock = asyncio.Lock()  # one change at a time; it is fair, and `apply` relies on that
        self._running = False
        self._routes: dict[str, str] = {}  # the last table seen in force
        self._certain = False  # whether it still is, for all we know
        self._wanted: dict[str, str] = {}
        self._asked = 0
        self._settled = 0
        self._outcome: MadangError | None = None

    async def start(self) -> None:
        """Runs nginx with the routes of before, or takes over the one that runs. Raises Broken: `edge_missing`,
        `edge_port_taken` (port), `edge_refused` (detail)."""
        async with self._lock:
            self._binary = found_binary(self._options.binary)
            await _on_disk(self._prepare)
            self._routes, self._certain = await _on_disk(self._kept_routes), False
            await self._put(self._routes)
            self._running = True

    async def apply(self, routes: Sequence[Route]) -> None:
        """Raises ValueError for a label or an address that cannot be one; such a set is never wanted at all."""
        if not self._running:
            raise Transient("edge_down")
        self._wanted = routing_table(routes, known=self._routes)
        self._asked += 1
        mine = self._asked
        async with self._lock:
            if self._settled < mine:
                await self._settle()
            # Whoever was waiting for that change comes before anyone who could start another.
            if self._outcome is not None:
                raise self._outcome

    async def verify(self, label: str, *, path: str, timeout_s: float) -> None:
        if not LABEL.fullmatch(label) or not _PATH.fullmatch(path):
            raise ValueError(f"not to be asked for: {label!r:.80} {path!r:.80}")
        host = f"{label}.{self._options.domain}"
        try:
            async with asyncio.timeout(timeout_s):
                await _until(lambda: self._app_answers(host, path))
        except TimeoutError:
            raise Transient("route_not_open", label=label) from None

    async def check(self) -> None:
        """Returns when nginx runs and answers; raises Transient("edge_down") otherwise. At most 1 s."""
        if self._processes.master() is None or await self._generation() is None:
            raise Transient("edge_down")

    async def watch(self) -> None:
        """Brings back a master that died, until `stop`; one that keeps dying, after ever longer pauses. Waits for
        the event of its death, and turns over logs that have grown large."""
        clock = asyncio.get_running_loop().time
        pause_s, back_at = 0.0, clock()
        while self._running:
            master = self._processes.master()
            if master is not None:
                if not await wait_end(master, timeout_s=_LOG_PERIOD_S):
                    await _on_disk(self._turn_logs)
                continue
            if clock() - back_at > _LONGEST_PAUSE_S:
                pause_s = 0.0
            await asyncio.sleep(pause_s)
            pause_s = min(max(2 * pause_s, _SHORTEST_PAUSE_S), _LONGEST_PAUSE_S)
            try:
                await self._heal()
            except MadangError as error:
                log.warning("edge not restarted: %s", error)
            back_at = clock()

    async def stop(self) -> None:
        """Requests under way have 5 s. None running: no error."""
        self._running = False
        async with self._lock:
            self._certain = False
            master = self._processes.master()
            if master is not None:
                await _end(master, still=self._processes.is_master)
            for pid in self._processes.orphans():
                await _end(pid, still=self._processes.is_orphan)
            await _on_disk(lambda: clear_shared(self._options.folder))

    # --- one change ---

    async def _settle(self) -> None:
        number, table = self._asked, self._wanted
        try:
            await self._put(table)
        except MadangError as error:
            self._outcome = error
        else:
            self._outcome = None
        self._settled = number

    async def _heal(self) -> None:
        async with self._lock:
            if self._running and self._processes.master() is None:
                await self._put(self._routes)
                log.warning("edge restarted: its master had died")

    async def _put(self, table: dict[str, str]) -> None:
        """Afterwards `table` is on disk and in force; refused, the table of before is."""
        if self._certain and table == self._routes and self._processes.master() is not None:
            return
        generation = secrets.token_hex(8)
        await _on_disk(lambda: self._write_candidate(table, generation))
        async with _meanwhile(lambda: _sync(self._candidate_routes)):
            await self._test()
        self._certain = False
        await _on_disk(self._swap)
        try:
            async with _meanwhile(lambda: _sync(self._options.folder)):
                await self._bring_into_force(generation)
        except MadangError:
            await _on_disk(self._put_back)
            raise
        self._routes, self._certain = table, True

    async def _test(self) -> None:
        code, complaint = await self._run("-t", "-q", conf=self._candidate_conf)
        if code != 0:
            raise Broken("edge_refused", detail=complaint)

    async def _bring_into_force(self, generation: str) -> None:
        master = self._processes.master()
        if master is None or not await self._reload(master, generation):
            await self._launch(generation)

    async def _reload(self, master: int, generation: str) -> bool:
        """Whether the master lived to put `generation` in force for every fresh connection."""
        old = accepting_workers(master)
        send(master, signal.SIGHUP, still=self._processes.is_master)
        if not await self._wait_for(master, lambda: self._all_accept(master, old)):
            return False
        # All new workers accept. The master, in its pause before it retires the old ones, takes no notice of their end
        # until it has marked them as leaving; so they may go now, and are not replaced.
        await _retire(old)
        return await self._wait_for(master, lambda: self._answers(generation))

    async def _launch(self, generation: str) -> None:
        await self._retire_orphans()
        require_free_port(self._options)
        self._options.pid_file.unlink(missing_ok=True)
        code, complaint = await self._run(conf=self._options.conf)
        if code != 0:
            raise Broken("edge_refused", detail=complaint)
        await self._wait_for(None, lambda: self._answers(generation))
        if (master := self._processes.master()) is not None:
            await self._wait_for(master, lambda: self._all_accept(master, ()))

    async def _retire_orphans(self) -> None:
        """Workers of a killed master let go of the port; what they serve, they finish."""
        orphans = self._processes.orphans()
        await _retire(orphans)
        for pid in filter(accepts, orphans):
            send(pid, signal.SIGKILL, still=self._processes.is_orphan)
            await wait_end(pid, timeout_s=2)

    async def _wait_for(self, master: int | None, holds: Callable[[], Awaitable[bool]]) -> bool:
        """Whether it `holds`; False once `master` is gone. Raises Broken in time-out, with nginx's last words."""

        async def gone() -> bool:
            return master is not None and not self._processes.is_master(master)

        async def decided() -> bool:
            return await holds() or await gone()

        try:
            async with asyncio.timeout(_IN_FORCE_TIMEOUT_S):
                await _until(decided)
        except TimeoutError:
            raise Broken("edge_refused", detail=_last_line(self._options.error_log)) from None
        return not await gone()

    # --- asking it ---

    async def _generation(self) -> str | None:
        """The generation that a fresh connection meets; None when nothing of ours answers there."""
        try:
            async with asyncio.timeout(_PROBE_TIMEOUT_S):
                return (await self._ask(GENERATION_HOST, "/"))[1].decode(errors="replace")
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            return None

    async def _all_accept(self, master: int, old: Sequence[int]) -> bool:
        """Whether every worker beyond `old` accepts; nginx gives a worker its title once it listens."""
        return len(set(accepting_workers(master)).difference(old)) >= self._options.workers

    async def _answers(self, generation: str) -> bool:
        return await self._generation() == generation

    async def _app_answers(self, host: str, path: str) -> bool:
        try:
            head, _ = await self._ask(host, path, body=False)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            return False
        return head.status < 500 and "x-madang-edge" not in head.headers

    async def _ask(self, host: str, path: str, *, body: bool = True) -> tuple[_Head, bytes]:
        """One GET over a fresh connection."""
        reader, writer = await asyncio.open_connection(*self._options.reach)
        try:
            authority = f"{host}:{self._options.http_port}"
            writer.write(
                f"GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n".encode("ascii")
            )
            head = _parse_head(await reader.readuntil(b"\r\n\r\n"))
            return head, await reader.read() if body else b""
        finally:
            writer.close()

    async def _run(self, *arguments: str, conf: Path) -> tuple[int, str]:
        """Exit code and last complaint of one nginx command. `conf` is in the title that makes a master ours."""
        options = self._options
        fixed = ("-p", f"{options.folder}/", "-c", str(conf), "-e", str(options.error_log))
        try:
            process = await asyncio.create_subprocess_exec(
                self._binary,
                *fixed,
                *arguments,
                cwd=options.folder,
                env=_ENVIRONMENT,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
            )
        except OSError:
            raise Broken("edge_missing", binary=self._binary) from None
        return await _result(process)

    # --- files; these block, and run in a thread ---

    @property
    def _candidate_conf(self) -> Path:
        return self._options.folder / "candidate.conf"

    @property
    def _candidate_routes(self) -> Path:
        return self._options.folder / "candidate.map"

    @property
    def _next_conf(self) -> Path:
        return self._options.folder / "nginx.conf.next"

    def _prepare(self) -> None:
        """Folders, pages and both configurations; the one in force is replaced with the next swap."""
        options = self._options
        user = worker_user(options)
        for folder in (options.folder, options.logs):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o755)
        shared = shared_folder(options.folder, user)
        for folder in (shared, shared / "temp", shared / "pages"):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o755)
        for name, text in render_pages().items():
            _write(shared / "pages" / name, text)
        candidate = options.folder / "candidate.pid"
        _write(
            self._candidate_conf,
            render_config(
                options, worker_user=user, routes=self._candidate_routes, pid_file=candidate, shared=shared
            ),
        )
        _write(
            self._next_conf,
            render_config(
                options, worker_user=user, routes=options.routes, pid_file=options.pid_file, shared=shared
            ),
        )

    def _kept_routes(self) -> dict[str, str]:
        try:
            return parse_routes(self._options.routes.read_text())
        except FileNotFoundError:
            return {}
        except ValueError:
            log.warning("unreadable routes are left behind: %s", self._options.routes)
            return {}

    def _turn_logs(self) -> None:
        """A log past the limit is copied to `.1`, in place of the one before, and emptied. nginx goes on appending to it:
        its workers could open no other one where they may not enter the folder (a checkout in /root)."""
        for path in self._options.logs.glob("*.log"):
            if path.stat().st_size > _LOG_LIMIT_BYTES:
                with suppress(OSError):  # on a full disk the older lines are let go
                    shutil.copyfile(path, path.with_name(f"{path.name}.1"))
                os.truncate(path, 0)

    def _write_candidate(self, table: Mapping[str, str], generation: str) -> None:
        self._candidate_routes.write_text(render_routes(table, generation))

    def _put_back(self) -> None:
        """The last good table, for whoever starts next."""
        _write(self._candidate_routes, render_routes(self._routes, secrets.token_hex(8)))
        self._swap()
        _sync(self._options.folder)

    def _swap(self) -> None:
        self._candidate_routes.replace(self._options.routes)
        if self._next_conf.exists():
            self._next_conf.replace(self._options.conf)


async def _on_disk(work: Callable[[], T]) -> T:
    """The result of `work`, done in a thread. Raises Broken("edge_refused") where the disk refuses."""
    try:
        return await asyncio.to_thread(work)
    except OSError as error:
        raise Broken("edge_refused", detail=f"{error.filename}: {error.strerror}") from None


@asynccontextmanager
async def _meanwhile(work: Callable[[], None]) -> AsyncIterator[None]:
    """Does `work` in a thread beside the block, and leaves once both are done: the disk's pace costs no time."""
    task = asyncio.create_task(_on_disk(work))
    try:
        yield
    finally:
        await task


async def _until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Returns once `holds`; the caller brings the deadline."""
    while not await holds():  # noqa: ASYNC110 - nginx tells nobody when it is done
        await asyncio.sleep(_POLL_S)


async def _retire(workers: Sequence[int]) -> None:
    """Asks them to finish and waits, for at most 2 s, until none takes new connections."""

    async def retired() -> bool:
        return not any(map(accepts, workers))

    for pid in workers:
        send(pid, signal.SIGQUIT, still=accepts)
    try:
        async with asyncio.timeout(2):
            await _until(retired)
    except TimeoutError:
        log.warning("workers are slow to retire: %s", [pid for pid in workers if accepts(pid)])


async def _end(pid: int, *, still: Callable[[int], bool]) -> None:
    for number, patience_s in _ENDINGS:
        send(pid, number, still=still)
        if await wait_end(pid, timeout_s=patience_s):
            return


async def _result(process: asyncio.subprocess.Process) -> tuple[int, str]:
    try:
        async with asyncio.timeout(_COMMAND_TIMEOUT_S):
            _, complaint = await process.communicate()
    except TimeoutError:
        raise Transient("edge_down") from None
    finally:
        if process.returncode is None:
            process.kill()
    return process.returncode or 0, complaint.decode(errors="replace").strip()[-500:]


def _parse_head(raw: bytes) -> _Head:
    """Status and headers, names in lower case. Raises ValueError for what is no HTTP answer."""
    first, *lines = raw.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines if line)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    return _Head(int(first.split(" ", 2)[1]), headers)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    _sync(path)


def _sync(path: Path) -> None:
    """A file's content, or a folder's names, are on disk afterwards."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _last_line(path: Path) -> str:
    """The end of nginx's log, for the operator."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 2000))
        return file.read().decode(errors="replace").strip().rpartition("\n")[2][-500:]
