"""Two DTLS transports, or one and a stranger, over a network in virtual time."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from itertools import count
from typing import Literal

from triortc.engine.dtls import Certificate, DtlsConfiguration, DtlsConnected, DtlsEvent, DtlsTransport

__all__ = ["CLIENT", "SERVER", "VALID_FROM", "DtlsPair", "make_transport", "our_certificate"]

VALID_FROM = datetime(2025, 1, 1, tzinfo=UTC)
CLIENT = "client"
SERVER = "server"

#: (sender, which of its bursts, which datagram of it) -> whether it is lost
Loss = Callable[[str, int, int], bool]


@cache
def our_certificate(name: str) -> Certificate:
    """One certificate per name and test run."""
    return Certificate.generate(valid_from=VALID_FROM, common_name=name)


def make_transport(
    role: Literal["client", "server"],
    *,
    configuration: DtlsConfiguration | None = None,
    expects: Certificate | None = None,
) -> DtlsTransport:
    """A transport of ``role`` that expects the other role's certificate, if not told otherwise."""
    peer = expects or our_certificate(SERVER if role == CLIENT else CLIENT)
    return DtlsTransport(
        certificate=our_certificate(role),
        role=role,
        remote_fingerprints=[peer.fingerprint()],
        configuration=configuration or DtlsConfiguration(),
    )


class DtlsPair:
    """A client and a server, and a path with a fixed delay each way. A burst is all that one polls at once."""

    def __init__(
        self, client: DtlsTransport, server: DtlsTransport, *, delay_s: float = 0.01, lost: Loss | None = None
    ) -> None:
        self.now = 100.0
        self.transports = {CLIENT: client, SERVER: server}
        self.events: dict[str, list[DtlsEvent]] = {CLIENT: [], SERVER: []}
        self.connected_at: dict[str, float] = {}
        self.bursts = {CLIENT: 0, SERVER: 0}
        self.sent: dict[str, list[bytes]] = {CLIENT: [], SERVER: []}
        self._delay_s = delay_s
        self._lost = lost or (lambda sender, burst, datagram: False)
        self._network: list[tuple[float, int, str, bytes]] = []
        self._order = count()

    @property
    def keys(self) -> tuple[DtlsConnected, DtlsConnected]:
        """What both sides were told: client, server."""
        client, server = (next(e for e in self.events[n] if isinstance(e, DtlsConnected)) for n in (CLIENT, SERVER))
        return client, server

    def start(self) -> None:
        """Start both; the server first, as after ICE."""
        for name in (SERVER, CLIENT):
            self.transports[name].start(self.now)
            self.collect(name)

    def collect(self, name: str) -> None:
        """Take what a transport has to send and to say."""
        transport = self.transports[name]
        burst: list[bytes] = []
        while (datagram := transport.poll_transmit()) is not None:
            burst.append(datagram)
        if burst:
            self.bursts[name] += 1
            self.sent[name] += burst
            receiver = SERVER if name == CLIENT else CLIENT
            for number, datagram in enumerate(burst, 1):
                if not self._lost(name, self.bursts[name], number):
                    heapq.heappush(self._network, (self.now + self._delay_s, next(self._order), receiver, datagram))
        while (event := transport.poll_event()) is not None:
            self.events[name].append(event)
            if isinstance(event, DtlsConnected):
                self.connected_at[name] = self.now

    def run(self, *, until_s: float = 30.0) -> None:
        """Let time pass until both are connected, nothing is left to happen, or ``until_s`` seconds are over."""
        end = self.now + until_s
        while len(self.connected_at) < 2 and self.step(end):
            pass

    def run_idle(self, *, until_s: float = 30.0) -> None:
        """Let time pass until nothing is left to happen, or ``until_s`` seconds are over."""
        end = self.now + until_s
        while self.step(end):
            pass

    def step(self, end: float) -> bool:
        """Go to the next thing that happens before ``end``; false if there is none."""
        times = [self._network[0][0]] if self._network else []
        times += [d for t in self.transports.values() if (d := t.next_deadline()) is not None]
        if not times or min(times) > end:
            return False
        self.now = max(self.now, min(times))
        while self._network and self._network[0][0] <= self.now:
            _, _, receiver, datagram = heapq.heappop(self._network)
            self.transports[receiver].receive(datagram, self.now)
            self.collect(receiver)
        for name, transport in self.transports.items():
            deadline = transport.next_deadline()
            if deadline is not None and deadline <= self.now:
                transport.handle_timeout(self.now)
                self.collect(name)
        return True

    @property
    def set_up_ms(self) -> int:
        """Milliseconds from the start until both were connected."""
        return round((max(self.connected_at.values()) - 100.0) * 1000)
