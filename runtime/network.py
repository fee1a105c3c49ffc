"""Where apps live: one bridge network on which every app has its own address for life and sees no other app.

A container's address follows from its slot. Docker's automatic addresses are kept to the first sixteen, so that nothing
else that joins the network (a web server in a container, say) can take the address of an app that is asleep.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, collapse_addresses
from typing import Any, Final

from aiodocker import Docker, DockerError

from engine.errors import Broken
from runtime.daemon import FORBIDDEN, GONE, TAKEN, tolerating
from runtime.docker_config import INSTALLATION, DockerOptions
from runtime.program import ProgramFailed, output_of

PREFIX: Final = 20
SMALLEST_PREFIX: Final = 26
RESERVED: Final = 16  # the network's own, the gateway's, and Docker's automatic addresses
# The part of 10/8 that the usual container, cluster and VPN tools leave alone.
CHOICE: Final = [IPv4Network(f"10.{second}.0.0/16") for second in range(160, 224)]
# Wider routes are a VPN's way of saying "everything", not a network that is in use.
WIDEST_ROUTE: Final = 8
TRIES: Final = 8
IP_S: Final = 10.0
ICC: Final = "com.docker.network.bridge.enable_icc"
BRIDGE: Final = "com.docker.network.bridge.name"


@dataclass(frozen=True, slots=True)
class Network:
    """The network that apps are on. `bridge` is its interface on the host."""

    id: str
    name: str
    bridge: str
    subnet: IPv4Network

    @property
    def capacity(self) -> int:
        """The highest slot."""
        return max(0, self.subnet.num_addresses - 2 - RESERVED)

    def address(self, slot: int) -> str:
        """The address of a slot (1 ... capacity). Raises Broken("network_full")."""
        if not 1 <= slot <= self.capacity:
            raise Broken("network_full", slot=slot, capacity=self.capacity)
        return str(self.subnet[RESERVED + slot])


async def ensure_network(docker: Docker, options: DockerOptions) -> Network:
    """The network named in the options, made if there is none. Raises Broken("network_not_ours") for one that belongs to
    somebody else, Broken("network_unsuitable") for one on which apps would not be kept apart."""
    taken: Sequence[IPv4Network] = ()
    for _ in range(TRIES):
        found = await _find(docker, options.network)
        if found is not None:
            return accepted(found, options)
        if not taken:
            taken = await _taken(docker)
        subnet = chosen_subnet(options, taken)
        try:
            await docker.networks.create(network_config(options, subnet))
        except DockerError as error:
            # 409: somebody was faster. 403: the range overlaps something that only Docker knows of.
            if error.status not in (FORBIDDEN, TAKEN) or options.subnet:
                raise
            taken = [*taken, subnet]
    raise Broken(
        "no_free_subnet",
        detail="set PAAS_SUBNET to a private range that nothing else uses, such as 10.77.0.0/20",
    )


async def remove_network(docker: Docker, options: DockerOptions) -> None:
    """Afterwards the network is gone, if it was ours. Containers on it must be gone first."""
    found = await _find(docker, options.network)
    if found is not None and (found["Labels"] or {}).get(INSTALLATION) == options.installation:
        with tolerating(GONE):
            await (await docker.networks.get(found["Id"])).delete()


async def release_address(docker: Docker, network: str, container: str) -> None:
    """Makes Docker forget an endpoint that a container killed at the wrong moment has left behind."""
    with tolerating(400, 403, 404, 500):
        await (await docker.networks.get(network)).disconnect({"Container": container, "Force": True})


def network_config(options: DockerOptions, subnet: IPv4Network) -> dict[str, Any]:
    """The body of POST /networks/create."""
    return {
        "Name": options.network,
        "CheckDuplicate": True,
        "Driver": "bridge",
        "EnableIPv6": False,
        "IPAM": {
            "Driver": "default",
            "Config": [{"Subnet": str(subnet), "Gateway": str(subnet[1]), "IPRange": f"{subnet[0]}/28"}],
        },
        "Options": {ICC: "false", BRIDGE: bridge_name(options)},
        "Labels": {INSTALLATION: options.installation},
    }


def bridge_name(options: DockerOptions) -> str:
    """Short enough for Linux (15), and another for every installation."""
    return f"md{_digest(options)[:10]}"


def _digest(options: DockerOptions) -> str:
    return hashlib.sha256(f"{options.network}\0{options.installation}".encode()).hexdigest()


def accepted(data: Mapping[str, Any], options: DockerOptions) -> Network:
    """The network as inspected, if it may be used.

    The seeds tell operators to run `docker network create` themselves, so a network without our label will do when it
    keeps containers apart and has a subnet; another installation's never does, for its slots are not ours.
    """
    owner = (data["Labels"] or {}).get(INSTALLATION, options.installation)
    name, advice = options.network, _advice(options)
    if owner != options.installation:
        raise Broken(
            "network_not_ours",
            name=name,
            detail="it belongs to another installation: choose another PAAS_NETWORK",
        )
    settings = data["Options"] or {}
    subnets = [
        entry["Subnet"] for entry in data["IPAM"]["Config"] or () if ":" not in entry.get("Subnet", ":")
    ]
    if data["Driver"] != "bridge" or settings.get(ICC) != "false" or data.get("EnableIPv6") or not subnets:
        raise Broken(
            "network_unsuitable", name=name, detail=f"containers on it can reach each other: {advice}"
        )
    if options.subnet and IPv4Network(options.subnet) != IPv4Network(subnets[0]):
        raise Broken(
            "network_unsuitable",
            name=name,
            detail=f"its subnet is {subnets[0]}, PAAS_SUBNET says otherwise: {advice}",
        )
    bridge = settings.get(BRIDGE) or f"br-{data['Id'][:12]}"
    return Network(id=data["Id"], name=name, bridge=bridge, subnet=IPv4Network(subnets[0]))


def _advice(options: DockerOptions) -> str:
    return (
        f"run `docker network rm {options.network}` and Madang makes it anew, or choose another PAAS_NETWORK"
    )


def chosen_subnet(options: DockerOptions, taken: Iterable[IPv4Network]) -> IPv4Network:
    """The subnet asked for, else the first free one. Raises Broken("bad_setting") or Broken("no_free_subnet")."""
    if options.subnet:
        return _asked_subnet(options.subnet)
    busy = list(collapse_addresses(taken))
    for candidate in _candidates(_digest(options)):
        if not any(candidate.overlaps(network) for network in busy):
            return candidate
    raise Broken("no_free_subnet", detail="set PAAS_SUBNET to a private range that nothing else uses")


def _asked_subnet(text: str) -> IPv4Network:
    try:
        subnet = IPv4Network(text)
    except ValueError:
        raise Broken(
            "bad_setting", detail=f"PAAS_SUBNET: {text} is no IPv4 network such as 10.77.0.0/20"
        ) from None
    if subnet.prefixlen > SMALLEST_PREFIX:
        raise Broken("bad_setting", detail="PAAS_SUBNET: at least a /26 is wanted")
    return subnet


def _candidates(digest: str) -> Iterator[IPv4Network]:
    """Every possible subnet, beginning where this installation's name falls: two on one machine seldom meet."""
    every = [subnet for block in CHOICE for subnet in block.subnets(new_prefix=PREFIX)]
    first = int(digest[:8], 16) % len(every)
    return iter(every[first:] + every[:first])


