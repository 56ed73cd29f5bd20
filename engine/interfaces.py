"""The machine's own IP addresses, for host candidates."""

from __future__ import annotations

import ipaddress

import ifaddr

__all__ = ["local_addresses"]


def local_addresses(*, loopback: bool) -> list[str]:
    """Every address a host candidate can have, IPv4 first. Link-local IPv6 is left out: it needs a scope on both sides.

    Arguments:
        loopback: whether 127.0.0.1 and ::1 count.
    """
    found: list[ipaddress.IPv4Address | ipaddress.IPv6Address] = []
    for adapter in ifaddr.get_adapters():
        for entry in adapter.ips:
            text = entry.ip if isinstance(entry.ip, str) else entry.ip[0]
            address = ipaddress.ip_address(text.partition("%")[0])
            if not address.is_link_local and (loopback or not address.is_loopback):
                found.append(address)
    return [str(address) for address in sorted(set(found), key=lambda address: (address.version, int(address)))]
