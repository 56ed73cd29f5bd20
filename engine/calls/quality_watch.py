"""Looks at the way to every device that is in a call, once an interval each, and tells call control what changed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Final

import trio

from triortc.engine.calls.media_events import LegQuality
from triortc.engine.calls.quality import QualityConfiguration, QualityMeter, observe
from triortc.engine.deadlines import DeadlineClock, Timed
from triortc.engine.session.session import Session

__all__ = ["QualityWatch"]

_logger: Final = logging.getLogger(__name__)


class QualityWatch:
    """Looks at many legs by one task: their looks are spread as their calls began.

    Arguments:
        nursery: the task lives here.
        configuration: the interval, and what is worth telling.
        tell: called with what a device should hear.
    """

    def __init__(
        self, nursery: trio.Nursery, configuration: QualityConfiguration, tell: Callable[[LegQuality], None]
    ) -> None:
        self._configuration = configuration
        self._tell = tell
        self._looks: dict[str, tuple[_Look, Timed]] = {}
        self._clock = DeadlineClock()
        nursery.start_soon(self._clock.run, name="quality of legs")

    def start(self, leg: str, transport: Callable[[], Session | None]) -> None:
        """Look at a leg from now on; once is enough.

        Arguments:
            leg: its name.
            transport: the session that it has at the moment.
        """
        if leg in self._looks:
            return
        look = _Look(leg, transport, self._configuration, self._tell)
        look.take(trio.current_time())
        timed = Timed(look.due_at, look.take, partial(_failed, leg))
        self._looks[leg] = look, timed
        self._clock.watch(timed)

    def stop(self, leg: str) -> None:
        """The leg is closed; one that is not looked at is ignored."""
        found = self._looks.pop(leg, None)
        if found is not None:
            look, timed = found
            look.end()
            self._clock.forget(timed)


class _Look:
    """One leg that is looked at."""

    __slots__ = ("_configuration", "_due_at", "_judged", "_leg", "_meter", "_tell", "_transport")

    def __init__(
        self,
        leg: str,
        transport: Callable[[], Session | None],
        configuration: QualityConfiguration,
        tell: Callable[[LegQuality], None],
    ) -> None:
        self._leg = leg
        self._transport = transport
        self._configuration = configuration
        self._tell = tell
        self._judged: Session | None = None
        self._meter = QualityMeter(configuration)
        self._due_at = 0.0

    def due_at(self) -> float:
        """When to look again."""
        return self._due_at

    def take(self, now: float) -> None:
        """Look; the first look at an association is what the next one is compared with."""
        self._due_at = now + self._configuration.interval_s
        session = self._transport()
        if session is not self._judged:  # another association counts anew
            self._judged, self._meter = session, QualityMeter(self._configuration)
        if session is not None:
            found = self._meter.take(observe(session.media, session.ice.rtt_s), now)
            if found is not None:
                self._tell(LegQuality(self._leg, *found))

    def end(self) -> None:
        """Let go of the session: what the clock still has of this look must not keep it."""
        self._transport, self._judged = _nobody, None


def _nobody() -> None:
    """Nobody is looked at any more."""


def _failed(leg: str, error: Exception) -> None:
    _logger.error("the way to leg %s is not looked at any more", leg, exc_info=error)
