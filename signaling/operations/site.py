"""The answers of the operators' listener: the page, its data, metrics, health, readiness. Read only. No I/O here."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from triortc.signaling.operations.metrics import METRICS_TYPE, Metrics
from triortc.signaling.pages import load_pages
from triortc.signaling.site import Request, Response

__all__ = ["OperationsSite"]

_SAFETY: Final = (
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cache-control", "no-store"),
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self' {styles}; connect-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'",
    ),
)
_CALL: Final = re.compile(r"/calls/([A-Za-z0-9_-]{1,64})")


class OperationsSite:
    """A `Responder` for those who run the server.

    Args:
        health: counters.
        ready: whether new work may come here.
        metrics: what Prometheus reads.
        view: calls and agents.
        timeline: a call's steps; None: there is no such call.
    """

    def __init__(
        self,
        *,
        health: Callable[[], Mapping[str, object]],
        ready: Callable[[], bool],
        metrics: Metrics,
        view: Callable[[], Mapping[str, Any]],
        timeline: Callable[[str], list[dict[str, Any]] | None],
    ) -> None:
        self._health = health
        self._ready = ready
        self._metrics = metrics
        self._view = view
        self._timeline = timeline
        self._pages = load_pages("triortc.signaling.operations.web")

    def respond(self, request: Request) -> Response:
        """Answer one request whose `Host` and `Origin` have been checked."""
        if request.method not in ("GET", "HEAD"):
            return Response(405, b"GET only\n", headers=(("allow", "GET, HEAD"),))
        path = request.path.partition("?")[0]
        match path:
            case "/metrics":
                return Response(200, self._metrics.render(), METRICS_TYPE, _headers())
            case "/health":
                return _json(200, {"status": "ok", **self._health()})
            case "/ready":
                ready = self._ready()
                return _json(200 if ready else 503, {"ready": ready})
            case "/calls":
                return _json(200, self._view())
            case _:
                return self._call_or_page(path)

    def _call_or_page(self, path: str) -> Response:
        named = _CALL.fullmatch(path)
        if named is not None:
            steps = self._timeline(named[1])
            return _json(404 if steps is None else 200, steps)
        page = self._pages.get(path)
        if page is None:
            return Response(404, b"nothing here\n", headers=_headers())
        return Response(200, page.body, page.content_type, _headers(page.style_hashes))


def _headers(style_hashes: tuple[str, ...] = ()) -> tuple[tuple[str, str], ...]:
    styles = " ".join(f"'{digest}'" for digest in style_hashes)
    return tuple((name, value.format(styles=styles).replace(" ;", ";")) for name, value in _SAFETY)


def _json(status: int, value: object) -> Response:
    return Response(status, msgspec.json.encode(value, enc_hook=str) + b"\n", "application/json", _headers())
