"""What Docker is told and what it tells, as pure functions: no daemon is needed to read or test them.

A container's whole configuration is hashed into one of its labels. Two equal hashes mean that nothing is to be done.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from engine.ports import Instance, InstanceEvent, InstanceSpec, InstanceState

TYPE: Final = "paas.type"
USERID: Final = "paas.userid"
APPNAME: Final = "paas.appname"
DOMAIN: Final = "paas.domain"
APP_ID: Final = "paas.app-id"
PORT: Final = "paas.port"
INSTALLATION: Final = "paas.installation"
CONFIG: Final = "paas.config"

TMP_BYTES: Final = 16 * 1024 * 1024
APP_UID: Final = 10001
EVENT_KINDS: Final = {"start": "started", "die": "stopped", "oom": "out_of_memory", "destroy": "removed"}
HERE: Final = Path(__file__).resolve().parent


def _quiet(_: str) -> None:
    """Progress that nobody listens to."""


def default_user() -> str:
    """Who apps run as, "uid:gid". An engine that is not root can hand its data folders to nobody but itself."""
    return f"{APP_UID}:{APP_UID}" if os.geteuid() == 0 else f"{os.geteuid()}:{os.getegid()}"


# The limit holds over half a second rather than Docker's tenth: a program's start fits into one period and is not cut
# into slices, which made it a third slower.
_CPU_PERIOD_US: Final = 500_000


@dataclass(frozen=True, slots=True)
class DockerOptions:
    """How this installation uses Docker. `installation` marks everything that is its own; `cache_dir` keeps what images
    are made of. `subnet` "" means: choose one. `runtime_image` "" means: build one on `base_image`.
    `firewall` False hands the isolation from host and neighbours over to the operator."""

    installation: str
    cache_dir: Path
    network: str = "paas-proxy"
    subnet: str = ""
    docker_host: str = "unix:///var/run/docker.sock"
    base_image: str = "debian:bookworm-slim"
    runtime_image: str = ""
    images_dir: Path = HERE / "images"
    user: str = ""
    egress_private: bool = False
    firewall: bool = True
    progress: Callable[[str], None] = _quiet

    @property
    def run_as(self) -> str:
        return self.user or default_user()


def container_config(
    spec: InstanceSpec, options: DockerOptions, *, image: str, address: str
) -> dict[str, Any]:
    """The body of POST /containers/create for `spec`, run from `image` at IPv4 `address`."""
    labels = _labels(spec, options.installation)
    config = {
        "Image": image,
        "User": options.run_as,
        "WorkingDir": "/app",
        "Env": [
            f"{key}={value}" for key, value in sorted({**spec.environment, "PORT": str(spec.port)}.items())
        ],
        "Labels": labels,
        "HostConfig": _host_config(spec, options.network),
        "NetworkingConfig": {"EndpointsConfig": {options.network: {"IPAMConfig": {"IPv4Address": address}}}},
    }
    return config | {"Labels": labels | {CONFIG: config_hash(config)}}


def config_hash(config: Mapping[str, Any]) -> str:
    """Equal for equal configurations, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:24]


def _labels(spec: InstanceSpec, installation: str) -> dict[str, str]:
    return {
        TYPE: "user-app",
        USERID: spec.userid,
        APPNAME: spec.appname,
        DOMAIN: spec.domain,
        APP_ID: spec.app_id,
        PORT: str(spec.port),
        INSTALLATION: installation,
    }


def _host_config(spec: InstanceSpec, network: str) -> dict[str, Any]:
    """The hardening of SPEC 2. Mounts, not Binds: Docker would quietly make a missing Binds folder, as root."""
    return {
        "NetworkMode": network,
        "Mounts": [
            {"Type": "bind", "Source": str(spec.code_dir), "Target": "/app", "ReadOnly": True},
            {"Type": "bind", "Source": str(spec.data_dir), "Target": "/data", "ReadOnly": False},
        ],
        "Tmpfs": {"/tmp": f"rw,noexec,nosuid,nodev,size={TMP_BYTES},mode=1777"},  # noqa: S108
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "ReadonlyRootfs": True,
        "Init": False,
        "Memory": spec.memory_bytes,
        "MemorySwap": spec.memory_bytes,
        "CpuPeriod": _CPU_PERIOD_US,
        "CpuQuota": round(spec.cpus * _CPU_PERIOD_US),
        "PidsLimit": spec.pids,
        "RestartPolicy": {"Name": spec.restart_policy},
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}},
    }