def networks_in_routes(routes: Iterable[Mapping[str, Any]]) -> list[IPv4Network]:
    """What `ip -json route show table all` says is in use; a default route is not."""
    found = []
    for route in routes:
        target = str(route.get("dst", "default"))
        if target != "default":
            network = IPv4Network(target, strict=False)
            if network.prefixlen >= WIDEST_ROUTE and not network.is_multicast and not network.is_loopback:
                found.append(network)
    return found


def networks_in_docker(networks: Iterable[Mapping[str, Any]]) -> list[IPv4Network]:
    configs = [entry for network in networks for entry in (network.get("IPAM") or {}).get("Config") or ()]
    return [
        IPv4Network(entry["Subnet"], strict=False) for entry in configs if ":" not in entry.get("Subnet", ":")
    ]


async def _taken(docker: Docker) -> list[IPv4Network]:
    """Local addresses are routes too (table local), so routes say it all."""
    try:
        routes = await output_of("ip", "-json", "-4", "route", "show", "table", "all", deadline_s=IP_S)
    except ProgramFailed as error:
        raise Broken("program_missing", detail=f"{error} (package iproute2)") from None
    return networks_in_routes(json.loads(routes or "[]")) + networks_in_docker(await docker.networks.list())


async def _find(docker: Docker, name: str) -> dict[str, Any] | None:
    """Docker's filter matches parts of names and its look-up also ids, hence the comparison."""
    for entry in await docker.networks.list(filters={"name": [name]}):
        if entry["Name"] == name:
            return entry
    return None


def holder_of(data: Mapping[str, Any], address: str) -> str | None:
    """Which container has the address, by GET /networks/{id}."""
    for container in (data.get("Containers") or {}).values():
        if container.get("IPv4Address", "").split("/")[0] == str(IPv4Address(address)):
            return str(container["Name"])
    return None
