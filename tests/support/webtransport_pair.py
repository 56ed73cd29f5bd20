"""Two ends of a WebTransport session without a network: datagrams change hands in virtual time, some get lost."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache

from aioquic.h3.connection import H3_ALPN
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.packet import QuicProtocolVersion

from triortc.engine.address import Address
from triortc.signaling.certificates import ServerCertificate, self_signed_certificate
from triortc.signaling.webtransport.quic import ReadPacedQuicConnection
from triortc.signaling.webtransport.session import SessionRequested, WebTransportEvent, WebTransportSession

CLIENT: Address = ("192.0.2.1", 50_000)
SERVER: Address = ("192.0.2.2", 443)
STREAM_WINDOW_BYTES = 256 * 1024
ONE_WAY_S = 0.02


@cache
def certificate() -> ServerCertificate:
    return self_signed_certificate(("server.example",), now=datetime.now(UTC))


def quic(*, is_client: bool, original_id: bytes | None = None, max_streams: int = 16) -> ReadPacedQuicConnection:
    """One end's connection, with the windows that the server uses."""
    configuration = QuicConfiguration(
        is_client=is_client,
        alpn_protocols=list(H3_ALPN),
        max_data=2 * STREAM_WINDOW_BYTES,
        max_stream_data=STREAM_WINDOW_BYTES,
        max_datagram_frame_size=65_536,
        supported_versions=[QuicProtocolVersion.VERSION_1],
    )
    if is_client:
        configuration.server_name = "server.example"
        configuration.cadata = certificate().pem
    else:
        configuration.certificate = certificate().certificate
        configuration.private_key = certificate().private_key
    return ReadPacedQuicConnection(
        configuration=configuration, max_streams=max_streams, original_destination_connection_id=original_id
    )


class Pair:
    """Both ends, and the network between them.

    Args:
        lost: tells whether a datagram gets lost.
        spoil: changes datagrams on their way to the server.
    """

    def __init__(
        self,
        *,
        lost: Callable[[], bool] = lambda: False,
        spoil: Callable[[bytes], bytes] = lambda datagram: datagram,
        accept: bool = True,
        path: str = "/v1/signal?p=triortc.v1",
    ) -> None:
        self.now = 0.0
        self._lost = lost
        self._spoil = spoil
        self._accept = accept
        self._queue: list[tuple[float, int, bool, bytes]] = []
        self._sent = 0
        self.client_quic = quic(is_client=True)
        self.server_quic = quic(is_client=False, original_id=self.client_quic.original_destination_connection_id)
        self.client = WebTransportSession(self.client_quic, max_message_bytes=1 << 20, linger_s=0.5)
        self.server = WebTransportSession(self.server_quic, max_message_bytes=65_536, linger_s=0.5)
        self.client_events: list[WebTransportEvent] = []
        self.server_events: list[WebTransportEvent] = []
        self.client.connect(SERVER, authority="server.example", path=path, origin="https://page.example", now=0.0)

    def run(self, seconds: float) -> None:
        """Let that much time pass."""
        end = self.now + seconds
        while True:
            self._flush()
            deadlines = [
                deadline for end_ in (self.client, self.server) if (deadline := end_.next_deadline()) is not None
            ]
            arrivals = [self._queue[0][0]] if self._queue else []
            moment = min([*deadlines, *arrivals, end])
            if moment >= end:
                self.now = end
                return
            self.now = max(self.now, moment)
            self._deliver()
            for session in (self.client, self.server):
                deadline = session.next_deadline()
                if deadline is not None and deadline <= self.now:
                    session.handle_timeout(self.now)
            self._collect()

    def _flush(self) -> None:
        for to_server, session in ((True, self.client), (False, self.server)):
            for datagram, _ in session.transmit(self.now):
                self.send(datagram, to_server=to_server)

    def send(self, datagram: bytes, *, to_server: bool) -> None:
        """Put a datagram on its way."""
        self._sent += 1
        if not self._lost():
            self._queue.append((self.now + ONE_WAY_S, self._sent, to_server, datagram))
            self._queue.sort()

    def _deliver(self) -> None:
        while self._queue and self._queue[0][0] <= self.now:
            _, _, to_server, datagram = self._queue.pop(0)
            if to_server:
                self.server.receive(self._spoil(datagram), CLIENT, self.now)
            else:
                self.client.receive(datagram, SERVER, self.now)

    def _collect(self) -> None:
        while (event := self.client.poll_event()) is not None:
            self.client_events.append(event)
        while (event := self.server.poll_event()) is not None:
            self.server_events.append(event)
            if isinstance(event, SessionRequested) and self._accept:
                self.server.accept()

    def open(self) -> Pair:
        """Let the session begin, and the stream be known to the server."""
        self.run(1.0)
        assert self.client.send_message(b"first")
        self.run(0.5)
        assert self.server.next_message() == b"first"
        return self


def lossy(seed: int, share: float) -> Callable[[], bool]:
    """Loses that share of the datagrams, by chance."""
    chance = random.Random(seed)
    return lambda: chance.random() < share
