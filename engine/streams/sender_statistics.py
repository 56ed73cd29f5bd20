"""What is said of a sent stream in a sender report, and how its RTP clock lies to the wall clock (RFC 3550 6.4.1)."""

from __future__ import annotations

from collections.abc import Sequence

from triortc.engine.rtcp.ntp import ntp_to_unix, unix_to_ntp
from triortc.engine.rtcp.packets import ReportBlock, SenderReport
from triortc.engine.rtp.sequence import timestamp_difference

__all__ = ["ClockMapping", "SenderStatistics"]


class SenderStatistics:
    """Counts one sent stream. `note` runs for every packet.

    Args:
        ssrc: our source.
        clock_rate: ticks of its RTP timestamp per second.
    """

    __slots__ = ("_at", "_timestamp", "bytes_sent", "clock_rate", "packets_sent", "ssrc")

    def __init__(self, ssrc: int, clock_rate: int) -> None:
        self.ssrc = ssrc
        self.clock_rate = clock_rate
        self.packets_sent = 0
        self.bytes_sent = 0
        """Payload octets, without headers and padding."""
        self._timestamp = 0
        self._at = 0.0

    def note(self, timestamp: int, payload_bytes: int, now: float) -> None:
        """Count a sent packet; its timestamp becomes the anchor of the next report's RTP time."""
        self.packets_sent += 1
        self.bytes_sent += payload_bytes
        self._timestamp = timestamp
        self._at = now

    def note_run(self, packets: int, payload_bytes: int, timestamp: int, now: float) -> None:
        """Count packets, the last of which had this timestamp."""
        self.packets_sent += packets
        self.bytes_sent += payload_bytes
        self._timestamp = timestamp
        self._at = now

    def sender_report(
        self, now: float, unix_time_s: float, report_blocks: Sequence[ReportBlock] = ()
    ) -> SenderReport | None:
        """Return a report for this moment, `unix_time_s` being the wall clock of `now`.

        None before the first packet.
        """
        if not self.packets_sent:
            return None
        rtp_timestamp = (self._timestamp + round((now - self._at) * self.clock_rate)) & 0xFFFFFFFF
        return SenderReport(
            self.ssrc,
            unix_to_ntp(unix_time_s),
            rtp_timestamp,
            self.packets_sent & 0xFFFFFFFF,
            self.bytes_sent & 0xFFFFFFFF,
            tuple(report_blocks),
        )


class ClockMapping:
    """Maps RTP timestamps of a received stream to its sender's wall clock by the newest SR.

    What lip synchrony needs.
    """

    __slots__ = ("_rtp_timestamp", "_unix_s", "clock_rate")

    def __init__(self, clock_rate: int) -> None:
        self.clock_rate = clock_rate
        self._unix_s: float | None = None
        self._rtp_timestamp = 0

    def note_sender_report(self, ntp_timestamp: int, rtp_timestamp: int) -> None:
        """Take the clock pair of an SR."""
        self._unix_s = ntp_to_unix(ntp_timestamp)
        self._rtp_timestamp = rtp_timestamp

    def unix_time_s(self, timestamp: int) -> float | None:
        """Return the sender's wall clock at an RTP timestamp in seconds, None before the first SR."""
        if self._unix_s is None:
            return None
        return self._unix_s + timestamp_difference(timestamp, self._rtp_timestamp) / self.clock_rate

    def rtp_timestamp(self, unix_time_s: float) -> int | None:
        """Return the RTP timestamp at the sender's wall clock, None before the first SR."""
        if self._unix_s is None:
            return None
        return (self._rtp_timestamp + round((unix_time_s - self._unix_s) * self.clock_rate)) & 0xFFFFFFFF
