"""The receiving half of a transceiver: frames of the peer, for one reader, in a queue that is bounded."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable

import trio

from triortc.codecs.registry import MediaKind
from triortc.engine.peer.configuration import PeerConfiguration
from triortc.engine.peer.playout import AudioPlayout, Playout, ReceivedFrame, VideoPlayout
from triortc.engine.rtp.header import RtpHeader
from triortc.engine.session.inbound import InboundStream

__all__ = ["RtpReceiver"]


class RtpReceiver:
    """What the peer sends of one kind. Made by the connection; `frames` and `request_keyframe` are for its owner.

    Arguments:
        kind: ``"audio"`` or ``"video"``.
        configuration: the jitter buffers' numbers and the length of the queue.
        ask_keyframe: sends a request to the peer.
        flush: hands what was put out to the socket.
        rearm: called when `next_deadline` may have become an earlier one.
    """

    def __init__(
        self,
        kind: MediaKind,
        configuration: PeerConfiguration,
        *,
        ask_keyframe: Callable[[float], None],
        flush: Callable[[float], None],
        rearm: Callable[[], None],
    ) -> None:
        self.kind: MediaKind = kind
        #: The peer's stream that is taken at present: the one that began last.
        self.stream: InboundStream | None = None
        #: Its buffer, for statistics.
        self.playout: Playout | None = None
        self.frames_received = 0
        #: Frames that were not read in time.
        self.frames_dropped = 0
        self._configuration = configuration
        self._ask_keyframe = ask_keyframe
        self._flush = flush
        self._rearm = rearm
        self._queue: deque[ReceivedFrame] = deque()
        self._queued_bytes = 0
        self._arrived = trio.Event()
        self._skips_to_keyframe = False
        self._closed = False

    # -- for the owner of the connection

    def frames(self) -> AsyncIterator[ReceivedFrame]:
        """Every frame in playout order, until the connection is closed or has failed.

        Who reads too slowly loses the oldest frames (counted in ``frames_dropped``). Pictures then go on with a
        keyframe, which is asked for when reading goes on. The loop may be left at any time and begun again.
        """
        return _Frames(self)

    async def next_frame(self) -> ReceivedFrame | None:
        """Wait for the next frame in playout order; ``None`` when the connection is closed or has failed."""
        await trio.lowlevel.checkpoint()
        while not self._queue:
            if self._closed:
                return None
            if self._skips_to_keyframe:
                self.request_keyframe()
            if self._arrived.is_set():
                self._arrived = trio.Event()
            await self._arrived.wait()
        received = self._queue.popleft()
        self._queued_bytes -= len(received.frame.data)
        return received

    def request_keyframe(self) -> None:
        """Ask the peer for a keyframe; requests in quick succession are merged. Nothing happens for sound."""
        if self.kind == "video" and self.stream is not None and not self._closed:
            now = trio.current_time()
            self._ask_keyframe(now)
            self._flush(now)

    # -- for the connection

    def take(self, stream: InboundStream) -> None:
        """A new stream of the peer: from now on it is the one that is received."""
        if self.stream is not None:
            self.stream.deliver = _ignore
        self.stream = stream
        if self.kind == "audio":
            self.playout = AudioPlayout(stream, self._configuration.audio_jitter)
        else:
            self.playout = VideoPlayout(stream, self._configuration.video_jitter)
        stream.deliver = self._deliver

    def next_deadline(self) -> float | None:
        """When `handle_timeout` wants to be called."""
        return None if self.playout is None or self._closed else self.playout.next_deadline()

    def handle_timeout(self, now: float) -> None:
        """The deadline has passed: frames whose turn has come by `now` are given out."""
        if self.playout is not None and not self._closed:
            self.playout.handle_timeout(now)
            self._collect(self.playout, now)

    def close(self) -> None:
        """No frame will come any more; those that wait can still be read."""
        self._closed = True
        self._arrived.set()

    def _deliver(
        self, stream: InboundStream, header: RtpHeader, packet: memoryview, payload: memoryview, now: float
    ) -> None:
        playout = self.playout
        if playout is None or self._closed:
            return
        playout.insert(header, payload, now)
        self._collect(playout, now)
        self._rearm()

    def _collect(self, playout: Playout, now: float) -> None:
        if playout.poll_keyframe_needed():
            self._ask_keyframe(now)
        while (frame := playout.poll_frame()) is not None:
            self.frames_received += 1
            self._enqueue(frame)

    def _enqueue(self, received: ReceivedFrame) -> None:
        if self._skips_to_keyframe:
            if not received.frame.keyframe:
                self.frames_dropped += 1
                return
            self._skips_to_keyframe = False
        size = len(received.frame.data)
        configuration, queue = self._configuration, self._queue
        while queue and (
            len(queue) >= configuration.receive_queue_frames
            or self._queued_bytes + size > configuration.receive_queue_bytes
        ):
            self._drop_oldest()
            if not queue and not received.frame.keyframe:
                self._skips_to_keyframe = True
                self.frames_dropped += 1
                return
        queue.append(received)
        self._queued_bytes += size
        self._arrived.set()

    def _drop_oldest(self) -> None:
        """Pictures behind a hole cannot be decoded: those up to the next keyframe go as well."""
        queue = self._queue
        while True:
            self._queued_bytes -= len(queue.popleft().frame.data)
            self.frames_dropped += 1
            if not queue or queue[0].frame.keyframe:
                return


class _Frames:
    """An iterator that needs no clean-up when its loop is left, as a generator would."""

    __slots__ = ("_receiver",)

    def __init__(self, receiver: RtpReceiver) -> None:
        self._receiver = receiver

    def __aiter__(self) -> _Frames:
        return self

    async def __anext__(self) -> ReceivedFrame:
        received = await self._receiver.next_frame()
        if received is None:
            raise StopAsyncIteration
        return received


def _ignore(stream: InboundStream, header: RtpHeader, packet: memoryview, payload: memoryview, now: float) -> None:
    """A stream that another one has taken the place of."""
