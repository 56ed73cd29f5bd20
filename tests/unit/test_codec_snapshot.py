"""Still pictures of a stream."""

from __future__ import annotations

import io

import av
import numpy as np
import pytest

from triortc.codecs.encoders import video_encoder_for
from triortc.codecs.frames import EncodedFrame
from triortc.codecs.snapshot import LastPicture, encode_png, snapshot_png
from triortc.codecs.testcard import TestCard, read_frame_number
from triortc.errors import ConfigurationError

CARD = TestCard(320, 240)


def decoded(png: bytes) -> av.VideoFrame:
    with av.open(io.BytesIO(png), "r") as container:
        return next(container.decode(video=0))


def encoded(name: str, count: int, keyframes: tuple[int, ...] = (0,)) -> list[EncodedFrame]:
    encoder = video_encoder_for(name)
    frames = []
    for number in range(count):
        frames += encoder.encode(CARD.picture(number), number * 3000, force_keyframe=number in keyframes)
    return frames


@pytest.mark.parametrize("name", ["VP8", "H264"])
def test_a_snapshot_shows_the_newest_picture(name: str) -> None:
    last = LastPicture()
    for frame in encoded(name, 20, (0, 12)):
        last.add(frame)
    assert len(last.take()) == 8, "from the last keyframe on"
    png = snapshot_png(name, last.take())
    assert png is not None
    picture = decoded(png)
    assert (picture.width, picture.height) == (320, 240)
    assert read_frame_number(picture) == 19


def test_a_png_holds_the_very_pixels() -> None:
    pixels = np.random.default_rng(3).integers(0, 255, (17, 23, 3), np.uint8)
    png = encode_png(av.VideoFrame.from_ndarray(pixels, format="rgb24"))
    assert np.array_equal(decoded(png).to_ndarray(format="rgb24"), pixels)


def test_before_a_keyframe_there_is_nothing() -> None:
    last = LastPicture()
    last.add(encoded("VP8", 3)[2])
    assert last.take() == ()
    assert snapshot_png("VP8", last.take()) is None


def test_what_is_kept_is_bounded_and_stays_decodable() -> None:
    frames = encoded("VP8", 10)
    last = LastPicture(max_frames=4)
    for frame in frames:
        last.add(frame)
    assert last.take() == tuple(frames[:4])
    by_size = LastPicture(max_bytes=len(frames[0].data) + len(frames[1].data))
    for frame in [*frames[:3], EncodedFrame(b"x", 0, 0, False)]:
        by_size.add(frame)
    assert by_size.take() == tuple(frames[:2]), "nothing is kept behind what was left out"
    by_size.add(frames[0])
    assert by_size.take() == (frames[0],)


def test_broken_frames_give_nothing_and_an_unknown_codec_raises() -> None:
    assert snapshot_png("VP8", [EncodedFrame(b"\x00garbage", 0)]) is None
    with pytest.raises(ConfigurationError):
        snapshot_png("theora", [])
