"""Which of the peer's streams a packet is of: by its source, and for a new one by payload type and mid."""

from __future__ import annotations

from dataclasses import dataclass

from triortc.engine.rtp.extensions import MID_URI, find_element, parse_identifier
from triortc.engine.rtp.header import EXTENSION_OFFSET, PAYLOAD_TYPE, SSRC, RtpHeader
from triortc.engine.sdp.negotiated import NegotiatedMedia
from triortc.engine.session.configuration import SessionConfiguration
from triortc.engine.session.inbound import InboundStream

__all__ = ["InboundStreams", "MediaCounters"]


@dataclass(slots=True)
class MediaCounters:
    """Packets that were not taken."""

    malformed: int = 0
    unknown_stream: int = 0
    too_many_streams: int = 0
    malformed_rtcp: int = 0


class InboundStreams:
    """The streams that the peer sends.

    Arguments:
        configuration: how many, and the numbers of their repair.
        counters: where packets are counted that are of none.
    """

    __slots__ = ("_configuration", "_counters", "_mid_id", "by_rtx_ssrc", "by_ssrc", "sections")

    def __init__(self, configuration: SessionConfiguration, counters: MediaCounters) -> None:
        self._configuration = configuration
        self._counters = counters
        self._mid_id = 0
        self.sections: tuple[NegotiatedMedia, ...] = ()
        self.by_ssrc: dict[int, InboundStream] = {}
        #: By the source of their retransmissions.
        self.by_rtx_ssrc: dict[int, InboundStream] = {}

    def configure(self, sections: tuple[NegotiatedMedia, ...]) -> None:
        """Take over what offer and answer agreed on."""
        self.sections = sections
        self._mid_id = next(filter(None, (section.extensions.get(MID_URI, 0) for section in sections)), 0)
        for section in sections:
            for stream in self.by_ssrc.values():
                if stream.kind == section.kind:
                    stream.configure(section)

    def learn(self, header: RtpHeader, packet: memoryview) -> InboundStream | None:
        """The first packet of an unknown SSRC: find its section by payload type and mid (RFC 9143 section 9.2).

        Returns the media stream that the packet is of or, with another SSRC than its own, a retransmission of.
        """
        payload_type, ssrc = header[PAYLOAD_TYPE], header[SSRC]
        mid = self._mid(packet, header)
        for section in self.sections:
            entry = section.codec_of(payload_type)
            if entry is None or (mid is not None and section.mid and mid != section.mid) or not section.receive:
                continue
            if payload_type == entry.rtx_payload_type:
                repaired = self._repaired_by(ssrc, section)
                if repaired is None:
                    break
                self.by_rtx_ssrc[ssrc] = repaired
                repaired.rtx_ssrc = ssrc
                return repaired
            return self._open_stream(ssrc, section, payload_type)
        self._counters.unknown_stream += 1
        return None

    def _open_stream(self, ssrc: int, section: NegotiatedMedia, payload_type: int) -> InboundStream | None:
        """A section has one source at a time: the newest, whether the peer has said so or not."""
        for older in [stream for stream in self.by_ssrc.values() if stream.kind == section.kind]:
            older.supersede()
        if len(self.by_ssrc) >= self._configuration.max_inbound_streams:
            forgotten = next((stream for stream in self.by_ssrc.values() if stream.superseded), None)
            if forgotten is None:
                self._counters.too_many_streams += 1
                return None
            del self.by_ssrc[forgotten.ssrc]
            for rtx_ssrc in [number for number, stream in self.by_rtx_ssrc.items() if stream is forgotten]:
                del self.by_rtx_ssrc[rtx_ssrc]
        streams = self._configuration.streams
        stream = self.by_ssrc[ssrc] = InboundStream(ssrc, section, payload_type, streams.nack, streams.keyframes)
        return stream

    def _mid(self, packet: memoryview, header: RtpHeader) -> str | None:
        if not header[EXTENSION_OFFSET] or not self._mid_id:
            return None
        found = find_element(packet, header, self._mid_id)
        return None if found is None else parse_identifier(packet[found[0] : found[0] + found[1]])

    def _repaired_by(self, rtx_ssrc: int, section: NegotiatedMedia) -> InboundStream | None:
        """The stream that an RTX source belongs to: as signalled (RFC 5576 FID), else the section's newest."""
        if rtx_ssrc == section.remote_rtx_ssrc and section.remote_ssrc in self.by_ssrc:
            return self.by_ssrc[section.remote_ssrc]
        return next((stream for stream in reversed(self.by_ssrc.values()) if stream.kind == section.kind), None)
