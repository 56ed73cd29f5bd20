"""`call.request`: whom a visitor who asks for video gets, and what happens if that is nobody."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator
from typing import Final

import msgspec

from triortc.engine.calls import queueing, threads
from triortc.engine.calls.actor import Actor, Principal
from triortc.engine.calls.availability import (
    agents_of_group,
    candidate,
    count_missed,
    presence_facts,
    recompute_presence,
)
from triortc.engine.calls.calling import Calling, invalid_state
from triortc.engine.calls.claim_table import Busy
from triortc.engine.calls.commands import CallRequest, InvitationAccept
from triortc.engine.calls.conversation_table import Conversation, ConversationFacts
from triortc.engine.calls.effects import Order
from triortc.engine.calls.inviting import Inviting
from triortc.engine.calls.lifecycle import Lifecycle
from triortc.engine.calls.notifications import ConversationReminder
from triortc.engine.calls.ports import Candidate, RouterPort
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
        joined = self._inviting.accept(actor, InvitationAccept(invitation, command.offer, command.preview)).payload
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
            preview=command.preview,
        )
        self._lifecycle.create(session)
        world.told[session.id][device.address] = None
        chosen, epoch, reason = self._claim(session, conversation)
        data = self._ring_data(chosen, epoch)
        if chosen is None:
            data["queue"] = queueing.has_room(world, session)
            data["reason"] = "queue_full" if world.configuration.queue_size else reason
            data["queue_deadline"] = self._queue_deadline()
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

    def _ring_data(self, chosen: str | None, epoch: int) -> dict[str, Value]:
        world = self._world
        return {
            "agent": chosen,
            "epoch": epoch,
            "ring": world.new_id("rg"),
            "deadline": world.now + world.configuration.ring_timeout_s,
        }

    def _queue_deadline(self) -> float | None:
        timeout_s = self._world.configuration.queue_timeout_s
        return None if timeout_s is None else self._world.now + timeout_s

    # --- the queue

    def serve_queues(self, agents: Iterable[Principal]) -> None:
        """V7: these agents may have become available; who has waited longest gets one.

        Of several queues of one agent, too, the visitor who asked first is served first.
        """
        world = self._world
        lines = {
            (agent.org, group)
            for agent in agents
            if agent in world.agents
            for group in world.agents[agent].groups
            if (agent.org, group) in world.queues
        }
        while lines and not world.draining:
            heads = [self._heads(world.queues[line]) for line in lines if line in world.queues]
            waiting = sorted((head for line in heads for head in line), key=lambda head: (head.requested_at, head.id))
            if not any(self._ring_next(session) for session in waiting):
                break

    def _heads(self, line: Iterable[str]) -> Iterator[Session]:
        """The first of a queue whom any agent may take, and all those whom only some agents may."""
        found = False
        for session in map(self._world.sessions.__getitem__, line):
            anybody = self._world.conversation_of(session).assignee is None and not session.missed_by
            if not (found and anybody):
                yield session
            found = found or anybody

    def _ring_next(self, session: Session) -> bool:
        world = self._world
        chosen, epoch, _ = self._claim(session, world.conversation_of(session))
        if chosen is None:
            return False
        self._lifecycle.apply(session.id, "int.agent_available", "system", self._ring_data(chosen, epoch))
        recompute_presence(world, Principal(session.org, "agent", chosen))
        return True

    # --- nobody answered

    def ring_timeout(self, session: Session) -> None:
        """V16: T_ring; and A-8, if the policy is to try the next agent."""
        world, policy = self._world, self._world.configuration
        assert session.agent_principal is not None
        if session.origin == "routed":
            count_missed(world, session.agent_principal)
        data: dict[str, Value] = {}
        if policy.on_no_answer == "reroute" and session.was_unassigned and not world.draining:
            tried = (*session.missed_by, session.agent_principal.sub)
            others = self._candidates(session, tried)
            room = queueing.has_room(world, session)
            data = {"reroute": bool(others) or room, "from": session.agent, "queue_deadline": self._queue_deadline()}
        row = self._lifecycle.apply(session.id, "T_ring", "system", data)
        session = world.sessions[session.id]
        if row is None or session.ended or self._ring_next(session):
            return
        if world.configuration.queue_size:
            queueing.tell_place(world, session)
        else:
            self._lifecycle.apply(session.id, "int.no_agent_left", "system", {})

    def _candidates(self, session: Session, but_for: Collection[str]) -> dict[Principal, Candidate]:
        """The group's agents who are available on video."""
        known = self._world.candidates.get((session.org, session.group), {})
        if not but_for:
            return known
        return {agent: candidate for agent, candidate in known.items() if agent.sub not in but_for}

    def _somebody_is_busy(self, session: Session) -> bool:
        """Whether somebody of the group would be rung but for what they are doing."""
        return any(
            agent.statuses["video"].effective == "busy"
            for agent in agents_of_group(self._world, session.org, session.group)
            if "video.receive" in agent.caps and agent.statuses and agent.principal.sub not in session.missed_by
        )

    def _assignee(self, session: Session, conversation: Conversation) -> tuple[dict[Principal, Candidate], bool]:
        """The agent who has the conversation, if they may be rung; else whether that is for what they are doing."""
        agent = self._world.agent(Principal(session.org, "agent", conversation.assignee or ""))
        if "video.receive" not in agent.caps or agent.principal.sub in session.missed_by:
            return {}, False
        effective = self._apart_from(conversation, agent)
        able = {agent.principal: candidate(self._world, agent)} if effective == "available" else {}
        return able, effective == "busy"

    def _apart_from(self, conversation: Conversation, agent: Agent) -> str:
        """The assignee's availability on video, without the conversation in which the video is asked for."""
        world = self._world
        others = [world.conversations[key] for key in agent.chats if key != conversation.key]
        facts = presence_facts(world, agent)
        facts = msgspec.structs.replace(
            facts, open_chats=len(others), wrap_up=any(other.held_by_video for other in others)
        )
        return effective_status("video", facts).effective

    def _claim(self, session: Session, conversation: Conversation) -> tuple[str | None, int, str]:
        """V1, V4: claim the first candidate that can be reached. Without one: why."""
        world = self._world
        busy: bool | None = None
        if conversation.assignee is None:
            able = self._candidates(session, session.missed_by)
        else:
            able, busy = self._assignee(session, conversation)
        unreachable, tried = False, set[str]()
        for sub in self._router.order(session.org, session.group, list(able.values())):
            agent = Principal(session.org, "agent", sub)
            if agent not in able or sub in tried:
                continue
            tried.add(sub)
            if not world.can_ring(agent):
                unreachable = True
            else:
                epoch = world.claims.acquire(agent, session.id, "routed", assignable=True)
                if not isinstance(epoch, Busy):
                    threads.claim_conversation(world, conversation, sub)
                    return sub, epoch, ""
            if session.state == "new":
                self._lifecycle.apply(session.id, "int.candidate_lost", "system", {"agent": sub})
        if self._somebody_is_busy(session) if busy is None else busy:
            return None, 0, "agent_busy"
        return None, 0, "no_reachable_device" if unreachable else "no_agent_available"
