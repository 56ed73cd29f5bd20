"""Priorities, foundations and the candidates that an agent makes itself (RFC 8445 sections 5.1 and 7.3.1.3)."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

from triortc.engine.sdp.candidate import Candidate

if TYPE_CHECKING:
    from triortc.engine.address import Address

__all__ = [
    "TYPE_PREFERENCES",
    "candidate_priority",
    "host_candidate",
    "pair_priority",
    "peer_reflexive_candidate",
    "peer_reflexive_priority",
]

#: RFC 8445 section 5.1.2.2.
TYPE_PREFERENCES: Final = {"host": 126, "prflx": 110, "srflx": 100, "relay": 0}
_RTP: Final = 1


def candidate_priority(kind: str, *, local_preference: int = 65535, component: int = _RTP) -> int:
    """Return the priority of a candidate (RFC 8445 section 5.1.2.1); ``local_preference`` is 0 to 65535."""
    return TYPE_PREFERENCES[kind] << 24 | local_preference << 8 | 256 - component


def pair_priority(controlling: int, controlled: int) -> int:
    """Return a pair's priority out of the candidate priorities of both agents (RFC 8445 section 6.1.2.3)."""
    return (min(controlling, controlled) << 32) + 2 * max(controlling, controlled) + (controlling > controlled)


def peer_reflexive_priority(priority: int) -> int:
    """Return what PRIORITY says in checks from a candidate: its own with prflx as the type (RFC 8445 section 7.1.1)."""
    return TYPE_PREFERENCES["prflx"] << 24 | priority & 0xFFFFFF


def host_candidate(base: Address, *, advertised: Address | None = None, local_preference: int = 65535) -> Candidate:
    """Make a host candidate.

    Args:
        base: where the socket is bound.
        advertised: the public address of a host behind one-to-one NAT, told to the peer instead of the base.
        local_preference: 0 to 65535; higher for the interface that is liked better.
    """
    address, port = advertised or base
    return Candidate(
        foundation=_foundation("host", base[0]),
        component=_RTP,
        transport="udp",
        priority=candidate_priority("host", local_preference=local_preference),
        address=address,
        port=port,
        kind="host",
    )


def peer_reflexive_candidate(address: Address, *, priority: int, base: Address | None = None) -> Candidate:
    """Make a candidate learned from a check or from its answer (RFC 8445 sections 7.2.5.3.1 and 7.3.1.3)."""
    return Candidate(
        foundation=_foundation("prflx", (base or address)[0]),
        component=_RTP,
        transport="udp",
        priority=priority,
        address=address[0],
        port=address[1],
        kind="prflx",
        related_address=base[0] if base else None,
        related_port=base[1] if base else None,
    )


def _foundation(kind: str, ip: str) -> str:
    # Equal for the same type, base address and protocol, as RFC 8445 section 5.1.1.3 wants it; nothing else matters.
    return str(zlib.crc32(f"{kind} udp {ip}".encode()))
