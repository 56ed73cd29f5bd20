"""Where pictures and sound come from: files and the test card. They read no clock; the caller paces them.

Decoding blocks: the shell calls `poll_frame` in `CodecThreads`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np
from av.container import InputContainer
from numpy.typing import NDArray

from triortc.codecs.testcard import TestCard, Tone
from triortc.errors import CodecError, ConfigurationError

__all__ = ["MediaFileSource", "MediaSource", "SourceFrame", "TestCardSource"]

# While one stream of a file has nothing, so many frames of the other are read ahead: files interleave coarsely.
_READ_AHEAD_FRAMES = 96
_PIECES_PER_S = 50
_CUT_FORMATS = frozenset({"u8", "u8p", "s16", "s16p", "s32", "s32p", "flt", "fltp", "dbl", "dblp"})  # numpy has them


@dataclass(frozen=True, slots=True)
class SourceFrame:
    """A picture or some sound, and when it belongs.

    Attributes:
        frame: of PyAV; what is encoded of it.
        time_s: seconds after the source's start.
    """

    frame: av.VideoFrame | av.AudioFrame
    time_s: float

    def timestamp(self, clock_rate: int, first: int = 0) -> int:
        """The RTP timestamp at ``clock_rate``, when time 0 has the timestamp ``first``."""
        return (first + round(self.time_s * clock_rate)) % (1 << 32)


class MediaSource(Protocol):
    """What a sender asks of a source."""

    def start(self, now: float) -> None:
        """Time 0 of the source is ``now``."""
        ...

    def next_deadline(self) -> float | None:
        """When the next frame is due; ``None``: the source is at its end."""
        ...

    def poll_frame(self, now: float) -> SourceFrame | None:
        """The next frame that is due at ``now``, ``None`` when there is no more. Times do not go back."""
        ...

    def close(self) -> None:
        """Free what the source holds."""
        ...


class _PacedSource:
    """Paces an iterator of frames; what the sources here share."""

    def __init__(self) -> None:
        self._started_at: float | None = None
        self._frames: Iterator[SourceFrame] = iter(())
        self._ahead: SourceFrame | None = None

    def start(self, now: float) -> None:
        """Time 0 of the source is ``now``. May be called once.

        Raises:
            ConfigurationError: the source was started before.
        """
        if self._started_at is not None:
            raise ConfigurationError("this source was started before: open another one to play it again")
        self._started_at = now
        self._ahead = next(self._frames, None)

    def next_deadline(self) -> float | None:
        """When the next frame is due; ``None`` before `start` and at the end."""
        if self._started_at is None or self._ahead is None:
            return None
        return self._started_at + self._ahead.time_s

    def poll_frame(self, now: float) -> SourceFrame | None:
        """The next frame that is due at ``now``, ``None`` when there is no more."""
        due = self.next_deadline()
        if due is None or due > now:
            return None
        frame = self._ahead
        self._ahead = next(self._frames, None)
        return frame

    def close(self) -> None:
        """Free what the source holds; it is at its end."""
        self._frames = iter(())
        self._ahead = None


class TestCardSource(_PacedSource):
    """The test card with its tone, without end: pictures at the card's rate, sound in pieces of 20 ms."""

    __test__ = False  # not for pytest to collect

    def __init__(self, card: TestCard | None = None, tone: Tone | None = None) -> None:
        """Play ``card`` and ``tone``, or those of usual size and pitch."""
        super().__init__()
        self._card = card or TestCard()
        self._tone = tone or Tone(beep_s=self._card.flash_frames / self._card.frame_rate)
        self._frames = self._generate()

    def _generate(self) -> Iterator[SourceFrame]:
        picture = sound = 0
        chunk = self._tone.sample_rate // 50
        while True:
            picture_time, sound_time = picture / self._card.frame_rate, sound / self._tone.sample_rate
            if picture_time <= sound_time:
                yield SourceFrame(self._card.picture(picture), picture_time)
                picture += 1
            else:
                yield SourceFrame(self._tone.sound(sound, chunk), sound_time)
                sound += chunk


def _pieces(sound: av.AudioFrame) -> Iterator[av.AudioFrame]:
    """Sound in pieces of 20 ms: WAV and FLAC have frames of 60 to 100 ms, whose packets would leave in bursts."""
    step = sound.sample_rate // _PIECES_PER_S
    if sound.samples <= 2 * step or sound.format.name not in _CUT_FORMATS:
        yield sound
        return
    samples: NDArray[Any] = sound.to_ndarray()
    width = 1 if sound.format.is_planar else sound.layout.nb_channels
    for start in range(0, sound.samples, step):
        part: NDArray[Any] = np.ascontiguousarray(samples[:, start * width : (start + step) * width])
        piece = av.AudioFrame.from_ndarray(part, format=sound.format.name, layout=sound.layout.name)
        piece.sample_rate = sound.sample_rate
        yield piece


