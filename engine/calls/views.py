"""Views of what call control knows, as one device may see it."""

from __future__ import annotations

from typing import Literal, TypeVar

from triortc.engine.calls.actor import Actor, Principal
from triortc.engine.calls.conversation_table import Conversation
from triortc.engine.calls.history_records import RingLegRecord, SessionRecord
from triortc.engine.calls.invitation_table import Invitation
from triortc.engine.calls.notifications import CallState, ConversationChanged, InvitationChanged, RingOffer
from triortc.engine.calls.permissions import permission_view
from triortc.engine.calls.ring_table import Ring
from triortc.engine.calls.session import Session
from triortc.engine.calls.session_table import IN_CALL
from triortc.engine.calls.view_values import (
    ConversationView,
    DeviceReference,
    DeviceView,
    Identity,
    InvitationView,
    LastVideo,
    LiveSession,
    RingView,
    SessionView,
    Snapshot,
    VisitorView,
)
from triortc.engine.calls.world import Device, World

__all__ = [
    "conversation_changed",
    "conversation_view",
    "device_view",
    "device_views",
    "ended_by",
    "first_page",
    "invitation_changed",
    "invitation_view",
    "listed_conversations",
    "live_session_view",
    "live_sessions_of",
    "place_in_list",
    "recorded_by",
    "ring_offer",
    "rings_of",
    "session_record",
    "session_state",
    "snapshot",
    "visitor_outcome",
]


ViewT = TypeVar("ViewT", bound=ConversationView)


def visitor_outcome(world: World, outcome: str, reason: str) -> tuple[str, str]:
    """Outcome and reason as the visitor may know them: a decline looks like no answer unless policy says otherwise."""
    if outcome == "declined" and reason == "agent_declined" and not world.configuration.visitor_sees_decline:
        return "no_answer", "ring_timeout"
    return outcome, reason


def ended_by(reason: str) -> Literal["agent", "visitor", "system"]:
    """The side that a session's end came from."""
    if reason in ("agent_hangup", "agent_declined", "agent_cancelled"):
        return "agent"
    if reason in ("visitor_hangup", "visitor_cancelled", "visitor_left", "visitor_declined"):
        return "visitor"
    return "system"


def recorded_by(role: str) -> Literal["agent", "supervisor", "system"]:
    """What both sides are told of who has a call recorded, by the role of who asked."""
    if role == "agent":
        return "agent"
    return "supervisor" if role in ("supervisor", "service") else "system"


def _own_leg(world: World, session: Session, device: Device) -> str | None:
    return next((leg.id for leg in world.legs_in(session.id) if leg.address == device.address), None)


def _in_other_tab(session: Session, device: Device) -> bool | None:
    other = device.address.role == "visitor" and session.visitor_device != device.address.device
    return True if other else None


def _position(world: World, session: Session) -> int | None:
    """The place in the queue, from 1."""
    if session.state != "queued":
        return None
    return list(world.queues[(session.org, session.group)]).index(session.id) + 1


def invitation_view(world: World, invitation: Invitation, device: Device) -> InvitationView:
    """The invitation as this device sees it: to the visitor a decline looks like no answer, as in `visitor_outcome`."""
    state, reason = invitation.state, invitation.reason
    if device.address.role == "visitor" and reason == "agent_declined" and not world.configuration.visitor_sees_decline:
        state, reason = "missed", "ring_timeout"
    return InvitationView(invitation.id, invitation.conversation, state, invitation.version, invitation.session, reason)


def invitation_changed(world: World, invitation: Invitation, device: Device) -> InvitationChanged:
    view = invitation_view(world, invitation, device)
    return InvitationChanged(**{name: getattr(view, name) for name in InvitationView.__struct_fields__})


def _own_invitations(world: World, device: Device) -> list[Invitation]:
    """The live invitations that this device's principal sent or may answer."""
    principal = device.address.principal
    if principal.role == "agent":
        found = [world.invitations.get(world.invitation_of_agent.get(principal, ""))]
    else:
        keys = world.conversations_of_visitor.get(principal, ())
        found = [world.invitations.get(world.conversations[key].live_invitation or "") for key in keys]
    return [invitation for invitation in found if invitation is not None]


def session_state(world: World, session: Session, device: Device, position: int | None = None) -> CallState:
    """The session as this device sees it. `position`: its place in the queue, where that is known already."""
    ring = world.rings.get(session.id)
    return CallState(
        session=session.id,
        conversation=session.conversation,
        origin=session.origin,
        state=session.state,
        version=session.version,
        leg=_own_leg(world, session, device),
        alerting=ring.alerting if ring is not None and session.state == "ringing" else None,
        position=_position(world, session) if position is None else position,
        in_other_tab=_in_other_tab(session, device),
        recording=True if session.recording is not None else None,
        ttl_ms=_ring_ttl_ms(world, session) if session.state == "ringing" else None,
        agent=_accepted_by(world, session, device),
    )


