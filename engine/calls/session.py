"""One video session as a value, and `step`: the pure function from a session and an event to the next session.

Everything an event needs from outside (deadlines, permissions, epochs, ids) comes with it as data, so an event log
folds to the same states on any machine, at any time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from copy import copy
from dataclasses import asdict
from typing import Final, NamedTuple

import msgspec

from triortc.engine.calls.actor import DeviceAddress, Principal
from triortc.engine.calls.machine import SAME, Machine, Row
from triortc.engine.calls.ports import Side
from triortc.engine.calls.session_table import GUARDS, OUTCOMES, ROWS, Facts, Value
from triortc.engine.calls.value import value

__all__ = ["SESSIONS", "LogRecord", "Pending", "Session", "SessionEvent", "replay", "step"]

SESSIONS: Final[Machine[Facts]] = Machine("session", ROWS, GUARDS)


class SessionEvent(NamedTuple):
    """Something that happens to a session: its name in the table, who caused it, and facts as JSON values."""

    name: str
    actor: str
    data: Mapping[str, Value]


@value(slots=True, frozen=True)
class Pending:
    """A device that is taking the call over and has not delivered media yet."""

    leg: str
    side: Side
    device: str
    deadline: float


class Session(msgspec.Struct):
    """The state of a session.

    Times are monotonic seconds; `phase` is `in_call` for the three states of a call that runs.
    """

    id: str
    org: str
    conversation: str
    visitor: str
    origin: str
    group: str
    requested_at: float
    audio: bool = True
    video: bool = True
    visitor_device: str | None = None
    visitor_leg: str | None = None
    was_unassigned: bool = True
    invitation: str | None = None
    preview: bool = False
    missed_by: tuple[str, ...] = ()
    phase: str = "new"
    version: int = 0
    agent: str | None = None
    epoch: int = 0
    agent_device: str | None = None
    agent_leg: str | None = None
    ring: str | None = None
    ring_at: float | None = None
    deadline: float = 0.0
    answered_at: float | None = None
    active_at: float | None = None
    ended_at: float | None = None
    outcome: str | None = None
    reason: str | None = None
    pending: Pending | None = None
    grace: dict[str, float] = msgspec.field(default_factory=dict)
    timers: dict[str, float] = msgspec.field(default_factory=dict)
    talk_s: float = 0.0
    talk_since: float | None = None
    recording: str | None = None
    recording_by: str | None = None
    recordings: tuple[str, ...] = ()

    @property
    def state(self) -> str:
        """The public state: a leg in grace shows as `reconnecting`, else a pending leg as `handoff`, else `active`."""
        if self.phase != "in_call":
            return self.phase
        if self.grace:
            return "reconnecting"
        return "handoff" if self.pending is not None else "active"

    @property
    def ended(self) -> bool:
        return self.phase == "ended"

    @property
    def answered(self) -> bool:
        return self.phase in ("connecting", "in_call")

    @property
    def agent_principal(self) -> Principal | None:
        return None if self.agent is None else Principal(self.org, "agent", self.agent)

    @property
    def visitor_principal(self) -> Principal:
        return Principal(self.org, "visitor", self.visitor)

    @property
    def agent_address(self) -> DeviceAddress | None:
        """The committed device of the agent."""
        if self.agent is None or self.agent_device is None:
            return None
        return DeviceAddress(self.org, "agent", self.agent, self.agent_device)

    @property
    def visitor_address(self) -> DeviceAddress | None:
        """The visitor's device that is in the call."""
        return (
            None
            if self.visitor_device is None
            else DeviceAddress(self.org, "visitor", self.visitor, self.visitor_device)
        )

    def leg_of(self, side: str) -> str | None:
        return self.agent_leg if side == "agent" else self.visitor_leg

    def side_of(self, leg: str) -> Side | None:
        """The side that this committed leg feeds; None for any other leg."""
        if leg == self.agent_leg:
            return "agent"
        return "visitor" if leg == self.visitor_leg else None

    @property
    def talk_ms(self) -> int:
        return round(self.talk_s * 1000)


@value(slots=True, frozen=True)
class LogRecord:
    """One line of a session's event log. Record 0 holds what the session was made of."""

    n: int
    at: float
    row: str
    state_from: str
    event: str
    state_to: str
    actor: str
    epoch: int
    data: dict[str, Value]

    def to_json(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, line: str) -> LogRecord:
        return cls(**json.loads(line))

    @classmethod
    def created(cls, session: Session) -> LogRecord:
        made: dict[str, Value] = {
            "id": session.id,
            "org": session.org,
            "conversation": session.conversation,
            "visitor": session.visitor,
            "origin": session.origin,
            "group": session.group,
            "requested_at": session.requested_at,
            "audio": session.audio,
            "video": session.video,
            "visitor_device": session.visitor_device,
            "visitor_leg": session.visitor_leg,
            "was_unassigned": session.was_unassigned,
            "invitation": session.invitation,
            "preview": session.preview,
        }
        return cls(0, session.requested_at, "", "new", "int.created", "new", "system", 0, made)


