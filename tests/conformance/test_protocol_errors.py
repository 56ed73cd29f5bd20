"""Refusals of the table of errors, provoked over the wire with the real call control (spec 3.6, 3.10.6)."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from support.signaling_host import TRANSPORTS
from support.signaling_house import SignalingHouse, open_signaling_house
from triortc.engine.sdp.negotiated import SdpUnsupportedError
from triortc.errors import SdpError
from triortc.signaling.client import ClientDevice, CommandError, SignalClient, open_signal_client

MEDIA = {"audio": True, "video": True}
#: Codes that are in the protocol for clients to know, and that this build has no occasion to send.
WITHOUT_OCCASION = {"sdp.glare", "ice.invalid"}


@pytest.fixture(params=TRANSPORTS)
async def house(request: pytest.FixtureRequest) -> AsyncGenerator[SignalingHouse]:
    async with open_signaling_house(request.param) as running:
        yield running


async def refusal(client: SignalClient, t: str, **payload: Any) -> CommandError:
    with pytest.raises(CommandError) as error:
        await client.command(t, **payload)
    return error.value


async def ring(agent: SignalClient, visitor: SignalClient) -> tuple[str, str]:
    asked = await visitor.command("call.request", conversation="cv_9", media=MEDIA, offer="v=0")
    return str(asked["session"]), str((await agent.event("ring.offer")).p["ring"])


async def answer(agent: SignalClient, ring: str, session: str) -> str:
    leg = str((await agent.command("ring.opened", ring=ring))["leg"])
    await agent.command("sdp.offer", leg=leg, neg=1, sdp="v=0")
    await agent.command("call.accept", session=session)
    await agent.event("call.active")
    return leg


async def test_3_10_6_a_late_go_is_told_that_the_visitor_cancelled(house: SignalingHouse) -> None:
    async with house.agent() as agent, house.visitor() as visitor:
        session, _ = await ring(agent, visitor)
        await visitor.command("call.cancel", session=session)
        assert (await refusal(agent, "call.accept", session=session)).code == "call.cancelled"


async def test_3_10_6_a_late_go_is_told_who_answered_or_declined_instead(house: SignalingHouse) -> None:
    async with house.agent() as agent, house.visitor() as visitor, house.agent("phone", "ios", green=False) as phone:
        session, offered = await ring(agent, visitor)
        await answer(agent, offered, session)
        late = await refusal(phone, "call.accept", session=session)
        assert (late.code, late.details["by"]["platform"]) == ("call.answered_elsewhere", "desktop")
        third = await refusal(phone, "media.set", session=session, n=1, mic=False)
        assert third.code == "call.not_participant"
        assert (await refusal(agent, "handoff.request", session=session)).code == "handoff.same_device"
        assert (await refusal(agent, "conversation.close", conversation="cv_9")).code == "conversation.video_active"
        await visitor.command("call.hangup", session=session)
        await agent.event("call.ended")
        over = await refusal(agent, "media.set", session=session, n=1, mic=False)
        assert (over.code, over.details["outcome"]) == ("call.ended", "completed")


async def test_3_10_6_a_go_after_a_decline_elsewhere_is_told_so(house: SignalingHouse) -> None:
    async with house.agent() as agent, house.visitor() as visitor, house.agent("phone", "ios", green=False) as phone:
        session, _ = await ring(agent, visitor)
        await agent.command("call.decline", session=session)
        late = await refusal(phone, "call.accept", session=session)
        assert (late.code, late.details["by"]["platform"]) == ("call.declined_elsewhere", "desktop")


async def test_3_10_6_a_go_after_the_deadline_is_told_what_became_of_the_call(autojump_clock: MockClock) -> None:
    async with open_signaling_house() as house, house.agent() as agent, house.visitor() as visitor:
        session, _ = await ring(agent, visitor)
        await trio.sleep(30.5)
        late = await refusal(agent, "call.accept", session=session)
        assert (late.code, late.details["outcome"]) == ("call.expired", "no_answer")


async def test_3_6_a_device_without_a_camera_is_told_what_is_missing_and_what_to_do(house: SignalingHouse) -> None:
    device = ClientDevice("desk", "desktop", perms={"camera": "denied_permanent", "mic": "granted"})
    async with (
        open_signal_client(house.open_channel, token=house.token("agent", "ana", "desk"), device=device) as agent,
        house.visitor() as visitor,
    ):
        for channel in ("chat", "video"):
            await agent.command("presence.set", channel=channel, declared="available")
        session, _ = await ring(agent, visitor)
        refused = await refusal(agent, "call.accept", session=session)
        assert refused.code == "permission.required"
        assert (list(refused.details["missing"]), refused.details["action"]) == (["camera"], "open_settings")


async def test_3_6_descriptions_out_of_turn_are_stale(house: SignalingHouse) -> None:
    async with house.agent() as agent, house.visitor() as visitor:
        session, offered = await ring(agent, visitor)
        leg = await answer(agent, offered, session)
        assert (await refusal(agent, "sdp.offer", leg=leg, neg=1, sdp="v=0 other")).code == "sdp.stale"
        assert (await refusal(agent, "sdp.answer", leg=leg, neg=9, sdp="v=0")).code == "sdp.stale"
        assert (await refusal(visitor, "sdp.offer", leg=leg, neg=2, sdp="v=0")).code == "state.not_found"


async def test_3_6_an_offer_that_cannot_be_answered_says_whether_it_was_wrong_or_only_strange(
    house: SignalingHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house.agent() as agent, house.visitor() as visitor:
        _, offered = await ring(agent, visitor)
        leg = (await agent.command("ring.opened", ring=offered))["leg"]
        refusals = (SdpUnsupportedError("no common codec"), "sdp.unsupported"), (SdpError("x"), "sdp.invalid")
        for neg, (error, code) in enumerate(refusals, 1):

            def refuse(leg: str, neg: int, offer_sdp: str, error: Exception = error) -> str:
                raise error

            monkeypatch.setattr(house.media, "answer", refuse)
            assert (await refusal(agent, "sdp.offer", leg=leg, neg=neg, sdp="v=0")).code == code


async def test_3_6_invitations_need_a_conversation_of_ones_own_that_is_open_and_free(house: SignalingHouse) -> None:
    async with house.agent() as agent, house.visitor() as visitor:
        await visitor.command("conversation.message.send", conversation="cv_9", text="hello")
        await agent.event("conversation.changed")
        first = await agent.command("invitation.send", conversation="cv_9")
        again = await refusal(agent, "invitation.send", conversation="cv_9")
        assert (again.code, again.details["invitation"]) == ("invitation.already_pending", first["invitation"])
        await agent.command("invitation.cancel", invitation=first["invitation"])
        over = await refusal(visitor, "invitation.accept", invitation=first["invitation"])
        assert (over.code, over.details["state"]) == ("invitation.not_live", "cancelled")
        await agent.command("conversation.close", conversation="cv_9")
        assert (await refusal(agent, "invitation.send", conversation="cv_9")).code == "conversation.closed"


def test_3_6_codes_without_an_occasion_are_nowhere_in_the_code() -> None:
    """Every other one is answered in some test: tests/support/error_codes.py fails a whole run in which it is not."""
    room = Path(__file__).parents[2]
    code = "\n".join(
        path.read_text(encoding="utf-8")
        for folder in ("engine/calls", "signaling")
        for path in (room / folder).glob("*.py")
        if path.name != "replies.py"
    )
    assert not [name for name in WITHOUT_OCCASION if f'"{name}"' in code]
