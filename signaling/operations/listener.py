"""The operators' listener: a port of its own, on loopback unless somebody says otherwise (call-control spec 3.8b)."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Any, Final, Protocol, runtime_checkable

import trio

from triortc.engine.calls.call_events import CallEvent
from triortc.lone_errors import raises_lone_errors
from triortc.signaling.app import RunningServer
from triortc.signaling.configuration import HttpConfiguration
from triortc.signaling.http import HttpServer, UpgradeContext
from triortc.signaling.listening import listen
from triortc.signaling.operations.metrics import Metrics
from triortc.signaling.operations.site import OperationsSite
from triortc.signaling.operations.view import operations_view, timeline_view
from triortc.signaling.operations.watching import CallLog

__all__ = ["RunningOperations", "open_operations"]

_LATENESS_INTERVAL_S: Final = 1.0
_LATENCY_EVERY_S: Final = 0.05
_HTTP: Final = HttpConfiguration(max_connections=100, max_connections_per_address=0)


@dataclass(frozen=True, slots=True)
class RunningOperations:
    """The listener, as it runs.

    Attributes:
        addresses: the bound addresses.
        metrics: what `/metrics` shows.
    """

    addresses: tuple[tuple[str, int], ...]
    metrics: Metrics

    @property
    def url(self) -> str:
        """Where the operator's page is."""
        host, port = self.addresses[0]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


@runtime_checkable
class _TimesRelay(Protocol):
    """A media side that can tell how long packets stay in it."""

    def measure_relay_latency(self, on_latency: Callable[[float], None], *, every_s: float) -> None: ...


@raises_lone_errors
@asynccontextmanager
async def open_operations(
    server: RunningServer,
    *,
    host: str = "127.0.0.1",
    port: int = 9464,
    host_names: tuple[str, ...] = (),
    ring_timeout_s: float = 30.0,
    sinks: tuple[Callable[[CallEvent], None], ...] = (),
) -> AsyncGenerator[RunningOperations]:
    """Serve metrics, health and the operator's page of a running server until the block is left.

    Args:
        server: what is watched.
        host, port: where to listen; port 0: one that the system picks.
        host_names: the names that requests may use, beside the address itself and `localhost`.
        ring_timeout_s: when a ring has to end.
        sinks: told every call event, too: spans, for example. They return at once and do not raise.

    Raises:
        OSError: the address cannot be bound.
    """
    listeners = await listen(host, port)
    addresses = tuple((name[0], name[1]) for name in (listener.socket.getsockname() for listener in listeners))
    metrics = Metrics(server.health, ring_timeout_s=ring_timeout_s)
    calls = server.calls

    def timeline(session: str) -> list[dict[str, Any]] | None:
        world = calls.control.world
        return timeline_view(calls.event_log(session), world.unix_ms_at_zero) if session in world.sessions else None

    site = OperationsSite(
        health=server.health,
        ready=lambda: server.ready,
        metrics=metrics,
        view=lambda: operations_view(calls, now=trio.current_time(), unix_ms_now=time.time_ns() // 1_000_000),
        timeline=timeline,
    )
    http = HttpServer(
        site=site,
        upgraded=_no_upgrade,
        may_upgrade=lambda upgrading, peer: False,
        configuration=_HTTP,
        host_names=("localhost", host, *host_names, *(address for address, _ in addresses)),
    )
    media = server.media
    if isinstance(media, _TimesRelay):
        media.measure_relay_latency(metrics.relay_latency.observe, every_s=_LATENCY_EVERY_S)
    try:
        with calls.observers.telling(metrics.take, CallLog().take, *sinks):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(trio.serve_listeners, http.serve, listeners, handler_nursery=nursery))
                nursery.start_soon(_measure_lateness, metrics)
                yield RunningOperations(addresses, metrics)
                nursery.cancel_scope.cancel()
    finally:
        if isinstance(media, _TimesRelay):
            media.measure_relay_latency(metrics.relay_latency.observe, every_s=inf)
        for listener in listeners:
            await trio.aclose_forcefully(listener)


async def _no_upgrade(channel: object, context: UpgradeContext) -> None:
    """Nothing is spoken here but HTTP."""


async def _measure_lateness(metrics: Metrics) -> None:
    """Sleep, and see how late we are woken: what every timer and every packet of this loop waits, too."""
    while True:
        due = trio.current_time() + _LATENESS_INTERVAL_S
        await trio.sleep_until(due)
        metrics.loop_lateness.observe(max(0.0, trio.current_time() - due))
