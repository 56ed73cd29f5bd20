"""Who a datagram is for: sessions by the names that checks call them by, by address, and by the media they send.

Sessions are found by the local ICE username fragment of authenticated checks, afterwards by the address these came from
(RFC 8445, RFC 7983). Media from an address that nobody owns goes to the session that knows its SSRC: if it is
authentic, the peer has moved.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final, TypeAlias

from triortc.engine.address import Address
from triortc.engine.rtp.header import FIXED_HEADER_BYTES
from triortc.engine.session.session import Session
from triortc.engine.stun.peek import peek_local_ufrag
from triortc.errors import ConfigurationError

__all__ = ["Routes", "SessionDirectory"]

#: An address that its session was heard from so lately is not given to another; longer than flows take to tell of it.
_OWN_ADDRESS_S: Final = 2.0

#: Whose datagrams are those that come to one socket, by where they come from.
Routes: TypeAlias = dict[Address, Session]


class SessionDirectory:
    """Finds the session that a datagram is for.

    Arguments:
        max_routes_per_session: addresses that one session is found by; the oldest is forgotten for the next.
    """

    def __init__(self, max_routes_per_session: int) -> None:
        self._max_routes = max_routes_per_session
        self._by_ufrag: dict[str, Session] = {}
        #: Those that ICE restarts have brought; the first one of a session stays its name.
        self._later_ufrags: dict[Session, list[str]] = {}
        self._by_ssrc: dict[int, Session] = {}
        self._routes: dict[Address, Routes] = {}
        #: The routes of a session as (local, remote), the oldest first.
        self._routes_of: dict[Session, dict[tuple[Address, Address], None]] = {}
        #: Checks for nobody, and datagrams from addresses of nobody.
        self.unknown_username = self.unknown_address = 0

    def routes_to(self, local: Address) -> Routes:
        """The routes to a socket, always the same table: whoever has a batch looks into it without a call."""
        return self._routes.setdefault(local, {})

    def named(self, ufrag: str) -> Session | None:
        """The session with this local username fragment."""
        return self._by_ufrag.get(ufrag)

    def add(self, session: Session) -> None:
        """Let a session be found from now on.

        Raises:
            ConfigurationError: another one has its name.
        """
        if session.local_ufrag in self._by_ufrag:
            raise ConfigurationError(
                "the session's username fragment is taken: make each session with fresh randomness"
            )
        self._by_ufrag[session.local_ufrag] = session
        self._routes_of[session] = {}
        session.on_ufrags = partial(self._learn_ufrags, session)
        # The first session with an SSRC keeps it: another one's peer cannot take it away.
        session.media.on_source = partial(self._learn_source, session)

    def withdraw(self, session: Session) -> bool:
        """From now on no check finds the session, which may still have something to say; False: none did before."""
        if self._by_ufrag.pop(session.local_ufrag, None) is None:
            return False
        for ufrag in self._later_ufrags.pop(session, ()):
            del self._by_ufrag[ufrag]
        return True

    def forget(self, session: Session) -> None:
        """Nothing finds a session any more that was withdrawn."""
        session.on_ufrags = None
        for local, remote in self._routes_of.pop(session):
            if self._routes[local].get(remote) is session:
                del self._routes[local][remote]
        for ssrc in session.media.heard_sources:
            if self._by_ssrc.get(ssrc) is session:
                del self._by_ssrc[ssrc]

    def _learn_ufrags(self, session: Session) -> None:
        for ufrag in self._later_ufrags.pop(session, ()):
            del self._by_ufrag[ufrag]
        later = [ufrag for ufrag in session.local_ufrags if ufrag not in self._by_ufrag]
        self._by_ufrag.update(dict.fromkeys(later, session))
        self._later_ufrags[session] = later

    def _learn_source(self, session: Session, ssrc: int) -> None:
        self._by_ssrc.setdefault(ssrc, session)

    def route(self, local: Address, remote: Address, session: Session) -> None:
        """From now on, what comes to `local` from `remote` is for this session."""
        own = self._routes_of.get(session)
        if own is None:
            return  # removed by an event of its own, while its batch was under way
        self._routes[local][remote] = session
        own[local, remote] = None
        if len(own) > self._max_routes:
            oldest = next((route for route in own if route != session.path), (local, remote))
            del own[oldest]
            if self._routes[oldest[0]].get(oldest[1]) is session:
                del self._routes[oldest[0]][oldest[1]]

    def learn_routes(self, local: Address, session: Session, authenticated: Sequence[Address], now: float) -> None:
        """Give addresses to a session that has shown itself there; but who has a session can forge where it sends from.

        So nobody loses an address that its session was heard from a moment ago.
        """
        routes = self._routes[local]
        for remote in authenticated:
            owner = routes.get(remote)
            if owner is session:
                continue
            if owner is None or not owner.is_heard_at(local, remote, now - _OWN_ADDRESS_S):
                self.route(local, remote, session)

    def find(self, packet: memoryview, by_address: Session | None) -> Session | None:
        """The session that a check, or a datagram from an address of nobody, is for; None: nobody's, which is counted.

        Arguments:
            by_address: the session that its source belongs to.
        """
        ufrag = peek_local_ufrag(packet) if len(packet) and packet[0] < 4 else None
        if ufrag is None:
            session = by_address
            if session is None and len(packet) >= FIXED_HEADER_BYTES and 128 <= packet[0] <= 191:
                session = self._by_ssrc.get(int.from_bytes(packet[8:12], "big"))
            if session is None:
                self.unknown_address += 1
            return session
        session = self._by_ufrag.get(ufrag)
        if session is None:
            self.unknown_username += 1
        return session
