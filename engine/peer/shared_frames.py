"""One camera for many connections: frames are read once, and each connection encodes them for its own peer."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import aclosing, asynccontextmanager

import av
import trio

from triortc.codecs.sources import SourceFrame
from triortc.codecs.threads import CodecThreads
from triortc.engine.peer.tracks import require_source_frame
from triortc.errors import ConfigurationError
from triortc.lone_errors import raises_lone_errors

__all__ = ["SharedFrames", "open_shared_frames"]


class SharedFrames:
    """Frames that several readers get. Made by `open_shared_frames`.

    Attributes:
        frames_dropped: frames that readers have lost because they were too slow, of all of them.
    """

    def __init__(self, buffer_frames: int, threads: CodecThreads) -> None:
        self._buffer_frames = buffer_frames
        self._threads = threads
        self._readers: list[_Reader] = []
        self._ended = False
        self.frames_dropped = 0

    async def subscribe(self) -> AsyncGenerator[SourceFrame]:
        """Every frame from the first reading on, until there are no more or the block is left: for `send_frames`.

        Who reads too slowly loses the oldest frames.
        """
        if self._ended:
            return
        reader = _Reader(self._buffer_frames)
        self._readers.append(reader)
        try:
            async for item in reader.frames:
                yield item
        finally:
            if reader in self._readers:
                self._readers.remove(reader)

    async def run(self, frames: AsyncIterable[SourceFrame]) -> None:
        """Read the frames and hand them out; `open_shared_frames` does it."""
        try:
            async for item in frames:
                require_source_frame(item)
                await self._hand_out(item)
        finally:
            self.end()

    async def _hand_out(self, item: SourceFrame) -> None:
        readers, copies = list(self._readers), [item] * len(self._readers)
        if len(readers) > 1 and isinstance(item.frame, av.VideoFrame):
            # Encoders write their times and keyframes into pictures, each in a thread of its own.
            copies = [item, *await self._threads.run(_copies, item, len(readers) - 1)]
        for reader, copy in zip(readers, copies, strict=True):
            if reader in self._readers:  # it may have gone, or the block may be over, while the picture was copied
                self.frames_dropped += reader.put(copy)

    def end(self) -> None:
        """No frame comes any more; those that wait can still be read."""
        self._ended = True
        for reader in self._readers:
            reader.close()
        self._readers.clear()


class _Reader:
    """Frames that wait for one reader, the newest of them."""

    def __init__(self, buffer_frames: int) -> None:
        self._put, self.frames = trio.open_memory_channel[SourceFrame](buffer_frames)

    def put(self, item: SourceFrame) -> int:
        """Add a frame; the number of older ones that had to go."""
        try:
            self._put.send_nowait(item)
        except trio.WouldBlock:
            self.frames.receive_nowait()
            self._put.send_nowait(item)
            return 1
        return 0

    def close(self) -> None:
        self._put.close()


def _copies(item: SourceFrame, count: int) -> list[SourceFrame]:
    assert isinstance(item.frame, av.VideoFrame)
    pixels = item.frame.reformat(format="yuv420p").to_ndarray()
    return [SourceFrame(av.VideoFrame.from_ndarray(pixels, format="yuv420p"), item.time_s) for _ in range(count)]


@raises_lone_errors
@asynccontextmanager
async def open_shared_frames(
    frames: AsyncIterable[SourceFrame], *, buffer_frames: int = 8, threads: CodecThreads | None = None
) -> AsyncGenerator[SharedFrames]:
    """Read frames while the block runs, as fast as they come, for any number of readers.

    What the frames raise comes out of the block.

    Args:
        frames: of a camera, say; a generator is closed at the end.
        buffer_frames: pictures and pieces of sound that wait for each reader.
        threads: where pictures are copied; ``None``: threads of its own.

    Raises:
        ConfigurationError: ``buffer_frames`` is less than 1, or what came is no `SourceFrame`.
    """
    if buffer_frames < 1:
        raise ConfigurationError("buffer_frames must be at least 1: a reader needs room for one frame")
    shared = SharedFrames(buffer_frames, threads or CodecThreads())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_read, shared, frames)
        try:
            yield shared
        finally:
            shared.end()
            nursery.cancel_scope.cancel()


async def _read(shared: SharedFrames, frames: AsyncIterable[SourceFrame]) -> None:
    if isinstance(frames, AsyncGenerator):
        async with aclosing(frames):
            await shared.run(frames)
    else:
        await shared.run(frames)
