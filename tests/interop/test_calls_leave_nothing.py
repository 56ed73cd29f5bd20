"""Calls against a real server, ended in every way there is: nothing is left behind (I24), and memory stays flat."""

from __future__ import annotations

import gc
import resource
import weakref
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio
import trio.testing

from support.media_ports import until
from support.real_calls import Party, agent, ask, held_before, leftovers, legs_of, open_house, settled, talk, visitor
from triortc.engine.relay.plane_choice import PlaneChoice
from triortc.signaling.app import RunningServer
from triortc.signaling.client import CommandError

Ending = Callable[[RunningServer, str], Awaitable[str]]


async def ended(party: Party, session: str) -> str:
    event = await party.signal.event("call.ended", session=session)
    return f"{event.p['outcome']}/{event.p['reason']}"


async def rung(house: RunningServer, conversation: str, end: Callable[[Party, Party, str, str], Awaitable[str]]) -> str:
    """A call that only rings; `end` gets visitor, agent, session and ring."""
    async with agent(house) as callee, visitor(house, conversation) as caller:
        asked = await ask(caller, conversation)
        offer = await callee.signal.event("ring.offer")
        outcome = await end(caller, callee, asked["session"], offer.p["ring"])
        if not outcome.startswith("cancelled"):  # K0: after a cancelled ring the conversation is nobody's again
            await callee.signal.command("conversation.close", conversation=conversation)
        return outcome


async def talked(house: RunningServer, conversation: str, end: Callable[[Party, Party, str], Awaitable[str]]) -> str:
    """A call that is active; `end` gets visitor, agent and session."""
    async with agent(house) as callee, visitor(house, conversation) as caller:
        session = await talk(caller, callee, conversation)
        outcome = await end(caller, callee, session)
        await callee.signal.command("conversation.close", conversation=conversation)
        return outcome


async def visitor_cancels(house: RunningServer, conversation: str) -> str:
    async def end(caller: Party, callee: Party, session: str, ring: str) -> str:
        await caller.signal.command("call.cancel", session=session)
        return await ended(callee, session)

    return await rung(house, conversation, end)


async def agent_declines(house: RunningServer, conversation: str) -> str:
    async def end(caller: Party, callee: Party, session: str, ring: str) -> str:
        await callee.signal.command("call.decline", session=session)
        return await ended(caller, session)

    return await rung(house, conversation, end)


async def agent_declines_with_a_warm_leg(house: RunningServer, conversation: str) -> str:
    async def end(caller: Party, callee: Party, session: str, ring: str) -> str:
        opened = await callee.signal.command("ring.opened", ring=ring)
        await callee.leg(opened["leg"])
        await callee.signal.command("call.decline", session=session)
        return await ended(caller, session)

    return await rung(house, conversation, end)


async def agent_accepts_and_hangs_up_before_media(house: RunningServer, conversation: str) -> str:
    async def end(caller: Party, callee: Party, session: str, ring: str) -> str:
        await callee.signal.command("call.accept", session=session)
        await callee.signal.command("call.hangup", session=session)
        return await ended(caller, session)

    return await rung(house, conversation, end)


async def agent_offers_nonsense(house: RunningServer, conversation: str) -> str:
    async def end(caller: Party, callee: Party, session: str, ring: str) -> str:
        opened = await callee.signal.command("ring.opened", ring=ring)
        with pytest.raises(CommandError):
            await callee.signal.command("sdp.offer", leg=opened["leg"], neg=1, sdp="v=0\r\nnonsense")
        await caller.signal.command("call.cancel", session=session)
        return await ended(callee, session)

    return await rung(house, conversation, end)


async def visitor_hangs_up(house: RunningServer, conversation: str) -> str:
    async def end(caller: Party, callee: Party, session: str) -> str:
        await caller.signal.command("call.hangup", session=session)
        return await ended(callee, session)

    return await talked(house, conversation, end)


async def agent_hangs_up(house: RunningServer, conversation: str) -> str:
    async def end(caller: Party, callee: Party, session: str) -> str:
        await callee.signal.command("call.hangup", session=session)
        return await ended(caller, session)

    return await talked(house, conversation, end)


