"""Call control against its invariants (I-numbers of docs/calls.md), by random commands, media events, leaps of time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from support.calls import ALL_CAPS, House, agent_actor, information, visitor_actor
from triortc.engine.calls.actor import Actor, AppState, DeviceInformation, Principal, PushEndpoint, PushKind
from triortc.engine.calls.availability import open_chats, presence_facts
from triortc.engine.calls.commands import (
    CallAccept,
    CallCancel,
    CallDecline,
    CallEnd,
    CallHangup,
    CallRequest,
    Command,
    ConversationClose,
    ConversationMessageSend,
    ConversationSnooze,
    ConversationTransfer,
    DeviceRevoke,
    DeviceUpdate,
    HandoffCancel,
    HandoffOffer,
    HandoffRequest,
    InvitationAccept,
    InvitationCancel,
    InvitationDecline,
    InvitationJoin,
    InvitationSend,
    MediaSet,
    PresenceSet,
    RecordingStart,
    RecordingStop,
    RingAck,
    RingOpened,
    RingSilence,
    TransferTarget,
)
from triortc.engine.calls.configuration import CallConfiguration
from triortc.engine.calls.effects import RequestKeyframe, SetGate
from triortc.engine.calls.events import SessionCrashed, ShutDown
from triortc.engine.calls.gate_table import GateState
from triortc.engine.calls.media_events import LegFailed, LegLost, LegReady, LegRecovered, LegUp, RecordingStopped
from triortc.engine.calls.notifications import (
    CallActive,
    CallEnded,
    ConversationChanged,
    ConversationMessage,
    ConversationReminder,
    ConversationRemoved,
    HandoffMoved,
    InvitationChanged,
    Notification,
    RingEnded,
    RingOffer,
)
from triortc.engine.calls.presence import CHANNELS, effective_status
from triortc.engine.calls.push_values import NoticePush, WithdrawPush
from triortc.engine.calls.replies import CallRequestedPayload, Ok, Reply
from triortc.engine.calls.session_table import IN_CALL, OUTCOMES

APNS, FCM = PushEndpoint("apns", token="a"), PushEndpoint("fcm", token="f")
PUSHES: frozenset[PushKind] = frozenset({"apns", "fcm"})
RECORDER = ALL_CAPS | {"record"}
AGENTS = [agent_actor(sub, device, RECORDER) for sub in ("ana", "ben") for device in ("desk", "phone")]
VISITORS = [visitor_actor(sub, tab, f"cv_{sub}") for sub in ("vic", "wim") for tab in ("one", "two")]
SUPERVISOR = Actor("boss", "service", "org", caps=frozenset({"call.end"}))
MEDIA_EVENTS: list[Any] = [LegUp, LegUp, LegReady, LegLost, LegRecovered, lambda leg: LegFailed(leg, "dtls")]
INVITED: list[Any] = [*2 * [InvitationJoin, InvitationAccept], InvitationCancel, InvitationDecline]
POLICIES: list[dict[str, Any]] = [
    {},
    {"recording": "on_request"},
    {"recording": "always", "hold_channels_until": "video_ended"},
    {"queue_size": 2, "queue_timeout_s": 60.0},
    {"queue_size": 1, "queue_timeout_s": 60.0, "on_no_answer": "reroute", "visitor_camera": "off_default"},
    {"on_no_answer": "reroute", "auto_unavailable_after_missed": 1, "visitor_camera": "not_allowed"},
    {"visitor_escalation": "ring_assignee", "require_permissions": "mic", "max_chats": 1},
    {"fail_fast_when_unreachable": True, "visitor_sees_decline": True, "invite_requires_clear_desk": "enforce"},
]
"""What an embedder may have chosen: every run of the machine draws one."""
PENDING_EVENTS: list[Any] = [LegReady, LegReady, LegUp, MEDIA_EVENTS[-1]]


def about(actor: Actor, app_state: AppState = "foreground") -> DeviceInformation:
    """Ana's phone is woken by repeated alerts, Ben's by one message; desktops and pages are not."""
    assert actor.device is not None
    if actor.device != "phone":
        return information(actor.device, "web" if actor.role == "visitor" else "desktop")
    platform, endpoint = ("ios", APNS) if actor.sub == "ana" else ("android", FCM)
    return replace(information("phone", platform), push=(endpoint,), app_state=app_state)  # type: ignore[arg-type]  # the platform is one


def session_command(kind: int, session: str, n: int) -> Command:
    commands: list[Command] = [
        CallAccept(session),
        CallAccept(session),
        CallDecline(session),
        CallCancel(session),
        CallHangup(session),
        HandoffRequest(session),
        HandoffRequest(session),
        HandoffCancel(session),
        MediaSet(session, n, camera=n % 2 == 0, mic=n % 3 == 0),
        MediaSet(session, n, camera=True, mic=True),
    ]
    return commands[kind % len(commands)]


class Calls(RuleBasedStateMachine):
    make_house: type[House] = House

    def __init__(self) -> None:
        super().__init__()
        self.house = self.make_house(push_kinds=PUSHES)
        self.n = 0
        self.declared: dict[tuple[str, str], str] = {}
        self.epochs: dict[Principal, int] = {}
        self.final: dict[str, tuple[str | None, str | None]] = {}
        self.sealed: set[tuple[str, str]] = set()
        self.versions: dict[tuple[str, str], int] = {}
        self.declines: set[str] = set()
        self.joined: dict[str, set[type]] = {}
        self.read: dict[Any, int] = {}
        self.ended_at_device: set[tuple[Any, str]] = set()
        self.ring_ended_at_device: set[tuple[Any, str]] = set()
        self.expiry: dict[tuple[Any, str], int] = {}
        self.active_told: set[str] = set()
        self.began_ms = 0
        self.assignees: dict[tuple[str, str], str | None] = {}
        self.transferred = False

    @initialize(policy=st.sampled_from(POLICIES))
    def people(self, policy: dict[str, Any]) -> None:
        self.house = self.make_house(CallConfiguration(**policy), push_kinds=PUSHES)
        self.began_ms = self.house.world.unix_ms(self.house.world.now)
        for actor in (*AGENTS, *VISITORS):
            self.house.connect(actor, about(actor))
        for actor in AGENTS[::2]:
            for channel in CHANNELS:
                self.house.ok(actor, PresenceSet(channel, "available"))
                self.declared[(actor.sub, channel)] = "available"

    # --- rules

    @rule(actor=st.sampled_from(VISITORS))
    def request(self, actor: Actor) -> None:
        world = self.house.world
        free = {
            agent.principal
            for agent in world.agents.values()
            if agent.statuses["video"].effective == "available" and not agent.chats
        }
        known = set(world.sessions)
        reply = self.house.send(actor, CallRequest(f"cv_{actor.sub}"))
        self._note_join(reply, InvitationAccept)
        for session in set(world.sessions) - known:
            assert isinstance(reply, Ok)
            made = world.sessions[session]
            escalated = world.configuration.visitor_escalation == "ring_assignee" and not made.was_unassigned
            if made.state == "ringing" and made.origin == "routed" and not escalated:
                assert world.sessions[session].agent_principal in free, "I31: no ring starts beside a chat or a call"

    def _note_join(self, reply: Reply, side: type) -> None:
        """R31, N11: other commands that join an invited session count as well."""
        if isinstance(reply, Ok) and isinstance(reply.payload, CallRequestedPayload):
            self.joined.setdefault(reply.payload.session, set()).add(side)

    def _pick_session(self, data: st.DataObject) -> str:
        sessions = list(self.house.world.sessions)[-4:]
        return data.draw(st.sampled_from(sessions))

    @precondition(lambda self: self.house.world.sessions)
    @rule(data=st.data(), actor=st.sampled_from(AGENTS + VISITORS), kind=st.integers(0, 9))
    def command(self, data: st.DataObject, actor: Actor, kind: int) -> None:
        session = self._pick_session(data)
        self.n += 1
        command = session_command(kind, session, self.n)
        if isinstance(command, CallDecline):
            self.declines.add(session)
        if isinstance(self.house.send(actor, command), Ok) and isinstance(command, CallAccept):
            self.joined.setdefault(session, set()).add(InvitationJoin)

    @precondition(lambda self: self.house.world.sessions)
    @rule(data=st.data(), device=st.sampled_from(AGENTS), late=st.sampled_from([0.0, -0.001, 0.001, 30.0]))
    def accept_around_the_deadline(self, data: st.DataObject, device: Actor, late: float) -> None:
        """I8, I20: the time of receipt decides, and permissions."""
        house = self.house
        before = house.session(self._pick_session(data))
        if before.state != "ringing" or device.principal != before.agent_principal:
            return
        record = None if device.address is None else house.world.devices.get(device.address)
        ring_leg = house.world.rings[before.id].legs.get(device.address)  # type: ignore[arg-type]  # it has one
        if record is None or record.signaling == "gone" or ring_leg is None or ring_leg.state == "done":
            return
        reply = house.send(device, CallAccept(before.id), before.deadline + late)
        if isinstance(reply, Ok):
            self.joined.setdefault(before.id, set()).add(InvitationJoin)
        granted = record.information.mic == "granted"
        if house.world.configuration.require_permissions == "camera+mic":
            granted = granted and record.information.camera == "granted"
        assert isinstance(reply, Ok) == (late <= 0 and granted)
        assert house.session(before.id).answered == isinstance(reply, Ok)

    @rule(actor=st.sampled_from(AGENTS), whose=st.sampled_from(["vic", "wim"]))
    def invite(self, actor: Actor, whose: str) -> None:
        """I34: an invitation succeeds exactly if it may."""
        world = self.house.world
        conversation = world.conversations.get(("org", f"cv_{whose}"))
        agent = world.agents[actor.principal]
        desk = open_chats(world, agent) - 1 + len(agent.occupied["call"])
        clear = world.configuration.invite_requires_clear_desk != "enforce" or desk <= 0
        may = (
            conversation is not None
            and clear
            and conversation.assignee == actor.sub
            and conversation.state == "open"
            and conversation.live_session is None
            and conversation.live_invitation is None
            and actor.principal not in world.invitation_of_agent
        )
        assert isinstance(self.house.send(actor, InvitationSend(f"cv_{whose}")), Ok) == may

    @precondition(lambda self: self.house.world.invitations)
    @rule(data=st.data(), actor=st.sampled_from(AGENTS + VISITORS), kind=st.sampled_from(INVITED))
    def on_invitation(self, data: st.DataObject, actor: Actor, kind: Any) -> None:
        invitation = data.draw(st.sampled_from(list(self.house.world.invitations)[-3:]))
        known = self.house.world.invitations[invitation]
        reply = self.house.send(actor, kind(invitation))
        if kind in (InvitationCancel, InvitationDecline) and known.session is not None:
            self.declines.add(known.session)
        if isinstance(reply, Ok) and kind in (InvitationJoin, InvitationAccept):
            self.joined.setdefault(known.session or "", set()).add(kind)

    @precondition(lambda self: self.house.world.rings)
    @rule(data=st.data(), actor=st.sampled_from(AGENTS), kind=st.sampled_from([RingAck, RingOpened, RingSilence]))
    def on_ring(self, data: st.DataObject, actor: Actor, kind: Any) -> None:
        ring = data.draw(st.sampled_from([ring.id for ring in self.house.world.rings.values()][-3:]))
        self.house.send(actor, kind(ring))

    @precondition(lambda self: self.house.world.legs)
    @rule(data=st.data(), kind=st.sampled_from(MEDIA_EVENTS))
    def media(self, data: st.DataObject, kind: Any) -> None:
        self.house.media(kind(data.draw(st.sampled_from(list(self.house.world.legs)[-6:]))))

    @precondition(lambda self: any(session.state == "connecting" for session in self.house.world.sessions.values()))
    @rule()
    def both_legs_up(self) -> None:
        for session in list(self.house.world.sessions.values()):
            if session.state == "connecting":
                for leg in (session.visitor_leg, session.agent_leg):
                    assert leg is not None
                    self.house.media(LegUp(leg))

    def _running(self) -> list[str]:
        return [session.id for session in self.house.world.sessions.values() if session.phase == "in_call"]

    def _some_agent_is_free(self) -> bool:
        return any(agent.statuses["video"].effective == "available" for agent in self.house.world.agents.values())

    @precondition(lambda self: self._some_agent_is_free())
    @rule(actor=st.sampled_from(VISITORS))
    def whole_call(self, actor: Actor) -> None:
        """Straight into a call, so that what happens in calls is seen often enough."""
        reply = self.house.send(actor, CallRequest(f"cv_{actor.sub}"))
        session = getattr(reply.payload, "session", None) if isinstance(reply, Ok) else None
        if session is None:
            return
        self._note_join(reply, InvitationAccept)
        for device in AGENTS:
            if isinstance(self.house.send(device, CallAccept(session)), Ok):
                self.joined.setdefault(session, set()).add(InvitationJoin)
        self.both_legs_up()

    @precondition(lambda self: self._running())
    @rule(data=st.data(), actor=st.sampled_from(AGENTS + VISITORS), then=st.sampled_from(PENDING_EVENTS))
    def pull(self, data: st.DataObject, actor: Actor, then: Any) -> None:
        session = data.draw(st.sampled_from(self._running()))
        reply = self.house.send(actor, HandoffRequest(session))
        if isinstance(reply, Ok):
            self.house.media(then(reply.payload.leg))  # type: ignore[union-attr]  # a HandoffPayload

    @precondition(lambda self: self._running())
    @rule(data=st.data(), kind=st.sampled_from([LegLost, LegRecovered]), agent=st.booleans())
    def leg_trouble(self, data: st.DataObject, kind: Any, agent: bool) -> None:
        session = self.house.session(data.draw(st.sampled_from(self._running())))
        leg = session.agent_leg if agent else session.visitor_leg
        assert leg is not None
        self.house.media(kind(leg))

    @precondition(lambda self: self._running())
    @rule(data=st.data(), agent=st.booleans(), camera=st.booleans(), mic=st.booleans())
    def mute(self, data: st.DataObject, agent: bool, camera: bool, mic: bool) -> None:
        """I15: after the `ok` nothing of a muted kind is let through."""
        session = self.house.session(data.draw(st.sampled_from(self._running())))
        address = session.agent_address if agent else session.visitor_address
        actor = next(item for item in AGENTS + VISITORS if item.address == address)
        self.n += 1
        forbidden = camera and not agent and self.house.world.configuration.visitor_camera == "not_allowed"
        reply = self.house.send(actor, MediaSet(session.id, self.n, camera=camera, mic=mic))
        assert isinstance(reply, Ok) == (not forbidden)
        if forbidden:
            return
        leg = session.agent_leg if agent else session.visitor_leg
        assert leg is not None
        assert camera or self.house.gate(leg, "video") != "open"
        assert mic or self.house.gate(leg, "audio") != "open"

    @rule(seconds=st.sampled_from([0.0, 0.001, 2.0, 4.999, 5.0, 9.999, 10.0, 15.0, 29.999, 30.0, 35.0, 60.0]))
    def advance(self, seconds: float) -> None:
        self.house.advance(seconds)

    @rule(actor=st.sampled_from(AGENTS + VISITORS), what=st.sampled_from(["lose", "resume", "connect", "leave"]))
    def signaling(self, actor: Actor, what: str) -> None:
        if what == "connect":
            self.house.connect(actor, about(actor))
        else:
            getattr(self.house, what)(actor)

    @rule(actor=st.sampled_from(AGENTS), app_state=st.sampled_from(["foreground", "background", "locked"]))
    def screen(self, actor: Actor, app_state: Any) -> None:
        self.house.send(actor, DeviceUpdate(app_state=app_state))

    @rule(actor=st.sampled_from(AGENTS), camera=st.sampled_from(["granted", "granted", "denied"]))
    def permission(self, actor: Actor, camera: str) -> None:
        self.house.send(actor, DeviceUpdate(perms={"camera": camera}))

    @rule(actor=st.sampled_from(AGENTS), channel=st.sampled_from(CHANNELS), value=st.booleans())
    def declare(self, actor: Actor, channel: Any, value: bool) -> None:
        declared: Any = "available" if value else "unavailable"
        if isinstance(self.house.send(actor, PresenceSet(channel, declared)), Ok):
            self.declared[(actor.sub, channel)] = declared

    @rule(actor=st.sampled_from(AGENTS + VISITORS), whose=st.sampled_from(["vic", "wim"]))
    def message(self, actor: Actor, whose: str) -> None:
        self.house.send(actor, ConversationMessageSend(f"cv_{whose}", "hello"))

    @precondition(lambda self: self.house.world.conversations)
    @rule(data=st.data(), what=st.sampled_from(["snooze", "snooze a while", "to ana", "to ben", "to group"]))
    def put_away(self, data: st.DataObject, what: str) -> None:
        """I33, K2, K3: by whoever has the conversation."""
        key = data.draw(st.sampled_from(sorted(self.house.world.conversations)))
        actor = next((item for item in AGENTS if item.sub == self.house.world.conversations[key].assignee), AGENTS[0])
        end_video = data.draw(st.booleans())
        if what.startswith("snooze"):
            until = self.house.world.unix_ms(self.house.now + 20.0) if "while" in what else None
            self._decide(actor, ConversationSnooze(key[1], until, end_video))
            return
        self.transferred = True
        target = TransferTarget(group="default") if "group" in what else TransferTarget(agent=what.removeprefix("to "))
        self._decide(actor, ConversationTransfer(key[1], target, "a note", end_video))

    def _decide(self, actor: Actor, command: Command) -> Reply:
        """I33: the visitor hears that video or invitation are off before any event of the conversation."""
        lengths = {address: len(inbox) for address, inbox in self.house.inbox.items()}
        reply = self.house.send(actor, command)
        for address, inbox in self.house.inbox.items():
            kinds = [type(item) for item in inbox[lengths.get(address, 0) :]]
            if address.role == "visitor" and ConversationChanged in kinds:
                later = kinds[kinds.index(ConversationChanged) :]
                assert CallEnded not in later
                assert InvitationChanged not in later
        return reply

    @precondition(lambda self: self.house.world.conversations)
    @rule(data=st.data(), sub=st.sampled_from(["ana", "ben"]))
    def assign(self, data: st.DataObject, sub: str) -> None:
        """I30: a server cannot give a chat to an agent in a routed video."""
        world = self.house.world
        key = data.draw(st.sampled_from(sorted(world.conversations)))
        claim = world.claims.get(Principal("org", "agent", sub))
        waits = world.conversations[key].assignee is None and world.conversations[key].state == "open"
        reply = self.house.perform(self.house.control.assign_conversation(*key, sub, self.house.now))
        if waits and claim is not None and claim.origin == "routed":
            assert not isinstance(reply, Ok)

    @rule(sub=st.sampled_from(["ana", "ben"]), kind=st.sampled_from(["call", "third_party"]), begins=st.booleans())
    def outside(self, sub: str, kind: str, begins: bool) -> None:
        change = self.house.control.occupy if begins else self.house.control.vacate
        self.house.perform(change(Principal("org", "agent", sub), kind, "x", self.house.now))

    @precondition(lambda self: self._running())
    @rule(data=st.data(), on=st.sampled_from(["start", "stop", "broken"]))
    def record(self, data: st.DataObject, on: str) -> None:
        session = self.house.session(data.draw(st.sampled_from(self._running())))
        actor = next(item for item in AGENTS if item.address == session.agent_address)
        if on == "broken":
            self.house.media(RecordingStopped(session.id, session.recording or "rec_0", "the disk is full"))
        else:
            self.house.send(actor, RecordingStart(session.id) if on == "start" else RecordingStop(session.id))

    @precondition(lambda self: self._running())
    @rule(data=st.data(), actor=st.sampled_from(AGENTS), device=st.sampled_from(["desk", "phone"]))
    def suggest(self, data: st.DataObject, actor: Actor, device: str) -> None:
        self.house.send(actor, HandoffOffer(data.draw(st.sampled_from(self._running())), device))

    @rule(actor=st.sampled_from(AGENTS), device=st.sampled_from(["desk", "phone"]))
    def revoke(self, actor: Actor, device: str) -> None:
        self.house.send(actor, DeviceRevoke(device))

    @precondition(lambda self: self.house.world.sessions)
    @rule(data=st.data(), actor=st.sampled_from(AGENTS + VISITORS), kind=st.integers(0, 9))
    def twice(self, data: st.DataObject, actor: Actor, kind: int) -> None:
        """2.10, I37: the same command again changes nothing more, whatever became of the first."""
        house, session = self.house, self._pick_session(data)
        self.n += 1
        command = session_command(kind, session, self.n)
        if isinstance(command, CallDecline):
            self.declines.add(session)
        for _ in range(2):
            reply = house.send(actor, command)
            if isinstance(reply, Ok) and isinstance(command, CallAccept):
                self.joined.setdefault(session, set()).add(InvitationJoin)
            state = house.session(session)
            seen = (state.state, state.outcome, state.agent_device, state.visitor_device, state.pending)
            if _ == 0:
                first = seen
        assert seen == first

    @rule(actor=st.sampled_from(AGENTS), whose=st.sampled_from(["vic", "wim"]), end_video=st.booleans())
    def close_and_reopen(self, actor: Actor, whose: str, end_video: bool) -> None:
        house = self.house
        if isinstance(self._decide(actor, ConversationClose(f"cv_{whose}", end_video=end_video)), Ok):
            key = ("org", f"cv_{whose}")
            assert house.world.conversations[key].state == "closed"
            house.world.conversations.pop(key)
            house.world.closed_conversations.clear()
            house.world.conversations_of_visitor.clear()
            house.world.conversations_of_agent.clear()
            for conversation in house.world.conversations.values():
                visitor = conversation.visitor_principal
                house.world.conversations_of_visitor.setdefault(visitor, {})[conversation.key] = None
                if conversation.assignee_principal is not None:
                    of_agent = house.world.conversations_of_agent.setdefault(conversation.assignee_principal, {})
                    of_agent[conversation.key] = None

    @precondition(lambda self: self.house.world.sessions)
    @rule(data=st.data(), how=st.integers(0, 7))
    def end_from_outside(self, data: st.DataObject, how: int) -> None:
        session = self._pick_session(data)
        if how == 0:
            self.house.handle(SessionCrashed(session))
        elif how == 1:
            self.house.ok(SUPERVISOR, CallEnd(session))

    # --- invariants

    @invariant()
    def exclusive(self) -> None:
        """I1, I2, I6, I24: one live session per agent and per conversation; a claim for each, and no other claim."""
        world = self.house.world
        live = [session for session in world.sessions.values() if not session.ended]
        assert len({session.conversation for session in live}) == len(live)
        queued = [session for session in live if session.state == "queued"]
        assert len(queued) <= world.configuration.queue_size + 1
        live = [session for session in live if session.state != "queued"]
        agents = [session.agent_principal for session in live]
        assert len(agents) == len(set(agents))
        assert len(world.claims) == len(live)
        for session in live:
            assert session.agent_principal is not None
            claim = world.claims.get(session.agent_principal)
            assert claim is not None
            assert (claim.session, claim.epoch) == (session.id, session.epoch)
            assert claim.phase == ("in_call" if session.state in IN_CALL else session.state)
            assert self.epochs.get(session.agent_principal, 0) <= session.epoch
            self.epochs[session.agent_principal] = session.epoch

    @invariant()
    def invitations(self) -> None:
        """I2, I34 to I36: one live invitation per agent and conversation; its state is that of its session."""
        world = self.house.world
        live = [invitation for invitation in world.invitations.values() if invitation.live]
        assert {item.agent_principal: item.id for item in live} == world.invitation_of_agent
        assert len(live) == len(world.invitation_of_agent)
        slots = {conversation.live_invitation for conversation in world.conversations.values()} - {None}
        assert slots == {item.id for item in live}
        for item in world.invitations.values():
            session = None if item.session is None else world.sessions[item.session]
            assert (item.state == "agent_joined") == (session is not None and session.state == "waiting")
            assert (item.state == "visitor_accepted") == (session is not None and session.state == "ringing")
            if session is not None:
                assert session.ended == (not item.live)
            if session is not None and session.answered_at is not None:
                assert item.state in ("in_session", "completed")

    @invariant()
    def one_device_in_the_call(self) -> None:
        """I3, I4: in a call exactly one device of the claimed agent is committed, and one ring leg won."""
        for session in self.house.world.sessions.values():
            ring = self.house.world.rings.get(session.id)
            if ring is not None:
                won = [leg for leg in ring.legs.values() if leg.reason == "won"]
                assert len(won) == (session.answered_at is not None), "I4"
            if session.state in IN_CALL:
                assert session.agent_leg is not None
                assert self.house.world.legs[session.agent_leg].address == session.agent_address

    @invariant()
    def gates(self) -> None:
        """I5, I13 to I17: only committed, unmuted legs of a call with both sides are open; sealed is for good."""
        world = self.house.world
        for (leg_id, kind), state in self.house.gates.items():
            if (leg_id, kind) in self.sealed:
                assert state is GateState.SEALED
            if state is GateState.SEALED:
                self.sealed.add((leg_id, kind))
            if state is not GateState.OPEN:
                continue
            leg = world.legs[leg_id]
            session = world.sessions[leg.session]
            assert session.phase == "in_call"
            if session.origin == "invited":
                assert self.joined[session.id] == {InvitationJoin, InvitationAccept}, "I35"
            assert leg_id in (session.agent_leg, session.visitor_leg)
            assert leg_id not in session.grace
            assert not leg.gates[kind].muted
        for session in world.sessions.values():
            if session.ended:
                assert all(
                    gate.state is GateState.SEALED for leg in world.legs_in(session.id) for gate in leg.gates.values()
                )

    @invariant()
    def in_time(self) -> None:
        """I7, I10: nothing outlives its timer."""
        house, limits = self.house, self.house.world.configuration
        house.fire()
        for session in house.world.sessions.values():
            if session.state == "ringing":
                assert session.ring_at is not None
                assert house.now < session.ring_at + limits.ring_timeout_s == session.deadline
            if session.state == "connecting":
                assert session.answered_at is not None
                assert house.now < session.answered_at + limits.connect_timeout_s
            for deadline in session.grace.values():
                covered = session.pending is not None
                assert covered or house.now < deadline
            assert session.pending is None or house.now < session.pending.deadline

    @invariant()
    def ends(self) -> None:
        """I21 to I26: one end, a known one, kept, recorded once, told once; no timers left."""
        house = self.house
        for session in house.world.sessions.values():
            if not session.ended:
                assert session.id not in house.appended
                continue
            outcome, reason = session.outcome or "", session.reason or ""
            assert reason in OUTCOMES[outcome]
            assert self.final.setdefault(session.id, (outcome, reason)) == (outcome, reason)
            assert house.appended[session.id] == 1
            assert not session.timers
            assert (outcome == "completed") <= (session.answered_at is not None)
            assert session.ended_at is not None
            if outcome == "no_answer":
                assert session.ended_at >= session.deadline
            if outcome == "declined":
                assert session.id in self.declines
            if session.talk_ms:
                assert session.active_at is not None
                assert session.answered_at is not None
                assert session.talk_ms <= round((session.ended_at - session.answered_at) * 1000) + 1

    @invariant()
    def told(self) -> None:
        """I9, I12, I23, I25, I27, I40, I42: what devices hear, one after another."""
        world = self.house.world
        fresh: list[tuple[Any, Notification]] = []
        for address, inbox in self.house.inbox.items():
            fresh += [(address, item) for item in inbox[self.read.get(address, 0) :]]
            self.read[address] = len(inbox)
        removed = {(address.sub, item.conversation) for address, item in fresh if isinstance(item, ConversationRemoved)}
        for address, item in fresh:
            self._hear(address, item)
            if isinstance(item, ConversationChanged | ConversationMessage | ConversationReminder):
                conversation = world.conversations.get(("org", item.conversation))
                if address.role == "visitor":
                    assert item.conversation == f"cv_{address.sub}", "I40"
                elif address.role == "agent" and conversation is not None:
                    mine = address.sub in (conversation.assignee, self.assignees.get(conversation.key))
                    assert mine or (address.sub, item.conversation) in removed, "I40"
        for key, conversation in world.conversations.items():
            assert conversation.state in ("open", "snoozed"), "I27"
            before = self.assignees.get(key)
            if before is not None and conversation.assignee not in (None, before):
                nobody_to_tell = not world.devices_of(Principal("org", "agent", before))
                assert self.transferred or (before, key[1]) in removed or nobody_to_tell, "I27"
        self.assignees = {key: conversation.assignee for key, conversation in world.conversations.items()}
        self.transferred = False

    def _hear(self, address: Any, item: Notification) -> None:
        if isinstance(item, CallEnded):
            assert (address, item.session) not in self.ended_at_device, "I23"
            self.ended_at_device.add((address, item.session))
            assert item.session in self.active_told or not item.talk_ms, "I25"
        elif isinstance(item, CallActive):
            self.active_told.add(item.session)
            assert (address, item.session) not in self.ended_at_device
        elif isinstance(item, RingEnded):
            assert (address, item.ring) not in self.ring_ended_at_device, "I12"
            self.ring_ended_at_device.add((address, item.ring))
        elif isinstance(item, RingOffer):
            assert (address, item.ring) not in self.ring_ended_at_device, "I12"
            assert item.ttl_ms <= self.expiry.get((address, item.ring), item.ttl_ms), "I9"
            self.expiry[address, item.ring] = item.ttl_ms
        elif isinstance(item, HandoffMoved):
            assert (address, item.session) not in self.ended_at_device, "I42, R13"
        elif isinstance(item, ConversationChanged) and item.live_session is not None:
            assert (address, item.live_session.session) not in self.ended_at_device

    @invariant()
    def keyframes(self) -> None:
        """I18: whatever opens a gate for pictures asks for a keyframe in the same step."""
        recent, self.house.recent = self.house.recent, []
        asked = {effect.leg for effect in recent if isinstance(effect, RequestKeyframe)}
        for effect in recent:
            if isinstance(effect, SetGate) and effect.kind == "video" and effect.state is GateState.OPEN:
                assert effect.leg in asked

    @invariant()
    def pushes(self) -> None:
        """I11, I12: no ring is pushed after its end or too late to be heard in time; what was pushed is taken back."""
        world = self.house.world
        over: set[tuple[Any, str]] = set()
        rung: set[tuple[Any, str]] = set()
        for at, push in self.house.pushes:
            if isinstance(push, NoticePush):
                continue
            key = (push.address, push.ring)
            assert key not in over
            if isinstance(push, WithdrawPush):
                over.add(key)
                continue
            rung.add(key)
            assert at <= (push.expires_at - world.unix_ms(0.0)) / 1000 - world.configuration.push_needs_s + 0.001
        for session in world.sessions.values():
            ring = world.rings.get(session.id)
            if ring is None or not session.ended:
                continue
            for address, leg in ring.legs.items():
                if (address, ring.id) in rung:
                    assert leg.reason == "won" or (address, ring.id) in over

    @invariant()
    def presence(self) -> None:
        """I28, I29, I30, I32: effective is the function of the facts; declared is only what was declared."""
        world = self.house.world
        for agent in world.agents.values():
            facts = presence_facts(world, agent)
            for channel in CHANNELS:
                status = agent.statuses[channel]
                effective = effective_status(channel, facts)
                assert (status.effective, status.color, status.api, status.reasons) == effective
                key = (agent.principal.sub, channel)
                if world.configuration.auto_unavailable_after_missed and channel == "video":
                    self.declared[key] = "unavailable" if status.declared == "unavailable" else self.declared[key]
                limit_s = world.configuration.background_available_s
                if agent.off_by_system.get(channel) == "background" and limit_s is not None:
                    # Deaths of an hour each add up to it, and no app is on the screen meanwhile.
                    assert world.unix_ms(world.now) >= self.began_ms + limit_s * 1000
                    self.declared[key] = "unavailable"
                assert status.declared == self.declared.get(key, "unavailable")
                assert self.versions.get(key, 0) <= status.version
                self.versions[key] = status.version
            claim = world.claims.get(agent.principal)
            if claim is not None:
                assert agent.statuses["video"].effective != "available"
            if claim is not None and claim.origin == "routed":
                assert all(status.effective != "available" for status in agent.statuses.values())

    def teardown(self) -> None:
        """I24, I43, I44: logs replay; what remains after a while is a healthy call, and nothing after that is ended."""
        house = self.house
        house.advance(200.0)
        for session in list(house.world.sessions.values()):
            house.check_replay(session.id)
            assert session.ended or session.state in ("active", "waiting")
            if len(house.world.sessions) % 2:
                house.ok(SUPERVISOR, CallEnd(session.id))
        house.handle(ShutDown())
        assert all(session.ended for session in house.world.sessions.values())
        assert len(house.world.claims) == 0
        assert all(house.control.next_deadline(session) is None for session in house.world.sessions)


Calls.TestCase.settings = settings(
    max_examples=2000,
    stateful_step_count=14,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestCallsModel = Calls.TestCase
