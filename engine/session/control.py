"""What we tell the peer by RTCP: reports, requests for packets and keyframes, limits, feedback, and a good-bye."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from triortc.codecs.registry import MediaKind
from triortc.engine.rtcp.packets import (
    FullIntraRequest,
    GenericNack,
    Goodbye,
    PictureLossIndication,
    ReceiverEstimatedMaximumBitrate,
    RtcpPacket,
    SenderReport,
    TransportFeedback,
    build_compound,
)
from triortc.engine.sdp.negotiated import NegotiatedMedia
from triortc.engine.session.inbound import InboundStream
from triortc.engine.session.outbound import OutboundStream, Sender
from triortc.engine.streams.report_scheduler import compose_report

__all__ = ["Control"]

#: In one NACK: so many packets that lie apart keep its datagram below the path's MTU.
MAX_NACKS: Final = 200
#: A limit that falls below this share of what the peer was told last does not wait for the next report.
_TOLD_AT_ONCE: Final = 0.97


class Control:
    """Our RTCP of one session.

    Arguments:
        sender: keys and outbox.
        own_ssrc: the source that speaks where no stream of ours does.
        cname: ours (RFC 3550 section 6.5.1).
        inbound, outbound: the streams that are spoken of, as they come and go.
        wall_clock_offset_s: what makes `now` Unix time.
    """

    __slots__ = (
        "_cname",
        "_inbound",
        "_is_reduced",
        "_limit_told_bps",
        "_outbound",
        "_own_ssrc",
        "_sections",
        "_sender",
        "_wall_clock_offset_s",
        "limit_bps",
    )

    def __init__(
        self,
        sender: Sender,
        own_ssrc: int,
        cname: str,
        inbound: Mapping[int, InboundStream],
        outbound: Mapping[MediaKind, OutboundStream],
        wall_clock_offset_s: float,
    ) -> None:
        self._sender = sender
        self._own_ssrc = own_ssrc
        self._cname = cname
        self._inbound = inbound
        self._outbound = outbound
        self._wall_clock_offset_s = wall_clock_offset_s
        self._sections: tuple[NegotiatedMedia, ...] = ()
        #: Whether reduced-size RTCP was agreed on (RFC 5506).
        self._is_reduced = False
        #: What the peer is asked to send no more than in all; None before there was a limit.
        self.limit_bps: int | None = None
        self._limit_told_bps = 0

    @property
    def sections(self) -> tuple[NegotiatedMedia, ...]:
        """What was negotiated."""
        return self._sections

    @sections.setter
    def sections(self, sections: tuple[NegotiatedMedia, ...]) -> None:
        self._sections = sections
        self._is_reduced = bool(sections) and all(section.reduced_size for section in sections)

    def report(self, now: float) -> list[RtcpPacket]:
        """The packets of a compound report; streams must be settled."""
        unix_time_s = now + self._wall_clock_offset_s
        packets = compose_report(
            senders=[stream.statistics for stream in self._outbound.values()],
            receivers=[stream.statistics for stream in self._inbound.values()],
            receiver_ssrc=self._own_ssrc,
            cname=self._cname,
            now=now,
            unix_time_s=unix_time_s,
        )
        return [self._with_source_clock(packet, now, unix_time_s) for packet in packets]

    def _with_source_clock(self, packet: RtcpPacket, now: float, unix_time_s: float) -> RtcpPacket:
        if isinstance(packet, SenderReport):
            stream = next((one for one in self._outbound.values() if one.ssrc == packet.ssrc), None)
            timestamp = None if stream is None else stream.source_timestamp(unix_time_s)
            if timestamp is not None:
                return replace(packet, rtp_timestamp=timestamp)
        return packet

    def send_requests(self, now: float) -> None:
        """NACK and PLI or FIR of every stream that wants one."""
        for stream in self._inbound.values():
            if stream.nack is not None:
                lost = stream.nack.due(now)
                for first in range(0, len(lost), MAX_NACKS):
                    numbers = tuple(lost[first : first + MAX_NACKS])
                    self.send([GenericNack(self._own_ssrc, stream.ssrc, numbers)])
                    stream.nacks_sent += 1
            if stream.keyframes is not None and stream.keyframes.due(now):
                self.send([self._keyframe_request(stream)])

    def _keyframe_request(self, stream: InboundStream) -> RtcpPacket:
        feedback = {name for codec in stream.section.codecs for name in codec.feedback}
        if "nack pli" in feedback or "ccm fir" not in feedback or stream.keyframes is None:
            return PictureLossIndication(self._own_ssrc, stream.ssrc)
        return FullIntraRequest(self._own_ssrc, ((stream.ssrc, stream.keyframes.command_number),))

    def send(self, packets: list[RtcpPacket]) -> None:
        """Send packets as one datagram; without keys, nothing."""
        srtp = self._sender.srtp
        if srtp is None or not packets:
            return
        whole = packets if self._is_reduced or not _is_feedback(packets[0]) else [*self._empty_report(), *packets]
        self._put(srtp.protect_rtcp(build_compound(whole)))

    def send_feedback(self, packet: bytes) -> None:
        """The same with one packet that is built already, which is feedback."""
        srtp = self._sender.srtp
        if srtp is not None:
            whole = packet if self._is_reduced else build_compound(self._empty_report()) + packet
            self._put(srtp.protect_rtcp(whole))

    def _put(self, protected: bytes) -> None:
        sender = self._sender
        if sender.outbox.put(protected):
            sender.wake_media()

    def _empty_report(self) -> list[RtcpPacket]:
        """What a compound begins with where reduced-size RTCP was not agreed on (RFC 3550 section 6.1)."""
        return compose_report(
            senders=(), receivers=(), receiver_ssrc=self._own_ssrc, cname=self._cname, now=0.0, unix_time_s=0.0
        )

    def set_limit(self, bitrate_bps: int) -> None:
        """Told at once when the limit falls, else with the next report."""
        self.limit_bps = bitrate_bps
        if not self._limit_told_bps or bitrate_bps < _TOLD_AT_ONCE * self._limit_told_bps:
            self.send_limit()

    def send_limit(self) -> None:
        """Tell the peer the limit, if there is one and it has agreed to hear of it (REMB)."""
        ssrcs = tuple(
            stream.ssrc for stream in self._inbound.values() if stream.kind == "video" and not stream.superseded
        )
        remb = any("goog-remb" in codec.feedback for section in self.sections for codec in section.codecs)
        if ssrcs and remb and self.limit_bps is not None:
            self._limit_told_bps = self.limit_bps
            self.send([ReceiverEstimatedMaximumBitrate(self._own_ssrc, self.limit_bps, ssrcs)])

    def say_goodbye(self, now: float) -> None:
        """Report, and tell that our streams end (RFC 3550 section 6.6)."""
        ssrcs = tuple(stream.ssrc for stream in self._outbound.values())
        self.send([*self.report(now), Goodbye(ssrcs)])


def _is_feedback(packet: RtcpPacket) -> bool:
    return isinstance(
        packet,
        GenericNack | PictureLossIndication | FullIntraRequest | ReceiverEstimatedMaximumBitrate | TransportFeedback,
    )
