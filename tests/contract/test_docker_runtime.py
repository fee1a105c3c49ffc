"""What only real containers can show: hardening and limits in force, and walls that hold."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiodocker import Docker

from engine.errors import Broken, Refused, Transient
from engine.ports import InstanceSpec, InstanceState
from runtime import firewall
from runtime.docker import DockerRuntime
from tests.contract import neighbourhood
from tests.contract.runtime_labs import MIB, READY_S, DockerLab, closing

pytestmark = pytest.mark.docker


async def running(lab: DockerLab, **changes: Any) -> InstanceSpec:
    spec = lab.spec(**changes)
    await lab.runtime.ensure(spec)
    await ready(lab, spec)
    return spec


async def ready(lab: DockerLab, spec: InstanceSpec, timeout_s: float = READY_S) -> None:
    await lab.runtime.wait_ready(spec.name, port=spec.port, path=spec.health_path, timeout_s=timeout_s)


async def address_of(lab: DockerLab, spec: InstanceSpec) -> tuple[str, str]:
    instance = await lab.runtime.inspect(spec.name)
    assert instance is not None
    assert instance.address is not None
    host, _, port = instance.address.rpartition(":")
    return host, port


async def reach(lab: DockerLab, spec: InstanceSpec, host: str, port: int | str) -> str:
    """From inside the app: "open", "refused" or "blocked"."""
    return await lab.ask(spec.name, "/reach", host=host, port=str(port))


# -- the daemon ---------------------------------------------------------------------------------------------------------


async def test_a_daemon_that_takes_calls_and_never_answers_counts_as_down(
    docker_lab: DockerLab, tmp_path: Path
) -> None:
    hung_up = asyncio.Event()

    async def listen(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await hung_up.wait()
        writer.close()

    async with await asyncio.start_unix_server(listen, tmp_path / "docker.sock"):
        runtime = DockerRuntime(replace(docker_lab.options, docker_host=f"unix://{tmp_path}/docker.sock"))
        began = time.monotonic()
        with pytest.raises(Transient) as caught:
            await runtime.check()
        assert caught.value.code == "runtime_down"
        assert time.monotonic() - began < 5.5
        hung_up.set()
        await runtime.close()


async def test_events_end_with_an_error_when_the_daemon_goes_away(
    docker_lab: DockerLab, tmp_path: Path
) -> None:
    async with neighbourhood.cable(docker_lab.options.docker_host, tmp_path / "docker.sock") as (
        docker_host,
        cut,
    ):
        runtime = DockerRuntime(replace(docker_lab.options, docker_host=docker_host))
        spec = docker_lab.spec()
        async with closing(runtime.events()) as events:
            await docker_lab.runtime.ensure(spec)
            assert (await anext(events)).name == spec.name
            cut()
            with pytest.raises(Transient) as caught:
                await anext(events)
        assert caught.value.code == "runtime_down"
        await runtime.close()


# -- hardening ----------------------------------------------------------------------------------------------------------


async def test_the_program_is_nobody_and_can_write_its_data_and_nothing_else(docker_lab: DockerLab) -> None:
    spec = docker_lab.spec(environment={"COLOUR": "green", "PORT": "1"})
    spec.data_dir.mkdir()
    (spec.data_dir / "restored.sqlite3").write_text("by root")
    await docker_lab.runtime.ensure(spec)
    await ready(docker_lab, spec)
    facts = await docker_lab.facts(spec.name)
    assert (facts["uid"], facts["gid"]) == (10001, 10001)
    assert facts["writable"] == ["/data", "/tmp"]
    assert set(facts["capabilities"]) == {"0"}
    assert facts["no_new_privileges"] == "1"
    assert facts["pid"] == 1
    assert (facts["environment"]["COLOUR"], facts["environment"]["PORT"]) == ("green", "3000")
    assert (spec.data_dir / "restored.sqlite3").stat().st_uid == 10001


async def test_limits_are_in_force(docker_lab: DockerLab) -> None:
    spec = await running(docker_lab, memory_bytes=80 * MIB, cpus=0.3, pids=40)
    async with Docker(url=docker_lab.options.docker_host) as docker:
        data = await docker.containers.container(spec.name).show()
    host = data["HostConfig"]
    assert (host["Memory"], host["MemorySwap"]) == (80 * MIB, 80 * MIB)
    assert (host["CpuQuota"] / host["CpuPeriod"], host["PidsLimit"]) == (0.3, 40)
    assert (host["CapDrop"], host["ReadonlyRootfs"], host["Privileged"]) == (["ALL"], True, False)
    assert "no-new-privileges" in host["SecurityOpt"]
    assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-file": "3", "max-size": "10m"}}
    assert not any(data["NetworkSettings"]["Ports"].values())
    assert list(data["NetworkSettings"]["Networks"]) == [docker_lab.options.network]


async def test_an_answer_of_500_is_none_and_404_is_one(docker_lab: DockerLab) -> None:
    spec = await running(docker_lab)
    await docker_lab.runtime.wait_ready(spec.name, port=spec.port, path="/missing", timeout_s=5)
    with pytest.raises(Refused) as caught:
        await docker_lab.runtime.wait_ready(spec.name, port=spec.port, path="/broken", timeout_s=0.5)
    assert caught.value.code == "app_not_ready"


async def test_a_crash_is_told_though_docker_starts_the_program_again(docker_lab: DockerLab) -> None:
    spec = docker_lab.spec(restart_policy="always")
    (spec.code_dir / "main.py").write_text("raise SystemExit('no such table: entries')\n")
    await docker_lab.runtime.ensure(spec)
    with pytest.raises(Refused) as caught:
        await ready(docker_lab, spec)
    assert caught.value.code == "app_crashed"
    assert "no such table" in caught.value.params["log"]


async def test_a_program_that_keeps_ending_counts_as_stopped_until_it_is_mended(
    docker_lab: DockerLab,
) -> None:
    spec = await running(docker_lab, restart_policy="always")
    program = spec.code_dir / "main.py"
    sound = program.read_text()
    program.write_text("raise SystemExit('no such table: entries')\n")
    await docker_lab.crash(spec.name)
    async with asyncio.timeout(READY_S):
        while await states(docker_lab, spec) != {InstanceState.STOPPED}:
            await asyncio.sleep(0.05)
    await docker_lab.runtime.ensure(spec)
    with pytest.raises(Refused, match="app_crashed"):
        await ready(docker_lab, spec)
    program.write_text(sound)
    await docker_lab.runtime.ensure(spec)
    await ready(docker_lab, spec)
    assert await states(docker_lab, spec) == {InstanceState.RUNNING}


async def states(lab: DockerLab, spec: InstanceSpec) -> set[InstanceState]:
    """What Docker's list and its look at the one container say."""
    listed = [one.state for one in await lab.runtime.list_owned() if one.name == spec.name]
    inspected = await lab.runtime.inspect(spec.name)
    assert inspected is not None
    return {*listed, inspected.state}


