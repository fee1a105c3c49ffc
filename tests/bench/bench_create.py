"""`madang bench create`: from the confirm press in the chat to the first 200 through nginx, beside a bare container.

Each round makes one diary through Madang and one by plain `docker run` of the same image with the same code, in turn, so
that both meet the same machine. Bare twice: as it comes, and with the limits that every app of Madang has.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import aiohttp
from aiodocker import Docker

from tests.support.api import Api
from tests.support.chat import Chat, link_of
from tests.support.engine import Engine
from tests.support.visitor import visitor

POLL_S = 0.002
LIMITS = ["--memory", "256m", "--cpus", "0.5", "--pids-limit", "128"]


async def first_200(session: aiohttp.ClientSession, url: str) -> float:
    """The moment of the first 200."""
    while True:
        with suppress(aiohttp.ClientError, ConnectionError, TimeoutError):
            async with session.get(url, timeout=aiohttp.ClientTimeout(total=1)) as response:
                if response.status == 200:
                    return time.perf_counter()
        await asyncio.sleep(POLL_S)


async def run(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    assert process.returncode == 0, command
    return output.decode().strip()


class Rounds:
    def __init__(self, engine: Engine, chat: Chat, api: Api, image: str) -> None:
        self.engine = engine
        self.chat = chat
        self.api = api
        self.image = image
        self.times: dict[str, list[float]] = defaultdict(list)
        self.steps: dict[str, list[float]] = defaultdict(list)

    async def one(self, number: int, *, counted: bool) -> None:
        times = {
            "madang": await self.by_madang(f"d{number:03}"),
            "bare": await self.by_docker(number, []),
            "bare, same limits": await self.by_docker(number, LIMITS),
        }
        if counted:
            for name, value in times.items():
                self.times[name].append(value)

    async def by_madang(self, name: str) -> float:
        await self.chat.say("/new diary")
        await self.chat.say(name)
        await self.chat.press("On the server")
        url = f"http://{self.api.userid}-{name}.localhost:{self.engine.http_port}/healthz"
        async with visitor() as person:
            began = time.perf_counter()
            watching = asyncio.create_task(first_200(person, url))
            await self.chat.only_press("Make it")
            answered = await watching
        await self.chat.until(lambda screen: not screen["progress"] and bool(link_of(screen)))
        await self.note_steps(name)
        await self.api.change(name, "delete", {"keepData": False})
        return answered - began

    async def note_steps(self, name: str) -> None:
        app = await self.api.app(name)
        events = await self.api.events(app["lastOperation"])
        times = [
            (e["event"], e["data"].get("step", ""), datetime.fromisoformat(e["data"]["at"])) for e in events
        ]
        for (kind, step, at), (_, _, until) in itertools.pairwise(times):
            self.steps[step or kind].append((until - at).total_seconds())

    async def by_docker(self, number: int, limits: Sequence[str]) -> float:
        """Until the first 200 at the container's own address, on the default bridge."""
        code = self.code
        with tempfile.TemporaryDirectory(prefix="bare") as data:
            Path(data).chmod(0o777)
            name = f"bare-{self.engine.http_port}-{number}"
            began = time.perf_counter()
            await run(
                "docker", "run", "-d", "--name", name, *limits, "-v", f"{code}:/app:ro", "-v", f"{data}:/data",
                "-e", "PORT=3000", "-e", "ENABLE_API=true", "-e", "SQLITE_PATH=/data/db.sqlite3",
                "-e", f"OWNER_KEY_SHA256={'0' * 64}", self.image,
            )  # fmt: skip
            try:
                address = await run(
                    "docker",
                    "inspect",
                    "-f",
                    "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}",
                    name,
                )
                async with aiohttp.ClientSession() as session:
                    return await first_200(session, f"http://{address}:3000/healthz") - began
            finally:
                await run("docker", "rm", "-f", "-v", name)

    @property
    def code(self) -> Path:
        return self.engine.root / "bare-code"


async def measure(rounds: int) -> Rounds:
    with tempfile.TemporaryDirectory(prefix="madang-bench") as folder:
        root = Path(folder)
        root.chmod(0o755)
        async with (
            Engine(root, driver="docker", MAX_APPS_PER_USER="50") as engine,
            engine.api() as api,
            Chat(engine.url) as chat,
        ):
            userid = f"bench{engine.http_port}"
            await chat.say(userid)
            await api.log_in("admin", engine.admin_password or "")
            passwords = {"currentPassword": engine.admin_password, "newPassword": "a good password"}
            token = await api.call("POST", "/api/v1/auth/change-password", passwords)
            api.token, api.userid = token["token"], userid
            return await _rounds(engine, chat, api, rounds)


async def _rounds(engine: Engine, chat: Chat, api: Api, rounds: int) -> Rounds:
    await chat.say("/new diary")
    await chat.say("first")
    await chat.press("On the server")
    await chat.only_press("Make it")
    await chat.until(lambda screen: not screen["progress"] and bool(link_of(screen)))
    folder = engine.root / "var" / "apps" / api.userid / "first"
    await asyncio.to_thread((folder / "code").rename, engine.root / "bare-code")
    async with Docker() as docker:
        container = await docker.containers.get(f"paas-app-{api.userid}-first")
        image = (await container.show())["Image"]
    await api.change("first", "delete", {"keepData": False})
    done = Rounds(engine, chat, api, image)
    for number in range(rounds + 1):
        await done.one(number, counted=number > 0)
    return done


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="madang bench create", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args(argv)
    done = asyncio.run(measure(options.rounds))
    medians = {name: statistics.median(values) for name, values in done.times.items()}
    ratios = {
        f"madang / {name}": statistics.median(
            a / b for a, b in zip(done.times["madang"], done.times[name], strict=True)
        )
        for name in medians
        if name != "madang"
    }
    steps = {name: statistics.median(values) for name, values in done.steps.items()}
    if options.json:
        print(json.dumps({"median_s": medians, "ratio": ratios, "steps_s": steps}, indent=1))
        return 0
    print(f"confirm press -> first 200 through nginx, {options.rounds} rounds in turn, ms")
    for name, values in done.times.items():
        print(
            f"  {name:20} median {medians[name] * 1000:6.0f}   min {min(values) * 1000:6.0f}   max {max(values) * 1000:6.0f}"
        )
    for name, ratio in ratios.items():
        print(f"  {name:28} {ratio:.2f} (median of the rounds' ratios)")
    print("where the time goes, ms (medians):")
    for name, value in steps.items():
        print(f"  {name:12} {value * 1000:6.1f}")
    return 0
