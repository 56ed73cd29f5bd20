"""What holds in call control after every step, whatever was done: the invariants I1 to I44 of docs/calls.md."""

from __future__ import annotations

from typing import Any

from hypothesis.stateful import RuleBasedStateMachine, invariant

from support.calls import House
from triortc.engine.calls.actor import Actor, Principal, PushKind
from triortc.engine.calls.availability import presence_facts
from triortc.engine.calls.commands import CallEnd, InvitationAccept, InvitationJoin
from triortc.engine.calls.effects import RequestKeyframe, SetGate
from triortc.engine.calls.events import ShutDown
from triortc.engine.calls.gate_table import GateState
from triortc.engine.calls.notifications import (
    CallActive,
    CallEnded,
    ConversationChanged,
    ConversationMessage,
    ConversationReminder,
    ConversationRemoved,
    HandoffMoved,
    Notification,
    RingEnded,
    RingOffer,
)
from triortc.engine.calls.presence import CHANNELS, effective_status
from triortc.engine.calls.push_values import NoticePush, WithdrawPush
from triortc.engine.calls.session_table import IN_CALL, OUTCOMES

PUSHES: frozenset[PushKind] = frozenset({"apns", "fcm"})
SUPERVISOR = Actor("boss", "service", "org", caps=frozenset({"call.end"}))


class CallInvariants(RuleBasedStateMachine):
    """Looks at a house after every step. Who acts on it writes down here what was done."""

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