def owned_filter(installation: str, **more: list[str]) -> str:
    """Docker's filter for what carries this installation's label."""
    return json.dumps({"label": [f"{INSTALLATION}={installation}"], **more})


@dataclass(frozen=True, slots=True)
class Found:
    """A container as inspected. `ours` says whether it carries this installation's label."""

    id: str
    instance: Instance
    ours: bool
    config: str
    started_s: float
    usable: bool
    paused: bool
    restarting: bool

    @property
    def running(self) -> bool:
        return self.instance.state is InstanceState.RUNNING


def found_from_inspect(data: Mapping[str, Any], installation: str) -> Found:
    state, labels = data["State"], data["Config"]["Labels"] or {}
    # Between two starts of a program that keeps ending, Docker says that it is running.
    running = bool(state["Running"]) and not state["Restarting"]
    instance = Instance(
        name=data["Name"].lstrip("/"),
        app_id=labels.get(APP_ID, ""),
        state=InstanceState.RUNNING if running else InstanceState.STOPPED,
        address=_address(labels, data["NetworkSettings"]["Networks"]),
        created_at=datetime.fromisoformat(data["Created"]),
        exit_code=None if running or state["Status"] == "created" else state["ExitCode"],
        out_of_memory=bool(state["OOMKilled"]),
    )
    return Found(
        id=data["Id"],
        instance=instance,
        ours=labels.get(INSTALLATION) == installation,
        config=labels.get(CONFIG, ""),
        started_s=datetime.fromisoformat(state["StartedAt"]).timestamp(),
        usable=state["Status"] not in ("dead", "removing"),
        paused=bool(state["Paused"]),
        restarting=bool(state["Restarting"]),
    )


def instance_from_list(data: Mapping[str, Any]) -> Instance:
    """From one entry of GET /containers/json, which knows no exit code."""
    labels = data["Labels"] or {}
    running = data["State"] in ("running", "paused")
    return Instance(
        name=data["Names"][0].lstrip("/"),
        app_id=labels.get(APP_ID, ""),
        state=InstanceState.RUNNING if running else InstanceState.STOPPED,
        address=_address(labels, data["NetworkSettings"]["Networks"]),
        created_at=datetime.fromtimestamp(data["Created"], UTC),
    )


def _address(labels: Mapping[str, str], networks: Mapping[str, Mapping[str, Any]] | None) -> str | None:
    """The fixed address, which a container keeps while it is stopped."""
    for endpoint in (networks or {}).values():
        host = (endpoint.get("IPAMConfig") or {}).get("IPv4Address") or endpoint.get("IPAddress")
        if host and PORT in labels:
            return f"{host}:{labels[PORT]}"
    return None


def event_from(data: Mapping[str, Any]) -> InstanceEvent | None:
    """One of ours for one of Docker's; None for what nobody asked about."""
    kind = EVENT_KINDS.get(data.get("Action", ""))
    attributes = data.get("Actor", {}).get("Attributes", {})
    if kind is None or "name" not in attributes:
        return None
    return InstanceEvent(name=attributes["name"], app_id=attributes.get(APP_ID, ""), kind=kind)


@dataclass(frozen=True, slots=True)
class Sample:
    """Processor time used by a container so far, at one moment."""

    container_id: str
    at_s: float
    cpu_s: float

    def percent_since(self, earlier: Sample) -> float:
        """Of one core."""
        elapsed_s = self.at_s - earlier.at_s
        same = self.container_id == earlier.container_id and elapsed_s > 0
        return max(0.0, 100 * (self.cpu_s - earlier.cpu_s) / elapsed_s) if same else 0.0


def sample_from(data: Mapping[str, Any]) -> Sample | None:
    """From GET /containers/{id}/stats; None where nothing runs."""
    if not data.get("memory_stats", {}).get("usage"):
        return None
    at = datetime.fromisoformat(data["read"])
    return Sample(data["id"], at.timestamp(), data["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9)


def memory_bytes_from(memory: Mapping[str, Any]) -> int:
    """Memory in use without the file cache that the kernel would give back: cgroup v1 names it with `total_`."""
    detail = memory.get("stats", {})
    cache = detail.get("total_inactive_file", detail.get("inactive_file", 0))
    return max(0, int(memory["usage"]) - int(cache))
