"""Which addresses are chosen, which networks are accepted, and which rules hold around them."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from engine.errors import Broken
from runtime.docker_config import DockerOptions
from runtime.firewall import Fence, forward_rules, input_rules, installation, nameservers_in, removal
from runtime.network import (
    Network,
    accepted,
    bridge_name,
    chosen_subnet,
    holder_of,
    network_config,
    networks_in_docker,
    networks_in_routes,
)

OPTIONS = DockerOptions(installation="i-1", cache_dir=Path("/cache"))
SUBNET = IPv4Network("10.77.16.0/20")
FENCE = Fence("md0123456789", nameservers=("192.168.1.1",))


def inspected(**changes: Any) -> dict[str, Any]:
    network = {
        "Id": "0123456789abcdef",
        "Name": "paas-proxy",
        "Driver": "bridge",
        "EnableIPv6": False,
        "IPAM": {"Config": [{"Subnet": "10.77.16.0/20", "Gateway": "10.77.16.1"}]},
        "Options": {"com.docker.network.bridge.enable_icc": "false"},
        "Labels": {},
    }
    return network | changes


# -- addresses


def test_a_network_is_described_in_full() -> None:
    assert network_config(OPTIONS, SUBNET) == {
        "Name": "paas-proxy",
        "CheckDuplicate": True,
        "Driver": "bridge",
        "EnableIPv6": False,
        "IPAM": {
            "Driver": "default",
            "Config": [{"Subnet": "10.77.16.0/20", "Gateway": "10.77.16.1", "IPRange": "10.77.16.0/28"}],
        },
        "Options": {
            "com.docker.network.bridge.enable_icc": "false",
            "com.docker.network.bridge.name": bridge_name(OPTIONS),
        },
        "Labels": {"paas.installation": "i-1"},
    }


def test_a_bridge_has_a_short_name_of_its_own() -> None:
    names = {
        bridge_name(OPTIONS),
        bridge_name(replace(OPTIONS, network="n")),
        bridge_name(replace(OPTIONS, installation="i")),
    }
    assert len(names) == 3
    assert all(len(name) == 12 for name in names)


def test_a_slot_is_an_address_beyond_dockers_own() -> None:
    network = Network("id", "paas-proxy", "md", SUBNET)
    assert network.address(1) == "10.77.16.17"
    assert network.capacity == 4078
    assert network.address(4078) == "10.77.31.254"


@pytest.mark.parametrize("slot", [0, -1, 4079])
def test_a_slot_outside_is_refused(slot: int) -> None:
    with pytest.raises(Broken, match="network_full"):
        Network("id", "paas-proxy", "md", SUBNET).address(slot)


def test_the_same_subnet_is_chosen_again_and_no_taken_one() -> None:
    first = chosen_subnet(OPTIONS, [])
    assert first == chosen_subnet(OPTIONS, [])
    second = chosen_subnet(OPTIONS, [first])
    assert not second.overlaps(first)
    wide = first.supernet(new_prefix=12)
    assert not chosen_subnet(OPTIONS, [wide]).overlaps(wide)


def test_the_subnet_asked_for_is_taken() -> None:
    assert chosen_subnet(replace(OPTIONS, subnet="10.77.0.0/24"), []) == IPv4Network("10.77.0.0/24")


@pytest.mark.parametrize("text", ["10.77.0.0/30", "10.77.0.1/24", "fd00::/64", "many"])
def test_an_unfit_subnet_is_refused(text: str) -> None:
    with pytest.raises(Broken, match="bad_setting"):
        chosen_subnet(replace(OPTIONS, subnet=text), [])


def test_with_everything_taken_the_operator_is_told_what_to_set() -> None:
    with pytest.raises(Broken, match="PAAS_SUBNET"):
        chosen_subnet(OPTIONS, [IPv4Network("10.0.0.0/8")])


def test_routes_in_use_are_read_and_default_routes_are_not() -> None:
    routes = [
        {"dst": "default", "gateway": "192.168.1.1"},
        {"dst": "0.0.0.0/1", "dev": "tun0"},
        {"dst": "192.168.1.0/24", "dev": "eth0"},
        {"dst": "10.8.0.1", "dev": "tun0"},
        {"type": "local", "dst": "127.0.0.0/8"},
    ]
    assert networks_in_routes(routes) == [IPv4Network("192.168.1.0/24"), IPv4Network("10.8.0.1/32")]


def test_dockers_networks_are_read() -> None:
    networks = [
        inspected(),
        {"IPAM": {"Config": None}},
        {"IPAM": {"Config": [{"Subnet": "fd00::/64"}, {"Subnet": "172.18.0.0/16"}]}},
    ]
    assert networks_in_docker(networks) == [SUBNET, IPv4Network("172.18.0.0/16")]


def test_the_holder_of_an_address_is_found() -> None:
    network = {"Containers": {"c1": {"Name": "nginx", "IPv4Address": "10.77.16.17/20"}}}
    assert holder_of(network, "10.77.16.17") == "nginx"
    assert holder_of(network, "10.77.16.18") is None
    assert holder_of({}, "10.77.16.17") is None


# -- networks that are there already


@pytest.mark.parametrize("labels", [None, {}, {"paas.installation": "i-1"}])
def test_a_network_that_keeps_apps_apart_is_accepted(labels: dict[str, str] | None) -> None:
    network = accepted(inspected(Labels=labels), OPTIONS)
    assert network == Network("0123456789abcdef", "paas-proxy", "br-0123456789ab", SUBNET)


def test_another_installations_network_is_refused() -> None:
    with pytest.raises(Broken, match="network_not_ours"):
        accepted(inspected(Labels={"paas.installation": "i-2"}), OPTIONS)


@pytest.mark.parametrize(
    "changes",
    [
        {"Options": {}},
        {"Options": None},
        {"Driver": "overlay"},
        {"EnableIPv6": True},
        {"IPAM": {"Config": []}},
    ],
)
def test_an_unsuitable_network_is_refused_with_advice(changes: dict[str, Any]) -> None:
    with pytest.raises(Broken, match="network_unsuitable") as caught:
        accepted(inspected(**changes), OPTIONS)
    assert "docker network rm paas-proxy" in caught.value.params["detail"]


def test_a_network_on_another_subnet_than_asked_for_is_refused() -> None:
    with pytest.raises(Broken, match="network_unsuitable"):
        accepted(inspected(), replace(OPTIONS, subnet="10.1.0.0/20"))


# -- firewall


def test_the_host_answers_apps_only_what_it_asked_and_names() -> None:
    assert input_rules(FENCE) == [
        "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        "-d 192.168.1.1/32 -p udp --dport 53 -j ACCEPT",
        "-d 192.168.1.1/32 -p tcp --dport 53 -j ACCEPT",
        "-j DROP",
    ]


def test_apps_reach_neither_each_other_nor_private_networks() -> None:
    assert forward_rules(FENCE) == [
        "-m conntrack --ctstate RELATED,ESTABLISHED -j RETURN",
        "-o md0123456789 -j DROP",
        "-d 192.168.1.1/32 -p udp --dport 53 -j RETURN",
        "-d 192.168.1.1/32 -p tcp --dport 53 -j RETURN",
        "-d 169.254.0.0/16 -j DROP",
        "-d 127.0.0.0/8 -j DROP",
        "-d 10.0.0.0/8 -j DROP",
        "-d 172.16.0.0/12 -j DROP",
        "-d 192.168.0.0/16 -j DROP",
        "-d 100.64.0.0/10 -j DROP",
        "-j RETURN",
    ]


def test_private_networks_may_be_opened_and_nothing_else() -> None:
    closed = set(forward_rules(FENCE)) - set(forward_rules(replace(FENCE, egress_private=True)))
    assert closed == {
        f"-d {net} -j DROP" for net in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")
    }


def test_rules_are_put_in_place_in_one_go_and_first() -> None:
    present = ["-P INPUT ACCEPT", "-A INPUT -i br -j br-in", "-A INPUT -j ufw"]
    assert installation(present, {"br-in": ["-j DROP"]}, [("INPUT", "br-in")], "br").splitlines() == [
        "*filter",
        ":br-in - [0:0]",
        "-A br-in -j DROP",
        "-D INPUT -i br -j br-in",
        "-I INPUT 1 -i br -j br-in",
        "COMMIT",
    ]


def test_removal_takes_away_ours_and_nothing_else() -> None:
    present = [
        "-P INPUT ACCEPT",
        "-N br-in",
        "-N brother-in",
        "-A INPUT -i br -j br-in",
        "-A INPUT -i brother -j brother-in",
        "-A br-in -j DROP",
    ]
    assert removal(present, Fence("br")).splitlines() == [
        "*filter",
        "-D INPUT -i br -j br-in",
        "-F br-in",
        "-X br-in",
        "COMMIT",
    ]


def test_only_resolvers_beyond_loopback_count() -> None:
    text = "# nameserver 1.1.1.1\nnameserver 127.0.0.53\nnameserver 9.9.9.9\nnameserver fe80::1%eth0\nnameserver x\nsearch lan\n"
    assert nameservers_in(text) == ["9.9.9.9"]
