"""SR, RR, SDES, BYE and APP (RFC 3550 section 6.4-6.7): values, bodies to values, values to bodies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Final

from triortc.errors import ConfigurationError, RtpError

__all__ = [
    "CNAME",
    "MAXIMUM_COUNT",
    "ApplicationDefined",
    "Goodbye",
    "ReceiverReport",
    "ReportBlock",
    "SdesChunk",
    "SenderReport",
    "SourceDescription",
    "parse_application_defined",
    "parse_goodbye",
    "parse_receiver_report",
    "parse_sender_report",
    "parse_source_description",
]

MAXIMUM_COUNT: Final = 31
CNAME: Final = 1

_BLOCK = Struct("!IIIIII")
_SENDER_INFORMATION = Struct("!IQIII")
_SSRC = Struct("!I")
_CUMULATIVE_SIGN: Final = 1 << 23


@dataclass(slots=True, frozen=True)
class ReportBlock:
    """What a receiver says of one source (RFC 3550 6.4.1).

    `fraction_lost` is in 1/256 of the packets since the last report, `cumulative_lost` is signed (24 bits), `jitter`
    is in timestamp units, `last_sr` the middle 32 bits of the last SR's NTP time (0: none), `delay_since_last_sr` is
    in 1/65536 s.
    """

    ssrc: int
    fraction_lost: int
    cumulative_lost: int
    highest_sequence_number: int
    jitter: int
    last_sr: int
    delay_since_last_sr: int


@dataclass(slots=True, frozen=True)
class SenderReport:
    """A sender's clock pair and counts, with report blocks on what it receives (RFC 3550 6.4.1)."""

    ssrc: int
    ntp_timestamp: int
    rtp_timestamp: int
    packet_count: int
    octet_count: int
    report_blocks: tuple[ReportBlock, ...] = ()

    packet_type = 200

    def build(self) -> tuple[int, bytes]:
        """Return the count field and the body after the common header."""
        information = _SENDER_INFORMATION.pack(
            self.ssrc,
            self.ntp_timestamp,
            self.rtp_timestamp,
            self.packet_count & 0xFFFFFFFF,
            self.octet_count & 0xFFFFFFFF,
        )
        return len(self.report_blocks), information + _build_blocks(self.report_blocks)


@dataclass(slots=True, frozen=True)
class ReceiverReport:
    """Report blocks of somebody who does not send (RFC 3550 6.4.2)."""

    ssrc: int
    report_blocks: tuple[ReportBlock, ...] = ()

    packet_type = 201

    def build(self) -> tuple[int, bytes]:
        """Return the count field and the body after the common header."""
        return len(self.report_blocks), _SSRC.pack(self.ssrc) + _build_blocks(self.report_blocks)


@dataclass(slots=True, frozen=True)
class SdesChunk:
    """The items of one source: (type, text as bytes); type 1 is CNAME (RFC 3550 6.5)."""

    ssrc: int
    items: tuple[tuple[int, bytes], ...]

    @property
    def cname(self) -> str | None:
        """The canonical name, None if the chunk has none or it is not UTF-8."""
        for item_type, text in self.items:
            if item_type == CNAME:
                try:
                    return text.decode("utf-8")
                except UnicodeDecodeError:
                    return None
        return None


@dataclass(slots=True, frozen=True)
class SourceDescription:
    """SDES: names of sources (RFC 3550 6.5)."""

    chunks: tuple[SdesChunk, ...]

    packet_type = 202

    def build(self) -> tuple[int, bytes]:
        """Return the count field and the body after the common header."""
        return len(self.chunks), b"".join(map(_build_chunk, self.chunks))


@dataclass(slots=True, frozen=True)
class Goodbye:
    """BYE: these sources are gone (RFC 3550 6.6)."""

    ssrcs: tuple[int, ...]
    reason: str | None = None

    packet_type = 203

    def build(self) -> tuple[int, bytes]:
        """Return the count field and the body after the common header. The reason is cut at 255 bytes."""
        body = b"".join(map(_SSRC.pack, self.ssrcs))
        if self.reason is not None:
            text = self.reason.encode("utf-8")[:255]
            tail = bytes((len(text),)) + text
            body += tail + bytes(-len(tail) % 4)
        return len(self.ssrcs), body


@dataclass(slots=True, frozen=True)
class ApplicationDefined:
    """APP: opaque to us (RFC 3550 6.7)."""

    subtype: int
    ssrc: int
    name: bytes
    data: bytes = b""

    packet_type = 204

    def build(self) -> tuple[int, bytes]:
        """Return the subtype and the body.

        Raises ConfigurationError for a name not of 4 bytes or data not of whole words.
        """
        if len(self.name) != 4 or len(self.data) % 4:
            raise ConfigurationError("an APP packet needs a name of 4 bytes and data of a whole number of 32-bit words")
        return self.subtype, _SSRC.pack(self.ssrc) + self.name + self.data


