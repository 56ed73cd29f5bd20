"""Whom the server may connect to on somebody else's word: URLs that clients and tenants name.

A URL is checked twice. As text: https, no credentials, a host that is on the list where there is a list. And after its
name was resolved: only addresses of the public Internet are left, and the connection goes to one of those and no other,
so that a name which resolves differently a moment later changes nothing.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import trio

from triortc.errors import ConfigurationError, SignalingError

__all__ = ["DialingRefusedError", "DialingRules", "Target", "is_public"]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
MAX_URL_CHARACTERS: Final = 2048
_HTTPS_PORT: Final = 443
#: IPv6 addresses that only wrap one of IPv4: RFC 6052 (NAT64) and, for both, what 6to4 and Teredo do.
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_NAT64_LOCAL: Final = ipaddress.IPv6Network("64:ff9b:1::/48")
#: What not every Python of 3.11 knows: protocol assignments (RFC 6890; a cloud's metadata are at 192.0.0.192), the
#: relays of 6to4 that are no more (RFC 7526), examples (RFC 9637).
_SPECIAL: Final[tuple[Network, ...]] = tuple(
    ipaddress.ip_network(network) for network in ("192.0.0.0/24", "192.88.99.0/24", "3fff::/20")
)


class DialingRefusedError(SignalingError):
    """The server does not connect there; the message says which rule says so, and not the address."""


class Target(NamedTuple):
    """Where a URL leads: what a connection is made to, and the rest of it."""

    host: str
    port: int
    path: str

    @property
    def origin(self) -> str:
        """The ASCII serialization of the origin (RFC 6454 §6.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"https://{host}" if self.port == _HTTPS_PORT else f"https://{host}:{self.port}"


def is_public(address: Address) -> bool:
    """Whether anybody on the Internet can reach an address: it is not private, loopback, link-local or multicast."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = _wrapped(address)
        if inner is not None:
            return is_public(inner)
        if address.is_site_local or address in _NAT64_LOCAL or address.teredo is not None:
            return False
    if any(address in network for network in _SPECIAL):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved and not address.is_unspecified


def _wrapped(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.sixtofour


@dataclass(frozen=True)
class DialingRules:
    """Which hosts and addresses may be connected to.

    Attributes:
        hosts: names that may be asked for: `push.example`, `push.example:8443` for another port than 443,
            `*.push.example` for everything below it. None: any name, on any port.
        networks: addresses that are allowed although they are not public, as `10.0.0.0/8`. For tests and for services
            of one's own.

    Raises:
        ConfigurationError: a network cannot be read.
    """

    hosts: tuple[str, ...] | None = None
    networks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        try:
            assert self._networks is not None
        except ValueError as error:
            raise ConfigurationError(f"networks: {error}; write it as 10.0.0.0/8") from None

    @cached_property
    def _networks(self) -> tuple[Network, ...]:
        return tuple(ipaddress.ip_network(network) for network in self.networks)

    def target(self, url: str) -> Target:
        """Check a URL as text.

        Raises:
            DialingRefusedError: nothing may be connected to on its word.
        """
        if len(url) > MAX_URL_CHARACTERS or not url.isascii() or not url.isprintable() or " " in url:
            raise DialingRefusedError("the URL is too long, or has characters that URLs do not have")
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port or _HTTPS_PORT
        except ValueError:
            raise DialingRefusedError("the URL cannot be read") from None
        if parts.scheme != "https" or not host:
            raise DialingRefusedError("the URL must begin with https:// and name a host")
        if parts.username is not None or parts.password is not None or "\\" in url:
            raise DialingRefusedError("the URL must not hold a user name or a backslash")
        host = host.rstrip(".")
        if self.hosts is not None and not _listed(host, port, self.hosts):
            raise DialingRefusedError("the URL's host is not on the list of those that are allowed")
        path = parts.path or "/"
        return Target(host, port, f"{path}?{parts.query}" if parts.query else path)

    def allows(self, address: Address) -> bool:
        """Whether a connection may go to this address."""
        mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        return is_public(address) or any((mapped or address) in network for network in self._networks)

    async def resolve(self, host: str, port: int) -> list[str]:
        """The addresses of a host that may be connected to, the resolver's favourite first.

        Raises:
            DialingRefusedError: it has none.
            OSError: the name does not resolve.
        """
        found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found)
        allowed = [address for address in addresses if self.allows(ipaddress.ip_address(address))]
        if not allowed:
            raise DialingRefusedError("the URL's host has no address on the public Internet")
        return allowed


def _listed(host: str, port: int, hosts: Collection[str]) -> bool:
    return any(_matches(host, port, entry) for entry in hosts)


def _matches(host: str, port: int, entry: str) -> bool:
    name, colon, number = entry.partition(":")
    if port != (int(number) if colon else _HTTPS_PORT):
        return False
    if name.startswith("*."):
        return host.endswith(name[1:]) and len(host) > len(name) - 1
    return host == name
