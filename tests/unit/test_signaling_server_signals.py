"""A server's signals are heard from before it opens anything until it has closed everything."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from triortc.errors import ConfigurationError
from triortc.signaling.server_signals import cancelled_by_signals, wait_for_end

ENDING = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)


@dataclass
class Draining:
    """As much of a running server as signals touch."""

    calls_last_s: float = 10.0
    drained: list[float] = field(default_factory=list)
    calls: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(running_sessions=1))

    async def drain(self, within_s: float, *, reconnect: str | None = None) -> bool:
        self.drained.append(within_s)
        await trio.sleep(min(within_s, self.calls_last_s))
        return within_s >= self.calls_last_s


@ENDING
async def test_a_signal_during_the_start_cancels_the_start(number: signal.Signals, autojump_clock: MockClock) -> None:
    async with cancelled_by_signals():
        signal.raise_signal(number)
        await trio.sleep_forever()
    assert trio.current_time() < 1e6, "and what comes after the block runs"


@ENDING
async def test_a_signal_between_the_start_and_serving_is_not_lost(
    number: signal.Signals, autojump_clock: MockClock
) -> None:
    server = Draining()
    async with cancelled_by_signals():
        signal.raise_signal(number)  # nothing has run since: the server says where it listens, and serves
        await wait_for_end(server, drain_s=60.0)  # type: ignore[arg-type]  # as much of a server as signals touch
    assert server.drained == []


@ENDING
async def test_a_signal_while_it_serves_drains_and_what_follows_runs(
    number: signal.Signals, autojump_clock: MockClock
) -> None:
    server = Draining(calls_last_s=10.0)
    began, closed = trio.current_time(), False
    async with cancelled_by_signals(), trio.open_nursery() as nursery:
        nursery.start_soon(_raise_after, 1.0, number)
        await wait_for_end(server, drain_s=60.0)  # type: ignore[arg-type]  # as above
        await trio.lowlevel.checkpoint()
        closed = True
    assert closed
    assert server.drained == [60.0]
    assert trio.current_time() - began == 11.0


@ENDING
async def test_a_second_signal_ends_the_draining_and_a_third_the_closing(
    number: signal.Signals, autojump_clock: MockClock
) -> None:
    began = trio.current_time()
    async with cancelled_by_signals(), trio.open_nursery() as nursery:
        for after_s in (1.0, 2.0, 3.0):
            nursery.start_soon(_raise_after, after_s, number)
        await wait_for_end(Draining(calls_last_s=50.0), drain_s=60.0)  # type: ignore[arg-type]  # as above
        assert trio.current_time() - began == 2.0
        await trio.sleep_forever()  # a closing that takes its time
    assert trio.current_time() - began == 3.0


async def test_sighup_reads_again_while_it_serves_and_does_nothing_before_and_after(autojump_clock: MockClock) -> None:
    read: list[float] = []
    began = trio.current_time()
    async with cancelled_by_signals(), trio.open_nursery() as nursery:
        for after_s in (1.0, 3.0, 6.0):
            nursery.start_soon(_raise_after, after_s, signal.SIGHUP)
        nursery.start_soon(_raise_after, 4.0, signal.SIGTERM)
        await trio.sleep(2.0)
        await wait_for_end(
            Draining(),  # type: ignore[arg-type]  # as above
            drain_s=0.0,
            reload=lambda: read.append(trio.current_time() - began),
        )
        await trio.sleep(3.0)
    assert read == [3.0]
    assert trio.current_time() - began == 7.0


async def test_an_error_of_the_start_comes_out_as_itself_and_the_handlers_are_what_they_were() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]

    async def start() -> None:
        async with cancelled_by_signals():
            await wait_all_tasks_blocked()
            raise ConfigurationError("no such port")

    with pytest.raises(ConfigurationError, match="no such port"):
        await start()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


async def _raise_after(after_s: float, number: signal.Signals) -> None:
    await trio.sleep(after_s)
    signal.raise_signal(number)
