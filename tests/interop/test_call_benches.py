"""The benches of call control run, and their figures are there; what they say depends on the machine."""

from __future__ import annotations

from typing import Any

import trio

from triortc.bench.signaling import measure_calls, measure_idle
from triortc.bench.supervisor import measure_memory, measure_reducer


def test_the_reducer_s_steps_are_measured_by_event() -> None:
    figures = measure_reducer(60)
    assert figures["steps"] == 30 * 2 + 30 * 6
    assert {"us call.request", "us call.accept", "us call.hangup"} <= set(figures)


async def test_whole_calls_leave_no_more_than_what_is_kept_of_them() -> None:
    figures = await measure_memory(300)
    assert figures["rss_mib_after_all"] > 0


async def test_calls_go_through_websockets_on_three_devices_and_idle_connections_are_weighed() -> None:
    figures: dict[str, dict[str, Any]] = {}

    async def calls() -> None:
        figures["calls"] = await measure_calls(1, 0.5)

    async def idle() -> None:
        figures["idle"] = await measure_idle(10, idle_s=0.2)

    with trio.fail_after(120):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(calls)
            nursery.start_soon(idle)
    assert figures["calls"]["first_cycles"] == 1
    assert figures["idle"]["connections"] == 10