def agent_identity(world: World, session: Session) -> Identity:
    """Who the session's agent is, as far as a visitor may know."""
    agent = None if session.agent_principal is None else world.agents.get(session.agent_principal)
    return Identity(None) if agent is None else Identity(agent.name, agent.avatar)


def _accepted_by(world: World, session: Session, device: Device) -> Identity | None:
    """Whom a visitor talks to: a page that was loaded again has not heard `call.accepted`."""
    if session.state not in IN_CALL or device.address.role != "visitor":
        return None
    return agent_identity(world, session)


def _ring_ttl_ms(world: World, session: Session) -> int:
    """What is left of the ring's time."""
    return max(0, int((session.deadline - world.now) * 1000 + 1e-6))


def ring_offer(world: World, session: Session, ring: Ring, device: Device) -> RingOffer:
    """The ring for this device, with what is left of its time."""
    conversation = world.conversation_of(session)
    information = device.information
    return RingOffer(
        ring=ring.id,
        session=session.id,
        conversation=session.conversation,
        kind="call" if session.invitation is None else "join",
        ttl_ms=_ring_ttl_ms(world, session),
        expires_at=world.unix_ms(session.deadline),
        visitor=VisitorView(conversation.visitor_name, conversation.visitor_avatar),
        preview=True,
        permission=permission_view(
            information.platform, information.camera, information.mic, world.configuration.require_permissions
        ),
        media={"audio": session.audio, "video": session.video},
        full_ms=round(world.configuration.ring_timeout_s * 1000),
    )


def live_session_view(world: World, conversation: Conversation, device: Device) -> LiveSession | None:
    """The conversation's running session as this device sees it."""
    session = world.live_session(conversation)
    if session is None or (device.address.role == "agent" and device.address.sub in session.missed_by):
        return None  # for an agent who missed it the session has ended
    own_side = "agent" if device.address.role == "agent" else "visitor"
    own = session.agent_address if own_side == "agent" else session.visitor_address
    committed = None if own is None else world.devices.get(own)
    reference: DeviceReference | None = None if committed is None else committed.reference
    can_pull = (
        session.phase == "in_call"
        and session.pending is None
        and own is not None
        and own != device.address
        and (own_side == "visitor" or "handoff" in device.actor.caps)
    )
    return LiveSession(session.id, session.state, can_pull, reference)


def conversation_view(world: World, conversation: Conversation, device: Device) -> ConversationView:
    """The conversation as this device sees it."""
    live = live_session_view(world, conversation, device)
    return _conversation_as(ConversationView, world, conversation, device, live)


def conversation_changed(
    world: World, conversation: Conversation, device: Device, live: LiveSession | None
) -> ConversationChanged:
    """The conversation as this device sees it, as an event. `live`: its `live_session_view`."""
    return _conversation_as(ConversationChanged, world, conversation, device, live)


def _conversation_as(
    made: type[ViewT], world: World, conversation: Conversation, device: Device, live: LiveSession | None
) -> ViewT:
    unread = conversation.unread_by_visitor if device.address.role == "visitor" else conversation.unread_by_agent
    return made(
        conversation=conversation.id,
        state=conversation.state,
        assignee=conversation.assignee,
        group=conversation.group,
        video_icon=conversation.video_icon,
        unread=len(unread),
        tags=() if device.address.role == "visitor" else conversation.tags,
        visitor=VisitorView(conversation.visitor_name, conversation.visitor_avatar, online=conversation.visitor_online),
        version=conversation.version,
        snoozed_until_at=world.optional_unix_ms(conversation.snoozed_until),
        last_video=_last_video(world, conversation, device),
        live_session=live,
    )


def _last_video(world: World, conversation: Conversation, device: Device) -> LastVideo | None:
    last = conversation.last_video
    if last is None or device.address.role != "visitor":
        return last
    outcome, _ = visitor_outcome(world, last.outcome, "agent_declined" if last.outcome == "declined" else "")
    return LastVideo(last.session, outcome)


def device_views(world: World, principal: Principal) -> tuple[DeviceView, ...]:
    """A person's own devices, those that only a push can reach among them."""
    return tuple(device_view(device) for device in world.rung_devices(principal))


def device_view(device: Device) -> DeviceView:
    """One device. An app without signaling that was not on the screen is taken for closed."""
    information = device.information
    closed = device.signaling == "gone" and information.app_state != "locked"
    return DeviceView(
        device=information.id,
        platform=information.platform,
        name=information.name,
        app_state="terminated" if closed else information.app_state,
        perms={"camera": information.camera, "mic": information.mic},
        signaling=device.signaling,
    )


