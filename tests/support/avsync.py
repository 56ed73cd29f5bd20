"""Records the test card through payload formats and finds its flashes and beeps in the file again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from triortc.codecs.configuration import VideoEncoderConfiguration
from triortc.codecs.encoders import audio_encoder_for, video_encoder_for
from triortc.codecs.frames import EncodedFrame
from triortc.codecs.payload.formats import depacketizer_for, packetizer_for
from triortc.codecs.sources import TestCardSource
from triortc.codecs.testcard import TestCard, read_flash, read_frame_number

BEEP_THRESHOLD = 0.2


@dataclass(frozen=True, slots=True)
class SentFrame:
    kind: str
    frame: EncodedFrame
    time_s: float


def card_frames(
    video_codec: str, audio_codec: str, seconds: float, *, first_timestamp: int = 0, width: int = 320
) -> list[SentFrame]:
    """The test card and its tone, encoded, cut into payloads and put together again."""
    source = TestCardSource(TestCard(width, 240, 30))
    video = video_encoder_for(video_codec, VideoEncoderConfiguration(bitrate_bps=400_000))
    audio = audio_encoder_for(audio_codec)
    packetizers = {"video": packetizer_for(video_codec), "audio": packetizer_for(audio_codec)}
    depacketizers = {"video": depacketizer_for(video_codec), "audio": depacketizer_for(audio_codec)}
    sent = []
    source.start(0.0)
    while (deadline := source.next_deadline()) is not None and deadline < seconds:
        item = source.poll_frame(deadline)
        assert item is not None
        if isinstance(item.frame, av.VideoFrame):
            kind, clock = "video", 90_000
            encoded = video.encode(item.frame, item.timestamp(clock, first_timestamp))
        else:
            kind, clock = "audio", audio.clock_rate
            encoded = audio.encode(item.frame, item.timestamp(clock, first_timestamp))
        for frame in encoded:
            payloads = packetizers[kind].packetize(frame.data, 1200)
            data = depacketizers[kind].depacketize(payloads)
            assert data is not None
            time_s = (frame.timestamp - first_timestamp) % (1 << 32) / clock
            sent.append(SentFrame(kind, EncodedFrame(data, frame.timestamp, frame.duration, frame.keyframe), time_s))
    return sent


@dataclass(frozen=True, slots=True)
class Seen:
    flashes: list[float]
    beeps: list[float]
    numbers: list[tuple[int, float]]


def watch(path: Path, video_track: int = 0, audio_track: int = 0) -> Seen:
    """Decode a file: when flashes and beeps begin, and which picture is shown when."""
    seen = Seen([], [], [])
    with av.open(str(path)) as container:
        lit = False
        for frame in container.decode(video=video_track):
            assert frame.time is not None
            number = read_frame_number(frame)
            if number is not None:
                seen.numbers.append((number, frame.time))
            flash = read_flash(frame)
            if flash and not lit:
                seen.flashes.append(frame.time)
            lit = flash
    with av.open(str(path)) as container:
        loud_until = -1.0
        for sound in container.decode(audio=audio_track):
            assert sound.time is not None
            samples = sound.to_ndarray().astype(np.float64).reshape(-1)
            if sound.format.name.startswith("s16"):
                samples /= 32768
            for index in np.flatnonzero(np.abs(samples) > BEEP_THRESHOLD):
                at = sound.time + index / sound.sample_rate
                if at - loud_until > 0.3:
                    seen.beeps.append(at)
                loud_until = at
    return seen
