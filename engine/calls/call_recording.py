"""Recordings of calls: both sides into one file, written in codec threads, while the call knows nothing of it."""

from __future__ import annotations

import logging
import math
import re
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, NamedTuple

import trio

from triortc.codecs.configuration import RecorderConfiguration
from triortc.codecs.frames import EncodedFrame
from triortc.codecs.recorder import Recorder, RecorderTrack, RecordingResult
from triortc.codecs.recording import open_recording
from triortc.codecs.registry import MediaKind
from triortc.codecs.snapshot import LastPicture
from triortc.codecs.threads import CodecThreads
from triortc.configuration_kinds import require_kinds
from triortc.engine.calls.frame_assembly import CLOCK_RATES, VIDEO_CODECS, AssembledFrame, CallTap
from triortc.engine.calls.ports import Side
from triortc.errors import ConfigurationError

__all__ = [
    "CallRecording",
    "RecordingConfiguration",
    "TrackFormat",
    "delete_old_recordings",
    "file_suffix",
    "track_name",
]

_logger: Final = logging.getLogger("triortc.recording")
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
#: Only what bears the name of a recording is ever deleted from the directory.
_OURS: Final = re.compile(r"rec_[A-Za-z0-9_-]{1,60}(\.\d+)?\.(webm|mkv|mp4)(\.part)?")
_DAY_S: Final = 86_400
_MAXIMUM_PARTS: Final = 100


@dataclass(frozen=True, slots=True)
class RecordingConfiguration:
    """Where recordings go and what they may take.

    Attributes:
        directory: holds the files, named by the recording's id; made if it is missing. None: nothing can be recorded.
        recording_days: files older than this are deleted when the media side is opened; None: they are kept.
        max_recordings: at one time; one more is refused, and its call goes on.
        track_wait_s: how long the file waits to learn which codecs the four tracks have.
        report_wait_s: how long frames wait for the sender report that tells when they were captured.
        snapshot_timeout_s: how long a still waits for a keyframe.
        files: the limits of one file.
    """

    directory: Path | None = None
    recording_days: float | None = 30.0
    max_recordings: int = 100
    track_wait_s: float = 1.0
    report_wait_s: float = 6.0
    snapshot_timeout_s: float = 3.0
    files: RecorderConfiguration = field(default_factory=RecorderConfiguration)

    def __post_init__(self) -> None:
        require_kinds(self)
        if isinstance(self.directory, str):
            raise ConfigurationError(f"directory is a Path: write Path({self.directory!r})")
        if self.recording_days is not None and self.recording_days <= 0:
            raise ConfigurationError("recording_days must be above 0; None keeps recordings for ever")
        if self.max_recordings < 1 or self.track_wait_s <= 0 or self.snapshot_timeout_s <= 0:
            raise ConfigurationError("max_recordings must be 1 or more, track_wait_s and snapshot_timeout_s above 0")


class TrackFormat(NamedTuple):
    """What a track is expected to hold: the codec in lower case, and channels of sound."""

    codec_name: str
    channels: int = 1


def track_name(side: Side, kind: MediaKind) -> str:
    """How a file calls one side's sound or pictures."""
    return f"{side} {kind}"


def file_suffix(codec_names: set[str]) -> Literal[".webm", ".mp4", ".mkv"]:
    """The container that browsers play, where there is one for these codecs."""
    if codec_names <= {"vp8", "opus"}:
        return ".webm"
    return ".mp4" if codec_names <= {"h264", "opus"} else ".mkv"


def delete_old_recordings(configuration: RecordingConfiguration, wall_s: Callable[[], float] = time.time) -> int:
    """Make the directory, and delete the recordings in it that are too old. Blocks.

    Returns:
        how many were deleted.

    Raises:
        OSError: the directory cannot be made or read.
    """
    directory = configuration.directory
    if directory is None:
        return 0
    directory.mkdir(parents=True, exist_ok=True)
    if configuration.recording_days is None:
        return 0
    oldest_s = wall_s() - configuration.recording_days * _DAY_S
    deleted = 0
    for path in list(directory.iterdir()):
        if _OURS.fullmatch(path.name) and path.is_file() and path.stat().st_mtime < oldest_s:
            path.unlink(missing_ok=True)
            deleted += 1
    return deleted


