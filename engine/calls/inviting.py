"""The commands of invitations: an agent takes a chat to video, both sides join (A-11)."""

from __future__ import annotations

from typing import Final

from triortc.engine.calls import invitations, views
from triortc.engine.calls.actor import Actor
from triortc.engine.calls.availability import open_chats
from triortc.engine.calls.calling import Calling, check_permissions, elsewhere, invalid_state, permission_fault
from triortc.engine.calls.claim_table import Busy
from triortc.engine.calls.commands import (
    Command,
    InvitationAccept,
    InvitationCancel,
    InvitationDecline,
    InvitationJoin,
    InvitationSend,
)
from triortc.engine.calls.conversation_table import Conversation
from triortc.engine.calls.events import CommandReceived
from triortc.engine.calls.invitation_table import Invitation, InvitationFacts
from triortc.engine.calls.lifecycle import Lifecycle
from triortc.engine.calls.ports import Side
from triortc.engine.calls.presence import Channel
from triortc.engine.calls.replies import InvitationSentPayload, JoinedPayload, Ok
from triortc.engine.calls.session import Session
from triortc.engine.calls.session_table import Value
from triortc.engine.calls.world import Agent, Device, RefusedError, World

__all__ = ["Inviting"]

_ALREADY: Final = {"invitation.cancel": "cancelled", "invitation.decline": "declined"}
"""What is said twice is `ok`."""
_OTHER_CHANNELS: Final[tuple[Channel, ...]] = ("chat", "call", "third_party")


