"""The retransmission payload format, SSRC-multiplexed (RFC 4588 section 4, 8.1).

The original sequence number, then the payload.
"""

from __future__ import annotations

from typing import Final

from triortc.engine.rtp.header import PADDING, Buffer, RtpHeader, payload_length

__all__ = ["ORIGINAL_SEQUENCE_NUMBER_BYTES", "decapsulate", "encapsulate"]

ORIGINAL_SEQUENCE_NUMBER_BYTES: Final = 2


def encapsulate(
    header: bytes, payload: Buffer, *, payload_type: int, sequence_number: int, ssrc: int
) -> tuple[bytes, bytes]:
    """Turn a sent packet into its retransmission: (header, payload).

    Timestamp, marker, CSRCs and extensions stay (RFC 4588 4).

    `header` is a whole RTP header with its extensions; the other arguments are those of the retransmission stream.
    """
    rtx_header = bytearray(header)
    rtx_header[1] = (rtx_header[1] & 0x80) | payload_type
    rtx_header[2:4] = (sequence_number & 0xFFFF).to_bytes(2, "big")
    rtx_header[8:12] = ssrc.to_bytes(4, "big")
    return bytes(rtx_header), header[2:4] + bytes(payload)


def decapsulate(
    header: RtpHeader, payload: Buffer, *, payload_type: int, ssrc: int
) -> tuple[RtpHeader, memoryview] | None:
    """Restore the original packet's header tuple and payload from a decrypted retransmission (RFC 4588 4).

    Padding is removed and its flag cleared. None when nothing is to be restored: a probe of padding only, a payload
    shorter than the original sequence number, or an impossible padding count. Offsets in the header still refer to
    the packet it came from.
    """
    length = payload_length(payload, header[PADDING])
    if length < ORIGINAL_SEQUENCE_NUMBER_BYTES:
        return None
    marker, _, _, timestamp, _, header_length, extension_offset, extension_profile, _ = header
    original = (payload[0] << 8) | payload[1]
    restored = (
        marker,
        payload_type,
        original,
        timestamp,
        ssrc,
        header_length,
        extension_offset,
        extension_profile,
        False,
    )
    return restored, memoryview(payload)[ORIGINAL_SEQUENCE_NUMBER_BYTES:length]