def _captured_at(frame: AssembledFrame, guess_before: float) -> float | None:
    """When the frame was captured: as told, or guessed if it came before that time; None: wait for a report."""
    told = frame.clock.told(frame.timestamp, frame.arrived_at)
    if told is None and frame.arrived_at <= guess_before:
        return frame.clock.guess(frame.timestamp)
    return told


class _Contained:
    """Keeps what goes wrong in one recording from every call. Cancellation passes through."""

    __slots__ = ("error",)

    def __init__(self) -> None:
        self.error: Exception | None = None

    def __enter__(self) -> _Contained:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if isinstance(error, Exception):
            self.error = error
            return True
        return False


class CallRecording:
    """One recording of one call. `run` is its lifetime; the tap feeds it; `stop` returns at once.

    The file begins at `started_at` and holds a track for each side's sound and pictures. Should a track change its
    codec, or a new one appear, the file is finished and another one goes on: the second is called `id.2.webm`.

    Arguments:
        recording: its id, and the file's name.
        tap: what is recorded.
        expected: the tracks that the legs have agreed on, by name.
        started_at: the file's time 0, in seconds of trio's clock.
        configuration: where to, and limits.
        threads: where the disk is waited for.

    Raises:
        ConfigurationError: no directory is configured, or the id is no file name.
    """

    def __init__(
        self,
        recording: str,
        tap: CallTap,
        expected: Mapping[str, TrackFormat],
        *,
        started_at: float,
        configuration: RecordingConfiguration,
        threads: CodecThreads,
    ) -> None:
        if configuration.directory is None:
            raise ConfigurationError("recordings need a directory: set RecordingConfiguration.directory")
        if not _ID.fullmatch(recording):
            raise ConfigurationError("a recording's id has 1 to 64 letters, digits, '-' and '_': it names the file")
        self.id = recording
        self.results: list[RecordingResult] = []
        #: The newest pictures of each side, for stills.
        self.pictures: dict[Side, tuple[str, LastPicture]] = {}
        self._tap = tap
        self._expected = dict(expected)
        self._directory = configuration.directory
        self._configuration = configuration
        self._threads = threads
        self._started_at = started_at
        self._formats: dict[str, TrackFormat] = {}
        #: Frames of each track that have no file yet, or no time of capture.
        self._waiting: dict[str, deque[AssembledFrame]] = {}
        self._waiting_frames = self._waiting_bytes = 0
        self._misfit = False
        self._recorder: Recorder | None = None
        self._wake = trio.Event()
        self._stopped = False
        tap.watchers.append(self._frame)

    @property
    def stopped(self) -> bool:
        """It was asked to stop; the file may still be on its way to the disk."""
        return self._stopped

    def stop(self, now: float) -> None:
        """Take in what has come until `now` and nothing after; `run` finishes the file."""
        if self._stopped:
            return
        self._tap.flush(now)
        self._write(now, at_once=True)
        self._stopped = True
        self._wake.set()
        if self._frame in self._tap.watchers:
            self._tap.watchers.remove(self._frame)

    def _frame(self, side: Side, kind: MediaKind, frame: AssembledFrame) -> None:
        name, limits = track_name(side, kind), self._configuration.files
        if kind == "video":
            self._keep_picture(side, frame)
        full = self._waiting_frames >= limits.queue_frames or self._waiting_bytes >= limits.queue_bytes
        if full and self._recorder is None:
            return  # the disk stands still, and no more is kept for it
        if name not in self._waiting:
            self._waiting[name] = deque()
            self._wake.set()
        self._waiting[name].append(frame)
        self._waiting_frames += 1
        self._waiting_bytes += len(frame.data)
        self._write(frame.arrived_at, at_once=full)

    def _write(self, now: float, *, at_once: bool = False) -> None:
        """Write what waits, if the time of capture is known of every track's next frame, or (`at_once`) guessed.

        Tracks wait for each other: players expect in a file side by side what belongs together.
        """
        if self._recorder is None:
            return
        guess_before = math.inf if at_once else now - self._configuration.report_wait_s
        heads = [queue[0] for queue in self._waiting.values() if queue]
        if any(_captured_at(head, guess_before) is None for head in heads):
            return
        for name, queue in self._waiting.items():
            self._write_track(self._recorder, name, queue, guess_before)
        if self._misfit or self._recorder.error is not None:
            self._wake.set()

    def _write_track(self, recorder: Recorder, name: str, queue: deque[AssembledFrame], guess_before: float) -> None:
        while queue:
            frame = queue[0]
            format, captured_at = self._formats.get(name), _captured_at(frame, guess_before)
            if format is None or format.codec_name != frame.codec_name:
                self._misfit = True
                return
            if captured_at is None:
                return
            queue.popleft()
            self._waiting_frames -= 1
            self._waiting_bytes -= len(frame.data)
            if frame.codec_name in VIDEO_CODECS:
                # The picture that the gate opened with may have been on its way: without it no other can be decoded.
                captured_at = max(captured_at, self._started_at)
            ticks = round(captured_at * CLOCK_RATES[frame.codec_name]) & 0xFFFFFFFF
            recorder.write(name, EncodedFrame(frame.data, ticks, 0, frame.keyframe), captured_at)

    def _keep_picture(self, side: Side, frame: AssembledFrame) -> None:
        codec_name, pictures = self.pictures.get(side, ("", None))
        if pictures is None or codec_name != frame.codec_name:
            pictures = LastPicture()
            self.pictures[side] = (frame.codec_name, pictures)
        pictures.add(EncodedFrame(frame.data, frame.timestamp, 0, frame.keyframe))

    async def run(self) -> str | None:
        """Write until `stop` or an error; the file is whole when this returns or is cancelled.

        Returns:
            why it ended early, None if it was stopped.
        """
        with _Contained() as contained:
            try:
                await self._learn_formats()
                while any(self._waiting.values()) and len(self.results) < _MAXIMUM_PARTS:
                    result = await self._write_part()
                    if result.error is not None:
                        return str(result.error)
            finally:
                self.stop(trio.current_time())
        if contained.error is not None:
            _logger.error("recording %s failed", self.id, exc_info=contained.error)
            return "the recorder failed"
        return "the codecs changed too often" if any(self._waiting.values()) else None

    async def _learn_formats(self) -> None:
        """Wait for a frame, then for one of every track, but not for long: a muted camera sends none."""
        while not self._stopped and not self._waiting:
            await self._sleep()
        with trio.move_on_after(self._configuration.track_wait_s):
            while not self._stopped and not self._expected.keys() <= self._waiting.keys():
                await self._sleep()
        self._formats = dict(self._expected)

    async def _sleep(self) -> None:
        self._wake = trio.Event()
        await self._wake.wait()

    async def _write_part(self) -> RecordingResult:
        """One file, until the recording ends or a track has frames that it cannot hold."""
        self._misfit = False
        self._fit_formats()
        async with open_recording(
            self._path(),
            [RecorderTrack(name, format.codec_name, format.channels) for name, format in self._formats.items()],
            started_at_s=self._started_at,
            threads=self._threads,
            title=self.id,
            configuration=self._configuration.files,
        ) as recorder:
            try:
                self._begin(recorder)
                while recorder.error is None and not self._stopped and not self._misfit:
                    await self._sleep()
                self._write(trio.current_time(), at_once=True)
            finally:
                self._recorder = None
        result = recorder.finish()
        self.results.append(result)
        _logger.info("recording %s: %.1f s in %s", self.id, result.duration_s, result.path)
        heads = [queue[0] for queue in self._waiting.values() if queue]
        if heads:
            self._started_at = min(head.clock.guess(head.timestamp) for head in heads)
        return result

    def _fit_formats(self) -> None:
        """Give every track the codec of the frames that wait."""
        for name, queue in self._waiting.items():
            if queue and (name not in self._formats or self._formats[name].codec_name != queue[0].codec_name):
                self._formats[name] = TrackFormat(queue[0].codec_name)

    def _path(self) -> Path:
        number = len(self.results) + 1
        suffix = file_suffix({format.codec_name for format in self._formats.values()})
        return self._directory / (self.id + (f".{number}" if number > 1 else "") + suffix)

    def _begin(self, recorder: Recorder) -> None:
        """Every track's ticks are those of one clock; then what has come meanwhile."""
        for name, format in self._formats.items():
            clock_rate = CLOCK_RATES[format.codec_name]
            ticks = math.floor(self._started_at * clock_rate)
            recorder.map_timestamps(name, ticks & 0xFFFFFFFF, ticks / clock_rate)
        self._recorder = recorder
        self._write(trio.current_time(), at_once=self._stopped)
