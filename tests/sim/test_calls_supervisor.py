# ruff: noqa: N802 - test names carry the numbers of docs/calls.md as they are written there
"""The supervisor in virtual time: nurseries per session, deadlines, shutting down. Nothing is left behind."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import trio
from trio.testing import MockClock

from support.call_stage import Stage
from support.calls import FakeClients, FakeMedia, FakePush, agent_actor, information
from triortc.engine.calls.actor import Actor, PushEndpoint
from triortc.engine.calls.commands import (
    CallAccept,
    CallCancel,
    CallDecline,
    CallHangup,
    CallRequest,
    ConversationClose,
    HistoryGet,
    IceCandidate,
    IceCandidates,
    RingOpened,
    SdpOffer,
)
from triortc.engine.calls.configuration import CallConfiguration
from triortc.engine.calls.history import MemoryHistory
from triortc.engine.calls.media_events import LegLost, LegUp, LocalCandidates, MediaLost, OfferAnswered, OfferRefused
from triortc.engine.calls.notifications import CallEnded, CallState, LocalIceCandidates, Notification, RingOffer
from triortc.engine.calls.push_values import WithdrawPush
from triortc.engine.calls.replies import CallFault, Ok, Reply
from triortc.engine.calls.supervisor import open_call_supervisor


async def test_S1_3f_ring_ends_at_30_s_and_the_nursery_is_gone(autojump_clock: MockClock) -> None:
    clients, media = FakeClients(), FakeMedia()
    async with open_call_supervisor(media, clients=clients) as supervisor:
        stage = Stage(supervisor, media, clients)
        vic = stage.visitor("vic")
        session, _ = stage.ring(vic)
        await trio.sleep(29.999)
        assert stage.state(session) == "ringing"
        assert supervisor.running_sessions == 1
        await trio.sleep(0.002)
        assert stage.outcome(session) == "no_answer"
        await trio.testing.wait_all_tasks_blocked()
        assert supervisor.running_sessions == 0
        assert media.open_legs == {}
        assert [event.outcome for event in clients.told(vic, CallEnded)] == ["no_answer"]


async def test_S1_6b_pushes_leave_when_they_are_due_and_end_with_the_ring(autojump_clock: MockClock) -> None:
    clients, media, gateways = FakeClients(), FakeMedia(), FakePush()
    async with open_call_supervisor(media, clients=clients, push=gateways) as supervisor:
        stage = Stage(supervisor, media, clients)
        phone = agent_actor("ana", "phone")
        asleep = replace(information("phone", "ios"), push=(PushEndpoint("apns", token="t"),), app_state="background")
        supervisor.device_connected(phone, asleep)
        assert phone.address is not None
        supervisor.device_gone(phone.address)
        started = trio.current_time()
        session, _ = stage.ring(stage.visitor("vic"))
        await trio.sleep(12.0)
        assert [at - started for at, _ in gateways.sent] == [0.0, 5.0, 10.0]
        stage.ok(stage.ana, CallAccept(session))
        await trio.sleep(60.0)
        assert [at - started for at, _ in gateways.sent] == [0.0, 5.0, 10.0, 12.0]
        assert isinstance(gateways.sent[-1][1], WithdrawPush)
        supervisor.push_endpoint_gone(phone.address, asleep.push[0])
        assert phone.address not in supervisor.control.world.devices


async def test_0_3_stamps_follow_a_wall_clock_that_is_set_and_the_deadline_does_not(autojump_clock: MockClock) -> None:
    """Or a machine that slept for an hour sends pushes that were over an hour ago, until it is started anew."""
    clients, media, gateways = FakeClients(), FakeMedia(), FakePush()
    slept_ms = 0
    async with open_call_supervisor(
        media, clients=clients, push=gateways, unix_ms_now=1_800_000_000_000, wall_offset_ms=lambda: slept_ms
    ) as supervisor:
        stage = Stage(supervisor, media, clients)
        started = trio.current_time()
        session, _ = stage.ring(stage.visitor("vic"))
        stage.ok(stage.ana, CallDecline(session))
        stage.ok(stage.ana, ConversationClose("cv_vic"))
        before = clients.told(stage.ana, RingOffer)[-1].expires_at
        await trio.sleep(10.0)
        slept_ms = 3_600_000
        session, _ = stage.ring(stage.visitor("lea"))
        after = clients.told(stage.ana, RingOffer)[-1].expires_at
        assert after - before == 10_000 + 3_600_000
        await trio.sleep(started + 39.9 - trio.current_time())
        slept_ms = 0
        assert stage.state(session) == "ringing"
        await trio.sleep(0.2)
        assert stage.outcome(session) == "no_answer"


async def test_R1_accept_read_at_30_000_wins_though_it_is_handled_later(autojump_clock: MockClock) -> None:
    clients, media = FakeClients(), FakeMedia()
    async with open_call_supervisor(media, clients=clients) as supervisor:
        stage = Stage(supervisor, media, clients)
        session, _ = stage.ring(stage.visitor("vic"))
        deadline = trio.current_time() + 30.0
        clients.queued.append(
            (deadline, lambda: supervisor.command(stage.ana, CallAccept(session), deadline)),
        )
        await trio.sleep(30.3)
        assert isinstance(clients.replies[0], Ok)
        assert stage.state(session) in ("connecting", "active")


async def test_R1_accept_read_after_the_deadline_is_expired(autojump_clock: MockClock) -> None:
    clients, media = FakeClients(), FakeMedia()
    async with open_call_supervisor(media, clients=clients) as supervisor:
        stage = Stage(supervisor, media, clients)
        session, _ = stage.ring(stage.visitor("vic"))
        late = trio.current_time() + 30.001
        clients.queued.append((late, lambda: supervisor.command(stage.ana, CallAccept(session), late)))
        await trio.sleep(30.3)
        assert stage.outcome(session) == "no_answer"
        clients.drain(late)
        reply = clients.replies[0]
        assert isinstance(reply, CallFault)
        assert reply.code == "call.expired"


async def test_R5_a_queued_cancel_in_time_is_heard_before_a_command_after_the_deadline(
    autojump_clock: MockClock,
) -> None:
    clients, media = FakeClients(), FakeMedia()
    async with open_call_supervisor(media, clients=clients) as supervisor:
        stage = Stage(supervisor, media, clients)
        vic = stage.visitor("vic")
        session, _ = stage.ring(vic)
        deadline = trio.current_time() + 30.0
        clients.queued.append((deadline, lambda: supervisor.command(vic, CallCancel(session), deadline)))
        reply = supervisor.command(stage.ana, CallAccept(session), deadline + 0.001)
        assert isinstance(reply, CallFault)
        assert reply.code == "call.cancelled"
        assert stage.outcome(session) == "cancelled"


async def test_offers_in_commands_are_answered_in_the_reply(autojump_clock: MockClock) -> None:
    clients, media = FakeClients(), FakeMedia()
    async with open_call_supervisor(media, clients=clients) as supervisor:
        stage = Stage(supervisor, media, clients)
        vic = stage.visitor("vic")
        requested = stage.ok(vic, CallRequest("cv_vic", offer="v1"))
        assert requested.answer == "answer to v1"  # type: ignore[attr-defined]  # a CallRequestedPayload
        ring = clients.told(stage.ana, RingOffer)[0].ring
        leg = stage.ok(stage.ana, RingOpened(ring)).leg  # type: ignore[attr-defined]  # a RingOpenedPayload
        assert stage.ok(stage.ana, SdpOffer(leg, 1, "a1")).answer == "answer to a1"  # type: ignore[attr-defined]  # the payload of this reply
        stale = supervisor.command(stage.ana, SdpOffer(leg, 1, "again"))
        bad = supervisor.command(stage.ana, SdpOffer(leg, 2, "bad"))
        assert [fault.code for fault in (stale, bad) if isinstance(fault, CallFault)] == ["sdp.stale", "sdp.invalid"]
        stage.ok(stage.ana, IceCandidates(leg, 2, "uf", (IceCandidate("candidate:1", "0"),), end=True))
        assert media.calls[-1] == ("add_candidates", leg, 2, "uf", (("candidate:1", "0"),), True)
        supervisor.media_event(LocalCandidates(leg, 2, "sf", (IceCandidate("candidate:2", "0"),), True))
        assert clients.told(stage.ana, LocalIceCandidates)[0].ufrag == "sf"


async def test_reply_comes_before_what_the_command_causes(autojump_clock: MockClock) -> None:
    order: list[str] = []

    class Ordered(FakeClients):
        def notify(self, address: object, notification: Notification) -> None:
            order.append(notification.wire_type)

    media = FakeMedia()
    async with open_call_supervisor(media, clients=Ordered()) as supervisor:
        stage = Stage(supervisor, media, FakeClients())
        session, _, _ = stage.call(stage.visitor("vic"))
        order.clear()

        def replied(reply: Reply) -> None:
            order.append("ok")

        supervisor.command(stage.ana, CallHangup(session), on_reply=replied)
        assert order[0] == "ok"
        assert order[1] == "call.ended"


async def test_tasks_of_a_session_end_with_it(autojump_clock: MockClock) -> None:
    clients, media = FakeClients(), FakeMedia()
    ended: list[str] = []
    async with open_call_supervisor(media, clients=clients) as supervisor:
        stage = Stage(supervisor, media, clients)
        vic = stage.visitor("vic")
        session, _ = stage.ring(vic)

        async def slate() -> None:
            try:
                await trio.sleep_forever()
            finally:
                ended.append(session)

        supervisor.start_in_session(session, slate)
        await trio.sleep(1.0)
        stage.ok(vic, CallCancel(session))
        await trio.testing.wait_all_tasks_blocked()
        assert ended == [session]


async def test_records_of_ended_calls_that_are_at_hand_are_as_many_as_was_configured(autojump_clock: MockClock) -> None:
    clients, media, ended = FakeClients(), FakeMedia(), []
    configuration = CallConfiguration(history_kept=2)
    async with open_call_supervisor(media, clients=clients, configuration=configuration) as supervisor:
        stage = Stage(supervisor, media, clients)
        for number in range(4):
            vic = stage.visitor(f"vic{number}")
            session, _, _ = stage.call(vic)
            stage.ok(vic, CallHangup(session))
            stage.ok(stage.ana, ConversationClose(f"cv_vic{number}"))
            ended.append(session)
        page = stage.ok(stage.ana, HistoryGet())
    assert [record.session for record in page.items] == ended[-2:]  # type: ignore[attr-defined]  # a HistoryPayload


async def test_V43_leaving_ends_running_sessions(autojump_clock: MockClock) -> None:
    clients, media, history = FakeClients(), FakeMedia(), MemoryHistory()
    async with open_call_supervisor(media, clients=clients, history=history) as supervisor:
        stage = Stage(supervisor, media, clients)
        vic = stage.visitor("vic")
        session, _, _ = stage.call(vic)
    assert (stage.outcome(session), stage.reason(session)) == ("failed", "server_shutdown")
    assert [record.session for record in history.find("org")] == [session]
    assert [event.reason for event in clients.told(vic, CallEnded)] == ["server_shutdown"]
    assert media.open_legs == {}


async def test_V43_cancelling_from_outside_ends_sessions_too(autojump_clock: MockClock) -> None:
    clients, media, history = FakeClients(), FakeMedia(), MemoryHistory()
    with trio.move_on_after(10.0):
        async with open_call_supervisor(media, clients=clients, history=history) as supervisor:
            stage = Stage(supervisor, media, clients)
            stage.call(stage.visitor("vic"))
            await trio.sleep_forever()
    assert [record.reason for record in history.find("org")] == ["server_shutdown"]
    assert supervisor.running_sessions == 0
    assert media.open_legs == {}


async def test_twenty_calls_ended_in_every_way_leave_no_task_timer_or_leg(autojump_clock: MockClock) -> None:
    clients, media, history = FakeClients(), FakeMedia(), MemoryHistory()
    baseline = trio.lowlevel.current_statistics().tasks_living
    async with open_call_supervisor(media, clients=clients, history=history) as supervisor:
        stage = Stage(supervisor, media, clients)
        await trio.testing.wait_all_tasks_blocked()
        idle = trio.lowlevel.current_statistics().tasks_living
        for number in range(20):
            vic = stage.visitor(f"vic{number}")
            await end_somehow(stage, vic, number % 8)
            stage.supervisor.command(stage.ana, ConversationClose(f"cv_{vic.sub}"))
            await trio.testing.wait_all_tasks_blocked()
            assert supervisor.running_sessions == 0
            assert trio.lowlevel.current_statistics().tasks_living == idle
        assert media.open_legs == {}
        assert len(supervisor.control.world.claims) == 0
        await trio.sleep(61.0)
        assert supervisor.control.world.timers == {}
        assert all(not session.timers for session in supervisor.control.world.sessions.values())
        assert len(history.find("org")) == 20
    assert trio.lowlevel.current_statistics().tasks_living == baseline


async def end_somehow(stage: Stage, vic: Actor, way: int) -> None:
    assert vic.address is not None
    if way == 0:
        stage.ok(stage.ana, CallHangup(stage.call(vic)[0]))
    elif way == 1:
        stage.ok(vic, CallHangup(stage.call(vic)[0]))
    elif way == 2:
        stage.ok(stage.ana, CallDecline(stage.ring(vic)[0]))
    elif way == 3:
        stage.ok(vic, CallCancel(stage.ring(vic)[0]))
    elif way == 4:
        stage.ring(vic)
        await trio.sleep(30.1)
    elif way == 5:
        stage.ring(vic)
        stage.supervisor.device_lost(vic.address)
        await trio.sleep(5.1)
    elif way == 6:
        _, _, leg = stage.call(vic)
        stage.supervisor.media_event(LegLost(leg))
        await trio.sleep(30.1)
    else:
        session, _ = stage.ring(vic)
        stage.ok(stage.ana, CallAccept(session))
        await trio.sleep(15.1)


async def test_a_visitor_told_of_a_call_can_lose_its_socket_and_resume_in_time(autojump_clock: MockClock) -> None:
    clients, media = FakeClients(), FakeMedia()
    async with open_call_supervisor(media, clients=clients) as supervisor:
        stage = Stage(supervisor, media, clients)
        vic = stage.visitor("vic")
        session, _ = stage.ring(vic)
        assert vic.address is not None
        supervisor.device_lost(vic.address)
        await trio.sleep(4.9)
        supervisor.device_resumed(vic.address)
        await trio.sleep(5.0)
        assert stage.state(session) == "ringing"
        assert clients.told(vic, CallState)


async def test_an_answer_that_comes_later_is_in_the_reply_and_no_event_of_the_device_overtakes_it(
    autojump_clock: MockClock,
) -> None:
    clients, media = FakeClients(), FakeMedia()
    media.answers_later = True
    replies: list[Reply] = []
    async with open_call_supervisor(media, clients=clients) as supervisor:
        stage = Stage(supervisor, media, clients)
        vic = stage.visitor("vic")
        early = supervisor.command(vic, CallRequest("cv_vic", offer="v1"), on_reply=replies.append)
        assert isinstance(early, Ok)
        leg = str(early.payload.leg)  # type: ignore[union-attr]  # a CallRequestedPayload
        assert replies == [], "the answer is not here yet"
        assert clients.told(vic, CallState) == [], "what follows the reply waits behind it"
        assert len(clients.told(stage.ana, RingOffer)) == 1, "nobody else waits"
        supervisor.media_event(OfferAnswered(leg, 1, "the answer"))
        assert [reply.payload.answer for reply in replies if isinstance(reply, Ok)] == ["the answer"]  # type: ignore[union-attr]  # the payload of this reply
        supervisor.media_event(OfferAnswered(leg, 1, "again"))
        assert len(replies) == 1, "an answer that nobody waits for is dropped"


async def test_offers_of_one_device_are_answered_in_any_order_and_told_in_that_of_its_commands(
    autojump_clock: MockClock,
) -> None:
    clients, media = FakeClients(), FakeMedia()
    media.answers_later = True
    replies: list[tuple[int, Reply]] = []

    def reply_to(neg: int, reply: Reply) -> None:
        replies.append((neg, reply))

    async with open_call_supervisor(media, clients=clients) as supervisor:
        stage = Stage(supervisor, media, clients)
        session, _ = stage.ring(stage.visitor("vic"))
        leg = stage.ok(stage.ana, RingOpened(clients.told(stage.ana, RingOffer)[0].ring)).leg  # type: ignore[attr-defined]  # the payload of this reply
        for neg in (1, 2, 3):
            supervisor.command(stage.ana, SdpOffer(leg, neg, "offer"), on_reply=partial(reply_to, neg))
        supervisor.media_event(OfferAnswered(leg, 2, "second"))
        assert replies == []
        supervisor.media_event(OfferRefused(leg, 1, "unsupported", "no codec in common"))
        supervisor.media_event(OfferRefused(leg, 3, "failed", "media worker 0 did not answer within 5 s"))
        assert [neg for neg, _ in replies] == [1, 2, 3]
        faults = [reply for _, reply in replies if isinstance(reply, CallFault)]
        assert [(fault.code, fault.retryable) for fault in faults] == [
            ("sdp.unsupported", False),
            ("server.internal", True),
        ]
        assert stage.state(session) == "ringing"


async def test_V47_media_that_died_leaves_the_session_its_nursery_and_opens_its_legs_again(
    autojump_clock: MockClock,
) -> None:
    clients, media = FakeClients(), FakeMedia()
    async with open_call_supervisor(media, clients=clients) as supervisor:
        stage = Stage(supervisor, media, clients)
        session, visitor_leg, leg = stage.call(stage.visitor("vic"))
        media.open_legs.clear()
        supervisor.media_event(MediaLost(session, "media worker 0 ended"))
        await trio.testing.wait_all_tasks_blocked()
        assert set(media.open_legs) == {visitor_leg, leg}
        assert (stage.state(session), supervisor.running_sessions) == ("reconnecting", 1)
        for name in (visitor_leg, leg):
            supervisor.media_event(LegUp(name))
        assert stage.state(session) == "active"
    assert media.open_legs == {}
