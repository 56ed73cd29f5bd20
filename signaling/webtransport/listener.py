"""WebTransport on UDP sockets: datagrams find the task of their connection; new connections are few enough or refused.

Who begins costs memory and a signature. So there are bounds for all connections, for those of one address and for
those whose handshake is not done; and from `retry_above_unvalidated` on an address has to prove itself first by a
Retry, which costs this side neither (RFC 9000 section 8.1.2). aioquic keeps to three times what an address has sent.
"""

from __future__ import annotations

import base64
import logging
import os
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import trio
from aioquic.buffer import Buffer
from aioquic.h3.connection import H3_ALPN
from aioquic.quic.configuration import SMALLEST_MAX_DATAGRAM_SIZE, QuicConfiguration
from aioquic.quic.packet import (
    QuicHeader,
    QuicPacketType,
    encode_quic_retry,
    encode_quic_version_negotiation,
    pull_quic_header,
)
from aioquic.quic.retry import QuicRetryTokenHandler

from triortc.engine.address import Address
from triortc.engine.udp import UdpSocket
from triortc.signaling.certificates import ServerCertificate
from triortc.signaling.http import OWN_MACHINE, UpgradeContext, subscriber
from triortc.signaling.webtransport.admission import Admission, admission_status
from triortc.signaling.webtransport.channel import ConnectionOwner, WebTransportChannel
from triortc.signaling.webtransport.configuration import WebTransportConfiguration
from triortc.signaling.webtransport.quic import ReadPacedQuicConnection
from triortc.signaling.webtransport.session import (
    ConnectionIds,
    SessionRequested,
    WebTransportEvent,
    WebTransportSession,
)

__all__ = ["ListenerCounters", "WebTransportListener"]

_logger: Final = logging.getLogger("triortc.webtransport")
_ID_BYTES: Final = 8
_LONG_HEADER: Final = 0x80
_MAX_DATAGRAM_FRAME_BYTES: Final = 65_536  # what HTTP/3 datagrams need to be allowed; ours are refused
_FAIR_BATCHES: Final = 4


@dataclass(slots=True)
class ListenerCounters:
    """What has come in."""

    connections: int = 0
    sessions: int = 0
    retries: int = 0
    version_negotiations: int = 0
    refused_connections: int = 0
    refused_sessions: int = 0
    refused_tokens: int = 0
    refused_streams: int = 0
    refused_datagrams: int = 0
    unknown_datagrams: int = 0
    dropped_datagrams: int = 0
    faults: int = 0


@dataclass(slots=True, eq=False)
class _Connected:
    """A connection, and what it is found and counted by."""

    owner: ConnectionOwner
    host: str
    ids: set[bytes]
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    unvalidated: bool = True

    @property
    def peer(self) -> str:
        """What its handshake with the signaling server is counted by; empty: it is not."""
        return "" if self.host in OWN_MACHINE else self.host


