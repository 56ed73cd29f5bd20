"""What call control knows: agents, devices, conversations, sessions, legs, timers; and the present step's effects."""

from __future__ import annotations

import heapq
import math
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Final

from triortc.engine.calls.actor import Actor, DeviceAddress, DeviceInformation, Principal, PushKind
from triortc.engine.calls.claim_table import ClaimRegistry
from triortc.engine.calls.configuration import CallConfiguration
from triortc.engine.calls.conversation_table import CONVERSATIONS, Conversation, ConversationFacts
from triortc.engine.calls.earlier_messages import EarlierMessages
from triortc.engine.calls.effects import Effect, Notify, Order
from triortc.engine.calls.event_log import EventLogPort
from triortc.engine.calls.gate_table import Gate
from triortc.engine.calls.invitation_table import Invitation
from triortc.engine.calls.machine import Row
from triortc.engine.calls.media_events import LegQuality
from triortc.engine.calls.notifications import COALESCED, Notification
from triortc.engine.calls.ports import Candidate, Kind, RecordingPolicyPort, Side
from triortc.engine.calls.presence import CHANNELS, Channel, Declared
from triortc.engine.calls.push_planner import PushRules, ring_route
from triortc.engine.calls.replies import FAULT_CODES, CallFault
from triortc.engine.calls.ring_table import Ring
from triortc.engine.calls.session import LogRecord, Session
from triortc.engine.calls.view_values import ChannelStatus, DeviceReference, Notice
from triortc.errors import CallError

__all__ = ["KINDS", "Agent", "Device", "Leg", "MediaStatus", "RefusedError", "World"]

KINDS: Final[tuple[Kind, Kind]] = ("audio", "video")


class RefusedError(CallError):
    """Inside call control: the command gets this fault as its reply."""

    def __init__(
        self, code: str, message: str, details: Mapping[str, object] | None = None, retry_after_ms: int | None = None
    ) -> None:
        super().__init__(message)
        self.fault = CallFault(code, message, details or {}, FAULT_CODES[code], retry_after_ms)


@dataclass(slots=True)
class Device:
    """A device that said hello. `signaling`: `live`, `grace` (socket lost, resumable) or `gone`.

    `restored`: it was connected to the process before this one, and has not been heard of since.
    One that is gone is kept if it can be woken by a push.
    """

    address: DeviceAddress
    actor: Actor
    information: DeviceInformation
    signaling: str = "live"
    reachable: bool = True
    connected_at: float = 0.0
    restored: bool = False

    @property
    def live(self) -> bool:
        return self.signaling == "live"

    @property
    def in_use(self) -> bool:
        """Connected, with the app on the screen."""
        return self.live and self.information.app_state == "foreground"

    @property
    def at_hand(self) -> bool:
        """As `in_use`; a desktop or a page that is connected counts, whatever window is on top."""
        return self.in_use or (self.live and self.information.platform in ("desktop", "web"))

    def wakeable(self, rules: PushRules) -> bool:
        """Whether a push can ring it."""
        return ring_route(self.information, rules) is not None

    @property
    def reference(self) -> DeviceReference:
        return DeviceReference(self.information.platform, self.information.name)


@dataclass(slots=True)
class Agent:
    """What an agent declared, does, and was last told of it.

    `off_by_system`: channels that a policy has declared unavailable, and why.
    """

    principal: Principal
    groups: frozenset[str] = frozenset()
    caps: frozenset[str] = frozenset()
    name: str | None = None
    avatar: str | None = None
    declared: dict[Channel, Declared] = field(default_factory=lambda: dict.fromkeys(CHANNELS, "unavailable"))
    statuses: dict[Channel, ChannelStatus] = field(default_factory=dict)
    chats: set[tuple[str, str]] = field(default_factory=set)
    occupied: dict[str, set[str]] = field(default_factory=lambda: {"call": set(), "third_party": set()})
    off_by_system: dict[Channel, str] = field(default_factory=dict)
    missed_in_a_row: int = 0
    idle_since: float = 0.0