async def test_a_folder_without_a_program_is_served(docker_lab: DockerLab) -> None:
    spec = docker_lab.spec()
    (spec.code_dir / "main.py").unlink()
    (spec.code_dir / "index.html").write_text("<p>hello</p>")
    await docker_lab.runtime.ensure(spec)
    await ready(docker_lab, spec)
    assert await docker_lab.ask(spec.name, "/") == "<p>hello</p>"


async def test_an_app_that_ignores_being_asked_is_killed_after_its_grace(docker_lab: DockerLab) -> None:
    spec = docker_lab.spec()
    (spec.code_dir / "main.py").write_text(
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('deaf', flush=True)\nwhile True: signal.pause()\n"
    )
    await docker_lab.runtime.ensure(spec)
    async with asyncio.timeout(READY_S):
        async with closing(docker_lab.runtime.follow_logs(spec.name, lines=1)) as lines:
            assert await anext(lines) == "deaf"
    await docker_lab.runtime.stop(spec.name, grace_s=1)
    instance = await docker_lab.runtime.inspect(spec.name)
    assert instance is not None
    assert instance.exit_code == 137


# -- addresses ----------------------------------------------------------------------------------------------------------


async def test_an_address_is_kept_for_life(docker_lab: DockerLab) -> None:
    spec = await running(docker_lab)
    before = await address_of(docker_lab, spec)
    await docker_lab.runtime.stop(spec.name)
    assert await address_of(docker_lab, spec) == before
    await running(docker_lab)
    await docker_lab.runtime.ensure(spec)
    assert await address_of(docker_lab, spec) == before
    await docker_lab.runtime.remove(spec.name)
    await docker_lab.runtime.ensure(replace(spec, environment={"A": "B"}))
    assert await address_of(docker_lab, spec) == before