class MediaFileSource(_PacedSource):
    """Plays the first video and the first audio track of any file that FFmpeg reads."""

    def __init__(self, path: str | Path, *, loop: bool = False, max_pixels: int = 3840 * 2160) -> None:
        """Open the file.

        Args:
            path: the file.
            loop: begin again at the end, times going on.
            max_pixels: a larger picture is refused.

        Raises:
            CodecError: the file cannot be read, or has neither pictures nor sound.
        """
        super().__init__()
        self._path = str(path)
        self._loop = loop
        try:
            self._container: InputContainer | None = av.open(self._path, "r")
        except (av.FFmpegError, OSError) as error:
            raise CodecError(f"cannot read {self._path}: {error}") from error
        streams = self._container.streams
        self._streams = [*streams.video[:1], *streams.audio[:1]]
        if not self._streams:
            self.close()
            raise CodecError(f"{self._path} has neither pictures nor sound: choose another file")
        for stream in streams.video[:1]:
            if stream.codec_context.width * stream.codec_context.height > max_pixels:
                self.close()
                raise CodecError(f"{self._path} has pictures of more than {max_pixels} pixels: scale it first")
        self.has_video = bool(streams.video)
        self.has_audio = bool(streams.audio)
        self.decode_errors = 0
        self._frames = self._generate()

    def close(self) -> None:
        """Close the file; the source is at its end."""
        super().close()
        if self._container is not None:
            self._container.close()
            self._container = None

    def _generate(self) -> Iterator[SourceFrame]:
        offset = 0.0
        while True:
            end = offset
            for frame, time_s, duration_s in self._in_order():
                yield SourceFrame(frame, offset + time_s)
                end = max(end, offset + time_s + duration_s)
            # A file without a single frame would loop for ever without giving one.
            if not self._loop or self._container is None or end <= offset:
                return
            offset = end
            self._container.seek(0)

    def _in_order(self) -> Iterator[tuple[av.VideoFrame | av.AudioFrame, float, float]]:
        """Both streams' frames once through, in order of their times, which begin at 0."""
        waiting: dict[int, deque[tuple[av.VideoFrame | av.AudioFrame, float, float]]] = {
            stream.index: deque() for stream in self._streams
        }
        first: float | None = None

        def earliest() -> tuple[av.VideoFrame | av.AudioFrame, float, float]:
            nonlocal first
            queue = min((queue for queue in waiting.values() if queue), key=lambda queue: queue[0][1])
            frame, time_s, duration_s = queue.popleft()
            first = time_s if first is None else first
            return frame, max(0.0, time_s - first), duration_s

        for index, frame, time_s, duration_s in self._decoded():
            waiting[index].append((frame, time_s, duration_s))
            while all(waiting.values()) or any(len(queue) > _READ_AHEAD_FRAMES for queue in waiting.values()):
                yield earliest()
        while any(waiting.values()):
            yield earliest()

    def _decoded(self) -> Iterator[tuple[int, av.VideoFrame | av.AudioFrame, float, float]]:
        """Stream index, frame, time and duration in seconds; what cannot be decoded is counted and left out."""
        assert self._container is not None
        ends = {stream.index: 0.0 for stream in self._streams}
        try:
            for packet in self._container.demux(self._streams):
                try:
                    frames = packet.decode()
                except (av.FFmpegError, ValueError):
                    self.decode_errors += 1
                    continue
                index = packet.stream_index
                for frame in frames:
                    if not isinstance(frame, (av.VideoFrame, av.AudioFrame)):
                        continue
                    time_s = frame.time if frame.time is not None else ends[index]
                    for piece in [frame] if isinstance(frame, av.VideoFrame) else _pieces(frame):
                        duration_s = self._duration_s(piece)
                        yield index, piece, time_s, duration_s
                        time_s += duration_s
                    ends[index] = time_s
        except av.FFmpegError:
            self.decode_errors += 1  # the file ends early: what there is has been played

    def _duration_s(self, frame: av.VideoFrame | av.AudioFrame) -> float:
        if isinstance(frame, av.AudioFrame):
            return frame.samples / frame.sample_rate
        if frame.duration and frame.time_base:
            return float(frame.duration * frame.time_base)
        rate = self._streams[0].average_rate if isinstance(self._streams[0], av.VideoStream) else None
        return float(1 / rate) if rate else 0.04