@dataclass(slots=True)
class MediaStatus:
    """What one side's camera and microphone do, as its device says."""

    camera: bool = True
    mic: bool = True
    facing: str = "front"
    orientation: int = 0
    camera_state: str = "live"
    version: int = 0


@dataclass(slots=True)
class Leg:
    """One media transport between the engine and a device, with a gate for each kind.

    `renegotiate`: its transport died with another process; its device has to offer anew. `quality`: as last told.
    """

    id: str
    session: str
    side: Side
    address: DeviceAddress
    up: bool = False
    neg: int = 0
    media_n: int = -1
    renegotiate: bool = False
    quality: LegQuality | None = None
    gates: dict[Kind, Gate] = field(default_factory=lambda: {kind: Gate() for kind in KINDS})


_ORDER: Final = itemgetter(0)


class World:
    """The state that every part of call control shares. One instance, one thread.

    Arguments:
        configuration: timers and policies.
        random_bytes: source of ids.
        unix_ms_at_zero: what to add to monotonic milliseconds to get a wall clock stamp.
        push_kinds: the push services that there are gateways for.
    """

    def __init__(
        self,
        configuration: CallConfiguration,
        random_bytes: Callable[[int], bytes],
        unix_ms_at_zero: int,
        push_kinds: frozenset[PushKind] = frozenset(),
    ) -> None:
        self.configuration = configuration
        self.now = 0.0
        self.claims = ClaimRegistry()
        self.agents: dict[Principal, Agent] = {}
        self.devices: dict[DeviceAddress, Device] = {}
        self.of_principal: dict[Principal, dict[str, Device]] = {}
        self.conversations: dict[tuple[str, str], Conversation] = {}
        self.sessions: dict[str, Session] = {}
        self.queues: dict[tuple[str, str], dict[str, None]] = {}
        self.rings_before: dict[str, list[Ring]] = {}
        self.invitations: dict[str, Invitation] = {}
        self.invitation_of_agent: dict[Principal, str] = {}
        self.ended_invitations: deque[str] = deque()
        self.rings: dict[str, Ring] = {}
        self.session_of_ring: dict[str, str] = {}
        self.legs: dict[str, Leg] = {}
        self.legs_of_session: dict[str, dict[str, Leg]] = {}
        self.used_devices: dict[str, dict[str, None]] = {}
        self.notices: dict[str, dict[DeviceAddress, Notice]] = {}
        self.agents_of_group: dict[tuple[str, str], dict[Principal, Agent]] = {}
        #: Of each group the agents who are available on video; kept by `availability`.
        self.candidates: dict[tuple[str, str], dict[Principal, Candidate]] = {}
        self.supervisors_of: dict[str, dict[Principal, None]] = {}
        self.conversations_of_agent: dict[Principal, dict[tuple[str, str], None]] = {}
        self.conversations_of_visitor: dict[Principal, dict[tuple[str, str], None]] = {}
        #: In memory only: a process that is started anew shows none of what was said before.
        self.earlier_messages: dict[tuple[str, str], EarlierMessages] = {}
        self.waiting_chats: dict[tuple[str, str], None] = {}
        self.closed_conversations: deque[tuple[str, str]] = deque()
        self.told: dict[str, dict[DeviceAddress, None]] = {}
        self.logs: dict[str, list[LogRecord]] = {}
        self.gate_intervals: dict[str, list[tuple[str, str, int, int]]] = {}
        self.media: dict[str, dict[Side, MediaStatus]] = {}
        self.requests: dict[Principal, deque[float]] = {}
        #: Sessions given up in this step (V45), with their conversations: nothing is written about either.
        self.fenced: dict[str, tuple[str, str]] = {}
        self.ended: deque[str] = deque()
        self.timers: dict[tuple[str, ...], float] = {}
        self.rescheduled: dict[str, None] = {}
        self.dirty: dict[Principal, None] = {}
        self.rows_taken: Counter[str] = Counter()
        self.stale_events_total = 0
        self.draining = False
        self.push_rules = PushRules(
            push_kinds, configuration.ios_profile, configuration.ios_repeat_s, configuration.push_needs_s
        )
        self.recording_policy: RecordingPolicyPort | None = None
        self.event_log: EventLogPort | None = None
        self._random_bytes = random_bytes
        self.unix_ms_at_zero = unix_ms_at_zero
        self._batch: list[tuple[Order, Effect]] = []
        self._due: list[tuple[float, tuple[str, ...]]] = []

    # --- ids and time

    def new_id(self, prefix: str) -> str:
        """An id that sorts by time: 48 bits of milliseconds, then 80 random bits."""
        return f"{prefix}_{self.unix_ms(self.now):012x}{self._random_bytes(10).hex()}"

    def unix_ms(self, at: float) -> int:
        """The wall clock's reading for a monotonic instant."""
        return self.unix_ms_at_zero + round(at * 1000)

    def monotonic(self, unix_ms: int) -> float:
        """The monotonic instant of a wall clock's reading."""
        return (unix_ms - self.unix_ms_at_zero) / 1000

    def optional_unix_ms(self, at: float | None) -> int | None:
        return None if at is None else self.unix_ms(at)

    def note(self, session: str, record: LogRecord, *, state_same: bool = False) -> None:
        """Keep a transition in the session's event log. Of those that change no state, only so many."""
        log = self.logs.setdefault(session, [])
        if state_same and len(log) >= self.configuration.event_log_limit:
            return
        log.append(record)
        if self.event_log is not None:
            self.event_log.append(session, record)

    # --- effects

    def emit(self, order: Order, effect: Effect) -> None:
        """Add an effect to the present step."""
        self._batch.append((order, effect))

    def notify(self, order: Order, address: DeviceAddress, notification: Notification) -> None:
        self._batch.append((order, Notify(address, notification)))

    def take_effects(self) -> list[Effect]:
        """The step's effects in their order; the step is over."""
        batch, self._batch = self._batch, []
        batch.sort(key=_ORDER)
        return _newest_views([effect for _, effect in batch])

    def drop_effects(self) -> None:
        """The step went wrong half-way: its effects do not happen."""
        self._batch = []

    # --- looking up

    def devices_of(self, principal: Principal | None) -> list[Device]:
        """The devices of a principal that may still be told something."""
        if principal is None:
            return []
        return [device for device in self.of_principal.get(principal, {}).values() if device.signaling != "gone"]

    def rung_devices(self, agent: Principal | None) -> list[Device]:
        """The devices of an agent that a ring may reach: connected ones, and those that a push wakes."""
        devices = [] if agent is None else list(self.of_principal.get(agent, {}).values())
        return [device for device in devices if device.signaling != "gone" or device.wakeable(self.push_rules)]

    def can_ring(self, agent: Principal) -> bool:
        """Whether some device of the agent would be heard now."""
        return any(device.live or device.wakeable(self.push_rules) for device in self.rung_devices(agent))

    def device_of(self, actor: Actor) -> Device:
        """The connected device of a command's author. Refuses a command without one."""
        device = None if actor.address is None else self.devices.get(actor.address)
        if device is None or device.signaling == "gone":
            raise RefusedError("auth.forbidden", "this command needs a connected device")
        return device

    def agent(self, principal: Principal) -> Agent:
        """The agent's record, made on first use."""
        found = self.agents.get(principal)
        if found is None:
            found = self.agents[principal] = Agent(principal, idle_since=self.now)
        return found

    def supervisors(self, org: str) -> Iterator[Device]:
        """Connected devices of the tenant's supervisors."""
        for principal in self.supervisors_of.get(org, ()):
            yield from self.devices_of(principal)

    def join_groups(self, agent: Agent, groups: frozenset[str]) -> None:
        """The agent takes calls of these groups from now on, and of no others."""
        principal = agent.principal
        for group in agent.groups - groups:
            self.agents_of_group[principal.org, group].pop(principal, None)
            self.candidates.get((principal.org, group), {}).pop(principal, None)
        for group in groups:
            self.agents_of_group.setdefault((principal.org, group), {})[principal] = agent
        agent.groups = groups

    def legs_in(self, session: str) -> list[Leg]:
        """The open legs of a session."""
        return list(self.legs_of_session.get(session, {}).values())

    def live_session(self, conversation: Conversation) -> Session | None:
        """The conversation's session that has not ended, if there is one."""
        return None if conversation.live_session is None else self.sessions.get(conversation.live_session)

    def conversation_of(self, session: Session) -> Conversation:
        return self.conversations[(session.org, session.conversation)]

    def touch(self, principal: Principal | None) -> None:
        """The agent's availability may have changed: recompute it at the end of the step."""
        if principal is not None:
            self.dirty[principal] = None

    # --- tables

    def take(self, row: Row) -> None:
        """Count a row as taken."""
        self.rows_taken[row.number] += 1

    def conversation_step(self, conversation: Conversation, event: str, facts: ConversationFacts) -> Row | None:
        """Take the conversation's transition for an event; None: the table has none."""
        row = CONVERSATIONS.select(conversation.state, event, facts)
        if row is not None:
            self.take(row)
            if row.next != "(same)":
                conversation.state = row.next
        return row

    # --- timers

    def set_timer(self, key: tuple[str, ...], at: float) -> None:
        self.timers[key] = at
        heapq.heappush(self._due, (at, key))
        if len(self._due) > 2 * len(self.timers) + 64:  # most were dropped or moved since
            self._due = [(due, name) for name, due in self.timers.items()]
            heapq.heapify(self._due)

    def drop_timer(self, key: tuple[str, ...]) -> None:
        self.timers.pop(key, None)

    def set_session_timer(self, session: Session, name: str, at: float) -> None:
        session.timers[name] = at
        self.rescheduled[session.id] = None

    def drop_session_timer(self, session: Session, name: str) -> None:
        session.timers.pop(name, None)
        self.rescheduled[session.id] = None

    def take_rescheduled(self) -> list[str]:
        """Sessions whose next deadline may have changed since the last call."""
        found, self.rescheduled = self.rescheduled, {}
        return list(found)

    def _next_due(self) -> float | None:
        """The earliest timer; those that were dropped or moved since they were set are forgotten on the way."""
        due, timers = self._due, self.timers
        while due and timers.get(due[0][1]) != due[0][0]:
            heapq.heappop(due)
        return due[0][0] if due else None

    def take_due(self) -> tuple[str, ...] | None:
        """The earliest timer of the house whose time has come: it is taken away."""
        at = self._next_due()
        if at is None or at > self.now:
            return None
        key = heapq.heappop(self._due)[1]
        del self.timers[key]
        return key

    def next_deadline(self, session: str | None = None) -> float | None:
        """The next instant at which `handle_timeout` wants to be called.

        Arguments:
            session: only this session's timers; None: those that belong to no session.
        """
        if session is None:
            return self._next_due()
        found = self.sessions.get(session)
        earliest = math.inf if found is None else min(found.timers.values(), default=math.inf)
        ring = self.rings.get(session) if found is not None and found.phase == "ringing" else None
        if ring is not None and ring.next_at is not None:
            earliest = min(earliest, ring.next_at)
        return None if earliest == math.inf else earliest


def _newest_views(effects: list[Effect]) -> list[Effect]:
    """Of several views of one thing that a step shows to one device only the last: the others are out of date by then.

    One of them might even come behind the event that made it so, since events are told in the order of `Order`.
    """
    last: dict[tuple[DeviceAddress, tuple[str, ...]], int] = {}
    older: set[int] = set()
    for place, effect in enumerate(effects):
        if isinstance(effect, Notify) and isinstance(effect.notification, COALESCED):
            key = (effect.address, effect.notification.coalesce_key)
            before = last.get(key)
            if before is not None:
                older.add(before)
            last[key] = place
    return [effect for place, effect in enumerate(effects) if place not in older] if older else effects
