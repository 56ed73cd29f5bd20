# ruff: noqa: N802 - test names carry the numbers of docs/calls.md as they are written there
"""Calls in media processes: spread over them, carried on when one is killed, ended with the server however it ends."""

from __future__ import annotations

import os
import signal
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
import trio

from support.media_ports import MEDIA, until
from support.peers import see_and_hear
from support.processes import alive, children
from support.real_calls import Party, agent, held_before, leftovers, open_house, talk, visitor, workers_of
from triortc.bench.soak import soak
from triortc.engine.calls.leg_configuration import MediaConfiguration
from triortc.engine.endpoint_configuration import EndpointConfiguration
from triortc.engine.peer.connection import PeerConnection
from triortc.engine.udp import UdpSocket
from triortc.engine.workers.configuration import WorkerConfiguration
from triortc.engine.workers.worker_pool import WorkerPool, open_worker_pool
from triortc.errors import ConfigurationError
from triortc.signaling.app import RunningServer


def legs(house: RunningServer, session: str) -> dict[str, str]:
    found = house.calls.control.world.sessions[session]
    assert found.agent_leg is not None
    assert found.visitor_leg is not None
    return {"agent": found.agent_leg, "visitor": found.visitor_leg}


def seen(pool: WorkerPool, session: str) -> int:
    """Packets that a session's gates have let through."""
    return sum(gate.forwarded for gate in pool.gate_statistics(session).values())


async def back(party: Party, session: str, leg: str) -> PeerConnection:
    """Do what a page does that reads `renegotiate`."""
    told = await party.signal.event("call.peer", session=session, what="reconnecting")
    assert told.p["renegotiate"] is True
    party.close_legs()
    return await party.leg(leg, neg=2)


async def test_V47_a_worker_that_is_killed_takes_its_call_only_and_the_call_goes_on_in_another() -> None:
    before = held_before()
    async with open_house(workers=2) as house, AsyncExitStack() as stack:
        pool = workers_of(house)
        pairs, sessions = [], []
        for number, name in enumerate(("ana", "ben")):
            pairs.append(
                (
                    await stack.enter_async_context(visitor(house, f"cv_{number}")),
                    await stack.enter_async_context(agent(house, name)),
                )
            )
            sessions.append(await talk(*pairs[-1], f"cv_{number}"))
            # The agent is busy now, so that the next call rings with the other one.
        first, second = sessions
        assert {pool.worker_of(first), pool.worker_of(second)} == {0, 1}, "a new call goes where the fewest legs are"
        place = pool.worker_of(first)
        assert place is not None
        killed = pool.processes[place]
        assert killed is not None
        undisturbed = house.calls.control.world.sessions[second].version
        ours = legs(house, first)
        os.kill(killed, signal.SIGKILL)
        caller, callee = pairs[0]
        with trio.fail_after(20.0):
            sides = [await back(caller, first, ours["visitor"]), await back(callee, first, ours["agent"])]
            for party in (caller, callee):
                await party.signal.event("call.peer", session=first, what="resumed")
            await see_and_hear(*sides)
        assert pool.worker_of(first) is not None
        assert house.calls.control.world.sessions[first].state == "active"
        assert house.calls.control.world.sessions[second].version == undisturbed, "nothing happened to the other call"
        forwarded = seen(pool, second)
        await until(lambda: seen(pool, second) > forwarded + 20, "the other call goes on")
        await until(lambda: pool.counters()["workers.running"] == 2, "the worker is there again")
        health = house.health()
        assert health["workers"] == {"running": 2, "restarts": 1}
        assert health[f"worker_{place}"]["restarts"] == 1  # type: ignore[index]  # a table of numbers
        for (caller, _), session in zip(pairs, sessions, strict=True):
            ended = await caller.signal.command("call.hangup", session=session)
            assert ended["outcome"] == "completed"
        processes = [process for process in pool.processes if process is not None]
    assert not any(alive(process) for process in processes)
    assert leftovers() == before


async def test_an_offer_that_the_worker_refuses_is_refused_to_the_client_as_in_process() -> None:
    async with open_house(workers=1) as house, visitor(house, "cv_1") as caller, agent(house):
        asked = await caller.signal.command("call.request", conversation="cv_1", media={"audio": True, "video": True})
        with pytest.raises(Exception, match=r"sdp\.invalid"):
            await caller.signal.command("sdp.offer", leg=asked["leg"], neg=1, sdp="v=0\r\nnonsense")
        await caller.leg(asked["leg"], neg=2)
        await caller.signal.command("call.cancel", session=asked["session"])


async def test_a_worker_that_hangs_is_ended_and_its_offers_refused_in_words() -> None:
    settings = WorkerConfiguration(
        count=1, report_interval_s=0.1, silence_timeout_s=1.0, request_timeout_s=0.3, stop_timeout_s=0.2
    )
    events: list[object] = []
    async with open_worker_pool(MEDIA, settings) as pool:
        pool.on_event = events.append
        (process,) = pool.processes
        assert process is not None
        os.kill(process, signal.SIGSTOP)
        pool.open_leg("s", "l", "agent")
        pool.answer("l", 1, "v=0")
        await until(lambda: len(events) == 2, "it is given up")
        assert [type(event).__name__ for event in events] == ["OfferRefused", "MediaLost"]
        assert "has not answered within 0.3 s" in str(events[0])
        assert "has said nothing for 1 s" in str(events[1])
        await until(lambda: pool.processes not in ([None], [process]), "another is started")
    assert not alive(process)


async def test_a_port_that_is_taken_is_an_os_error_and_no_process_stays() -> None:
    taken = UdpSocket("127.0.0.1", 0, buffer_bytes=4096)
    try:
        endpoint = EndpointConfiguration(media_host=("127.0.0.1",), media_port=taken.address[1])
        before = children(os.getpid())
        with pytest.raises(OSError, match="media worker 0"):
            async with open_worker_pool(_with(endpoint), WorkerConfiguration(count=1)):
                raise AssertionError("it cannot listen")
        assert children(os.getpid()) == before
    finally:
        taken.close()
    with pytest.raises(ConfigurationError, match="do not fit"):
        async with open_worker_pool(_with(EndpointConfiguration(media_port=65535)), WorkerConfiguration(count=2)):
            raise AssertionError("there is no such port")


def _with(endpoint: EndpointConfiguration) -> MediaConfiguration:
    return replace(MEDIA, endpoint=endpoint)


async def test_calls_that_come_and_go_over_a_worker_that_is_killed_are_none_of_them_stuck() -> None:
    """The bench of thirty minutes (`triortc bench soak`), for some seconds."""
    with trio.fail_after(60.0):
        figures = await soak(0.1, 2, 1, kill_every_s=3.0)
    assert figures["faults"] == []
    assert figures["kills"] > 0
    assert figures["calls that began"] > 0
