"""The fixed RTP header, CSRCs, the extension's frame and padding (RFC 3550 section 5.1, 5.3.1).

A parsed header is a plain tuple: this runs for every packet of every call. Its fields, by position, are the constants
below.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Final, TypeAlias

from triortc.errors import ConfigurationError

__all__ = [
    "EXTENSION_OFFSET",
    "EXTENSION_PROFILE",
    "FIXED_HEADER_BYTES",
    "HEADER_LENGTH",
    "MARKER",
    "PADDING",
    "PAYLOAD_TYPE",
    "SEQUENCE_NUMBER",
    "SSRC",
    "TIMESTAMP",
    "Buffer",
    "RtpHeader",
    "build_header",
    "csrcs",
    "parse_header",
    "payload_length",
]

Buffer: TypeAlias = bytes | bytearray | memoryview

RtpHeader: TypeAlias = tuple[bool, int, int, int, int, int, int, int, bool]
"""(marker, payload type, sequence number, timestamp, ssrc, header length, extension offset and profile, padding)."""

MARKER: Final = 0
PAYLOAD_TYPE: Final = 1
SEQUENCE_NUMBER: Final = 2
TIMESTAMP: Final = 3
SSRC: Final = 4
HEADER_LENGTH: Final = 5
EXTENSION_OFFSET: Final = 6
EXTENSION_PROFILE: Final = 7
PADDING: Final = 8

FIXED_HEADER_BYTES: Final = 12
_MAXIMUM_CSRCS: Final = 15
_VERSION_2: Final = 0x80
_PADDING_BIT: Final = 0x20
_EXTENSION_BIT: Final = 0x10

_FIXED = Struct("!BBHII")
_EXTENSION = Struct("!HH")
_unpack_fixed = _FIXED.unpack_from
_unpack_extension = _EXTENSION.unpack_from


def parse_header(packet: Buffer) -> RtpHeader | None:
    """Parse an RTP header; None if the packet is shorter than its header says or its version is not 2 (RFC 3550 5.1).

    `header_length` counts CSRCs and extension. `extension_offset` is where the extension's elements begin, 0 without
    the X bit; they end at `header_length`. Padding is not looked at, since it lies in the encrypted part: see
    `payload_length`.
    """
    length = len(packet)
    if length < FIXED_HEADER_BYTES:
        return None
    first, second, sequence_number, timestamp, ssrc = _unpack_fixed(packet)
    if first == _VERSION_2:
        return second > 127, second & 127, sequence_number, timestamp, ssrc, FIXED_HEADER_BYTES, 0, 0, False
    if first & 0xC0 != _VERSION_2:
        return None
    header_length = FIXED_HEADER_BYTES + 4 * (first & 0x0F)
    extension_offset = profile = 0
    if first & _EXTENSION_BIT:
        extension_offset = header_length + 4
        if extension_offset > length:
            return None
        profile, words = _unpack_extension(packet, header_length)
        header_length = extension_offset + 4 * words
    if header_length > length:
        return None
    padding = first & _PADDING_BIT != 0
    return (
        second > 127,
        second & 127,
        sequence_number,
        timestamp,
        ssrc,
        header_length,
        extension_offset,
        profile,
        padding,
    )


def payload_length(payload: Buffer, padding: bool) -> int:
    """Return the length in bytes of a decrypted payload without its padding, -1 if the padding count is impossible.

    A count of 0 or one longer than the payload is malformed (RFC 3550 5.1); a payload of nothing but padding has
    length 0.
    """
    length = len(payload)
    if not padding:
        return length
    if not length:
        return -1
    count = payload[-1]
    return length - count if 0 < count <= length else -1


def csrcs(packet: Buffer) -> tuple[int, ...]:
    """Return the contributing sources of a packet that `parse_header` accepted (RFC 3550 5.1)."""
    count = packet[0] & 0x0F
    return tuple(int.from_bytes(packet[offset : offset + 4], "big") for offset in range(12, 12 + 4 * count, 4))


def build_header(
    *,
    payload_type: int,
    sequence_number: int,
    timestamp: int,
    ssrc: int,
    marker: bool = False,
    csrcs: Sequence[int] = (),
    extension: bytes = b"",
    padding: bool = False,
) -> bytes:
    """Build an RTP header (RFC 3550 5.1).

    `extension` is what `build_extensions` returns (profile, length and elements) or empty. With `padding` the caller
    ends the payload with its padding count. Raises ConfigurationError for a payload type above 127, more than 15
    CSRCs, or an extension that is not whole 32-bit words; sequence number and timestamp are taken modulo their width.
    """
    if not 0 <= payload_type <= 127:
        raise ConfigurationError(f"payload_type is {payload_type}; give a number from 0 to 127")
    if len(csrcs) > _MAXIMUM_CSRCS:
        raise ConfigurationError(f"{len(csrcs)} CSRCs do not fit; give at most {_MAXIMUM_CSRCS}")
    if len(extension) % 4:
        raise ConfigurationError("the extension is not a whole number of 32-bit words; build it with build_extensions")
    first = _VERSION_2 | len(csrcs) | (_PADDING_BIT if padding else 0) | (_EXTENSION_BIT if extension else 0)
    second = payload_type | (0x80 if marker else 0)
    fixed = _FIXED.pack(first, second, sequence_number & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc)
    if not csrcs:
        return fixed + extension
    return fixed + b"".join(csrc.to_bytes(4, "big") for csrc in csrcs) + extension
