"""Which addresses Telegram takes in a button or a text link, and how it rewrites them.

The rules are those of Telegram's own client library: http is assumed, the host needs a dot unless it is IPv6 (so
`http://localhost` is refused and `http://127.0.0.1:8080` is not), an empty path becomes `/`.
"""

import ipaddress
import re

_ADDRESS = re.compile(r"(?:([^:/?#@\[\]]*)://)?([^/?#]*)(.*)", re.DOTALL)
_HOST_PART = re.compile(r"(?:[\w.!$,~*'();&+=-]|%[0-9A-Fa-f]{2}|[^\x00-\x7f])*")
_TG = re.compile(r"(tg|ton|tonsite):(?://)?", re.IGNORECASE)
_TG_USER = re.compile(r"tg:(?://)?user\?id=(\d+)", re.IGNORECASE)


class WrongLink(Exception):
    """Not an address that Telegram takes; the text is Telegram's."""


def normal_link(link: str, *, https_only: bool = False) -> str:
    """The address as Telegram stores it; raises WrongLink."""
    prefix = _TG.match(link)
    if prefix:
        if https_only:
            raise WrongLink("Only HTTPS links are allowed")
        rest = link[prefix.end() :]
        if not re.match(r"[\w-]+(?:[/?#]|$)", rest):
            raise WrongLink("Wrong tg URL")
        return f"{prefix[1].lower()}://{rest}"
    scheme, authority, query = _split(link)
    if https_only and scheme != "https":
        raise WrongLink("Only HTTPS links are allowed")
    host = _host(authority)
    if "." not in host and not host.startswith("["):
        raise WrongLink("Wrong HTTP URL")
    query = query.rstrip() or "/"
    return f"{scheme}://{_lower_host(authority, host)}{'' if query.startswith('/') else '/'}{query.replace(' ', '%20')}"


def mentioned_user_id(link: str) -> int | None:
    """The person meant by tg://user?id=…, which mentions instead of linking."""
    found = _TG_USER.fullmatch(link)
    return int(found[1]) if found else None


def _split(link: str) -> tuple[str, str, str]:
    found = _ADDRESS.match(link)
    assert found is not None  # every part may be empty
    scheme = (found[1] or "http").lower()
    if found[1] is not None and scheme not in ("http", "https"):
        raise WrongLink("Unsupported URL protocol")
    return scheme, found[2], found[3]


def _host(authority: str) -> str:
    bare = authority.rpartition("@")[2]
    host, colon, port = bare.rpartition(":")
    if not colon or bare.endswith("]"):
        host, port = bare, "1"
    if not port.isdecimal() or not 0 < int(port) <= 65535:
        raise WrongLink("Wrong port number specified in the URL")
    if not host:
        raise WrongLink("URL host is empty")
    if host.startswith("["):
        try:
            ipaddress.IPv6Address(host.strip("[]"))
        except ValueError:
            raise WrongLink("Wrong IPv6 address specified in the URL") from None
    elif host == ".":
        raise WrongLink("Host is invalid")
    elif not _HOST_PART.fullmatch(host):
        raise WrongLink("Disallowed character in URL host")
    return host


def _lower_host(authority: str, host: str) -> str:
    user, at, rest = authority.rpartition("@")
    return f"{user}{at}{host.lower()}{rest[len(host) :]}"
