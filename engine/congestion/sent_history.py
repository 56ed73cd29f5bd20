"""When each packet with a transport-wide sequence number left, until feedback speaks of it."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from math import inf

from triortc.engine.rtp.sequence import sequence_difference

__all__ = ["SentHistory"]


class SentHistory:
    """A ring of the last packets; `store` runs for every packet.

    Args:
        maximum_packets: rounded up to a power of two, 32768 at most.
    """

    __slots__ = ("_mask", "_sent_at", "_sequence_numbers", "_sizes", "highest_reported")

    def __init__(self, maximum_packets: int) -> None:
        size = min(1 << (maximum_packets - 1).bit_length(), 0x8000)
        self._mask = size - 1
        self._sequence_numbers = array("i", [-1]) * size
        self._sizes = array("i", [0]) * size
        self._sent_at = array("d", [0.0]) * size
        self.highest_reported: int | None = None

    def store(self, sequence_number: int, size_bytes: int, now: float) -> None:
        """Remember a packet."""
        slot = sequence_number & self._mask
        self._sequence_numbers[slot] = sequence_number
        self._sizes[slot] = size_bytes
        self._sent_at[slot] = now

    def store_run(self, first: int, sizes_bytes: list[int], now: float) -> None:
        """Remember packets with numbers that follow each other."""
        mask, numbers, sizes, sent_at = self._mask, self._sequence_numbers, self._sizes, self._sent_at
        for number, size_bytes in enumerate(sizes_bytes, first):
            slot = number & mask
            numbers[slot] = number & 0xFFFF
            sizes[slot] = size_bytes
            sent_at[slot] = now

    def take_groups(self, base: int, received: Iterable[tuple[int, int]]) -> tuple[int, list[tuple[float, int, int]]]:
        """Take packets in the order in which they arrived; those that left at one time are a group.

        Arguments:
            base: the number that offsets count from.
            received: (offset, time since the one before, in any unit) of each.

        Returns:
            How many were known; (sent at, bytes, when the last of them arrived) of each group.
        """
        mask, numbers, sizes, times = self._mask, self._sequence_numbers, self._sizes, self._sent_at
        groups: list[tuple[float, int, int]] = []
        arrival = count = size_bytes = latest = 0
        sent_at = -inf
        for offset, delta in received:
            arrival += delta
            number = (base + offset) & 0xFFFF
            slot = number & mask
            if numbers[slot] != number:
                continue
            numbers[slot] = -1
            count += 1
            if times[slot] != sent_at:
                if size_bytes:
                    groups.append((sent_at, size_bytes, latest))
                sent_at, size_bytes, latest = times[slot], 0, arrival
            size_bytes += sizes[slot]
            if arrival > latest:
                latest = arrival
        if size_bytes:
            groups.append((sent_at, size_bytes, latest))
        return count, groups

    def pending(self, first: int, count: int) -> int:
        """How many of these numbers were sent and not acknowledged."""
        mask, numbers = self._mask, self._sequence_numbers
        return sum([numbers[number & mask] == number & 0xFFFF for number in range(first, first + count)])

    def newly_reported(self, base: int, count: int) -> tuple[int, int]:
        """Return (first, count) of the numbers that no feedback spoke of before and that may have been sent.

        A feedback packet may claim 65535 packets; only what fits the ring can be ours.
        """
        last = (base + count - 1) & 0xFFFF
        highest = self.highest_reported
        if highest is None:
            self.highest_reported = last
            return base, min(count, self._mask + 1)
        advance = sequence_difference(last, highest)
        if advance <= 0:
            return base, 0
        self.highest_reported = last
        fresh = min(advance, count, self._mask + 1)
        return (last - fresh + 1) & 0xFFFF, fresh
