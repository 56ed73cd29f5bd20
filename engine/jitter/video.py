"""Assembles video frames from packets: in order, complete, and never a frame whose references are missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from triortc.engine.jitter.configuration import VideoJitterConfiguration
from triortc.engine.rtp.sequence import SequenceTracker, TimestampUnwrapper

__all__ = ["Depacketizer", "KeyframeNeeded", "VideoFrame", "VideoJitterBuffer", "VideoJitterStatistics"]


class Depacketizer(Protocol):
    """What the buffer asks of a codec's payload format. None of these raise for a peer's bytes."""

    def is_frame_start(self, payload: bytes) -> bool:
        """Tell whether a frame may begin with this payload; the first of several with one timestamp counts."""

    def is_keyframe(self, payload: bytes) -> bool:
        """Tell whether this payload shows that its frame needs no earlier one.

        It need not be the frame's first: an H.264 delimiter may stand before the parameter sets.
        """

    def depacketize(self, payloads: Sequence[bytes]) -> bytes | None:
        """Return the frame of its payloads, all there and in order; None if they are malformed."""


@dataclass(slots=True, frozen=True)
class VideoFrame:
    """A complete frame. `arrived_at` is when its last packet came, in seconds of the caller's clock."""

    timestamp: int
    data: bytes
    keyframe: bool
    arrived_at: float


@dataclass(slots=True, frozen=True)
class KeyframeNeeded:
    """The decoder cannot go on without a keyframe; said once per loss, repeat the request as long as none arrives."""

    reason: str


@dataclass(slots=True)
class VideoJitterStatistics:
    """What has become of packets and frames."""

    frames: int = 0
    keyframes: int = 0
    malformed_frames: int = 0
    duplicates: int = 0
    late: int = 0
    discarded: int = 0
    """Packets dropped because their frames cannot be decoded."""
    given_up: int = 0
    """Gaps that were not filled in time."""
    overflows: int = 0


_Packet: TypeAlias = tuple[int, bool, bytes, float]
"""(unwrapped timestamp, marker, payload, arrival)."""


