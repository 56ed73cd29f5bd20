"""The RTP payload format of VP8 (RFC 7741) and what of a VP8 frame can be read without decoding it (RFC 6386)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from triortc.codecs.payload.splitting import even_chunks
from triortc.errors import ConfigurationError

__all__ = [
    "Vp8Depacketizer",
    "Vp8Descriptor",
    "Vp8Packetizer",
    "build_descriptor",
    "descriptor_offsets",
    "frame_size",
    "is_keyframe_data",
    "packetize",
    "parse_descriptor",
]

# First byte of the descriptor, RFC 7741 section 4.2: |X|R|N|S|R| PID |
_X = 0x80
_N = 0x20
_S = 0x10
_PARTITION = 0x07
# The extension byte: |I|L|T|K| reserved |
_I = 0x80
_L = 0x40
_T = 0x20
_K = 0x10
_M = 0x80  # the PictureID has 15 bits

_START_CODE = b"\x9d\x01\x2a"  # RFC 6386 section 9.1, in key frames only


class Vp8Descriptor(NamedTuple):
    """A payload descriptor. Fields that the packet does not carry are ``None``.

    ``picture_id_bits`` is 7 or 15, and 0 without a PictureID. ``length`` is the descriptor's size in bytes.
    """

    length: int
    start: bool
    partition: int
    non_reference: bool
    picture_id: int | None
    picture_id_bits: int
    tl0picidx: int | None
    temporal_id: int | None
    layer_sync: bool
    key_index: int | None


def descriptor_offsets(payload: bytes | bytearray | memoryview) -> tuple[int, int, int, int] | None:
    """Where a relay finds the fields it renumbers, for rewriting them in place (RFC 7741 section 4.2).

    Args:
        payload: an RTP payload, from the descriptor's first byte.

    Returns:
        ``(length, picture_id_offset, picture_id_bytes, tl0picidx_offset)``: the descriptor's length, and byte offsets
        from the start of the payload, -1 for a field that is not there. ``picture_id_bytes`` is 0, 1 or 2; the
        two-byte form has its M bit (0x80) set in the first byte, and a rewrite must keep it. ``None`` when the
        descriptor is cut short.
    """
    size = len(payload)
    if size == 0:
        return None
    if not payload[0] & _X:
        return 1, -1, 0, -1
    if size < 2:
        return None
    flags = payload[1]
    offset = 2
    picture_id_offset = tl0picidx_offset = -1
    picture_id_bytes = 0
    if flags & _I:
        if size < 3:
            return None
        picture_id_offset = 2
        picture_id_bytes = 2 if payload[2] & _M else 1
        offset += picture_id_bytes
    if flags & _L:
        tl0picidx_offset = offset
        offset += 1
    if flags & (_T | _K):
        offset += 1
    if offset > size:
        return None
    return offset, picture_id_offset, picture_id_bytes, tl0picidx_offset


def parse_descriptor(payload: bytes | bytearray | memoryview) -> Vp8Descriptor | None:
    """Parse the payload descriptor at the start of ``payload`` (RFC 7741 section 4.2).

    Returns:
        The descriptor, or ``None`` when it is cut short. Reserved bits are ignored, as the RFC asks.
    """
    offsets = descriptor_offsets(payload)
    if offsets is None:
        return None
    length, picture_id_offset, picture_id_bytes, tl0picidx_offset = offsets
    first = payload[0]
    picture_id = tl0picidx = temporal_id = key_index = None
    layer_sync = False
    if picture_id_bytes == 1:
        picture_id = payload[picture_id_offset]
    elif picture_id_bytes == 2:
        picture_id = (payload[picture_id_offset] & 0x7F) << 8 | payload[picture_id_offset + 1]
    if tl0picidx_offset >= 0:
        tl0picidx = payload[tl0picidx_offset]
    if first & _X:
        flags = payload[1]
        last = payload[length - 1]  # |TID|Y| KEYIDX |, there when T or K is set
        if flags & _T:
            temporal_id = last >> 6
            layer_sync = bool(last & 0x20)
        if flags & _K:
            key_index = last & 0x1F
    return Vp8Descriptor(
        length,
        bool(first & _S),
        first & _PARTITION,
        bool(first & _N),
        picture_id,
        (0, 7, 15)[picture_id_bytes],
        tl0picidx,
        temporal_id,
        layer_sync,
        key_index,
    )


def build_descriptor(
    *,
    start: bool,
    partition: int = 0,
    non_reference: bool = False,
    picture_id: int | None = None,
    picture_id_bits: int = 15,
    tl0picidx: int | None = None,
    temporal_id: int | None = None,
    layer_sync: bool = False,
    key_index: int | None = None,
) -> bytes:
    """Build a payload descriptor (RFC 7741 section 4.2).

    Args:
        start: the payload begins a VP8 partition (S).
        partition: the partition's index, 0 to 7.
        non_reference: no other frame depends on this one (N).
        picture_id: the frame's number; taken modulo its width.
        picture_id_bits: 7 or 15. A sender keeps one width within a stream.
        tl0picidx: running number of temporal base layer frames, modulo 256. Needs ``temporal_id``.
        temporal_id: 0 to 3.
        layer_sync: the frame depends on the base layer only (Y).
        key_index: running number of key frames, modulo 32.

    Raises:
        ConfigurationError: a field is out of its range, or TL0PICIDX comes without a temporal layer.
    """
    if not 0 <= partition <= 7:
        raise ConfigurationError("partition is out of range: give 0 to 7")
    if picture_id_bits not in (7, 15):
        raise ConfigurationError("picture_id_bits has no such form: give 7 or 15")
    if temporal_id is not None and not 0 <= temporal_id <= 3:
        raise ConfigurationError("temporal_id is out of range: give 0 to 3, or None")
    if tl0picidx is not None and temporal_id is None:
        raise ConfigurationError("tl0picidx means nothing without temporal layers: give temporal_id too")
    first = partition | (_S if start else 0) | (_N if non_reference else 0)
    flags = 0
    fields = bytearray()
    if picture_id is not None:
        flags |= _I
        if picture_id_bits == 15:
            fields += (0x8000 | picture_id & 0x7FFF).to_bytes(2, "big")
        else:
            fields.append(picture_id & 0x7F)
    if tl0picidx is not None:
        flags |= _L
        fields.append(tl0picidx & 0xFF)
    if temporal_id is not None or key_index is not None:
        layers = 0
        if temporal_id is not None:
            flags |= _T
            layers |= temporal_id << 6 | (0x20 if layer_sync else 0)
        if key_index is not None:
            flags |= _K
            layers |= key_index & 0x1F
        fields.append(layers)
    if not flags:
        return bytes((first,))
    return bytes((first | _X, flags)) + fields


def packetize(
    frame: bytes,
    max_payload_bytes: int,
    *,
    picture_id: int | None = None,
    picture_id_bits: int = 15,
    tl0picidx: int | None = None,
    temporal_id: int | None = None,
    layer_sync: bool = False,
    key_index: int | None = None,
    non_reference: bool = False,
) -> list[bytes]:
    """Cut a VP8 frame into RTP payloads of nearly equal size (RFC 7741 section 4).

    Args:
        frame: one encoded frame.
        max_payload_bytes: the most bytes of a payload, descriptor included.
        picture_id: as in `build_descriptor`, the same on every payload of the frame; so are all below.
        picture_id_bits: 7 or 15.
        tl0picidx: running number of temporal base layer frames.
        temporal_id: 0 to 3.
        layer_sync: the frame depends on the base layer only.
        key_index: running number of key frames.
        non_reference: no other frame depends on this one.

    Returns:
        The payloads in order; the last one's RTP packet takes the marker bit. Empty for an empty frame.

    Raises:
        ConfigurationError: a field is out of range, or ``max_payload_bytes`` is not larger than the descriptor.
    """
    if not frame:
        return []
    first = build_descriptor(
        start=True,
        non_reference=non_reference,
        picture_id=picture_id,
        picture_id_bits=picture_id_bits,
        tl0picidx=tl0picidx,
        temporal_id=temporal_id,
        layer_sync=layer_sync,
        key_index=key_index,
    )
    following = bytes((first[0] & ~_S,)) + first[1:]
    chunks = even_chunks(len(frame), max_payload_bytes - len(first))
    return [(following if begin else first) + frame[begin:end] for begin, end in chunks]


def is_keyframe_data(frame: bytes | bytearray | memoryview) -> bool:
    """Whether an encoded frame is a key frame: its P bit is 0 (RFC 6386 section 9.1). ``False`` for no bytes."""
    return len(frame) > 0 and not frame[0] & 0x01


def frame_size(frame: bytes | bytearray | memoryview) -> tuple[int, int] | None:
    """Width and height in pixels that a key frame carries, without scaling (RFC 6386 section 9.1).

    Returns:
        ``None`` for an inter frame, and for a key frame that is cut short or has no start code.
    """
    if len(frame) < 10 or frame[0] & 0x01 or bytes(frame[3:6]) != _START_CODE:
        return None
    return (frame[6] | frame[7] << 8) & 0x3FFF, (frame[8] | frame[9] << 8) & 0x3FFF


class Vp8Packetizer:
    """Packetizes the frames of one stream and numbers their pictures (15-bit PictureID)."""

    __slots__ = ("picture_id",)

    def __init__(self, *, picture_id: int = 0) -> None:
        """Start with ``picture_id``; RFC 7741 section 4.2 asks for a random first value."""
        self.picture_id = picture_id & 0x7FFF

    def packetize(self, frame: bytes, max_payload_bytes: int) -> list[bytes]:
        """Cut ``frame`` into payloads of at most ``max_payload_bytes``; see `packetize`."""
        payloads = packetize(frame, max_payload_bytes, picture_id=self.picture_id)
        self.picture_id = (self.picture_id + 1) & 0x7FFF
        return payloads


class Vp8Depacketizer:
    """Reads RTP payloads of VP8. Keeps no state; one instance may serve many streams."""

    __slots__ = ()

    def is_frame_start(self, payload: bytes | bytearray | memoryview) -> bool:
        """Whether the payload begins a frame: the start of partition 0 (S=1, PID=0)."""
        return len(payload) > 0 and payload[0] & (_S | _PARTITION) == _S

    def is_keyframe(self, payload: bytes | bytearray | memoryview) -> bool:
        """Whether the payload begins a key frame. ``False`` for later packets of one: they do not tell."""
        if not self.is_frame_start(payload):
            return False
        offsets = descriptor_offsets(payload)
        if offsets is None:
            return False
        length = offsets[0]
        return length < len(payload) and not payload[length] & 0x01

    def depacketize(self, payloads: Sequence[bytes | memoryview]) -> bytes | None:
        """Put together the frame whose RTP payloads are given in sequence, all of one timestamp.

        Returns:
            The frame, or ``None``: no payload, a descriptor cut short, a payload without media, the first payload
            does not begin a frame, a later one begins another, or PictureIDs differ.
        """
        parts = []
        first_picture_id = None
        for index, payload in enumerate(payloads):
            descriptor = parse_descriptor(payload)
            if descriptor is None or descriptor.length >= len(payload):
                return None
            begins = descriptor.start and descriptor.partition == 0
            if begins != (index == 0):
                return None
            if index == 0:
                first_picture_id = descriptor.picture_id
            elif descriptor.picture_id != first_picture_id:
                return None
            parts.append(payload[descriptor.length :])
        return b"".join(parts) if parts else None
