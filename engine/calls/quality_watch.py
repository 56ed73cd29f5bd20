"""Looks at the way to every device that is in a call, once an interval each, and tells call control what changed."""

from __future__ import annotations

from collections.abc import Callable

import trio

from triortc.engine.calls.media_events import LegQuality
from triortc.engine.calls.quality import QualityConfiguration, QualityMeter, observe
from triortc.engine.session.session import Session

__all__ = ["QualityWatch"]


class QualityWatch:
    """A task for each leg that is looked at: their looks are spread as their calls began.

    Arguments:
        nursery: the tasks live here.
        configuration: the interval, and what is worth telling.
        tell: called with what a device should hear.
    """

    def __init__(
        self, nursery: trio.Nursery, configuration: QualityConfiguration, tell: Callable[[LegQuality], None]
    ) -> None:
        self._nursery = nursery
        self._configuration = configuration
        self._tell = tell
        self._scopes: dict[str, trio.CancelScope] = {}

    def start(self, leg: str, transport: Callable[[], Session | None]) -> None:
        """Look at a leg from now on; once is enough.

        Arguments:
            leg: its name.
            transport: the session that it has at the moment.
        """
        if leg in self._scopes:
            return
        scope = self._scopes[leg] = trio.CancelScope()
        self._nursery.start_soon(self._look, leg, scope, transport, name=f"quality of {leg}")

    def stop(self, leg: str) -> None:
        """The leg is closed; one that is not looked at is ignored."""
        scope = self._scopes.pop(leg, None)
        if scope is not None:
            scope.cancel()

    async def _look(self, leg: str, scope: trio.CancelScope, transport: Callable[[], Session | None]) -> None:
        judged: Session | None = None
        meter = QualityMeter(self._configuration)
        with scope:
            while True:
                session = transport()
                if session is not judged:  # another association counts anew
                    judged, meter = session, QualityMeter(self._configuration)
                if session is not None:
                    found = meter.take(observe(session.media, session.ice.rtt_s), trio.current_time())
                    if found is not None:
                        self._tell(LegQuality(leg, *found))
                await trio.sleep(self._configuration.interval_s)