async def test_an_address_that_somebody_holds_is_named_with_its_holder(docker_lab: DockerLab) -> None:
    spec, other = docker_lab.spec(), docker_lab.spec()
    await docker_lab.runtime.ensure(spec)
    host, _ = await address_of(docker_lab, spec)
    await docker_lab.runtime.remove(spec.name)
    network = docker_lab.options.network
    endpoint = {"EndpointsConfig": {network: {"IPAMConfig": {"IPv4Address": host}}}}
    config = {"HostConfig": {"NetworkMode": network}, "NetworkingConfig": endpoint}
    async with docker_lab.stranger(other.name, **config) as untouched:
        with pytest.raises(Broken) as caught:
            await docker_lab.runtime.ensure(spec)
        assert caught.value.code == "address_in_use"
        assert caught.value.params["holder"] == other.name
        assert await untouched()
    await docker_lab.runtime.ensure(spec)


async def test_a_slot_beyond_the_network_is_refused(docker_lab: DockerLab) -> None:
    with pytest.raises(Broken) as caught:
        await docker_lab.runtime.ensure(docker_lab.spec(slot=docker_lab.runtime.capacity + 1))
    assert caught.value.code == "network_full"


async def test_a_network_that_was_pruned_is_made_anew_with_the_same_addresses(docker_lab: DockerLab) -> None:
    spec = await running(docker_lab)
    before = await address_of(docker_lab, spec)
    await docker_lab.runtime.stop(spec.name)
    async with Docker(url=docker_lab.options.docker_host) as docker:
        await (await docker.networks.get(docker_lab.options.network)).delete()
    await docker_lab.runtime.ensure(spec)
    await ready(docker_lab, spec)
    assert await address_of(docker_lab, spec) == before


async def test_a_network_of_another_installation_is_refused(docker_lab: DockerLab) -> None:
    other = DockerRuntime(replace(docker_lab.options, installation="another"))
    with pytest.raises(Broken) as caught:
        await other.prepare()
    assert caught.value.code == "network_not_ours"
    await other.close()


async def test_a_network_on_which_apps_would_meet_is_refused_with_advice(docker_lab: DockerLab) -> None:
    name = f"madang-open-{os.getpid()}"
    async with Docker(url=docker_lab.options.docker_host) as docker:
        network = await docker.networks.create({"Name": name})
        other = DockerRuntime(replace(docker_lab.options, network=name))
        try:
            with pytest.raises(Broken) as caught:
                await other.prepare()
        finally:
            await other.close()
            await network.delete()
    assert caught.value.code == "network_unsuitable"
    assert f"docker network rm {name}" in caught.value.params["detail"]


async def test_two_installations_live_side_by_side(docker_lab: DockerLab, tmp_path: Path) -> None:
    options = replace(
        docker_lab.options, installation=f"second-{os.getpid()}", network=f"madang-second-{os.getpid()}"
    )
    second = DockerLab(tmp_path / "second", options)
    await second.runtime.prepare()
    try:
        one, other = await running(docker_lab), await running(second)
        host, port = await address_of(second, other)
        assert await reach(docker_lab, one, host, port) == "blocked"
        assert [instance.name for instance in await second.runtime.list_owned()] == [other.name]
    finally:
        for instance in await second.runtime.list_owned():
            await second.runtime.remove(instance.name)
        await second.runtime.unprepare()
        await second.runtime.close()
    assert options.network not in await neighbourhood.run("docker", "network", "ls")
    await ready(docker_lab, one)


# -- walls --------------------------------------------------------------------------------------------------------------


async def test_the_host_reaches_apps_and_apps_do_not_reach_each_other(docker_lab: DockerLab) -> None:
    one, other = await running(docker_lab), await running(docker_lab)
    host, port = await address_of(docker_lab, other)
    async with aiohttp.ClientSession() as session, session.get(f"http://{host}:{port}/") as answer:
        assert answer.status == 200
    assert await reach(docker_lab, one, host, port) == "blocked"
    assert await reach(docker_lab, one, other.name, port) == "blocked"
    assert await reach(docker_lab, one, host, 9) == "blocked"


