"""When each packet with a transport-wide sequence number left, until feedback speaks of it."""

from __future__ import annotations

from array import array
from collections.abc import Iterable

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

    def take(self, sequence_number: int) -> tuple[float, int] | None:
        """Return (sent at, size) once; None for a packet that is unknown, pushed out or acknowledged already."""
        slot = sequence_number & self._mask
        if self._sequence_numbers[slot] != sequence_number:
            return None
        self._sequence_numbers[slot] = -1
        return self._sent_at[slot], self._sizes[slot]

    def take_run(self, sequence_numbers: Iterable[int]) -> list[tuple[float, int] | None]:
        """The same for several, in order."""
        mask, numbers, sizes, sent_at = self._mask, self._sequence_numbers, self._sizes, self._sent_at
        found: list[tuple[float, int] | None] = []
        for sequence_number in sequence_numbers:
            slot = sequence_number & mask
            if numbers[slot] == sequence_number:
                numbers[slot] = -1
                found.append((sent_at[slot], sizes[slot]))
            else:
                found.append(None)
        return found

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
