"""A small world to test call control in: agents, visitors, devices, virtual time, everything that was sent."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import trio

from triortc.engine.calls.actor import Actor, DeviceAddress, DeviceInformation, Permission, Platform, PushKind
from triortc.engine.calls.commands import (
    CallAccept,
    CallHangup,
    CallRequest,
    Command,
    ConversationClose,
    HandoffRequest,
    PresenceSet,
    RingOpened,
)
from triortc.engine.calls.configuration import CallConfiguration
from triortc.engine.calls.control import CallControl
from triortc.engine.calls.effects import (
    AppendHistory,
    AppendInvitation,
    CloseLeg,
    Effect,
    Notify,
    OpenLeg,
    RemoveDevice,
    ReplyTo,
    SendPush,
    SetGate,
    SetSource,
)
from triortc.engine.calls.events import CommandReceived, DeviceConnected, DeviceGone, DeviceLost, DeviceResumed, Event
from triortc.engine.calls.gate_table import GateState
from triortc.engine.calls.history import MemoryHistory
from triortc.engine.calls.media_events import ControlEvent, LegReady, LegUp
from triortc.engine.calls.notifications import Notification, RingOffer
from triortc.engine.calls.ports import Kind, Side, View
from triortc.engine.calls.presence import CHANNELS
from triortc.engine.calls.push_values import Push
from triortc.engine.calls.replies import AcceptedPayload, CallFault, CallRequestedPayload, HandoffPayload, Ok, Reply
from triortc.engine.calls.session import LogRecord, Session, replay
from triortc.engine.calls.view_values import Snapshot
from triortc.engine.relay.gate import GateStatistics
from triortc.errors import SdpError

__all__ = [
    "ALL_CAPS",
    "FakeClients",
    "FakeMedia",
    "FakePush",
    "House",
    "agent_actor",
    "information",
    "phone_of",
    "visitor_actor",
]

ALL_CAPS = frozenset({"video.receive", "video.invite", "handoff", "presence", "history", "call.end"})
NotificationT = TypeVar("NotificationT", bound=Notification)


def agent_actor(sub: str, device: str, caps: frozenset[str] = ALL_CAPS, org: str = "org") -> Actor:
    return Actor(sub, "agent", org, device, caps, frozenset({"default"}), name=sub.title())


def visitor_actor(sub: str, device: str, *conversations: str, org: str = "org") -> Actor:
    return Actor(sub, "visitor", org, device, name=sub.title(), conversations=frozenset(conversations))


def information(
    device: str, platform: Platform = "desktop", camera: Permission = "granted", mic: Permission = "granted"
) -> DeviceInformation:
    return DeviceInformation(device, platform, name=f"{device} device", camera=camera, mic=mic)


def counter_bytes() -> Callable[[int], bytes]:
    """Predictable, distinct bytes."""
    count = 0

    def take(length: int) -> bytes:
        nonlocal count
        count += 1
        return count.to_bytes(length, "big")

    return take


class House:
    """Drives a `CallControl` and plays the media side: keeps the gates and sources it is told, as a test's eye."""

    def __init__(
        self,
        configuration: CallConfiguration | None = None,
        push_kinds: frozenset[PushKind] = frozenset(),
        random_bytes: Callable[[int], bytes] | None = None,
    ) -> None:
        self.random_bytes = random_bytes or counter_bytes()
        configuration = configuration or CallConfiguration()
        self.history = MemoryHistory(configuration.history_kept)
        self.control = CallControl(
            configuration,
            self.random_bytes,
            unix_ms_at_zero=1_700_000_000_000,
            history=self.history,
            push_kinds=push_kinds,
        )
        self.removed: list[DeviceAddress] = []
        self.pushes: list[tuple[float, Push]] = []
        self.world = self.control.world
        self.now = 100.0
        self.inbox: dict[DeviceAddress, list[Notification]] = {}
        self.effects: list[Effect] = []
        self.recent: list[Effect] = []
        self.appended: Counter[str] = Counter()
        self.gates: dict[tuple[str, Kind], GateState] = {}
        self.sources: dict[tuple[str, Side], str] = {}
        self.open_legs: set[str] = set()
        self.actors: dict[str, Actor] = {}

    # --- time and events

    def perform(self, effects: list[Effect]) -> Reply | None:
        self.effects = effects
        self.recent += effects
        reply = None
        for effect in effects:
            match effect:
                case Notify(address, notification):
                    self.inbox.setdefault(address, []).append(notification)
                case ReplyTo():
                    reply = effect.reply
                case AppendHistory(record):
                    self.appended[record.session] += 1
                    self.history.append(record)
                case AppendInvitation(invited):
                    self.history.append_invitation(invited)
                case RemoveDevice(address):
                    self.removed.append(address)
                case SendPush(push):
                    self.pushes.append((self.now, push))
                case SetGate(_, leg, kind, state, _):
                    self.gates[(leg, kind)] = state
                case SetSource(session, side, leg):
                    self.sources[(session, side)] = leg
                case OpenLeg(_, leg, _):
                    self.open_legs.add(leg)
                case CloseLeg(_, leg):
                    self.open_legs.discard(leg)
                case _:
                    pass
        return reply

    def handle(self, event: Event) -> Reply | None:
        return self.perform(self.control.handle(event, self.now))

    def send(self, actor: Actor, command: Command, rx_time: float | None = None) -> Reply:
        reply = self.handle(CommandReceived(actor, command, self.now if rx_time is None else rx_time))
        assert reply is not None, "every command gets one reply"
        assert sum(isinstance(effect, ReplyTo) for effect in self.effects) == 1
        return reply

    def ok(self, actor: Actor, command: Command) -> Any:
        reply = self.send(actor, command)
        assert isinstance(reply, Ok), reply
        return reply.payload

    def fault(self, actor: Actor, command: Command, rx_time: float | None = None) -> CallFault:
        reply = self.send(actor, command, rx_time)
        assert isinstance(reply, CallFault), reply
        return reply

    def next_deadline(self) -> float | None:
        owners: list[str | None] = [None, *self.world.sessions]
        found = [at for at in map(self.control.next_deadline, owners) if at is not None]
        return min(found, default=None)

    def fire(self) -> None:
        """Let everything due now happen."""
        for owner in [*self.world.sessions, None]:
            self.perform(self.control.handle_timeout(self.now, owner))

    def advance(self, seconds: float) -> None:
        """Let time pass, stopping at every deadline on the way."""
        until = self.now + seconds
        while (deadline := self.next_deadline()) is not None and deadline <= until:
            self.now = max(self.now, deadline)
            self.fire()
        self.now = until

    def media(self, event: ControlEvent) -> None:
        self.handle(event)

    # --- people

    def connect(self, actor: Actor, device: DeviceInformation | None = None) -> Snapshot:
        assert actor.device is not None
        self.handle(DeviceConnected(actor, device or information(actor.device)))
        return self.control.last_snapshot

    def agent(
        self, sub: str = "ana", device: str = "desk", platform: Platform = "desktop", *, available: bool = True
    ) -> Actor:
        actor = agent_actor(sub, device)
        self.connect(actor, information(device, platform))
        if available:
            for channel in CHANNELS:
                self.ok(actor, PresenceSet(channel, "available"))
        return actor

    def visitor(self, sub: str = "vic", device: str = "tab", conversation: str = "cv_1") -> Actor:
        actor = visitor_actor(sub, device, conversation)
        self.connect(actor, information(device, "web"))
        return actor

    def lose(self, actor: Actor) -> None:
        assert actor.address is not None
        self.handle(DeviceLost(actor.address))

    def resume(self, actor: Actor) -> None:
        assert actor.address is not None
        self.handle(DeviceResumed(actor.address))

    def leave(self, actor: Actor) -> None:
        assert actor.address is not None
        self.handle(DeviceGone(actor.address))

    # --- looking

    def told(self, actor: Actor, kind: type[NotificationT]) -> list[NotificationT]:
        """What a device was told, of one kind."""
        assert actor.address is not None
        return [item for item in self.inbox.get(actor.address, []) if isinstance(item, kind)]

    def forget_told(self) -> None:
        self.inbox.clear()

    def session(self, session: str) -> Session:
        return self.world.sessions[session]

    def gate(self, leg: str, kind: Kind) -> str:
        return self.gates.get((leg, kind), GateState.CLOSED).value

    def check_replay(self, session: str) -> list[Session]:
        """The event log, through JSON, folds to the states that were logged."""
        lines = [record.to_json() for record in self.control.event_log(session)]
        assert all(json.loads(line) for line in lines)
        states = replay([LogRecord.from_json(line) for line in lines])
        assert states[-1].state == self.session(session).state
        assert (states[-1].outcome, states[-1].reason) == (self.session(session).outcome, self.session(session).reason)
        return states

    # --- ways to get somewhere

    def request(self, visitor: Actor, conversation: str = "cv_1") -> CallRequestedPayload:
        payload = self.ok(visitor, CallRequest(conversation))
        assert isinstance(payload, CallRequestedPayload)
        return payload

    def ring(self, agent: Actor) -> str:
        """The id of the ring on a device."""
        return self.told(agent, RingOffer)[-1].ring

    def answered(self, visitor: Actor, agent: Actor) -> tuple[str, str, str]:
        """Requested and accepted, legs not up yet: session, visitor's leg, agent's leg."""
        requested = self.request(visitor)
        accepted = self.ok(agent, CallAccept(requested.session))
        assert isinstance(accepted, AcceptedPayload)
        assert requested.leg is not None
        return requested.session, requested.leg, accepted.leg

    def active(self, visitor: Actor, agent: Actor) -> tuple[str, str, str]:
        session, visitor_leg, agent_leg = self.answered(visitor, agent)
        self.media(LegUp(visitor_leg))
        self.media(LegUp(agent_leg))
        assert self.session(session).state == "active"
        return session, visitor_leg, agent_leg

    def pull(self, target: Actor, session: str) -> str:
        payload = self.ok(target, HandoffRequest(session))
        assert isinstance(payload, HandoffPayload)
        return payload.leg

    def moved(self, target: Actor, session: str) -> str:
        leg = self.pull(target, session)
        self.media(LegUp(leg))
        self.media(LegReady(leg))
        return leg

    def warm(self, agent: Actor) -> str:
        leg = self.ok(agent, RingOpened(self.ring(agent))).leg
        assert isinstance(leg, str)
        return leg

    def finish(self, visitor: Actor, agent: Actor, session: str) -> None:
        self.ok(visitor, CallHangup(session))
        self.ok(agent, ConversationClose(self.session(session).conversation))


