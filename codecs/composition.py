"""Makes one picture, side by side, and one sound of the tracks of a finished recording. Decodes and encodes: slow.

One pass over the file with little memory: recordings keep their frames in order of time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from numpy.typing import NDArray

from triortc.codecs.configuration import (
    AudioEncoderConfiguration,
    CompositionConfiguration,
    DecoderConfiguration,
    VideoEncoderConfiguration,
)
from triortc.codecs.encoders import OpusEncoder, Vp8Encoder
from triortc.codecs.recorder import Recorder, RecorderTrack, RecordingResult
from triortc.errors import CodecError

__all__ = ["AudioMixer", "compose_side_by_side"]

_RATE = 48_000
_CHUNK = _RATE // 50
_MIX_DELAY_S = 1.0  # sound may stand in the file so much later than pictures of its time
_MAX_AHEAD_S = 60.0
_BLACK = 16


class AudioMixer:
    """Adds the sound of several tracks on one time line, 48 kHz, one channel."""

    def __init__(self) -> None:
        self._mix = np.zeros(0, np.int32)
        self._start = 0  # the sample that ``_mix`` begins with
        self._expected: dict[int, int] = {}

    def add(self, track: int, time_s: float, samples: NDArray[np.int16]) -> None:
        """Add samples of ``track`` at ``time_s``; what was taken already, and what is far ahead, is left out."""
        at = round(time_s * _RATE)
        expected = self._expected.get(track, at)
        # Times in a file are rounded; a track runs on unless it really jumped.
        if abs(at - expected) < _CHUNK:
            at = expected
        self._expected[track] = at + len(samples)
        if at < self._start:
            samples, at = samples[self._start - at :], self._start
        begin, end = at - self._start, at - self._start + len(samples)
        if begin > _MAX_AHEAD_S * _RATE:
            return
        if end > len(self._mix):
            self._mix = np.concatenate([self._mix, np.zeros(end - len(self._mix), np.int32)])
        self._mix[begin:end] += samples

    def take(self, until_s: float) -> list[tuple[int, NDArray[np.int16]]]:
        """The mixed sound up to ``until_s`` in whole pieces of 20 ms: first sample's number and samples, clipped."""
        pieces = []
        while self._start + _CHUNK <= round(until_s * _RATE):
            piece = self._mix[:_CHUNK]
            self._mix = self._mix[_CHUNK:]
            whole = np.zeros(_CHUNK, np.int16)
            whole[: len(piece)] = np.clip(piece, -32768, 32767)
            pieces.append((self._start, whole))
            self._start += _CHUNK
        return pieces


