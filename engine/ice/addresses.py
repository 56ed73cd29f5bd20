"""Which addresses an agent is willing to send to (RFC 8445 section 5.1.1.1 and section 19.2)."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from triortc.engine.address import Address
    from triortc.engine.ice.configuration import IceConfiguration

__all__ = ["canonical_ip", "ip_version", "refusal"]

_REMEMBERED: Final = 1024
_LONGEST_REMEMBERED: Final = 64


def ip_version(address: str) -> int:
    """Return 4 or 6; ``address`` is an IP address in text form."""
    return 6 if ":" in address else 4


def refusal(address: Address, configuration: IceConfiguration) -> str | None:
    """Return why nothing may be sent to an address, or ``None`` when it is good.

    Names are refused, and mDNS names among them: nothing is ever resolved for a peer.
    """
    text, port = address
    if not 0 < port < 65536:
        return "port"
    refused = _refusal if len(text) <= _LONGEST_REMEMBERED else _refusal.__wrapped__
    return refused(text, configuration.allow_loopback, configuration.allow_link_local)


def canonical_ip(text: str) -> str:
    """Return an IP address as packets will show it.

    Raises:
        ValueError: it is none.
    """
    return _canonical(text) if len(text) <= _LONGEST_REMEMBERED else _canonical.__wrapped__(text)


@lru_cache(_REMEMBERED)
def _canonical(text: str) -> str:
    return str(ipaddress.ip_address(text))


@lru_cache(_REMEMBERED)
def _refusal(text: str, allow_loopback: bool, allow_link_local: bool) -> str | None:
    try:
        ip = ipaddress.ip_address(text)
    except ValueError:
        return "mdns" if text.lower().rstrip(".").endswith(".local") else "name"
    if ip.is_unspecified or ip.is_multicast or text == "255.255.255.255":
        return "multicast"
    if isinstance(ip, ipaddress.IPv6Address) and (ip.scope_id or ip.ipv4_mapped or ip.is_link_local):
        return "scope"
    if str(ip) != text:
        return "form"
    if ip.is_loopback and not allow_loopback:
        return "loopback"
    if ip.is_link_local and not allow_link_local:
        return "link_local"
    return None
