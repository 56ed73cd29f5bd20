"""When each packet with a transport-wide sequence number left, until feedback speaks of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from math import inf
from struct import Struct
from typing import Final, TypeAlias

from triortc.engine.rtp.sequence import sequence_difference

__all__ = ["NOTHING", "SENT", "SENT_BYTES", "SentHistory"]

#: A packet in the ring: its number, its bytes, when it left.
SENT: Final = Struct("=IId")
SENT_BYTES: Final = SENT.size
#: In the place of a number: there is no packet, or feedback has spoken of it.
NOTHING: Final = 0xFFFFFFFF
_EMPTY: Final = SENT.pack(NOTHING, 0, 0.0)
_MAXIMUM_PACKETS: Final = 0x8000
#: Feedback of so many packets, all of them known, is read in one go.
_AT_ONCE: Final = 256
#: First sent at, last sent at, bytes, when the last of them arrived.
Group: TypeAlias = tuple[float, float, int, int]


@cache
def _records(count: int) -> Struct:
    """So many SENT, one behind the other; of few counts, so what was made is kept."""
    return Struct("=" + "IId" * count)


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
        self, base: int, deltas: bytes | Sequence[tuple[int, int]], within_s: float
    ) -> tuple[int, list[Group]]:
        """Take packets in the order of their numbers; those that left together are a group.

        Arguments:
            base: the number that offsets count from.
            deltas: (offset, time since the one before, in any unit) of each; or the times alone, of one after another.
            within_s: so long after its first packet others are of its group.

        Returns:
            How many were known; (first sent at, last sent at, bytes, when the last of them arrived) of each group.
        """
        mask, ring = self.mask, self.ring
        first = base & mask
        if isinstance(deltas, bytes):
            count = len(deltas)
            if 0 < count <= _AT_ONCE and first + count <= mask + 1:  # as most are
                records = _records(count).unpack_from(ring, first * SENT_BYTES)
                if records[::3] == tuple(range(base, base + count)):
                    ring[first * SENT_BYTES : (first + count) * SENT_BYTES] = _EMPTY * count
                    return count, _group(zip(deltas, records[1::3], records[2::3], strict=True), within_s)
            deltas = tuple(enumerate(deltas))
        known: list[tuple[int, int, float]] = []
        skipped = 0
        for offset, delta in deltas:
            number = (base + offset) & 0xFFFF
            at = (number & mask) * SENT_BYTES
            found, size, sent_at = SENT.unpack_from(ring, at)
            if found != number:
                skipped += delta
                continue
            ring[at : at + SENT_BYTES] = _EMPTY
            known.append((delta + skipped, size, sent_at))
            skipped = 0
        return len(known), _group(known, within_s)

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


def _group(packets: Iterable[tuple[int, int, float]], within_s: float) -> list[Group]:
    """Packets, as (time since the one before, bytes, when it left), in groups. Runs for every packet."""
    groups: list[Group] = []
    arrival = size_bytes = latest = 0
    group_at = last_at = -inf
    for delta, size, sent_at in packets:
        arrival += delta
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
    return groups
