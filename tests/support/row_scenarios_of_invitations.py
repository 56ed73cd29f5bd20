"""What makes an invitation, or a visitor in a queue, take each row that is theirs of the tables N, V and C."""

from __future__ import annotations

from collections.abc import Callable

from support.calls import House
from support.row_scenarios_of_calls import Scenario, k0b, service
from triortc.engine.calls.actor import Actor
from triortc.engine.calls.commands import (
    CallCancel,
    CallEnd,
    CallHangup,
    ConversationClose,
    InvitationAccept,
    InvitationCancel,
    InvitationDecline,
    InvitationJoin,
    InvitationSend,
)


def invited(act: Callable[[House, Actor, Actor, str], object], state: str, reason: str | None = None) -> Scenario:
    """A chat, an invitation in it, and what becomes of the invitation."""

    def scenario(house: House, ana: Actor, vic: Actor) -> None:
        k0b(house, ana, vic)
        invitation = house.ok(ana, InvitationSend("cv_1")).invitation
        act(house, ana, vic, invitation)
        found = house.world.invitations[invitation]
        assert (found.state, found.reason) == (state, reason)
        if found.session is not None:
            house.check_replay(found.session)

    return scenario


def after_join(act: Callable[[House, Actor, Actor, str], object], state: str, reason: str | None = None) -> Scenario:
    def joined(house: House, ana: Actor, vic: Actor, invitation: str) -> None:
        house.ok(ana, InvitationJoin(invitation))
        act(house, ana, vic, invitation)

    return invited(joined, state, reason)


def after_accept(act: Callable[[House, Actor, Actor, str], object], state: str, reason: str | None = None) -> Scenario:
    def accepted(house: House, ana: Actor, vic: Actor, invitation: str) -> None:
        house.ok(vic, InvitationAccept(invitation))
        act(house, ana, vic, invitation)

    return invited(accepted, state, reason)


def nothing(house: House, ana: Actor, vic: Actor, invitation: str) -> None:
    """The state itself is what is looked at."""


def visitor_stays_away(house: House, ana: Actor, vic: Actor, invitation: str) -> None:
    house.lose(vic)
    house.advance(120.0)


def agent_stays_away(house: House, ana: Actor, vic: Actor, invitation: str) -> None:
    house.lose(ana)
    house.advance(30.0)


def taken(house: House, ana: Actor, vic: Actor, invitation: str) -> None:
    assert isinstance(house.world.claims.acquire(ana.principal, "vs_other", "invited"), int)
    assert house.fault(ana, InvitationJoin(invitation)).code == "agent.busy"


def over(house: House, ana: Actor, vic: Actor, invitation: str) -> None:
    house.ok(ana, InvitationCancel(invitation))
    assert house.fault(vic, InvitationAccept(invitation)).code == "invitation.not_live"


def session_of(house: House, invitation: str) -> str:
    return house.world.invitations[invitation].session or ""


def v10(house: House, vic: Actor, session: str) -> None:
    house.lose(vic)
    house.advance(5.0)


def waits(act: Callable[[House, Actor, str], object], state: str, reason: str | None = None) -> Scenario:
    """A visitor in a queue, and what becomes of the session."""

    def scenario(house: House, ana: Actor, vic: Actor) -> None:
        house.leave(ana)
        session = house.request(vic).session
        act(house, vic, session)
        found = house.session(session)
        assert (found.state, found.reason) == (state, reason)
        house.check_replay(session)

    return scenario


INVITATION_SCENARIOS: dict[str, Scenario] = {
    "N1": invited(nothing, "pending"),
    "N2": after_join(nothing, "agent_joined"),
    "N2 taken": invited(taken, "pending"),
    "N3": after_accept(nothing, "visitor_accepted"),
    "N4": invited(lambda h, a, v, i: h.ok(v, InvitationDecline(i)), "declined", "visitor_declined"),
    "N5": invited(lambda h, a, v, i: h.ok(a, InvitationCancel(i)), "cancelled", "agent_cancelled"),
    "N6": invited(lambda h, a, v, i: h.ok(a, ConversationClose("cv_1")), "cancelled", "conversation_closed"),
    "N6 joined": after_join(lambda h, a, v, i: h.ok(a, ConversationClose("cv_1")), "cancelled", "conversation_closed"),
    "N7": invited(visitor_stays_away, "cancelled", "visitor_left"),
    "N7 joined": after_join(visitor_stays_away, "cancelled", "visitor_left"),
    "N8": after_join(lambda h, a, v, i: h.ok(v, InvitationAccept(i)), "in_session"),
    "N9": after_join(lambda h, a, v, i: h.ok(a, InvitationCancel(i)), "cancelled", "agent_cancelled"),
    "N10": after_join(lambda h, a, v, i: h.ok(v, InvitationDecline(i)), "declined", "visitor_declined"),
    "N11": after_accept(lambda h, a, v, i: h.ok(a, InvitationJoin(i)), "in_session"),
    "N12": after_accept(lambda h, a, v, i: h.ok(a, InvitationCancel(i)), "cancelled", "agent_declined"),
    "N13": after_accept(lambda h, a, v, i: h.advance(30.0), "missed", "ring_timeout"),
    "N14": after_accept(lambda h, a, v, i: h.ok(v, CallCancel(session_of(h, i))), "cancelled", "visitor_cancelled"),
    "N15": after_join(
        lambda h, a, v, i: (h.ok(v, InvitationAccept(i)), h.ok(v, CallHangup(session_of(h, i)))),
        "completed",
        "visitor_hangup",
    ),
    "N16": after_join(agent_stays_away, "failed", "agent_connection_lost"),
    "N17": invited(over, "cancelled", "agent_cancelled"),
    "N18": after_join(lambda h, a, v, i: h.ok(service(), CallEnd(session_of(h, i))), "cancelled", "supervisor_ended"),
    "V2": waits(lambda h, v, s: None, "queued"),
    "V7": waits(lambda h, v, s: h.agent(), "ringing"),
    "V8": waits(lambda h, v, s: h.ok(v, CallCancel(s)), "ended", "visitor_cancelled"),
    "V9": waits(lambda h, v, s: h.advance(60.0), "ended", "queue_timeout"),
    "V10": waits(v10, "ended", "visitor_left"),
    "V5": after_join(nothing, "agent_joined"),
    "V6": after_accept(nothing, "visitor_accepted"),
    "V22": after_join(lambda h, a, v, i: h.ok(v, InvitationAccept(i)), "in_session"),
    "V23": after_join(lambda h, a, v, i: h.ok(a, InvitationCancel(i)), "cancelled", "agent_cancelled"),
    "V23 by hangup": after_join(
        lambda h, a, v, i: h.ok(a, CallHangup(session_of(h, i))), "cancelled", "agent_cancelled"
    ),
    "V24": after_join(lambda h, a, v, i: h.ok(v, InvitationDecline(i)), "declined", "visitor_declined"),
    "V24 by hangup": after_join(
        lambda h, a, v, i: h.ok(v, CallHangup(session_of(h, i))), "declined", "visitor_declined"
    ),
    "V25": after_join(agent_stays_away, "failed", "agent_connection_lost"),
    "V26": after_join(visitor_stays_away, "cancelled", "visitor_left"),
    "C2": after_accept(nothing, "visitor_accepted"),
    "C2 waiting": after_join(nothing, "agent_joined"),
}