def listed_conversations(world: World, actor: Actor) -> list[Conversation]:
    """What this principal may list, newest first: their own; all of the tenant for a supervisor."""
    if actor.role in ("supervisor", "service"):
        found = [conversation for conversation in world.conversations.values() if conversation.org == actor.org]
    else:
        own = world.conversations_of_agent if actor.role == "agent" else world.conversations_of_visitor
        found = [world.conversations[key] for key in own.get(actor.principal, ())]
    return sorted(found, key=place_in_list)


def place_in_list(conversation: Conversation) -> tuple[int, str]:
    """Newest first."""
    return (-round(conversation.created_at * 1e6), conversation.id)


def first_page(world: World, listed: list[Conversation]) -> tuple[list[Conversation], str | None]:
    """As many as a page holds, and the cursor for the next page: the place of the last one."""
    page = listed[: world.configuration.conversations_per_page]
    if len(page) == len(listed):
        return page, None
    created, last = place_in_list(page[-1])
    return page, f"{-created}.{last}"


def live_sessions_of(world: World, principal: Principal) -> list[Session]:
    """The sessions of an agent or a visitor that have not ended."""
    if principal.role == "visitor":
        keys = world.conversations_of_visitor.get(principal, ())
        found = [world.live_session(world.conversations[key]) for key in keys]
        return [session for session in found if session is not None]
    claim = world.claims.get(principal) if principal.role == "agent" else None
    return [] if claim is None else [world.sessions[claim.session]]


def _own_sessions(world: World, device: Device) -> list[Session]:
    """Sessions that this device takes part in or may take over."""
    hidden = ("new", "ended", "waiting") if device.address.role == "visitor" else ("new", "ended", "ringing")
    sessions = live_sessions_of(world, device.address.principal)
    return [session for session in sessions if session.state not in hidden]


def snapshot(world: World, device: Device) -> Snapshot:
    """Everything a device needs to know when it starts from nothing."""
    actor = device.actor
    rings: list[RingView] = []
    for session in live_sessions_of(world, actor.principal):
        ring = world.rings.get(session.id)
        leg = None if ring is None else ring.legs.get(device.address)
        if ring is not None and session.state == "ringing" and leg is not None and leg.state != "done":
            rings.append(ring_offer(world, session, ring, device))
    sessions: list[SessionView] = [session_state(world, session, device) for session in _own_sessions(world, device)]
    listed = [item for item in listed_conversations(world, actor) if item.state in ("open", "snoozed")]
    page, cursor = first_page(world, listed)
    presence = world.agents[actor.principal].statuses.values() if actor.role == "agent" else ()
    return Snapshot(
        presence=tuple(presence),
        rings=tuple(rings),
        sessions=tuple(sessions),
        invitations=tuple(invitation_view(world, item, device) for item in _own_invitations(world, device)),
        conversations=tuple(conversation_view(world, item, device) for item in page),
        notices=tuple(notices[device.address] for notices in world.notices.values() if device.address in notices),
        devices=device_views(world, actor.principal) if actor.role == "agent" else (),
        next=cursor,
    )


def rings_of(world: World, session: str) -> list[Ring]:
    """The session's rings, one after the other: there is more than one if an agent did not answer (A-8)."""
    last = world.rings.get(session)
    return [*world.rings_before.get(session, ()), *([] if last is None else [last])]


def session_record(world: World, session: Session) -> SessionRecord:
    """The line of history for a session that has ended."""
    return SessionRecord(
        session=session.id,
        conversation=session.conversation,
        org=session.org,
        origin=session.origin,
        agent=session.agent,
        visitor=session.visitor,
        outcome=session.outcome or "",
        reason=session.reason or "",
        by=ended_by(session.reason or ""),
        requested_at=world.unix_ms(session.requested_at),
        ring_at=world.optional_unix_ms(session.ring_at),
        answered_at=world.optional_unix_ms(session.answered_at),
        active_at=world.optional_unix_ms(session.active_at),
        ended_at=world.unix_ms(session.ended_at or session.requested_at),
        talk_ms=session.talk_ms,
        ring_legs=tuple(
            RingLegRecord(address.device, leg.platform, leg.state, leg.reason)
            for ring in rings_of(world, session.id)
            for address, leg in ring.legs.items()
        ),
        devices=tuple(world.used_devices.get(session.id, ())),
        gate_intervals=tuple(world.gate_intervals.get(session.id, ())),
        event_count=len(world.logs[session.id]),
        recordings=session.recordings,
    )
