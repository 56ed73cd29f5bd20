"""Which addresses an agent is willing to send to (RFC 8445 section 5.1.1.1 and section 19.2)."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from triortc.engine.address import Address
    from triortc.engine.ice.configuration import IceConfiguration

__all__ = ["ip_version", "refusal"]


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
    if ip.is_loopback and not configuration.allow_loopback:
        return "loopback"
    if ip.is_link_local and not configuration.allow_link_local:
        return "link_local"
    return None
