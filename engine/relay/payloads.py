"""What the relay needs to know of payloads: where a keyframe begins, and where VP8 keeps its picture numbers."""

from __future__ import annotations

from typing import Final

from triortc.codecs.payload.formats import Depacketizer, depacketizer_for
from triortc.codecs.payload.vp8 import descriptor_offsets
from triortc.engine.relay.rewriter import StreamRewriter

__all__ = ["is_keyframe", "renumber_pictures"]

_VIDEO: Final[dict[str, Depacketizer]] = {name: depacketizer_for(name) for name in ("vp8", "h264")}


def is_keyframe(codec_name: str, payload: memoryview) -> bool:
    """Whether this payload begins a picture that needs no earlier one. Sound always does."""
    depacketizer = _VIDEO.get(codec_name)
    return depacketizer is None or depacketizer.is_keyframe(payload)


def renumber_pictures(codec_name: str, payload: memoryview, rewriter: StreamRewriter) -> None:
    """Rewrite PictureID and TL0PICIDX in place (RFC 7741 section 4.2): sources follow each other without a gap."""
    offsets = descriptor_offsets(payload) if codec_name == "vp8" else None
    if offsets is None:
        return
    _, picture_id_offset, picture_id_bytes, tl0_offset = offsets
    if picture_id_bytes == 2:
        picture_id = rewriter.picture_id(((payload[picture_id_offset] & 0x7F) << 8) | payload[picture_id_offset + 1])
        payload[picture_id_offset] = 0x80 | (picture_id >> 8)
        payload[picture_id_offset + 1] = picture_id & 0xFF
    elif picture_id_bytes == 1:
        payload[picture_id_offset] = rewriter.picture_id(payload[picture_id_offset], 0x7F)
    if tl0_offset >= 0:
        payload[tl0_offset] = rewriter.tl0_picture_index(payload[tl0_offset])
