# ruff: noqa: N802 - test names carry the numbers of docs/calls.md as they are written there
"""Pushes: what is sent to a device that may be asleep, and when (S1.2, S1.6, table L, A-6, A-9, A-10, I11, I12)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.calls import agent_actor, information
from support.sleeping_phone import ALL, APNS, FCM, VOIP, WEB, Pocket, device
from triortc.engine.calls.actor import Actor, AppState, Platform, PushEndpoint
from triortc.engine.calls.commands import (
    CallAccept,
    CallCancel,
    CallDecline,
    CallHangup,
    ConversationMessageSend,
    DeviceRevoke,
    DeviceUpdate,
    InvitationAccept,
    InvitationSend,
    RingAck,
    RingOpened,
    RingSilence,
)
from triortc.engine.calls.configuration import CallConfiguration
from triortc.engine.calls.notifications import CallState, RingEnded, RingOffer
from triortc.engine.calls.push_planner import PushRules, plan_ring_pushes
from triortc.engine.calls.push_values import NoticePush, PushProfile

# --- the plan


@pytest.mark.parametrize(
    ("platform", "profile", "left", "expected"),
    [
        ("ios", "ios_alert_repeat", 30.0, (0.0, 5.0, 10.0, 15.0, 20.0, 25.0)),
        ("ios", "ios_alert_repeat", 28.0, (0.0, 5.0, 10.0, 15.0, 20.0)),
        ("ios", "ios_alert_repeat", 10.0, (0.0, 5.0)),
        ("ios", "ios_alert_repeat", 9.999, (0.0,)),
        ("ios", "ios_alert_repeat", 3.0, (0.0,)),
        ("ios", "ios_callkit", 30.0, (0.0,)),
        ("android", "android", 30.0, (0.0,)),
        ("desktop", "web", 30.0, (0.0,)),
        ("web", "web", 2.0, (0.0,)),
        ("ios", "ios_alert_repeat", 1.999, ()),
        ("ios", "ios_callkit", 1.999, ()),
        ("android", "android", 1.999, ()),
        ("desktop", "web", 0.0, ()),
    ],
)
def test_2_3_1_the_schedule(platform: Platform, profile: PushProfile, left: float, expected: tuple[float, ...]) -> None:
    wanted: Any = profile if platform == "ios" else "ios_alert_repeat"
    plan = plan_ring_pushes(device(platform), 100.0, 100.0 + left, PushRules(ALL, wanted))
    assert plan is not None
    assert plan.profile == profile
    assert [at - 100.0 for at in plan.at] == pytest.approx(list(expected))
    assert plan.withdraws == (profile != "ios_callkit"), "Apple forbids a push that takes a VoIP push back"


@given(left=st.floats(0.0, 120.0), period=st.floats(1.0, 30.0), now=st.floats(0.0, 1e6))
def test_I11_no_audible_push_is_later_than_the_deadline_minus_its_sound_but_for_the_first(
    left: float, period: float, now: float
) -> None:
    plan = plan_ring_pushes(device("ios"), now, now + left, PushRules(ALL, "ios_alert_repeat", period))
    assert plan is not None
    assert plan.at[:1] == ((now,) if now + left - now >= 2.0 else ())
    for at in plan.at[1:]:
        assert at <= now + left - period + 1e-6
    assert list(plan.at) == sorted(set(plan.at))


@pytest.mark.parametrize(
    ("platform", "endpoints", "kinds", "expected"),
    [
        ("ios", (VOIP,), ALL, ("apns_voip", "ios_callkit")),
        ("ios", (WEB,), ALL, ("webpush", "web")),
        ("ios", (APNS, WEB), frozenset({"webpush"}), ("webpush", "web")),
        ("android", (WEB, FCM), ALL, ("fcm", "android")),
        ("desktop", (FCM,), ALL, ("fcm", "android")),
        ("android", (APNS,), ALL, None),
        ("web", (), ALL, None),
        ("web", (WEB,), frozenset(), None),
    ],
)
def test_a_device_is_rung_by_the_best_way_that_it_and_the_gateways_have(
    platform: Platform, endpoints: tuple[PushEndpoint, ...], kinds: Any, expected: tuple[str, str] | None
) -> None:
    plan = plan_ring_pushes(replace(device(platform), push=endpoints), 0.0, 30.0, PushRules(kinds))
    assert (None if plan is None else (plan.endpoint.kind, plan.profile)) == expected


def test_A_9_an_ios_device_with_both_tokens_is_rung_as_the_policy_says() -> None:
    for profile, kind in (("ios_alert_repeat", "apns"), ("ios_callkit", "apns_voip")):
        chosen: Any = profile
        plan = plan_ring_pushes(device("ios"), 0.0, 30.0, PushRules(ALL, chosen))
        assert plan is not None
        assert (plan.profile, plan.endpoint.kind) == (profile, kind)


# --- S1.2, S1.6


@pytest.mark.parametrize("app_state", ["background", "locked", "terminated"])
@pytest.mark.parametrize("platform", ["ios", "android"])
def test_S1_2a_and_A_6_a_device_that_is_not_in_use_is_pushed_to_at_once(
    platform: Platform, app_state: AppState
) -> None:
    pocket = Pocket(platform, app_state=app_state)
    requested = pocket.request(pocket.vic)
    assert requested.state == "ringing"
    at, push = pocket.rings[0]
    assert at == 0.0
    assert pocket.told(pocket.phone, RingOffer) == [], "there is no connection that could carry an offer"
    ring = pocket.world.rings[requested.session].id
    assert (push.session, push.ring, push.conversation) == (requested.session, ring, "cv_1")
    assert push.expires_at == pocket.world.unix_ms(pocket.started + 30.0)
    assert (push.remaining_ms, push.kind, push.may_retry) == (30_000, "call", True)


def test_S1_2a_the_visitors_name_is_in_a_push_only_if_that_is_wanted() -> None:
    for wanted in (False, True):
        pocket = Pocket(configuration=CallConfiguration(push_names=wanted))
        pocket.request(pocket.vic)
        assert pocket.rings[0][1].visitor_name == ("Vic" if wanted else None)


def test_S1_3_a_ring_says_how_long_a_whole_one_lasts_whenever_it_is_shown() -> None:
    pocket = Pocket(configuration=CallConfiguration(ring_timeout_s=45.0))
    pocket.request(pocket.vic)
    pocket.advance(12.0)
    (ring,) = pocket.hello().rings
    assert (ring.ttl_ms, ring.full_ms) == (33_000, 45_000)


@pytest.mark.parametrize("platform", ["ios", "android"])
def test_S1_2b_a_tap_on_the_notification_leads_to_the_incoming_screen(platform: Platform) -> None:
    pocket = Pocket(platform)
    session = pocket.request(pocket.vic).session
    pocket.advance(12.0)
    (ring,) = pocket.hello().rings
    assert ring.ttl_ms == 18_000
    assert pocket.told(pocket.vic, CallState)[-1].alerting is False
    pocket.ok(pocket.phone, RingOpened(ring.ring))
    assert pocket.leg_state(session) == "opened"
    assert pocket.session(session).state == "ringing"


def test_A_7_and_R27_a_tap_after_the_deadline_shows_no_incoming_screen() -> None:
    pocket = Pocket()
    session = pocket.request(pocket.vic).session
    ring = pocket.world.rings[session].id
    pocket.advance(31.0)
    assert pocket.hello().rings == ()
    fault = pocket.fault(pocket.phone, RingOpened(ring))
    assert (fault.code, fault.details["outcome"]) == ("call.expired", "no_answer")


@pytest.mark.parametrize("platform", ["ios", "android", "desktop"])
def test_S1_6a_a_device_that_only_a_push_can_reach_counts_as_reachable(platform: Platform) -> None:
    pocket = Pocket(platform)
    status = pocket.world.agent(pocket.phone.principal).statuses["video"]
    assert status.effective == "available"
    assert pocket.request(pocket.vic).state == "ringing"


def test_S1_6b_ios_is_alerted_every_five_seconds() -> None:
    pocket = Pocket()
    pocket.request(pocket.vic)
    pocket.advance(40.0)
    assert pocket.at == [0.0, 5.0, 10.0, 15.0, 20.0, 25.0]
    assert {push.profile for _, push in pocket.rings} == {"ios_alert_repeat"}
    assert [push.number for _, push in pocket.rings] == [0, 1, 2, 3, 4, 5]
    assert [push.remaining_ms for _, push in pocket.rings] == [30_000, 25_000, 20_000, 15_000, 10_000, 5_000]
    assert len({push.session for _, push in pocket.rings}) == 1, "what the alerts collapse by"


def test_S1_6b_alerts_stop_when_another_device_answers() -> None:
    pocket = Pocket()
    desk = agent_actor("ana", "desk")
    pocket.connect(desk, information("desk"))
    session = pocket.request(pocket.vic).session
    pocket.advance(12.0)
    pocket.ok(desk, CallAccept(session))
    pocket.advance(60.0)
    assert pocket.at == [0.0, 5.0, 10.0]
    assert [(at, push.outcome, push.log_missed) for at, push in pocket.withdrawals] == [
        (12.0, "answered_elsewhere", False)
    ]


def test_A_9_with_callkit_ios_gets_one_voip_push_and_no_withdrawal() -> None:
    pocket = Pocket(configuration=CallConfiguration(ios_profile="ios_callkit"))
    pocket.request(pocket.vic)
    pocket.advance(40.0)
    assert (pocket.at, pocket.rings[0][1].endpoint) == ([0.0], VOIP)
    assert pocket.withdrawals == []


def test_S1_6c_the_hello_of_a_tapped_alert_ends_the_alerts() -> None:
    pocket = Pocket()
    pocket.request(pocket.vic)
    pocket.advance(7.0)
    (ring,) = pocket.hello().rings
    assert ring.ttl_ms == 23_000
    pocket.advance(20.0)
    assert pocket.at == [0.0, 5.0]


def test_S1_6c_opening_the_screen_over_a_socket_that_was_still_there_ends_the_alerts() -> None:
    pocket = Pocket(connected=True)
    session = pocket.request(pocket.vic).session
    assert pocket.leg_state(session) == "pushed"
    offer = pocket.told(pocket.phone, RingOffer)[-1]
    pocket.advance(7.0)
    pocket.ok(pocket.phone, RingOpened(offer.ring))
    pocket.advance(20.0)
    assert pocket.at == [0.0, 5.0]


@pytest.mark.parametrize("policy", ["remove", "replace_missed"])
def test_S1_6d_the_alert_disappears_when_the_ring_is_over(policy: Any) -> None:
    pocket = Pocket(configuration=CallConfiguration(ios_withdraw=policy))
    pocket.request(pocket.vic)
    pocket.advance(60.0)
    ((at, push),) = pocket.withdrawals
    assert (at, push.outcome, push.log_missed) == (30.0, "timeout", True)
    assert push.replace_missed == (policy == "replace_missed")
    assert (push.endpoint, push.profile) == (APNS, "ios_alert_repeat")


def test_S1_6e_android_gets_one_push_that_says_how_long_to_ring() -> None:
    pocket = Pocket("android")
    pocket.request(pocket.vic)
    pocket.advance(29.0)
    ((at, push),) = pocket.rings
    assert (at, push.endpoint, push.remaining_ms) == (0.0, FCM, 30_000)


def test_S1_6f_a_tap_at_twenty_seconds_can_still_be_answered() -> None:
    pocket = Pocket("android")
    session = pocket.request(pocket.vic).session
    pocket.advance(20.0)
    assert pocket.hello().rings[0].ttl_ms == 10_000
    assert pocket.ok(pocket.phone, CallAccept(session)).state == "connecting"


def test_S1_6g_android_is_told_the_end_of_the_ring() -> None:
    pocket = Pocket("android")
    session = pocket.request(pocket.vic).session
    pocket.advance(4.0)
    pocket.ok(pocket.vic, CallCancel(session))
    assert [(at, push.outcome) for at, push in pocket.withdrawals] == [(4.0, "cancelled")]


# --- S1.3a, table L


@pytest.mark.parametrize("app_state", ["foreground"])
@pytest.mark.parametrize(("platform", "expected"), [("android", [2.0]), ("ios", [2.0, 7.0, 12.0, 17.0, 22.0])])
def test_S1_3a_and_L5_a_device_in_use_that_does_not_acknowledge_is_pushed_to_after_two_seconds(
    platform: Platform, app_state: AppState, expected: list[float]
) -> None:
    pocket = Pocket(platform, app_state=app_state, connected=True)
    session = pocket.request(pocket.vic).session
    assert (pocket.leg_state(session), pocket.at) == ("offered", [])
    pocket.advance(30.0)
    assert pocket.at == expected
    assert pocket.rings[0][1].remaining_ms == 28_000


def test_S1_3a_and_L4_a_device_that_acknowledges_is_not_pushed_to() -> None:
    pocket = Pocket(app_state="foreground", connected=True)
    session = pocket.request(pocket.vic).session
    pocket.advance(1.999)
    pocket.ok(pocket.phone, RingAck(pocket.ring(pocket.phone)))
    assert pocket.told(pocket.vic, CallState)[-1].alerting is True
    pocket.advance(60.0)
    assert (pocket.rings, pocket.withdrawals) == ([], [])
    assert pocket.session(session).outcome == "no_answer"


def test_L4_an_acknowledgement_from_the_background_ends_the_alerts() -> None:
    pocket = Pocket(connected=True)
    session = pocket.request(pocket.vic).session
    pocket.advance(3.0)
    pocket.ok(pocket.phone, RingAck(pocket.ring(pocket.phone)))
    assert pocket.leg_state(session) == "alerting"
    pocket.advance(20.0)
    assert pocket.at == [0.0]


def test_L8_a_silenced_device_is_not_made_loud_by_a_push() -> None:
    pocket = Pocket(app_state="foreground", connected=True)
    pocket.request(pocket.vic)
    pocket.ok(pocket.phone, RingSilence(pocket.ring(pocket.phone)))
    pocket.advance(20.0)
    assert pocket.rings == []


@pytest.mark.parametrize("state", ["offered", "alerting", "opened"])
def test_L9_and_R17_a_device_that_drops_while_it_rings_is_pushed_to_for_what_is_left(state: str) -> None:
    pocket = Pocket(app_state="foreground", connected=True)
    session = pocket.request(pocket.vic).session
    pocket.advance(1.0)
    if state != "offered":
        pocket.ok(pocket.phone, (RingAck if state == "alerting" else RingOpened)(pocket.ring(pocket.phone)))
    pocket.advance(9.0 if state != "offered" else 0.5)
    dropped = pocket.now - pocket.started
    pocket.lose(pocket.phone)
    assert pocket.leg_state(session) == "pushed"
    assert pocket.told(pocket.vic, CallState)[-1].alerting is False
    pocket.advance(30.0)
    assert pocket.at[0] == dropped
    assert pocket.at[-1] <= 25.0
    assert pocket.session(session).deadline == pocket.started + 30.0


def test_L6_a_device_that_resumes_gets_the_offer_again_and_no_more_alerts() -> None:
    pocket = Pocket(app_state="foreground", connected=True)
    session = pocket.request(pocket.vic).session
    pocket.lose(pocket.phone)
    pocket.advance(6.0)
    pocket.resume(pocket.phone)
    assert pocket.told(pocket.phone, RingOffer)[-1].ttl_ms == 24_000
    assert pocket.leg_state(session) == "offered"
    pocket.advance(20.0)
    assert pocket.at == [0.0, 5.0]


def test_L9_again_the_alerts_go_on_after_a_second_drop() -> None:
    pocket = Pocket(app_state="foreground", connected=True)
    pocket.request(pocket.vic)
    pocket.lose(pocket.phone)
    pocket.advance(6.0)
    pocket.resume(pocket.phone)
    pocket.advance(2.0)
    pocket.lose(pocket.phone)
    pocket.advance(30.0)
    assert pocket.at == [0.0, 5.0, 8.0, 13.0, 18.0, 23.0]
    assert [push.number for _, push in pocket.rings] == [0, 1, 2, 3, 4, 5]


ENDS: dict[str, Callable[[Pocket, Actor, str], object]] = {
    "declined_elsewhere": lambda pocket, desk, session: pocket.ok(desk, CallDecline(session)),
    "declined_here": lambda pocket, desk, session: pocket.ok(pocket.phone, CallDecline(session)),
    "answered_elsewhere": lambda pocket, desk, session: pocket.ok(desk, CallAccept(session)),
    "timeout": lambda pocket, desk, session: pocket.advance(30.0),
    "cancelled": lambda pocket, desk, session: pocket.ok(pocket.vic, CallCancel(session)),
    "device_removed": lambda pocket, desk, session: pocket.ok(desk, DeviceRevoke("phone")),
}


@pytest.mark.parametrize("reason", ENDS)
def test_L11_L12_and_I12_whoever_was_pushed_to_is_told_the_end_once(reason: str) -> None:
    pocket = Pocket(connected=True)
    desk = agent_actor("ana", "desk")
    pocket.connect(desk, information("desk"))
    session = pocket.request(pocket.vic).session
    assert pocket.leg_state(session) == "pushed"
    ENDS[reason](pocket, desk, session)
    before = len(pocket.rings)
    pocket.advance(60.0)
    assert len(pocket.rings) == before, "I11: nothing after the end"
    assert [push.outcome for _, push in pocket.withdrawals] == [reason]
    assert pocket.withdrawals[0][1].log_missed == (reason in ("timeout", "cancelled"))
    assert [item.reason for item in pocket.told(pocket.phone, RingEnded)] == [reason]


def test_L10_the_device_that_wins_is_not_told_that_it_is_over() -> None:
    pocket = Pocket(connected=True)
    session = pocket.request(pocket.vic).session
    pocket.ok(pocket.phone, CallAccept(session))
    pocket.advance(10.0)
    assert pocket.leg_state(session) == "done"
    assert (pocket.at, pocket.withdrawals) == ([0.0], [])


def test_V19_a_device_that_a_push_can_still_wake_is_not_lost() -> None:
    pocket = Pocket(
        app_state="foreground", connected=True, configuration=CallConfiguration(fail_fast_when_unreachable=True)
    )
    session = pocket.request(pocket.vic).session
    pocket.lose(pocket.phone)
    assert pocket.session(session).state == "ringing"


def test_a_clock_that_slept_sends_one_alert_and_not_all_that_it_missed() -> None:
    pocket = Pocket()
    session = pocket.request(pocket.vic).session
    pocket.now += 17.0
    pocket.perform(pocket.control.handle_timeout(pocket.now, session))
    assert pocket.at == [0.0, 17.0]
    pocket.advance(30.0)
    assert pocket.at == [0.0, 17.0, 20.0, 25.0]


def test_S3_1c_an_invitation_that_the_visitor_accepts_rings_a_sleeping_phone_to_join() -> None:
    pocket = Pocket()
    pocket.ok(pocket.vic, ConversationMessageSend("cv_1", "hello"))
    pocket.hello()
    invitation = pocket.ok(pocket.phone, InvitationSend("cv_1")).invitation
    pocket.leave(pocket.phone)
    pocket.started = pocket.now
    pocket.ok(pocket.vic, InvitationAccept(invitation))
    assert [(at, push.kind) for at, push in pocket.rings] == [(0.0, "join")]


# --- something to read


def test_S1_4a_a_message_is_noted_on_a_device_that_is_not_in_use_and_never_rings() -> None:
    pocket = Pocket()
    pocket.ok(pocket.vic, ConversationMessageSend("cv_1", "hello"))
    pocket.ok(pocket.vic, ConversationMessageSend("cv_1", "are you there?"))
    ((_, push),) = pocket.pushes
    assert isinstance(push, NoticePush)
    assert (push.kind, push.conversation, push.endpoint, push.visitor_name) == ("message", "cv_1", APNS, None)
    pocket.advance(5.0)
    pocket.ok(pocket.vic, ConversationMessageSend("cv_1", "?"))
    assert len(pocket.pushes) == 2, "not more often than every five seconds"


def test_S1_4a_in_a_call_the_phone_in_the_pocket_is_noted_and_an_agent_at_the_desk_is_not() -> None:
    pocket = Pocket(app_state="foreground", connected=True)
    session, _, _ = pocket.active(pocket.vic, pocket.phone)
    desk = agent_actor("ana", "desk")
    pocket.connect(desk, information("desk"))
    pocket.ok(pocket.vic, ConversationMessageSend("cv_1", "I see you"))
    assert pocket.pushes == []
    pocket.ok(pocket.phone, DeviceUpdate(app_state="background"))
    pocket.advance(6.0)
    pocket.ok(pocket.vic, ConversationMessageSend("cv_1", "now I do not"))
    assert [push.address.device for _, push in pocket.pushes] == ["phone"]
    assert pocket.session(session).state == "active"
    pocket.ok(pocket.vic, CallHangup(session))
    pocket.advance(6.0)
    pocket.ok(pocket.vic, ConversationMessageSend("cv_1", "bye"))
    assert len(pocket.pushes) == 1, "the desktop is in use"


def test_an_agents_own_message_is_not_pushed_back() -> None:
    pocket = Pocket(connected=True)
    pocket.ok(pocket.vic, ConversationMessageSend("cv_1", "hello"))
    pocket.advance(10.0)
    pocket.ok(pocket.phone, ConversationMessageSend("cv_1", "good day"))
    assert len(pocket.pushes) == 1
