"""A payload format small enough to read in a test: the first byte says what the packet is."""

from __future__ import annotations

from collections.abc import Sequence

KEY_START = b"K"
DELTA_START = b"D"
CONTINUATION = b"c"


class ToyDepacketizer:
    """Meets the jitter buffer's `Depacketizer`. A frame's payloads begin with K or D, then c.

    A payload of X is malformed.
    """

    def is_frame_start(self, payload: bytes) -> bool:
        return payload[:1] in (KEY_START, DELTA_START)

    def is_keyframe(self, payload: bytes) -> bool:
        return payload[:1] == KEY_START

    def depacketize(self, payloads: Sequence[bytes]) -> bytes | None:
        kinds = b"".join(payload[:1] for payload in payloads)
        if kinds[:1] not in (KEY_START, DELTA_START) or kinds[1:].strip(CONTINUATION):
            return None
        return b"".join(payload[1:] for payload in payloads)


def toy_frame(keyframe: bool, data: bytes, packets: int) -> list[bytes]:
    """Split a frame into its payloads."""
    size = max(-(-len(data) // packets), 1)
    parts = [data[at * size : (at + 1) * size] for at in range(packets)]
    return [(CONTINUATION if at else KEY_START if keyframe else DELTA_START) + part for at, part in enumerate(parts)]
