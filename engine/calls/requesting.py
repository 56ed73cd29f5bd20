"""`call.request`: whom a visitor who asks for video gets, and what happens if that is nobody."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Final

from triortc.engine.calls import threads
from triortc.engine.calls.actor import Actor, Principal
from triortc.engine.calls.availability import agents_of_group, candidate, presence_facts
from triortc.engine.calls.calling import Calling, invalid_state
from triortc.engine.calls.claim_table import Busy
from triortc.engine.calls.commands import CallRequest, InvitationAccept
from triortc.engine.calls.conversation_table import Conversation, ConversationFacts
from triortc.engine.calls.effects import Order
from triortc.engine.calls.inviting import Inviting
from triortc.engine.calls.lifecycle import Lifecycle
from triortc.engine.calls.notifications import ConversationReminder
from triortc.engine.calls.ports import RouterPort
from triortc.engine.calls.presence import effective_status
from triortc.engine.calls.replies import CallRequestedPayload, JoinedPayload, Ok
from triortc.engine.calls.session import Session
from triortc.engine.calls.session_table import Value
from triortc.engine.calls.world import Agent, Device, RefusedError, World

__all__ = ["Requesting"]

_MINUTE_S: Final = 60.0


class Requesting:
    """Handler for `call.request`."""

    def __init__(
        self, world: World, lifecycle: Lifecycle, calling: Calling, inviting: Inviting, router: RouterPort
    ) -> None:
        self._world = world
        self._lifecycle = lifecycle
        self._calling = calling
        self._inviting = inviting
        self._router = router

    # --- request

    def request(self, actor: Actor, command: CallRequest) -> Ok:
        """`call.request`: ring an agent, or say why nobody rings."""
        world = self._world
        if actor.role == "agent":
            raise RefusedError("auth.forbidden", "a visitor asks for a call; an agent invites")
        device = world.device_of(actor) if actor.role == "visitor" else None
        conversation = threads.conversation_for(world, actor, command.conversation)
        invitation = world.invitations.get(conversation.live_invitation or "")
        if device is not None and invitation is not None and invitation.state in ("pending", "agent_joined"):
            return self._accept(actor, invitation.id, command)
        present = world.live_session(conversation)
        if present is not None:
            return self._again(present, device, command)
        if world.conversation_step(conversation, "call.request", ConversationFacts()) is not None:
            raise RefusedError("conversation.closed", "the conversation is closed")
        if conversation.assignee is not None and world.configuration.visitor_escalation != "ring_assignee":
            raise self._has_assignee(conversation)
        if world.draining:
            raise RefusedError("server.draining", "this server takes no new calls")
        device = device or next(iter(world.devices_of(conversation.visitor_principal)), None)
        if device is None:
            raise RefusedError("call.invalid_state", "no device of the visitor is connected", {"state": "new"})
        self._count_request(conversation.visitor_principal)
        return self._ring(actor, device, conversation, command)

    def _accept(self, actor: Actor, invitation: str, command: CallRequest) -> Ok:
        """R31: to ask for what one is invited to is to accept."""
        joined = self._inviting.accept(actor, InvitationAccept(invitation, command.offer)).payload
        assert isinstance(joined, JoinedPayload)
        return Ok(CallRequestedPayload(joined.session, joined.state, joined.leg))

    def _has_assignee(self, conversation: Conversation) -> RefusedError:
        """A-25: in a chat with an agent it is the agent who invites; who may be told that the visitor would like it."""
        details: dict[str, object] = {"state": conversation.state, "use": "invitation"}
        if self._world.configuration.visitor_escalation == "notify" and conversation.state == "open":
            self._count_request(conversation.visitor_principal)
            for device in self._world.devices_of(conversation.assignee_principal):
                wish = ConversationReminder(conversation.id, "video_requested", 1)
                self._world.notify(Order.OTHER_SIDE, device.address, wish)
            details["notified"] = True
        return RefusedError("call.invalid_state", "an agent has this conversation and may invite", details)

    def _again(self, session: Session, device: Device | None, command: CallRequest) -> Ok:
        """R29: the same request again is the same session, as long as nobody answered."""
        if session.answered:
            raise invalid_state(session, session=session.id)
        leg = None
        if device is not None and device.address == session.visitor_address:
            leg = session.visitor_leg
            self._calling.answer_offer(session, leg, command.offer)
        return Ok(CallRequestedPayload(session.id, session.state, leg))

    def _count_request(self, visitor: Principal) -> None:
        world = self._world
        recent = world.requests.setdefault(visitor, deque())
        while recent and recent[0] <= world.now - _MINUTE_S:
            recent.popleft()
        if len(recent) >= world.configuration.requests_per_minute:
            wait_ms = max(1, round((recent[0] + _MINUTE_S - world.now) * 1000))
            raise RefusedError("rate.limited", "too many requests for a call; wait a little", {}, wait_ms)
        recent.append(world.now)
        world.set_timer(("requests", *visitor), world.now + _MINUTE_S)

    def _ring(self, actor: Actor, device: Device, conversation: Conversation, command: CallRequest) -> Ok:
        world = self._world
        session = Session(
            id=world.new_id("vs"),
            org=conversation.org,
            conversation=conversation.id,
            visitor=conversation.visitor,
            origin="routed",
            group=command.group or conversation.group,
            requested_at=world.now,
            audio=command.media.audio,
            video=command.media.video and world.configuration.visitor_camera == "allowed",
            visitor_device=device.address.device,
            visitor_leg=world.new_id("leg"),
            was_unassigned=conversation.assignee is None,
        )
        self._lifecycle.create(session)
        world.told[session.id][device.address] = None
        chosen, epoch, reason = self._claim(session, conversation)
        data: dict[str, Value] = {
            "agent": chosen,
            "epoch": epoch,
            "ring": world.new_id("rg"),
            "deadline": world.now + world.configuration.ring_timeout_s,
            "reason": reason,
        }
        self._lifecycle.apply(session.id, "call.request", actor.sub, data)
        session = world.sessions[session.id]
        if session.ended:
            ended = CallRequestedPayload(session.id, "ended", outcome=session.outcome, reason=session.reason)
            return Ok(ended)
        asker = actor.address == device.address
        leg = session.visitor_leg if asker else None
        if asker:
            self._calling.answer_offer(session, session.visitor_leg, command.offer)
        return Ok(CallRequestedPayload(session.id, session.state, leg))

    def _able(self, session: Session, conversation: Conversation) -> tuple[dict[str, Agent], bool]:
        """The agents who may be rung, and whether somebody would be one but for what they are doing."""
        world = self._world
        able: dict[str, Agent] = {}
        busy = False
        if conversation.assignee is not None:
            agents = [world.agent(Principal(session.org, "agent", conversation.assignee))]
        else:
            agents = list(agents_of_group(world, session.org, session.group))
        for agent in agents:
            if "video.receive" not in agent.caps or not agent.statuses:
                continue
            effective = agent.statuses["video"].effective
            if conversation.assignee is not None:
                effective = self._apart_from(conversation, agent)
            busy = busy or effective == "busy"
            if effective == "available":
                able[agent.principal.sub] = agent
        return able, busy

    def _apart_from(self, conversation: Conversation, agent: Agent) -> str:
        """The assignee's availability on video, without the conversation in which the video is asked for."""
        world = self._world
        others = [world.conversations[key] for key in agent.chats if key != conversation.key]
        facts = presence_facts(world, agent)
        facts = replace(facts, open_chats=len(others), wrap_up=any(other.held_by_video for other in others))
        return effective_status("video", facts).effective

    def _claim(self, session: Session, conversation: Conversation) -> tuple[str | None, int, str]:
        """V1, V4: claim the first candidate that can be reached. Without one: why."""
        world = self._world
        able, busy = self._able(session, conversation)
        order = self._router.order(session.org, session.group, [candidate(world, agent) for agent in able.values()])
        unreachable = False
        for sub in dict.fromkeys(order):
            if sub not in able:
                continue
            agent = able[sub]
            epoch = world.claims.acquire(agent.principal, session.id, "routed", assignable=True)
            if not isinstance(epoch, Busy):
                if any(device.live for device in world.devices_of(agent.principal)):
                    threads.claim_conversation(world, conversation, sub)
                    return sub, epoch, ""
                world.claims.release(agent.principal, session.id, epoch)
                unreachable = True
            self._lifecycle.apply(session.id, "int.candidate_lost", "system", {"agent": sub})
        if busy:
            return None, 0, "agent_busy"
        return None, 0, "no_reachable_device" if unreachable else "no_agent_available"