def _number(data: Mapping[str, Value], key: str) -> float:
    value = data[key]
    if not isinstance(value, int | float):
        raise TypeError(f"the fact {key!r} of a session event must be a number, not {value!r}")
    return float(value)


def _text(data: Mapping[str, Value], key: str) -> str:
    value = data[key]
    if not isinstance(value, str):
        raise TypeError(f"the fact {key!r} of a session event must be a string, not {value!r}")
    return value


def _start_ring(session: Session, data: Mapping[str, Value], now: float) -> None:
    session.agent = _text(data, "agent")
    session.ring = _text(data, "ring")
    session.epoch = int(_number(data, "epoch"))
    session.ring_at = now
    session.deadline = _number(data, "deadline")
    session.timers["T_ring"] = session.deadline
    session.timers.pop("T_queue", None)


def _enqueue(session: Session, data: Mapping[str, Value], now: float) -> None:
    if data.get("queue_deadline") is not None:
        session.timers["T_queue"] = _number(data, "queue_deadline")


def _leave_agent(session: Session, data: Mapping[str, Value], now: float) -> None:
    session.missed_by = (*session.missed_by, _text(data, "from"))
    session.agent, session.ring, session.epoch, session.deadline = None, None, 0, 0.0
    session.timers.pop("T_ring", None)
    _enqueue(session, data, now)


def _wait(session: Session, data: Mapping[str, Value], now: float) -> None:
    session.agent = _text(data, "agent")
    session.epoch = int(_number(data, "epoch"))
    session.agent_device = _text(data, "device")
    session.agent_leg = _text(data, "leg")


def _join_visitor(session: Session, data: Mapping[str, Value], now: float) -> None:
    session.visitor_device = _text(data, "device")
    session.visitor_leg = _text(data, "leg")
    _answered(session, data, now)


def _commit(session: Session, data: Mapping[str, Value], now: float) -> None:
    session.agent_device = _text(data, "device")
    session.agent_leg = _text(data, "leg")
    _answered(session, data, now)


def _answered(session: Session, data: Mapping[str, Value], now: float) -> None:
    session.answered_at = now
    _wait_anew(session, "T_connect", _number(data, "deadline"))


def _wait_anew(session: Session, timer: str, deadline: float) -> None:
    """Of what was waited for only the end of a revoked device's part goes on being waited for (D2)."""
    revoked = {name: at for name, at in session.timers.items() if name.startswith("T_revoked:")}
    session.timers = {timer: deadline, **revoked}


def _start_call(session: Session, data: Mapping[str, Value], now: float) -> None:
    session.active_at = now
    session.timers.pop("T_connect", None)
    session.timers.pop("T_adopted", None)


def _lose_leg(session: Session, data: Mapping[str, Value], now: float) -> None:
    leg = _text(data, "leg")
    if leg not in session.grace:
        session.grace[leg] = _number(data, "deadline")
        session.timers[f"T_grace:{leg}"] = session.grace[leg]


def _recover_leg(session: Session, data: Mapping[str, Value], now: float) -> None:
    leg = _text(data, "leg")
    _keep_leg(session, leg)


def _keep_leg(session: Session, leg: str) -> None:
    """The leg is no longer waited for. The last one ends the wait after a take-over."""
    session.grace.pop(leg, None)
    session.timers.pop(f"T_grace:{leg}", None)
    if not session.grace:
        session.timers.pop("T_adopted", None)


def _adopt(session: Session, data: Mapping[str, Value], now: float) -> None:
    """This process takes over from one that died: what was on the way is off, both legs have to be made anew."""
    session.epoch = int(_number(data, "epoch"))
    session.pending = session.recording = session.recording_by = None
    if session.talk_since is not None:
        session.talk_s += max(0.0, _number(data, "alive_until") - session.talk_since)
        session.talk_since = None
    if not session.answered:
        return
    deadline = _number(data, "deadline")
    _wait_anew(session, "T_adopted", deadline)
    if session.phase == "in_call":
        session.grace = {leg: deadline for leg in (session.agent_leg, session.visitor_leg) if leg is not None}


def _add_pending(session: Session, data: Mapping[str, Value], now: float) -> None:
    side: Side = "agent" if data["side"] == "agent" else "visitor"
    session.pending = Pending(_text(data, "leg"), side, _text(data, "device"), _number(data, "deadline"))
    session.timers["T_handoff"] = session.pending.deadline


