# ruff: noqa: N802 - test names carry the numbers of docs/calls.md as they are written there
"""Code that fails in the supervisor ends what it belongs to, and nothing else (V44)."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio
from trio.testing import MockClock

from support.call_stage import Stage
from support.calls import FakeClients, FakeMedia, FakePush, agent_actor, information
from triortc.engine.calls.actor import PushEndpoint
from triortc.engine.calls.commands import CallAccept, CallRequest, ConversationClose, PresenceSet
from triortc.engine.calls.gate_table import GateState
from triortc.engine.calls.history import MemoryHistory
from triortc.engine.calls.history_records import SessionRecord
from triortc.engine.calls.media_events import MediaCrashed
from triortc.engine.calls.notifications import CallEnded
from triortc.engine.calls.replies import CallFault
from triortc.engine.calls.supervisor import open_call_supervisor
from triortc.errors import CallError


async def test_a_gateway_that_fails_harms_no_call(autojump_clock: MockClock) -> None:
    clients, media, gateways = FakeClients(), FakeMedia(), FakePush()
    gateways.broken = True
    async with open_call_supervisor(media, clients=clients, push=gateways) as supervisor:
        stage = Stage(supervisor, media, clients)
        phone = agent_actor("ana", "phone")
        endpoint = PushEndpoint("fcm", token="t")
        supervisor.device_connected(phone, replace(information("phone", "android"), push=(endpoint,)))
        assert phone.address is not None
        supervisor.device_gone(phone.address)
        session, _ = stage.ring(stage.visitor("vic"))
        assert (stage.state(session), supervisor.crashes_total) == ("ringing", 1)
        stage.ok(stage.ana, CallAccept(session))


async def test_V44_a_crash_in_one_session_ends_it_and_no_other(autojump_clock: MockClock) -> None:
    clients, media = FakeClients(), FakeMedia()
    async with open_call_supervisor(media, clients=clients) as supervisor:
        stage = Stage(supervisor, media, clients)
        first, _, _ = stage.call(stage.visitor("vic"))
        ben = agent_actor("ben", "phone")
        supervisor.device_connected(ben, information("phone"))
        supervisor.command(ben, PresenceSet("video", "available"))
        second, _ = stage.ring(stage.visitor("wim"))

        async def broken() -> None:
            await trio.sleep(1.0)
            raise RuntimeError("a task of the session fails")

        supervisor.start_in_session(first, broken)
        await trio.sleep(2.0)
        assert (stage.outcome(first), stage.reason(first)) == ("failed", "internal_error")
        assert stage.state(second) == "ringing"
        assert supervisor.crashes_total == 1
        assert supervisor.running_sessions == 1
        with pytest.raises(CallError, match="is not running"):
            supervisor.start_in_session(first, broken)


async def test_V44_a_session_whose_deadline_fails_ends_and_the_clock_of_all_goes_on(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients, media = FakeClients(), FakeMedia()
    async with open_call_supervisor(media, clients=clients) as supervisor:
        stage = Stage(supervisor, media, clients)
        first, _ = stage.ring(stage.visitor("vic"))
        ben = agent_actor("ben", "phone")
        supervisor.device_connected(ben, information("phone"))
        supervisor.command(ben, PresenceSet("video", "available"))
        second, _ = stage.ring(stage.visitor("wim"))

        def next_deadline(session: str | None) -> float | None:
            if session == first:
                raise ZeroDivisionError(session)
            return supervisor.control.next_deadline(session)

        monkeypatch.setattr(supervisor._lives, "_next_deadline", next_deadline)
        await trio.sleep(40.0)
        assert (stage.reason(first), stage.reason(second)) == ("internal_error", "ring_timeout")
        assert supervisor.crashes_total == 1


async def test_V44_a_media_port_that_fails_ends_the_session_before_a_gate_opens(autojump_clock: MockClock) -> None:
    clients, media = FakeClients(), FakeMedia()
    async with open_call_supervisor(media, clients=clients) as supervisor:
        stage = Stage(supervisor, media, clients)
        vic = stage.visitor("vic")
        session, _ = stage.ring(vic)
        media.fail_on = "open_leg"
        supervisor.command(stage.ana, CallAccept(session))
        assert stage.reason(session) == "internal_error"
        assert GateState.OPEN not in media.gates.values()
        assert len(clients.told(vic, CallEnded)) == 1
        media.fail_on = None
        supervisor.command(stage.ana, ConversationClose("cv_vic"))
        again, _, _ = stage.call(stage.visitor("wim"))
        assert stage.state(again) == "active"


async def test_V44_a_failure_half_way_into_a_request_leaves_no_agent_claimed(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clients, media = FakeClients(), FakeMedia()

    def broken(*_: object) -> None:
        raise RuntimeError("the rules themselves fail")

    async with open_call_supervisor(media, clients=clients) as supervisor:
        stage = Stage(supervisor, media, clients)
        vic = stage.visitor("vic")
        with monkeypatch.context() as patch:
            patch.setattr("triortc.engine.calls.gates.open_leg", broken)
            reply = supervisor.command(vic, CallRequest("cv_vic"))
        assert isinstance(reply, CallFault)
        assert reply.code == "server.internal"
        assert f"{reply.details['incident']}: a failure was contained in session" in caplog.text
        assert len(supervisor.control.world.claims) == 0
        assert supervisor.running_sessions == 0
        supervisor.command(stage.ana, ConversationClose("cv_vic"))
        again, _, _ = stage.call(stage.visitor("wim"))
        assert stage.state(again) == "active"


async def test_a_failure_outside_of_sessions_is_answered_and_counted(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients, media = FakeClients(), FakeMedia()

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the rules themselves fail")

    async with open_call_supervisor(media, clients=clients) as supervisor:
        stage = Stage(supervisor, media, clients)
        vic = stage.visitor("vic")
        session, _, _ = stage.call(vic)
        with monkeypatch.context() as patch:
            patch.setattr("triortc.engine.calls.people.recompute_presence", broken)
            reply = supervisor.command(stage.ana, PresenceSet("chat", "available"))
            patch.setattr("triortc.engine.calls.views.snapshot", broken)
            supervisor.device_connected(agent_actor("ana", "pad"), information("pad"))
        assert isinstance(reply, CallFault)
        assert (reply.code, reply.retryable) == ("server.internal", True)
        assert str(reply.details["incident"]).startswith("in_")
        assert supervisor.crashes_total == 2
        assert stage.state(session) == "active"


async def test_a_history_that_fails_does_not_keep_a_session_alive(autojump_clock: MockClock) -> None:
    class Full(MemoryHistory):
        def append(self, record: SessionRecord) -> bool:
            raise OSError("the disk is full")

    clients, media = FakeClients(), FakeMedia()
    async with open_call_supervisor(media, clients=clients, history=Full()) as supervisor:
        stage = Stage(supervisor, media, clients)
        stage.call(stage.visitor("vic"))
        supervisor.command(stage.ana, ConversationClose("cv_vic", end_video=True))
        await trio.testing.wait_all_tasks_blocked()
        assert supervisor.running_sessions == 0
        assert media.open_legs == {}
        assert supervisor.crashes_total == 1


async def test_V44_code_that_fails_in_another_process_ends_its_session_alone(autojump_clock: MockClock) -> None:
    clients, media = FakeClients(), FakeMedia()
    async with open_call_supervisor(media, clients=clients) as supervisor:
        stage = Stage(supervisor, media, clients)
        session, _, _ = stage.call(stage.visitor("vic"))
        supervisor.media_event(MediaCrashed(session, "set_gate failed in media worker 0: KeyError"))
        assert (stage.outcome(session), stage.reason(session)) == ("failed", "internal_error")
        assert supervisor.crashes_total == 1