class VideoJitterBuffer:
    """Frames of one video stream. Frames are handed out as soon as they and all before them are complete.

    A gap stops delivery until a retransmission fills it. It is left behind when it has lasted `maximum_wait_ms` (then
    a keyframe is asked for) or when a later keyframe is already complete.

    Args:
        depacketizer: the codec's payload format.
        configuration: patience and bounds.
    """

    __slots__ = (
        "_asked",
        "_bytes",
        "_configuration",
        "_depacketizer",
        "_events",
        "_frames",
        "_gap_since",
        "_keyframe_marks",
        "_needs_keyframe",
        "_newest",
        "_next",
        "_packets",
        "_scan",
        "_scan_timestamp",
        "_sequence",
        "_suspect",
        "_timestamps",
        "statistics",
    )

    def __init__(self, depacketizer: Depacketizer, configuration: VideoJitterConfiguration | None = None) -> None:
        self._depacketizer = depacketizer
        self._configuration = configuration or VideoJitterConfiguration()
        self.statistics = VideoJitterStatistics()
        self._events: list[KeyframeNeeded] = []
        self._frames: list[VideoFrame] = []
        self._start_over()

    def _start_over(self) -> None:
        self._sequence = SequenceTracker()
        self._timestamps = TimestampUnwrapper()
        self._packets: dict[int, _Packet] = {}  # in order of arrival, which is what ages them
        self._keyframe_marks: set[int] = set()  # packets that show their frame to be a keyframe
        self._bytes = 0
        self._newest = -1
        self._needs_keyframe = True
        self._asked = False
        self._gap_since: float | None = None
        self._suspect: tuple[int, int, bool, bytes] | None = None
        self._next = 0
        self._scan = 0
        self._scan_timestamp: int | None = None

    def reset(self) -> None:
        """Forget all packets and wait for a keyframe: another source comes next."""
        self._start_over()
        self._frames.clear()

    @property
    def waits_for_keyframe(self) -> bool:
        """Whether nothing can be delivered before a keyframe comes."""
        return self._needs_keyframe

    @property
    def buffered_packets(self) -> int:
        """How many packets wait for their frame or a gap before it."""
        return len(self._packets)

    def insert(self, sequence_number: int, timestamp: int, marker: bool, payload: bytes, now: float) -> None:
        """Take a packet, also a restored one. An empty payload (padding, a probe) only fills its place in the order."""
        restarts = self._sequence.restarts
        extended = self._sequence.extend(sequence_number)
        if extended < 0:
            # The first packet of a restarted sender may begin its only keyframe, so it is kept until the next one.
            self._suspect = sequence_number, timestamp, marker, payload
            return
        if self._sequence.restarts != restarts:
            self._lose("the sender started over", extended - 1)
            if self._suspect is not None and self._suspect[0] == (sequence_number - 1) & 0xFFFF:
                _, earlier, earlier_marker, earlier_payload = self._suspect
                self._store(extended - 1, earlier, earlier_marker, earlier_payload, now)
        self._suspect = None
        self._store(extended, timestamp, marker, payload, now)
        self._advance(now)
        if len(self._packets) > self._configuration.maximum_packets or self._bytes > self._configuration.maximum_bytes:
            self.statistics.overflows += 1
            self._lose("the buffer is full", self._newest + 1)

    def _store(self, extended: int, timestamp: int, marker: bool, payload: bytes, now: float) -> None:
        if extended < self._next:
            self.statistics.late += 1
            return
        if extended in self._packets:
            self.statistics.duplicates += 1
            return
        self._packets[extended] = self._timestamps.unwrap(timestamp), marker, payload, now
        self._bytes += len(payload)
        self._newest = max(self._newest, extended)
        if payload and self._depacketizer.is_keyframe(payload):
            self._keyframe_marks.add(extended)

    def poll_frame(self) -> VideoFrame | None:
        """Return the next frame, None if there is none now."""
        return self._frames.pop(0) if self._frames else None

    def poll_event(self) -> KeyframeNeeded | None:
        """Return the next event, None if there is none."""
        return self._events.pop(0) if self._events else None

    def next_deadline(self) -> float | None:
        """Return when the present gap is given up, None without a gap."""
        return None if self._gap_since is None else self._gap_since + self._configuration.maximum_wait_ms / 1000

    def handle_timeout(self, now: float) -> None:
        """Give the gap up if its time is over."""
        deadline = self.next_deadline()
        if deadline is None or now < deadline:
            return
        self.statistics.given_up += 1
        # Frames behind the gap refer to what is lost; a keyframe among them, even incomplete, is where to go on.
        behind = self._scan + 1
        self._lose("packets were lost", next((at for at in self._keyframe_starts(now) if at >= behind), behind))
        self._advance(now)

    def _lose(self, reason: str, resume_at: int) -> None:
        """Drop what comes before a number, and wait for a keyframe from there on."""
        self._discard_before(resume_at)
        self._need_keyframe(reason)

    def _need_keyframe(self, reason: str) -> None:
        self._needs_keyframe = self._asked = True
        self._events = [*self._events[-3:], KeyframeNeeded(reason)]  # few are enough if nobody polls

    def _advance(self, now: float) -> None:
        """Deliver every complete frame in order; note since when a gap stops the next."""
        while True:
            if self._needs_keyframe and not self._find_keyframe(now):
                return
            if self._scan_frame():
                self._deliver()
            elif self._newest < self._scan or not self._jump_to_complete_keyframe(now):
                break
        if self._newest < self._scan:
            self._gap_since = None
        elif self._gap_since is None:
            self._gap_since = now

    def _find_keyframe(self, now: float) -> bool:
        """Go to the first keyframe that has begun to arrive. Without one, keep packets for a while: it may be late."""
        starts = self._keyframe_starts(now)
        if starts:
            self._discard_before(starts[0])
            return True
        self._gap_since = None
        if not self._asked and self._packets:
            first_arrival = self._packets[next(iter(self._packets))][3]
            if now - first_arrival >= self._configuration.keyframe_patience_ms / 1000:
                self._need_keyframe("no keyframe has come")
        too_old = now - self._configuration.maximum_wait_ms / 1000
        while self._packets:
            oldest = next(iter(self._packets))
            if self._packets[oldest][3] > too_old:
                break
            self._remove(oldest)
            self.statistics.discarded += 1
        return False

    def _keyframe_starts(self, now: float) -> list[int]:
        """Return the first packets of the keyframes that are there or have begun to arrive, in order."""
        starts: list[int] = []
        looked_at = -1
        for mark in sorted(self._keyframe_marks):
            start = self._frame_start(mark, looked_at)
            if start != looked_at:
                starts.append(start)
            looked_at = mark
        oldest = min(self._packets, default=-1)
        return [
            at
            for at in starts
            if self._depacketizer.is_frame_start(self._packets[at][2]) and self._is_certain_start(at, oldest, now)
        ]

    def _is_certain_start(self, extended: int, oldest: int, now: float) -> bool:
        """Tell whether a keyframe may begin here: with a gap before it, its parameter sets may still be missing.

        Such a gap gets a moment to be filled. At the very beginning of a stream nobody knows of a gap.
        """
        if extended in (self._next, oldest) or extended - 1 in self._packets:
            return True
        return now - self._packets[extended][3] >= self._configuration.keyframe_patience_ms / 1000

    def _frame_start(self, extended: int, looked_at: int) -> int:
        """Walk back to the first packet at hand of the same frame, or to the one before it that was walked from."""
        timestamp = self._packets[extended][0]
        while (
            extended != looked_at
            and (before := self._packets.get(extended - 1)) is not None
            and before[2]
            and before[0] == timestamp
        ):
            extended -= 1
        return extended

    def _scan_frame(self) -> bool:
        """Walk on from the last packet looked at; True: a frame is complete from `_next` up to `_scan`."""
        while (packet := self._packets.get(self._scan)) is not None:
            timestamp, marker, payload, _ = packet
            if payload:
                if self._scan_timestamp is not None and timestamp != self._scan_timestamp:
                    return True  # the codec does not set the marker, so the next frame's start ends this one
                self._scan_timestamp = timestamp
            self._scan += 1
            if marker and self._scan_timestamp is not None:
                return True
        if self._scan_timestamp is None:
            self._drop_filler()
        return False

    def _drop_filler(self) -> None:
        for extended in range(self._next, self._scan):
            self._remove(extended)
        self._next = self._scan

    def _deliver(self) -> None:
        keyframe = any(mark < self._scan for mark in self._keyframe_marks)
        packets = [packet for at in range(self._next, self._scan) if (packet := self._remove(at))[2]]
        payloads = [packet[2] for packet in packets]
        self._go_on_at(self._scan)
        data = self._depacketizer.depacketize(payloads)
        if data is None:
            self.statistics.malformed_frames += 1
            self._need_keyframe("a frame is malformed")
            return
        self._needs_keyframe = self._asked = False
        self.statistics.frames += 1
        self.statistics.keyframes += keyframe
        arrived_at = max(packet[3] for packet in packets)
        self._frames.append(VideoFrame(packets[0][0] & 0xFFFFFFFF, data, keyframe, arrived_at))

    def _jump_to_complete_keyframe(self, now: float) -> bool:
        """Leave a gap behind if a whole keyframe waits beyond it: nothing that could still come is needed then."""
        for start in self._keyframe_starts(now):
            if start > self._scan and self._is_complete(start):
                self._discard_before(start)
                return True
        return False

    def _is_complete(self, start: int) -> bool:
        timestamp = self._packets[start][0]
        extended = start
        while (packet := self._packets.get(extended)) is not None:
            if packet[1] or (packet[2] and packet[0] != timestamp):
                return True
            extended += 1
        return False

    def _discard_before(self, extended: int) -> None:
        if extended == self._next:
            return
        for at in [at for at in self._packets if at < extended]:
            self._remove(at)
            self.statistics.discarded += 1
        self._go_on_at(extended)

    def _go_on_at(self, extended: int) -> None:
        self._next = self._scan = extended
        self._scan_timestamp = None
        self._gap_since = None

    def _remove(self, extended: int) -> _Packet:
        packet = self._packets.pop(extended)
        self._bytes -= len(packet[2])
        self._keyframe_marks.discard(extended)
        return packet
