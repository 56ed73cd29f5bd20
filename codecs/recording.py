"""A recording as a lifetime: open while a block runs, whole on the disk behind it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from triortc.codecs.configuration import RecorderConfiguration
from triortc.codecs.frames import EncodedFrame
from triortc.codecs.recorder import Recorder
from triortc.codecs.recording_track import RecorderTrack
from triortc.codecs.threads import CodecThreads
from triortc.lone_errors import raises_lone_errors

__all__ = ["open_recording"]


class _WakingRecorder(Recorder):
    """A recorder that wakes its writer when there is enough to write."""

    wake: trio.Event

    def write(self, track: str, frame: EncodedFrame, arrived_at_s: float) -> bool:
        """As `Recorder.write`; only from trio's own thread."""
        taken = super().write(track, frame, arrived_at_s)
        if self.flush_wanted:
            self.wake.set()
        return taken


@raises_lone_errors
@asynccontextmanager
async def open_recording(
    path: str | Path,
    tracks: Sequence[RecorderTrack],
    *,
    started_at_s: float,
    threads: CodecThreads | None = None,
    title: str = "",
    configuration: RecorderConfiguration | None = None,
    now: Callable[[], float] = trio.current_time,
) -> AsyncGenerator[Recorder]:
    """A recording that is written in codec threads while the block runs, and finished when it is left in any way.

    Call `Recorder.finish` behind the block to learn how it ended; it then only gives the result that is there.

    Args:
        path: where the finished file will be, as for `Recorder`.
        tracks: as for `Recorder`.
        started_at_s: the file's time 0.
        threads: where the disk is waited for; ``None``: threads of its own.
        title: of the file.
        configuration: limits.
        now: the clock of ``started_at_s``, read once, when the block is left.

    Raises:
        ConfigurationError: as for `Recorder`.
    """
    recorder = _WakingRecorder(path, tracks, started_at_s=started_at_s, title=title, configuration=configuration)
    recorder.wake = trio.Event()
    run = (threads or CodecThreads()).run

    async def drain() -> None:
        while True:
            await recorder.wake.wait()
            recorder.wake = trio.Event()
            await run(recorder.flush)

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(drain)
            try:
                yield recorder
            finally:
                nursery.cancel_scope.cancel()
    finally:
        ended_at_s = now()
        with trio.CancelScope(shield=True):
            await run(recorder.finish, ended_at_s)
