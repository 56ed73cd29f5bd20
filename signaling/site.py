"""What the HTTP side answers: the pages, `/health` and, for development, `POST /dev/token`. No I/O here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Final, Protocol
from urllib.parse import parse_qs

import msgspec
from msgspec import Meta

from triortc.engine.calls.actor import Role
from triortc.errors import ConfigurationError
from triortc.signaling.origin import parse_authority
from triortc.signaling.pages import PageFile, load_pages
from triortc.signaling.qr import MAX_QR_CHARACTERS, qr_svg
from triortc.signaling.tokens import DevelopmentIssuer
from triortc.signaling.wire_values import Id, Subject, Word

__all__ = ["PUSH_KEY_PATH", "Request", "Responder", "Response", "Site"]

#: Where a page asks for the key that it subscribes to Web Push with; 404 without Web Push.
PUSH_KEY_PATH: Final = "/v1/push-key"
_STRICT_TRANSPORT: Final = ("strict-transport-security", "max-age=31536000")
_SAFETY: Final[tuple[tuple[str, str], ...]] = (
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
)


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request, its body read. Header names are lower case; of a repeated header the first counts."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""
    scheme: str = "http"


@dataclass(frozen=True, slots=True)
class Response:
    """One HTTP answer."""

    status: int
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()


class _TokenRequest(msgspec.Struct, frozen=True):
    role: Role
    sub: Subject
    did: Id | None = None
    name: Annotated[str, Meta(max_length=128)] | None = None
    org: Word | None = None
    grp: Annotated[tuple[Word, ...], Meta(max_length=16)] = ("default",)
    cv: Annotated[tuple[Id, ...], Meta(max_length=8)] = ()
    cap: Annotated[tuple[Word, ...], Meta(max_length=32)] | None = None


class Responder(Protocol):
    """What answers the requests of an HTTP server."""

    def respond(self, request: Request) -> Response | Awaitable[Response]:
        """Answer one request whose `Host` and `Origin` have been checked: now, or by what can be awaited."""


class Site:
    """Answers requests that are not upgrades.

    Args:
        health: counters shown by `/health`.
        ready: whether new work may come here, for `/ready`.
        issuer: makes development tokens; None: `/dev/token` does not exist.
        push_key: what pages subscribe to Web Push with (`/v1/push-key`); None: they cannot.
        offer: the WebTransport that `/v1/transports` tells pages of; gives None where it is not served.
        pages: path to file; None: those of this package.
        allowed_origins: whose pages may read `/v1/transports` and `/v1/push-key`, beside our own.
    """

    def __init__(
        self,
        *,
        health: Callable[[], Mapping[str, object]],
        ready: Callable[[], bool] = lambda: True,
        issuer: DevelopmentIssuer | None = None,
        push_key: str | None = None,
        offer: Callable[[], Mapping[str, object] | None] = lambda: None,
        pages: Mapping[str, PageFile] | None = None,
        allowed_origins: Collection[str] = (),
    ) -> None:
        self._health = health
        self._ready = ready
        self._issuer = issuer
        self._push_key = push_key
        self._offer = offer
        self._allowed_origins = frozenset(allowed_origins)
        self._pages = load_pages() if pages is None else pages

    def respond(self, request: Request) -> Response:
        """Answer one request whose `Host` and `Origin` have been checked."""
        response = self._respond(request)
        if request.scheme == "https" and self._issuer is None:
            return replace(response, headers=(*response.headers, _STRICT_TRANSPORT))
        return response

    def _respond(self, request: Request) -> Response:
        path = request.path.partition("?")[0]
        if path == "/dev/token" and self._issuer is not None:
            if request.method != "POST":
                return Response(405, b"POST a JSON object\n", headers=(("allow", "POST"),))
            return self._token(request, self._issuer)
        if path == "/dev/qr.svg" and self._issuer is not None:
            return self._read_only(request, lambda: _qr(request))
        if path == PUSH_KEY_PATH and self._push_key is not None:
            return self._read_only(request, lambda: self._shared(request, {"public_key": self._push_key}))
        if path == "/health":
            return self._read_only(request, lambda: _json(200, {"status": "ok", **self._health()}))
        if path == "/ready":
            ready = self._ready()
            return self._read_only(request, lambda: _json(200 if ready else 503, {"ready": ready}))
        if path == "/v1/transports":
            return self._read_only(request, lambda: self._shared(request, {"webtransport": self._offer()}))
        file = self._pages.get(path)
        if file is None:
            return Response(404, b"nothing here\n", headers=_SAFETY)
        return self._read_only(request, lambda: self._page(request, file))

    def _shared(self, request: Request, value: object) -> Response:
        """What pages of other origins may read, if they may connect at all (CORS)."""
        response = _json(200, value)
        headers = tuple(pair for pair in response.headers if pair[0] != "cross-origin-resource-policy")
        headers += (("vary", "origin"), ("cross-origin-resource-policy", "cross-origin"))
        origin = request.headers.get("origin")
        if origin in self._allowed_origins and origin is not None:
            headers += (("access-control-allow-origin", origin),)
        return replace(response, headers=headers)

    @staticmethod
    def _read_only(request: Request, answer: Callable[[], Response]) -> Response:
        if request.method not in ("GET", "HEAD"):
            return Response(405, b"GET only\n", headers=(("allow", "GET, HEAD"),))
        return answer()

    def _page(self, request: Request, file: PageFile) -> Response:
        small = file.compressed if _accepts_gzip(request) else None
        headers = (
            *_SAFETY,
            ("cache-control", "public, max-age=31536000, immutable" if file.kept else "no-cache"),
            ("etag", file.etag if small is None else file.compressed_etag),
            ("vary", "accept-encoding"),
        )
        if file.content_type.startswith("text/html"):
            headers += (
                ("content-security-policy", content_security_policy(request, file.style_hashes, self._offer())),
                ("permissions-policy", "camera=(self), microphone=(self), display-capture=(), geolocation=()"),
                ("cross-origin-opener-policy", "same-origin"),
            )
        if request.headers.get("if-none-match") in (file.etag, file.compressed_etag):
            return Response(304, headers=headers)
        if small is not None:
            return Response(200, small, file.content_type, (*headers, ("content-encoding", "gzip")))
        return Response(200, file.body, file.content_type, headers)

    @staticmethod
    def _token(request: Request, issuer: DevelopmentIssuer) -> Response:
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type != "application/json":
            # A form of another site can post text, but not JSON, without being asked first.
            return Response(415, b"send application/json\n")
        try:
            asked = msgspec.json.decode(request.body, type=_TokenRequest)
            token = issuer.issue(
                role=asked.role,
                sub=asked.sub,
                did=asked.did,
                name=asked.name,
                org=asked.org,
                grp=asked.grp,
                cv=asked.cv,
                cap=asked.cap,
            )
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ConfigurationError) as error:
            return _json(400, {"error": str(error)})
        return _json(200, {"token": token})


def _qr(request: Request) -> Response:
    """The QR code of a page of this server, by its path: `/dev/qr.svg?to=/agent?name=Ana`, percent-encoded."""
    to = parse_qs(request.path.partition("?")[2]).get("to", [""])[0]
    address = f"{request.scheme}://{request.headers.get('host', '')}{to}"
    if not to.startswith("/") or to.startswith("//") or len(address) > MAX_QR_CHARACTERS:
        return Response(400, b"say ?to=/path of this server\n", headers=_SAFETY)
    headers = (
        *_SAFETY,
        ("cache-control", "no-store"),
        ("content-security-policy", "default-src 'none'; style-src 'none'"),
    )
    return Response(200, qr_svg(address), "image/svg+xml", headers)


def _accepts_gzip(request: Request) -> bool:
    """Whether `Accept-Encoding` names gzip without a weight of zero (RFC 9110 section 12.5.3)."""
    for entry in request.headers.get("accept-encoding", "").split(","):
        coding, _, weight = entry.replace(" ", "").partition(";q=")
        if coding.lower() in ("gzip", "*"):
            return weight.strip("0.") != "" or weight == ""
    return False


def content_security_policy(
    request: Request, style_hashes: Sequence[str] = (), offer: Mapping[str, object] | None = None
) -> str:
    """The policy of a page: everything from the own origin and the signaling transports; inline only its style sheet.

    Args:
        request: names host and scheme.
        style_hashes: of the style sheets that the page holds.
        offer: where WebTransport is, if it is.
    """
    host = request.headers.get("host", "")
    named = None if offer is None else parse_authority(host, request.scheme)
    session = ""
    if named is not None and offer is not None:
        session = f" https://{f'[{named.host}]' if ':' in named.host else named.host}:{offer['port']}"
    socket = f"{'wss' if request.scheme == 'https' else 'ws'}://{host}"
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            " ".join(("style-src 'self'", *(f"'{digest}'" for digest in style_hashes))),
            "worker-src 'self'",
            "img-src 'self' blob: data:",
            "media-src 'self' blob: mediastream:",
            "font-src 'self'",
            f"connect-src 'self' {socket}{session}",
            "manifest-src 'self'",
            "base-uri 'none'",
            "form-action 'self'",
            "frame-ancestors 'none'",
        )
    )


def _json(status: int, value: object) -> Response:
    headers = (*_SAFETY, ("cache-control", "no-store"))
    return Response(status, msgspec.json.encode(value) + b"\n", "application/json", headers)
