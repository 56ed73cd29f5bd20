"""Call control against its invariants (I-numbers of docs/calls.md), by random commands, media events, leaps of time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule
from model.call_invariants import PUSHES, SUPERVISOR, CallInvariants

from support.calls import ALL_CAPS, agent_actor, information, visitor_actor
from triortc.engine.calls.actor import Actor, AppState, DeviceInformation, Principal, PushEndpoint
from triortc.engine.calls.availability import open_chats
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
from triortc.engine.calls.events import SessionCrashed
from triortc.engine.calls.media_events import LegFailed, LegLost, LegReady, LegRecovered, LegUp, RecordingStopped
from triortc.engine.calls.notifications import CallEnded, ConversationChanged, InvitationChanged
from triortc.engine.calls.presence import CHANNELS
from triortc.engine.calls.replies import CallRequestedPayload, Ok, Reply

APNS, FCM = PushEndpoint("apns", token="a"), PushEndpoint("fcm", token="f")
RECORDER = ALL_CAPS | {"record"}
AGENTS = [agent_actor(sub, device, RECORDER) for sub in ("ana", "ben") for device in ("desk", "phone")]
VISITORS = [visitor_actor(sub, tab, f"cv_{sub}") for sub in ("vic", "wim") for tab in ("one", "two")]
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


class Calls(CallInvariants):
    """What people, their devices and the media side do, in any order."""

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


Calls.TestCase.settings = settings(
    max_examples=2000,
    stateful_step_count=14,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestCallsModel = Calls.TestCase
