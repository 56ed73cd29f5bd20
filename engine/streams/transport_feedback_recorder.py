"""Records when packets arrived and reports it to their sender (draft-holmer-rmcat-transport-wide-cc-extensions-01)."""

from __future__ import annotations

from collections.abc import Sequence
from operator import sub
from typing import Final

from triortc.engine.rtcp.packets import build_compound
from triortc.engine.rtcp.transport_feedback import (
    REFERENCE_TIME_US,
    TICK_US,
    TransportFeedback,
    build_whole_feedback,
)
from triortc.engine.rtp.sequence import SequenceTracker
from triortc.engine.streams.configuration import FeedbackConfiguration
from triortc.engine.streams.timing import next_multiple

__all__ = ["TransportFeedbackRecorder"]

_TICKS_PER_S: Final = 1_000_000 // TICK_US
_TICKS_PER_REFERENCE: Final = REFERENCE_TIME_US // TICK_US
_MAXIMUM_DELTA: Final = 0x7FFF
_MAXIMUM_WHOLE: Final = 0x1FFF  # packets that one chunk can tell of
_MAXIMUM_STATUSES: Final = 0x3FFF  # in one feedback packet; its field has 16 bits, a datagram holds far fewer arrivals


class TransportFeedbackRecorder:
    """Gathers arrivals of one transport. `note` runs for every packet that carries a transport-wide sequence number.

    Args:
        sender_ssrc: ours, for the feedback packet.
        media_ssrc: any source of the peer; the field has no meaning for the whole transport.
        configuration: how often and how much.
    """

    __slots__ = (
        "_configuration",
        "_deadline",
        "_dropped",
        "_feedback_count",
        "_next_base",
        "_numbers",
        "_ticks",
        "_times",
        "_tracker",
        "media_ssrc",
        "sender_ssrc",
    )

    def __init__(
        self, *, sender_ssrc: int, media_ssrc: int = 0, configuration: FeedbackConfiguration | None = None
    ) -> None:
        self.sender_ssrc = sender_ssrc
        self.media_ssrc = media_ssrc
        self._configuration = configuration or FeedbackConfiguration()
        self._tracker = SequenceTracker()
        #: Transport-wide numbers as they came, and when: nothing is made of them before feedback is due.
        self._numbers: list[int] = []
        self._times: list[float] = []
        #: Those times in ticks, of as many as were known from the first on.
        self._ticks: list[int] = []
        self._next_base = -1
        self._feedback_count = 0
        self._deadline: float | None = None
        self._dropped = 0

    @property
    def dropped(self) -> int:
        """Arrivals that were not recorded: unconfirmed jumps, or nobody fetched the feedback in time.

        Jumps are known when the feedback that they are missing in has been built.
        """
        return self._dropped

    def note(self, transport_sequence_number: int, now: float) -> None:
        """Record an arrival. The first one counts if a number comes twice."""
        self.note_run((transport_sequence_number,), (now,))

    def note_run(self, numbers: Sequence[int], times: Sequence[float], ticks: Sequence[int] = ()) -> bool:
        """Record arrivals. True if feedback is due sooner than before.

        Arguments:
            numbers: transport-wide.
            times: of each, in seconds.
            ticks: the same in units of TICK_US, cut to 32 bits, where that is known already.
        """
        waiting, maximum = self._numbers, self._configuration.maximum_packets
        before = len(waiting)
        if len(self._ticks) == before:
            self._ticks += ticks
        waiting += numbers
        self._times += times
        count = len(waiting)
        if self._deadline is None:
            self._deadline = self._due_after(times[0])
        elif count < maximum or before >= maximum:
            if count > 4 * maximum:
                self._dropped += count - 4 * maximum
                del waiting[4 * maximum :], self._times[4 * maximum :]
            return False
        if count >= maximum:
            self._deadline = times[-1]
        return True

    def _due_after(self, now: float) -> float:
        configured = self._configuration
        return next_multiple(now + configured.interval_ms / 1000, configured.grid_ms)

    @property
    def is_full(self) -> bool:
        """Whether as many arrivals wait as one feedback packet holds: they are to be sent now."""
        return len(self._numbers) >= self._configuration.maximum_packets

    def next_deadline(self) -> float | None:
        """Return when feedback is due, None if nothing has arrived since the last one."""
        return self._deadline

    def due(self, now: float) -> list[bytes]:
        """Return the feedback to send now, as whole RTCP packets: usually one, more after a long pause or a restart.

        Empty if none is due.
        """
        if self._deadline is None or now < self._deadline:
            return []
        self._deadline = None
        numbers, times, ticks = self._numbers, self._times, self._ticks
        self._numbers, self._times, self._ticks = [], [], []
        whole = self._build_whole(numbers, times, ticks)
        if whole:
            return [whole]
        pending = self._in_order(numbers, times)
        feedback: list[bytes] = []
        while pending:
            packet, taken = self._build(pending)
            feedback.append(build_compound([packet]))
            pending = pending[taken:]
        return feedback

    def _in_order(self, numbers: list[int], times: list[float]) -> list[tuple[int, float]]:
        """The first arrival of each number, by extended number."""
        extend, taken = self._tracker.extend, dict[int, float]()
        for number, arrived_at in zip(numbers, times, strict=True):
            extended = extend(number)
            if extended < 0:
                self._dropped += 1
            else:
                taken.setdefault(extended, arrived_at)
        return sorted(taken.items())

    def _build_whole(self, numbers: list[int], times: list[float], ticks: list[int]) -> bytes:
        """The feedback where all numbers have come, in order and one soon after the other, as they mostly do."""
        newest, count = self._tracker.newest, len(numbers)
        base = (newest + 1) & 0xFFFF
        if not 0 <= newest == self._next_base - 1 or not 0 < count <= self._configuration.maximum_packets:
            return b""
        if count > _MAXIMUM_WHOLE or numbers != list(range(base, base + count)):
            return b""
        first = int(times[0] * _TICKS_PER_S)
        reference = first // _TICKS_PER_REFERENCE
        if len(ticks) != count:
            ticks = [int(arrived_at * _TICKS_PER_S) for arrived_at in times]
        try:
            deltas = bytes(map(sub, ticks, (ticks[0] - first % _TICKS_PER_REFERENCE, *ticks)))
        except ValueError:
            return b""  # one that takes two bytes
        self._tracker.go_on(newest + count)
        self._next_base = newest + 1 + count
        return build_whole_feedback(
            self.sender_ssrc, self.media_ssrc, base, reference, self._take_feedback_count(), deltas
        )

    def _build(self, pending: list[tuple[int, float]]) -> tuple[TransportFeedback, int]:
        """Build one feedback packet of as many arrivals, in order, as it can tell; return it and their count."""
        limit = self._configuration.maximum_gap_packets
        first = pending[0][0]
        base = self._next_base if 0 <= first - self._next_base <= limit and self._next_base >= 0 else first
        reference = int(pending[0][1] * _TICKS_PER_S) // _TICKS_PER_REFERENCE
        before = reference * _TICKS_PER_REFERENCE
        ticks = [int(arrived_at * _TICKS_PER_S) for _, arrived_at in pending]
        last = pending[-1][0]
        # What is near in number and time fits as it is; anything else is looked at packet by packet.
        fits = last - base <= min(limit, _MAXIMUM_STATUSES - 1) and len(pending) <= self._configuration.maximum_packets
        if fits and min(ticks) >= before and max(ticks) - before <= _MAXIMUM_DELTA:
            previous = [before, *ticks]
            received = [
                (extended - base, at - since)
                for (extended, _), at, since in zip(pending, ticks, previous, strict=False)
            ]
        else:
            received, last = self._as_many_as_fit(pending, base, before)
        return self._packet(base, last - base + 1, reference, tuple(received)), len(received)

    def _packet(
        self, base: int, status_count: int, reference: int, received: tuple[tuple[int, int], ...]
    ) -> TransportFeedback:
        self._next_base = max(self._next_base, base + status_count)
        return TransportFeedback(
            self.sender_ssrc,
            self.media_ssrc,
            base & 0xFFFF,
            status_count,
            ((reference + 0x800000) & 0xFFFFFF) - 0x800000,
            self._take_feedback_count(),
            received,
        )

    def _take_feedback_count(self) -> int:
        count = self._feedback_count
        self._feedback_count = (count + 1) & 0xFF
        return count

    def _as_many_as_fit(
        self, pending: list[tuple[int, float]], base: int, before: int
    ) -> tuple[list[tuple[int, int]], int]:
        """What one feedback packet can tell of the arrivals: (offset, delta) of each, and the last number."""
        limit, maximum = self._configuration.maximum_gap_packets, self._configuration.maximum_packets
        received: list[tuple[int, int]] = []
        last = pending[0][0]
        for extended, arrived_at in pending:
            ticks = int(arrived_at * _TICKS_PER_S)
            too_far = (
                extended - last > limit
                or extended - base >= _MAXIMUM_STATUSES
                or not -_MAXIMUM_DELTA - 1 <= ticks - before <= _MAXIMUM_DELTA
            )
            if received and (too_far or len(received) == maximum):
                break
            received.append((extended - base, ticks - before))
            before = ticks
            last = extended
        return received, last
