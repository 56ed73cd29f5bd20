"""The RTP session of one remote endpoint: streams in and out, their repair and their reports, over SRTP."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import inf
from typing import Final

from triortc.codecs.payload.formats import depacketizer_for
from triortc.codecs.registry import MediaKind
from triortc.engine.congestion.send_side import SendSideEstimator
from triortc.engine.rtcp.ntp import ntp_to_unix
from triortc.engine.rtcp.packets import SenderReport
from triortc.engine.rtp.extensions import TRANSPORT_WIDE_CC_URI, find_element
from triortc.engine.rtp.header import (
    EXTENSION_OFFSET,
    HEADER_LENGTH,
    PADDING,
    SEQUENCE_NUMBER,
    SSRC,
    RtpHeader,
    parse_header,
    payload_length,
)
from triortc.engine.sdp.negotiated import NegotiatedMedia
from triortc.engine.session.configuration import SessionConfiguration
from triortc.engine.session.control import Control
from triortc.engine.session.feedback import handle_rtcp
from triortc.engine.session.inbound import InboundStream
from triortc.engine.session.inbound_streams import InboundStreams, MediaCounters
from triortc.engine.session.outbound import OutboundStream, Sender, Source
from triortc.engine.session.outbox import Outbox
from triortc.engine.srtp.inbound import SrtpInbound
from triortc.engine.srtp.outbound import SrtpOutbound
from triortc.engine.streams.report_scheduler import ReportScheduler
from triortc.engine.streams.round_trip_time import RttEstimator
from triortc.engine.streams.timing import next_multiple
from triortc.engine.streams.transport_feedback_recorder import TransportFeedbackRecorder

__all__ = ["MediaCounters", "MediaSession"]

#: Room for one decrypted payload; longer datagrams do not reach a session.
SCRATCH_BYTES: Final = 2048
#: No network delays a report for so long: the peer's wall clock was put back.
_CLOCK_SET_BACK_S: Final = 10.0


def _tell_nobody(*_about: object) -> None:
    """In the place of a hook."""


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
        wake_media: Callable[[], None],
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
        #: The peer sends with this SSRC, as an authentic packet shows.
        self.on_source: Callable[[int], None] = lambda ssrc: None
        #: The peer needs a keyframe of what we send (PLI or FIR).
        self.on_keyframe_request: Callable[[OutboundStream, float], None] = lambda stream, now: None
        #: What a source whose stream is passed on to the peer should be held to has changed; None: to nothing.
        self.on_limit: Callable[[int | None, float], None] = lambda bitrate_bps, now: None
        #: When something authentic last came; the session takes it and sets it back.
        self.heard_at: float | None = None
        self.secured = False
        self._due_at = inf
        self.rtt = RttEstimator()
        #: Our Unix time less the peer's, from the sender report that took the shortest way.
        self.source_clock_offset_s: float | None = None
        self._streams = InboundStreams(configuration, self.counters)
        #: The peer's streams by SSRC.
        self.inbound = self._streams.by_ssrc
        #: Every SSRC that was told to `on_source`; the SRTP limit of SSRCs bounds them.
        self.heard_sources: set[int] = set()
        self._rtx = self._streams.by_rtx_ssrc
        self._outbound: dict[MediaKind, OutboundStream] = {}
        self._sources: dict[MediaKind, Source] = {kind: Source(kind, random_bytes) for kind in ("audio", "video")}
        self._sender = Sender(outbox, wake_media)
        #: What we tell the peer by RTCP.
        self.control = Control(
            self._sender,
            self._own_ssrc(),
            self.cname,
            self.inbound,
            self._outbound,
            configuration.wall_clock_offset_s,
        )
        #: The peer's keys, once there are any; it counts what it refuses.
        self.srtp_in: SrtpInbound | None = None
        self._on_first_packet: Callable[[], None] | None = None
        self._scratch = memoryview(bytearray(SCRATCH_BYTES))
        self._reports = ReportScheduler(
            video=True, random_bytes=random_bytes, configuration=configuration.streams.reports
        )
        self._recorder: TransportFeedbackRecorder | None = None
        #: When flows that count arrivals elsewhere are to be settled, so that feedback is in time.
        self.settle_at = inf
        self._transport_cc_id = 0
        self._own_limit_bps: int | None = None

    def release(self) -> None:
        """Let go of everybody who is told of something: the owner has removed the session and hears of it no more.

        The hooks lead back to the session, most of them. Without this only the garbage collector, which servers let run
        seldom, would find out that all of it can go: 160 kB a leg.
        """
        self.on_stream = self.on_source = self.on_keyframe_request = self.on_limit = _tell_nobody
        self._wake = self._sender.wake_media = _tell_nobody
        self._on_first_packet = None
        if self._sender.estimator is not None:
            self._sender.estimator.settle_sent = _tell_nobody
        for stream in self.inbound.values():
            stream.deliver = _tell_nobody
        for sent in self._outbound.values():
            sent.follow(None, 0)  # two legs that feed each other hold each other

    # -- set-up

    def source(self, kind: MediaKind) -> Source:
        """The numbers of our stream of this kind, for descriptions."""
        return self._sources[kind]

    def configure(self, sections: tuple[NegotiatedMedia, ...]) -> None:
        """Take over what offer and answer agreed on. What was there before and is not any more sends no more.

        Raises:
            ConfigurationError: a codec has no payload format here, so that its packets could not be read.
        """
        for section in sections:
            for entry in section.codecs:
                depacketizer_for(entry.codec.name)
        self.sections = self.control.sections = sections
        self._streams.configure(sections)
        ids = (section.extensions.get(TRANSPORT_WIDE_CC_URI, 0) for section in sections)
        self._transport_cc_id = next(filter(None, ids), 0)
        for section in sections:
            stream = self._outbound.get(section.kind)
            if stream is not None:
                stream.configure(section)
            elif section.codecs:
                self._outbound[section.kind] = OutboundStream(
                    self._sender, self._sources[section.kind], section, self._configuration.streams.retransmission
                )
        for stream in self._outbound.values():
            if all(section.kind != stream.kind for section in sections):
                stream.configure(replace(stream.section, direction="inactive"))  # refused since: RFC 3264 section 8.2
        feedback = {name for section in sections for codec in section.codecs for name in codec.feedback}
        if self._transport_cc_id and "transport-cc" in feedback:
            if self._recorder is None:
                self._recorder = TransportFeedbackRecorder(
                    sender_ssrc=self._own_ssrc(), configuration=self._configuration.streams.feedback
                )
            self._estimate()
        elif "goog-remb" in feedback:
            self._estimate()

    def _estimate(self) -> None:
        if self._sender.estimator is None:
            self._sender.estimator = SendSideEstimator(self._configuration.congestion)
            self._sender.estimator.settle_sent = self._settle_sent

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

    @property
    def deadline(self) -> float | None:
        """When `handle_timeout` wants to be called; None: never."""
        return None if self._due_at == inf else self._due_at

    # -- in

    def receive_rtp(self, packet: memoryview, arrived_at: float, now: float) -> None:
        """An RTP packet as it came: decrypt, count, pass on. Feedback tells when it arrived, not when we came to it."""
        header = parse_header(packet)
        srtp = self.srtp_in
        if header is None or srtp is None:
            self.counters.malformed += 1
            return
        ssrc = header[SSRC]
        known = self.inbound.get(ssrc)
        if known is not None and known.flow is not None:
            known.flow.settle()  # the index it is at decides what this packet's is
        scratch = self._scratch
        length = srtp.unprotect_rtp(packet, header[HEADER_LENGTH], header[SEQUENCE_NUMBER], ssrc, scratch)
        if length < 0:
            return
        self.heard_at = now
        if self._on_first_packet is not None:
            self._on_first_packet()
            self._on_first_packet = None
        if header[EXTENSION_OFFSET] and self._recorder is not None:
            self._note_transport_sequence_number(self._recorder, packet, header, arrived_at)
        payload = scratch[:length]
        stream = self.inbound.get(ssrc) or self._rtx.get(ssrc) or self._learn(header, packet)
        if stream is None:
            return
        if stream.flow is not None:
            stream.flow.close()
        if stream.ssrc != ssrc:
            stream.receive_retransmission(header, packet, payload, now)
        else:
            if header[PADDING]:
                length = payload_length(payload, True)
                if length < 0:
                    self.counters.malformed += 1
                    return
                payload = payload[:length]
            stream.receive(header, packet, payload, now)
        due_at = stream.due_at()
        if due_at < self._due_at:
            self._due_at = due_at

    def _note_transport_sequence_number(
        self, recorder: TransportFeedbackRecorder, packet: memoryview, header: RtpHeader, arrived_at: float
    ) -> None:
        found = find_element(packet, header, self._transport_cc_id)
        if found is None or found[1] < 2:
            return
        # Senders ignore feedback that names none of their streams.
        recorder.media_ssrc = recorder.media_ssrc or header[SSRC]
        recorder.note((packet[found[0]] << 8) | packet[found[0] + 1], arrived_at)
        due_at = self._feedback_at(recorder)
        if due_at < self._due_at:
            self._due_at = due_at

    def _feedback_at(self, recorder: TransportFeedbackRecorder) -> float:
        """When feedback is due; infinity if none is, or if it goes out when flows that run elsewhere are settled."""
        due_at = recorder.next_deadline()
        return inf if due_at is None or (self.settle_at < inf and not recorder.is_full) else due_at

    @property
    def feedback_recorder(self) -> TransportFeedbackRecorder | None:
        """Records arrivals for the peer's estimate, where it was agreed on."""
        return self._recorder

    @property
    def transport_cc_id(self) -> int:
        """The id of the transport-wide number in what the peer sends, 0 for none."""
        return self._transport_cc_id

    def note_transport_sequence_numbers(
        self, numbers: Sequence[int], times: Sequence[float], ssrc: int, ticks: Sequence[int] = ()
    ) -> None:
        """Packets of a flow have come: their transport-wide numbers, and the time of each, in ticks as well if known.

        See :meth:`TransportFeedbackRecorder.note_run`.
        """
        recorder = self._recorder
        if recorder is None or not recorder.note_run(numbers, times, ticks):
            return
        recorder.media_ssrc = recorder.media_ssrc or ssrc
        due_at = self._feedback_at(recorder)
        if due_at < self._due_at:
            self._due_at = due_at
            self._wake()

    def _learn(self, header: RtpHeader, packet: memoryview) -> InboundStream | None:
        """The first packet of an unknown source: the stream that it is of, or a retransmission of."""
        stream = self._streams.learn(header, packet)
        if stream is not None and stream.ssrc == header[SSRC]:
            self.heard_sources.add(stream.ssrc)
            self.on_stream(stream)
            self.on_source(stream.ssrc)
        return stream

    def receive_rtcp(self, packet: bytes | memoryview, now: float) -> None:
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

    # -- what the peer's feedback asks for; called by the feedback room

    def unix_time_s(self, now: float) -> float:
        """The wall clock of `now`."""
        return now + self._configuration.wall_clock_offset_s

    def _settle_sent(self) -> None:
        """Bring up to date how much was sent."""
        for stream in self._outbound.values():
            if stream.flow is not None:
                stream.flow.settle_numbers()

    def note_sender_report(self, report: SenderReport, now: float) -> None:
        """The peer has told how its RTP clock lies to its wall clock."""
        stream = self.inbound.get(report.ssrc)
        if stream is None:
            return
        stream.sender_report = report
        stream.sender_reports += 1
        stream.statistics.note_sender_report(report.ntp_timestamp, now)
        if not report.ntp_timestamp:
            return  # the sender has no wall clock (RFC 3550 section 6.4.1)
        stream.clock.note_sender_report(report.ntp_timestamp, report.rtp_timestamp)
        offset, known = self.unix_time_s(now) - ntp_to_unix(report.ntp_timestamp), self.source_clock_offset_s
        if known is None or offset < known or offset > known + _CLOCK_SET_BACK_S:
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

    def check_limit(self, now: float) -> None:
        """Tell the owner if feedback has changed what a source should be held to."""
        estimator = self._sender.estimator
        if estimator is None:
            return
        limit_bps = estimator.limit_bps(now)
        if limit_bps != self._own_limit_bps:
            self._own_limit_bps = limit_bps
            self.on_limit(limit_bps, now)

    # -- out

    def request_keyframe(self, now: float) -> None:
        """Ask the peer for a keyframe of its video, as often as needed and not more."""
        for stream in self.inbound.values():
            if stream.keyframes is not None and not stream.superseded:
                stream.close_flow()  # the keyframe is to be seen when it comes
                stream.keyframes.request(now)
        self.control.send_requests(now)
        self._find_deadline()
        self._wake()

    def limit_bitrate(self, bitrate_bps: int | None, now: float) -> None:
        """Ask the peer to send no more than this in all (REMB; None: whatever it can); it estimates its own way too.

        Told at once when the limit falls, else with the next report. A peer that has not agreed to goog-remb is told
        nothing: there the receiver's losses are all that can be repaired.
        """
        if bitrate_bps is None:
            bitrate_bps = self._configuration.congestion.maximum_bps
        self.control.set_limit(bitrate_bps)

    def say_goodbye(self, now: float) -> None:
        """Tell the peer that our streams end (RFC 3550 section 6.6)."""
        if self.secured:
            self.settle_flows()
            self.control.say_goodbye(now)

    def stop(self) -> None:
        """Send nothing more, and take nothing: the way to the peer is closed or not allowed any more."""
        self.close_flows()
        self.secured = False
        self._sender.srtp = None
        self._reports.stop()
        self._due_at = inf

    def close_flows(self) -> None:
        """Leave every packet from and to the peer to the slow path, until flows are opened again."""
        for received in self.inbound.values():
            received.close_flow()
        for stream in self._outbound.values():
            stream.close_flow()

    def note_due(self, due_at: float) -> None:
        """A request for packets will be due then."""
        if due_at < self._due_at:
            self._due_at = due_at
            self._wake()

    def pause_repair(self, until: float) -> None:
        """This machine cannot keep up: do not ask for what is missing before then, and forget what is missing now."""
        for stream in self.inbound.values():
            if stream.nack is not None:
                stream.nack.pause(until)

    def settle_in_time(self, since: float) -> None:
        """Flows of the peer count arrivals elsewhere: fetch them as often as feedback goes out."""
        if self._recorder is not None and self.settle_at == inf:
            configured = self._configuration.streams.feedback
            self.settle_at = next_multiple(since + configured.interval_ms / 1000, configured.settle_grid_ms)
            self._due_at = min(self._due_at, self.settle_at)

    def settle_arrivals(self) -> None:
        """Bring up to date what flows count of what the peer sends, and when something of that came."""
        for received in self.inbound.values():
            if received.flow is not None:
                received.flow.settle()

    def settle_flows(self) -> None:
        """Bring up to date what flows count, both ways."""
        self.settle_arrivals()
        for stream in self._outbound.values():
            if stream.flow is not None:
                stream.flow.settle()

    def handle_timeout(self, now: float) -> None:
        """Send what is due: reports, requests, feedback."""
        if now < self._due_at:
            return
        feedback_until = now
        if now >= self.settle_at:
            # A little late is no reason to tell less often; much is, or one never gets back to the others' times.
            since = max(self.settle_at, now - self._configuration.streams.feedback.settle_grid_ms / 1000)
            self.settle_at, feedback_until = inf, inf  # what flows have counted elsewhere goes out at once
            has_flows = False
            for received in self.inbound.values():
                if received.flow is not None:
                    received.flow.settle_numbers()
                    has_flows = True
            if has_flows:
                self.settle_in_time(since)
        if self._reports.due(now):
            self.settle_flows()
            self.control.send(self.control.report(now))
            self.control.send_limit()
        self.control.send_requests(now)
        recorder = self._recorder
        if recorder is not None and (feedback_until == inf or self._feedback_at(recorder) <= now):
            for feedback in recorder.due(feedback_until):
                self.control.send_feedback(feedback)
        self._find_deadline()

    def _find_deadline(self) -> None:
        due_at = self._reports.next_deadline() or inf
        for stream in self.inbound.values():
            stream_at = stream.due_at()
            if stream_at < due_at:
                due_at = stream_at
        feedback_at = inf if self._recorder is None else self._feedback_at(self._recorder)
        self._due_at = min(due_at, feedback_at, self.settle_at)
