"""The event log of a session as a file: JSON lines, the first of which says the format, its version and the clock.

    {"log": "triortc.session", "version": 1, "session": "vs_…", "unix_ms_at_zero": 1764271000000}
    {"n": 0, "at": 812.25, "row": "", "state_from": "new", "event": "int.created", …}

A process that goes on with another one's session writes a first line of its own, since its clock is another. A file
whose last line was cut off by a crash is read up to there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Final, Protocol

from triortc.engine.calls.session import LogRecord, Session, replay
from triortc.errors import CallError

__all__ = ["VERSION", "EventLog", "EventLogError", "EventLogPort", "header", "read_event_log"]

VERSION: Final = 1
_FORMAT: Final = "triortc.session"
_FIELDS: Final = frozenset(field.name for field in fields(LogRecord))


class EventLogPort(Protocol):
    """Where every transition of every session is written down, as it happens."""

    def append(self, session: str, record: LogRecord) -> None:
        """Keep a record. Never blocks, never raises."""


class EventLogError(CallError):
    """A file is no event log, is of another version, or does not replay to what it says."""


@dataclass(slots=True, frozen=True)
class EventLog:
    """A session's story.

    Attributes:
        session: its id.
        records: the transitions, the first of which says what the session was made of.
        stamps: when each happened, in unix milliseconds.
        states: the session after each record, as the reducer gives it now.
        cut_off: whether the last line was not whole.
    """

    session: str
    records: tuple[LogRecord, ...]
    stamps: tuple[int, ...]
    states: tuple[Session, ...]
    cut_off: bool = False


def header(session: str, unix_ms_at_zero: int) -> str:
    """The first line of a session's file, without its end."""
    made = {"log": _FORMAT, "version": VERSION, "session": session, "unix_ms_at_zero": unix_ms_at_zero}
    return json.dumps(made, separators=(",", ":"))


def read_event_log(lines: Iterable[str]) -> EventLog:
    """Read a log and fold it through the reducer (I43).

    Arguments:
        lines: the file's lines.

    Raises:
        EventLogError: it is no event log, of another version, damaged before its end, or the reducer disagrees with it.
    """
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not numbered:
        raise EventLogError("the file is empty: an event log begins with a line that says its version")
    session, zero = _header(_parsed(numbered[0], last=False))
    records: list[LogRecord] = []
    stamps: list[int] = []
    cut_off = False
    for place in numbered[1:]:
        values = _parsed(place, last=place is numbered[-1])
        if values is None:
            cut_off = True
        elif isinstance(values, dict) and "log" in values:
            _, zero = _header(values)
        else:
            records.append(_record(place[0], values))
            stamps.append(zero + round(records[-1].at * 1000))
    try:
        states = replay(records)
    except (ValueError, TypeError, KeyError) as error:
        raise EventLogError(f"the log does not replay: {error}") from error
    if states and states[0].id != session:
        raise EventLogError(f"line 1 speaks of {session}, the records of {states[0].id}")
    return EventLog(session, tuple(records), tuple(stamps), tuple(states), cut_off)


def _header(values: object) -> tuple[str, int]:
    """The session and the wall clock at monotonic zero."""
    if not isinstance(values, dict) or values.get("log") != _FORMAT:
        raise EventLogError("line 1 does not say that this is an event log of a session")
    if values.get("version") != VERSION:
        version = values.get("version")
        raise EventLogError(f"this is version {version} of event logs; this build reads version {VERSION}")
    session, zero = values.get("session"), values.get("unix_ms_at_zero")
    if not isinstance(session, str) or not isinstance(zero, int):
        raise EventLogError("line 1 lacks the session or the clock")
    return session, zero


def _parsed(place: tuple[int, str], *, last: bool) -> object:
    """A line's value; None if it is the last one and not whole."""
    number, line = place
    try:
        return json.loads(line)
    except ValueError as error:
        if last and not line.endswith("\n"):
            return None
        raise EventLogError(f"line {number} is not JSON: {error}") from error


def _record(number: int, values: object) -> LogRecord:
    if not isinstance(values, dict) or set(values) != _FIELDS or not isinstance(values["data"], dict):
        raise EventLogError(f"line {number} is no record: it needs {', '.join(sorted(_FIELDS))}")
    return LogRecord(**values)
