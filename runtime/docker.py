"""Apps as Docker containers. Everything is found again by name and label: this program may die at any moment.

`ensure` looks, decides, acts: one look-up, then as few calls as the difference between found and wanted asks for.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import subprocess
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from aiodocker import Docker, DockerError
from aiodocker.containers import DockerContainer

from engine.errors import Broken, Conflict, NotFound, Refused, Transient
from engine.ports import Instance, InstanceEvent, InstanceSpec, InstanceState, Stats
from runtime import firewall, readiness
from runtime.daemon import CHECK_S, FORBIDDEN, GONE, TAKEN, Daemon, tolerating, translated
from runtime.docker_config import (
    CONFIG,
    EVENT_KINDS,
    DockerOptions,
    Found,
    Sample,
    container_config,
    event_from,
    found_from_inspect,
    instance_from_list,
    memory_bytes_from,
    owned_filter,
    sample_from,
)
from runtime.images import Images
from runtime.logs import lines_of
from runtime.network import Network, bridge_name, ensure_network, holder_of, release_address, remove_network

ENSURE_S: Final = 60.0
OWN_S: Final = 50.0
PREPARE_S: Final = 60.0
# Before each new try; a name is taken for a while before Docker can show what took it.
PAUSES_S: Final = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
KILL_MARGIN_S: Final = 15.0
WORDS_MAX: Final = 2000
WORDS_LINES: Final = 50


class DockerRuntime:
    """The Runtime of RUNTIME_DRIVER=docker. See engine.ports.Runtime for what each method promises."""

    name = "docker"

    def __init__(self, options: DockerOptions) -> None:
        self._options = options
        self._daemon = Daemon(options.docker_host)
        self._images = Images(self._daemon, options)
        self._tags: dict[str, str] = {}
        self._network: Network | None = None
        self._preparing = asyncio.Lock()
        self._samples: dict[str, Sample] = {}

    async def check(self) -> None:
        async with self._daemon.call(CHECK_S) as docker:
            await docker.version()

    async def prepare(self) -> None:
        async with self._preparing:
            self._network = await self._prepared_network()
            self._tags = {name: await self._images.ensure_image(name) for name in self._images.names()}

    async def unprepare(self) -> None:
        """Takes away the network and the rules that `prepare` made; for uninstalling. Instances must be gone."""
        async with self._daemon.call() as docker:
            await remove_network(docker, self._options)
        if self._options.firewall:
            await firewall.remove_fence(
                firewall.Fence(self._network.bridge if self._network else bridge_name(self._options))
            )
        self._network = None

    @property
    def capacity(self) -> int:
        """The highest slot; 0 before `prepare`."""
        return self._network.capacity if self._network else 0

    async def image(self, name: str) -> str:
        tag = self._tags.get(name)
        if tag is None:
            tag = self._tags[name] = await self._images.ensure_image(name)
        return tag

    async def ensure(self, spec: InstanceSpec) -> Instance:
        await asyncio.to_thread(own, spec.data_dir, self._options.run_as)
        for pause_s in (*PAUSES_S, None):
            config = await self._config(spec)
            async with self._daemon.call(ENSURE_S) as docker:
                try:
                    return await self._ensured(docker, spec, config)
                except DockerError as error:
                    await self._mend(docker, spec, error, last=pause_s is None)
                    await asyncio.sleep(pause_s or 0)
        raise Transient("runtime_busy", name=spec.name)

    async def wait_ready(self, name: str, *, port: int, path: str, timeout_s: float) -> None:
        found = await self._owned(name)
        if found is None or found.instance.address is None:
            raise NotFound("no_instance", name=name)
        host = found.instance.address.rpartition(":")[0]
        try:
            async with asyncio.timeout(timeout_s):
                answered = await _first(readiness.answering(host, port, path), self._ended(found))
        except TimeoutError:
            raise Refused("app_not_ready", seconds=timeout_s, log=await self._last_words(name)) from None
        if not answered:
            raise Refused("app_crashed", log=await self._last_words(name))

    async def inspect(self, name: str) -> Instance | None:
        found = await self._owned(name)
        return found.instance if found else None

    async def stop(self, name: str, *, grace_s: float = 10) -> None:
        found = await self._owned(name)
        if found is not None:
            async with self._daemon.call(grace_s + KILL_MARGIN_S) as docker:
                with tolerating(GONE):
                    await docker.containers.container(found.id).stop(t=math.ceil(grace_s))

    async def remove(self, name: str) -> None:
        found = await self._owned(name)
        if found is not None:
            async with self._daemon.call() as docker:
                await _removed(docker.containers.container(found.id))
        self._samples.pop(name, None)

    async def logs(self, name: str, *, lines: int) -> str:
        found = await self._owned(name)
        if found is None:
            return ""
        with suppress(NotFound):
            async with self._daemon.get(f"containers/{found.id}/logs", _log_params(lines)) as response:
                return "".join([f"{line}\n" async for line in lines_of(response.content)])
        return ""

    async def follow_logs(self, name: str, *, lines: int) -> AsyncIterator[str]:
        found = await self._owned(name)
        if found is None:
            return
        params = _log_params(lines) | {"follow": "1"}
        async with self._daemon.get(f"containers/{found.id}/logs", params, timeout_s=None) as response:
            async for line in lines_of(response.content):
                yield line

    async def stats(self, name: str) -> Stats | None:
        """Processor use is the mean since the last call, at first since the start. An older Docker lets a second call
        within a second wait for the rest of that second."""
        found = await self._owned(name)
        if found is None or not found.running:
            return None
        with suppress(NotFound):
            usage = await self._usage(found.id)
            now = sample_from(usage)
            if now is not None:
                before = self._samples.get(name)
                if before is None or before.container_id != found.id or before.at_s < found.started_s:
                    before = Sample(found.id, found.started_s, cpu_s=0.0)
                self._samples[name] = now
                memory = usage["memory_stats"]
                return Stats(memory_bytes_from(memory), memory["limit"], now.percent_since(before))
        return None

    async def list_owned(self) -> Sequence[Instance]:
        """Exit codes are not in Docker's list; `inspect` knows them."""
        params = {"all": "1", "filters": owned_filter(self._options.installation)}
        async with self._daemon.get("containers/json", params) as response:
            return [instance_from_list(entry) for entry in await response.json()]

    def events(self) -> AsyncIterator[InstanceEvent]:
        """From the moment of the call on, though the first be asked for later: Docker repeats what came since."""
        return self._events_since(time.time())

    async def close(self) -> None:
        await self._daemon.close()

    # -- ensure, step by step ---------------------------------------------------------------------------------------

    async def _ensured(self, docker: Docker, spec: InstanceSpec, config: dict[str, Any]) -> Instance:
        found = await self._find(docker, spec.name)
        if found is not None and not found.ours:
            raise Conflict("name_taken_on_box", name=spec.name)
        if found is not None and not (found.usable and found.config == config["Labels"][CONFIG]):
            await _retired(docker.containers.container(found.id))
            found = None
        if found is None:
            return await self._created(docker, spec, config)
        container = docker.containers.container(found.id)
        if found.paused:
            await container.unpause()
        if found.restarting:
            await container.restart(t=0)  # ends Docker's growing pauses; a plain start would be none
        elif not found.running:
            await container.start()
        return replace(found.instance, state=InstanceState.RUNNING, exit_code=None, out_of_memory=False)

    async def _created(self, docker: Docker, spec: InstanceSpec, config: dict[str, Any]) -> Instance:
        """Two calls and no look at the result: the configuration says it all."""
        container = await docker.containers.create(config, name=spec.name)
        await container.start()
        address = f"{self._address(spec)}:{spec.port}"
        return Instance(spec.name, spec.app_id, InstanceState.RUNNING, address, created_at=datetime.now(UTC))

    async def _mend(self, docker: Docker, spec: InstanceSpec, error: DockerError, *, last: bool) -> None:
        """Puts right what made `ensure` fail, if that can be done; else, or the last time, raises what went wrong.

        409: somebody else was faster, look again. 404: the image or the network has gone, make it anew.
        403: the address is held, as a rule by what a container killed at the wrong moment left behind.
        """
        if error.status not in (FORBIDDEN, GONE, TAKEN):
            raise error
        if last:
            raise await self._held(docker, spec) if error.status == FORBIDDEN else translated(error)
        if error.status == GONE:
            self._network = None
        if error.status != TAKEN:
            found = await self._find(docker, spec.name)
            if found is not None and found.ours:
                await _removed(docker.containers.container(found.id))
            await release_address(docker, self._options.network, spec.name)

    async def _held(self, docker: Docker, spec: InstanceSpec) -> Broken:
        address = self._address(spec)
        network = await (await docker.networks.get(self._options.network)).show()
        return Broken("address_in_use", name=spec.name, address=address, holder=holder_of(network, address))

    async def _config(self, spec: InstanceSpec) -> dict[str, Any]:
        if self._network is None:
            await self.prepare()
        if spec.image not in self._tags:
            raise Broken("unknown_image", name=spec.image)
        return container_config(
            spec, self._options, image=self._tags[spec.image], address=self._address(spec)
        )

    def _address(self, spec: InstanceSpec) -> str:
        if self._network is None:
            raise Transient("runtime_busy", name=spec.name)
        return self._network.address(spec.slot)

    async def _prepared_network(self) -> Network:
        async with self._daemon.call(PREPARE_S) as docker:
            network = await ensure_network(docker, self._options)
        if self._options.firewall:
            nameservers = firewall.host_nameservers()
            await firewall.ensure_fence(
                firewall.Fence(network.bridge, nameservers, self._options.egress_private)
            )
        return network

    # -- looking ----------------------------------------------------------------------------------------------------

    async def _find(self, docker: Docker, name: str) -> Found | None:
        """Whatever has that name, ours or not."""
        with tolerating(GONE):
            data = await docker.containers.container(name).show()
            return found_from_inspect(data, self._options.installation)
        return None

    async def _owned(self, name: str) -> Found | None:
        async with self._daemon.call() as docker:
            found = await self._find(docker, name)
        return found if found is not None and found.ours else None

    async def _ended(self, found: Found) -> None:
        """Returns when the program has ended, even if Docker means to start it again."""
        if not found.running:
            return
        async with self._daemon.call(None) as docker:
            with tolerating(GONE):
                await docker.containers.container(found.id).wait(condition="not-running")

    async def _last_words(self, name: str) -> str:
        return (await self.logs(name, lines=WORDS_LINES))[-WORDS_MAX:]

    async def _usage(self, container_id: str) -> dict[str, Any]:
        """One sample; without `one-shot` Docker would wait for a second one."""
        params = {"stream": "0", "one-shot": "1"}
        async with self._daemon.get(f"containers/{container_id}/stats", params) as response:
            # A container that is going at this moment is answered with `null`.
            usage: dict[str, Any] = await response.json() or {}
            return usage

    async def _events_since(self, since_s: float) -> AsyncIterator[InstanceEvent]:
        filters = owned_filter(self._options.installation, type=["container"], event=list(EVENT_KINDS))
        params = {"since": f"{since_s:.9f}", "filters": filters}
        async with self._daemon.get("events", params, timeout_s=None) as response:
            async for line in response.content:
                event = event_from(json.loads(line))
                if event is not None:
                    yield event
        raise Transient("runtime_down", retry_after_s=2)


