"""The measurements behind `triortc bench`: figures as plain values, ready for JSON."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack, closing
from functools import partial
from typing import Any, Final

import trio

from triortc.bench.generator import Generator, Leg, Traffic, open_generator
from triortc.bench.hostile import KINDS, Hostility
from triortc.bench.machine import cpu_seconds, percentile
from triortc.bench.relay_process import RelayProcess, open_relay_process

__all__ = ["PROFILE_NAMES", "measure_relay", "measure_setup"]

#: Short names of the SRTP profiles that can be asked for.
PROFILE_NAMES: Final = {
    "gcm": "AEAD_AES_128_GCM",
    "gcm256": "AEAD_AES_256_GCM",
    "cm": "AES128_CM_HMAC_SHA1_80",
}
_SHARES: Final = {"50": 0.5, "99": 0.99, "999": 0.999}
#: Counters of what was not taken.
_REFUSED: Final = ("dropped.", "endpoint.unknown")
WARM_UP_S = 1.0
#: Packets that are on their way when the window ends.
SETTLE_S = 0.5


async def measure_setup(calls: int, parallel: int) -> dict[str, Any]:
    """Set up `calls` calls of two legs each against a relay process, `parallel` at one time.

    Returns:
        Milliseconds a leg (offer to keys), CPU milliseconds a leg of the relay, and legs per second of its core.
    """
    async with open_relay_process() as relay, open_generator(relay.url) as generator:
        await _set_up(generator, "warm-up")
        before, began = relay.cpu_seconds(), trio.current_time()
        times_s: list[float] = []
        limit = trio.CapacityLimiter(parallel)

        async def set_up(number: int) -> None:
            async with limit:
                times_s.extend(await _set_up(generator, f"setup-{number}"))

        async with trio.open_nursery() as nursery:
            for number in range(calls):
                nursery.start_soon(set_up, number)
        cpu_s, wall_s = relay.cpu_seconds() - before, trio.current_time() - began
    return {
        "what": "setup",
        "label": "triortc",
        "parallel": parallel,
        "legs": len(times_s),
        "leg_ms_p50": percentile(times_s, 0.5) * 1000,
        "leg_ms_p99": percentile(times_s, 0.99) * 1000,
        "server_cpu_ms_per_leg": cpu_s * 1000 / len(times_s),
        "legs_per_core_second": len(times_s) / cpu_s,
        "legs_per_second": len(times_s) / wall_s,
    }


async def _set_up(generator: Generator, call: str) -> list[float]:
    async with generator.connect(call, "a") as sending, generator.connect(call, "b") as receiving:
        return [sending.setup_s, receiving.setup_s]


async def measure_relay(
    calls: int,
    *,
    seconds: float,
    profile: str = "gcm",
    both_ways: bool = False,
    plane: str = "python",
    workers: int = 0,
    hostile_percent: float = 0.0,
) -> dict[str, Any]:
    """Relay `calls` calls for some seconds: CPU microseconds a packet, latency, loss, memory, the longest pass.

    Arguments:
        hostile_percent: so many datagrams that no peer sends for a hundred packets (:mod:`triortc.bench.hostile`).
    """
    async with AsyncExitStack() as stack:
        relay = await stack.enter_async_context(open_relay_process(plane, workers))
        generator = await stack.enter_async_context(open_generator(relay.url))
        if hostile_percent:
            generator.hostility = stack.enter_context(closing(Hostility(hostile_percent / 100)))
        generator.profile = PROFILE_NAMES[profile]
        generator.both_ways = both_ways
        empty_kb = relay.resident_kb()
        pairs: list[tuple[Leg, Leg]] = []
        for number in range(calls):
            receiving = await stack.enter_async_context(generator.connect(str(number), "b"))
            pairs.append((await stack.enter_async_context(generator.connect(str(number), "a")), receiving))
        senders = [leg for pair in pairs for leg in (pair if both_ways else pair[:1])]
        figures = await _relay_window(relay, generator, senders, seconds)
        counters = await generator.counters()
        hostile = {} if generator.hostility is None else _hostile_figures(generator, generator.hostility, counters)
        return {
            "what": "relay",
            "label": "triortc" if plane == "python" else f"triortc-{plane}",
            "calls": calls,
            "seconds": seconds,
            "profile": profile,
            "direction": "both ways" if both_ways else "one way",
            **({"workers": workers} if workers else {}),
            **figures,
            **hostile,
            "rss_kb_per_call": (relay.resident_kb() - empty_kb) / calls,
            "longest_callback_cpu_ms": counters.get("loop.longest_us", 0) / 1000,
            "callbacks_over_1_ms": float(counters.get("loop.over_1_ms", 0)),
        }


def _hostile_figures(generator: Generator, hostility: Hostility, counters: dict[str, int]) -> dict[str, Any]:
    refused = {name: count for name, count in counters.items() if count and name.startswith(_REFUSED)}
    return {
        "hostile": sum(hostility.sent[kind] for kind in KINDS),
        "hostile_from_strangers": hostility.sent["stranger"],
        "sent_in_all": generator.sent_in_all,
        "forwarded": counters["gate.forwarded"],
        "refused": sum(refused.values()),
        "refused_as": refused,
    }


async def _relay_window(relay: RelayProcess, generator: Generator, legs: list[Leg], seconds: float) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    async with trio.open_nursery() as nursery:
        for number, leg in enumerate(legs):
            offset_s = number / len(legs) / 30
            nursery.start_soon(partial(generator.send, leg, seconds=seconds + WARM_UP_S, offset_s=offset_s))
        await trio.sleep(WARM_UP_S)
        await generator.counters()  # the longest callback is that of the window
        generator.traffic = traffic = Traffic()
        relay_before, own_before, began = relay.cpu_seconds(), cpu_seconds(os.getpid()), trio.current_time()
        await trio.sleep(seconds)
        wall_s = trio.current_time() - began
        relay_s, own_s = relay.cpu_seconds() - relay_before, cpu_seconds(os.getpid()) - own_before
        received = traffic.received
        figures = {
            "cpu_us_per_packet": relay_s * 1e6 / max(1, received),
            "server_cpu_percent": relay_s / wall_s * 100,
            "generator_cpu_percent": own_s / wall_s * 100,
            "packets_per_second": received / wall_s,
        }
    await trio.sleep(SETTLE_S)
    return {
        "sent": traffic.sent,
        "received": traffic.received,
        "loss_percent": 100 * (1 - traffic.received / max(1, traffic.sent)),
        **{f"latency_ms_p{name}": percentile(traffic.latencies_s, share) * 1000 for name, share in _SHARES.items()},
        **figures,
    }