class FakeMedia:
    """A media port that remembers what it was told."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []
        self.open_legs: dict[str, str] = {}
        self.gates: dict[tuple[str, Kind], GateState] = {}
        self.fail_on: str | None = None
        self.answers_later = False

    def _note(self, name: str, *arguments: object) -> None:
        self.calls.append((name, *arguments))
        if name == self.fail_on:
            raise RuntimeError(f"{name} is broken, as the test wants it")

    def open_leg(self, session: str, leg: str, side: Side) -> None:
        self.open_legs[leg] = session
        self._note("open_leg", session, leg, side)

    def answer(self, leg: str, neg: int, offer_sdp: str) -> str | None:
        self._note("answer", leg, neg, offer_sdp)
        if self.answers_later:
            return None
        if offer_sdp == "bad":
            raise SdpError("this offer has no media section")
        return f"answer to {offer_sdp}"

    def add_candidates(self, leg: str, neg: int, ufrag: str, candidates: Sequence[tuple[str, str]], end: bool) -> None:
        self._note("add_candidates", leg, neg, ufrag, tuple(candidates), end)

    def set_gate(self, session: str, leg: str, kind: Kind, state: GateState, epoch: int) -> None:
        self.gates[(leg, kind)] = state
        self._note("set_gate", session, leg, kind, state, epoch)

    def set_source(self, session: str, side: Side, leg: str) -> None:
        self._note("set_source", session, side, leg)

    def set_view(self, leg: str, view: View) -> None:
        self._note("set_view", leg, view)

    def request_keyframe(self, leg: str) -> None:
        self._note("request_keyframe", leg)

    def close_leg(self, leg: str) -> None:
        self.open_legs.pop(leg, None)
        self._note("close_leg", leg)

    def close_session(self, session: str) -> None:
        self.open_legs = {leg: owner for leg, owner in self.open_legs.items() if owner != session}
        self._note("close_session", session)

    def start_recording(self, session: str, recording: str) -> None:
        self._note("start_recording", session, recording)

    def stop_recording(self, session: str) -> None:
        self._note("stop_recording", session)

    def gate_statistics(self, session: str) -> Mapping[tuple[str, Kind], GateStatistics]:
        return {}


class FakeClients:
    """A client port: keeps what devices are told, and holds commands back until they are drained."""

    def __init__(self) -> None:
        self.inbox: dict[DeviceAddress, list[Notification]] = {}
        self.queued: list[tuple[float, Callable[[], Reply]]] = []
        self.replies: list[Reply] = []
        self.removed: list[DeviceAddress] = []

    def notify(self, address: DeviceAddress, notification: Notification) -> None:
        self.inbox.setdefault(address, []).append(notification)

    def remove(self, address: DeviceAddress) -> None:
        self.removed.append(address)

    def drain(self, until: float) -> None:
        due = [entry for entry in self.queued if entry[0] <= until]
        self.queued = [entry for entry in self.queued if entry[0] > until]
        for _, run in due:
            self.replies.append(run())

    def told(self, actor: Actor, kind: type[NotificationT]) -> list[NotificationT]:
        assert actor.address is not None
        return [item for item in self.inbox.get(actor.address, []) if isinstance(item, kind)]


class FakePush:
    """A push port that remembers what it was to send, and when; `broken`: it raises, which no gateway should."""

    kinds: frozenset[PushKind] = frozenset({"apns", "apns_voip", "fcm", "webpush"})

    def __init__(self) -> None:
        self.sent: list[tuple[float, Push]] = []
        self.broken = False

    def send(self, push: Push) -> None:
        if self.broken:
            raise RuntimeError("the gateway is broken, as the test wants it")
        self.sent.append((trio.current_time(), push))


def phone_of(house: House, platform: Platform = "ios", camera: Permission = "granted", device: str = "phone") -> Actor:
    """Another device of the agent ana, connected."""
    actor = agent_actor("ana", device)
    house.connect(actor, information(device, platform, camera))
    return actor
