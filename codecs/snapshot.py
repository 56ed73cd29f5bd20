"""Still pictures of a stream: the last one that can be decoded, as PNG."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import av
import numpy as np

from triortc.codecs.configuration import DecoderConfiguration
from triortc.codecs.decoders import VideoDecoder
from triortc.codecs.frames import EncodedFrame

__all__ = ["LastPicture", "encode_png", "snapshot_png"]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def encode_png(picture: av.VideoFrame) -> bytes:
    """A picture as a PNG file, eight bits of red, green and blue (ISO/IEC 15948)."""
    pixels = picture.to_ndarray(format="rgb24")
    height, width = pixels.shape[:2]
    # Each row begins with the number of its filter; 0 is none. zlib alone is enough for a still now and then.
    rows = np.zeros((height, width * 3 + 1), np.uint8)
    rows[:, 1:] = pixels.reshape(height, width * 3)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows.tobytes(), 4)) + _chunk(b"IEND", b"")
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


class LastPicture:
    """Keeps the encoded frames from the last keyframe on, so that the newest picture can be decoded on demand.

    A relay does not decode; this costs it references only. `take` belongs on the loop, `snapshot_png` with what it
    gives into a codec thread.
    """

    __slots__ = ("_bytes", "_frames", "_full", "_max_bytes", "_max_frames")

    def __init__(self, *, max_frames: int = 600, max_bytes: int = 8 << 20) -> None:
        """Keep at most so many frames and bytes: behind that the picture stays the one of before, until a keyframe."""
        self._frames: list[EncodedFrame] = []
        self._bytes = 0
        self._full = False
        self._max_frames = max_frames
        self._max_bytes = max_bytes

    def add(self, frame: EncodedFrame) -> None:
        """The next frame of the stream, in order of decoding."""
        if frame.keyframe:
            self._frames.clear()
            self._bytes = 0
            self._full = False
        elif not self._frames or self._full:
            return
        # Behind one frame left out the others cannot be decoded.
        self._full = len(self._frames) >= self._max_frames or self._bytes + len(frame.data) > self._max_bytes
        if not self._full:
            self._frames.append(frame)
            self._bytes += len(frame.data)

    def take(self) -> tuple[EncodedFrame, ...]:
        """The frames that lead to the newest picture; empty before the first keyframe."""
        return tuple(self._frames)


def snapshot_png(
    codec_name: str, frames: Sequence[EncodedFrame], configuration: DecoderConfiguration | None = None
) -> bytes | None:
    """The last picture of ``frames``, which begin with a keyframe, as PNG. Blocks.

    Args:
        codec_name: ``"VP8"`` or ``"H264"``.
        frames: in order of decoding, see `LastPicture`.
        configuration: limits of the decoder.

    Returns:
        ``None`` when nothing could be decoded.

    Raises:
        ConfigurationError: there is no decoder for the codec.
    """
    decoder = VideoDecoder(codec_name, configuration)
    picture = None
    for frame in frames:
        for decoded in decoder.decode(frame.data, frame.timestamp):
            picture = decoded
    decoder.close()
    return None if picture is None else encode_png(picture)
