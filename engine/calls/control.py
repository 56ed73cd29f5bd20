"""Call control without I/O: events go in, effects come out, and the next deadline.

`CallControl` owns the state and hands every event to the part that knows what to do with it. It reads no clock, opens
nothing and waits for nothing; the supervisor does, and performs the effects.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias, TypeVar

from triortc.engine.calls import invitations, ringing, threads, views
from triortc.engine.calls.actor import Actor, DeviceAddress, DeviceInformation, Principal, PushKind
from triortc.engine.calls.availability import fire_background, recompute_presence
from triortc.engine.calls.calling import Calling
from triortc.engine.calls.chatting import Chatting
from triortc.engine.calls.commands import (
    CallAccept,
    CallCancel,
    CallDecline,
    CallEnd,
    CallHangup,
    CallRequest,
    ConversationClose,
    ConversationFocus,
    ConversationList,
    ConversationMessageSend,
    ConversationRead,
    ConversationSnooze,
    ConversationTag,
    ConversationTransfer,
    DeviceRevoke,
    DeviceUpdate,
    HandoffCancel,
    HandoffOffer,
    HandoffRequest,
    HistoryGet,
    IceCandidates,
    IceRestart,
    InvitationAccept,
    InvitationCancel,
    InvitationDecline,
    InvitationJoin,
    InvitationSend,
    MediaSet,
    PresenceGet,
    PresenceSet,
    RecordingStart,
    RecordingStop,
    RingAck,
    RingOpened,
    RingSilence,
    SdpAnswer,
    SdpOffer,
    SyncGet,
)
from triortc.engine.calls.configuration import CallConfiguration
from triortc.engine.calls.effects import Effect, Notify, Order, ReplyTo
from triortc.engine.calls.event_log import EventLogPort
from triortc.engine.calls.events import (
    ActorChanged,
    CommandReceived,
    DeviceConnected,
    DeviceGone,
    DeviceLost,
    DeviceResumed,
    DeviceRevoked,
    Drain,
    Event,
    PushEndpointGone,
    SessionCrashed,
    SessionFenced,
    ShutDown,
)
from triortc.engine.calls.handing_over import fire_grace
from triortc.engine.calls.history import MemoryHistory
from triortc.engine.calls.inviting import Inviting
from triortc.engine.calls.lifecycle import Lifecycle
from triortc.engine.calls.mediating import Mediating
from triortc.engine.calls.notifications import ConversationMessage
from triortc.engine.calls.people import People
from triortc.engine.calls.ports import HistoryPort, RecordingPolicyPort, RouterPort
from triortc.engine.calls.replies import CallFault, Ok, Reply
from triortc.engine.calls.requesting import Requesting
from triortc.engine.calls.restoring import restore, take_over
from triortc.engine.calls.routing import LongestIdleRouter
from triortc.engine.calls.session import LogRecord
from triortc.engine.calls.store import Stored
from triortc.engine.calls.view_values import Snapshot
from triortc.engine.calls.world import RefusedError, World

__all__ = ["CallControl"]


_Handler: TypeAlias = Callable[[CommandReceived], Ok]
CommandT = TypeVar("CommandT")


def _handler(kind: type[CommandT], method: Callable[[Actor, CommandT], Ok]) -> dict[type, _Handler]:
    """An entry of the dispatch table: the method gets the author and the command, with its own type."""

    def handle(event: CommandReceived) -> Ok:
        assert isinstance(event.command, kind)
        return method(event.actor, event.command)

    return {kind: handle}


def _dispatch(
    requesting: Requesting,
    calling: Calling,
    inviting: Inviting,
    mediating: Mediating,
    chatting: Chatting,
    people: People,
) -> Mapping[type, _Handler]:
    """Who carries out which command."""
    return {
        **_handler(CallRequest, requesting.request),
        **_handler(RingAck, calling.ring_ack),
        **_handler(RingOpened, calling.ring_opened),
        **_handler(RingSilence, calling.ring_silence),
        CallAccept: calling.accept,
        **_handler(CallDecline, calling.decline),
        **_handler(CallCancel, calling.hangup),
        **_handler(CallHangup, calling.hangup),
        **_handler(CallEnd, calling.end),
        **_handler(InvitationSend, inviting.send),
        InvitationJoin: inviting.join,
        **_handler(InvitationCancel, inviting.cancel),
        **_handler(InvitationAccept, inviting.accept),
        **_handler(InvitationDecline, inviting.decline),
        **_handler(SdpOffer, mediating.sdp_offer),
        **_handler(SdpAnswer, mediating.sdp_answer),
        **_handler(IceCandidates, mediating.ice_candidates),
        **_handler(IceRestart, mediating.ice_restart),
        **_handler(MediaSet, mediating.media_set),
        **_handler(RecordingStart, mediating.recording_start),
        **_handler(RecordingStop, mediating.recording_stop),
        **_handler(HandoffRequest, mediating.handoff_request),
        **_handler(HandoffOffer, mediating.handoff_offer),
        **_handler(HandoffCancel, mediating.handoff_cancel),
        **_handler(ConversationMessageSend, chatting.message),
        **_handler(ConversationRead, chatting.read),
        **_handler(ConversationFocus, chatting.focus),
        **_handler(ConversationTag, chatting.tag),
        **_handler(ConversationClose, chatting.close),
        **_handler(ConversationSnooze, chatting.snooze),
        **_handler(ConversationTransfer, chatting.transfer),
        **_handler(ConversationList, chatting.list),
        **_handler(HistoryGet, chatting.history),
        **_handler(DeviceUpdate, people.update),
        **_handler(DeviceRevoke, people.revoke),
        **_handler(PresenceSet, people.presence_set),
        **_handler(PresenceGet, people.presence_get),
        **_handler(SyncGet, people.sync),
    }


class CallControl:
    """The rules of calls.

    Arguments:
        configuration: timers and policies.
        random_bytes: source of ids.
        unix_ms_at_zero: what monotonic zero is on the wall clock, in unix milliseconds; only for stamps.
        router: orders candidates; by default the agent idle longest comes first.
        history: where ended sessions are looked up (they are written by the shell).
        recording_policy: may refuse recordings; None: whatever the configuration allows.
        event_log: gets every transition of every session; None: they are kept in memory only, for a while.
        push_kinds: the push services that there are gateways for.
    """

    def __init__(
        self,
        configuration: CallConfiguration,
        random_bytes: Callable[[int], bytes],
        *,
        unix_ms_at_zero: int = 0,
        router: RouterPort | None = None,
        history: HistoryPort | None = None,
        recording_policy: RecordingPolicyPort | None = None,
        event_log: EventLogPort | None = None,
        push_kinds: frozenset[PushKind] = frozenset(),
    ) -> None:
        world = self.world = World(configuration, random_bytes, unix_ms_at_zero, push_kinds)
        world.recording_policy = recording_policy
        world.event_log = event_log
        self._router = router or LongestIdleRouter()
        self._lifecycle = Lifecycle(world)
        self._calling = Calling(world, self._lifecycle)
        self._mediating = Mediating(world, self._lifecycle, self._calling)
        kept = history or MemoryHistory(configuration.history_kept)
        self._chatting = Chatting(world, self._lifecycle, self._router, kept)
        self._inviting = Inviting(world, self._lifecycle, self._calling)
        self._requesting = Requesting(world, self._lifecycle, self._calling, self._inviting, self._router)
        self._people = People(world, self._lifecycle)
        self._last_snapshot = Snapshot()
        self._alive_ms: int | None = None
        self._handlers: Final = _dispatch(
            self._requesting, self._calling, self._inviting, self._mediating, self._chatting, self._people
        )

    # --- events

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take in an event.

        Arguments:
            event: what happened.
            now: monotonic seconds.

        Returns:
            what the shell has to do, in order; for a command, one `ReplyTo` is among it.
        """
        self.world.now = now
        match event:
            case CommandReceived():
                self._command(event)
            case DeviceConnected(actor, information):
                return self._connected(actor, information)
            case DeviceLost() | DeviceResumed() | DeviceGone() | DeviceRevoked() | ActorChanged() | PushEndpointGone():
                self._device_event(event)
            case SessionCrashed(session) | SessionFenced(session):
                self._taken_from_us(session, fenced=isinstance(event, SessionFenced))
            case Drain():
                self.world.draining = True
            case ShutDown():
                self.world.draining = True
                for session in [item.id for item in self.world.sessions.values() if not item.ended]:
                    self._lifecycle.apply(session, "int.shutdown", "system", {})
            case _:
                self._mediating.event(event)
        return self._settle()

    def _device_event(
        self, event: DeviceLost | DeviceResumed | DeviceGone | DeviceRevoked | ActorChanged | PushEndpointGone
    ) -> None:
        match event:
            case DeviceLost(address):
                self._people.lost(address)
            case DeviceResumed(address, information):
                self._people.resumed(address, information)
            case DeviceGone(address):
                self._people.gone(address)
            case DeviceRevoked(address):
                self._people.revoked(address)
            case ActorChanged(actor):
                self._people.actor_changed(actor)
            case PushEndpointGone(address, endpoint):
                self._people.push_endpoint_gone(address, endpoint)

    def _taken_from_us(self, session: str, *, fenced: bool) -> None:
        """V44, V45: our code failed, or another node has the session."""
        if session not in self.world.sessions or self.world.sessions[session].ended:
            return
        if fenced:
            self._lifecycle.fence(session)
        else:
            self._lifecycle.apply(session, "int.crash", "system", {})

    def _connected(self, actor: Actor, information: DeviceInformation) -> list[Effect]:
        """What the new device's snapshot shows need not be told to it again; messages are not in a snapshot."""
        device = self._people.connected(actor, information)
        effects = self._settle()
        self._last_snapshot = views.snapshot(self.world, device)
        return [
            effect
            for effect in effects
            if not isinstance(effect, Notify)
            or effect.address != device.address
            or isinstance(effect.notification, ConversationMessage)
            or getattr(effect.notification, "renegotiate", None)
        ]

    @property
    def last_snapshot(self) -> Snapshot:
        """What the last `DeviceConnected` shows its device."""
        return self._last_snapshot

    def _command(self, event: CommandReceived) -> None:
        reply: Reply
        handler = self._handlers.get(type(event.command))
        if handler is None:
            reply = CallFault("proto.not_implemented", "this build does not have this command yet")
        else:
            try:
                self._expire_ring(event)
                reply = handler(event)
            except RefusedError as refused:
                reply = refused.fault
        self.world.emit(Order.REPLY, ReplyTo(reply))

    def _expire_ring(self, event: CommandReceived) -> None:
        """A command that came after the deadline finds the ring ended, even if the timer has not run yet (R5, R6).

        `call.accept` and `invitation.join` are answered by their own row (V13).
        """
        if isinstance(event.command, CallAccept | InvitationJoin):
            return
        session_id = getattr(event.command, "session", None)
        invitation = self.world.invitations.get(getattr(event.command, "invitation", ""))
        session = self.world.sessions.get(session_id or "" if invitation is None else invitation.session or "")
        if session is None or session.state != "ringing":
            return
        if session.deadline < event.rx_time:
            self._fire(session.id, "T_ring")

    # --- time

    def next_deadline(self, session: str | None = None) -> float | None:
        """When `handle_timeout` wants to be called.

        Arguments:
            session: for the timers of this session; None: for those that belong to no session.
        """
        return self.world.next_deadline(session)

    def handle_timeout(self, now: float, session: str | None = None) -> list[Effect]:
        """Let everything that is due happen, earliest first.

        Arguments:
            now: monotonic seconds.
            session: as for `next_deadline`.
        """
        self.world.now = now
        if session is None:
            while (key := self.world.take_due()) is not None:
                self._fire_house(key)
            return self._settle()
        while True:
            found = self.world.sessions.get(session)
            due = [] if found is None else [(at, name) for name, at in found.timers.items() if at <= now]
            if due:
                self._fire(session, min(due)[1])
                continue
            if found is not None and found.state == "ringing":
                ringing.fire(self.world, found)
            return self._settle()

    def _fire(self, session_id: str, name: str) -> None:
        world = self.world
        session = world.sessions[session_id]
        session.timers.pop(name, None)
        match name.partition(":"):
            case ("T_grace", _, leg):
                fire_grace(self._lifecycle, session, leg)
            case ("T_handoff", _, _):
                self._mediating.handoff_timeout(session)
            case ("T_ring", _, _):
                self._requesting.ring_timeout(session)
            case ("T_agent_gone", _, _):
                self._lifecycle.apply(session_id, "int.agent_gone", "system", {})
            case ("T_adopted", _, _):
                self._lifecycle.apply(session_id, "int.reaped", "system", {})
            case ("T_vis_ring", _, _):
                self._lifecycle.apply(session_id, "int.visitor_gone", "system", {})
            case ("T_revoked", _, side):
                self._lifecycle.apply(session_id, "call.hangup", "system", {"side": side})
            case _:
                self._lifecycle.apply(session_id, name, "system", {})

    def _fire_house(self, key: tuple[str, ...]) -> None:
        match key:
            case ("T_reachable", org, role, sub, device):
                self._people.unreachable(DeviceAddress._make((org, role, sub, device)))
            case ("T_close_reminder", org, conversation):
                threads.fire_reminder(self.world, (org, conversation))
            case ("T_snooze", org, conversation):
                threads.fire_snooze(self.world, (org, conversation))
            case ("T_vis_absent", invitation):
                session = invitations.fire_visitor_absent(self.world, invitation)
                if session is not None:
                    self._lifecycle.apply(session, "int.visitor_gone", "system", {})
            case ("T_bg_available", org, _, sub):
                fire_background(self.world, Principal(org, "agent", sub))
            case ("requests", org, role, sub):
                self.world.requests.pop(Principal._make((org, role, sub)), None)

    # --- after every step

    def _settle(self) -> list[Effect]:
        """Recompute presence where it may have changed, hand out waiting chats, and order the effects."""
        world = self.world
        for _ in range(2 + len(world.waiting_chats) + len(world.queues)):
            if not world.dirty:
                break
            dirty, world.dirty = world.dirty, {}
            for principal in dirty:
                recompute_presence(world, principal)
            if world.queues:
                self._requesting.serve_queues(dirty)
            for key in list(world.waiting_chats):
                if threads.route_chat(world, self._router, world.conversations[key]):
                    break
        return world.take_effects()

    # --- after the death of another process

    def restore(self, stored: Stored, now: float) -> None:
        """Know what another process knew. Called once, before any event; `take_over` comes next.

        Arguments:
            stored: what it left.
            now: monotonic seconds.
        """
        self.world.now = now
        restore(self.world, stored)
        self._alive_ms = stored.alive_ms

    def take_over(self, now: float) -> list[Effect]:
        """Go on with the sessions that have not ended (V46, V47).

        Returns:
            what the shell has to do: their lifetimes begin anew, and their legs have no transport yet.
        """
        self.world.now = now
        take_over(self.world, self._lifecycle, self._alive_ms)
        return self._settle()

    # --- for embedders' servers

    def open_conversation(self, visitor: Principal, conversation: str, group: str | None, now: float) -> None:
        """Make an open, unassigned conversation."""
        self.world.now = now
        if (visitor.org, conversation) not in self.world.conversations:
            threads.open_conversation(self.world, visitor, conversation, group)

    def assign_conversation(
        self, org: str, conversation: str, agent: str, now: float, *, even_if_busy: bool = False
    ) -> list[Effect]:
        """Give an unassigned conversation to an agent; nothing happens if it has one. `even_if_busy`: whatever they do.

        The `ReplyTo` among the effects says whether it was done: a busy or unavailable agent gets nothing (R11, I30).
        """
        self.world.now = now
        reply: Reply = Ok()
        try:
            found = self.world.conversations.get((org, conversation))
            if found is None:
                raise RefusedError("state.not_found", "there is no such conversation")
            if found.state == "open" and found.assignee is None:
                if not even_if_busy:
                    threads.refuse_unassignable(self.world, Principal(org, "agent", agent))
                threads.assign(self.world, found, agent)
        except RefusedError as refused:
            reply = refused.fault
        self.world.emit(Order.REPLY, ReplyTo(reply))
        return self._settle()

    def occupy(self, agent: Principal, kind: str, item: str, now: float) -> list[Effect]:
        """A call or third-party conversation outside the engine begins. `kind`: `call` or `third_party`."""
        self.world.now = now
        self.world.agent(agent).occupied[kind].add(item)
        self.world.touch(agent)
        return self._settle()

    def vacate(self, agent: Principal, kind: str, item: str, now: float) -> list[Effect]:
        """It ends."""
        self.world.now = now
        self.world.agent(agent).occupied[kind].discard(item)
        self.world.touch(agent)
        return self._settle()

    def event_log(self, session: str) -> list[LogRecord]:
        """The event log of a session that is on or ended not long ago."""
        return list(self.world.logs.get(session, ()))
