"""Errors of 3.6 that need a situation: each as a client reads it off the wire, from a whole server."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from support.signaling_host import NAMES
from support.signaling_house import SignalingHouse, open_signaling_house
from triortc.engine.calls.configuration import CallConfiguration
from triortc.engine.calls.media_events import OfferRefused
from triortc.signaling.app import ServerConfiguration
from triortc.signaling.client import CommandError, SignalClient


@pytest.fixture
async def house() -> AsyncGenerator[SignalingHouse]:
    async with open_signaling_house() as running:
        yield running


async def refused(client: SignalClient, t: str, **payload: Any) -> CommandError:
    with trio.fail_after(5), pytest.raises(CommandError) as error:
        await client.command(t, **payload)
    return error.value


@asynccontextmanager
async def calling(
    house: SignalingHouse, agent: SignalClient, sub: str = "lea", conversation: str = "cv_9"
) -> AsyncGenerator[tuple[SignalClient, str]]:
    """A visitor in a call with an agent, and the session."""
    async with house.visitor(sub, f"{sub}-tab", conversation) as visitor:
        asked = await visitor.command("call.request", conversation=conversation, media={"video": True}, offer="v=0")
        await agent.event("ring.offer", session=asked["session"])
        await agent.command("call.accept", session=asked["session"], offer="v=0 agent")
        await agent.event("call.active", session=asked["session"])
        yield visitor, asked["session"]


async def test_3_6_a_change_of_device_that_nobody_began_cannot_be_cancelled(house: SignalingHouse) -> None:
    async with house.agent() as ana, calling(house, ana) as (_, session):
        error = await refused(ana, "handoff.cancel", session=session)
        assert (error.code, error.details, error.retryable) == ("call.invalid_state", {"state": "active"}, False)


async def test_3_6_a_third_device_is_told_that_another_one_is_taking_the_call_over(house: SignalingHouse) -> None:
    async with (
        house.agent() as ana,
        calling(house, ana) as (_, session),
        house.agent("phone", "ios", green=False) as phone,
        house.agent("tablet", "android", green=False) as tablet,
    ):
        await phone.command("handoff.request", session=session)  # without media yet
        error = await refused(tablet, "handoff.request", session=session)
        assert (error.code, error.details, error.retryable) == ("handoff.in_progress", {"state": "handoff"}, True)


async def test_3_6_a_call_moves_only_between_kinds_of_devices_that_are_configured() -> None:
    calls = CallConfiguration(handoff_paths=frozenset({("desktop", "ios")}))
    configuration = ServerConfiguration(port=0, development=True, host_names=NAMES, calls=calls)
    async with (
        open_signaling_house("memory", configuration) as house,
        house.agent() as ana,
        calling(house, ana) as (_, session),
        house.agent("phone", "android", green=False) as phone,
    ):
        error = await refused(phone, "handoff.request", session=session)
        assert (error.code, error.details) == ("handoff.not_allowed", {"from": "desktop", "to": "android"})


async def test_3_6_a_conversation_goes_to_nobody_who_is_away_or_in_a_call(house: SignalingHouse) -> None:
    async with house.agent() as ana, calling(house, ana) as (visitor, session):
        await visitor.command("call.hangup", session=session)
        async with house.agent("bens", sub="ben", green=False) as ben:
            away = await refused(ana, "conversation.transfer", conversation="cv_9", to={"agent": "ben"})
            assert (away.code, away.retryable) == ("agent.unavailable", True)
            for channel in ("chat", "video"):
                await ben.command("presence.set", channel=channel, declared="available")
            async with calling(house, ben, "tom", "cv_7"):
                busy = await refused(ana, "conversation.transfer", conversation="cv_9", to={"agent": "ben"})
                assert (busy.code, busy.retryable) == ("agent.busy", True)
                assert busy.details["reasons"] == ["in_video"]


async def test_3_6_nobody_is_invited_while_a_video_runs_or_the_conversation_is_put_off(house: SignalingHouse) -> None:
    async with house.agent() as ana, calling(house, ana) as (visitor, session):
        running = await refused(ana, "invitation.send", conversation="cv_9")
        assert (running.code, running.details) == ("invitation.session_open", {"session": session})
        await visitor.command("call.hangup", session=session)
        await ana.command("conversation.snooze", conversation="cv_9")
        snoozed = await refused(ana, "invitation.send", conversation="cv_9")
        assert (snoozed.code, snoozed.retryable) == ("conversation.not_open", False)


async def test_3_6_an_offer_on_which_the_media_side_fails_is_an_internal_error_and_may_come_again(
    house: SignalingHouse,
) -> None:
    async with house.agent() as ana, calling(house, ana) as (visitor, session):
        leg = next(leg for leg, owner in house.media.open_legs.items() if owner == session)
        house.media.answers_later = True

        async def fail() -> None:
            await trio.testing.wait_all_tasks_blocked()
            house.media.on_event(OfferRefused(leg, 2, "failed", "no codec thread is left"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail)
            error = await refused(visitor, "sdp.offer", leg=leg, neg=2, sdp="v=0 again")
        assert (error.code, error.details, error.retryable) == ("server.internal", {"leg": leg, "neg": 2}, True)
        house.media.answers_later = False
        assert (await visitor.command("sdp.offer", leg=leg, neg=3, sdp="v=0"))["answer"] == "answer to v=0"
