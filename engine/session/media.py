"""The RTP session of one remote endpoint: streams in and out, their repair and their reports, over SRTP."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from triortc.codecs.registry import MediaKind
from triortc.engine.congestion.send_side import SendSideEstimator
from triortc.engine.rtcp.ntp import ntp_to_unix
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
from triortc.engine.rtp.extensions import MID_URI, TRANSPORT_WIDE_CC_URI, elements, parse_identifier
from triortc.engine.rtp.header import (
    EXTENSION_OFFSET,
    HEADER_LENGTH,
    PADDING,
    PAYLOAD_TYPE,
    SEQUENCE_NUMBER,
    SSRC,
    RtpHeader,
    parse_header,
    payload_length,
)
from triortc.engine.sdp.negotiated import NegotiatedMedia
from triortc.engine.session.configuration import SessionConfiguration
from triortc.engine.session.feedback import handle_rtcp
from triortc.engine.session.inbound import InboundStream
from triortc.engine.session.outbound import OutboundStream, Sender, Source
from triortc.engine.session.outbox import Outbox
from triortc.engine.srtp.inbound import SrtpInbound
from triortc.engine.srtp.outbound import SrtpOutbound
from triortc.engine.streams.report_scheduler import ReportScheduler, compose_report
from triortc.engine.streams.round_trip_time import RttEstimator
from triortc.engine.streams.transport_feedback_recorder import TransportFeedbackRecorder

__all__ = ["MediaCounters", "MediaSession"]

#: Room for one decrypted payload; longer datagrams do not reach a session.
SCRATCH_BYTES: Final = 2048
#: RTCP datagrams stay below the path's MTU.
MAX_NACKS: Final = 200


@dataclass(slots=True)
class MediaCounters:
    """Packets that were not taken."""

    malformed: int = 0
    unknown_stream: int = 0
    too_many_streams: int = 0
    malformed_rtcp: int = 0


class MediaSession:
    """Streams in and out of one session. The session feeds it datagrams; its owner sets the hooks.

    Hooks are called from within the data plane: they must not block or raise.
    """

    def __init__(
        self,
        *,
        configuration: SessionConfiguration,
        outbox: Outbox,
        random_bytes: Callable[[int], bytes],
        wake: Callable[[], None],
    ) -> None:
        self._configuration = configuration
        self._outbox = outbox
        self._wake = wake
        self._random_bytes = random_bytes
        self.counters = MediaCounters()
        self.cname = random_bytes(12).hex()
        self.sections: tuple[NegotiatedMedia, ...] = ()
        #: A new stream of the peer: set its `deliver`.
        self.on_stream: Callable[[InboundStream], None] = lambda stream: None
        #: The peer needs a keyframe of what we send (PLI or FIR).
        self.on_keyframe_request: Callable[[OutboundStream, float], None] = lambda stream, now: None
        #: What we may send to the peer in all has changed, in bits per second.
        self.on_target_bitrate: Callable[[int, float], None] = lambda bitrate_bps, now: None
        #: When something authentic last came; the session takes it and sets it back.
        self.heard_at: float | None = None
        self.deadline: float | None = None
        self.secured = False
        self.rtt = RttEstimator()
        #: Our Unix time less the peer's, from the sender report that took the shortest way.
        self.source_clock_offset_s: float | None = None
        self.inbound: dict[int, InboundStream] = {}
        self._rtx: dict[int, InboundStream] = {}
        self._outbound: dict[MediaKind, OutboundStream] = {}
        self._sources: dict[MediaKind, Source] = {kind: Source(kind, random_bytes) for kind in ("audio", "video")}
        self._sender = Sender(outbox, wake)
        #: The peer's keys, once there are any; it counts what it refuses.
        self.srtp_in: SrtpInbound | None = None
        self._on_first_packet: Callable[[], None] | None = None
        self._scratch = memoryview(bytearray(SCRATCH_BYTES))
        self._reports = ReportScheduler(
            video=True, random_bytes=random_bytes, configuration=configuration.streams.reports
        )
        self._recorder: TransportFeedbackRecorder | None = None
        self._transport_cc_id = 0
        self._mid_id = 0
        self._limit_bps: int | None = None

    # -- set-up

    def source(self, kind: MediaKind) -> Source:
        """The numbers of our stream of this kind, for descriptions."""
        return self._sources[kind]

    def configure(self, sections: tuple[NegotiatedMedia, ...]) -> None:
        """Take over what offer and answer agreed on."""
        self.sections = sections
        for section in sections:
            self._transport_cc_id = section.extensions.get(TRANSPORT_WIDE_CC_URI, self._transport_cc_id)
            self._mid_id = section.extensions.get(MID_URI, self._mid_id)
            stream = self._outbound.get(section.kind)
            if stream is not None:
                stream.configure(section)
            elif section.codecs:
                self._outbound[section.kind] = OutboundStream(
                    self._sender, self._sources[section.kind], section, self._configuration.streams.retransmission
                )
        feedback = {name for section in sections for codec in section.codecs for name in codec.feedback}
        if self._transport_cc_id and "transport-cc" in feedback:
            if self._recorder is None:
                self._recorder = TransportFeedbackRecorder(
                    sender_ssrc=self._own_ssrc(), configuration=self._configuration.streams.feedback
                )
            if self._sender.estimator is None:
                self._sender.estimator = SendSideEstimator(self._configuration.congestion)
        elif "goog-remb" in feedback and self._sender.estimator is None:
            self._sender.estimator = SendSideEstimator(self._configuration.congestion)

    def secure(
        self, inbound: SrtpInbound, outbound: SrtpOutbound, *, on_first_packet: Callable[[], None], now: float
    ) -> None:
        """Install the keys; from now on packets can go both ways.

        Arguments:
            on_first_packet: called when the first authentic packet has come, which proves that the handshake is over.
        """
        self.srtp_in, self._sender.srtp = inbound, outbound
        self._on_first_packet = on_first_packet
        self.secured = True
        self._reports.start(now)
        self._find_deadline()

    def outbound(self, kind: MediaKind) -> OutboundStream | None:
        """Our stream of this kind, None if it was not negotiated."""
        return self._outbound.get(kind)

    @property
    def outbound_streams(self) -> tuple[OutboundStream, ...]:
        """Our streams."""
        return tuple(self._outbound.values())

    @property
    def estimator(self) -> SendSideEstimator | None:
        """The estimate of what the way to the peer can carry; None where the peer gives nothing to estimate from."""
        return self._sender.estimator

    def _own_ssrc(self) -> int:
        return self._sources["audio"].ssrc

    # -- in

    def receive_rtp(self, packet: memoryview, now: float) -> None:
        """An RTP packet as it came: decrypt, count, pass on."""
        header = parse_header(packet)
        srtp = self.srtp_in
        if header is None or srtp is None:
            self.counters.malformed += 1
            return
        ssrc = header[SSRC]
        scratch = self._scratch
        length = srtp.unprotect_rtp(packet, header[HEADER_LENGTH], header[SEQUENCE_NUMBER], ssrc, scratch)
        if length < 0:
            return
        self.heard_at = now
        if self._on_first_packet is not None:
            self._on_first_packet()
            self._on_first_packet = None
        if header[EXTENSION_OFFSET] and self._recorder is not None:
            self._note_transport_sequence_number(packet, header, now)
        payload = scratch[:length]
        stream = self.inbound.get(ssrc)
        if stream is None:
            repaired = self._rtx.get(ssrc)
            if repaired is None:
                stream, is_rtx = self._learn(header, packet)
                if stream is None:
                    return
                repaired = stream if is_rtx else None
            if repaired is not None:
                repaired.receive_retransmission(header, packet, payload, now)
                return
        if stream is None:
            return
        if header[PADDING]:
            length = payload_length(payload, True)
            if length < 0:
                self.counters.malformed += 1
                return
            payload = payload[:length]
        stream.receive(header, packet, payload, now)
        deadline = stream.next_deadline()
        if deadline is not None and (self.deadline is None or deadline < self.deadline):
            self.deadline = deadline

    def _note_transport_sequence_number(self, packet: memoryview, header: RtpHeader, now: float) -> None:
        wanted = self._transport_cc_id
        for element_id, offset, length in elements(packet, header):
            if element_id == wanted:
                recorder = self._recorder
                if recorder is not None and length >= 2:
                    # Senders ignore feedback that names none of their streams.
                    recorder.media_ssrc = recorder.media_ssrc or header[SSRC]
                    recorder.note((packet[offset] << 8) | packet[offset + 1], now)
                    deadline = recorder.next_deadline()
                    if deadline is not None and (self.deadline is None or deadline < self.deadline):
                        self.deadline = deadline
                return

    def _learn(self, header: RtpHeader, packet: memoryview) -> tuple[InboundStream | None, bool]:
        """The first packet of an unknown SSRC: find its section by payload type and mid (RFC 9143 section 9.2).

        Returns the media stream it belongs to, and whether it is that stream's retransmission.
        """
        payload_type, ssrc = header[PAYLOAD_TYPE], header[SSRC]
        mid = self._mid(packet, header)
        for section in self.sections:
            entry = section.codec_of(payload_type)
            if entry is None or (mid is not None and section.mid and mid != section.mid) or not section.receive:
                continue
            if payload_type == entry.rtx_payload_type:
                repaired = self._newest(section.kind, section.remote_ssrc)
                if repaired is None:
                    break
                self._rtx[ssrc] = repaired
                repaired.rtx_ssrc = ssrc
                return repaired, True
            if len(self.inbound) >= self._configuration.max_inbound_streams:
                self.counters.too_many_streams += 1
                return None, False
            streams = self._configuration.streams
            stream = InboundStream(ssrc, section, payload_type, streams.nack, streams.keyframes)
            self.inbound[ssrc] = stream
            self.on_stream(stream)
            return stream, False
        self.counters.unknown_stream += 1
        return None, False

    def _mid(self, packet: memoryview, header: RtpHeader) -> str | None:
        if not header[EXTENSION_OFFSET] or not self._mid_id:
            return None
        for element_id, offset, length in elements(packet, header):
            if element_id == self._mid_id:
                return parse_identifier(packet[offset : offset + length])
        return None

    def _newest(self, kind: MediaKind, signalled: int | None) -> InboundStream | None:
        if signalled is not None and signalled in self.inbound:
            return self.inbound[signalled]
        return next((stream for stream in reversed(self.inbound.values()) if stream.kind == kind), None)

    def receive_rtcp(self, packet: memoryview, now: float) -> None:
        """An RTCP datagram as it came (RFC 3550 section 6.1, RFC 5506)."""
        if self.srtp_in is None:
            return
        plain = self.srtp_in.unprotect_rtcp(packet)
        if plain is None:
            return
        self.heard_at = now
        if self._on_first_packet is not None:
            self._on_first_packet()
            self._on_first_packet = None
        handle_rtcp(self, plain, now)
        self._find_deadline()

    # -- what the peer's feedback asks for; called by the feedback room

    def unix_time_s(self, now: float) -> float:
        """The wall clock of `now`."""
        return now + self._configuration.wall_clock_offset_s

    def note_sender_report(self, report: SenderReport, now: float) -> None:
        """The peer has told how its RTP clock lies to its wall clock."""
        stream = self.inbound.get(report.ssrc)
        if stream is None:
            return
        stream.statistics.note_sender_report(report.ntp_timestamp, now)
        stream.clock.note_sender_report(report.ntp_timestamp, report.rtp_timestamp)
        offset = self.unix_time_s(now) - ntp_to_unix(report.ntp_timestamp)
        if self.source_clock_offset_s is None or offset < self.source_clock_offset_s:
            self.source_clock_offset_s = offset

    def outbound_of(self, ssrc: int) -> OutboundStream | None:
        """Our stream with this source."""
        return next((stream for stream in self._outbound.values() if stream.ssrc == ssrc), None)

    def note_rtt(self, rtt_s: float) -> None:
        """The round trip was measured."""
        for stream in self._outbound.values():
            stream.set_rtt(rtt_s)
        for received in self.inbound.values():
            if received.nack is not None:
                received.nack.rtt_s = rtt_s
            if received.keyframes is not None:
                received.keyframes.rtt_s = rtt_s

    def estimate_changed(self, before_bps: int, now: float) -> None:
        """Tell the owner if the estimate is another one now."""
        estimator = self._sender.estimator
        if estimator is not None and estimator.target_bps != before_bps:
            self.on_target_bitrate(estimator.target_bps, now)

    # -- out

    def request_keyframe(self, now: float) -> None:
        """Ask the peer for a keyframe of its video, as often as needed and not more."""
        for stream in self.inbound.values():
            if stream.keyframes is not None:
                stream.keyframes.request(now)
        self._send_requests(now)
        self._find_deadline()
        self._wake()

    def limit_bitrate(self, bitrate_bps: int, now: float) -> None:
        """Ask the peer to send no more than this in all (REMB); it estimates its own way beside it."""
        self._limit_bps = bitrate_bps
        self._send_limit()

    def _send_limit(self) -> None:
        ssrcs = tuple(stream.ssrc for stream in self.inbound.values() if stream.kind == "video")
        remb = any("goog-remb" in codec.feedback for section in self.sections for codec in section.codecs)
        if ssrcs and remb and self._limit_bps is not None:
            self._send_rtcp([ReceiverEstimatedMaximumBitrate(self._own_ssrc(), self._limit_bps, ssrcs)])

    def say_goodbye(self, now: float) -> None:
        """Tell the peer that our streams end (RFC 3550 section 6.6)."""
        if self.secured:
            ssrcs = tuple(stream.ssrc for stream in self._outbound.values())
            self._send_rtcp([*self._report(now), Goodbye(ssrcs)])

    def handle_timeout(self, now: float) -> None:
        """Send what is due: reports, requests, feedback."""
        if self.deadline is None or now < self.deadline:
            return
        if self._reports.due(now):
            self._send_rtcp(self._report(now))
            self._send_limit()
        self._send_requests(now)
        if self._recorder is not None:
            for feedback in self._recorder.due(now):
                self._send_rtcp([feedback])
        self._find_deadline()

    def _report(self, now: float) -> list[RtcpPacket]:
        unix_time_s = self.unix_time_s(now)
        packets = compose_report(
            senders=[stream.statistics for stream in self._outbound.values()],
            receivers=[stream.statistics for stream in self.inbound.values()],
            receiver_ssrc=self._own_ssrc(),
            cname=self.cname,
            now=now,
            unix_time_s=unix_time_s,
        )
        return [self._with_source_clock(packet, now, unix_time_s) for packet in packets]

    def _with_source_clock(self, packet: RtcpPacket, now: float, unix_time_s: float) -> RtcpPacket:
        if isinstance(packet, SenderReport):
            stream = self.outbound_of(packet.ssrc)
            timestamp = None if stream is None else stream.source_timestamp(unix_time_s)
            if timestamp is not None:
                return replace(packet, rtp_timestamp=timestamp)
        return packet

    def _send_requests(self, now: float) -> None:
        """NACK and PLI or FIR of every stream that wants one."""
        for stream in self.inbound.values():
            if stream.nack is not None:
                lost = stream.nack.due(now)
                if lost:
                    self._send_rtcp([GenericNack(self._own_ssrc(), stream.ssrc, tuple(lost[:MAX_NACKS]))])
            if stream.keyframes is not None and stream.keyframes.due(now):
                self._send_rtcp([self._keyframe_request(stream)])

    def _keyframe_request(self, stream: InboundStream) -> RtcpPacket:
        feedback = {name for codec in stream.section.codecs for name in codec.feedback}
        if "nack pli" in feedback or "ccm fir" not in feedback or stream.keyframes is None:
            return PictureLossIndication(self._own_ssrc(), stream.ssrc)
        return FullIntraRequest(self._own_ssrc(), ((stream.ssrc, stream.keyframes.command_number),))

    def _send_rtcp(self, packets: list[RtcpPacket]) -> None:
        srtp = self._sender.srtp
        if srtp is None or not packets:
            return
        reduced = bool(self.sections) and all(section.reduced_size for section in self.sections)
        whole = packets if reduced or not _is_feedback(packets[0]) else [*self._empty_report(), *packets]
        protected = srtp.protect_rtcp(build_compound(whole))
        room = self._outbox.reserve(len(protected))
        if room is not None:
            room[:] = protected
            self._outbox.commit(len(protected))
            self._wake()

    def _empty_report(self) -> list[RtcpPacket]:
        """What a compound begins with where reduced-size RTCP was not agreed on (RFC 3550 section 6.1)."""
        return compose_report(
            senders=(), receivers=(), receiver_ssrc=self._own_ssrc(), cname=self.cname, now=0.0, unix_time_s=0.0
        )

    def _find_deadline(self) -> None:
        deadlines = [self._reports.next_deadline()]
        deadlines += [stream.next_deadline() for stream in self.inbound.values()]
        if self._recorder is not None:
            deadlines.append(self._recorder.next_deadline())
        known = [deadline for deadline in deadlines if deadline is not None]
        self.deadline = min(known) if known else None


def _is_feedback(packet: RtcpPacket) -> bool:
    return isinstance(
        packet,
        GenericNack | PictureLossIndication | FullIntraRequest | ReceiverEstimatedMaximumBitrate | TransportFeedback,
    )
