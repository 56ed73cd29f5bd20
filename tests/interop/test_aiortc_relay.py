"""aiortc as the device on both sides of a call through our legs, over real UDP on loopback."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from triortc.engine.calls.leg_configuration import MediaConfiguration
from triortc.engine.calls.legs import LegManager, Side, open_leg_manager
from triortc.engine.endpoint import EndpointConfiguration
from triortc.engine.ice.configuration import IceConfiguration
from triortc.engine.relay.gate import GateState
from triortc.engine.session.configuration import SessionConfiguration

CLIENT = Path(__file__).parent.parent / "support" / "aiortc_client.py"
CONFIGURATION = MediaConfiguration(
    endpoint=EndpointConfiguration(loopback=True),
    session=SessionConfiguration(ice=IceConfiguration(allow_loopback=True)),
)


class Client:
    """The other stack's process: its last statistics, and a wait for what is hoped of them."""

    def __init__(self, process: trio.Process, lines: AsyncGenerator[dict[str, Any]]) -> None:
        self._process = process
        self._lines = lines

    async def until(self, hope: str, condition: Callable[[], bool] = lambda: True, **least: float) -> dict[str, Any]:
        """Wait for a line of figures when the condition holds and every named figure has at least this value."""
        last: dict[str, Any] = {}
        with trio.move_on_after(20):
            async for last in self._lines:
                if condition() and all(last[name] >= value for name, value in least.items()):
                    return last
        raise AssertionError(f"{hope}: never, the last figures were {last}")


async def read_lines(process: trio.Process) -> AsyncGenerator[dict[str, Any]]:
    assert process.stdout is not None
    rest = b""
    async for chunk in process.stdout:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield json.loads(line)


@asynccontextmanager
async def device(legs: LegManager, session: str, side: Side, leg: str, luminance: int) -> AsyncGenerator[Client]:
    """A device of the other stack, whose offer the leg has answered."""
    process = await trio.lowlevel.open_process(
        [sys.executable, str(CLIENT), str(luminance)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    try:
        lines = read_lines(process)
        with trio.fail_after(20):
            offer = await anext(lines)
            legs.open_leg(session, leg, side)
            answer = legs.answer(leg, 1, offer["sdp"])
            await process.stdin.send_all(json.dumps({"sdp": answer}).encode() + b"\n")
        yield Client(process, lines)
        await lines.aclose()
    finally:
        with trio.move_on_after(5, shield=True) as scope:
            await process.stdin.aclose()
            await process.wait()
        if scope.cancelled_caught:
            process.kill()
        if process.stdout is not None:
            with trio.move_on_after(1, shield=True):
                await process.stdout.aclose()


async def test_two_aiortc_devices_see_and_hear_each_other_after_go_and_the_slate_before() -> None:
    async with open_leg_manager(CONFIGURATION) as legs:
        async with (
            device(legs, "vs_1", "visitor", "leg_v", 40) as visitor,
            device(legs, "vs_1", "agent", "leg_a", 220) as agent,
        ):
            before = await visitor.until("the slate is seen", pictures=10)
            assert 50 < before["luminance"] < 110
            gates = legs.gate_statistics("vs_1")
            await agent.until("the agent sends", lambda: gates["leg_a", "video"].dropped > 20)
            assert gates["leg_a", "video"].forwarded == gates["leg_a", "audio"].forwarded == 0
            for leg in ("leg_a", "leg_v"):
                for kind in ("audio", "video"):
                    legs.set_gate("vs_1", leg, kind, GateState.OPEN, 1)
            seen = await visitor.until("the agent is seen", luminance=200, pictures=40, loudness=1000)
            assert seen["sounds"] > 20
            answered = await agent.until("the visitor is heard", pictures=20, loudness=1000)
            assert answered["luminance"] < 60
        legs.close_session("vs_1")
        assert legs.legs == 0
        counters = legs.counters()
        assert counters["gate.forwarded"] > 100
        assert counters.get("dropped.malformed", 0) == 0
