"""What the engine tells of a call between two devices on loopback: how long packets stay, how good the ways are."""

from __future__ import annotations

from math import inf

import trio
import trio.testing

from support.real_calls import agent, legs_of, open_house, talk, visitor
from triortc.signaling.operations.listener import open_operations
from triortc.signaling.operations.metrics import METRICS_TYPE


async def test_relay_latency_is_timed_now_and_then_and_shown_as_a_histogram() -> None:
    with trio.fail_after(30):
        async with open_house() as house, agent(house) as callee, visitor(house, "cv_timed") as caller:
            async with open_operations(house, port=0) as operations:
                await talk(caller, callee, "cv_timed")
                text = operations.metrics.render().decode()
                while 'relay_latency_seconds_bucket{le="0.1"} 0.0' in text:
                    await trio.testing.wait_all_tasks_blocked()
                    text = operations.metrics.render().decode()
                assert METRICS_TYPE.startswith("text/plain")
                assert "# TYPE triortc_relay_latency_seconds histogram" in text
            taken: list[float] = []
            legs_of(house).measure_relay_latency(taken.append, every_s=3600)
            wakeups = legs_of(house).counters()["endpoint.wakeups"]
            while legs_of(house).counters()["endpoint.wakeups"] < wakeups + 20:
                await trio.testing.wait_all_tasks_blocked()
            assert len(taken) == 1, "one in an hour"
            legs_of(house).measure_relay_latency(taken.append, every_s=0)
            while len(taken) < 20:
                await trio.testing.wait_all_tasks_blocked()
            legs_of(house).measure_relay_latency(taken.append, every_s=inf)
            assert all(0 < latency_s < 1 for latency_s in taken)
            count, wakeups = len(taken), legs_of(house).counters()["endpoint.wakeups"]
            while legs_of(house).counters()["endpoint.wakeups"] < wakeups + 20:
                await trio.testing.wait_all_tasks_blocked()
            assert len(taken) == count


async def test_each_side_of_a_running_call_is_told_its_own_way_once_it_has_been_looked_at() -> None:
    with trio.fail_after(30):
        async with open_house() as house, agent(house) as callee, visitor(house, "cv_way") as caller:
            session = await talk(caller, callee, "cv_way")
            for party in (caller, callee):
                told = (await party.signal.event("media.quality", session=session)).p
                assert told["score"] > 55
                assert told["loss"] < 0.05
                assert told["kbps"] > 0
