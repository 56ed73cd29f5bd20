"""Those who watch calls on the server: recordings, and stills of one side. A leg is tapped only while somebody does."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Final, NamedTuple

import trio

from triortc.codecs.frames import EncodedFrame
from triortc.codecs.registry import MediaKind
from triortc.codecs.snapshot import LastPicture, snapshot_png
from triortc.codecs.threads import CodecThreads
from triortc.engine.calls.call_recording import (
    CallRecording,
    RecordingConfiguration,
    TrackFormat,
    delete_old_recordings,
    track_name,
)
from triortc.engine.calls.frame_assembly import CLOCK_RATES, AssembledFrame, CallTap, sender_clock
from triortc.engine.calls.ports import Side
from triortc.engine.relay.plane import DataPlane
from triortc.engine.sdp.negotiated import NegotiatedMedia
from triortc.engine.session.media import MediaSession
from triortc.errors import ConfigurationError

__all__ = ["MediaWatch", "WatchedLeg"]

_logger: Final = logging.getLogger("triortc.recording")
_DELETION_INTERVAL_S: Final = 3600.0


class WatchedLeg(NamedTuple):
    """A leg that has a transport."""

    name: str
    side: Side
    media: MediaSession


@dataclass(slots=True, eq=False)
class _Watch:
    """One call that is watched: its tap, the legs it is set on, and how many watch."""

    tap: CallTap
    legs: dict[str, WatchedLeg] = field(default_factory=dict)
    recording: CallRecording | None = None
    users: int = 0


class MediaWatch:
    """Recordings and stills of any number of calls.

    Arguments:
        plane: whose legs are tapped.
        nursery: recordings live here; cancelling it leaves whole files.
        configuration: where recordings go, and limits.
        on_stopped: called with session, recording and reason when a recording ends that nobody stopped.
    """

    def __init__(
        self,
        plane: DataPlane,
        nursery: trio.Nursery,
        configuration: RecordingConfiguration,
        on_stopped: Callable[[str, str, str], None],
    ) -> None:
        self._plane = plane
        self._nursery = nursery
        self._configuration = configuration
        self._on_stopped = on_stopped
        self._threads = CodecThreads()
        self._watches: dict[str, _Watch] = {}
        self._running = 0
        self._deleted_at = trio.current_time()

    @property
    def running(self) -> int:
        """Recordings that are on, or whose files are being finished."""
        return self._running

    # -- recordings

    def start_recording(self, session: str, recording: str, legs: Iterable[WatchedLeg]) -> None:
        """Record a call from now on. What is in the way is told by `on_stopped`, never raised.

        Arguments:
            session: the call.
            recording: the file's name, see `CallRecording`.
            legs: all that the call has; later ones are told by `leg_opened`.
        """
        watch = self._watches.get(session)
        if watch is not None and watch.recording is not None:
            self._on_stopped(session, recording, "this call is recorded already")
            return
        if self._running >= self._configuration.max_recordings:
            self._on_stopped(session, recording, "the limit of recordings is reached (max_recordings)")
            return
        watch = self._take(session, legs)
        try:
            started = CallRecording(
                recording,
                watch.tap,
                _expected(watch.legs.values()),
                started_at=trio.current_time(),
                configuration=self._configuration,
                threads=self._threads,
            )
        except ConfigurationError as error:
            self._release(session)
            self._on_stopped(session, recording, str(error))
            return
        watch.recording = started
        self._running += 1
        self._nursery.start_soon(self._record, session, started, name=f"recording {recording}")
        self._request_keyframes(watch, trio.current_time())

    def stop_recording(self, session: str) -> None:
        """End the call's recording, if there is one. The file is finished behind the caller's back."""
        watch = self._watches.get(session)
        if watch is None or watch.recording is None:
            return
        watch.recording.stop(trio.current_time())
        watch.recording = None
        self._release(session)

    async def _record(self, session: str, recording: CallRecording) -> None:
        try:
            reason = await recording.run()
        finally:
            self._running -= 1
        await self._delete_old(trio.current_time())
        watch = self._watches.get(session)
        if watch is None or watch.recording is not recording:
            return  # stopped, or the call is over
        watch.recording = None
        self._release(session)
        self._on_stopped(session, recording.id, reason or "the recording ended")

    async def _delete_old(self, now: float) -> None:
        """After a recording, at most once an hour: a server that is up for months keeps none for longer, either."""
        if now - self._deleted_at < _DELETION_INTERVAL_S:
            return
        self._deleted_at = now
        try:
            await trio.to_thread.run_sync(delete_old_recordings, self._configuration)
        except OSError as error:
            _logger.error("old recordings could not be deleted: %s", error)

    # -- stills

    async def snapshot(self, session: str, side: Side, legs: Iterable[WatchedLeg]) -> bytes | None:
        """The newest picture of one side that the other side gets, as PNG.

        From what is recorded, or else from the next keyframe, which is asked for.

        Returns:
            None when no picture came in time: the camera is off, the gate is closed.
        """
        watch = self._watches.get(session)
        if watch is not None and watch.recording is not None and side in watch.recording.pictures:
            codec_name, pictures = watch.recording.pictures[side]
        else:
            codec_name, pictures = await self._next_picture(session, side, legs)
        frames = pictures.take()
        return await self._threads.run(snapshot_png, codec_name, frames) if frames else None

    async def _next_picture(self, session: str, side: Side, legs: Iterable[WatchedLeg]) -> tuple[str, LastPicture]:
        pictures, codecs, arrived = LastPicture(), [""], trio.Event()

        def watcher(of: Side, kind: MediaKind, frame: AssembledFrame) -> None:
            if of == side and kind == "video":
                codecs[0] = frame.codec_name
                pictures.add(EncodedFrame(frame.data, frame.timestamp, 0, frame.keyframe))
                if pictures.take():
                    arrived.set()

        watch = self._take(session, legs)
        watch.tap.watchers.append(watcher)
        try:
            self._request_keyframes(watch, trio.current_time(), side)
            with trio.move_on_after(self._configuration.snapshot_timeout_s):
                await arrived.wait()
        finally:
            watch.tap.watchers.remove(watcher)
            if self._watches.get(session) is watch:
                self._release(session)
        return codecs[0], pictures

    # -- legs come and go

    def leg_opened(self, session: str, leg: WatchedLeg) -> None:
        """A leg of the call has its transport now."""
        watch = self._watches.get(session)
        if watch is not None:
            self._tap(watch, leg)

    def leg_closing(self, session: str, leg: str) -> None:
        """A leg is about to leave the data plane."""
        watch = self._watches.get(session)
        if watch is not None and watch.legs.pop(leg, None) is not None:
            self._plane.tap(leg, None)

    def close_session(self, session: str) -> None:
        """The call is over: its recording stops, and who waits for a still gets none."""
        self.stop_recording(session)
        watch = self._watches.pop(session, None)
        for leg in watch.legs if watch is not None else ():
            self._plane.tap(leg, None)

    # -- inside

    def _take(self, session: str, legs: Iterable[WatchedLeg]) -> _Watch:
        watch = self._watches.get(session)
        if watch is None:
            watch = self._watches[session] = _Watch(CallTap(partial(self._keyframe_wanted, session)))
            for leg in legs:
                self._tap(watch, leg)
        watch.users += 1
        return watch

    def _release(self, session: str) -> None:
        watch = self._watches[session]
        watch.users -= 1
        if not watch.users:
            self.close_session(session)

    def _tap(self, watch: _Watch, leg: WatchedLeg) -> None:
        watch.legs[leg.name] = leg
        self._plane.tap(leg.name, partial(watch.tap.packet, leg.side, leg.name, sender_clock(leg.media)))

    def _keyframe_wanted(self, session: str, leg: str, now: float) -> None:
        watch = self._watches.get(session)
        if watch is not None and leg in watch.legs:
            self._plane.request_keyframe(leg, now)

    def _request_keyframes(self, watch: _Watch, now: float, side: Side | None = None) -> None:
        for leg in watch.legs.values():
            if side in (None, leg.side):
                self._plane.request_keyframe(leg.name, now)


def _expected(legs: Iterable[WatchedLeg]) -> dict[str, TrackFormat]:
    """The tracks that legs have agreed to send, with the codec they prefer."""
    expected: dict[str, TrackFormat] = {}
    for leg in legs:
        for section in leg.media.sections:
            format = _format_of(section)
            if section.receive and format is not None:
                expected.setdefault(track_name(leg.side, section.kind), format)
    return expected


def _format_of(section: NegotiatedMedia) -> TrackFormat | None:
    for entry in section.codecs:
        name, parameters = entry.codec.name.lower(), entry.codec.parameters
        if name in CLOCK_RATES:
            return TrackFormat(name, 2 if "1" in (parameters.get("stereo"), parameters.get("sprop-stereo")) else 1)
    return None