async def agent_hangs_up_after_muting(house: RunningServer, conversation: str) -> str:
    async def end(caller: Party, callee: Party, session: str) -> str:
        await callee.signal.command("media.set", session=session, n=1, camera=False, mic=False)
        await caller.signal.event("media.changed")
        await callee.signal.command("call.hangup", session=session)
        return await ended(caller, session)

    return await talked(house, conversation, end)


async def camera_breaks(house: RunningServer, conversation: str) -> str:
    async def end(caller: Party, callee: Party, session: str) -> str:
        await callee.signal.command("media.set", session=session, n=1, fatal="capture_failed")
        return await ended(caller, session)

    return await talked(house, conversation, end)


async def handed_over_then_hung_up(house: RunningServer, conversation: str) -> str:
    async def end(caller: Party, callee: Party, session: str) -> str:
        async with agent(house, device="phone", platform="ios", green=False) as phone:
            pulled = await phone.signal.command("handoff.request", session=session)
            await phone.leg(pulled["leg"])
            await callee.signal.event("handoff.moved", session=session)
            await phone.signal.command("call.hangup", session=session)
            return await ended(caller, session)

    return await talked(house, conversation, end)


async def handoff_cancelled_then_hung_up(house: RunningServer, conversation: str) -> str:
    async def end(caller: Party, callee: Party, session: str) -> str:
        async with agent(house, device="phone", platform="android", green=False) as phone:
            await phone.signal.command("handoff.request", session=session)
            await phone.signal.command("handoff.cancel", session=session)
            await callee.signal.event("handoff.failed", session=session)
            await callee.signal.command("call.hangup", session=session)
            return await ended(caller, session)

    return await talked(house, conversation, end)


async def closed_with_its_conversation(house: RunningServer, conversation: str) -> str:
    async def end(caller: Party, callee: Party, session: str) -> str:
        await callee.signal.command("conversation.close", conversation=conversation, end_video=True)
        return await ended(caller, session)

    return await talked(house, conversation, end)


async def nobody_is_there(house: RunningServer, conversation: str) -> str:
    async with visitor(house, conversation) as caller:
        asked = await ask(caller, conversation)
        return f"{asked['outcome']}/{asked['reason']}"


async def second_visitor(house: RunningServer, conversation: str) -> str:
    async def end(caller: Party, callee: Party, session: str) -> str:
        async with visitor(house, f"{conversation}-second") as second:
            asked = await ask(second, f"{conversation}-second")
        await callee.signal.command("call.hangup", session=session)
        await ended(caller, session)
        return f"{asked['outcome']}/{asked['reason']}"

    return await talked(house, conversation, end)


WAYS: list[tuple[Ending, str]] = [
    (visitor_cancels, "cancelled/visitor_cancelled"),
    (agent_declines, "no_answer/ring_timeout"),
    (agent_declines_with_a_warm_leg, "no_answer/ring_timeout"),
    (agent_accepts_and_hangs_up_before_media, "completed/agent_hangup"),
    (agent_offers_nonsense, "cancelled/visitor_cancelled"),
    (visitor_hangs_up, "completed/visitor_hangup"),
    (agent_hangs_up, "completed/agent_hangup"),
    (agent_hangs_up_after_muting, "completed/agent_hangup"),
    (camera_breaks, "failed/media_capture_failed"),
    (handed_over_then_hung_up, "completed/agent_hangup"),
    (handoff_cancelled_then_hung_up, "completed/agent_hangup"),
    (closed_with_its_conversation, "completed/agent_hangup"),
    (nobody_is_there, "unavailable/no_agent_available"),
    (second_visitor, "unavailable/agent_busy"),
]


@pytest.mark.parametrize(("way", "outcome"), WAYS, ids=[way.__name__ for way, _ in WAYS])
async def test_i24_a_call_ended_this_way_leaves_no_leg_file_or_task(way: Ending, outcome: str) -> None:
    with trio.fail_after(30):
        async with open_house() as house:
            await way(house, "cv_warm")  # whatever is made once (codec threads, certificates) exists from here on
            before = await settled()
            assert await way(house, "cv_measured") == outcome
            after = await settled()
            assert legs_of(house).legs == 0
            assert after == before


