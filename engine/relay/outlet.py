"""The other end of a gate: one outgoing stream, fed by one source at a time, without a seam between sources."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from triortc.codecs.registry import MediaKind
from triortc.engine.relay.converter import Converter
from triortc.engine.relay.flow import Flow
from triortc.engine.relay.gate import Gate, GateState
from triortc.engine.relay.header_shape import HeaderShape
from triortc.engine.relay.payloads import is_keyframe, renumber_pictures
from triortc.engine.relay.rewriter import StreamRewriter
from triortc.engine.rtp.extensions import AUDIO_LEVEL_URI, VIDEO_ORIENTATION_URI, find_element
from triortc.engine.rtp.header import EXTENSION_OFFSET, MARKER, PAYLOAD_TYPE, SEQUENCE_NUMBER, TIMESTAMP, RtpHeader
from triortc.engine.sdp.negotiated import NegotiatedMedia
from triortc.engine.session.events import ConnectionState
from triortc.engine.session.inbound import InboundStream
from triortc.engine.session.outbound import OutboundStream

__all__ = ["Outlet"]

#: Extensions that belong to the picture or the sound and are passed on; all others are made anew for each leg.
PASSED_ON = (AUDIO_LEVEL_URI, VIDEO_ORIENTATION_URI)


class Outlet:
    """One outgoing stream of a leg and the numbering that it keeps whoever feeds it.

    Arguments:
        stream: where packets leave.
        negotiated: the section that the receiving leg has agreed to.
        want_flow: called with (outlet, gate, stream, codec name) when the packets to come could take a short way that
            is not this plane's own.
    """

    __slots__ = (
        "_awaited",
        "_extension_ids",
        "_fed_by",
        "_floor",
        "_payload_types",
        "_restart",
        "_rewriter",
        "_source_media",
        "_want_flow",
        "converter",
        "kind",
        "negotiated",
        "own_packets",
        "source",
        "stream",
    )

    def __init__(
        self,
        stream: OutboundStream,
        negotiated: NegotiatedMedia,
        want_flow: Callable[[Outlet, Gate, InboundStream, str], None] | None = None,
    ) -> None:
        self.kind: MediaKind = negotiated.kind
        self.stream = stream
        self.negotiated = negotiated
        self.source: Gate | None = None
        #: Gets what the source sends in formats that this leg has not agreed to; None: that is dropped.
        self.converter: Converter | None = None
        #: Packets that the engine itself has made: slate, ringback, what was converted.
        self.own_packets = 0
        self._want_flow = want_flow
        self._rewriter = StreamRewriter(
            clock_rate=stream.clock_rate,
            sequence_number=stream.first_sequence_number,
            timestamp=stream.first_timestamp,
        )
        self._source_media: NegotiatedMedia | None = None
        self._payload_types: Mapping[int, tuple[int, str]] = {}
        #: (id of the source, id here) of the extensions that are passed on.
        self._extension_ids: list[tuple[int, int]] = []
        #: Whose numbers the rewriter maps: a run of a source's numbering, or this outlet itself for own packets.
        self._fed_by: object | None = None
        self._restart = True
        #: The run that is to begin, and its newest number when that was first tried: nothing older begins it.
        self._awaited: object | None = None
        self._floor = 0

    def attach(self, gate: Gate, source_media: NegotiatedMedia) -> None:
        """From the next packet on, this gate is the source; video starts with its next keyframe."""
        self.detach()
        if gate.outlet is not None:
            gate.outlet.detach()
        self.source = gate
        gate.outlet = self
        self.hold()
        self.remap(source_media)

    def detach(self) -> None:
        """No source any more."""
        self.stream.close_flow()
        if self.source is not None:
            self.source.outlet = None
            self.source = None

    def renegotiate(self, negotiated: NegotiatedMedia) -> None:
        """The receiving leg has agreed to something else."""
        self.negotiated = negotiated
        if self._source_media is not None:
            self.remap(self._source_media)

    def remap(self, source: NegotiatedMedia) -> None:
        """Find, for every payload type and extension id of the source, what it is called on this side.

        Nothing is, where the receiving leg has not agreed to receive.
        """
        self.stream.close_flow()
        self._source_media = source
        mine = {
            _format_of(entry.codec.name, entry.codec.parameters): entry for entry in reversed(self.negotiated.codecs)
        }
        mapped: dict[int, tuple[int, str]] = {}
        for entry in source.codecs if self.negotiated.send else ():
            own = mine.get(_format_of(entry.codec.name, entry.codec.parameters))
            if own is not None:
                mapped[entry.payload_type] = (own.payload_type, own.codec.name.lower())
        self._payload_types = mapped
        self._extension_ids = [
            (source.extensions[uri], self.negotiated.sendable_id(uri))
            for uri in PASSED_ON
            if uri in source.extensions and 0 < self.negotiated.sendable_id(uri) < 15
        ]

    @property
    def shares_no_format(self) -> bool:
        """Whether there is a source, and nothing that it may send is what this leg has agreed to receive."""
        source = None if self.source is None else self._source_media
        return source is not None and bool(source.codecs) and self.negotiated.send and not self._payload_types

    @property
    def waits_for_keyframe(self) -> bool:
        """Whether an open source has not yet sent the keyframe that this stream must begin with."""
        return (
            self._restart and self.kind == "video" and self.source is not None and self.source.state is GateState.OPEN
        )

    def hold(self) -> None:
        """The source was held back: it begins anew, with a keyframe if it is video."""
        self.stream.close_flow()
        self._restart = True
        self._awaited = None

    def begin_at(self, stream: InboundStream, sequence_number: int) -> None:
        """The source begins anew with this packet of its, which came a while ago; nothing older begins it."""
        self._restart = True
        self._awaited, self._floor = stream.run, sequence_number

    def forward(
        self,
        gate: Gate,
        stream: InboundStream,
        header: RtpHeader,
        packet: memoryview,
        payload: memoryview,
        now: float,
    ) -> None:
        """Send one packet of the source on, renumbered."""
        mapped = self._payload_types.get(header[PAYLOAD_TYPE])
        if mapped is None:
            self._convert(gate, stream, header, payload, now)
            return
        payload_type, codec_name = mapped
        # A source with a new SSRC or new numbers (a sender that restarted) must look like the old one to the receiver.
        if (self._restart or self._fed_by is not stream.run) and not self._begin(
            gate, stream, header, codec_name, payload, now
        ):
            return
        numbers = self._rewriter.rewrite(header[SEQUENCE_NUMBER], header[TIMESTAMP], now)
        if numbers is None:
            gate.statistics.late += 1
            return
        gate.statistics.forwarded += 1
        if gate.tap is not None:
            gate.tap(codec_name, header, payload, now)
        if self.kind == "video":
            renumber_pictures(codec_name, payload, self._rewriter)
        passed = b""
        if header[EXTENSION_OFFSET] and self._extension_ids:
            passed = self._pass_extensions(packet, header)
        self.stream.send(header[MARKER], payload_type, numbers[0], numbers[1], passed, payload, now)
        if self._want_flow is not None:
            self._want_flow(self, gate, stream, codec_name)
        elif gate.tap is None and gate.on_ready is None:
            self._open_flow(gate, stream, codec_name)

    def is_ordinary(self, gate: Gate, stream: InboundStream) -> bool:
        """Whether the packets to come, if they are like the one before, need nothing but arithmetic."""
        session = gate.session
        return (
            gate.outlet is self
            and gate.state is GateState.OPEN
            and gate.tap is None
            and gate.on_ready is None
            and not self._restart
            and self._fed_by is stream.run
            and session.path is not None
            and session.state is ConnectionState.CONNECTED
            and stream.flow is None
            and Flow.may_open(session, stream, self._rewriter, self.stream)
        )

    def mapping(self, codec_name: str) -> tuple[StreamRewriter, dict[int, int], list[tuple[int, int]]]:
        """What happens to ordinary packets: (numbers, payload types of this codec, ids of extensions passed on)."""
        types = {theirs: ours for theirs, (ours, name) in self._payload_types.items() if name == codec_name}
        return self._rewriter, types, self._extension_ids

    def _convert(self, gate: Gate, stream: InboundStream, header: RtpHeader, payload: memoryview, now: float) -> None:
        converter, codec_name = self.converter, stream.codec_name(header[PAYLOAD_TYPE])
        if converter is None or not codec_name:
            gate.statistics.unmapped += 1
            return
        if self._restart:
            if not self._may_begin(gate, stream, header, codec_name, payload, now):
                return
            self._restart = False
        gate.statistics.forwarded += 1
        if gate.tap is not None:
            gate.tap(codec_name, header, payload, now)
        converter.receive(stream, header, payload, now)

    def _open_flow(self, gate: Gate, stream: InboundStream, codec_name: str) -> None:
        """This packet was like all that follow, if nothing happens: let them take the short way."""
        session, target = gate.session, self.stream
        if not self.is_ordinary(gate, stream) or session.path is None:
            return
        transport_cc_out, abs_send_time_out = target.own_extension_ids
        shape = HeaderShape(
            transport_cc_in=session.media.transport_cc_id if session.media.feedback_recorder is not None else 0,
            transport_cc_out=transport_cc_out,
            abs_send_time_out=abs_send_time_out,
            passed=self._extension_ids,
        )
        rewriter, types, _ = self.mapping(codec_name)
        Flow(session, session.path[1], gate, stream, rewriter, target, types, codec_name, shape)

    def _begin(
        self, gate: Gate, stream: InboundStream, header: RtpHeader, codec_name: str, payload: memoryview, now: float
    ) -> bool:
        """Let the source begin with this packet; False: it cannot, and the packet is dropped."""
        if not self._may_begin(gate, stream, header, codec_name, payload, now):
            return False
        self._restart = False
        same_source = self._fed_by is stream.run
        self._follow_format(self._payload_types[header[PAYLOAD_TYPE]][0])
        self._rewriter.restart(header[SEQUENCE_NUMBER], header[TIMESTAMP], now, same_source=same_source)
        self._fed_by = stream.run
        self.stream.follow(stream, self._rewriter.timestamp_shift, gate.clock_offset)
        return True

    def _follow_format(self, payload_type: int) -> None:
        """What begins is by the clock of its format; the time since the last packet is told in it."""
        entry = self.negotiated.codec_of(payload_type)
        if entry is not None:
            self._rewriter.clock_rate = entry.codec.clock_rate

    def _may_begin(
        self, gate: Gate, stream: InboundStream, header: RtpHeader, codec_name: str, payload: memoryview, now: float
    ) -> bool:
        """Whether a source that was held back may begin with this packet; counted if not.

        A retransmission from the time before the gate was opened is not let through it.
        """
        if stream.superseded:
            gate.statistics.late += 1
            return False
        if self._awaited is not stream.run:
            self._awaited, self._floor = stream.run, stream.newest
        is_late = (header[SEQUENCE_NUMBER] - self._floor) & 0xFFFF >= 0x8000
        if is_late or (self.kind == "video" and not is_keyframe(codec_name, payload)):
            gate.statistics.dropped += 1
            if stream.keyframes is not None:
                stream.keyframes.request(now)
            return False
        return True

    def _pass_extensions(self, packet: memoryview, header: RtpHeader) -> bytes:
        passed = b""
        for element_id, own in self._extension_ids:
            found = find_element(packet, header, element_id)
            if found is not None and 0 < found[1] <= 16:
                offset, length = found
                passed += bytes(((own << 4) | (length - 1),)) + bytes(packet[offset : offset + length])
        return passed

    def send_own(
        self,
        payloads: Iterable[tuple[bytes, bool]],
        payload_type: int,
        timestamp: int,
        now: float,
        *,
        maker: object | None = None,
        source: InboundStream | None = None,
    ) -> None:
        """Send packets that the engine itself has made, in this stream's numbering.

        Arguments:
            payloads: (payload, marker) in order; sequence numbers are given here.
            timestamp: the maker's RTP clock for them.
            maker: whose clock that is; None: the slate's.
            source: the stream of the peer that has the same clock; None: the clock runs from now on.
        """
        self.stream.close_flow()
        entry = self.negotiated.codec_of(payload_type)
        codec_name = "" if entry is None else entry.codec.name.lower()
        feeder = maker or self
        for payload, marker in payloads:
            sequence_number = self.own_packets & 0xFFFF
            if self._fed_by is not feeder:
                self._fed_by = feeder
                self._follow_format(payload_type)
                self._rewriter.restart(sequence_number, timestamp, now, same_source=False)
                clock_offset = None if source is None or self.source is None else self.source.clock_offset
                self.stream.follow(source, self._rewriter.timestamp_shift, clock_offset)
            self.own_packets += 1
            numbers = self._rewriter.rewrite(sequence_number, timestamp, now)
            if numbers is not None:
                view = memoryview(bytearray(payload))
                renumber_pictures(codec_name, view, self._rewriter)
                self.stream.send(marker, payload_type, numbers[0], numbers[1], b"", view, now)


def _format_of(name: str, parameters: Mapping[str, str]) -> tuple[str, str, str]:
    """What makes two formats one in a relay: H264's packetization mode and profile count, its level does not."""
    return name.lower(), parameters.get("packetization-mode", "0"), parameters.get("profile-level-id", "")[:4].lower()
