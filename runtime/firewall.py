"""What apps may not reach: the host, its neighbours, each other. Two chains of our own per bridge, in two tables.

Docker's enable_icc=false keeps apps apart, and nothing else: every service of the host answers on the bridge's gateway,
and Docker accepts what leaves for a virtual machine before libvirt can refuse it (DESIGN, Edge and network).
Each chain is replaced in one transaction, so there is no moment without rules.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

from engine.errors import Broken
from runtime.program import ProgramFailed, output_of

DEADLINE_S: Final = 20.0
LOCK_WAIT_S: Final = 10
PRIVATE: Final = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")
ALWAYS_CLOSED: Final = ("169.254.0.0/16", "127.0.0.0/8")
DNS_PORT: Final = 53
RESOLVERS: Final = (Path("/run/systemd/resolve/resolv.conf"), Path("/etc/resolv.conf"))
BRIDGE_FILTER: Final = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
HOST_HAS_IPV6: Final = Path("/proc/net/if_inet6")
_IPV4: Final = re.compile(r"(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)(?:\.(?!$)|$)){4}")


@dataclass(frozen=True, slots=True)
class Fence:
    """What is to hold around one bridge. `nameservers` are the host's, which apps must be able to ask."""

    bridge: str
    nameservers: tuple[str, ...] = ()
    egress_private: bool = False

    @property
    def input_chain(self) -> str:
        return f"{self.bridge}-in"

    @property
    def forward_chain(self) -> str:
        return f"{self.bridge}-fwd"


async def ensure_fence(fence: Fence) -> None:
    """Afterwards the rules are in force, first in their chains. Raises Broken("firewall_unavailable")."""
    _require_root()
    _require_bridge_filter()
    hooks = (("INPUT", fence.input_chain), ("DOCKER-USER", fence.forward_chain))
    await _install("iptables", fence, input_rules(fence), forward_rules(fence), hooks)
    if HOST_HAS_IPV6.exists():
        hooks = (("INPUT", fence.input_chain), ("FORWARD", fence.forward_chain))
        await _install("ip6tables", fence, [drop()], [drop()], hooks)


async def remove_fence(fence: Fence) -> None:
    """Afterwards nothing of it is left."""
    _require_root()
    programs = ["iptables", "ip6tables"] if HOST_HAS_IPV6.exists() else ["iptables"]
    for program in programs:
        present = await _run(program, "-S")
        await _restore(program, removal(present.splitlines(), fence))


def input_rules(fence: Fence) -> list[str]:
    """From the bridge to the host itself: answers to what the host asked, and the host's resolver if that is its own."""
    return [established("ACCEPT"), *_dns(fence, "ACCEPT"), drop()]


def forward_rules(fence: Fence) -> list[str]:
    """From the bridge to elsewhere. RETURN leaves the rest to Docker's own rules."""
    closed = ALWAYS_CLOSED if fence.egress_private else ALWAYS_CLOSED + PRIVATE
    return [
        established("RETURN"),
        f"-o {fence.bridge} {drop()}",
        *_dns(fence, "RETURN"),
        *(f"-d {network} {drop()}" for network in closed),
        "-j RETURN",
    ]


def established(verdict: str) -> str:
    return f"-m conntrack --ctstate RELATED,ESTABLISHED -j {verdict}"


def drop() -> str:
    return "-j DROP"


def _dns(fence: Fence, verdict: str) -> list[str]:
    """Docker's resolver asks from inside the container unless the host's is on loopback."""
    return [
        f"-d {server}/32 -p {protocol} --dport {DNS_PORT} -j {verdict}"
        for server in fence.nameservers
        for protocol in ("udp", "tcp")
    ]


def installation(
    present: Sequence[str], chains: dict[str, list[str]], hooks: Iterable[tuple[str, str]], bridge: str
) -> str:
    """The text for iptables-restore: fill our chains, and put the jumps to them first, once. `present` is `-S`."""
    lines = ["*filter", *(f":{chain} - [0:0]" for chain in chains)]
    lines += [f"-A {chain} {rule}" for chain, rules in chains.items() for rule in rules]
    for parent, chain in hooks:
        jump = f"{parent} -i {bridge} -j {chain}"
        lines += [f"-D {jump}"] * list(present).count(f"-A {jump}")
        lines.append(f"-I {parent} 1 -i {bridge} -j {chain}")
    return "\n".join([*lines, "COMMIT", ""])


def removal(present: Sequence[str], fence: Fence) -> str:
    """The text for iptables-restore that takes away our jumps and chains."""
    ours = [chain for chain in (fence.input_chain, fence.forward_chain) if f"-N {chain}" in present]
    jumps = [
        line.replace("-A ", "-D ", 1)
        for line in present
        if line.startswith("-A ") and line.split()[-1] in ours
    ]
    lines = ["*filter", *jumps, *(f"-F {chain}" for chain in ours), *(f"-X {chain}" for chain in ours)]
    return "\n".join([*lines, "COMMIT", ""])


def host_nameservers(files: Sequence[Path] = RESOLVERS) -> tuple[str, ...]:
    """The IPv4 resolvers that Docker may give to containers: systemd's own list, or the usual one."""
    named = [server for file in files if file.exists() for server in nameservers_in(file.read_text())]
    return tuple(dict.fromkeys(named))


def nameservers_in(text: str) -> list[str]:
    """Those that can be asked from elsewhere. Docker itself asks the ones on loopback."""
    words = [line.split() for line in text.splitlines()]
    named = [
        line[1] for line in words if len(line) > 1 and line[0] == "nameserver" and _IPV4.fullmatch(line[1])
    ]
    return [server for server in named if not IPv4Address(server).is_loopback]


async def _install(
    program: str, fence: Fence, to_host: list[str], elsewhere: list[str], hooks: tuple[tuple[str, str], ...]
) -> None:
    present = (await _run(program, "-S")).splitlines()
    for parent, _ in hooks:
        if not any(line.split()[:2] in (["-P", parent], ["-N", parent]) for line in present):
            raise unavailable(
                f"{program} has no chain {parent}: dockerd must manage the firewall (its option iptables=true)"
            )
    chains = {fence.input_chain: to_host, fence.forward_chain: elsewhere}
    await _restore(program, installation(present, chains, hooks, fence.bridge))


async def _restore(program: str, text: str) -> None:
    await _run(f"{program}-restore", "--noflush", stdin=text)


async def _run(program: str, *arguments: str, stdin: str = "") -> str:
    """Its output; iptables' lock is waited for."""
    try:
        return await output_of(
            program, f"--wait={LOCK_WAIT_S}", *arguments, deadline_s=DEADLINE_S, stdin=stdin
        )
    except ProgramFailed as error:
        raise unavailable(f"{error} (package iptables)") from None


def _require_root() -> None:
    if os.geteuid() != 0:
        raise unavailable(
            "keeping apps away from this machine needs root: run Madang as root or with its service file"
        )


def _require_bridge_filter() -> None:
    """enable_icc=false is a rule of iptables, which sees traffic within a bridge only when the kernel is told to."""
    try:
        if BRIDGE_FILTER.read_text().strip() != "1":
            BRIDGE_FILTER.write_text("1")
    except OSError:
        raise unavailable("the kernel does not filter bridges: load the module br_netfilter") from None


def unavailable(detail: str) -> Broken:
    return Broken("firewall_unavailable", detail=detail)
