"""What the media side of calls counts: gates, drops and sockets, the legs that have ended included."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import fields
from typing import Final

import trio

from triortc.engine.calls.call_legs import Leg
from triortc.engine.endpoint import Endpoint
from triortc.engine.relay.accelerated_plane import AcceleratedPlane
from triortc.engine.relay.gate import GateStatistics
from triortc.engine.relay.plane import DataPlane
from triortc.engine.udp import SocketCounters

__all__ = ["AT_ONCE", "LegCounters"]

#: Of so many legs the counts are brought up to date whenever somebody reads them.
AT_ONCE: Final = 32
_IN_A_TURN: Final = 8
_ROUND_EVERY_S: Final = 1.0

#: Counters of a media thread that its sockets' own counters do not know.
_OF_SOCKETS: Final = frozenset(field.name for field in fields(SocketCounters))
_OF_GATES: Final = tuple(field.name for field in fields(GateStatistics))


class LegCounters:
    """Totals since the start.

    To bring the counts of a leg up to date, its flows are settled, which takes some microseconds each: of many legs a
    task does it, a few in a turn, so that no packet waits for all of them.

    Attributes:
        totals: as far as they are brought up to date.
    """

    def __init__(self, endpoint: Endpoint, plane: DataPlane) -> None:
        self._endpoint = endpoint
        self._plane = plane
        self._seen: dict[str, dict[str, int]] = {}
        self.totals: Counter[str] = Counter({f"gate.{name}": 0 for name in _OF_GATES})

    def keep(self, leg: Leg) -> None:
        """The leg's transport is about to end: what it has counted goes on being counted."""
        self._update(leg)
        self._seen.pop(leg.name, None)

    def read(self, legs: Mapping[str, Leg]) -> Counter[str]:
        """By name, of these open legs and all before them.

        Of more than a few legs, what they have counted is as old as the last round of `follow`.
        """
        if len(legs) <= AT_ONCE:
            for leg in legs.values():
                self._update(leg)
        total = Counter(self.totals)
        directory = self._endpoint.directory
        total["endpoint.wakeups"] = self._endpoint.wakeups
        total["endpoint.unknown_username"] = directory.unknown_username
        total["endpoint.unknown_address"] = directory.unknown_address
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

    async def follow(self, legs: Mapping[str, Leg]) -> None:
        """Keep the counts of many legs up to date, until they are few again."""
        while len(legs) > AT_ONCE:
            for turn, leg in enumerate(list(legs.values()), 1):
                if leg.name in legs:  # it may have ended since
                    self._update(leg)
                if turn % _IN_A_TURN == 0:
                    await trio.lowlevel.checkpoint()
            await trio.sleep(_ROUND_EVERY_S)

    def _update(self, leg: Leg) -> None:
        if leg.transport is None:
            return
        counts: dict[str, int] = {}
        for statistics in self._plane.statistics(leg.name).values():
            for name in _OF_GATES:
                counts[f"gate.{name}"] = counts.get(f"gate.{name}", 0) + getattr(statistics, name)
        for name, value in leg.transport.dropped().items():
            counts[f"dropped.{name}"] = value
        seen = self._seen.get(leg.name, {})
        for name, value in counts.items():
            self.totals[name] += value - seen.get(name, 0)
        self._seen[leg.name] = counts
