"""aiortc as the device on both sides of a call through our legs, over real UDP on loopback."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import trio

from support.aiortc_process import AiortcClient, open_aiortc_client
from triortc.engine.calls.leg_configuration import MediaConfiguration
from triortc.engine.calls.legs import LegManager, Side, open_leg_manager
from triortc.engine.endpoint_configuration import EndpointConfiguration
from triortc.engine.ice.configuration import IceConfiguration
from triortc.engine.relay.gate import GateState
from triortc.engine.relay.plane_choice import PlaneChoice
from triortc.engine.sdp.negotiated import SdpUnsupportedError
from triortc.engine.session.configuration import SessionConfiguration

CONFIGURATION = MediaConfiguration(
    endpoint=EndpointConfiguration(loopback=True),
    session=SessionConfiguration(ice=IceConfiguration(allow_loopback=True)),
)


@asynccontextmanager
async def device(
    legs: LegManager, session: str, side: Side, leg: str, luminance: int, codecs: str = ""
) -> AsyncGenerator[AiortcClient]:
    """A device of the other stack, whose offer the leg has answered."""
    async with open_aiortc_client(luminance, codecs=codecs) as client:
        with trio.fail_after(20):
            offer = await client.read()
            legs.open_leg(session, leg, side)
            await client.write(sdp=legs.answer(leg, 1, offer["sdp"]))
        yield client


@pytest.mark.parametrize("plane", ["python", "accelerated"])
async def test_two_aiortc_devices_see_and_hear_each_other_after_go_and_the_slate_before(plane: PlaneChoice) -> None:
    async with open_leg_manager(replace(CONFIGURATION, plane=plane)) as legs:
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


@pytest.mark.parametrize("plane", ["python", "accelerated"])
async def test_devices_that_share_no_codec_see_and_hear_each_other_transcoded_and_nothing_stays_behind(
    plane: PlaneChoice,
) -> None:
    async with open_leg_manager(replace(CONFIGURATION, plane=plane)) as legs:
        async with (
            device(legs, "vs_1", "visitor", "leg_v", 40, "VP8,opus") as visitor,
            device(legs, "vs_1", "agent", "leg_a", 220, "H264,PCMU") as agent,
        ):
            await visitor.until("the slate is seen", pictures=10)
            assert legs.counters()["transcodings.open"] == 4
            for leg in ("leg_a", "leg_v"):
                for kind in ("audio", "video"):
                    legs.set_gate("vs_1", leg, kind, GateState.OPEN, 1)
            await visitor.until("the agent is seen", luminance=200, pictures=40, loudness=1000)
            answered = await agent.until("the visitor is seen and heard", pictures=20, sounds=20, loudness=1000)
            assert answered["luminance"] < 60
        legs.close_session("vs_1")
        assert legs.counters()["transcodings.open"] == 0


async def test_devices_that_share_no_codec_are_refused_where_nothing_is_transcoded() -> None:
    async with (
        open_leg_manager(replace(CONFIGURATION, max_transcodings=0)) as legs,
        device(legs, "vs_1", "visitor", "leg_v", 40, "VP8,opus"),
        open_aiortc_client(220, codecs="H264,PCMU") as agent,
    ):
        with trio.fail_after(20):
            offer = await agent.read()
        legs.open_leg("vs_1", "leg_a", "agent")
        with pytest.raises(SdpUnsupportedError):
            legs.answer("leg_a", 1, offer["sdp"])