def _drop_pending(session: Session, data: Mapping[str, Value], now: float) -> None:
    session.pending = None
    session.timers.pop("T_handoff", None)


def _switch_source(session: Session, data: Mapping[str, Value], now: float) -> None:
    pending = session.pending
    if pending is None:
        return
    old = session.leg_of(pending.side)
    if old is not None:
        _keep_leg(session, old)
    session.timers.pop(f"T_revoked:{pending.side}", None)
    if pending.side == "agent":
        session.agent_leg, session.agent_device = pending.leg, pending.device
    else:
        session.visitor_leg, session.visitor_device = pending.leg, pending.device
    _drop_pending(session, data, now)


def _start_recording(session: Session, data: Mapping[str, Value], now: float) -> None:
    session.recording, session.recording_by = _text(data, "recording"), _text(data, "by")
    session.recordings = (*session.recordings, session.recording)


def _stop_recording(session: Session, data: Mapping[str, Value], now: float) -> None:
    session.recording = session.recording_by = None


def _end(session: Session, outcome: str, reason: str, now: float) -> None:
    if reason not in OUTCOMES[outcome]:
        raise ValueError(f"{outcome}/{reason} is not an end that a session can have")
    session.outcome, session.reason, session.ended_at = outcome, reason, now
    session.timers, session.grace, session.pending, session.recording = {}, {}, None, None


_MUTATIONS: Final[Mapping[str, Callable[[Session, Mapping[str, Value], float], None]]] = {
    "enqueue": _enqueue,
    "start_ring": _start_ring,
    "leave_agent": _leave_agent,
    "wait": _wait,
    "join_visitor": _join_visitor,
    "commit": _commit,
    "start_call": _start_call,
    "lose_leg": _lose_leg,
    "recover_leg": _recover_leg,
    "add_pending": _add_pending,
    "drop_pending": _drop_pending,
    "switch_source": _switch_source,
    "start_recording": _start_recording,
    "stop_recording": _stop_recording,
    "adopt": _adopt,
}


def _keep_talk_clock(session: Session, now: float) -> None:
    """The talk clock runs while the call is on and no leg is lost; a mute does not stop it."""
    runs = session.phase == "in_call" and not session.grace
    if runs and session.talk_since is None:
        session.talk_since = now
    elif not runs and session.talk_since is not None:
        session.talk_s += now - session.talk_since
        session.talk_since = None


class Step(NamedTuple):
    """The result of `step`: the next session, the row taken and the line for the event log (both None: not listed)."""

    session: Session
    row: Row | None
    record: LogRecord | None


def step(session: Session, event: SessionEvent, now: float) -> Step:
    """Take the transition for an event. The given session is not changed.

    Arguments:
        session: the present state.
        event: what happens.
        now: monotonic seconds.
    """
    facts = Facts(
        event.data,
        session.deadline,
        frozenset(session.grace),
        None if session.pending is None else session.pending.leg,
        None if session.pending is None else session.pending.side,
        session.recording,
    )
    before = session.state
    row = SESSIONS.select(before, event.name, facts)
    if row is None:
        return Step(session, None, None)
    after = copy(session)
    after.grace, after.timers = dict(session.grace), dict(session.timers)
    if row.next != SAME:
        after.phase = "in_call" if row.next == "active" else row.next
    for effect in row.effects:
        if effect.startswith("end:"):
            outcome, reason = effect[4:].format_map(event.data).split("/")
            _end(after, outcome, reason, now)
        elif effect in _MUTATIONS:
            _MUTATIONS[effect](after, event.data, now)
    _keep_talk_clock(after, now)
    after.version += 1
    record = LogRecord(
        after.version, now, row.number, before, event.name, after.state, event.actor, after.epoch, dict(event.data)
    )
    return Step(after, row, record)


def replay(records: Iterable[LogRecord]) -> list[Session]:
    """Fold an event log: the session after every record, the first as it was made.

    Raises:
        ValueError: the log does not begin with record 0, or a record's event does not lead where it says it led.
    """
    states: list[Session] = []
    for record in records:
        if record.n == 0:
            states.append(Session(**record.data))  # type: ignore[arg-type]  # values are checked by the fold below
            continue
        if not states:
            raise ValueError("an event log begins with record 0, which says what the session was made of")
        session, row, _ = step(states[-1], SessionEvent(record.event, record.actor, record.data), record.at)
        if row is None or (row.number, session.state) != (record.row, record.state_to):
            raise ValueError(
                f"record {record.n} ({record.event}) does not lead from {states[-1].state} to {record.state_to}"
            )
        states.append(session)
    return states