def parse_sender_report(count: int, body: bytes) -> SenderReport:
    """Parse the body of an SR; profile-specific extensions behind the blocks are skipped. Raises RtpError."""
    if len(body) < 24 + 24 * count:
        raise RtpError("SR is shorter than its report count says")
    ssrc, ntp_timestamp, rtp_timestamp, packet_count, octet_count = _SENDER_INFORMATION.unpack_from(body)
    return SenderReport(ssrc, ntp_timestamp, rtp_timestamp, packet_count, octet_count, _parse_blocks(body, 24, count))


def parse_receiver_report(count: int, body: bytes) -> ReceiverReport:
    """Parse the body of an RR; profile-specific extensions behind the blocks are skipped. Raises RtpError."""
    if len(body) < 4 + 24 * count:
        raise RtpError("RR is shorter than its report count says")
    return ReceiverReport(_SSRC.unpack_from(body)[0], _parse_blocks(body, 4, count))


def parse_source_description(count: int, body: bytes) -> SourceDescription:
    """Parse the body of an SDES. Raises RtpError if a chunk or an item overruns it."""
    chunks = []
    offset = 0
    for _ in range(count):
        if offset + 4 > len(body):
            raise RtpError("SDES is shorter than its source count says")
        (ssrc,) = _SSRC.unpack_from(body, offset)
        items, offset = _parse_items(body, offset + 4)
        chunks.append(SdesChunk(ssrc, items))
    return SourceDescription(tuple(chunks))


def parse_goodbye(count: int, body: bytes) -> Goodbye:
    """Parse the body of a BYE. Raises RtpError if sources or reason overrun it."""
    end = 4 * count
    if len(body) < end:
        raise RtpError("BYE is shorter than its source count says")
    ssrcs = tuple(_SSRC.unpack_from(body, offset)[0] for offset in range(0, end, 4))
    if len(body) == end:
        return Goodbye(ssrcs)
    length = body[end]
    if end + 1 + length > len(body):
        raise RtpError("the reason of a BYE overruns the packet")
    return Goodbye(ssrcs, body[end + 1 : end + 1 + length].decode("utf-8", "replace"))


def parse_application_defined(subtype: int, body: bytes) -> ApplicationDefined:
    """Parse the body of an APP. Raises RtpError if it has no name."""
    if len(body) < 8:
        raise RtpError("APP is shorter than its name")
    return ApplicationDefined(subtype, _SSRC.unpack_from(body)[0], body[4:8], body[8:])


def _parse_blocks(body: bytes, offset: int, count: int) -> tuple[ReportBlock, ...]:
    blocks = []
    for start in range(offset, offset + 24 * count, 24):
        ssrc, lost, highest, jitter, last_sr, delay = _BLOCK.unpack_from(body, start)
        cumulative = ((lost & 0xFFFFFF) ^ _CUMULATIVE_SIGN) - _CUMULATIVE_SIGN
        blocks.append(ReportBlock(ssrc, lost >> 24, cumulative, highest, jitter, last_sr, delay))
    return tuple(blocks)


def _build_blocks(blocks: Sequence[ReportBlock]) -> bytes:
    return b"".join(
        _BLOCK.pack(
            block.ssrc,
            (block.fraction_lost << 24) | (block.cumulative_lost & 0xFFFFFF),
            block.highest_sequence_number & 0xFFFFFFFF,
            block.jitter & 0xFFFFFFFF,
            block.last_sr,
            block.delay_since_last_sr,
        )
        for block in blocks
    )


def _parse_items(body: bytes, offset: int) -> tuple[tuple[tuple[int, bytes], ...], int]:
    """Items up to the null item, and where the next chunk begins: at the next 32-bit boundary (RFC 3550 6.5)."""
    items: list[tuple[int, bytes]] = []
    while True:
        if offset >= len(body):
            raise RtpError("an SDES chunk has no end")
        item_type = body[offset]
        if not item_type:
            return tuple(items), (offset // 4 + 1) * 4
        if offset + 2 > len(body) or offset + 2 + body[offset + 1] > len(body):
            raise RtpError("an SDES item overruns the packet")
        end = offset + 2 + body[offset + 1]
        items.append((item_type, body[offset + 2 : end]))
        offset = end


def _build_chunk(chunk: SdesChunk) -> bytes:
    data = bytearray(_SSRC.pack(chunk.ssrc))
    for item_type, text in chunk.items:
        if not 1 <= item_type <= 255 or len(text) > 255:
            raise ConfigurationError("an SDES item needs a type of 1 to 255 and a text of at most 255 bytes")
        data += bytes((item_type, len(text))) + text
    data += bytes(4 - len(data) % 4)  # at least one null byte ends the items
    return bytes(data)
