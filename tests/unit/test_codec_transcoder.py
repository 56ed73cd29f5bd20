"""From one codec into another: pictures, sound, keyframes and clocks."""

from __future__ import annotations

import numpy as np
import pytest

from support.avsync import card_frames
from triortc.codecs.decoders import AudioDecoder, VideoDecoder
from triortc.codecs.frames import EncodedFrame
from triortc.codecs.testcard import read_frame_number
from triortc.codecs.transcoder import AudioTranscoder, VideoTranscoder
from triortc.errors import ConfigurationError


def frames_of(kind: str, codec: str, seconds: float) -> list[EncodedFrame]:
    video, audio = (codec, "PCMU") if kind == "video" else ("VP8", codec)
    return [
        item.frame
        for item in card_frames(video, audio, seconds, first_timestamp=(1 << 32) - 9_000)
        if item.kind == kind
    ]


@pytest.mark.parametrize(("source", "target"), [("VP8", "H264"), ("H264", "VP8")])
def test_pictures_keep_their_number_and_timestamp(source: str, target: str) -> None:
    transcoder, decoder = VideoTranscoder(source, target), VideoDecoder(target)
    for number, frame in enumerate(frames_of("video", source, 0.5)):
        if number == 8:
            transcoder.request_keyframe()
        (encoded,) = transcoder.transcode(frame)
        assert encoded.timestamp == frame.timestamp
        assert encoded.keyframe == (number in (0, 8))
        (picture,) = decoder.decode(encoded.data, encoded.timestamp)
        assert read_frame_number(picture) == number
    transcoder.close()


def test_a_frame_that_cannot_be_decoded_asks_the_source_for_a_keyframe() -> None:
    transcoder = VideoTranscoder("VP8", "H264")
    frames = frames_of("video", "VP8", 0.2)
    assert transcoder.keyframe_wanted
    assert transcoder.transcode(frames[1]) == [], "nothing before a keyframe"
    assert len(transcoder.transcode(frames[0])) == 1
    assert not transcoder.keyframe_wanted
    assert transcoder.transcode(EncodedFrame(b"", 0, 0, False)) == []
    assert transcoder.keyframe_wanted
    assert transcoder.transcode(frames[2]) == []
    assert len(transcoder.transcode(frames[0])) == 1
    transcoder.set_bitrate(100_000)


@pytest.mark.parametrize(("source", "target"), [("opus", "PCMU"), ("PCMA", "opus"), ("PCMU", "PCMA")])
def test_sound_keeps_its_time_in_the_other_clock(source: str, target: str) -> None:
    transcoder, decoder = AudioTranscoder(source, target, first_timestamp=700), AudioDecoder(target)
    packets = [out for frame in frames_of("audio", source, 2.0) for out in transcoder.transcode(frame)]
    step = decoder.clock_rate // 50
    assert [packet.timestamp for packet in packets] == [700 + index * step for index in range(len(packets))]
    assert 97 <= len(packets) <= 100
    parts = [part.to_ndarray().reshape(-1) for packet in packets for part in decoder.decode(packet.data, 0)]
    loud = np.flatnonzero(np.abs(np.concatenate(parts).astype(int)) > 0.2 * 32768) / decoder.clock_rate
    assert loud[loud > 0.5][0] == pytest.approx(1.0, abs=0.03)
    transcoder.close()


def test_a_hole_in_the_sound_stays_a_hole() -> None:
    transcoder = AudioTranscoder("PCMU", "opus")
    frames = frames_of("audio", "PCMU", 1.0)
    packets = [out for frame in frames[:10] + frames[30:] for out in transcoder.transcode(frame)]
    steps = np.diff([packet.timestamp for packet in packets])
    assert sorted(set(steps.tolist()))[0] == 960
    assert 18 * 960 <= max(steps) <= 22 * 960


def test_an_unknown_codec_raises() -> None:
    with pytest.raises(ConfigurationError):
        VideoTranscoder("VP8", "theora")
    with pytest.raises(ConfigurationError):
        AudioTranscoder("theora", "opus")
