"""Compound and reduced-size RTCP packets (RFC 3550 section 6.1, RFC 5506): datagrams to values and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

from triortc.engine.rtcp.feedback import (
    FullIntraRequest,
    GenericNack,
    PictureLossIndication,
    ReceiverEstimatedMaximumBitrate,
    is_remb,
    parse_fir,
    parse_nack,
    parse_pli,
    parse_remb,
)
from triortc.engine.rtcp.reports import (
    MAXIMUM_COUNT,
    ApplicationDefined,
    Goodbye,
    ReceiverReport,
    ReportBlock,
    SdesChunk,
    SenderReport,
    SourceDescription,
    parse_application_defined,
    parse_goodbye,
    parse_receiver_report,
    parse_sender_report,
    parse_source_description,
)
from triortc.engine.rtcp.transport_feedback import TransportFeedback, parse_transport_feedback
from triortc.errors import ConfigurationError, RtpError

__all__ = [
    "MAXIMUM_PACKETS",
    "ApplicationDefined",
    "FullIntraRequest",
    "GenericNack",
    "Goodbye",
    "PictureLossIndication",
    "ReceiverEstimatedMaximumBitrate",
    "ReceiverReport",
    "ReportBlock",
    "RtcpPacket",
    "SdesChunk",
    "SenderReport",
    "SourceDescription",
    "TransportFeedback",
    "Unknown",
    "build_compound",
    "parse_compound",
]

MAXIMUM_PACKETS: Final = 64

_HEADER_BYTES: Final = 4
_TRANSPORT_FEEDBACK: Final = 205
_ARRIVALS: Final = TransportFeedback.format
_PAYLOAD_FEEDBACK: Final = 206
_APPLICATION_LAYER_FEEDBACK: Final = 15


@dataclass(slots=True, frozen=True)
class Unknown:
    """A packet of a type or format that this library does not read, kept as it came, without padding."""

    packet_type: int
    count: int
    body: bytes

    def build(self) -> tuple[int, bytes]:
        """Return the count field and the body after the common header."""
        return self.count, self.body


RtcpPacket: TypeAlias = (
    SenderReport
    | ReceiverReport
    | SourceDescription
    | Goodbye
    | ApplicationDefined
    | GenericNack
    | PictureLossIndication
    | FullIntraRequest
    | ReceiverEstimatedMaximumBitrate
    | TransportFeedback
    | Unknown
)

_BY_TYPE: Final[dict[int, Callable[[int, bytes], RtcpPacket]]] = {
    SenderReport.packet_type: parse_sender_report,
    ReceiverReport.packet_type: parse_receiver_report,
    SourceDescription.packet_type: parse_source_description,
    Goodbye.packet_type: parse_goodbye,
    ApplicationDefined.packet_type: parse_application_defined,
}
_BY_FORMAT: Final[dict[tuple[int, int], Callable[[bytes], RtcpPacket]]] = {
    (_TRANSPORT_FEEDBACK, GenericNack.format): parse_nack,
    (_TRANSPORT_FEEDBACK, TransportFeedback.format): parse_transport_feedback,
    (_PAYLOAD_FEEDBACK, PictureLossIndication.format): parse_pli,
    (_PAYLOAD_FEEDBACK, FullIntraRequest.format): parse_fir,
}


def parse_compound(data: bytes, maximum_packets: int = MAXIMUM_PACKETS) -> list[RtcpPacket]:
    """Parse an RTCP datagram, compound or reduced-size (RFC 5506).

    Raises RtpError if any part is malformed: nothing of such a datagram is used. Also for padding elsewhere than in
    the last packet (RFC 3550 6.4.1) and for more than `maximum_packets`.
    """
    packets: list[RtcpPacket] = []
    offset = 0
    length = len(data)
    if not length:
        raise RtpError("an RTCP datagram is empty")
    while offset < length:
        if length - offset < _HEADER_BYTES:
            raise RtpError("an RTCP header is cut off")
        if len(packets) == maximum_packets:
            raise RtpError(f"an RTCP datagram holds more than {maximum_packets} packets")
        first = data[offset]
        if first >> 6 != 2:
            raise RtpError("the RTCP version is not 2")
        end = offset + _HEADER_BYTES + 4 * (data[offset + 2] << 8 | data[offset + 3])
        if end > length:
            raise RtpError("an RTCP packet is longer than its datagram")
        if data[offset + 1] == _TRANSPORT_FEEDBACK and first & 0x1F == _ARRIVALS and end == length:
            # Most of what comes. Chromium sends padding counts here that reach into its arrival times; the body says
            # where it ends.
            packets.append(parse_transport_feedback(data[offset + _HEADER_BYTES :]))
            break
        body_end = _without_padding(data, offset, end) if first & 0x20 else end
        packets.append(_parse_packet(first & 0x1F, data[offset + 1], data[offset + _HEADER_BYTES : body_end]))
        offset = end
    return packets


def _without_padding(data: bytes, offset: int, end: int) -> int:
    if end != len(data):
        raise RtpError("an RTCP packet before the last one is padded")
    count = data[end - 1]
    if not 0 < count <= end - offset - _HEADER_BYTES:
        raise RtpError("the padding count of an RTCP packet is impossible")
    return end - count


def _parse_packet(count: int, packet_type: int, body: bytes) -> RtcpPacket:
    parse = _BY_TYPE.get(packet_type)
    if parse is not None:
        return parse(count, body)
    parse_feedback = _BY_FORMAT.get((packet_type, count))
    if parse_feedback is not None:
        return parse_feedback(body)
    if packet_type == _PAYLOAD_FEEDBACK and count == _APPLICATION_LAYER_FEEDBACK and is_remb(body):
        return parse_remb(body)
    return Unknown(packet_type, count, body)


def build_compound(packets: Iterable[RtcpPacket]) -> bytes:
    """Build one RTCP datagram of packets in the given order.

    A body that is not whole words is padded (RFC 3550 6.4.1), which only the last packet may be. Raises
    ConfigurationError if another one would have to be, or for a count above 31.
    """
    data = bytearray()
    pending = list(packets)
    for index, packet in enumerate(pending):
        count, body = packet.build()
        if count > MAXIMUM_COUNT:
            raise ConfigurationError(f"{count} entries do not fit an RTCP packet; split them, 31 at most")
        first = 0x80 | count
        padding = -len(body) % 4
        if padding:
            if index != len(pending) - 1:
                raise ConfigurationError(
                    "only the last packet of a compound may be padded; put transport feedback last"
                )
            first |= 0x20
            body += bytes(padding - 1) + bytes((padding,))
        data += bytes((first, packet.packet_type)) + (len(body) // 4).to_bytes(2, "big") + body
    return bytes(data)
