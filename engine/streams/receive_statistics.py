"""What is said of a received stream in a report block.

Loss, jitter, the last sender report (RFC 3550 6.4.1, A.3, A.8).
"""

from __future__ import annotations

from typing import Final

from triortc.engine.rtcp.ntp import middle_32, seconds_to_compact
from triortc.engine.rtcp.packets import ReportBlock
from triortc.engine.rtp.sequence import SequenceTracker, timestamp_difference

__all__ = ["DISCONTINUITY_S", "ReceiveStatistics"]

_CYCLE: Final = 0x10000
_MAXIMUM_CUMULATIVE_LOST: Final = 0x7FFFFF
_MINIMUM_CUMULATIVE_LOST: Final = -0x800000
DISCONTINUITY_S: Final = 5.0


class ReceiveStatistics:
    """Counts one received stream. `note` runs for every packet.

    Args:
        ssrc: the source that is counted.
        clock_rate: ticks of its RTP timestamp per second.
    """

    __slots__ = (
        "_expected_before",
        "_jitter",
        "_last_sr",
        "_last_sr_at",
        "_last_timestamp",
        "_received_before",
        "_received_run",
        "_tracker",
        "bytes_received",
        "clock_rate",
        "dropped",
        "last_packet_at",
        "packets_received",
        "ssrc",
    )

    def __init__(self, ssrc: int, clock_rate: int) -> None:
        self.ssrc = ssrc
        self.clock_rate = clock_rate
        self.packets_received = 0
        self.bytes_received = 0
        self.dropped = 0
        """Packets of an unconfirmed jump of the sequence number (RFC 3550 A.1)."""
        self.last_packet_at: float | None = None
        self._tracker = SequenceTracker()
        self._received_run = 0
        self._expected_before = 0
        self._received_before = 0
        self._jitter = 0.0
        self._last_timestamp = 0
        self._last_sr = 0
        self._last_sr_at = 0.0

    @property
    def restarts(self) -> int:
        """How often the sender's sequence numbers began anew."""
        return self._tracker.restarts

    @property
    def jitter_s(self) -> float:
        """Interarrival jitter in seconds."""
        return self._jitter / self.clock_rate

    @property
    def packets_lost(self) -> int:
        """Packets expected less packets received since the last restart; duplicates may make it negative."""
        tracker = self._tracker
        return tracker.newest - tracker.first + 1 - self._received_run if tracker.first >= 0 else 0

    def note(self, sequence_number: int, timestamp: int, now: float, size_bytes: int = 0) -> int:
        """Count a packet; return its extended sequence number, -1 if it belongs to a jump that is not confirmed.

        Retransmissions that came as RTX are not to be counted here: they would hide the loss.
        """
        tracker = self._tracker
        restarts = tracker.restarts
        extended = tracker.extend(sequence_number)
        if extended < 0:
            self.dropped += 1
            return -1
        if tracker.restarts != restarts:
            self._received_run = self._expected_before = self._received_before = 0
            self.last_packet_at = None
        self._received_run += 1
        self.packets_received += 1
        self.bytes_received += size_bytes
        if self.last_packet_at is not None:
            elapsed = now - self.last_packet_at
            difference = elapsed * self.clock_rate - timestamp_difference(timestamp, self._last_timestamp)
            if difference < 0:
                difference = -difference
            # A jump of either clock (hold, another source behind the same SSRC) is not network jitter.
            if difference < DISCONTINUITY_S * self.clock_rate:
                self._jitter += (difference - self._jitter) / 16
        self._last_timestamp = timestamp
        self.last_packet_at = now
        return extended

    def change_clock_rate(self, clock_rate: int) -> None:
        """The packets to come are by another clock, as their format is another one (RFC 7160 section 4)."""
        self._jitter *= clock_rate / self.clock_rate
        self.clock_rate = clock_rate
        self.last_packet_at = None

    @property
    def run(self) -> tuple[int, float, int, float]:
        """(newest extended number, jitter in ticks, last timestamp, time of the last packet) for `note_run`.

        The number is -1 while a jump is not confirmed: no run goes on then.
        """
        tracker = self._tracker
        newest = -1 if tracker.suspects else tracker.newest
        return newest, self._jitter, self._last_timestamp, self.last_packet_at or 0.0

    def note_run(
        self,
        packets: int,
        size_bytes: int,
        jitter: float,
        last_timestamp: int,
        last_packet_at: float,
        *,
        missing: int = 0,
    ) -> None:
        """Count packets that came in order, noted elsewhere since `run` was read; so many were missing between them."""
        self._tracker.newest += packets + missing
        self._received_run += packets
        self.packets_received += packets
        self.bytes_received += size_bytes
        self._jitter = jitter
        self._last_timestamp = last_timestamp
        self.last_packet_at = last_packet_at

    def note_sender_report(self, ntp_timestamp: int, now: float) -> None:
        """Remember the newest SR of this source for LSR and DLSR; `ntp_timestamp` has 64 bits."""
        self._last_sr = middle_32(ntp_timestamp)
        self._last_sr_at = now

    def report_block(self, now: float) -> ReportBlock | None:
        """Return the report block and begin the next interval; None before the first packet."""
        tracker = self._tracker
        if tracker.first < 0:
            return None
        expected = tracker.newest - tracker.first + 1
        expected_interval = expected - self._expected_before
        lost_interval = expected_interval - (self._received_run - self._received_before)
        self._expected_before = expected
        self._received_before = self._received_run
        fraction = 0
        if expected_interval > 0 and lost_interval > 0:
            fraction = min((lost_interval << 8) // expected_interval, 255)
        cumulative = min(max(expected - self._received_run, _MINIMUM_CUMULATIVE_LOST), _MAXIMUM_CUMULATIVE_LOST)
        delay = seconds_to_compact(now - self._last_sr_at) if self._last_sr else 0
        highest = (tracker.newest - _CYCLE) & 0xFFFFFFFF  # the tracker starts one cycle up
        return ReportBlock(self.ssrc, fraction, cumulative, highest, int(self._jitter), self._last_sr, delay)
