"""When a session reports, and what the report holds (RFC 3550 6.2, 6.3, with the reduced minimum of RFC 4585 3.4)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Final

from triortc.engine.rtcp.packets import ReceiverReport, ReportBlock, RtcpPacket, SdesChunk, SourceDescription
from triortc.engine.rtcp.reports import CNAME, MAXIMUM_COUNT
from triortc.engine.streams.configuration import ReportConfiguration
from triortc.engine.streams.receive_statistics import ReceiveStatistics
from triortc.engine.streams.sender_statistics import SenderStatistics
from triortc.engine.streams.timing import next_multiple

__all__ = ["ReportScheduler", "compose_report"]

_RANDOM_RANGE: Final = 1 << 16


class ReportScheduler:
    """Says when the next compound report is due: each interval is drawn from 0.5 to 1.5 times the configured one.

    Args:
        video: whether the session carries video, which is reported more often.
        configuration: the intervals.
        random_bytes: where the spread comes from.
    """

    __slots__ = ("_configuration", "_deadline", "_random_bytes", "video")

    def __init__(
        self,
        *,
        video: bool,
        random_bytes: Callable[[int], bytes],
        configuration: ReportConfiguration | None = None,
    ) -> None:
        self.video = video
        self._configuration = configuration or ReportConfiguration()
        self._random_bytes = random_bytes
        self._deadline: float | None = None

    def start(self, now: float) -> None:
        """Schedule the first report, after half an interval (RFC 3550 6.2)."""
        self._deadline = self._after(now, self._interval_s() / 2)

    def stop(self) -> None:
        """Schedule no more reports."""
        self._deadline = None

    def next_deadline(self) -> float | None:
        """Return when the next report is due, None if not started."""
        return self._deadline

    def due(self, now: float) -> bool:
        """Tell whether a report is to be sent now, and if so schedule the next one."""
        if self._deadline is None or now < self._deadline:
            return False
        self._deadline = self._after(now, self._interval_s())
        return True

    def _after(self, now: float, interval_s: float) -> float:
        return next_multiple(now + interval_s, self._configuration.grid_ms)

    def _interval_s(self) -> float:
        configured = self._configuration
        interval_ms = configured.video_interval_ms if self.video else configured.audio_interval_ms
        spread = int.from_bytes(self._random_bytes(2), "big") / _RANDOM_RANGE
        return interval_ms / 1000 * (0.5 + spread)


def compose_report(
    *,
    senders: Iterable[SenderStatistics],
    receivers: Iterable[ReceiveStatistics],
    receiver_ssrc: int,
    cname: str,
    now: float,
    unix_time_s: float,
) -> list[RtcpPacket]:
    """Return the packets of one compound report: SRs or an RR, further RRs beyond 31 blocks, and SDES with the CNAME.

    Every sender that has sent gives an SR, the first of which carries the report blocks; without any, an RR of
    `receiver_ssrc` does (RFC 3550 6.1: a compound begins with a report, even an empty one, and has a CNAME).
    """
    blocks = iter([block for receiver in receivers if (block := receiver.report_block(now)) is not None])
    packets: list[RtcpPacket] = []
    ssrcs: list[int] = []
    for sender in senders:
        if not sender.packets_sent:
            continue
        report = sender.sender_report(now, unix_time_s, _take(blocks))
        if report is not None:
            packets.append(report)
            ssrcs.append(sender.ssrc)
    if not packets:
        packets.append(ReceiverReport(receiver_ssrc, _take(blocks)))
        ssrcs.append(receiver_ssrc)
    while further := _take(blocks):
        packets.append(ReceiverReport(ssrcs[0], further))
    name = cname.encode("utf-8")[:255]
    packets.append(SourceDescription(tuple(SdesChunk(ssrc, ((CNAME, name),)) for ssrc in ssrcs[:MAXIMUM_COUNT])))
    return packets


def _take(blocks: Iterable[ReportBlock]) -> tuple[ReportBlock, ...]:
    return tuple(islice(blocks, MAXIMUM_COUNT))
