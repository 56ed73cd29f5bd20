"""What call events tell to metrics and logs: one small state for each running session, forgotten with it. No I/O."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from triortc.engine.calls.call_events import CallEvent

__all__ = ["CallLog", "CallTimes", "Observation"]

_logger: Final = logging.getLogger("triortc.calls")


class Observation(Protocol):
    """Where a duration goes: a histogram of prometheus_client is one."""

    def observe(self, amount: float) -> None:
        """Count a duration, in seconds."""


@dataclass(slots=True)
class _Running:
    state: str
    rang_at_ms: int | None = None
    go_at_ms: int | None = None
    handoff_at_ms: int | None = None


class CallTimes:
    """Turns the steps of calls into durations and counts.

    Args:
        ring_timeout_s: when a ring has to end.
        go_to_active, ring_lateness, handoff, talk: where durations go.
        on_ended: told outcome and reason of each call.
    """

    def __init__(
        self,
        *,
        ring_timeout_s: float,
        go_to_active: Observation,
        ring_lateness: Observation,
        handoff: Observation,
        talk: Observation,
        on_ended: Callable[[str, str], None],
    ) -> None:
        self._ring_timeout_ms = ring_timeout_s * 1000
        self._go_to_active = go_to_active
        self._ring_lateness = ring_lateness
        self._handoff = handoff
        self._talk = talk
        self._on_ended = on_ended
        self._running: dict[str, _Running] = {}

    def take(self, event: CallEvent) -> None:
        """Take one event, in the order in which they happen."""
        running = self._running.setdefault(event.session, _Running(event.state))
        running.state = event.state
        match event.name:
            case "call.ringing":
                running.rang_at_ms = event.at_ms
            case "call.connecting":
                running.go_at_ms = event.at_ms
            case "call.handoff":
                running.handoff_at_ms = event.at_ms
            case "call.moved" if running.handoff_at_ms is not None:
                self._handoff.observe(max(0, event.at_ms - running.handoff_at_ms) / 1000)
                running.handoff_at_ms = None
            case "call.active" if running.go_at_ms is not None:
                self._go_to_active.observe(max(0, event.at_ms - running.go_at_ms) / 1000)
                running.go_at_ms = None
            case "call.ended":
                self._ended(event, running)
            case _:
                pass

    def _ended(self, event: CallEvent, running: _Running) -> None:
        del self._running[event.session]
        self._on_ended(event.outcome or "", event.reason or "")
        if event.talk_ms:
            self._talk.observe(event.talk_ms / 1000)
        if event.reason == "ring_timeout" and running.rang_at_ms is not None:
            self._ring_lateness.observe(max(0.0, event.at_ms - running.rang_at_ms - self._ring_timeout_ms) / 1000)

    def by_state(self) -> dict[str, int]:
        """How many calls are in each state."""
        found: dict[str, int] = {}
        for running in self._running.values():
            found[running.state] = found.get(running.state, 0) + 1
        return found


class CallLog:
    """Writes a line for each step of each call, with the ids in fields of their own."""

    def take(self, event: CallEvent) -> None:
        """Log one event."""
        _logger.info(
            "%s",
            event.name,
            extra={
                "event": event.name,
                "session": event.session,
                "org": event.org,
                "conversation": event.conversation,
                "agent": event.agent,
                "state": event.state,
                "outcome": event.outcome,
                "reason": event.reason,
                "talk_ms": event.talk_ms or None,
            },
        )