class Inviting:
    """Handlers for the `invitation.*` commands."""

    def __init__(self, world: World, lifecycle: Lifecycle, calling: Calling) -> None:
        self._world = world
        self._lifecycle = lifecycle
        self._calling = calling

    # --- the agent

    def send(self, actor: Actor, command: InvitationSend) -> Ok:
        """`invitation.send`: N1. One at a time for agent and conversation, any number in sequence (A-12)."""
        world = self._world
        if actor.role != "agent" or "video.invite" not in actor.caps:
            raise RefusedError("auth.forbidden", "inviting needs the capability video.invite")
        conversation = world.conversations.get((actor.org, command.conversation))
        if conversation is None or conversation.assignee != actor.sub:
            # The same words for what does not exist and for what is another agent's (I40).
            raise RefusedError("auth.forbidden", "only the agent who has the conversation invites in it")
        self._check_free(actor, conversation)
        if world.draining:
            raise RefusedError("server.draining", "this server takes no new calls")
        warnings = self._warnings(world.agent(actor.principal), conversation)
        invitation = invitations.send(world, conversation, actor.principal)
        return Ok(InvitationSentPayload(invitation.id, warnings))

    def _check_free(self, actor: Actor, conversation: Conversation) -> None:
        world = self._world
        if conversation.state == "closed":
            raise RefusedError("conversation.closed", "the conversation is closed")
        if conversation.state != "open":
            raise RefusedError("conversation.not_open", f"the conversation is {conversation.state}")
        if conversation.live_session is not None:
            details = {"session": conversation.live_session}
            raise RefusedError("invitation.session_open", "the conversation has a video that is not over", details)
        live = conversation.live_invitation or world.invitation_of_agent.get(actor.principal)
        if live is not None:
            details = {"invitation": live, "conversation": world.invitations[live].conversation}
            raise RefusedError("invitation.already_pending", "an invitation has not been answered yet", details)

    def _warnings(self, agent: Agent, conversation: Conversation) -> tuple[str, ...]:
        """What the agent had better do first (S3.4a, A-13). Nothing is done for the agent."""
        found = [
            f"channel_available:{channel}"
            for channel in _OTHER_CHANNELS
            if channel in agent.statuses and agent.statuses[channel].effective == "available"
        ]
        ongoing = open_chats(self._world, agent) - 1 + len(agent.occupied["call"])
        policy = self._world.configuration.invite_requires_clear_desk
        if ongoing > 0 and policy == "enforce":
            raise RefusedError("agent.busy", "snooze or close the other conversations first", {"ongoing": ongoing})
        if ongoing > 0 and policy == "warn":
            found.append(f"ongoing_conversations:{ongoing}")
        return tuple(found)

    def join(self, event: CommandReceived) -> Ok:
        """`invitation.join`: the agent waits for the visitor (V5), or answers the visitor who was first (V11)."""
        world, actor, command = self._world, event.actor, event.command
        assert isinstance(command, InvitationJoin)
        invitation = self._known(actor, command.invitation, "agent")
        device = world.device_of(actor)
        session = self._session(invitation)
        if invitation.state == "pending":
            if check_permissions(world, device):
                raise permission_fault(world, device)
            return self._wait(actor, device, invitation, command)
        if session is None or not invitation.live:
            raise self._over(actor, invitation, command)
        if session.state == "waiting":
            if session.agent_address != device.address:
                raise elsewhere(world, session, "answered_elsewhere")
            self._calling.answer_offer(session, session.agent_leg, command.offer)
            return Ok(JoinedPayload(session.id, session.state, session.agent_leg))
        leg = self._calling.go(session, event, command.offer)
        return Ok(JoinedPayload(session.id, "connecting", leg))

    def _wait(self, actor: Actor, device: Device, invitation: Invitation, command: InvitationJoin) -> Ok:
        world = self._world
        self._check_draining()
        conversation = world.conversations[(invitation.org, invitation.conversation)]
        session = self._new_session(invitation, conversation)
        epoch = world.claims.acquire(actor.principal, session.id, "invited", phase="waiting")
        if isinstance(epoch, Busy):
            invitations.step(world, invitation, command.wire_type, InvitationFacts(obstacle="agent_busy"))
            raise RefusedError("agent.busy", "you have another video already", {"session": epoch.session})
        self._lifecycle.create(session)
        invitation.session = session.id
        invitations.step(world, invitation, command.wire_type, InvitationFacts())
        data: dict[str, Value] = {
            "agent": actor.sub,
            "epoch": epoch,
            "device": device.address.device,
            "leg": world.new_id("leg"),
        }
        self._lifecycle.apply(session.id, command.wire_type, actor.sub, data)
        session = world.sessions[session.id]
        self._calling.answer_offer(session, session.agent_leg, command.offer)
        invitations.visitor_presence(world, conversation)
        return Ok(JoinedPayload(session.id, session.state, session.agent_leg))

    def cancel(self, actor: Actor, command: InvitationCancel) -> Ok:
        """`invitation.cancel`: by any device of the agent, until both sides are in (N5, N9, N12)."""
        invitation = self._known(actor, command.invitation, "agent")
        return self._leave(actor, invitation, command, {"side": "agent", "device": actor.device})

    # --- the visitor

    def accept(self, actor: Actor, command: InvitationAccept) -> Ok:
        """`invitation.accept`: the agent is rung (V6), or waits already (V22)."""
        world = self._world
        invitation = self._known(actor, command.invitation, "visitor")
        device = world.device_of(actor)
        session = self._session(invitation)
        if invitation.state == "pending":
            session = self._ring_agent(actor, device, invitation, command)
        elif session is None or not invitation.live:
            raise self._over(actor, invitation, command)
        elif session.state == "waiting":
            self._lifecycle.check_claim(session)
            data: dict[str, Value] = {
                "device": device.address.device,
                "leg": world.new_id("leg"),
                "deadline": world.now + world.configuration.connect_timeout_s,
            }
            self._lifecycle.apply(session.id, command.wire_type, actor.sub, data)
            session = world.sessions[session.id]
        leg = session.visitor_leg if session.visitor_address == device.address else None
        self._calling.answer_offer(session, leg, command.offer)
        self._calling.legs_ready(session.id)
        return Ok(JoinedPayload(session.id, world.sessions[session.id].state, leg))

    def _ring_agent(self, actor: Actor, device: Device, invitation: Invitation, command: InvitationAccept) -> Session:
        world = self._world
        self._check_draining()
        conversation = world.conversations[(invitation.org, invitation.conversation)]
        agent = invitation.agent_principal
        if not world.can_ring(agent):
            invitations.step(world, invitation, command.wire_type, InvitationFacts(obstacle="unreachable"))
            raise RefusedError("agent.unavailable", "the agent cannot be reached now; the invitation stays")
        session = self._new_session(invitation, conversation)
        epoch = world.claims.acquire(agent, session.id, "invited")
        if isinstance(epoch, Busy):
            invitations.step(world, invitation, command.wire_type, InvitationFacts(obstacle="agent_busy"))
            raise RefusedError("agent.busy", "the agent is in another video")
        session.preview = command.preview
        session.visitor_device, session.visitor_leg = device.address.device, world.new_id("leg")
        self._lifecycle.create(session)
        world.told[session.id][device.address] = None
        invitation.session = session.id
        invitations.step(world, invitation, command.wire_type, InvitationFacts())
        data: dict[str, Value] = {
            "agent": agent.sub,
            "epoch": epoch,
            "ring": world.new_id("rg"),
            "deadline": world.now + world.configuration.ring_timeout_s,
        }
        self._lifecycle.apply(session.id, command.wire_type, actor.sub, data)
        return world.sessions[session.id]

    def decline(self, actor: Actor, command: InvitationDecline) -> Ok:
        """`invitation.decline`: by the visitor, before having accepted (N4, N10)."""
        invitation = self._known(actor, command.invitation, "visitor")
        return self._leave(actor, invitation, command, {"side": "visitor"})

    # --- both

    def _leave(
        self,
        actor: Actor,
        invitation: Invitation,
        command: InvitationCancel | InvitationDecline,
        data: dict[str, Value],
    ) -> Ok:
        session = self._session(invitation)
        if not invitation.live:
            over = self._over(actor, invitation, command)
            if invitation.state == _ALREADY[command.wire_type]:
                return Ok()
            raise over
        if session is None:
            invitations.step(self._world, invitation, command.wire_type, InvitationFacts())
        elif self._lifecycle.apply(session.id, command.wire_type, actor.sub, data) is None:
            raise invalid_state(session, session=session.id)
        return Ok()

    def _known(self, actor: Actor, invitation_id: str, role: Side) -> Invitation:
        """The invitation, if this actor is the one of its two parties that gives this command."""
        invitation = self._world.invitations.get(invitation_id)
        if invitation is None or actor.principal not in (invitation.agent_principal, invitation.visitor_principal):
            raise RefusedError("state.not_found", "there is no such invitation for you")
        if actor.role != role:
            raise RefusedError("auth.forbidden", f"only the {role} does this with an invitation")
        return invitation

    def _session(self, invitation: Invitation) -> Session | None:
        return None if invitation.session is None else self._world.sessions.get(invitation.session)

    def _over(self, actor: Actor, invitation: Invitation, command: Command) -> RefusedError:
        """N17: how it ended, as this actor may know it."""
        invitations.step(self._world, invitation, command.wire_type, InvitationFacts())
        view = views.invitation_view(self._world, invitation, self._world.device_of(actor))
        details = {"state": view.state, "reason": view.reason}
        return RefusedError("invitation.not_live", "the invitation is over", details)

    def _check_draining(self) -> None:
        if self._world.draining:
            raise RefusedError("server.draining", "this server takes no new calls")

    def _new_session(self, invitation: Invitation, conversation: Conversation) -> Session:
        return Session(
            id=self._world.new_id("vs"),
            org=conversation.org,
            conversation=conversation.id,
            visitor=conversation.visitor,
            origin="invited",
            group=conversation.group,
            requested_at=self._world.now,
            video=self._world.configuration.visitor_camera == "allowed",
            was_unassigned=False,
            invitation=invitation.id,
        )
