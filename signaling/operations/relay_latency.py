"""How long packets were on their way through the relay, in Prometheus' terms, whichever data plane carried them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate

from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from triortc.engine.relay.core_layout import COUNTERS, LATENCIES

__all__ = ["COUNTED", "RelayLatency"]

_BOUNDS = (*(str(bound_s) for bound_s in LATENCIES), "+Inf")
_BUCKETS = tuple(name for name in COUNTERS if name.startswith("latency_us_"))
_SUM = "latency_sum_ns"
#: Counters of the accelerated plane's core, which has timed every packet by the same bounds.
COUNTED = frozenset((*_BUCKETS, _SUM))


class RelayLatency(Collector):
    """A histogram of what is observed, packets that the Python plane has carried, and of what the core has counted.

    Args:
        health: the counters of every room, as `/health` shows them.
    """

    def __init__(self, health: Callable[[], Mapping[str, object]]) -> None:
        self._health = health
        self._counts = [0] * len(_BOUNDS)
        self._sum_s = 0.0

    def observe(self, latency_s: float) -> None:
        """Count one packet's."""
        self._counts[bisect_left(LATENCIES, latency_s)] += 1
        self._sum_s += latency_s

    def describe(self) -> list[Metric]:
        """Its name is taken."""
        return [self._family()]

    def collect(self) -> Iterator[Metric]:
        """All that was observed and counted since the start."""
        core = self._health().get("forwarder")
        counted = core if isinstance(core, Mapping) else {}
        counts = [own + counted.get(name, 0) for own, name in zip(self._counts, _BUCKETS, strict=True)]
        family = self._family()
        family.add_metric(
            [],
            list(zip(_BOUNDS, accumulate(counts), strict=True)),
            self._sum_s + counted.get(_SUM, 0) * 1e-9,
        )
        yield family

    def _family(self) -> HistogramMetricFamily:
        return HistogramMetricFamily(
            "triortc_relay_latency_seconds", "from a packet's arrival in the kernel until it is sent on"
        )
