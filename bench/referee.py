"""Watches call control from outside, and says when a rule of docs/calls-numbers.md was broken.

It sees what devices are told, what the media side is asked for, and what history gets; never the tables or the state.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from triortc.engine.calls.actor import DeviceAddress, Principal
from triortc.engine.calls.configuration import CallConfiguration
from triortc.engine.calls.effects import AppendHistory, Effect, Notify, OpenLeg, SetGate
from triortc.engine.calls.gate_table import GateState
from triortc.engine.calls.history_records import SessionRecord
from triortc.engine.calls.notifications import (
    CallActive,
    CallEnded,
    ConversationChanged,
    ConversationRemoved,
    Notification,
    PresenceChanged,
    RingEnded,
    RingOffer,
)

__all__ = ["Referee"]

_TOLERANCE_S = 0.001


@dataclass(slots=True)
class _Seen:
    """What was seen of one session."""

    answered: bool = False
    active: bool = False
    over: bool = False
    open_gates: set[tuple[str, str]] = field(default_factory=set)
    ended: Counter[DeviceAddress] = field(default_factory=Counter)


class Referee:
    """Arguments:
    configuration: the rules' timers.

    Attributes:
        violations: number of the rule and how often it was broken.
        examples: the first breach of each rule, in words.
        lateness_s: how long after its deadline each unanswered ring ended.
        records: what history got.
    """

    def __init__(self, configuration: CallConfiguration) -> None:
        self.violations: Counter[str] = Counter()
        self.examples: dict[str, str] = {}
        self.lateness_s: list[float] = []
        self.records: list[SessionRecord] = []
        self._configuration = configuration
        self._sessions: dict[str, _Seen] = {}
        self._legs: dict[str, tuple[str, str]] = {}
        self._busy: dict[Principal, str] = {}
        self._offered: dict[Principal, RingOffer] = {}
        self._rings: dict[str, float] = {}
        self._heard: set[str] = set()
        self._chats: dict[Principal, set[str]] = {}
        self._muted: set[tuple[str, str]] = set()
        self._video: dict[Principal, str] = {}

    def _broken(self, number: str, now: float, words: str) -> None:
        self.violations[number] += 1
        self.examples.setdefault(number, f"at {now:.3f} s: {words}")

    def _of(self, session: str) -> _Seen:
        return self._sessions.setdefault(session, _Seen())

    # --- what is seen

    def watch(self, effects: list[Effect], now: float) -> None:
        """Take in the effects of a step, in their order."""
        for effect in effects:
            if isinstance(effect, OpenLeg):  # its gates may be told first, closed
                self._legs[effect.leg] = (effect.session, effect.side)
        for effect in effects:
            match effect:
                case Notify(address, notification):
                    self._told(address, notification, now)
                case SetGate(session, leg, kind, state, _):
                    self._gate(session, leg, kind, state, now)
                case AppendHistory(record):
                    self._recorded(record, now)
        # Judged when the step is over: what made room for a ring may be told behind it.
        for agent, offer in self._offered.items():
            self._rung(agent, offer, now)
        self._offered.clear()

    def accepted(self, session: str) -> None:
        """An agent's "Go" or join was answered with `ok`."""
        self._of(session).answered = True

    def muted(self, leg: str, kind: str, muted: bool, now: float) -> None:
        """A `media.set` was answered with `ok`."""
        if not muted:
            self._muted.discard((leg, kind))
            return
        self._muted.add((leg, kind))
        session, _ = self._legs[leg]
        if (leg, kind) in self._of(session).open_gates:
            self._broken("I15", now, f"{kind} of {leg} passes though it is muted")

    def _told(self, address: DeviceAddress, notification: Notification, now: float) -> None:
        agent = address.principal
        match notification:
            case RingOffer():
                self._offered[agent] = notification
            case RingEnded(session=session):
                self._silent(notification, now)
                if not self._of(session).answered and self._busy.get(agent) == session:
                    del self._busy[agent]
            case CallActive(session=session):
                self._of(session).active = True
            case CallEnded(session=session):
                seen = self._of(session)
                seen.ended[address] += 1
                if seen.ended[address] > 1:
                    self._broken("I23", now, f"{address.sub} was told twice that {session} has ended")
            case PresenceChanged(channel="video", agent=sub, effective=effective):
                self._video[Principal(address.org, "agent", sub)] = effective
            case ConversationRemoved(conversation=conversation):
                self._chats.setdefault(agent, set()).discard(conversation)
            case ConversationChanged() if address.role == "agent":
                mine = notification.assignee == address.sub and notification.state == "open"
                chats = self._chats.setdefault(agent, set())
                (chats.add if mine else chats.discard)(notification.conversation)

    def _silent(self, told: RingEnded, now: float) -> None:
        if told.ring in self._heard or told.ring not in self._rings:
            return
        self._heard.add(told.ring)
        rang_s = now - self._rings[told.ring]
        late_s = rang_s - self._configuration.ring_timeout_s
        if late_s > _TOLERANCE_S:
            self._broken("I7", now, f"{told.session} rang for {rang_s:.1f} s")
        if told.reason == "timeout":
            self.lateness_s.append(late_s)

    def _rung(self, agent: Principal, offer: RingOffer, now: float) -> None:
        session = offer.session
        other = self._busy.get(agent)
        if other is not None and other != session and not self._of(other).over:
            self._broken("I1", now, f"{agent.sub} is rung for {session} while {other} has them")
        if offer.ring not in self._rings:
            self._rings[offer.ring] = now
            others = self._chats.get(agent, set()) - {offer.conversation}
            if others and offer.kind == "call":
                self._broken("I31", now, f"{agent.sub} is rung for {session} beside an open chat")
        self._busy[agent] = session

    def _gate(self, session: str, leg: str, kind: str, state: GateState, now: float) -> None:
        seen, (_, side) = self._of(session), self._legs[leg]
        if state is not GateState.OPEN:
            seen.open_gates.discard((leg, kind))
            return
        seen.open_gates.add((leg, kind))
        if side == "agent" and not (seen.answered and seen.active):
            self._broken("I13", now, f"{kind} of the agent passes in {session} before the call is active")
        if (leg, kind) in self._muted:
            self._broken("I15", now, f"{kind} of {leg} is opened though it is muted")
        if seen.over:
            self._broken("I16", now, f"{kind} of {leg} is opened after the end")

    def _recorded(self, record: SessionRecord, now: float) -> None:
        seen = self._of(record.session)
        if seen.over:
            self._broken("I22", now, f"{record.session} is recorded twice")
        seen.over = True
        self.records.append(record)
        if record.outcome == "no_answer" and record.ring_at is not None:
            rang_s = (record.ended_at - record.ring_at) / 1000
            if rang_s < self._configuration.ring_timeout_s - _TOLERANCE_S:
                self._broken("I26", now, f"{record.session} is called unanswered after {rang_s:.1f} s")

    # --- the end of the day

    def close(self, now: float, claims: int, devices: dict[Principal, bool]) -> None:
        """Nothing may be left. `devices`: whether an agent is there without a chat."""
        for session, seen in self._sessions.items():
            if seen.open_gates and seen.over:
                self._broken("I16", now, f"a gate of {session} is open after its end")
            if not seen.over:
                self._broken("I44", now, f"{session} never ended")
        for _ in range(claims):
            self._broken("I24", now, "a claim outlived its session")
        for agent, free in devices.items():
            if free and self._video.get(agent, "unavailable") == "busy":
                self._broken("I28", now, f"{agent.sub} is orange with nothing to do")
