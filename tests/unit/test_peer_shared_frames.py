"""One source of frames with several readers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, TypeVar, TypeVarTuple

import av
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from triortc.codecs.sources import SourceFrame
from triortc.codecs.testcard import TestCard, Tone, read_frame_number
from triortc.codecs.threads import CodecThreads
from triortc.engine.peer.shared_frames import SharedFrames, open_shared_frames
from triortc.errors import CodecError, ConfigurationError

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")


async def film(count: int) -> AsyncGenerator[SourceFrame]:
    card, tone = TestCard(160, 120), Tone()
    for number in range(count):
        await trio.sleep(0.1)
        yield SourceFrame(card.picture(number), number / 10)
        yield SourceFrame(tone.sound(960 * number, 960), number / 10)


async def collect(shared: SharedFrames, into: list[SourceFrame]) -> None:
    async with aclosing(shared.subscribe()) as frames:
        async for item in frames:
            into.append(item)


def numbers(items: list[SourceFrame]) -> list[int | None]:
    return [read_frame_number(item.frame) for item in items if isinstance(item.frame, av.VideoFrame)]


async def test_every_reader_gets_every_frame_in_a_picture_of_its_own(autojump_clock: MockClock) -> None:
    one: list[SourceFrame] = []
    other: list[SourceFrame] = []
    async with open_shared_frames(film(4)) as shared, trio.open_nursery() as nursery:
        nursery.start_soon(collect, shared, one)
        nursery.start_soon(collect, shared, other)
    assert numbers(one) == numbers(other) == [0, 1, 2, 3]
    assert [item.time_s for item in one] == [item.time_s for item in other]
    for mine, theirs in zip(one, other, strict=True):
        # Encoders write into pictures; sound is only read.
        assert (mine.frame is theirs.frame) == isinstance(mine.frame, av.AudioFrame)
    assert shared.frames_dropped == 0
    assert [item async for item in shared.subscribe()] == []


async def test_a_slow_reader_loses_the_oldest_frames_and_holds_up_nobody(autojump_clock: MockClock) -> None:
    quick: list[SourceFrame] = []
    over = trio.Event()

    async def collect_all() -> None:
        await collect(shared, quick)
        over.set()

    async with open_shared_frames(film(6), buffer_frames=2) as shared, trio.open_nursery() as nursery:
        nursery.start_soon(collect_all)
        async with aclosing(shared.subscribe()) as slow:
            first = await anext(slow)
            await over.wait()  # no time: the clock of a test does not wait for the threads that copy
            rest = [item async for item in slow]
    assert numbers(quick) == [0, 1, 2, 3, 4, 5]
    assert numbers([first, *rest]) == [0, 5]
    assert shared.frames_dropped == 9


async def test_leaving_the_block_closes_the_source_and_ends_the_readers() -> None:
    closed = trio.Event()

    async def endless() -> AsyncGenerator[SourceFrame]:
        try:
            await trio.sleep_forever()
            yield SourceFrame(TestCard(160, 120).picture(0), 0.0)
        finally:
            closed.set()

    seen: list[SourceFrame] = []
    async with trio.open_nursery() as nursery, open_shared_frames(endless()) as shared:
        nursery.start_soon(collect, shared, seen)
        await wait_all_tasks_blocked()
    assert closed.is_set()
    assert seen == []


async def test_what_goes_wrong_in_the_source_comes_out_of_the_block_alone() -> None:
    async def breaks() -> AsyncGenerator[SourceFrame]:
        raise CodecError("unplugged")
        yield SourceFrame(TestCard(160, 120).picture(0), 0.0)

    async def arrays() -> AsyncGenerator[Any]:
        yield TestCard(160, 120).picture(0)

    with pytest.raises(CodecError, match="unplugged"):
        async with open_shared_frames(breaks()):
            await trio.sleep_forever()
    with pytest.raises(ConfigurationError, match="SourceFrames, not VideoFrame"):
        async with open_shared_frames(arrays()):
            await trio.sleep_forever()
    with pytest.raises(ConfigurationError, match="at least 1"):
        async with open_shared_frames(film(1), buffer_frames=0):
            pass


async def test_the_block_may_be_left_while_a_picture_is_being_copied() -> None:
    copying, copied = trio.Event(), trio.Event()

    class SlowThreads(CodecThreads):
        async def run(self, function: Callable[[*Arguments], Result], *args: *Arguments) -> Result:
            copying.set()
            with trio.CancelScope(shield=True):  # as a thread is, which nobody can interrupt
                await copied.wait()
            return function(*args)

    async def one() -> AsyncGenerator[SourceFrame]:
        await wait_all_tasks_blocked()
        yield SourceFrame(TestCard(160, 120).picture(0), 0.0)

    seen: list[SourceFrame] = []
    async with trio.open_nursery() as nursery, open_shared_frames(one(), threads=SlowThreads()) as shared:
        nursery.start_soon(collect, shared, seen)
        nursery.start_soon(collect, shared, seen)
        await copying.wait()
        trio.lowlevel.current_trio_token().run_sync_soon(copied.set)
    assert seen == []
