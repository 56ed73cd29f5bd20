"""Which pages may talk to this server: the rules of `Host` and `Origin` (RFC 6454, RFC 9110 section 7.2).

A page of another site that resolves its own name to our address (DNS rebinding) shows its name in `Host`; a page that
just connects across sites shows it in `Origin`. Programs that are no browser send no `Origin`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterable
from typing import NamedTuple
from urllib.parse import urlsplit

from triortc.errors import ConfigurationError

__all__ = [
    "HostPort",
    "host_is_known",
    "origin_is_allowed",
    "parse_authority",
    "require_origins",
    "same_origin",
]

_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#@\sA-Z*]+")


def require_origins(setting: str, origins: Iterable[str]) -> None:
    """See to it that a page can have each of these origins: any other spelling would silently match none.

    Args:
        setting: where they are written.
        origins: as browsers serialize them (RFC 6454 section 6.2), or `null`.

    Raises:
        ConfigurationError: one is spelled otherwise.
    """
    for origin in origins:
        scheme, _, authority = origin.partition("://")
        default = f":{_DEFAULT_PORTS.get(scheme)}"
        if origin != "null" and (not _ORIGIN.fullmatch(origin) or authority.endswith(default)):
            raise ConfigurationError(
                f"{setting}: {origin!r} is no origin as browsers send it: scheme and host in lower case, the port if "
                "it is not the usual one, and nothing else, as https://shop.example"
            )


class HostPort(NamedTuple):
    """A host name or address in its normal form, and a port."""

    host: str
    port: int


def _normal_host(host: str) -> str:
    try:
        return ipaddress.ip_address(host.partition("%")[0]).compressed
    except ValueError:
        return host.lower().rstrip(".")


def parse_authority(authority: str, scheme: str) -> HostPort | None:
    """Read `host[:port]` as in `Host`; None: it is not one.

    Args:
        authority: the header's value.
        scheme: tells the port where none is named: `http` or `https`.
    """
    if not authority or len(authority) > 255 or any(character in authority for character in "/@?#\\ \t"):
        return None
    try:
        parts = urlsplit(f"//{authority}")
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    return HostPort(_normal_host(host), port or _DEFAULT_PORTS[scheme]) if host else None


def host_is_known(authority: str, names: Collection[str], scheme: str) -> bool:
    """Whether `Host` names this server: one of `names`, whatever the port."""
    parsed = parse_authority(authority, scheme)
    return parsed is not None and parsed.host in {_normal_host(name) for name in names}


def same_origin(origin: str, authority: str, scheme: str) -> bool:
    """Whether an `Origin` has the host and the port of the `Host` header."""
    try:
        origin_scheme = urlsplit(origin).scheme
    except ValueError:
        return False
    if origin_scheme not in ("http", "https"):
        return False
    mine = parse_authority(authority, scheme)
    theirs = parse_authority(origin.partition("://")[2], origin_scheme)
    return mine is not None and mine == theirs


def origin_is_allowed(origin: str | None, authority: str, scheme: str, allowed: Collection[str]) -> bool:
    """Whether a browser's page may connect: no `Origin`, the own one, or one that is listed."""
    return origin is None or origin in allowed or same_origin(origin, authority, scheme)
