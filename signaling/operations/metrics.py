"""Metrics in Prometheus' text format. Counters are read where they are kept, when somebody asks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from triortc.engine.calls.call_events import CallEvent
from triortc.signaling.operations.relay_latency import COUNTED, RelayLatency
from triortc.signaling.operations.watching import CallTimes

__all__ = ["METRICS_TYPE", "Metrics"]

METRICS_TYPE: Final = CONTENT_TYPE_LATEST

_QUICK: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 15)
_LATE: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)
_TALK: Final = (10, 30, 60, 120, 300, 600, 1200, 2400, 3600, 7200)
#: What rises and falls; everything else in `/health` only grows.
_GAUGES: Final = re.compile(
    r"(^|_)(open|open_connections|handshakes|sessions|waiting|queued|running|legs|lag|bytes_used|size|journal_bytes)$"
)


class Metrics:
    """Everything that `/metrics` shows.

    Args:
        health: the counters of every room, as `/health` shows them: numbers, by room.
        ring_timeout_s: when a ring has to end.
    """

    def __init__(self, health: Callable[[], Mapping[str, object]], *, ring_timeout_s: float) -> None:
        self.registry = CollectorRegistry()
        ended = Counter("triortc_calls_ended", "calls by how they ended", ("outcome", "reason"), registry=self.registry)
        self.loop_lateness = self._histogram("loop_lateness", "how late the loop wakes a task that sleeps", _LATE)
        self.relay_latency = RelayLatency(health)
        self.registry.register(self.relay_latency)
        self._times = CallTimes(
            ring_timeout_s=ring_timeout_s,
            go_to_active=self._histogram("go_to_active", "from Go to the call that both see and hear", _QUICK),
            ring_lateness=self._histogram("ring_lateness", "from a ring's deadline to its end", _LATE),
            handoff=self._histogram("handoff", "from another device's request to its being in the call", _QUICK),
            talk=self._histogram("talk", "how long both could talk", _TALK),
            on_ended=lambda outcome, reason: ended.labels(outcome, reason).inc(),
        )
        self.registry.register(_HealthCollector(health, self._times.by_state))

    def _histogram(self, name: str, meaning: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"triortc_{name}_seconds", meaning, buckets=buckets, registry=self.registry)

    def take(self, event: CallEvent) -> None:
        """Take one call event."""
        self._times.take(event)

    def render(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self.registry)


class _HealthCollector(Collector):
    def __init__(self, health: Callable[[], Mapping[str, object]], by_state: Callable[[], Mapping[str, int]]) -> None:
        self._health = health
        self._by_state = by_state

    def describe(self) -> Iterable[Metric]:
        return ()  # what there is depends on the configuration

    def collect(self) -> Iterator[Metric]:
        calls = GaugeMetricFamily("triortc_calls", "calls that are on, by state", labels=["state"])
        for state, count in sorted(self._by_state().items()):
            calls.add_metric([state], count)
        yield calls
        for name, value in sorted(_numbers("triortc", self._health())):
            if _GAUGES.search(name):
                yield GaugeMetricFamily(name, f"{_words(name)}, now", value=value)
            else:
                yield CounterMetricFamily(name.removesuffix("_total"), f"{_words(name)}, since the start", value=value)


def _numbers(prefix: str, values: Mapping[str, object]) -> Iterator[tuple[str, float]]:
    for key, value in values.items():
        name = f"{prefix}_{re.sub(r'[^a-z0-9]+', '_', str(key).lower())}"
        if isinstance(value, Mapping):
            yield from _numbers(name, value)
        elif key in COUNTED:
            continue  # a histogram's
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield name, float(value)


def _words(name: str) -> str:
    return name.removeprefix("triortc_").removesuffix("_total").replace("_", " ")
