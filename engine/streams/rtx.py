"""The two ends of a retransmission stream (RFC 4588, SSRC multiplexing)."""

from __future__ import annotations

from collections.abc import Mapping

from triortc.engine.rtp.header import PAYLOAD_TYPE, Buffer, RtpHeader
from triortc.engine.rtp.rtx import decapsulate, encapsulate

__all__ = ["RtxReceiver", "RtxSender"]


class RtxSender:
    """Wraps packets of one media stream for its retransmission stream.

    Args:
        ssrc: the retransmission stream's source.
        payload_types: RTX payload type of each media payload type.
        first_sequence_number: where its own sequence numbers begin (random, RFC 3550 5.1).
    """

    __slots__ = ("_payload_types", "sequence_number", "ssrc")

    def __init__(self, ssrc: int, payload_types: Mapping[int, int], first_sequence_number: int) -> None:
        self.ssrc = ssrc
        self.sequence_number = first_sequence_number & 0xFFFF
        """The sequence number of the next packet."""
        self._payload_types = dict(payload_types)

    def wrap(self, header: bytes, payload: Buffer) -> tuple[bytes, bytes, int] | None:
        """Return (header, payload, sequence number) to send, None if the payload type has no retransmission."""
        payload_type = self._payload_types.get(header[1] & 0x7F)
        if payload_type is None:
            return None
        sequence_number = self.sequence_number
        self.sequence_number = (sequence_number + 1) & 0xFFFF
        rtx_header, rtx_payload = encapsulate(
            header, payload, payload_type=payload_type, sequence_number=sequence_number, ssrc=self.ssrc
        )
        return rtx_header, rtx_payload, sequence_number


class RtxReceiver:
    """Restores packets of one media stream from its retransmission stream.

    Args:
        media_ssrc: the source of the restored packets.
        payload_types: media payload type of each RTX payload type (its `apt`).
    """

    __slots__ = ("_payload_types", "dropped", "media_ssrc", "restored")

    def __init__(self, media_ssrc: int, payload_types: Mapping[int, int]) -> None:
        self.media_ssrc = media_ssrc
        self._payload_types = dict(payload_types)
        self.restored = 0
        self.dropped = 0
        """Probes of padding only, packets cut off and unknown payload types."""

    def restore(self, header: RtpHeader, payload: Buffer) -> tuple[RtpHeader, memoryview] | None:
        """Return the original's header tuple and payload (a view of `payload`), None if there is none to restore."""
        payload_type = self._payload_types.get(header[PAYLOAD_TYPE])
        restored = None
        if payload_type is not None:
            restored = decapsulate(header, payload, payload_type=payload_type, ssrc=self.media_ssrc)
        if restored is None:
            self.dropped += 1
        else:
            self.restored += 1
        return restored
