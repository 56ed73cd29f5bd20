"""Media served inside trio's own wait: sockets and deadlines get their turn, and so does everybody else."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from math import inf

import pytest
import trio
from trio.testing import MockClock

from triortc.engine.media_loop import MediaLoop, Turn


class Media:
    """A socket pair, one end of which the loop reads."""

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.ours.setblocking(False)
        self.got: list[bytes] = []
        self.due = inf
        self.ran = 0
        self.told = False
        self.on_read: Callable[[], None] = lambda: None
        self.unfinished = 0

    def loop(self) -> MediaLoop:
        return MediaLoop(
            {self.ours.fileno(): self.read},
            next_due=lambda: self.due,
            run_due=self.run_due,
            must_yield=self.take_told,
            turn_s=0.001,
        )

    def read(self, until: float) -> bool:
        while True:
            try:
                self.got.append(self.ours.recv(100))
            except BlockingIOError:
                break
        self.on_read()
        self.unfinished -= self.unfinished > 0
        return self.unfinished > 0

    def run_due(self, until: float) -> bool:
        self.ran += 1
        self.due = inf
        return False

    def take_told(self) -> bool:
        told, self.told = self.told, False
        return told


@pytest.fixture
def media() -> Iterator[Media]:
    media = Media()
    yield media
    media.ours.close()
    media.theirs.close()


async def test_a_datagram_is_read_and_a_task_that_it_wakes_runs(media: Media) -> None:
    woken = trio.Event()
    media.on_read = woken.set
    async with trio.open_nursery() as nursery:
        nursery.start_soon(media.loop().run)
        await trio.sleep(0.01)
        media.theirs.send(b"x")
        with trio.fail_after(5):
            await woken.wait()
        nursery.cancel_scope.cancel()
    assert media.got == [b"x"]


async def test_deadlines_of_media_and_of_tasks_come_while_the_other_sleeps(media: Media) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(media.loop().run)
        await trio.sleep(0.01)
        media.due = trio.current_time() + 0.02
        with trio.fail_after(5):
            await trio.sleep(0.05)
        assert media.ran == 1
        nursery.cancel_scope.cancel()


async def test_a_deadline_that_an_event_brought_forward_counts(media: Media) -> None:
    """trio has computed how long it may sleep before: who was told of something may have changed that."""
    with trio.CancelScope() as scope:

        def hurry() -> None:
            scope.deadline = trio.current_time()
            media.told = True

        media.on_read = hurry
        async with trio.open_nursery() as nursery:
            nursery.start_soon(media.loop().run)
            await trio.sleep(0.01)
            media.theirs.send(b"x")
            with trio.fail_after(5):
                await trio.sleep_forever()
    assert scope.cancelled_caught


async def test_threads_and_other_sockets_are_served_meanwhile(media: Media) -> None:
    one, other = trio.socket.socketpair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(media.loop().run)
        await trio.sleep(0.01)
        with trio.fail_after(5):
            assert await trio.to_thread.run_sync(lambda: 7) == 7
            await one.send(b"hello")
            assert await other.recv(10) == b"hello"
        nursery.cancel_scope.cancel()
    one.close()
    other.close()


async def test_what_a_callback_raises_is_raised_by_run(media: Media) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    media.on_read = fail
    with pytest.RaisesGroup(ZeroDivisionError):
        await _run_and_send(media)


async def _run_and_send(media: Media) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(media.loop().run)
        await trio.sleep(0.01)
        media.theirs.send(b"x")
        with trio.fail_after(5):
            await trio.sleep_forever()


async def test_cancelled_it_leaves_no_descriptor_and_no_instrument(media: Media) -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    loop = media.loop()
    with trio.move_on_after(0.02):
        await loop.run()
    assert sorted(os.listdir("/proc/self/fd")) == before
    with pytest.raises(KeyError):
        trio.lowlevel.remove_instrument(loop)


async def test_without_proc_it_says_that_it_cannot(media: Media, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> list[str]:
        raise OSError

    monkeypatch.setattr(os, "listdir", refuse)
    assert not await media.loop().run()


async def test_who_has_more_to_do_is_called_again_though_nothing_came(media: Media) -> None:
    media.unfinished = 3
    reads = 0

    def count() -> None:
        nonlocal reads
        reads += 1

    media.on_read = count
    async with trio.open_nursery() as nursery:
        nursery.start_soon(media.loop().run)
        await trio.sleep(0.01)
        media.theirs.send(b"x")
        await trio.sleep(0.05)
        nursery.cancel_scope.cancel()
    assert (media.got, reads) == ([b"x"], 3)


async def test_who_got_no_turn_comes_first_in_the_next_one(media: Media, mock_clock: MockClock) -> None:
    """A socket that always has more does not keep deadlines waiting, nor the other way round."""
    loop, order = media.loop(), list[str]()

    def read(until: float) -> bool:
        order.append("read")
        mock_clock.jump(0.002)
        return True

    def run_due(until: float) -> bool:
        order.append("due")
        mock_clock.jump(0.002)
        return True

    turns: list[Turn] = [read, run_due]
    for _ in range(4):
        loop._take_turns(turns, trio.current_time())
        turns = loop._unfinished
    assert order == ["read", "due", "read", "due"]


async def test_a_turn_is_told_to_who_watches_with_everything_that_was_done_in_it(media: Media) -> None:
    loop, told = media.loop(), list[str]()

    class Watch:
        def begin(self) -> None:
            told.append("begin")

        def end(self) -> None:
            told.append("end")

    loop.watch = Watch()
    media.on_read = lambda: told.append("read")
    loop._take_turns([media.read, media.run_due], trio.current_time())
    assert told == ["begin", "read", "end"]
    assert media.ran == 1
