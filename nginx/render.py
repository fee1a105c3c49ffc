"""Configuration as text: every value is checked first, then put into the templates of `conf/`.

Nothing here touches disk (but to load templates), network or clock, and nothing that fails a check ever reaches a
template: the templates escape nothing, because nothing is left to escape.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from engine.ports import Route

MAX_PORT: Final = 65535
MAX_WORKERS: Final = 64
LABEL: Final = re.compile(r"[a-z][a-z0-9]{2,19}-[a-z][a-z0-9-]{2,29}")
_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_ADDRESS: Final = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}:(?P<port>[1-9]\d{{0,4}})", re.ASCII)
_DOMAIN: Final = re.compile(
    r"(?=.{1,200}\Z)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*"
)
_USER: Final = re.compile(r"[a-z_][a-z0-9_-]*( [a-z_][a-z0-9_-]*)?")
# Characters that mean something within quotes of nginx, or could end the line.
_UNSAFE_IN_PATH: Final = re.compile(r'["$\\\x00-\x1f\x7f]')
_ROUTE_LINE: Final = re.compile(rf"(?P<label>{LABEL.pattern}) (?P<address>[\d.:]+);")

# Asked by this host name, the edge answers with the generation in force. No visitor's name ends in ".invalid".
GENERATION_HOST: Final = "edge.madang.invalid"
PAGES: Final = ("offline.html", "offline.json", "broken.html")

_TEMPLATES: Final = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "conf"),
    undefined=StrictUndefined,
    autoescape=False,  # noqa: S701 - nginx configuration, of checked values; the pages hold no value at all
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


@dataclass(frozen=True, slots=True)
class EdgeOptions:
    """One installation's edge. All that it writes lies in `root`/nginx; `domain` is PAAS_DOMAIN.

    `trusted_proxies` are addresses or networks whose X-Forwarded-For and -Proto are believed; everyone else's are
    overwritten. `worker_user` is what workers run as when started by root; "" picks www-data, else nobody.
    """

    root: Path
    domain: str = "localhost"
    bind: str = "127.0.0.1"
    http_port: int = 8080
    engine_port: int = 3000
    binary: str = "nginx"
    worker_user: str = ""
    workers: int = 2
    trusted_proxies: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        return self.root / "nginx"

    @property
    def conf(self) -> Path:
        return self.folder / "nginx.conf"

    @property
    def routes(self) -> Path:
        return self.folder / "routes.map"

    @property
    def pid_file(self) -> Path:
        return self.folder / "nginx.pid"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def error_log(self) -> Path:
        return self.logs / "error.log"

    @property
    def listen(self) -> str:
        """The address to listen on, as nginx writes it."""
        return f"{_bracketed(self.bind)}:{self.http_port}"

    @property
    def reach(self) -> tuple[str, int]:
        """Host and port at which this machine itself reaches the edge."""
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.bind, self.bind), self.http_port  # noqa: S104


def checked_options(options: EdgeOptions) -> EdgeOptions:
    """`options`, if every value may stand in the configuration. Raises ValueError naming the one at fault."""
    if not options.root.is_absolute() or _UNSAFE_IN_PATH.search(str(options.root)):
        raise ValueError(f"root: {options.root!s:.200}")
    if not _DOMAIN.fullmatch(options.domain):
        raise ValueError(f"domain: {options.domain!r:.200}")
    for port in (options.http_port, options.engine_port):
        if not 1 <= port <= MAX_PORT:
            raise ValueError(f"port: {port}")
    if not 1 <= options.workers <= MAX_WORKERS:
        raise ValueError(f"workers: {options.workers}")
    ipaddress.ip_address(options.bind)
    for network in options.trusted_proxies:
        ipaddress.ip_network(network, strict=False)
    return options


def routing_table(routes: Iterable[Route], *, known: Mapping[str, str] | None = None) -> dict[str, str]:
    """Address by label. Raises ValueError for a bad label or address, and for two addresses of one label.

    What stands in `known` was checked before, and is not checked again: one change costs one check.
    """
    known = known or {}
    table: dict[str, str] = {}
    for route in routes:
        if known.get(route.label) != route.address:
            _check_route(route)
        if table.setdefault(route.label, route.address) != route.address:
            raise ValueError(f"two addresses: {route.label}")
    return table


def _check_route(route: Route) -> None:
    if not LABEL.fullmatch(route.label):
        raise ValueError(f"label: {route.label!r:.80}")
    match = _ADDRESS.fullmatch(route.address)
    if not match or int(match["port"]) > MAX_PORT:
        raise ValueError(f"address: {route.address!r:.80}")


def render_routes(table: Mapping[str, str], generation: str) -> str:
    """The map file: each label's address, and the generation under a key that no host name can spell."""
    return _TEMPLATES.get_template("routes.map.j2").render(routes=table.items(), generation=generation)


def parse_routes(text: str) -> dict[str, str]:
    """The table of a map file that `render_routes` made; lines that are no route are passed over."""
    found = (_ROUTE_LINE.fullmatch(line) for line in text.splitlines())
    return routing_table(Route(match["label"], match["address"]) for match in found if match)


def render_config(
    options: EdgeOptions, *, worker_user: str, routes: Path, pid_file: Path, shared: Path | None = None
) -> str:
    """nginx.conf. A candidate is the same text with `routes` and `pid_file` of its own. `shared` holds what workers open
    by themselves, pages and temporary files; the edge's own folder unless said otherwise."""
    checked_options(options)
    if shared is not None and (not shared.is_absolute() or _UNSAFE_IN_PATH.search(str(shared))):
        raise ValueError(f"shared: {shared!s:.200}")
    if worker_user and not _USER.fullmatch(worker_user):
        raise ValueError(f"worker_user: {worker_user!r:.200}")
    return _TEMPLATES.get_template("nginx.conf.j2").render(
        options=options,
        worker_user=worker_user,
        routes=routes,
        pid_file=pid_file,
        shared=shared or options.folder,
        domain_regex=re.escape(options.domain).replace("\\-", "-"),
        bind=options.bind,
        trusted_proxies=[str(ipaddress.ip_network(each, strict=False)) for each in options.trusted_proxies],
        generation_host=GENERATION_HOST,
    )


def render_pages() -> dict[str, str]:
    """The pages that are served when the engine itself is down, by file name."""
    return {name: _TEMPLATES.get_template(f"{name}.j2").render() for name in PAGES}


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
