"""The state of one stream: its highest index, and which of the newest indices have been used."""

from __future__ import annotations

from array import array
from typing import Final

__all__ = ["MAX_RTCP_INDEX", "MAX_RTP_INDEX", "StreamState", "estimate_index", "ring_size"]

MAX_RTP_INDEX: Final = (1 << 48) - 1  # RFC 3711 section 9.2: no more than 2^48 SRTP packets under one key
MAX_RTCP_INDEX: Final = (1 << 31) - 1  # and no more than 2^31 SRTCP packets

_UNUSED: Final = (1 << 64) - 1


class StreamState:
    """Flat on purpose: read and written for every packet.

    ``seen`` is a ring: the slot of an index holds that index once it was used. Nothing has to be shifted or cleared
    when the stream moves on, however far.
    """

    __slots__ = ("highest", "iv", "mask", "seen")

    def __init__(self, iv: int, highest: int, slots: int) -> None:
        self.iv = iv
        self.mask = slots - 1
        self.highest = highest
        self.seen = array("Q", [_UNUSED]) * slots


def ring_size(window: int) -> int:
    """The smallest power of two that is not below ``window``."""
    return 1 << (window - 1).bit_length()


def estimate_index(highest: int, sequence_number: int) -> int:
    """The 48-bit index that ends in ``sequence_number`` and is nearest to ``highest`` (RFC 3711 section 3.3.1).

    At a distance of exactly 2^15 the roll-over counter stays, as in the RFC's appendix A. An index before the stream's
    beginning does not exist: there the packet is taken to lie ahead.
    """
    distance = (sequence_number - highest) & 0xFFFF
    if distance > 0x8000 or (distance == 0x8000 and highest & 0x8000):
        distance -= 0x10000
    index = highest + distance
    return index if index >= 0 else index + 0x10000