async def test_apps_reach_no_service_of_the_host_at_any_of_its_addresses(docker_lab: DockerLab) -> None:
    spec = await running(docker_lab)
    addresses = await neighbourhood.host_addresses()
    assert any(address.startswith("fe80:") for address in addresses)
    assert any(address.startswith("10.") and address.endswith(".1") for address in addresses)
    async with neighbourhood.host_service() as port:
        found = {address: await reach(docker_lab, spec, address, port) for address in addresses}
    assert set(found.values()) == {"blocked"}, found


async def test_apps_have_no_ipv6_of_their_own(docker_lab: DockerLab) -> None:
    spec = await running(docker_lab)
    facts = await docker_lab.facts(spec.name)
    assert {line.split()[-1] for line in facts["ipv6"].splitlines()} <= {"lo"}


async def test_apps_reach_the_world_but_neither_machines_beside_the_host_nor_link_local(
    docker_lab: DockerLab,
) -> None:
    spec = await running(docker_lab)
    async with neighbourhood.neighbour():
        assert await reach(docker_lab, spec, neighbourhood.PUBLIC, neighbourhood.PORT) == "open"
        assert await reach(docker_lab, spec, neighbourhood.PRIVATE, neighbourhood.PORT) == "blocked"
        assert await reach(docker_lab, spec, neighbourhood.LINK_LOCAL, neighbourhood.PORT) == "blocked"


async def test_private_machines_open_only_when_the_operator_says_so_and_link_local_never(
    docker_lab: DockerLab,
) -> None:
    one, other = await running(docker_lab), await running(docker_lab)
    opened = DockerRuntime(replace(docker_lab.options, egress_private=True))
    await opened.prepare()
    await opened.close()
    async with neighbourhood.neighbour():
        assert await reach(docker_lab, one, neighbourhood.PRIVATE, neighbourhood.PORT) == "open"
        assert await reach(docker_lab, one, neighbourhood.LINK_LOCAL, neighbourhood.PORT) == "blocked"
    assert await reach(docker_lab, one, *await address_of(docker_lab, other)) == "blocked"
    await docker_lab.runtime.prepare()


async def test_preparing_again_mends_walls_that_somebody_tore_down(docker_lab: DockerLab) -> None:
    spec = await running(docker_lab)
    gateway = await gateway_of(docker_lab)
    async with neighbourhood.host_service() as port, neighbourhood.neighbour():
        await firewall.remove_fence(firewall.Fence(await bridge_of(docker_lab)))
        assert await reach(docker_lab, spec, gateway, port) == "open"
        assert await reach(docker_lab, spec, neighbourhood.LINK_LOCAL, neighbourhood.PORT) == "open"
        await docker_lab.runtime.prepare()
        assert await reach(docker_lab, spec, gateway, port) == "blocked"
        assert await reach(docker_lab, spec, neighbourhood.LINK_LOCAL, neighbourhood.PORT) == "blocked"


async def test_preparing_twice_leaves_one_set_of_rules(docker_lab: DockerLab) -> None:
    await docker_lab.runtime.prepare()
    bridge = await bridge_of(docker_lab)
    for program, jumps in (("iptables", 2), ("ip6tables", 2)):
        rules = (await neighbourhood.run(program, "-S")).splitlines()
        assert sum(f"-i {bridge} -j {bridge}" in rule for rule in rules) == jumps
    for parent in ("INPUT", "DOCKER-USER"):
        rules = (await neighbourhood.run("iptables", "-S", parent)).splitlines()
        assert rules[1].startswith(f"-A {parent} -i {bridge} -j {bridge}")


async def bridge_of(lab: DockerLab) -> str:
    async with Docker(url=lab.options.docker_host) as docker:
        data = await (await docker.networks.get(lab.options.network)).show()
    return str(data["Options"]["com.docker.network.bridge.name"])


async def gateway_of(lab: DockerLab) -> str:
    async with Docker(url=lab.options.docker_host) as docker:
        data = await (await docker.networks.get(lab.options.network)).show()
    return str(data["IPAM"]["Config"][0]["Gateway"])
