"""One stream that the peer sends: what is known of it, and the pieces that watch over it."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Protocol

from triortc.codecs.payload.formats import Depacketizer, depacketizer_for
from triortc.codecs.registry import MediaKind
from triortc.engine.rtcp.packets import SenderReport
from triortc.engine.rtp.header import PAYLOAD_TYPE, SEQUENCE_NUMBER, TIMESTAMP, RtpHeader
from triortc.engine.rtp.sequence import MAXIMUM_DROPOUT, MAXIMUM_MISORDER, sequence_is_newer
from triortc.engine.sdp.negotiated import NegotiatedMedia
from triortc.engine.streams.configuration import KeyframeConfiguration, NackConfiguration
from triortc.engine.streams.keyframe_requests import KeyframeRequestThrottle
from triortc.engine.streams.nack_generator import NackGenerator
from triortc.engine.streams.receive_statistics import ReceiveStatistics
from triortc.engine.streams.rtx import RtxReceiver
from triortc.engine.streams.sender_statistics import ClockMapping

__all__ = ["Deliver", "InboundStream", "OpenFlow"]


class OpenFlow(Protocol):
    """What takes a stream's ordinary packets past the slow path; see docs/architecture.md."""

    def settle(self) -> None:
        """Write back what it has counted."""

    def settle_numbers(self) -> None:
        """Write back at least which transport-wide numbers came and went: all that feedback needs."""

    def close(self) -> None:
        """Settle, and take nothing more. Safe to call twice."""


#: Gets a packet: (stream, header, whole packet for its extensions, writable payload without padding, now). All is lent.
Deliver = Callable[["InboundStream", RtpHeader, memoryview, memoryview, float], None]


def _nobody(stream: InboundStream, header: RtpHeader, packet: memoryview, payload: memoryview, now: float) -> None:
    """A stream that nobody wants is received and reported all the same."""


