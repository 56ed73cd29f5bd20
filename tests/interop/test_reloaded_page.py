"""A page that is loaded again in the middle of a call: its leg begins anew, the call goes on."""

from __future__ import annotations

from typing import Literal

import pytest
import trio

from support.real_calls import Party, agent, ask, open_house, visitor
from triortc.engine.peer.connection import PeerConnection

FRAMES = 20


async def _receive(connection: PeerConnection, kind: Literal["audio", "video"]) -> None:
    transceiver = connection.transceiver(kind)
    assert transceiver is not None
    for _ in range(FRAMES):
        assert await transceiver.receiver.next_frame() is not None


async def _see_and_hear_each_other(*sides: PeerConnection) -> None:
    for side in sides:
        for kind in ("audio", "video"):
            with trio.fail_after(10):
                await _receive(side, kind)


async def _talk(caller: Party, callee: Party) -> tuple[str, dict[str, str], dict[str, PeerConnection]]:
    asked = await ask(caller, "cv_1")
    legs, sides = {"visitor": asked["leg"]}, {"visitor": await caller.leg(asked["leg"])}
    offer = await callee.signal.event("ring.offer", session=asked["session"])
    legs["agent"] = (await callee.signal.command("ring.opened", ring=offer.p["ring"]))["leg"]
    sides["agent"] = await callee.leg(legs["agent"])
    await callee.signal.command("call.accept", session=asked["session"])
    for party in (caller, callee):
        await party.signal.event("call.active")
    return asked["session"], legs, sides


@pytest.mark.parametrize("who", ["visitor", "agent"])
async def test_v32_v33_a_reloaded_page_offers_from_a_new_connection_and_the_call_goes_on(who: str) -> None:
    with trio.fail_after(40):
        async with open_house() as house, agent(house) as callee, visitor(house, "cv_1") as caller:
            session, legs, sides = await _talk(caller, callee)
            await _see_and_hear_each_other(*sides.values())
            reloaded, other = (caller, callee) if who == "visitor" else (callee, caller)
            reloaded.close_legs()
            sides[who] = await reloaded.leg(legs[who], neg=2)
            assert (await other.signal.event("call.peer", session=session)).p["what"] == "reconnecting"
            assert (await other.signal.event("call.peer", session=session)).p["what"] == "resumed"
            await _see_and_hear_each_other(*sides.values())
            assert not [event for event in other.signal.waiting_events() if event.t == "call.ended"]
            await caller.signal.command("call.hangup", session=session)


async def test_s1_3b_a_page_reloaded_while_it_rings_warms_its_leg_again_and_may_go() -> None:
    with trio.fail_after(40):
        async with open_house() as house, agent(house) as callee, visitor(house, "cv_1") as caller:
            asked = await ask(caller, "cv_1")
            seen = await caller.leg(asked["leg"])
            offer = await callee.signal.event("ring.offer")
            leg = (await callee.signal.command("ring.opened", ring=offer.p["ring"]))["leg"]
            await callee.leg(leg)
            callee.close_legs()
            await callee.leg(leg, neg=2)
            await callee.signal.command("call.accept", session=asked["session"])
            await caller.signal.event("call.active")
            await _see_and_hear_each_other(seen)
