"""From "Go" to `call.active`, with legs that are warm: a real server, real ICE and DTLS, one call after the other."""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import trio

from triortc.bench.kill_ledger import Ledger
from triortc.bench.kill_people import Device, Server
from triortc.bench.kills import open_lives
from triortc.bench.machine import percentile
from triortc.signaling.client import ClientDevice

__all__ = ["measure_go"]

_PAUSE_S: Final = 0.5
"""Between two calls: an agent's device may send so many commands a second and no more."""


async def measure_go(calls: int, *options: str) -> dict[str, Any]:
    """So many calls: ring, both legs up, "Go", active, hang up, close.

    Arguments:
        calls: one after the other.
        options: of `serve`, besides `--data`.

    Returns:
        milliseconds from sending `call.accept` to `call.active` on the agent's and on the visitor's device.
    """
    to_agent: list[float] = []
    to_visitor: list[float] = []
    warm: list[float] = []
    server = Server()
    with tempfile.TemporaryDirectory(prefix="triortc-call-") as name:
        async with open_lives(Path(name) / "state", *options) as lives:
            server.began(await lives.start())
            async with trio.open_nursery() as nursery:
                agent = Device(server, Ledger(), nursery, random.Random(1))
                await agent.arrive(ClientDevice("desk"), {"role": "agent", "sub": "ana"})
                await agent.client.command("presence.set", channel="video", declared="available")
                for number in range(calls):
                    await _one_call(server, agent, number, to_agent, to_visitor, warm)
                    await trio.sleep(_PAUSE_S)
                nursery.cancel_scope.cancel()
    return {
        "what": "Go to active",
        "label": "triortc",
        "calls": calls,
        "agent_ms_p50": percentile(to_agent, 0.5),
        "agent_ms_p99": percentile(to_agent, 0.99),
        "visitor_ms_p50": percentile(to_visitor, 0.5),
        "visitor_ms_p99": percentile(to_visitor, 0.99),
        "legs_up_ms_p50": percentile(warm, 0.5),
    }


async def _one_call(
    server: Server, agent: Device, number: int, to_agent: list[float], to_visitor: list[float], warm: list[float]
) -> None:
    conversation = f"cv_{number}"
    async with trio.open_nursery() as nursery:
        visitor = Device(server, Ledger(), nursery, random.Random(number))
        await visitor.arrive(
            ClientDevice("tab", "web"), {"role": "visitor", "sub": f"v_{number}", "cv": [conversation]}
        )
        media = {"audio": True, "video": True}
        asked = await visitor.client.command("call.request", conversation=conversation, media=media)
        began = time.perf_counter()
        await visitor.warm(asked["leg"])
        offer = await agent.client.event("ring.offer", session=asked["session"])
        opened = await agent.client.command("ring.opened", ring=offer.p["ring"])
        await agent.warm(opened["leg"])
        warm.append((time.perf_counter() - began) * 1000)
        go = time.perf_counter()

        async def active(device: Device, times: list[float]) -> None:
            await device.client.event("call.active", session=asked["session"])
            times.append((time.perf_counter() - go) * 1000)

        async with trio.open_nursery() as both:
            both.start_soon(active, agent, to_agent)
            both.start_soon(active, visitor, to_visitor)
            await agent.client.command("call.accept", session=asked["session"])
        await agent.client.command("call.hangup", session=asked["session"])
        await agent.client.command("conversation.close", conversation=conversation)
        agent.drop_legs()
        visitor.drop_legs()
        await visitor.client.leave()
        nursery.cancel_scope.cancel()
