"""A session in any of its states, with the people around it."""

from __future__ import annotations

from typing import NamedTuple

from support.calls import House, agent_actor, information
from triortc.engine.calls.actor import Actor
from triortc.engine.calls.commands import ConversationMessageSend, InvitationJoin, InvitationSend
from triortc.engine.calls.configuration import CallConfiguration
from triortc.engine.calls.media_events import LegLost

__all__ = ["SUPERVISOR", "Scene", "people", "scene"]

SUPERVISOR = Actor("boss", "supervisor", "org", caps=frozenset({"call.end"}))


class Scene(NamedTuple):
    """A session in some state: ana is called on `desk`, and `phone` is hers too."""

    house: House
    ana: Actor
    phone: Actor
    vic: Actor
    session: str
    visitor_leg: str
    agent_leg: str

    @property
    def state(self) -> str:
        return self.house.session(self.session).state

    @property
    def last_row(self) -> str:
        return self.house.control.event_log(self.session)[-1].row

    @property
    def end(self) -> str:
        session = self.house.session(self.session)
        return f"{session.outcome}/{session.reason}"


def people() -> tuple[House, Actor, Actor, Actor]:
    house = House(CallConfiguration(recording="on_request", queue_size=1))
    ana, vic = house.agent(), house.visitor()
    phone = agent_actor("ana", "phone")
    house.connect(phone, information("phone", "ios"))
    return house, ana, phone, vic


def scene(state: str) -> Scene:
    house, ana, phone, vic = people()
    if state == "waiting":
        house.ok(vic, ConversationMessageSend("cv_1", "hello"))
        joined = house.ok(ana, InvitationJoin(house.ok(ana, InvitationSend("cv_1")).invitation))
        return Scene(house, ana, phone, vic, joined.session, "", joined.leg)
    if state == "queued":
        house.lose(ana)
        house.lose(phone)
        requested = house.request(vic)
        return Scene(house, ana, phone, vic, requested.session, requested.leg or "", "")
    if state == "ringing":
        requested = house.request(vic)
        return Scene(house, ana, phone, vic, requested.session, requested.leg or "", "")
    reach = house.answered if state == "connecting" else house.active
    found = Scene(house, ana, phone, vic, *reach(vic, ana))
    if state.startswith("reconnecting"):
        house.media(LegLost(found.agent_leg))
    if state.endswith("handoff"):
        house.pull(phone, found.session)
    assert found.state == state.partition(" ")[0]
    return found
