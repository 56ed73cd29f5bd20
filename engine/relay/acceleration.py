"""Whether the accelerated data plane can run here, and how Python's values look to its core in C (forwarder.h)."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from struct import Struct
from types import ModuleType
from typing import Final

from triortc.engine.address import Address
from triortc.engine.srtp.key_derivation import SessionKeys
from triortc.engine.srtp.profile import SrtpProfile

__all__ = [
    "ADDRESS_BYTES",
    "ARRIVED",
    "COUNTERS",
    "GAP_BEHIND",
    "NOTE",
    "NO_NUMBER",
    "NUMBERS",
    "RECEIVED",
    "SENT",
    "STATE",
    "Acceleration",
    "acceleration",
    "make_cipher",
    "pack_address",
    "unpack_address",
]

#: The first that is there is taken. Its own soname, not a path: the loader knows where the machine keeps it.
LIBRARIES: Final = ("libcrypto.so.3", "libcrypto.so.1.1")

#: Address: socket number, port (network order), family, nothing, host.
_ADDRESS: Final = Struct("=HHHH16s")
ADDRESS_BYTES: Final = _ADDRESS.size
_FAMILIES: Final = {4: 2, 6: 10}  # AF_INET and AF_INET6 of Linux
#: FlowState.
STATE: Final = Struct("=11q2d")
#: FlowNumbers.
NUMBERS: Final = Struct("=8I2i8B128s128s2I")
#: Note: when, number, kind. ARRIVED: a transport-wide number. GAP_BEHIND and RECEIVED, plus the flow's: sequence
#: numbers, the last one before a gap and those since. SENT, plus the length: a transport-wide number, or NO_NUMBER.
NOTE: Final = Struct("=dII")
ARRIVED, GAP_BEHIND, RECEIVED, SENT = 0, 1, 5, 9
NO_NUMBER: Final = 0xFFFFFFFF
#: Counters, by the names of triortc.engine.udp.SocketCounters and what only this plane has.
COUNTERS: Final = (
    "received",
    "receive_calls",
    "truncated",
    "sent",
    "send_calls",
    "send_errors",
    "handed_up",
    "hand_ups_lost",
    "wakeups",
)


@dataclass(frozen=True, slots=True)
class Acceleration:
    """What this machine offers: the module, or in words why there is none."""

    forwarder: ModuleType | None
    reason: str


@cache
def acceleration() -> Acceleration:
    """Look once: for the extension, which needs a compiler at installation, and for libcrypto."""
    try:
        forwarder = import_module("triortc.engine.relay.forwarder")
    except ImportError:
        return Acceleration(None, "the extension was not built: no C compiler was there when triortc was installed")
    problems = []
    for library in LIBRARIES:
        missing = forwarder.load(library)
        if missing is None:
            return Acceleration(forwarder, f"the extension was built, {library} is there")
        problems.append(f"{library} lacks {missing}")
    return Acceleration(None, "no libcrypto to use: " + ", ".join(problems))


def pack_address(socket_number: int, address: Address) -> bytes:
    """One end of a way, as the core compares it."""
    host = ipaddress.ip_address(address[0])
    port = ((address[1] & 0xFF) << 8) | (address[1] >> 8)
    return _ADDRESS.pack(socket_number, port, _FAMILIES[host.version], 0, host.packed)


def unpack_address(packed: bytes) -> tuple[int, Address]:
    """(socket number, address) of a datagram that was handed up."""
    socket_number, port, family, _, host = _ADDRESS.unpack(packed)
    text = str(ipaddress.IPv4Address(host[:4])) if family == _FAMILIES[4] else str(ipaddress.IPv6Address(host))
    return socket_number, (text, ((port & 0xFF) << 8) | (port >> 8))


def make_cipher(forwarder: ModuleType, profile: SrtpProfile, keys: SessionKeys, *, sending: bool) -> object:
    """The core's own context for RTP under these session keys."""
    return forwarder.Cipher(
        profile.aead, sending, profile.rtp_tag_bytes, keys.rtp_key, keys.rtp_salt, keys.rtp_authentication
    )
