"""When each packet with a transport-wide sequence number left, until feedback speaks of it."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from struct import Struct
from typing import Final

from triortc.engine.rtp.sequence import sequence_difference

__all__ = ["NOTHING", "SENT", "SENT_BYTES", "SentHistory"]

#: A packet in the ring: its number, its bytes, when it left.
SENT: Final = Struct("=IId")
SENT_BYTES: Final = SENT.size
#: In the place of a number: there is no packet, or feedback has spoken of it.
NOTHING: Final = 0xFFFFFFFF
_EMPTY: Final = SENT.pack(NOTHING, 0, 0.0)
_MAXIMUM_PACKETS: Final = 0x8000


class SentHistory:
    """A ring of the last packets, in flat memory, so that whoever sends can write into it.

    Args:
        maximum_packets: rounded up to a power of two, 32768 at most.
    """

    __slots__ = ("highest_reported", "mask", "ring")

    def __init__(self, maximum_packets: int) -> None:
        size = min(1 << (maximum_packets - 1).bit_length(), _MAXIMUM_PACKETS)
        self.mask = size - 1
        #: One SENT for each number, by its low bits.
        self.ring = bytearray(_EMPTY * size)
        self.highest_reported: int | None = None

    def store(self, sequence_number: int, size_bytes: int, now: float) -> None:
        """Remember a packet."""
        SENT.pack_into(self.ring, (sequence_number & self.mask) * SENT_BYTES, sequence_number, size_bytes, now)

    def take_groups(
        self, base: int, received: Sequence[tuple[int, int]], within_s: float
    ) -> tuple[int, list[tuple[float, float, int, int]]]:
        """Take packets in the order of their numbers; those that left together are a group.

        Arguments:
            base: the number that offsets count from.
            received: (offset, time since the one before, in any unit) of each.
            within_s: so long after its first packet others are of its group.

        Returns:
            How many were known; (first sent at, last sent at, bytes, when the last of them arrived) of each group.
        """
        groups: list[tuple[float, float, int, int]] = []
        if not received:
            return 0, groups
        mask, ring = self.mask, self.ring
        count = received[-1][0] + 1
        first = base & mask
        whole = len(received) == count and first + count <= mask + 1
        if whole:  # as most are: read at once, and forgotten at once
            place = slice(first * SENT_BYTES, (first + count) * SENT_BYTES)
            records = list(SENT.iter_unpack(ring[place]))
            ring[place] = _EMPTY * count
        else:
            records = [SENT.unpack_from(ring, ((base + offset) & mask) * SENT_BYTES) for offset, _ in received]
        arrival = known = size_bytes = latest = 0
        group_at = last_at = -inf
        for (offset, delta), (number, size, sent_at) in zip(received, records, strict=True):
            arrival += delta
            if number != (base + offset) & 0xFFFF:
                if whole and number != NOTHING:
                    SENT.pack_into(ring, (number & mask) * SENT_BYTES, number, size, sent_at)  # another one's place
                continue
            if not whole:
                ring[(number & mask) * SENT_BYTES : (number & mask) * SENT_BYTES + SENT_BYTES] = _EMPTY
            known += 1
            if sent_at != last_at:
                if not 0 <= sent_at - group_at <= within_s:
                    if size_bytes:
                        groups.append((group_at, last_at, size_bytes, latest))
                    group_at, size_bytes, latest = sent_at, 0, arrival
                last_at = sent_at
            size_bytes += size
            if arrival > latest:
                latest = arrival
        if size_bytes:
            groups.append((group_at, last_at, size_bytes, latest))
        return known, groups

    def pending(self, first: int, count: int) -> int:
        """How many of these numbers were sent and not acknowledged."""
        mask, ring, read = self.mask, self.ring, SENT.unpack_from
        return sum(
            [read(ring, (number & mask) * SENT_BYTES)[0] == number & 0xFFFF for number in range(first, first + count)]
        )

    def newly_reported(self, base: int, count: int) -> tuple[int, int]:
        """Return (first, count) of the numbers that no feedback spoke of before and that may have been sent.

        A feedback packet may claim 65535 packets; only what fits the ring can be ours.
        """
        last = (base + count - 1) & 0xFFFF
        highest = self.highest_reported
        if highest is None:
            self.highest_reported = last
            return base, min(count, self.mask + 1)
        advance = sequence_difference(last, highest)
        if advance <= 0:
            return base, 0
        self.highest_reported = last
        fresh = min(advance, count, self.mask + 1)
        return (last - fresh + 1) & 0xFFFF, fresh
