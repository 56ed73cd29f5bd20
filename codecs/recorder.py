"""Records both sides of a call into one file, as they were encoded.

A `Recorder` is a queue with a file behind it. The engine's loop puts frames in (`write` never blocks and never raises);
`flush` and `finish` do the work and belong into a codec thread, one call at a time: `triortc.codecs.recording` does so.
What goes wrong with the disk ends the recording and is reported as a value: a call never hears of it.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import av

from triortc.codecs.configuration import RecorderConfiguration, VideoEncoderConfiguration
from triortc.codecs.encoders import H264Encoder
from triortc.codecs.frames import EncodedFrame
from triortc.codecs.matroska import MatroskaWriter
from triortc.codecs.payload.h264 import parameter_sets
from triortc.codecs.recording_track import RecorderTrack, TimedFrame, TrackTimeline
from triortc.codecs.remux import remux_to_mp4
from triortc.codecs.testcard import TestCard
from triortc.errors import CodecError, ConfigurationError

__all__ = ["Recorder", "RecorderTrack", "RecordingResult"]

_MAX_TRACKS = 32
_CONTAINERS = {".webm": {"vp8", "opus"}, ".mkv": {"vp8", "h264", "opus", "pcmu", "pcma"}, ".mp4": {"h264", "opus"}}


@dataclass(frozen=True, slots=True)
class RecordingResult:
    """How a recording ended.

    Attributes:
        path: the finished file; ``None`` when nothing was recorded or nothing could be kept. When the file could not
            get its name, the one it has: a Matroska file all the same.
        error: why it ended early; ``None`` when it did not. With a ``path``, that file is whole up to there.
        duration_s: of the file.
        frames_written: frames that went into the file, fillings included.
        frames_dropped: frames that came but did not: before the start, before a keyframe, a full queue, after an error.
        file_bytes: the file's size.
    """

    path: Path | None
    error: CodecError | None
    duration_s: float
    frames_written: int
    frames_dropped: int
    file_bytes: int


@lru_cache(maxsize=1)
def _fallback_parameter_sets() -> bytes:
    """An SPS and PPS for H.264 that has not come when the head is written; the real ones come in its keyframe."""
    encoder = H264Encoder(VideoEncoderConfiguration(frame_rate=30))
    (frame,) = encoder.encode(TestCard(640, 480).picture(0), 0, force_keyframe=True)
    sets = parameter_sets(frame.data)
    if sets is None:
        raise CodecError("this FFmpeg's H.264 encoder gives no parameter sets: it cannot be used")
    return sets


def _open_file(path: Path) -> BinaryIO:
    # Without a buffer: after a failed write Python would try the same bytes again on every seek and close.
    return path.open("w+b", buffering=0)


class Recorder:
    """One recording: several tracks, one file."""

    def __init__(
        self,
        path: str | Path,
        tracks: Sequence[RecorderTrack],
        *,
        started_at_s: float,
        title: str = "",
        configuration: RecorderConfiguration | None = None,
        open_file: Callable[[Path], BinaryIO] = _open_file,
    ) -> None:
        """Nothing is opened before the first `flush`.

        Args:
            path: where the finished file will be. Its suffix chooses the container: ``.webm`` (VP8 and Opus), ``.mkv``
                (all) or ``.mp4`` (H.264 and Opus). While it grows it is called the same with ``.part`` behind it.
            tracks: with different names. Order is kept.
            started_at_s: the file's time 0, on the clock of `write`; the moment of Go. Earlier frames are left out.
            title: of the file, for people.
            configuration: limits.
            open_file: opens a path for reading and writing, emptied.

        Raises:
            ConfigurationError: no tracks, names twice, or a container that cannot hold a codec.
        """
        self._path = Path(path)
        self._configuration = configuration or RecorderConfiguration()
        self._started_at_s = started_at_s
        self._title = title
        self._open_file = open_file
        allowed = _CONTAINERS.get(self._path.suffix.lower())
        if allowed is None:
            raise ConfigurationError("a recording's name must end in .webm, .mkv or .mp4")
        wrong = next((track for track in tracks if not isinstance(track, RecorderTrack)), None)
        if wrong is not None:
            raise ConfigurationError(f"{wrong!r} is no track: write RecorderTrack(name, codec)")
        if not 1 <= len(tracks) <= _MAX_TRACKS or len({track.name for track in tracks}) != len(tracks):
            raise ConfigurationError(f"a recording needs 1 to {_MAX_TRACKS} tracks, and every track a name of its own")
        for track in tracks:
            if track.codec.lower() not in allowed:
                raise ConfigurationError(f"{self._path.suffix} cannot hold {track.codec}: name the file .mkv")
        self._timelines = {track.name: TrackTimeline(track, started_at_s, self._configuration) for track in tracks}
        self._numbers = {track.name: number for number, track in enumerate(tracks)}
        self._queue: deque[tuple[str, EncodedFrame | None, int, float]] = deque()
        # Two counts that only grow, one for each thread: no lock, and neither can lose the other's addition.
        self._bytes_in = self._bytes_out = 0
        self._dropped_in = self._dropped_out = 0
        self._pending: list[tuple[int, TimedFrame]] = []  # until the head can be written
        self._pending_bytes = 0
        self._file: BinaryIO | None = None
        self._writer: MatroskaWriter | None = None
        self._written = 0
        self._result: RecordingResult | None = None
        self.error: CodecError | None = None
        """Why the recording stopped early; ``None`` while all is well."""

    @property
    def flush_wanted(self) -> bool:
        """Enough frames wait that `flush` is worth a thread."""
        return len(self._queue) >= self._configuration.flush_frames

    @property
    def keyframes_wanted(self) -> tuple[str, ...]:
        """Tracks that record nothing before a keyframe comes: ask their senders for one."""
        return tuple(name for name, timeline in self._timelines.items() if timeline.waits_for_keyframe)

    def write(self, track: str, frame: EncodedFrame, arrived_at_s: float) -> bool:
        """Give a frame to the recording. Does not block, raises nothing for the peer's or the disk's faults.

        Args:
            track: the track's name.
            frame: with its RTP timestamp; in order of decoding.
            arrived_at_s: when its last packet came, on the clock of ``started_at_s``.

        Returns:
            ``False`` when it was dropped: the queue is full, or the recording has ended.

        Raises:
            ConfigurationError: there is no such track, or it is no encoded frame.
        """
        self._known(track)
        if not isinstance(frame, EncodedFrame):
            raise ConfigurationError(
                f"a recording takes an EncodedFrame, not {type(frame).__name__}: of what a receiver gives, its `frame`"
            )
        full = (
            len(self._queue) >= self._configuration.queue_frames
            or self._bytes_in - self._bytes_out + len(frame.data) > self._configuration.queue_bytes
        )
        if full or self.error is not None or self._result is not None:
            self._dropped_in += 1
            return False
        self._bytes_in += len(frame.data)
        self._queue.append((track, frame, 0, arrived_at_s))
        return True

    def map_timestamps(self, track: str, rtp_timestamp: int, captured_at_s: float) -> None:
        """Say when a tick of a track's RTP clock was captured, as its sender reports tell (RFC 3550 section 6.4.1).

        Sound and pictures of one side are in step when both are mapped. Without it a track's clock is guessed from the
        arrival of its packets, the earliest ones counting.

        Args:
            track: the track's name.
            rtp_timestamp: the tick.
            captured_at_s: its moment, on the clock of ``started_at_s``.

        Raises:
            ConfigurationError: there is no such track.
        """
        self._known(track)
        if self.error is None and len(self._queue) < self._configuration.queue_frames:
            self._queue.append((track, None, rtp_timestamp, captured_at_s))

    def flush(self) -> None:
        """Write what waits to the disk. Blocks. Faults of the disk end the recording and are in `error`."""
        if self._result is not None:
            return
        latest_s = self._started_at_s
        while True:
            try:
                name, frame, rtp_timestamp, at_s = self._queue.popleft()
            except IndexError:
                break
            if frame is None:
                self._timelines[name].map(rtp_timestamp, at_s)
                continue
            latest_s = max(latest_s, at_s)
            self._bytes_out += len(frame.data)
            if self.error is not None:
                self._dropped_out += 1
                continue
            number = self._numbers[name]
            for timed in self._timelines[name].place(frame, at_s):
                self._put(number, timed)
        self._write_head_when_due(latest_s)

    def finish(self, ended_at_s: float | None = None) -> RecordingResult:
        """Write the rest, close the file and give it its name. Blocks. Later calls give the same result again.

        Args:
            ended_at_s: when the recording ends, on the clock of ``started_at_s``; ``None``: with the last frame. The
                last pictures last until then.
        """
        if self._result is not None:
            return self._result
        self.flush()
        for name, timeline in self._timelines.items():
            for timed in timeline.finish(ended_at_s):
                self._put(self._numbers[name], timed)
        end_ms = 0 if ended_at_s is None else round((ended_at_s - self._started_at_s) * 1000)
        path = self._close_file(end_ms)
        last_ms = 0 if self._writer is None else self._writer.written_end_ms
        duration_s = (max(last_ms, end_ms) if self.error is None else last_ms) / 1000
        file_bytes = 0
        if path is not None:
            with contextlib.suppress(OSError):
                file_bytes = path.stat().st_size
        self._result = RecordingResult(
            path=path,
            error=self.error,
            duration_s=duration_s if path else 0.0,
            frames_written=self._written,
            frames_dropped=self._dropped_in
            + self._dropped_out
            + sum(t.frames_dropped for t in self._timelines.values()),
            file_bytes=file_bytes,
        )
        return self._result

    def _known(self, track: str) -> None:
        if track not in self._timelines:
            raise ConfigurationError(f"this recording has no track {track!r}: it has {', '.join(self._timelines)}")

    @property
    def _part_path(self) -> Path:
        return self._path.with_name(self._path.name + self._configuration.temporary_suffix)

    def _put(self, number: int, timed: TimedFrame) -> None:
        if self.error is not None:
            self._dropped_out += 1
            return
        if self._writer is None:
            self._pending.append((number, timed))
            self._pending_bytes += len(timed.data)
            if self._pending_bytes > self._configuration.queue_bytes:
                self._write_head()
            return
        limit = self._configuration.max_file_bytes
        if limit is not None and self._writer.bytes_written + len(timed.data) > limit:
            self._fail(f"the recording reached its limit of {limit} bytes")
            self._dropped_out += 1
            return
        try:
            self._writer.write(
                number, timed.time_ms, timed.data, keyframe=timed.keyframe, duration_ms=timed.duration_ms
            )
        except OSError as error:
            self._fail(f"cannot write the recording: {error}")
            self._dropped_out += 1
            return
        self._written += 1

    def _write_head_when_due(self, latest_s: float) -> None:
        if self._writer is not None or self.error is not None or not self._pending:
            return
        waited_s = latest_s - self._started_at_s
        if waited_s >= self._configuration.header_wait_s or all(line.is_known for line in self._timelines.values()):
            self._write_head()

    def _write_head(self) -> None:
        """Open the file and write all that waited for its head."""
        try:
            fallback = b""
            if any(line.track.codec.lower() == "h264" and not line.is_known for line in self._timelines.values()):
                fallback = _fallback_parameter_sets()
            tracks = [line.describe(fallback) for line in self._timelines.values()]
            self._file = self._open_file(self._part_path)
            self._writer = MatroskaWriter(
                self._file,
                tracks,
                webm=self._path.suffix.lower() == ".webm",
                cluster_ms=round(self._configuration.cluster_s * 1000),
                title=self._title,
            )
            self._writer.write_head()
        except (OSError, CodecError) as error:
            self._fail(f"cannot begin the recording: {error}")
        pending, self._pending, self._pending_bytes = self._pending, [], 0
        for number, timed in sorted(pending, key=lambda item: item[1].time_ms):
            self._put(number, timed)

    def _fail(self, reason: str) -> None:
        if self.error is None:
            self.error = CodecError(reason)

    def _close_file(self, end_ms: int) -> Path | None:
        """Finish and rename the file; what an error left is cut to its last whole cluster and kept."""
        if self._writer is None and self._pending:
            self._write_head()
        if self._writer is None or self._file is None:
            self._discard()
            return None
        if self.error is None:
            try:
                self._writer.finish(end_ms)
            except OSError as error:
                self._fail(f"cannot finish the recording: {error}")
        usable = self._written > 0
        if self.error is not None:
            try:
                self._writer.salvage()
            except OSError:
                usable = False
        try:
            self._file.close()
        except OSError as error:
            self._fail(f"cannot close the recording: {error}")
            usable = False
        self._file = None
        if usable:
            return self._rename()
        self._discard()
        return None

    def _rename(self) -> Path | None:
        part = self._part_path
        try:
            if self._path.suffix.lower() == ".mp4":
                remux_to_mp4(part, self._path)
                part.unlink()
            else:
                part.replace(self._path)
        except (OSError, av.FFmpegError, CodecError) as error:
            self._fail(f"cannot give the recording its name: {error}")
            return part if part.exists() else None
        return self._path

    def _discard(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None
        with contextlib.suppress(OSError):
            self._part_path.unlink(missing_ok=True)
