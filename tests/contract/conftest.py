"""The labs as fixtures. A session's network, rules and containers are its own, and gone when it ends."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from engine.cli.cgroups import ensure_cgroups
from engine.settings import Settings
from runtime.docker import DockerRuntime
from runtime.docker_config import DockerOptions
from tests.contract.runtime_labs import DockerLab, Lab, MemoryLab


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def docker_options() -> AsyncIterator[DockerOptions]:
    """A prepared installation on this machine's Docker, which `./madang test` has started."""
    options = DockerOptions(
        installation=f"test-{os.getpid()}",
        network=f"madang-test-{os.getpid()}",
        cache_dir=Settings(_env_file=None).cache_dir,
        docker_host=os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock"),
    )
    runtime = DockerRuntime(options)
    await runtime.prepare()
    yield options
    await _cleared(runtime)
    await runtime.unprepare()
    await runtime.close()


@pytest_asyncio.fixture
async def docker_lab(tmp_path: Path, docker_options: DockerOptions) -> AsyncIterator[DockerLab]:
    lab = DockerLab(tmp_path, docker_options)
    await lab.runtime.prepare()
    yield lab
    await _cleared(lab.runtime)
    await lab.runtime.close()


@pytest_asyncio.fixture
async def memory_lab(tmp_path: Path) -> MemoryLab:
    lab = MemoryLab(tmp_path)
    await lab.runtime.prepare()
    return lab


@pytest.fixture(params=["memory", pytest.param("docker", marks=pytest.mark.docker)])
def lab(request: pytest.FixtureRequest) -> Lab:
    chosen: Lab = request.getfixturevalue(f"{request.param}_lab")
    return chosen


@pytest.fixture
def measured_lab(lab: Lab) -> Lab:
    """A lab whose containers can be measured."""
    if isinstance(lab, DockerLab):
        ensure_cgroups()
    return lab


async def _cleared(runtime: DockerRuntime) -> None:
    for instance in await runtime.list_owned():
        await runtime.remove(instance.name)
