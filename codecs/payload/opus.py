"""The RTP payload format of Opus (RFC 7587) and the framing of its packets (RFC 6716 section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from triortc.errors import ConfigurationError

__all__ = [
    "CLOCK_RATE",
    "MAX_PACKET_SAMPLES",
    "OpusDepacketizer",
    "OpusPacket",
    "OpusPacketizer",
    "duration_samples",
    "frame_samples",
    "packetize",
    "parse_packet",
    "silence",
]

CLOCK_RATE = 48000
"""RTP timestamps of Opus always count at 48 kHz, whatever the bandwidth (RFC 7587 section 4.1)."""

MAX_PACKET_SAMPLES = 5760
"""A packet lasts at most 120 ms (RFC 6716 section 3.2.5, [R5])."""

_MAX_FRAME_BYTES = 1275

# Samples at 48 kHz of one frame by TOC configuration, RFC 6716 table 2.
_FRAME_SAMPLES = (480, 960, 1920, 2880) * 3 + (480, 960) * 2 + (120, 240, 480, 960) * 4
_MODES = ("SILK-only",) * 12 + ("Hybrid",) * 4 + ("CELT-only",) * 16
_BANDWIDTHS = (
    ("NB",) * 4 + ("MB",) * 4 + ("WB",) * 4 + ("SWB",) * 2 + ("FB",) * 2
    + ("NB",) * 4 + ("WB",) * 4 + ("SWB",) * 4 + ("FB",) * 4
)  # fmt: skip  # one line a half of the table


class OpusPacket(NamedTuple):
    """What the framing of an Opus packet says. ``frames`` holds the byte range of each frame."""

    configuration: int
    mode: str
    bandwidth: str
    stereo: bool
    frame_samples: int
    frames: tuple[tuple[int, int], ...]

    @property
    def duration_samples(self) -> int:
        """The packet's duration in samples at 48 kHz."""
        return self.frame_samples * len(self.frames)


def frame_samples(toc: int) -> int:
    """Duration of one frame of a packet with this TOC byte, in samples at 48 kHz (RFC 6716 table 2)."""
    return _FRAME_SAMPLES[toc >> 3]


def duration_samples(payload: bytes | bytearray | memoryview) -> int | None:
    """How long a packet lasts, in samples at 48 kHz, from its first two bytes (RFC 6716 section 3.1).

    Returns:
        ``None`` for no bytes, no frames, or more than 120 ms. The frames' sizes are not checked: `parse_packet` does.
    """
    if not payload:
        return None
    code = payload[0] & 0x03
    if code == 0:
        count = 1
    elif code < 3:
        count = 2
    elif len(payload) < 2:
        return None
    else:
        count = payload[1] & 0x3F
    samples = count * _FRAME_SAMPLES[payload[0] >> 3]
    return samples if 0 < samples <= MAX_PACKET_SAMPLES else None


def parse_packet(payload: bytes | bytearray | memoryview) -> OpusPacket | None:
    """Parse the framing of an Opus packet by the requirements R1 to R7 of RFC 6716 section 3.4.

    Returns:
        The packet, or ``None`` when it breaks one of them.
    """
    if not payload or duration_samples(payload) is None:
        return None
    toc = payload[0]
    code = toc & 0x03
    if code == 0:
        start, sizes = 1, [len(payload) - 1]
    elif code == 1:
        half, odd = divmod(len(payload) - 1, 2)
        if odd:
            return None
        start, sizes = 1, [half, half]
    else:
        framing = _parse_two_sizes(payload) if code == 2 else _parse_many_sizes(payload)
        if framing is None:
            return None
        start, sizes = framing
    frames = []
    for size in sizes:
        if size > _MAX_FRAME_BYTES:
            return None
        frames.append((start, start + size))
        start += size
    configuration = toc >> 3
    return OpusPacket(
        configuration,
        _MODES[configuration],
        _BANDWIDTHS[configuration],
        bool(toc & 0x04),
        _FRAME_SAMPLES[configuration],
        tuple(frames),
    )


def _parse_size(payload: bytes | bytearray | memoryview, offset: int) -> tuple[int, int] | None:
    """A frame length of one or two bytes (RFC 6716 section 3.2.1): the size and the offset behind it."""
    if offset >= len(payload):
        return None
    first = payload[offset]
    if first < 252:
        return first, offset + 1
    if offset + 1 >= len(payload):
        return None
    return payload[offset + 1] * 4 + first, offset + 2


def _parse_two_sizes(payload: bytes | bytearray | memoryview) -> tuple[int, list[int]] | None:
    """Code 2: two frames of different size (RFC 6716 section 3.2.4)."""
    parsed = _parse_size(payload, 1)
    if parsed is None:
        return None
    size, start = parsed
    rest = len(payload) - start - size
    return (start, [size, rest]) if rest >= 0 else None


def _parse_many_sizes(payload: bytes | bytearray | memoryview) -> tuple[int, list[int]] | None:
    """Code 3: a signalled number of frames, with padding (RFC 6716 section 3.2.5)."""
    flags = payload[1]
    count = flags & 0x3F
    offset = 2
    padding = 0
    if flags & 0x40:
        while True:
            if offset >= len(payload):
                return None
            value = payload[offset]
            offset += 1
            padding += 254 if value == 255 else value
            if value != 255:
                break
    sizes = []
    if flags & 0x80:
        for _ in range(count - 1):
            parsed = _parse_size(payload, offset)
            if parsed is None:
                return None
            size, offset = parsed
            sizes.append(size)
        last = len(payload) - padding - offset - sum(sizes)
        if last < 0:
            return None
        sizes.append(last)
        return offset, sizes
    rest = len(payload) - padding - offset
    if rest < 0 or rest % count:
        return None
    return offset, [rest // count] * count


def silence(*, stereo: bool = False) -> bytes:
    """A packet of 20 ms of silence, for filling gaps: fullband CELT with an empty frame's worth of bits."""
    return b"\xfc\xff\xfe" if stereo else b"\xf8\xff\xfe"


def packetize(frame: bytes, max_payload_bytes: int) -> list[bytes]:
    """One Opus packet is one RTP payload (RFC 7587 section 4.2); it is never cut.

    Raises:
        ConfigurationError: the packet does not fit: lower the bitrate.
    """
    if len(frame) > max_payload_bytes:
        raise ConfigurationError("an Opus packet cannot be cut: lower its bitrate or raise max_payload_bytes")
    return [frame] if frame else []


class OpusPacketizer:
    """`packetize` in the shape that all packetizers share."""

    __slots__ = ()

    def packetize(self, frame: bytes, max_payload_bytes: int) -> list[bytes]:
        """One payload a packet; see `packetize`."""
        return packetize(frame, max_payload_bytes)


class OpusDepacketizer:
    """Reads RTP payloads of Opus: every payload is one packet."""

    __slots__ = ()

    def is_frame_start(self, payload: bytes | bytearray | memoryview) -> bool:
        """Whether the payload can be a packet at all."""
        return duration_samples(payload) is not None

    def is_keyframe(self, payload: bytes | bytearray | memoryview) -> bool:
        """Whether decoding can begin here: always, when it is a packet."""
        return duration_samples(payload) is not None

    def depacketize(self, payloads: Sequence[bytes | memoryview]) -> bytes | None:
        """The packet of the one payload given; ``None`` for another number of payloads or broken framing."""
        if len(payloads) != 1 or parse_packet(payloads[0]) is None:
            return None
        return bytes(payloads[0])
