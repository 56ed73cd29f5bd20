"""What the media side of calls counts: gates, drops and sockets, the legs that have ended included."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import fields
from typing import Final

from triortc.engine.calls.call_legs import Leg
from triortc.engine.endpoint import Endpoint
from triortc.engine.relay.accelerated_plane import AcceleratedPlane
from triortc.engine.relay.gate import GateStatistics
from triortc.engine.relay.plane import DataPlane
from triortc.engine.udp import SocketCounters

__all__ = ["LegCounters"]

#: Counters of a media thread that its sockets' own counters do not know.
_OF_SOCKETS: Final = frozenset(field.name for field in fields(SocketCounters))
_OF_GATES: Final = tuple(field.name for field in fields(GateStatistics))


class LegCounters:
    """Totals since the start.

    Attributes:
        ended: what belongs to no open leg.
    """

    def __init__(self, endpoint: Endpoint, plane: DataPlane) -> None:
        self._endpoint = endpoint
        self._plane = plane
        self.ended: Counter[str] = Counter({f"gate.{name}": 0 for name in _OF_GATES})

    def keep(self, leg: Leg) -> None:
        """The leg's transport is about to end: what it has counted goes on being counted."""
        self._count(leg, self.ended)

    def totals(self, legs: Iterable[Leg]) -> Counter[str]:
        """By name, of these open legs and all before them."""
        total = Counter(self.ended)
        for leg in legs:
            self._count(leg, total)
        counters = self._endpoint.counters
        total["endpoint.wakeups"] = counters.wakeups
        total["endpoint.unknown_username"] = counters.unknown_username
        total["endpoint.unknown_address"] = counters.unknown_address
        if isinstance(self._plane, AcceleratedPlane):
            for name, value in self._plane.counters().items():
                total[f"{'udp' if name in _OF_SOCKETS else 'forwarder'}.{name}"] += value
            total["forwarder.open_flows"] = self._plane.open_flow_count
        for socket in self._endpoint.sockets:
            total["udp.received"] += socket.counters.received
            total["udp.sent"] += socket.counters.sent
            total["udp.send_calls"] += socket.counters.send_calls
            total["udp.send_errors"] += socket.counters.send_errors
            total["udp.overflowed"] += socket.counters.overflowed
        return total

    def _count(self, leg: Leg, total: Counter[str]) -> None:
        if leg.transport is None:
            return
        for statistics in self._plane.statistics(leg.name).values():
            for name in _OF_GATES:
                total[f"gate.{name}"] += getattr(statistics, name)
        for name, value in leg.transport.dropped().items():
            total[f"dropped.{name}"] += value
