"""What happens to invitations: their slots, their transitions, who is told."""

from __future__ import annotations

from typing import Final

from triortc.engine.calls.actor import Principal
from triortc.engine.calls.conversation_table import Conversation
from triortc.engine.calls.effects import AppendInvitation, Order
from triortc.engine.calls.history_records import InvitationRecord
from triortc.engine.calls.invitation_table import INVITATIONS, Invitation, InvitationFacts
from triortc.engine.calls.machine import SAME, Row
from triortc.engine.calls.session import Session
from triortc.engine.calls.views import invitation_changed
from triortc.engine.calls.world import World

__all__ = ["fire_visitor_absent", "leave_conversation", "send", "session_ended", "step", "visitor_presence"]

_REASONS: Final = {
    "invitation.cancel": "agent_cancelled",
    "invitation.decline": "visitor_declined",
    "int.visitor_gone": "visitor_left",
    "conversation.transfer": "conversation_transferred",
    "conversation.snooze": "conversation_snoozed",
    "conversation.close": "conversation_closed",
}
"""Why a pending invitation is over, by what happened to it. What has a session is over for the session's reason."""


def send(world: World, conversation: Conversation, agent: Principal) -> Invitation:
    """N1: take both slots, the agent's and the conversation's. The caller has seen that they are free."""
    invitation = Invitation(
        world.new_id("inv"), conversation.org, conversation.id, agent.sub, conversation.visitor, world.now
    )
    world.invitations[invitation.id] = invitation
    world.invitation_of_agent[agent] = invitation.id
    conversation.live_invitation = invitation.id
    step(world, invitation, "invitation.send", InvitationFacts())
    visitor_presence(world, conversation)
    return invitation


def step(world: World, invitation: Invitation, event: str, facts: InvitationFacts) -> Row | None:
    """Take the transition for an event, free the slots if it was the last, tell both sides; None: there is none."""
    row = INVITATIONS.select(invitation.state, event, facts)
    if row is None:
        return None
    world.take(row)
    if row.next == SAME:
        return row
    invitation.state = row.next
    invitation.version += 1
    if not invitation.live:
        invitation.reason = facts.reason or facts.obstacle or _REASONS[event]
        _free(world, invitation)
    world.touch(invitation.agent_principal)
    for principal in (invitation.visitor_principal, invitation.agent_principal):
        for device in world.devices_of(principal):
            world.notify(Order.OTHER_SIDE, device.address, invitation_changed(world, invitation, device))
    return row


def _free(world: World, invitation: Invitation) -> None:
    invitation.ended_at = world.now
    world.invitation_of_agent.pop(invitation.agent_principal, None)
    conversation = world.conversations.get((invitation.org, invitation.conversation))
    if conversation is not None:
        conversation.live_invitation = None
    world.drop_timer(("T_vis_absent", invitation.id))
    record = InvitationRecord(
        invitation=invitation.id,
        conversation=invitation.conversation,
        org=invitation.org,
        agent=invitation.agent,
        visitor=invitation.visitor,
        state=invitation.state,
        reason=invitation.reason or "",
        sent_at=world.unix_ms(invitation.sent_at),
        ended_at=world.unix_ms(world.now),
        session=invitation.session,
    )
    world.emit(Order.HISTORY, AppendInvitation(record))
    world.ended_invitations.append(invitation.id)
    if len(world.ended_invitations) > world.configuration.ended_invitations_kept:
        world.invitations.pop(world.ended_invitations.popleft(), None)


def session_ended(world: World, session: Session) -> None:
    """N6 to N16: the session of an invitation has ended, and the invitation with it."""
    invitation = world.invitations.get(session.invitation or "")
    if invitation is not None and invitation.live:
        facts = InvitationFacts(outcome=session.outcome or "", reason=session.reason or "")
        step(world, invitation, "int.session_ended", facts)


def leave_conversation(world: World, conversation: Conversation, operation: str) -> None:
    """N6: an invitation that nobody has answered does not outlive the agent's decision on its conversation."""
    invitation = world.invitations.get(conversation.live_invitation or "")
    if invitation is not None:
        step(world, invitation, operation, InvitationFacts())


def visitor_presence(world: World, conversation: Conversation) -> None:
    """T_vis_absent runs while nobody is there to answer the invitation."""
    invitation = world.invitations.get(conversation.live_invitation or "")
    if invitation is None or invitation.state not in ("pending", "agent_joined"):
        return
    timer = ("T_vis_absent", invitation.id)
    if any(device.live for device in world.devices_of(invitation.visitor_principal)):
        world.drop_timer(timer)
    elif timer not in world.timers:
        world.set_timer(timer, world.now + world.configuration.visitor_absent_grace_s)


def fire_visitor_absent(world: World, invitation_id: str) -> str | None:
    """N7: the visitor stayed away. The session that has to end with it (V26), if the agent has joined."""
    invitation = world.invitations.get(invitation_id)
    if invitation is None or step(world, invitation, "int.visitor_gone", InvitationFacts()) is not None:
        return None
    return invitation.session
