"""Records when packets arrived and reports it to their sender (draft-holmer-rmcat-transport-wide-cc-extensions-01)."""

from __future__ import annotations

from typing import Final

from triortc.engine.rtcp.transport_feedback import REFERENCE_TIME_US, TICK_US, TransportFeedback
from triortc.engine.rtp.sequence import SequenceTracker
from triortc.engine.streams.configuration import FeedbackConfiguration
from triortc.engine.streams.timing import next_multiple

__all__ = ["TransportFeedbackRecorder"]

_TICKS_PER_S: Final = 1_000_000 // TICK_US
_TICKS_PER_REFERENCE: Final = REFERENCE_TIME_US // TICK_US
_MAXIMUM_DELTA: Final = 0x7FFF
_MAXIMUM_STATUSES: Final = 0x3FFF  # in one feedback packet; its field has 16 bits, a datagram holds far fewer arrivals


class TransportFeedbackRecorder:
    """Gathers arrivals of one transport. `note` runs for every packet that carries a transport-wide sequence number.

    Args:
        sender_ssrc: ours, for the feedback packet.
        media_ssrc: any source of the peer; the field has no meaning for the whole transport.
        configuration: how often and how much.
    """

    __slots__ = (
        "_arrivals",
        "_configuration",
        "_deadline",
        "_feedback_count",
        "_next_base",
        "_tracker",
        "dropped",
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
        self._arrivals: dict[int, float] = {}
        self._next_base = -1
        self._feedback_count = 0
        self._deadline: float | None = None
        self.dropped = 0
        """Arrivals that were not recorded: unconfirmed jumps, or nobody fetched the feedback in time."""

    def note(self, transport_sequence_number: int, now: float) -> None:
        """Record an arrival. The first one counts if a number comes twice."""
        extended = self._tracker.extend(transport_sequence_number)
        arrivals = self._arrivals
        if extended < 0 or len(arrivals) >= 4 * self._configuration.maximum_packets:
            self.dropped += 1
            return
        arrivals.setdefault(extended, now)
        if self._deadline is None:
            self._deadline = self._due_after(now)
        elif len(arrivals) == self._configuration.maximum_packets:
            self._deadline = now

    def note_run(self, arrivals: list[tuple[int, float]]) -> None:
        """Record arrivals, as (transport-wide sequence number, time)."""
        tracker, noted = self._tracker, self._arrivals
        newest = tracker.newest
        if newest < 0 or len(noted) + len(arrivals) >= self._configuration.maximum_packets:
            for transport_sequence_number, arrived_at in arrivals:
                self.note(transport_sequence_number, arrived_at)
            return
        for transport_sequence_number, arrived_at in arrivals:
            if (transport_sequence_number - newest) & 0xFFFF == 1:
                newest += 1  # in order, as nearly all are
                noted[newest] = arrived_at
                continue
            if newest != tracker.newest:
                tracker.go_on(newest)
            extended = tracker.extend(transport_sequence_number)
            newest = tracker.newest
            if extended < 0:
                self.dropped += 1
            else:
                noted.setdefault(extended, arrived_at)
        if newest != tracker.newest:
            tracker.go_on(newest)
        if self._deadline is None and noted:
            self._deadline = self._due_after(arrivals[0][1])

    def _due_after(self, now: float) -> float:
        configured = self._configuration
        return next_multiple(now + configured.interval_ms / 1000, configured.grid_ms)

    @property
    def is_full(self) -> bool:
        """Whether as many arrivals wait as one feedback packet holds: they are to be sent now."""
        return len(self._arrivals) >= self._configuration.maximum_packets

    def next_deadline(self) -> float | None:
        """Return when feedback is due, None if nothing has arrived since the last one."""
        return self._deadline

    def due(self, now: float) -> list[TransportFeedback]:
        """Return the feedback to send now: usually one packet, more after a long pause or a restart.

        Empty if none is due.
        """
        if self._deadline is None or now < self._deadline:
            return []
        self._deadline = None
        pending = sorted(self._arrivals.items())
        self._arrivals.clear()
        feedback: list[TransportFeedback] = []
        while pending:
            packet, taken = self._build(pending)
            feedback.append(packet)
            pending = pending[taken:]
        return feedback

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
        self._next_base = max(self._next_base, last + 1)
        count = self._feedback_count
        self._feedback_count = (count + 1) & 0xFF
        packet = TransportFeedback(
            self.sender_ssrc,
            self.media_ssrc,
            base & 0xFFFF,
            last - base + 1,
            ((reference + 0x800000) & 0xFFFFFF) - 0x800000,
            count,
            tuple(received),
        )
        return packet, len(received)

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