class InboundStream:
    """A media stream of the peer, by SSRC, with its retransmissions.

    Arguments:
        ssrc: its source.
        section: the media section it belongs to.
        payload_type: of its first packet; gives the clock rate.
        nack, keyframes: the numbers of repair.
    """

    __slots__ = (
        "_depacketizers",
        "_names",
        "_payload_type",
        "clock",
        "deliver",
        "flow",
        "keyframes",
        "kind",
        "nack",
        "nacks_sent",
        "newest",
        "retransmissions",
        "rtx_ssrc",
        "run",
        "section",
        "sender_report",
        "sender_reports",
        "ssrc",
        "statistics",
        "superseded",
    )

    def __init__(
        self,
        ssrc: int,
        section: NegotiatedMedia,
        payload_type: int,
        nack: NackConfiguration,
        keyframes: KeyframeConfiguration,
    ) -> None:
        self.ssrc = ssrc
        self.kind: MediaKind = section.kind
        entry = section.codec_of(payload_type)
        clock_rate = section.codecs[0].codec.clock_rate if entry is None else entry.codec.clock_rate
        self.statistics = ReceiveStatistics(ssrc, clock_rate)
        self.clock = ClockMapping(clock_rate)
        self._payload_type = payload_type
        asks = any("nack" in codec.feedback for codec in section.codecs)
        self.nack = NackGenerator(nack) if asks else None
        self.nacks_sent = 0
        #: The newest of the peer's reports of it, and how many there were.
        self.sender_report: SenderReport | None = None
        self.sender_reports = 0
        self.keyframes = KeyframeRequestThrottle(keyframes) if section.kind == "video" else None
        self.rtx_ssrc: int | None = None
        self.deliver: Deliver = _nobody
        #: Takes this stream's ordinary packets; to be closed before anything that it stands on changes.
        self.flow: OpenFlow | None = None
        #: The extended sequence number of the newest packet, -1 before the first.
        self.newest = -1
        #: What the numbers mean: another object as soon as the sender has begun its numbering anew.
        self.run = object()
        #: Whether the sender has gone on with another source since; what still comes of this one is late.
        self.superseded = False
        self.configure(section)

    def configure(self, section: NegotiatedMedia) -> None:
        """Take over what was negotiated, the first time and again."""
        self.close_flow()
        self.section = section
        self.retransmissions = RtxReceiver(
            self.ssrc,
            {
                codec.rtx_payload_type: codec.payload_type
                for codec in section.codecs
                if codec.rtx_payload_type is not None
            },
        )
        self._names = {codec.payload_type: codec.codec.name.lower() for codec in section.codecs}
        self._depacketizers: dict[int, Depacketizer] = {
            payload_type: depacketizer_for(name) for payload_type, name in self._names.items()
        }

    def codec_name(self, payload_type: int) -> str:
        """The codec of a payload type, in lower case; empty for one that was not agreed on."""
        return self._names.get(payload_type, "")

    def receive(self, header: RtpHeader, packet: memoryview, payload: memoryview, now: float) -> None:
        """A packet in time: count it, look for gaps before it, pass it on."""
        if header[PAYLOAD_TYPE] != self._payload_type:
            self._follow_format(header)
        extended = self.statistics.note(header[SEQUENCE_NUMBER], header[TIMESTAMP], now, len(payload))
        if extended > self.newest:
            if extended - self.newest > MAXIMUM_DROPOUT:
                self.run = object()
            self.newest = extended
        elif extended < 0:
            return
        self._take(header, packet, payload, now)

    def _follow_format(self, header: RtpHeader) -> None:
        """The sender goes on in another format, whose clock may be another one: nothing known of the first fits it."""
        entry = self.section.codec_of(header[PAYLOAD_TYPE])
        is_late = self.newest >= 0 and not sequence_is_newer(header[SEQUENCE_NUMBER], self.newest & 0xFFFF)
        if entry is None or is_late:
            return
        self._payload_type = header[PAYLOAD_TYPE]
        clock_rate = entry.codec.clock_rate
        if clock_rate != self.clock.clock_rate:
            self.statistics.change_clock_rate(clock_rate)
            self.clock = ClockMapping(clock_rate)

    def receive_retransmission(self, header: RtpHeader, packet: memoryview, payload: memoryview, now: float) -> None:
        """A packet of the retransmission stream (RFC 4588): restore the original and pass it on.

        One from before the sender began its numbers anew is dropped: among the new ones its number means nothing.
        """
        restored = self.retransmissions.restore(header, payload)
        if restored is None:
            return
        ahead = (restored[0][SEQUENCE_NUMBER] - self.newest) & 0xFFFF
        if MAXIMUM_DROPOUT < ahead < 0x10000 - MAXIMUM_MISORDER:
            self.retransmissions.dropped += 1
            return
        self._take(restored[0], packet, restored[1], now)

    def _take(self, header: RtpHeader, packet: memoryview, payload: memoryview, now: float) -> None:
        if self.nack is not None:
            self.nack.note(header[SEQUENCE_NUMBER], now)
        keyframes = self.keyframes
        if keyframes is not None and keyframes.waiting:
            depacketizer = self._depacketizers.get(header[PAYLOAD_TYPE])
            if depacketizer is not None and depacketizer.is_keyframe(payload):
                keyframes.keyframe_arrived()
                if self.nack is not None:
                    self.nack.forget_before(header[SEQUENCE_NUMBER])
        self.deliver(self, header, packet, payload, now)

    def close_flow(self) -> None:
        """From the next packet on, everything takes the slow path, until a flow is opened again."""
        if self.flow is not None:
            self.flow.close()

    def supersede(self) -> None:
        """The sender goes on with another source: ask this one for nothing more."""
        self.close_flow()
        self.superseded = True
        if self.keyframes is not None:
            self.keyframes.keyframe_arrived()
        if self.nack is not None:
            self.nack.pause(inf)

    def due_at(self) -> float:
        """When a request for packets or for a keyframe is due; infinity if none is. Runs for every packet."""
        nack, keyframes = self.nack, self.keyframes
        due = inf if nack is None else nack.deadline
        if keyframes is not None and keyframes.deadline < due:
            return keyframes.deadline
        return due