class _Composer:
    """The state of one pass: panes, mixer, encoders and the file they go into."""

    def __init__(self, target: Path, panes: int, configuration: CompositionConfiguration) -> None:
        self._configuration = configuration
        self._panes = panes
        width, height = configuration.pane_width, configuration.pane_height
        self._canvas = np.full((height * 3 // 2, width * panes), 128, np.uint8)
        self._canvas[:height] = _BLACK
        self._pictures = 0
        self._mixer = AudioMixer()
        self._resamplers: dict[int, av.AudioResampler] = {}
        self._video = Vp8Encoder(
            VideoEncoderConfiguration(
                bitrate_bps=configuration.video_bitrate_bps,
                frame_rate=configuration.frame_rate,
                keyframe_interval_s=5.0,
            )
        )
        self._audio = OpusEncoder(
            AudioEncoderConfiguration(bitrate_bps=configuration.audio_bitrate_bps, expected_loss_percent=0)
        )
        tracks = [RecorderTrack("video", "VP8"), RecorderTrack("audio", "opus")]
        self._recorder = Recorder(target, tracks if panes else tracks[1:], started_at_s=0.0)

    def advance(self, time_s: float) -> None:
        """Everything before ``time_s`` is known: encode the pictures and, with some delay, the sound up to there."""
        while self._panes and self._pictures / self._configuration.frame_rate < time_s:
            picture_s = self._pictures / self._configuration.frame_rate
            picture = av.VideoFrame.from_ndarray(self._canvas, format="yuv420p")
            for frame in self._video.encode(picture, round(picture_s * 90_000) % (1 << 32)):
                self._recorder.write("video", frame, picture_s)
            self._pictures += 1
        self._encode_sound(time_s - _MIX_DELAY_S)
        if self._recorder.flush_wanted:
            self._recorder.flush()

    def show(self, pane: int, picture: av.VideoFrame) -> None:
        """Put a picture into a pane, as large as fits, in the middle."""
        width, height = self._configuration.pane_width, self._configuration.pane_height
        scale = min(width / picture.width, height / picture.height)
        fit_width, fit_height = int(picture.width * scale) // 2 * 2, int(picture.height * scale) // 2 * 2
        if fit_width < 2 or fit_height < 2:
            return
        scaled: NDArray[Any] = picture.reformat(width=fit_width, height=fit_height, format="yuv420p").to_ndarray()
        total_width = width * self._panes
        left, top = (width - fit_width) // 4 * 2 + pane * width, (height - fit_height) // 4 * 2
        luma = self._canvas[:height]
        luma[:, pane * width : (pane + 1) * width] = _BLACK
        luma[top : top + fit_height, left : left + fit_width] = scaled[:fit_height]
        chroma = self._canvas[height:].reshape(2, height // 2, total_width // 2)
        chroma[:, :, pane * width // 2 : (pane + 1) * width // 2] = 128
        chroma[:, top // 2 : (top + fit_height) // 2, left // 2 : (left + fit_width) // 2] = scaled[
            fit_height:
        ].reshape(2, fit_height // 2, fit_width // 2)

    def hear(self, track: int, time_s: float, sound: av.AudioFrame) -> None:
        """Mix sound of a track in."""
        if track not in self._resamplers:
            self._resamplers[track] = av.AudioResampler(format="s16", layout="mono", rate=_RATE)
        sound.pts = None
        for part in self._resamplers[track].resample(sound):
            samples: NDArray[Any] = part.to_ndarray().reshape(-1)
            self._mixer.add(track, time_s, samples)
            time_s += part.samples / _RATE

    def finish(self, end_s: float) -> RecordingResult:
        """Encode the rest and close the file."""
        self.advance(end_s)
        self._encode_sound(end_s)
        return self._recorder.finish(end_s)

    def discard(self) -> None:
        """Close the file and delete it."""
        path = self._recorder.finish().path
        if path is not None:
            path.unlink(missing_ok=True)

    def _encode_sound(self, until_s: float) -> None:
        for start, samples in self._mixer.take(until_s):
            sound = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
            sound.sample_rate = _RATE
            for frame in self._audio.encode(sound, start % (1 << 32)):
                self._recorder.write("audio", frame, start / _RATE)


def compose_side_by_side(
    source: str | Path, target: str | Path, configuration: CompositionConfiguration | None = None
) -> RecordingResult:
    """Compose a recording: its video tracks side by side in their order, its audio tracks mixed. Blocks for long.

    Args:
        source: a finished recording, any of the containers.
        target: the new file, ``.webm`` or ``.mkv``. Like a recording it has its name only when it is whole.
        configuration: sizes and bitrates.

    Returns:
        How it ended; faults of the disk are in it.

    Raises:
        CodecError: the source cannot be read, or an encoder fails.
        ConfigurationError: the target's name has another suffix.
    """
    target = Path(target)
    settings = configuration or CompositionConfiguration()
    try:
        with av.open(str(source), "r", options={"max_pixels": str(DecoderConfiguration().max_pixels)}) as container:
            composer = _Composer(target, len(container.streams.video), settings)
            try:
                return _compose(container, composer)
            except (CodecError, av.FFmpegError):
                composer.discard()
                raise
    except (av.FFmpegError, OSError) as error:
        raise CodecError(f"cannot compose {source}: {error}") from error


def _compose(container: InputContainer, composer: _Composer) -> RecordingResult:
    panes = {stream.index: pane for pane, stream in enumerate(container.streams.video)}
    end_s = (container.duration or 0) / av.time_base
    for packet in container.demux():
        try:
            frames = packet.decode()
        except (av.FFmpegError, ValueError):
            continue  # a recording holds what a peer sent: a frame that cannot be decoded is left out
        for frame in frames:
            if not isinstance(frame, (av.VideoFrame, av.AudioFrame)) or frame.time is None:
                continue
            composer.advance(frame.time)
            end_s = max(end_s, frame.time)
            if isinstance(frame, av.VideoFrame):
                composer.show(panes[packet.stream_index], frame)
            else:
                composer.hear(packet.stream_index, frame.time, frame)
    return composer.finish(end_s)
