"""RTP header extensions: the one-byte and two-byte forms (RFC 8285) and the values that calls use.

Positions, not slices, come out of the reading functions: the relay rewrites a value in place and needs to know where
it lies.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from triortc.engine.rtp.header import EXTENSION_OFFSET, EXTENSION_PROFILE, HEADER_LENGTH, Buffer, RtpHeader
from triortc.errors import ConfigurationError

__all__ = [
    "ABS_SEND_TIME_URI",
    "AUDIO_LEVEL_URI",
    "MID_URI",
    "ONE_BYTE_PROFILE",
    "PLAYOUT_DELAY_URI",
    "REPAIRED_RID_URI",
    "RID_URI",
    "TRANSPORT_WIDE_CC_URI",
    "TWO_BYTE_PROFILE",
    "VIDEO_ORIENTATION_URI",
    "build_extensions",
    "elements",
    "find_element",
    "format_abs_send_time",
    "format_audio_level",
    "format_identifier",
    "format_playout_delay_ms",
    "format_transport_sequence_number",
    "format_video_orientation",
    "parse_abs_send_time",
    "parse_audio_level",
    "parse_identifier",
    "parse_playout_delay_ms",
    "parse_transport_sequence_number",
    "parse_video_orientation",
]

ABS_SEND_TIME_URI: Final = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"
AUDIO_LEVEL_URI: Final = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"  # RFC 6464
MID_URI: Final = "urn:ietf:params:rtp-hdrext:sdes:mid"  # RFC 9143
PLAYOUT_DELAY_URI: Final = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay"
REPAIRED_RID_URI: Final = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id"  # RFC 8852
RID_URI: Final = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"  # RFC 8852
TRANSPORT_WIDE_CC_URI: Final = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
VIDEO_ORIENTATION_URI: Final = "urn:3gpp:video-orientation"  # 3GPP TS 26.114 section 7.4.5

ONE_BYTE_PROFILE: Final = 0xBEDE
TWO_BYTE_PROFILE: Final = 0x1000  # the low four bits are application bits, all values are the two-byte form

_STOP_IDS: Final = (0, 15)
_ONE_BYTE_MAXIMUM_ID: Final = 14
_ONE_BYTE_MAXIMUM_LENGTH: Final = 16
_ABS_SEND_TIME_RANGE_S: Final = 64.0
_ABS_SEND_TIME_UNITS: Final = 1 << 18


def elements(packet: Buffer, header: RtpHeader) -> Iterator[tuple[int, int, int]]:
    """Iterate (id, offset, length) of a packet's elements, offsets from the packet's start (RFC 8285 4.2, 4.3).

    An element that overruns ends the iteration, as do id 15 and id 0 with a length in the one-byte form; an unknown
    profile has no elements.
    """
    profile = header[EXTENSION_PROFILE]
    if profile == ONE_BYTE_PROFILE:
        return _one_byte_elements(packet, header[EXTENSION_OFFSET], header[HEADER_LENGTH])
    if profile & 0xFFF0 == TWO_BYTE_PROFILE:
        return _two_byte_elements(packet, header[EXTENSION_OFFSET], header[HEADER_LENGTH])
    return iter(())


def _one_byte_elements(packet: Buffer, offset: int, end: int) -> Iterator[tuple[int, int, int]]:
    while offset < end:
        first = packet[offset]
        offset += 1
        if not first:
            continue
        element_id = first >> 4
        length = (first & 0x0F) + 1
        if element_id in _STOP_IDS or offset + length > end:
            return
        yield element_id, offset, length
        offset += length


def _two_byte_elements(packet: Buffer, offset: int, end: int) -> Iterator[tuple[int, int, int]]:
    while offset + 1 < end:
        element_id = packet[offset]
        if not element_id:
            offset += 1
            continue
        length = packet[offset + 1]
        offset += 2
        if offset + length > end:
            return
        yield element_id, offset, length
        offset += length


def find_element(packet: Buffer, header: RtpHeader, element_id: int) -> tuple[int, int] | None:
    """Return (offset, length) of the first element with this id, None without one. For the hot path.

    Stops at the find.
    """
    profile = header[EXTENSION_PROFILE]
    if not profile:
        return None
    if profile == ONE_BYTE_PROFILE:
        return _find_one_byte(packet, header[EXTENSION_OFFSET], header[HEADER_LENGTH], element_id)
    for found, offset, length in elements(packet, header):
        if found == element_id:
            return offset, length
    return None


def _find_one_byte(packet: Buffer, offset: int, end: int, element_id: int) -> tuple[int, int] | None:
    """As `_one_byte_elements`, but written out: a generator costs three times as much, for every packet."""
    while offset < end:
        first = packet[offset]
        offset += 1
        if not first:
            continue
        found = first >> 4
        length = (first & 0x0F) + 1
        if found in _STOP_IDS or offset + length > end:
            return None
        if found == element_id:
            return offset, length
        offset += length
    return None


def build_extensions(pairs: Iterable[tuple[int, bytes]]) -> bytes:
    """Build the extension block (profile, length, elements, padding) from (id, value); empty for no pairs.

    The one-byte form is used when every element fits it (ids 1-14, 1-16 bytes), else the two-byte form (RFC 8285
    4.1.2); whether a peer takes the latter is negotiated by `a=extmap-allow-mixed`. Raises ConfigurationError for an
    id outside 1-255 or a value longer than 255 bytes.
    """
    chosen = list(pairs)
    if not chosen:
        return b""
    if all(
        1 <= element_id <= _ONE_BYTE_MAXIMUM_ID and 1 <= len(value) <= _ONE_BYTE_MAXIMUM_LENGTH
        for element_id, value in chosen
    ):
        profile = ONE_BYTE_PROFILE
        body = b"".join(bytes(((element_id << 4) | (len(value) - 1),)) + value for element_id, value in chosen)
    else:
        profile = TWO_BYTE_PROFILE
        for element_id, value in chosen:
            if not 1 <= element_id <= 255 or len(value) > 255:
                raise ConfigurationError(
                    f"extension {element_id} with {len(value)} bytes: give an id of 1 to 255 and at most 255 bytes"
                )
        body = b"".join(bytes((element_id, len(value))) + value for element_id, value in chosen)
    body += bytes(-len(body) % 4)
    return profile.to_bytes(2, "big") + (len(body) // 4).to_bytes(2, "big") + body


def parse_abs_send_time(value: Buffer) -> float | None:
    """Return the send time in seconds modulo 64 (24 bits, 6.18 fixed point), None if not 3 bytes."""
    return int.from_bytes(value, "big") / _ABS_SEND_TIME_UNITS if len(value) == 3 else None


def format_abs_send_time(now: float) -> bytes:
    """Return `now` (seconds) as abs-send-time: 24 bits, 6.18 fixed point, wrapping every 64 s."""
    return (int(now % _ABS_SEND_TIME_RANGE_S * _ABS_SEND_TIME_UNITS) & 0xFFFFFF).to_bytes(3, "big")


def parse_transport_sequence_number(value: Buffer) -> int | None:
    """Return the transport-wide sequence number, None if shorter than 2 bytes (version 2 appends a request)."""
    return (value[0] << 8) | value[1] if len(value) >= 2 else None


def format_transport_sequence_number(sequence_number: int) -> bytes:
    """Return a transport-wide sequence number as 2 bytes, modulo 2^16."""
    return (sequence_number & 0xFFFF).to_bytes(2, "big")


def parse_audio_level(value: Buffer) -> tuple[bool, int] | None:
    """Return (voice, level in dBov from 0 down to -127), None if empty (RFC 6464 section 3)."""
    return (value[0] & 0x80 != 0, -(value[0] & 0x7F)) if len(value) else None


def format_audio_level(voice: bool, level_dbov: int) -> bytes:
    """Return the audio level of a packet; `level_dbov` is clamped to -127..0 (RFC 6464 section 3)."""
    return bytes(((0x80 if voice else 0) | min(max(-level_dbov, 0), 127),))


def parse_video_orientation(value: Buffer) -> tuple[bool, bool, int] | None:
    """Return (back camera, flip horizontally, rotation in degrees), None if empty (3GPP TS 26.114 7.4.5)."""
    if not len(value):
        return None
    bits = value[0]
    return bits & 8 != 0, bits & 4 != 0, (bits & 3) * 90


def format_video_orientation(camera_back: bool, flip: bool, rotation: int) -> bytes:
    """Return coordination of video orientation.

    Raises ConfigurationError unless `rotation` is 0, 90, 180 or 270 degrees.
    """
    if rotation not in (0, 90, 180, 270):
        raise ConfigurationError(f"rotation is {rotation}; give 0, 90, 180 or 270 degrees")
    return bytes(((8 if camera_back else 0) | (4 if flip else 0) | rotation // 90,))


def parse_playout_delay_ms(value: Buffer) -> tuple[int, int] | None:
    """Return (minimum, maximum) playout delay in milliseconds (two 12-bit counts of 10 ms), None if not 3 bytes."""
    if len(value) != 3:
        return None
    bits = int.from_bytes(value, "big")
    return (bits >> 12) * 10, (bits & 0xFFF) * 10


def format_playout_delay_ms(minimum_ms: int, maximum_ms: int) -> bytes:
    """Return a playout delay; both are rounded down to 10 ms and clamped to 0..40950."""
    low = min(max(minimum_ms // 10, 0), 0xFFF)
    high = min(max(maximum_ms // 10, 0), 0xFFF)
    return ((low << 12) | high).to_bytes(3, "big")


def parse_identifier(value: Buffer) -> str | None:
    """Return a mid, rid or repaired rid; None if empty or not ASCII (RFC 9143 15.1, RFC 8852 3.1)."""
    try:
        return str(bytes(value), "ascii") or None
    except UnicodeDecodeError:
        return None


def format_identifier(identifier: str) -> bytes:
    """Return a mid, rid or repaired rid as an extension value.

    Raises ConfigurationError unless it is 1 to 255 ASCII characters.
    """
    if not identifier.isascii() or not 1 <= len(identifier) <= 255:
        raise ConfigurationError(f"the identifier {identifier!r} must be 1 to 255 ASCII characters")
    return identifier.encode("ascii")
