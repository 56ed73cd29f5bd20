"""Which WebTransport sessions may begin: the rules that an upgrade to WebSocket has, by HTTP status. No I/O."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import parse_qs

from triortc.signaling.origin import host_is_known, origin_is_allowed, parse_authority, same_origin
from triortc.signaling.webtransport.session import SessionRequested
from triortc.signaling.wire import PROTOCOL

__all__ = ["Admission", "admission_status"]


@dataclass(frozen=True, slots=True)
class Admission:
    """What a request is held against.

    Attributes:
        path: where the session is.
        host_names: the names that the authority may hold; None: any.
        page_port: the port of our own pages, whose origin may connect.
        page_scheme: `http` or `https`: that of the pages.
        allowed_origins: further origins whose pages may connect.
    """

    path: str
    host_names: Collection[str] | None
    page_port: int
    page_scheme: str
    allowed_origins: Collection[str] = ()

    def own_authority(self, authority: str) -> str:
        """The authority of our pages on the host that the client named."""
        named = parse_authority(authority, "https")
        if named is None:
            return ""
        return f"{f'[{named.host}]' if ':' in named.host else named.host}:{self.page_port}"

    def is_foreign(self, request: SessionRequested) -> bool:
        """Whether the page behind the request is another's."""
        own = self.own_authority(request.authority)
        return request.origin is not None and not same_origin(request.origin, own, self.page_scheme)


def admission_status(request: SessionRequested, rules: Admission) -> int:
    """The HTTP status of a request: 200, or why it is refused.

    404: another path; 400: no common version of the protocol; 421: not a name of this server; 403: a page of an origin
    that may not connect.
    """
    path, _, query = request.path.partition("?")
    if path != rules.path:
        return 404
    try:
        offered = [name for value in parse_qs(query, max_num_fields=16).get("p", []) for name in value.split(",")]
    except ValueError:  # more fields than anybody needs
        return 400
    if PROTOCOL not in offered:
        return 400
    if rules.host_names is not None and not host_is_known(request.authority, rules.host_names, "https"):
        return 421
    own = rules.own_authority(request.authority)
    return 200 if origin_is_allowed(request.origin, own, rules.page_scheme, rules.allowed_origins) else 403
