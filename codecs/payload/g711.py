"""The RTP payload format of G.711, PCMU and PCMA (RFC 3551 section 4.5.14): one byte a sample, 8000 a second."""

from __future__ import annotations

from collections.abc import Sequence

from triortc.errors import ConfigurationError

__all__ = [
    "CLOCK_RATE",
    "PCMA_SILENCE",
    "PCMU_SILENCE",
    "G711Depacketizer",
    "G711Packetizer",
    "duration_samples",
    "packetize",
]

CLOCK_RATE = 8000
PCMU_SILENCE = 0xFF
"""The mu-law byte of a zero sample."""
PCMA_SILENCE = 0xD5
"""The A-law byte of the smallest sample; A-law has no zero."""


def duration_samples(payload: bytes | bytearray | memoryview) -> int:
    """How long a payload lasts, in samples at 8000 Hz."""
    return len(payload)


def packetize(frame: bytes, max_payload_bytes: int) -> list[bytes]:
    """Cut samples into payloads of at most ``max_payload_bytes``; each one's length advances the RTP timestamp.

    Raises:
        ConfigurationError: ``max_payload_bytes`` is less than 1.
    """
    if max_payload_bytes < 1:
        raise ConfigurationError("max_payload_bytes leaves no room for a sample: 160 is 20 ms")
    return [frame[start : start + max_payload_bytes] for start in range(0, len(frame), max_payload_bytes)]


class G711Packetizer:
    """`packetize` in the shape that all packetizers share."""

    __slots__ = ()

    def packetize(self, frame: bytes, max_payload_bytes: int) -> list[bytes]:
        """Cut samples into payloads; see `packetize`."""
        return packetize(frame, max_payload_bytes)


class G711Depacketizer:
    """Reads RTP payloads of PCMU and PCMA: every payload stands alone."""

    __slots__ = ()

    def is_frame_start(self, payload: bytes | bytearray | memoryview) -> bool:
        """Whether the payload carries any sample."""
        return len(payload) > 0

    def is_keyframe(self, payload: bytes | bytearray | memoryview) -> bool:
        """Whether decoding can begin here: always, when there is a sample."""
        return len(payload) > 0

    def depacketize(self, payloads: Sequence[bytes | memoryview]) -> bytes | None:
        """The samples of the payloads in order; ``None`` when there are none."""
        return b"".join(payloads) or None
