"""Arithmetic of sequence numbers and timestamps, and telling a gap from a restart (RFC 3550 A.1)."""

from __future__ import annotations

from typing import Final

__all__ = [
    "SequenceTracker",
    "SequenceUnwrapper",
    "TimestampUnwrapper",
    "sequence_difference",
    "sequence_is_newer",
    "timestamp_difference",
    "timestamp_is_newer",
]

MAXIMUM_DROPOUT: Final = 3000
# RFC 3550 A.1 says 100, from before retransmissions: at 600 packets per second, an answer to the second NACK over a
# round trip of 300 ms is some 400 behind, and two such answers in sequence must not pass for a restart.
MAXIMUM_MISORDER: Final = 1000


def sequence_difference(later: int, earlier: int) -> int:
    """Return `later - earlier` of two 16-bit numbers by the shorter way round: -32768..32767."""
    return ((later - earlier + 0x8000) & 0xFFFF) - 0x8000


def timestamp_difference(later: int, earlier: int) -> int:
    """Return `later - earlier` of two 32-bit timestamps by the shorter way round."""
    return ((later - earlier + 0x80000000) & 0xFFFFFFFF) - 0x80000000


def sequence_is_newer(candidate: int, reference: int) -> bool:
    """Tell whether a 16-bit number comes after another, wrap included."""
    return 0 < (candidate - reference) & 0xFFFF < 0x8000


def timestamp_is_newer(candidate: int, reference: int) -> bool:
    """Tell whether a 32-bit timestamp comes after another, wrap included."""
    return 0 < (candidate - reference) & 0xFFFFFFFF < 0x80000000


class SequenceUnwrapper:
    """Maps 16-bit numbers to integers without wrap: each goes where it is nearest to the newest one seen."""

    __slots__ = ("_newest",)

    def __init__(self) -> None:
        self._newest: int | None = None

    def unwrap(self, sequence_number: int) -> int:
        """Return the number unwrapped. The first one maps to itself; what came before it may be negative."""
        newest = self._newest
        if newest is None:
            self._newest = sequence_number
            return sequence_number
        unwrapped = newest + ((sequence_number - newest + 0x8000) & 0xFFFF) - 0x8000
        if unwrapped > newest:
            self._newest = unwrapped
        return unwrapped


class TimestampUnwrapper:
    """Maps 32-bit timestamps to integers without wrap: each goes where it is nearest to the last one seen."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: int | None = None

    def unwrap(self, timestamp: int) -> int:
        """Return the timestamp unwrapped. The first one maps to itself."""
        last = self._last
        if last is None:
            self._last = timestamp
            return timestamp
        self._last = last + timestamp_difference(timestamp, last & 0xFFFFFFFF)
        return self._last


class SequenceTracker:
    """Extends sequence numbers and tells reordering and loss from a sender that restarted (RFC 3550 A.1).

    A number that is more than `maximum_misorder` behind or `maximum_dropout` ahead is held back until the one after
    it comes too: then the sender has restarted, and the extended numbers go on one cycle higher, so that they never
    go backwards. The RFC's probation at the start is left out: SRTP has authenticated the first packet already.
    """

    __slots__ = ("_suspect", "first", "maximum_dropout", "maximum_misorder", "newest", "restarts")

    def __init__(self, *, maximum_dropout: int = MAXIMUM_DROPOUT, maximum_misorder: int = MAXIMUM_MISORDER) -> None:
        self.maximum_dropout = maximum_dropout
        self.maximum_misorder = maximum_misorder
        self.first = -1
        """The extended number the present run began with; -1 before the first packet."""
        self.newest = -1
        """The highest extended number; -1 before the first packet."""
        self.restarts = 0
        self._suspect = -1

    @property
    def suspects(self) -> bool:
        """Whether a jump was seen that is not confirmed."""
        return self._suspect >= 0

    def go_on(self, newest: int) -> None:
        """Every number up to the extended `newest` has come, none of them out of order."""
        self.newest = newest
        self._suspect = -1

    def extend(self, sequence_number: int) -> int:
        """Return the extended number, or -1 while a jump is not confirmed: such a packet should be dropped."""
        newest = self.newest
        if newest < 0:
            # One cycle up, so that packets older than the first have numbers above zero as well.
            self.first = self.newest = sequence_number + 0x10000
            return self.newest
        difference = ((sequence_number - newest + 0x8000) & 0xFFFF) - 0x8000
        if 0 < difference <= self.maximum_dropout:
            self.newest = newest + difference
            self._suspect = -1
            return self.newest
        if -self.maximum_misorder <= difference <= 0:
            return newest + difference
        if sequence_number != self._suspect:
            self._suspect = (sequence_number + 1) & 0xFFFF
            return -1
        self._suspect = -1
        self.restarts += 1
        # Two cycles up: one would do for a restart, but a forward jump must stay a jump larger than any reordering.
        self.first = self.newest = (newest & ~0xFFFF) + 0x20000 + sequence_number
        return self.newest
