"""A running supervisor with one agent and any number of visitors."""

from __future__ import annotations

from support.calls import FakeClients, FakeMedia, agent_actor, information, visitor_actor
from triortc.engine.calls.actor import Actor
from triortc.engine.calls.commands import CallAccept, CallRequest, PresenceSet
from triortc.engine.calls.media_events import LegUp
from triortc.engine.calls.replies import Ok
from triortc.engine.calls.supervisor import CallSupervisor


class Stage:
    """A supervisor with one agent and any number of visitors."""

    def __init__(self, supervisor: CallSupervisor, media: FakeMedia, clients: FakeClients) -> None:
        self.supervisor = supervisor
        self.media = media
        self.clients = clients
        self.ana = agent_actor("ana", "desk")
        supervisor.device_connected(self.ana, information("desk"))
        supervisor.command(self.ana, PresenceSet("video", "available"))

    def visitor(self, sub: str) -> Actor:
        actor = visitor_actor(sub, "tab", f"cv_{sub}")
        self.supervisor.device_connected(actor, information("tab", "web"))
        return actor

    def ok(self, actor: Actor, command: object, rx_time: float | None = None) -> object:
        reply = self.supervisor.command(actor, command, rx_time)  # type: ignore[arg-type]  # any command
        assert isinstance(reply, Ok), reply
        return reply.payload

    def ring(self, visitor: Actor) -> tuple[str, str]:
        payload = self.ok(visitor, CallRequest(f"cv_{visitor.sub}"))
        return payload.session, payload.leg  # type: ignore[attr-defined]  # a CallRequestedPayload

    def call(self, visitor: Actor) -> tuple[str, str, str]:
        session, visitor_leg = self.ring(visitor)
        leg = self.ok(self.ana, CallAccept(session)).leg  # type: ignore[attr-defined]  # an AcceptedPayload
        self.supervisor.media_event(LegUp(visitor_leg))
        self.supervisor.media_event(LegUp(leg))
        return session, visitor_leg, leg

    def state(self, session: str) -> str:
        return self.supervisor.control.world.sessions[session].state

    def outcome(self, session: str) -> str | None:
        return self.supervisor.control.world.sessions[session].outcome

    def reason(self, session: str) -> str | None:
        return self.supervisor.control.world.sessions[session].reason