class WebTransportListener:
    """Serves WebTransport sessions on sockets.

    Args:
        sockets: bound already; closed by whoever bound them.
        certificate: what new connections are shown; see `use`.
        admission: whose sessions may begin.
        may_begin: whether one more signaling connection of a peer may begin now, besides so many that were accepted a
            moment ago.
        serve: takes over a session; it is closed when that returns.
        configuration: limits and timers.
        max_message_bytes: the longest message that is taken.
        random_bytes: the source of the ids in Retry packets.
    """

    def __init__(
        self,
        sockets: Sequence[UdpSocket],
        *,
        certificate: ServerCertificate,
        admission: Admission,
        may_begin: Callable[[int, str], bool],
        serve: Callable[[WebTransportChannel, UpgradeContext], Awaitable[None]],
        configuration: WebTransportConfiguration,
        max_message_bytes: int,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._sockets = sockets
        self._admission = admission
        self._may_begin = may_begin
        self._serve = serve
        self._configuration = configuration
        self._max_message_bytes = max_message_bytes
        self._random_bytes = random_bytes
        self._tokens = QuicRetryTokenHandler()
        self._by_id: dict[bytes, _Connected] = {}
        self._connected: set[_Connected] = set()
        self._per_host: dict[str, int] = {}
        self._unvalidated = 0
        self._arriving = 0
        self._accepting = True
        self._reading = trio.CancelScope()
        self.counters = ListenerCounters()
        self.use(certificate)

    @property
    def port(self) -> int:
        """The UDP port."""
        return self._sockets[0].address[1]

    @property
    def open_connections(self) -> int:
        """How many connections there are."""
        return len(self._connected)

    def offer(self) -> dict[str, object]:
        """What a page has to know to connect: the port, and the hash of a certificate that no authority vouches for."""
        hashes = [base64.b64encode(self.certificate.sha256).decode()] if self.certificate.self_signed else []
        return {"port": self.port, "certificate_hashes": hashes}

    def use(self, certificate: ServerCertificate) -> None:
        """Show this certificate to connections that begin from now on."""
        c = self._configuration
        self.certificate = certificate
        self._quic = QuicConfiguration(
            is_client=False,
            alpn_protocols=list(H3_ALPN),
            connection_id_length=_ID_BYTES,
            idle_timeout=c.idle_timeout_s,
            max_data=c.connection_window_bytes,
            max_stream_data=c.stream_window_bytes,
            max_datagram_frame_size=_MAX_DATAGRAM_FRAME_BYTES,
            certificate=certificate.certificate,
            certificate_chain=list(certificate.chain),
            private_key=certificate.private_key,
        )

    def stop_accepting(self) -> None:
        """Begin no connection any more; `run` returns when those that are there have ended."""
        self._accepting = False
        self._end_when_empty()

    async def run(self) -> None:
        """Serve until `stop_accepting` and the end of every connection; cancelled: connections are closed at once."""
        async with trio.open_nursery() as connections:
            with self._reading:
                async with trio.open_nursery() as readers:
                    for socket in self._sockets:
                        readers.start_soon(self._read, socket, connections)
            connections.cancel_scope.cancel()

    def _end_when_empty(self) -> None:
        if not self._accepting and not self._connected:
            self._reading.cancel()

    # --- datagrams

    async def _read(self, socket: UdpSocket, connections: trio.Nursery) -> None:
        while True:
            await socket.wait_readable()
            for _ in range(_FAIR_BATCHES):
                batch = socket.receive_batch(trio.current_time())
                for view, address, _ in batch:
                    self._datagram(socket, bytes(view), address, connections)
                if not batch:
                    break

    def _datagram(self, socket: UdpSocket, data: bytes, address: Address, connections: trio.Nursery) -> None:
        if not data:
            return
        if not data[0] & _LONG_HEADER:
            connected = self._by_id.get(data[1 : 1 + _ID_BYTES])
        else:
            try:
                header = pull_quic_header(Buffer(data=data), host_cid_length=_ID_BYTES)
            except ValueError:
                self.counters.unknown_datagrams += 1
                return
            connected = self._by_id.get(header.destination_cid)
            if connected is None:
                connected = self._begin(socket, header, len(data), address, connections)
                if connected is None:
                    return
        if connected is None:
            self.counters.unknown_datagrams += 1
        else:
            connected.owner.deliver(data, address)

    def _begin(
        self, socket: UdpSocket, header: QuicHeader, size: int, address: Address, connections: trio.Nursery
    ) -> _Connected | None:
        """A connection for a first datagram, if it may be one; a stranger gets less than it has sent."""
        if size < SMALLEST_MAX_DATAGRAM_SIZE or not self._accepting:
            self.counters.unknown_datagrams += 1
            return None
        if header.packet_type is not QuicPacketType.VERSION_NEGOTIATION and (
            header.version is not None and header.version not in self._quic.supported_versions
        ):
            self._negotiate_version(socket, header, address)
            return None
        if header.packet_type is not QuicPacketType.INITIAL:
            self.counters.unknown_datagrams += 1
            return None
        if not self._has_room(address):
            self.counters.refused_connections += 1
            return None
        original, retry_source = header.destination_cid, None
        if header.token:
            try:
                original = self._tokens.validate_token(
                    address=address,
                    destination_cid=header.destination_cid,
                    token=header.token,
                    now=trio.current_time(),
                )
            except ValueError:
                self.counters.refused_tokens += 1
                return None
            retry_source = header.destination_cid
        elif self._unvalidated >= self._configuration.retry_above_unvalidated:
            self._retry(socket, header, address)
            return None
        return self._connect(socket, header.destination_cid, original, retry_source, address, connections)

    def _has_room(self, address: Address) -> bool:
        c = self._configuration
        return (
            len(self._connected) < c.max_connections
            and self._unvalidated < c.max_unvalidated
            and self._per_host.get(subscriber(address[0]), 0) < c.max_connections_per_address
        )

    def _negotiate_version(self, socket: UdpSocket, header: QuicHeader, address: Address) -> None:
        self.counters.version_negotiations += 1
        answer = encode_quic_version_negotiation(
            source_cid=header.destination_cid,
            destination_cid=header.source_cid,
            supported_versions=self._quic.supported_versions,
        )
        socket.send(answer, address)

    def _retry(self, socket: UdpSocket, header: QuicHeader, address: Address) -> None:
        assert header.version is not None
        self.counters.retries += 1
        source = self._random_bytes(_ID_BYTES)
        token = self._tokens.create_token(
            address=address,
            original_destination_connection_id=header.destination_cid,
            retry_source_connection_id=source,
            now=trio.current_time(),
        )
        answer = encode_quic_retry(
            version=header.version,
            source_cid=source,
            destination_cid=header.source_cid,
            original_destination_cid=header.destination_cid,
            retry_token=token,
        )
        socket.send(answer, address)

    # --- connections

    def _connect(
        self,
        socket: UdpSocket,
        id: bytes,
        original: bytes,
        retry_source: bytes | None,
        address: Address,
        connections: trio.Nursery,
    ) -> _Connected:
        c = self._configuration
        quic = ReadPacedQuicConnection(
            configuration=self._quic,
            max_streams=c.max_streams,
            original_destination_connection_id=original,
            retry_source_connection_id=retry_source,
        )
        session = WebTransportSession(quic, max_message_bytes=self._max_message_bytes, linger_s=c.linger_s)
        owner = ConnectionOwner(
            session,
            send=socket.send,
            on_event=lambda event: self._happened(connected, event, connections),
            queued_datagrams=c.queued_datagrams,
        )
        connected = _Connected(owner, subscriber(address[0]), {id, quic.host_cid})
        self._connected.add(connected)
        self._per_host[connected.host] = self._per_host.get(connected.host, 0) + 1
        self._unvalidated += 1
        self.counters.connections += 1
        for known in connected.ids:
            self._by_id[known] = connected
        connections.start_soon(self._own, connected)
        return connected

    async def _own(self, connected: _Connected) -> None:
        connected.scope.deadline = trio.current_time() + self._configuration.handshake_timeout_s
        try:
            with connected.scope, self._contained():
                await connected.owner.run()
        finally:
            self._forget(connected)

    def _happened(self, connected: _Connected, event: WebTransportEvent, connections: trio.Nursery) -> None:
        match event:
            case ConnectionIds(issued=issued, retired=retired):
                if issued is not None:
                    connected.ids.add(issued)
                    self._by_id[issued] = connected
                if retired is not None and retired in connected.ids:
                    connected.ids.discard(retired)
                    self._by_id.pop(retired, None)
            case SessionRequested():
                self._validated(connected)
                self._requested(connected, event, connections)
            case _:
                pass

    def _requested(self, connected: _Connected, request: SessionRequested, connections: trio.Nursery) -> None:
        status = admission_status(request, self._admission)
        if status == 200 and not (self._accepting and self._may_begin(self._arriving, connected.peer)):
            status = 503
        if status != 200:
            self.counters.refused_sessions += 1
            connected.owner.session.refuse(status)
            return
        if not connected.owner.session.accept():
            self.counters.refused_sessions += 1
            return
        self.counters.sessions += 1
        connected.scope.deadline = float("inf")
        context = UpgradeContext(request.origin, self._admission.is_foreign(request), connected.peer)
        channel = WebTransportChannel(connected.owner, unsent_bytes=self._configuration.unsent_bytes)
        self._arriving += 1
        connections.start_soon(self._serve_arrived, channel, context)

    async def _serve_arrived(self, channel: WebTransportChannel, context: UpgradeContext) -> None:
        self._arriving -= 1
        with self._contained():
            await self._serve(channel, context)

    @contextmanager
    def _contained(self) -> Generator[None]:
        """The boundary of one connection, as V44 is of one session: a fault of ours ends no other, and no call."""
        try:
            yield
        except Exception:  # counted and logged with its traceback; a cancellation is no Exception and passes
            self.counters.faults += 1
            _logger.exception("a connection failed inside the server")

    def _validated(self, connected: _Connected) -> None:
        if connected.unvalidated:
            connected.unvalidated = False
            self._unvalidated -= 1

    def _forget(self, connected: _Connected) -> None:
        self._validated(connected)
        for known in connected.ids:
            self._by_id.pop(known, None)
        self._connected.discard(connected)
        left = self._per_host[connected.host] - 1
        if left:
            self._per_host[connected.host] = left
        else:
            del self._per_host[connected.host]
        seen = connected.owner.session.counters
        self.counters.refused_streams += seen.refused_streams
        self.counters.refused_datagrams += seen.refused_datagrams
        self.counters.faults += seen.faults
        self.counters.dropped_datagrams += connected.owner.dropped_datagrams
        self._end_when_empty()
