"""A playout buffer for audio: puts packets in order and hands each out when its time has come.

The time of a packet is its media time plus a transit estimate plus a target delay that follows the measured jitter.
Time is an argument, so the same buffer serves a sound card, a recorder and a simulation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from triortc.engine.jitter.configuration import AudioJitterConfiguration
from triortc.engine.jitter.delay_estimator import DelayEstimator
from triortc.engine.rtp.sequence import SequenceTracker, TimestampUnwrapper

__all__ = ["AudioFrame", "AudioJitterBuffer", "AudioJitterStatistics"]

AudioFrame: TypeAlias = tuple[int, bytes | None]
"""(RTP timestamp, payload); None: nothing came in time, conceal."""

_DEFAULT_FRAME_S: Final = 0.02
_MAXIMUM_FRAME_S: Final = 0.12
_DISCONTINUITY_S: Final = 3.0


@dataclass(slots=True)
class AudioJitterStatistics:
    """What has become of the packets."""

    inserted: int = 0
    duplicates: int = 0
    late: int = 0
    overflowed: int = 0
    """Dropped because the buffer was full or too wide."""
    concealed: int = 0
    """Frames handed out without a payload."""
    resets: int = 0


class AudioJitterBuffer:
    """Orders and times the frames of one audio stream.

    Args:
        clock_rate: ticks of the RTP timestamp per second (48000 for Opus).
        configuration: delays and bounds.
    """

    __slots__ = (
        "_clock_rate",
        "_concealed_ticks",
        "_configuration",
        "_delay_s",
        "_estimator",
        "_frame_ticks",
        "_last_extended",
        "_last_step",
        "_last_ticks",
        "_next_ticks",
        "_offset_at",
        "_packets",
        "_sequence",
        "_silent",
        "_timestamps",
        "statistics",
    )

    def __init__(self, clock_rate: int, configuration: AudioJitterConfiguration | None = None) -> None:
        self._clock_rate = clock_rate
        self._configuration = configuration or AudioJitterConfiguration()
        self.statistics = AudioJitterStatistics()
        self._start_over()

    def _start_over(self) -> None:
        configured = self._configuration
        self._estimator = DelayEstimator(
            window_s=configured.window_s,
            late_fraction=configured.late_fraction,
            maximum_s=configured.maximum_delay_ms / 1000,
        )
        self._sequence = SequenceTracker()
        self._timestamps = TimestampUnwrapper()
        self._packets: dict[int, tuple[int, bytes, int]] = {}  # ticks, payload, duration or 0
        self._delay_s = configured.minimum_delay_ms / 1000
        self._offset_at = 0.0
        self._frame_ticks = round(self._clock_rate * _DEFAULT_FRAME_S)
        self._last_step = 0
        self._last_extended = -1
        self._last_ticks = 0
        self._next_ticks: int | None = None
        self._concealed_ticks = 0
        self._silent = True

    def reset(self) -> None:
        """Forget packets and measurements: another source or codec comes next."""
        self._start_over()
        self.statistics.resets += 1

    @property
    def target_delay_ms(self) -> float:
        """The delay that the jitter asks for, within the configured bounds."""
        return self._target_s() * 1000

    @property
    def delay_ms(self) -> float:
        """The delay in use, which follows the target."""
        return self._delay_s * 1000

    def insert(self, sequence_number: int, timestamp: int, payload: bytes, now: float, duration: int = 0) -> None:
        """Take a packet that arrived at `now`. Duplicates and packets that come too late are counted and dropped.

        Args:
            sequence_number, timestamp, payload: of the packet.
            now: seconds.
            duration: how long it lasts, in ticks of the clock; 0: unknown, then it is learnt from the timestamps.
        """
        self.statistics.inserted += 1
        extended = self._sequence.extend(sequence_number)
        if extended < 0:
            self.statistics.late += 1
            return
        ticks = self._timestamps.unwrap(timestamp)
        transit_s = now - ticks / self._clock_rate
        if self._last_extended >= 0 or self._packets:
            known = self._estimator.minimum_s
            if self._sequence.restarts or abs(transit_s - known) > _DISCONTINUITY_S:
                self._resume_elsewhere(sequence_number, timestamp, payload, now, duration)
                return
        if extended in self._packets:
            self.statistics.duplicates += 1
            return
        self._estimator.note(transit_s, now)
        if extended <= self._last_extended or (self._next_ticks is not None and ticks < self._next_ticks):
            self.statistics.late += 1
            self._adapt(now)
            return
        self._packets[extended] = ticks, payload, duration
        if not duration:
            self._learn_frame_length(extended, ticks)
        self._adapt(now)
        self._bound()

    def _resume_elsewhere(
        self, sequence_number: int, timestamp: int, payload: bytes, now: float, duration: int
    ) -> None:
        """Begin anew at a packet whose clock or numbering has nothing to do with what came before."""
        self.reset()
        self.insert(sequence_number, timestamp, payload, now, duration)
        self.statistics.inserted -= 1

    def _learn_frame_length(self, extended: int, ticks: int) -> None:
        waiting = self._packets.get(extended - 1)
        if waiting is None and (self._last_extended < 0 or extended - 1 != self._last_extended):
            return
        step = ticks - (self._last_ticks if waiting is None else waiting[0])
        if not 0 < step <= _MAXIMUM_FRAME_S * self._clock_rate:
            return
        # A short pause of the sender looks like one longer frame, so a longer one must be seen twice.
        if step < self._frame_ticks or step == self._last_step:
            self._frame_ticks = step
        self._last_step = step

    def _target_s(self) -> float:
        configured = self._configuration
        wanted = self._estimator.quantile_s()
        return min(max(wanted, configured.minimum_delay_ms / 1000), configured.maximum_delay_ms / 1000)

    def _adapt(self, now: float) -> None:
        """Move the delay towards the target: up at once, down slowly, and at once while nothing is played."""
        target_s = self._target_s()
        elapsed = now - self._offset_at
        self._offset_at = now
        if target_s >= self._delay_s or self._silent:
            self._delay_s = target_s
        else:
            step = self._configuration.maximum_decrease_ms_per_s / 1000 * max(elapsed, 0.0)
            self._delay_s = max(target_s, self._delay_s - step)

    def _bound(self) -> None:
        configured = self._configuration
        widest = configured.maximum_span_ms / 1000 * self._clock_rate
        newest = max(ticks for ticks, _, _ in self._packets.values()) if len(self._packets) > 1 else 0
        while len(self._packets) > configured.maximum_packets or (
            len(self._packets) > 1 and newest - self._packets[min(self._packets)][0] > widest
        ):
            oldest = min(self._packets)
            ticks, _, duration = self._packets.pop(oldest)
            self._hand_out(oldest, ticks, duration)
            self.statistics.overflowed += 1

    def _hand_out(self, extended: int, ticks: int, duration: int) -> None:
        """This packet has had its turn; the next one follows when it is over."""
        if extended > self._last_extended:
            self._last_extended, self._last_ticks = extended, ticks
        if duration:
            self._frame_ticks = duration
        self._next_ticks = ticks + self._frame_ticks

    def _plays_at(self, ticks: int) -> float:
        return ticks / self._clock_rate + self._estimator.minimum_s + self._delay_s

    def _next_frame(self) -> tuple[int, int | None] | None:
        """The frame to come: (ticks, extended number, None for one to conceal); None: wait for a packet."""
        first = min(self._packets, default=None)
        if first is None:
            limit = self._configuration.maximum_concealment_ms / 1000 * self._clock_rate
            if self._next_ticks is None or self._concealed_ticks >= limit:
                return None
            return self._next_ticks, None
        ticks = self._packets[first][0]
        expected = self._next_ticks
        if expected is None or ticks <= expected or first == self._last_extended + 1:
            return ticks, first  # in sequence: a jump of the timestamp is a pause of the sender, not a loss
        limit = self._configuration.maximum_concealment_ms / 1000 * self._clock_rate
        if self._concealed_ticks >= limit:
            return ticks, first
        return expected, None

    def next_deadline(self) -> float | None:
        """Return when the next frame, or its concealment, is due; None while there is nothing to wait for."""
        frame = self._next_frame()
        return None if frame is None else self._plays_at(frame[0])

    def pop(self, now: float) -> AudioFrame | None:
        """Return the frame whose time has come, (timestamp, None) for one to conceal, None if it is too early."""
        frame = self._next_frame()
        if frame is None or now < self._plays_at(frame[0]):
            return None
        ticks, extended = frame
        if extended is None:
            self._next_ticks = ticks + self._frame_ticks
            self._concealed_ticks += self._frame_ticks
            self._silent = self._silent or not self._packets
            self.statistics.concealed += 1
            return ticks & 0xFFFFFFFF, None
        self._concealed_ticks = 0
        self._silent = False
        _, payload, duration = self._packets.pop(extended)
        self._hand_out(extended, ticks, duration)
        return ticks & 0xFFFFFFFF, payload
