"""How values look to the data plane's core in C: the counterpart of what is named in capitals in forwarder.h."""

from __future__ import annotations

import ipaddress
from functools import cache
from struct import Struct
from typing import Final

from triortc.engine.address import Address
from triortc.engine.relay.core_cipher import CIPHER_BYTES

__all__ = [
    "ADDRESS_BYTES",
    "ARRIVAL",
    "ARRIVALS",
    "ARRIVALS_TOLD",
    "BATCH_DATAGRAMS",
    "CLOSE",
    "COUNTERS",
    "GAP_BEHIND",
    "GO_ON",
    "HAND_UP",
    "HAND_UP_BYTES",
    "LATENCIES",
    "LAYOUTS",
    "LOOK",
    "MAX_DATAGRAM_BYTES",
    "MAX_FLOWS",
    "NOTE",
    "NOTES_AT",
    "NUMBERS",
    "QUIET",
    "RECEIVED",
    "SENT_BYTES",
    "SENT_PACKET",
    "SETTLED",
    "SETTLED_BYTES",
    "STATE",
    "TAKEN",
    "TELL",
    "WINDOW",
    "notes_of",
    "pack_address",
    "unpack_address",
]

BATCH_DATAGRAMS: Final = 64
MAX_DATAGRAM_BYTES: Final = 2048
MAX_FLOWS: Final = 4
_JOURNAL: Final = 256

#: File descriptor of our socket; family in the order of this machine, then port and the rest of a sockaddr_in(6).
_ADDRESS: Final = Struct("=iH26s")
ADDRESS_BYTES: Final = _ADDRESS.size
_NAMES: Final = {4: Struct("!H4s20x"), 6: Struct("!H4x16s4x")}
_FAMILIES: Final = {4: 2, 6: 10}  # AF_INET and AF_INET6 of Linux
#: Address of a ring of indices, and their count less one.
WINDOW: Final = Struct("=QQ")
NUMBERS: Final = Struct("=6I10B128s2x")
STATE: Final = Struct("=8q2d5q")
#: Number, kind, when. SENT_BYTES: bytes that left about then. GAP_BEHIND and RECEIVED, plus the slot of a flow:
#: sequence numbers, the last one before a gap and those since.
NOTE: Final = Struct("=IId")
SENT_BYTES, GAP_BEHIND, RECEIVED = 0, 1, 1 + MAX_FLOWS
#: The same of a transport-wide number that came: number, when in ticks of 250 µs, without what is above 32 bits, when.
ARRIVAL: Final = NOTE


@cache
def notes_of(count: int) -> Struct:
    """So many NOTEs or ARRIVALs, one behind the other: _JOURNAL at most, so what was made is kept."""
    return Struct("=" + "IId" * count)


#: When it was sent, sequence number, bytes of header and payload.
SENT_PACKET: Final = Struct("=dHHH2x")
#: Behind a state: the next transport-wide number, count of ARRIVALs, which lie behind this, and of NOTEs.
SETTLED: Final = Struct("=HHH2x")
NOTES_AT: Final = STATE.size + SETTLED.size + _JOURNAL * NOTE.size
SETTLED_BYTES: Final = NOTES_AT + _JOURNAL * NOTE.size
#: What a flow does when it was settled. TELL: it was not, only its direction's journal was taken.
GO_ON, QUIET, CLOSE, TELL = 0, 1, 2, 3
#: Source, bytes, when it arrived.
HAND_UP: Final = Struct(f"={_ADDRESS.size}sI4xd")
HAND_UP_BYTES: Final = HAND_UP.size + MAX_DATAGRAM_BYTES
#: As the bytes of what was handed up: not a datagram, but a source whose flows want to be settled; or one that is done.
LOOK, TAKEN = 0xFFFFFFFE, 0xFFFFFFFF
#: Upper bounds in seconds of how long packets were on their way through the core, as triortc_relay_latency_seconds.
LATENCIES: Final = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
_RING: Final = 32
_RATE: Final = "3dq2I" + "dq" * _RING
_TREND: Final = f"16d2q2I{2 * _RING}d"
#: Bits per second (negative: not known), the ring of sent packets, rate meter, trend.
ARRIVALS: Final = Struct(f"=dQQ{_RATE}{_TREND}")
#: Of those the first, and the trend's usage as a number.
ARRIVALS_TOLD: Final = Struct(f"=d{Struct(f'=QQ{_RATE}17d').size}xq")
#: By the names of triortc.engine.udp.SocketCounters, and what only this plane has.
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
    *(f"latency_us_{round(bound_s * 1e6)}" for bound_s in LATENCIES),
    "latency_us_more",
    "latency_sum_ns",
)
#: The sizes that the core tells of itself (forwarder_layouts): another one was built from other sources.
LAYOUTS: Final = (
    _ADDRESS.size,
    CIPHER_BYTES,
    WINDOW.size,
    NUMBERS.size,
    STATE.size,
    NOTE.size,
    SENT_PACKET.size,
    NOTES_AT,
    HAND_UP.size,
    HAND_UP_BYTES,
    8 * len(COUNTERS),
    ARRIVALS.size,
)


def pack_address(file_descriptor: int, address: Address) -> bytes:
    """One end of a way, as the core compares it: a socket of ours and the peer's address."""
    host = ipaddress.ip_address(address[0])
    return _ADDRESS.pack(file_descriptor, _FAMILIES[host.version], _NAMES[host.version].pack(address[1], host.packed))


def unpack_address(packed: bytes) -> tuple[int, Address]:
    """(file descriptor, address) of a datagram that was handed up."""
    file_descriptor, family, name = _ADDRESS.unpack(packed)
    port, host = _NAMES[4 if family == _FAMILIES[4] else 6].unpack(name)
    return file_descriptor, (str(ipaddress.ip_address(host)), port)