def own(data_dir: Path, user: str) -> None:
    """Makes `data_dir` and what lies in it belong to `user` ("uid:gid"), unless it does.

    Links are never followed: the app itself may have put them there. When the folder and what lies directly in it are
    right, the rest is taken to be.
    """
    data_dir.mkdir(0o700, parents=True, exist_ok=True)
    uid = int(user.partition(":")[0])
    with os.scandir(data_dir) as entries:
        owners = [data_dir.stat().st_uid, *(entry.stat(follow_symlinks=False).st_uid for entry in entries)]
    if os.geteuid() != 0 or all(owner == uid for owner in owners):
        return
    # chown, and not Python: an app may have made more folders within one another than Python would follow.
    command = ["/bin/chown", "--recursive", "--no-dereference", "-P", user, "--", str(data_dir)]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=OWN_S
        )
    except subprocess.TimeoutExpired:
        raise Transient("runtime_busy") from None
    if done.returncode:
        raise Broken("runtime_error", detail=done.stderr.strip()[-200:])


def _log_params(lines: int) -> dict[str, str]:
    return {"stdout": "1", "stderr": "1", "tail": str(lines)}


async def _retired(container: DockerContainer) -> None:
    """Asked to end first: an app may have something to write."""
    with tolerating(GONE):
        await container.stop()
    await _removed(container)


async def _removed(container: DockerContainer) -> None:
    with tolerating(GONE):
        try:
            await container.delete(force=True)
        except DockerError as error:
            if error.status != TAKEN:
                raise
            await container.wait(condition="removed")  # somebody else is at it


async def _first(wanted: Coroutine[Any, Any, None], unwanted: Coroutine[Any, Any, None]) -> bool:
    """Whether `wanted` ended before `unwanted`; neither goes on afterwards."""
    tasks = [asyncio.create_task(wanted), asyncio.create_task(unwanted)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        won = tasks[0] in done
        tasks[0 if won else 1].result()
        return won
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
