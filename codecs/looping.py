"""Sends a loop of encoded frames at their pace. No clock inside: the caller says what time it is."""

from __future__ import annotations

from collections.abc import Sequence

from triortc.codecs.frames import EncodedFrame
from triortc.errors import ConfigurationError

__all__ = ["LoopPlayer"]

_TIMESTAMPS = 1 << 32


class LoopPlayer:
    """Plays encoded frames round and round with RTP timestamps that go on."""

    __slots__ = ("_clock_rate", "_due_ticks", "_frames", "_index", "_max_lateness_s", "_started_at", "_timestamp")

    def __init__(
        self, frames: Sequence[EncodedFrame], clock_rate: int, *, timestamp: int = 0, max_lateness_s: float = 0.5
    ) -> None:
        """Prepare to play.

        Args:
            frames: a loop, its first frame a keyframe, every frame with a duration.
            clock_rate: ticks a second of timestamps and durations.
            timestamp: RTP timestamp of the first frame sent.
            max_lateness_s: frames later than this are left out rather than sent in a burst.

        Raises:
            ConfigurationError: there is no frame, or one has no duration.
        """
        if not frames or any(frame.duration <= 0 for frame in frames):
            raise ConfigurationError("a loop needs at least one frame, and every frame a duration")
        self._frames = tuple(frames)
        self._clock_rate = clock_rate
        self._timestamp = timestamp
        self._max_lateness_s = max_lateness_s
        self._started_at: float | None = None
        self._due_ticks = 0
        self._index = 0

    def start(self, now: float) -> None:
        """Begin (again) with the first frame, due at once."""
        self._timestamp = self.next_timestamp
        self._started_at = now
        self._due_ticks = 0
        self._index = 0

    def stop(self) -> None:
        """Send nothing more until `start`."""
        self._timestamp = self.next_timestamp
        self._due_ticks = 0
        self._started_at = None

    def request_keyframe(self) -> None:
        """Let the next frame be the loop's first, the keyframe."""
        self._index = 0

    @property
    def next_timestamp(self) -> int:
        """The RTP timestamp of the next frame: where another source of the same stream goes on."""
        return (self._timestamp + self._due_ticks) % _TIMESTAMPS

    def next_deadline(self) -> float | None:
        """When the next frame is due; ``None`` before `start` and after `stop`."""
        if self._started_at is None:
            return None
        return self._started_at + self._due_ticks / self._clock_rate

    def poll_frame(self, now: float) -> EncodedFrame | None:
        """The next frame that is due at ``now``, ``None`` when there is no more."""
        due = self.next_deadline()
        if due is None or due > now:
            return None
        if now - due > self._max_lateness_s:
            self._skip(now - due)
        frame = self._frames[self._index]
        sent = EncodedFrame(frame.data, self.next_timestamp, frame.duration, frame.keyframe)
        self._due_ticks += frame.duration
        self._index = (self._index + 1) % len(self._frames)
        return sent

    def _skip(self, late_s: float) -> None:
        """Leave out what is late, in whole frames; a picture loop goes on with its keyframe."""
        duration = self._frames[self._index].duration
        self._due_ticks += int(late_s * self._clock_rate) // duration * duration
        if not all(frame.keyframe for frame in self._frames):
            self._index = 0
