"""What a visitor sees and hears while the call rings: a calm picture and a ringback tone, encoded once."""

from __future__ import annotations

import math
from functools import lru_cache

import av
import numpy as np
from numpy.typing import NDArray

from triortc.codecs.configuration import (
    AudioEncoderConfiguration,
    SlateConfiguration,
    VideoEncoderConfiguration,
)
from triortc.codecs.encoders import audio_encoder_for, video_encoder_for
from triortc.codecs.frames import EncodedFrame
from triortc.codecs.glyphs import GLYPH_WIDTH, text_mask

__all__ = ["encoded_ringback", "encoded_slate", "slate_picture"]

_VIDEO_CLOCK_RATE = 90_000
# Evening blue, far from the test card's bars and from black: (Y, U, V).
_GROUND = (58, 142, 118)
_GLOW = 26  # how much lighter the middle is
_INK = 200
_DOTS = 3
_CACHED_SLATES = 16


def slate_picture(configuration: SlateConfiguration, number: int) -> av.VideoFrame:
    """Picture ``number`` of the slate, as planar YUV 4:2:0: a soft ground, a line of text, three pulsing dots."""
    return _draw(configuration, _ground(configuration), number)


def _ground(configuration: SlateConfiguration) -> NDArray[np.uint8]:
    """All that does not move."""
    width, height = configuration.width, configuration.height
    canvas = np.empty((height * 3 // 2, width), np.uint8)
    chroma = canvas[height:].reshape(2, height // 2, width // 2)
    chroma[0], chroma[1] = _GROUND[1], _GROUND[2]
    y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    canvas[:height] = _GROUND[0] + _GLOW * np.clip(1 - np.sqrt(x * x + y * y), 0, 1)
    dots = max(1, len(configuration.text)) * (GLYPH_WIDTH + 1)
    mask = text_mask(configuration.text, max(1, width * 3 // 5 // dots))[: height // 4, : width - 4]
    top, left = height * 2 // 5 - mask.shape[0] // 2, (width - mask.shape[1]) // 2
    canvas[top : top + mask.shape[0], left : left + mask.shape[1]][mask] = _INK
    return canvas


def _draw(configuration: SlateConfiguration, ground: NDArray[np.uint8], number: int) -> av.VideoFrame:
    width, height = configuration.width, configuration.height
    canvas = ground.copy()
    radius = max(3, height // 48)
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    dot = x * x + y * y <= radius * radius
    # Whole turns in a loop, or the dots would jump where it closes.
    turns = max(1, round(configuration.loop_s / 1.5))
    phase = 2 * math.pi * turns * number / _loop_frames(configuration)
    top = height * 3 // 5 - radius
    for index in range(_DOTS):
        left = width // 2 + (index - _DOTS // 2) * radius * 5 - radius
        light = _INK if _DOTS == 1 else 90 + (_INK - 90) * (0.5 + 0.5 * math.cos(phase - index * 2 * math.pi / _DOTS))
        canvas[top : top + 2 * radius + 1, left : left + 2 * radius + 1][dot] = int(light)
    return av.VideoFrame.from_ndarray(canvas, format="yuv420p")


def _loop_frames(configuration: SlateConfiguration) -> int:
    return max(1, round(configuration.loop_s * configuration.frame_rate))


@lru_cache(maxsize=_CACHED_SLATES)
def encoded_slate(codec_name: str, configuration: SlateConfiguration) -> tuple[EncodedFrame, ...]:
    """One loop of the slate's picture, encoded; the first frame is the only keyframe.

    It is encoded once for each codec and configuration and kept. The first call takes tens of milliseconds and belongs
    into a codec thread.

    Args:
        codec_name: ``"VP8"`` or ``"H264"``.
        configuration: text, size and pace.

    Returns:
        The frames with timestamps from 0 at 90 kHz. Send them with a `LoopPlayer`.

    Raises:
        ConfigurationError: there is no such encoder.
        CodecError: it fails.
    """
    encoder = video_encoder_for(
        codec_name,
        VideoEncoderConfiguration(
            bitrate_bps=configuration.bitrate_bps,
            frame_rate=configuration.frame_rate,
            keyframe_interval_s=configuration.loop_s + 1,
        ),
    )
    ground = _ground(configuration)
    ticks = _VIDEO_CLOCK_RATE // configuration.frame_rate
    frames = []
    for number in range(_loop_frames(configuration)):
        picture = _draw(configuration, ground, number)
        for frame in encoder.encode(picture, number * ticks, force_keyframe=number == 0):
            frames.append(EncodedFrame(frame.data, frame.timestamp, ticks, frame.keyframe))
    encoder.close()
    return tuple(frames)


@lru_cache(maxsize=_CACHED_SLATES)
def encoded_ringback(codec_name: str, configuration: SlateConfiguration) -> tuple[EncodedFrame, ...]:
    """One loop of the ringback tone, encoded: packets of 20 ms with timestamps from 0 in the codec's clock.

    Encoded once and kept, as `encoded_slate`.

    Args:
        codec_name: ``"opus"``, ``"PCMU"`` or ``"PCMA"``.
        configuration: frequency, rhythm and level.

    Raises:
        ConfigurationError: there is no such encoder.
        CodecError: it fails.
    """
    encoder = audio_encoder_for(codec_name, AudioEncoderConfiguration(bitrate_bps=24_000, expected_loss_percent=0))
    rate = encoder.clock_rate
    packets = max(1, round((configuration.ringback_on_s + configuration.ringback_off_s) * rate / encoder.frame_samples))
    index = np.arange(packets * encoder.frame_samples)
    seconds = index / rate
    wave = configuration.ringback_level * np.sin(2 * math.pi * configuration.ringback_hz * seconds)
    # Ten milliseconds of rise and fall: a hard edge would click.
    envelope = np.clip(np.minimum(seconds, configuration.ringback_on_s - seconds) / 0.01, 0, 1)
    samples = (wave * envelope * 32767).astype(np.int16)
    frames: list[EncodedFrame] = []
    for start in range(0, len(samples), encoder.frame_samples):
        chunk = samples[start : start + encoder.frame_samples].reshape(1, -1)
        sound = av.AudioFrame.from_ndarray(chunk, format="s16", layout="mono")
        sound.sample_rate = rate
        frames += encoder.encode(sound, start)
    encoder.close()
    return tuple(frames)
