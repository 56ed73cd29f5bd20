"""One clock for many deadlines: who is due is woken once, who is over never, and others get their turn between."""

from __future__ import annotations

import math

import trio
from trio.testing import MockClock

from triortc.engine.deadlines import DeadlineClock, Timed


class Sleeper:
    def __init__(self, clock: DeadlineClock, deadline: float) -> None:
        self.deadline = deadline
        self.woken: list[float] = []
        self.failures: list[Exception] = []
        self.timed = Timed(lambda: self.deadline, self._on_time, self.failures.append)
        clock.watch(self.timed)

    def _on_time(self, now: float) -> None:
        if self.deadline <= now:
            self.woken.append(now)
            self.deadline = math.inf


async def test_a_deadline_that_moved_away_is_kept_and_one_that_came_nearer_too(autojump_clock: MockClock) -> None:
    clock, start = DeadlineClock(), trio.current_time()
    away, nearer = Sleeper(clock, start + 1), Sleeper(clock, start + 10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(clock.run)
        away.deadline, nearer.deadline = start + 5, start + 2
        clock.watch(away.timed)
        clock.watch(nearer.timed)
        await trio.sleep(20)
        nursery.cancel_scope.cancel()
    assert ([at - start for at in away.woken], [at - start for at in nearer.woken]) == ([5], [2])


async def test_what_is_over_is_not_woken_and_does_not_stay(autojump_clock: MockClock) -> None:
    clock, start = DeadlineClock(), trio.current_time()
    last = Sleeper(clock, start + 30)
    for _ in range(10_000):
        sleeper = Sleeper(clock, start + 30)
        clock.forget(sleeper.timed)
        assert len(clock) < 200
    async with trio.open_nursery() as nursery:
        nursery.start_soon(clock.run)
        await trio.sleep(40)
        nursery.cancel_scope.cancel()
    assert (len(last.woken), sleeper.woken, len(clock)) == (1, [], 0)


async def test_one_that_fails_is_told_and_woken_no_more_and_the_others_are(autojump_clock: MockClock) -> None:
    clock, start = DeadlineClock(), trio.current_time()
    faulty, other = Sleeper(clock, start + 1), Sleeper(clock, start + 2)
    faulty.timed.on_time = lambda now: [][0]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(clock.run)
        await trio.sleep(3)
        nursery.cancel_scope.cancel()
    assert [type(error) for error in faulty.failures] == [IndexError]
    assert (other.woken, other.failures) == ([start + 2], [])


async def test_many_that_are_due_at_once_let_others_run_between(autojump_clock: MockClock) -> None:
    clock, start = DeadlineClock(), trio.current_time()
    sleepers = [Sleeper(clock, start + 1) for _ in range(100)]
    seen: list[int] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(clock.run)
        await trio.sleep(1)
        while not all(sleeper.woken for sleeper in sleepers):
            seen.append(sum(len(sleeper.woken) for sleeper in sleepers))
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert (
        max(now - before for before, now in zip(seen, [*seen[1:], 100], strict=True)) <= 16
    )  # twice eight, since tasks run in any order
