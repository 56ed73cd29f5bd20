"""Records when packets arrived and reports it to their sender (draft-holmer-rmcat-transport-wide-cc-extensions-01)."""

from __future__ import annotations

from typing import Final

from triortc.engine.rtcp.transport_feedback import REFERENCE_TIME_US, TICK_US, TransportFeedback
from triortc.engine.rtp.sequence import SequenceTracker
from triortc.engine.streams.configuration import FeedbackConfiguration

__all__ = ["TransportFeedbackRecorder"]

_TICKS_PER_S: Final = 1_000_000 // TICK_US
_TICKS_PER_REFERENCE: Final = REFERENCE_TIME_US // TICK_US
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
            self._deadline = now + self._configuration.interval_ms / 1000
        elif len(arrivals) == self._configuration.maximum_packets:
            self._deadline = now

    def note_run(self, arrivals: list[tuple[int, float]]) -> None:
        """Record arrivals, as (transport-wide sequence number, time)."""
        if self._deadline is None or len(self._arrivals) + len(arrivals) >= self._configuration.maximum_packets:
            for transport_sequence_number, arrived_at in arrivals:
                self.note(transport_sequence_number, arrived_at)
            return
        extend, noted = self._tracker.extend, self._arrivals
        for transport_sequence_number, arrived_at in arrivals:
            extended = extend(transport_sequence_number)
            if extended < 0:
                self.dropped += 1
            else:
                noted.setdefault(extended, arrived_at)

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
        received: list[tuple[int, int]] = []
        last = first
        for extended, arrived_at in pending:
            ticks = int(arrived_at * _TICKS_PER_S)
            too_far = (
                extended - last > limit
                or extended - base >= _MAXIMUM_STATUSES
                or not -0x8000 <= ticks - before <= 0x7FFF
            )
            if received and (too_far or len(received) == self._configuration.maximum_packets):
                break
            received.append((extended - base, ticks - before))
            before = ticks
            last = extended
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