@pytest.mark.parametrize("active", [False, True], ids=["ringing", "active"])
async def test_a_server_that_shuts_down_leaves_nothing(active: bool) -> None:
    with trio.fail_after(30):
        await once(active)
        before = held_before()
        await once(active)
    await trio.testing.wait_all_tasks_blocked(0.05)
    assert leftovers() == before


async def once(active: bool) -> None:
    """Open a server, begin a call, and close the server under both devices."""
    leave, left = trio.Event(), trio.Event()

    async def serve(task_status: trio.TaskStatus[RunningServer]) -> None:
        async with open_house() as house:
            task_status.started(house)
            await leave.wait()
        left.set()

    async with trio.open_nursery() as nursery:
        house: RunningServer = await nursery.start(serve)
        async with agent(house) as callee, visitor(house, "cv_1") as caller:
            asked = await ask(caller, "cv_1") if not active else {"session": await talk(caller, callee, "cv_1")}
            leave.set()
            assert await ended(caller, asked["session"]) == "failed/server_shutdown"
            await left.wait()
            assert legs_of(house).legs == 0


async def test_an_agent_that_vanishes_in_a_call_is_waited_for_and_the_call_then_fails() -> None:
    with trio.fail_after(60):
        async with open_house(leg_grace_s=0.5) as house, visitor(house, "cv_1") as caller:
            async with agent(house) as callee:
                session = await talk(caller, callee, "cv_1")
            assert await ended(caller, session) == "failed/agent_connection_lost"
            assert legs_of(house).legs == 0


async def test_a_visitor_that_vanishes_while_it_rings_ends_the_ring_after_five_seconds() -> None:
    with trio.fail_after(30):
        async with (
            open_house(visitor_ring_grace_s=0.5) as house,
            agent(house) as callee,
            visitor(house, "cv_1") as caller,
        ):
            asked = await ask(caller, "cv_1")
            await callee.signal.event("ring.offer")
            caller.signal.drop()
            assert await ended(callee, asked["session"]) == "cancelled/visitor_left"


@pytest.mark.parametrize("plane", ["python", "accelerated"])
async def test_what_a_leg_held_is_free_without_the_garbage_collector(plane: PlaneChoice) -> None:
    """Servers let it run seldom; the sessions of two legs, which feed each other, hold a few hundred kilobytes."""
    with trio.fail_after(30):
        async with open_house(plane=plane) as house:
            gc.disable()
            try:
                async with agent(house) as callee, visitor(house, "cv_1") as caller:
                    session = await talk(caller, callee, "cv_1")
                    gates = legs_of(house).gate_statistics
                    await until(lambda: min(gate.forwarded for gate in gates(session).values()) > 0, "both are fed")
                    transports = [leg.transport for leg in legs_of(house)._legs.values()]
                    held = [
                        weakref.ref(part)
                        for transport in transports
                        if transport is not None
                        for part in (transport, transport.media)
                    ]
                    del transports
                    await caller.signal.command("call.hangup", session=session)
                    await ended(callee, session)
                await trio.testing.wait_all_tasks_blocked(0.1)
                assert len(held) == 4
                assert [reference() for reference in held if reference() is not None] == []
            finally:
                gc.enable()


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


async def test_memory_is_flat_over_two_hundred_short_calls() -> None:
    with trio.fail_after(240):
        async with open_house() as house, agent(house) as callee:
            measured: list[int] = []
            for number in range(200):
                conversation = f"cv_{number}"
                async with visitor(house, conversation) as caller:
                    session = await talk(caller, callee, conversation)
                    await caller.signal.command("call.hangup", session=session)
                    await ended(callee, session)
                    await caller.signal.leave()  # else the server keeps the session for two minutes, to be resumed
                await callee.signal.command("conversation.close", conversation=conversation)
                callee.close_legs()
                callee.signal.waiting_events()
                if number in (99, 199):
                    gc.collect()
                    measured.append(resident_bytes())
            assert legs_of(house).legs == 0
            # The records of a hundred closed conversations stay in the memory store; buffers and sessions do not.
            assert measured[1] - measured[0] < 8 << 20
