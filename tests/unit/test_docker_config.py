"""What Docker is told, to the letter, and what is read out of its answers."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from engine.ports import Instance, InstanceEvent, InstanceSpec, InstanceState
from runtime.docker_config import (
    DockerOptions,
    Sample,
    config_hash,
    container_config,
    event_from,
    found_from_inspect,
    instance_from_list,
    memory_bytes_from,
    sample_from,
)

OPTIONS = DockerOptions(installation="i-1", cache_dir=Path("/cache"), user="10001:10001")
SPEC = InstanceSpec(
    name="paas-app-minji-diary",
    app_id="a-1",
    userid="minji",
    appname="diary",
    domain="example.com",
    slot=1,
    image="python",
    code_dir=Path("/apps/minji/diary/code"),
    data_dir=Path("/apps/minji/diary/data"),
    environment={"SQLITE_PATH": "/data/db.sqlite3", "KEY": "secret"},
)


def config(
    spec: InstanceSpec = SPEC, image: str = "madang-runtime-python:1", address: str = "10.1.0.17"
) -> dict[str, Any]:
    return container_config(spec, OPTIONS, image=image, address=address)


def test_a_container_is_described_in_full() -> None:
    built = config()
    mark = built["Labels"].pop("paas.config")
    assert mark == config_hash(built)
    assert built == {
        "Image": "madang-runtime-python:1",
        "User": "10001:10001",
        "WorkingDir": "/app",
        "Env": ["KEY=secret", "PORT=3000", "SQLITE_PATH=/data/db.sqlite3"],
        "Labels": {
            "paas.type": "user-app",
            "paas.userid": "minji",
            "paas.appname": "diary",
            "paas.domain": "example.com",
            "paas.app-id": "a-1",
            "paas.port": "3000",
            "paas.installation": "i-1",
        },
        "HostConfig": {
            "NetworkMode": "paas-proxy",
            "Mounts": [
                {"Type": "bind", "Source": "/apps/minji/diary/code", "Target": "/app", "ReadOnly": True},
                {"Type": "bind", "Source": "/apps/minji/diary/data", "Target": "/data", "ReadOnly": False},
            ],
            "Tmpfs": {"/tmp": "rw,noexec,nosuid,nodev,size=16777216,mode=1777"},
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "ReadonlyRootfs": True,
            "Init": False,
            "Memory": 268435456,
            "MemorySwap": 268435456,
            "CpuPeriod": 500_000,
            "CpuQuota": 250_000,
            "PidsLimit": 128,
            "RestartPolicy": {"Name": "unless-stopped"},
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}},
        },
        "NetworkingConfig": {"EndpointsConfig": {"paas-proxy": {"IPAMConfig": {"IPv4Address": "10.1.0.17"}}}},
    }


def test_no_port_is_published() -> None:
    assert not {"ExposedPorts", "PortBindings", "PublishAllPorts"} & {*config(), *config()["HostConfig"]}


def test_equal_specs_have_equal_marks_whatever_the_order_of_their_environment() -> None:
    turned = replace(SPEC, environment=dict(reversed(list(SPEC.environment.items()))))
    assert config(turned)["Labels"] == config()["Labels"]


@pytest.mark.parametrize(
    "other",
    [
        config(replace(SPEC, environment={})),
        config(replace(SPEC, memory_bytes=1 << 20)),
        config(replace(SPEC, code_dir=Path("/elsewhere"))),
        config(image="madang-runtime-python:2"),
        config(address="10.1.0.18"),
    ],
)
def test_every_difference_shows_in_the_mark(other: dict[str, Any]) -> None:
    assert other["Labels"]["paas.config"] != config()["Labels"]["paas.config"]


def test_the_mark_tells_nothing_of_a_secret() -> None:
    assert "secret" not in str(config()["Labels"])


INSPECTED = {
    "Id": "c1",
    "Name": "/paas-app-minji-diary",
    "Created": "2026-01-02T03:04:05.678901234Z",
    "State": {
        "Status": "exited",
        "StartedAt": "2026-01-02T03:04:06.5Z",
        "Running": False,
        "Paused": False,
        "Restarting": False,
        "OOMKilled": True,
        "ExitCode": 137,
    },
    "Config": {
        "Labels": {"paas.app-id": "a-1", "paas.installation": "i-1", "paas.config": "m", "paas.port": "3000"}
    },
    "NetworkSettings": {
        "Networks": {"paas-proxy": {"IPAMConfig": {"IPv4Address": "10.1.0.17"}, "IPAddress": ""}}
    },
}


def test_a_stopped_container_is_read_with_its_end_and_its_address() -> None:
    found = found_from_inspect(INSPECTED, "i-1")
    assert found.instance == Instance(
        name="paas-app-minji-diary",
        app_id="a-1",
        state=InstanceState.STOPPED,
        address="10.1.0.17:3000",
        created_at=datetime(2026, 1, 2, 3, 4, 5, 678901, UTC),
        exit_code=137,
        out_of_memory=True,
    )
    assert (found.ours, found.config, found.usable, found.running) == (True, "m", True, False)


def test_another_installations_container_is_not_ours() -> None:
    assert not found_from_inspect(INSPECTED, "i-2").ours


def test_a_container_without_labels_is_nobodys() -> None:
    found = found_from_inspect({**INSPECTED, "Config": {"Labels": None}}, "i-1")
    assert (found.ours, found.instance.app_id, found.instance.address) == (False, "", None)


def test_a_container_that_was_never_started_has_no_exit_code() -> None:
    state = {**INSPECTED["State"], "Status": "created", "ExitCode": 0}  # type: ignore[dict-item]
    assert found_from_inspect({**INSPECTED, "State": state}, "i-1").instance.exit_code is None


def test_a_program_that_docker_keeps_starting_does_not_run() -> None:
    state = {**INSPECTED["State"], "Status": "restarting", "Running": True, "Restarting": True}  # type: ignore[dict-item]
    found = found_from_inspect({**INSPECTED, "State": state}, "i-1")
    assert (found.instance.state, found.restarting) == (InstanceState.STOPPED, True)
    entry = {
        "Names": ["/x"],
        "State": "restarting",
        "Labels": {},
        "Created": 0,
        "NetworkSettings": {"Networks": {}},
    }
    assert instance_from_list(entry).state is InstanceState.STOPPED


@pytest.mark.parametrize("status", ["dead", "removing"])
def test_a_container_on_its_way_out_is_of_no_use(status: str) -> None:
    state = {**INSPECTED["State"], "Status": status}  # type: ignore[dict-item]
    assert not found_from_inspect({**INSPECTED, "State": state}, "i-1").usable


def test_an_entry_of_the_list_is_read() -> None:
    entry = {
        "Names": ["/paas-app-minji-diary"],
        "State": "running",
        "Created": 0,
        "Labels": {"paas.app-id": "a-1", "paas.port": "3000"},
        "NetworkSettings": {"Networks": {"paas-proxy": {"IPAMConfig": None, "IPAddress": "10.1.0.17"}}},
    }
    assert instance_from_list(entry) == Instance(
        "paas-app-minji-diary", "a-1", InstanceState.RUNNING, "10.1.0.17:3000", datetime.fromtimestamp(0, UTC)
    )


@pytest.mark.parametrize(
    ("action", "kind"),
    [("start", "started"), ("die", "stopped"), ("oom", "out_of_memory"), ("destroy", "removed")],
)
def test_events_are_read(action: str, kind: str) -> None:
    event = {"Action": action, "Actor": {"Attributes": {"name": "n", "paas.app-id": "a-1"}}}
    assert event_from(event) == InstanceEvent("n", "a-1", kind)


@pytest.mark.parametrize(
    "event", [{}, {"Action": "attach"}, {"Action": "start", "Actor": {"Attributes": {}}}]
)
def test_other_events_are_passed_over(event: dict[str, Any]) -> None:
    assert event_from(event) is None


def test_memory_leaves_out_what_the_kernel_would_give_back() -> None:
    assert memory_bytes_from({"usage": 100, "stats": {"total_inactive_file": 30, "inactive_file": 1}}) == 70
    assert memory_bytes_from({"usage": 100, "stats": {"inactive_file": 40}}) == 60
    assert memory_bytes_from({"usage": 100}) == 100


def test_processor_use_is_a_share_of_one_core() -> None:
    earlier = Sample("c1", at_s=10.0, cpu_s=1.0)
    assert Sample("c1", at_s=12.0, cpu_s=4.0).percent_since(earlier) == 150.0
    assert Sample("c1", at_s=10.0, cpu_s=4.0).percent_since(earlier) == 0.0
    assert Sample("c2", at_s=12.0, cpu_s=4.0).percent_since(earlier) == 0.0


def test_a_container_that_does_not_run_gives_no_sample() -> None:
    assert sample_from({"read": "0001-01-01T00:00:00Z", "memory_stats": {}, "cpu_stats": {}}) is None
