"""A span of OpenTelemetry for each call, an event in it for each step. Needs the extra `triortc[otel]`.

Where the spans go is the program's or its environment's to say (`OTEL_EXPORTER_OTLP_ENDPOINT` …).
"""

from __future__ import annotations

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, TracerProvider

from triortc.engine.calls.call_events import CallEvent

__all__ = ["CallSpans"]

_NS_PER_MS = 1_000_000


class CallSpans:
    """A sink of call events that keeps one open span a call.

    Args:
        provider: where spans go; None: the global one.
    """

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer("triortc", tracer_provider=provider)
        self._open: dict[str, Span] = {}

    def take(self, event: CallEvent) -> None:
        """Take one event."""
        span = self._open.get(event.session)
        at_ns = event.at_ms * _NS_PER_MS
        if span is None:
            attributes = {
                "triortc.session": event.session,
                "triortc.org": event.org,
                "triortc.conversation": event.conversation,
                "triortc.origin": event.origin,
            }
            span = self._open[event.session] = self._tracer.start_span(
                "call", kind=SpanKind.SERVER, attributes=attributes, start_time=at_ns
            )
        span.add_event(event.name, {"triortc.state": event.state, "triortc.n": event.n}, timestamp=at_ns)
        if event.agent is not None:
            span.set_attribute("triortc.agent", event.agent)
        if event.name == "call.ended":
            del self._open[event.session]
            span.set_attribute("triortc.outcome", event.outcome or "")
            span.set_attribute("triortc.reason", event.reason or "")
            span.set_attribute("triortc.talk_ms", event.talk_ms)
            if event.outcome == "failed":
                span.set_status(Status(StatusCode.ERROR, event.reason or ""))
            span.end(end_time=at_ns)
