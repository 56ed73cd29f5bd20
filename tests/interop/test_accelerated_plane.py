"""The accelerated plane on real sockets: what its thread carries, what comes up, and that it leaves nothing behind."""

from __future__ import annotations

import gc
import os
import socket
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial

import httpx
import pytest
import trio

from support.sdp import make_offer
from triortc.bench.generator import Traffic, open_generator
from triortc.bench.serve_relay import BENCH_MEDIA, open_relay_server
from triortc.engine.calls.legs import open_leg_manager
from triortc.engine.endpoint import open_endpoint
from triortc.engine.endpoint_configuration import EndpointConfiguration
from triortc.engine.relay.accelerated_plane import AcceleratedPlane
from triortc.engine.relay.acceleration import acceleration
from triortc.engine.relay.plane_choice import PlaneChoice

PLANES = ("python", "accelerated")


@pytest.mark.parametrize("plane", PLANES)
async def test_a_call_s_packets_arrive_whole_and_the_core_carries_nearly_all_of_them(plane: PlaneChoice) -> None:
    async with (
        open_relay_server(0, plane) as port,
        open_generator(f"http://127.0.0.1:{port}/offer") as generator,
        AsyncExitStack() as stack,
    ):
        legs = []
        for call in ("1", "2"):
            await stack.enter_async_context(generator.connect(call, "b"))
            legs.append(await stack.enter_async_context(generator.connect(call, "a")))
        generator.traffic = traffic = Traffic()
        async with trio.open_nursery() as nursery:
            for leg in legs:
                nursery.start_soon(partial(generator.send, leg, seconds=3.0, offset_s=0.0))
        await trio.sleep(0.3)
        async with httpx.AsyncClient() as client:
            counters = (await client.get(f"http://127.0.0.1:{port}/")).json()
    assert traffic.sent > 1500
    assert traffic.received == traffic.sent
    assert counters["gate.forwarded"] == traffic.sent
    assert counters["dropped.srtp_replay"] == counters["dropped.srtp_authentication"] == 0
    if plane == "accelerated":
        assert counters["forwarder.handed_up"] < 0.2 * counters["udp.received"]
        assert counters["forwarder.hand_ups_lost"] == 0
        timed = sum(value for name, value in counters.items() if name.startswith("forwarder.latency_us_"))
        assert 0.8 * traffic.sent < timed <= traffic.sent
        assert 0 < counters["forwarder.latency_sum_ns"] < timed * 1e9


def threads_and_files() -> tuple[int, int]:
    gc.collect()
    return len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))


async def test_leaving_the_engine_joins_the_thread_and_closes_everything_in_time() -> None:
    configuration = replace(BENCH_MEDIA, plane="accelerated")
    async with open_leg_manager(configuration) as legs:
        legs.open_leg("s", "a", "agent")
        legs.answer("a", 1, str(make_offer("audio", "video")))
    before = threads_and_files()
    for _ in range(5):
        with trio.fail_after(5):
            async with open_leg_manager(configuration) as legs:
                assert legs.plane()["name"] == "accelerated"
                legs.open_leg("s", "a", "agent")
                legs.answer("a", 1, str(make_offer("audio", "video")))
    assert threads_and_files() == before


async def test_an_engine_that_is_cancelled_or_fails_leaves_no_thread_and_no_file() -> None:
    configuration = replace(BENCH_MEDIA, plane="accelerated")
    async with open_leg_manager(configuration):
        pass
    before = threads_and_files()
    with trio.move_on_after(0.05):
        async with open_leg_manager(configuration):
            await trio.sleep_forever()
    with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
        async with open_leg_manager(configuration):
            raise ZeroDivisionError
    assert threads_and_files() == before


async def test_datagrams_of_every_length_from_strangers_are_counted_and_nothing_is_answered() -> None:
    core = acceleration().core
    assert core is not None
    plane = AcceleratedPlane(core)
    lengths = [*range(2060), *range(2060, 65507, 1009), 65507]
    configuration = EndpointConfiguration(media_host=("127.0.0.1",))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.setblocking(False)
        stranger.bind(("127.0.0.1", 0))
        async with open_endpoint(configuration, plane) as endpoint:

            def looked_at() -> int:
                return endpoint.directory.unknown_address + plane.counters()["truncated"]

            for number, length in enumerate(lengths, 1):
                first = (0x90, 0x80, 0x17, 0x00)[number % 4]
                stranger.sendto(bytes((first,))[:length] + b"\x60" * max(0, length - 1), endpoint.addresses[0])
                if number % 64 == 0 or number == len(lengths):
                    with trio.fail_after(10):
                        while looked_at() < number:  # noqa: ASYNC110  # the thread has no event
                            await trio.sleep(0.001)
            counters = plane.counters()
            assert counters["truncated"] == sum(length > 2048 for length in lengths)
            assert counters["handed_up"] == len(lengths) - counters["truncated"]
            assert counters["hand_ups_lost"] == counters["sent"] == 0
            assert endpoint.sockets[0].counters.sent == 0
        with pytest.raises(BlockingIOError):
            stranger.recv(1)
