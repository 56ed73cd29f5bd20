"""One DTLS association, without I/O: the handshake that gives SRTP its keys (RFC 5764), and the good-bye."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from enum import Enum
from typing import Final, Literal

from OpenSSL import SSL

from triortc.engine.dtls.certificate import Certificate
from triortc.engine.dtls.configuration import DtlsConfiguration
from triortc.engine.dtls.events import DtlsClosed, DtlsConnected, DtlsEvent, DtlsFailed
from triortc.engine.dtls.exporter import EXPORTER_LABEL, keying_material_bytes, split_keying_material
from triortc.engine.dtls.flight import FlightSender
from triortc.engine.dtls.records import split_records
from triortc.engine.dtls.verification import PeerVerification
from triortc.engine.sdp.fingerprint import Fingerprint
from triortc.errors import ConfigurationError, DtlsError

__all__ = ["DtlsClosed", "DtlsConnected", "DtlsFailed", "DtlsState", "DtlsTransport"]

_READ_BYTES: Final = 65536
_WRONG_FINGERPRINT: Final = "fingerprint: the peer's certificate is not the signalled one"
# OpenSSL reads the real clock. Where time is simulated its timer seems to stand still; then it is asked this seldom.
_SHORTEST_OPENSSL_PAUSE_S: Final = 0.01


class DtlsState(Enum):
    """The states of the W3C's RTCDtlsTransport."""

    NEW = "new"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    CLOSED = "closed"
    FAILED = "failed"


class DtlsTransport:
    """DTLS 1.2 in either role.

    Lost flights are repeated from 50 ms on. No key leaves before the peer's certificate has matched a fingerprint. What
    the peer sends never raises.

    Arguments:
        certificate: ours; one for the whole process is enough.
        role: ``"client"`` (``a=setup:active``) or ``"server"`` (``a=setup:passive``).
        remote_fingerprints: those of the peer's session description.
        configuration: time-outs, sizes and profiles.

    Raises:
        ConfigurationError: the role is neither.
        DtlsError: there is no fingerprint by a hash function that counts (sha-256, sha-384, sha-512).
    """

    __slots__ = (
        "_configuration",
        "_connection",
        "_context",
        "_datagrams",
        "_events",
        "_flights",
        "_handshake_bytes",
        "_handshake_datagrams",
        "_handshake_deadline",
        "_openssl_deadline",
        "_transmit",
        "_verification",
        "dropped_application_data",
        "dropped_malformed",
        "role",
        "state",
    )

    def __init__(
        self,
        *,
        certificate: Certificate,
        role: Literal["client", "server"],
        remote_fingerprints: Sequence[Fingerprint],
        configuration: DtlsConfiguration,
    ) -> None:
        if role not in ("client", "server"):
            raise ConfigurationError(f"a DTLS role is 'client' or 'server', not {role!r}")
        self.role: Literal["client", "server"] = role
        #: Where the association stands.
        self.state = DtlsState.NEW
        #: Datagrams that were, in whole or in their rest, no DTLS records.
        self.dropped_malformed = 0
        #: Messages of application data; nothing here speaks SCTP.
        self.dropped_application_data = 0
        self._configuration = configuration
        self._context = certificate.context(configuration.srtp_profiles)
        self._verification = PeerVerification(remote_fingerprints)
        self._flights = FlightSender(configuration)
        self._connection: SSL.Connection | None = None
        self._transmit: deque[bytes] = deque()
        self._events: deque[DtlsEvent] = deque()
        self._handshake_deadline: float | None = None
        self._openssl_deadline: float | None = None
        self._handshake_datagrams = 0
        self._handshake_bytes = 0

    @property
    def retransmissions(self) -> int:
        """How many flights were sent again."""
        return self._flights.retransmissions

    def start(self, now: float) -> None:
        """Begin the handshake: the client speaks, the server listens. The path to the peer should be valid by now.

        Raises:
            DtlsError: it was started or closed before.
        """
        if self.state is not DtlsState.NEW:
            raise DtlsError("a DTLS transport starts once; make a new one")
        self.state = DtlsState.CONNECTING
        connection = SSL.Connection(self._context, None)
        connection.set_app_data(self._verification)
        connection.set_ciphertext_mtu(self._configuration.mtu_bytes)
        if self.role == "server":
            connection.set_accept_state()
        else:
            connection.set_connect_state()
        self._connection = connection
        self._handshake_deadline = now + self._configuration.handshake_timeout_ms / 1000
        self._advance(connection, now)

    def receive(self, datagram: bytes, now: float) -> None:
        """Take a datagram of the peer. Before :meth:`start` and after the end it is ignored."""
        connection = self._connection
        if connection is None:
            return
        records, rest = split_records(datagram)
        if rest or len(datagram) > self._configuration.max_datagram_bytes:
            self.dropped_malformed += 1
            datagram = datagram[: len(datagram) - rest]
        if not records or len(datagram) > self._configuration.max_datagram_bytes:
            return
        if self.state is DtlsState.CONNECTING and not self._within_limits(len(datagram)):
            self._fail("the peer's handshake is larger than max_handshake_datagrams or max_handshake_bytes allow")
            return
        # OpenSSL's buffer knows no datagrams: each is read to its end before the next one is written.
        connection.bio_write(datagram)
        self._advance(connection, now)

    def handle_timeout(self, now: float) -> None:
        """Repeat a flight, or give up, if it is time."""
        connection = self._connection
        if connection is None:
            return
        if self._handshake_deadline is not None and now >= self._handshake_deadline:
            self._fail(f"no handshake within {self._configuration.handshake_timeout_ms} ms")
            return
        if self._openssl_deadline is not None and now >= self._openssl_deadline:
            try:
                connection.DTLSv1_handle_timeout()
            except SSL.Error as error:
                self._fail(_describe(error))
                return
            self._transmit.extend(self._flights.send_again(_written(connection)))
            self._read_openssl_timer(connection, now)
        if self._flights.deadline is not None and now >= self._flights.deadline:
            datagrams = self._flights.resend(now)
            # Where nobody polls, copies of one flight would only pile up.
            if not self._transmit:
                self._transmit.extend(datagrams)

    def next_deadline(self) -> float | None:
        """When :meth:`handle_timeout` wants to be called; ``None``: never."""
        deadlines = (self._handshake_deadline, self._openssl_deadline, self._flights.deadline)
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def poll_transmit(self) -> bytes | None:
        """The next datagram for the peer; ``None``: there is no more."""
        return self._transmit.popleft() if self._transmit else None

    def poll_event(self) -> DtlsEvent | None:
        """The next event; ``None``: there is no more."""
        return self._events.popleft() if self._events else None

    def media_arrived(self) -> None:
        """The first authentic SRTP packet is here, so the peer has our last flight: it need not be repeated."""
        if self.state is DtlsState.CONNECTED:
            self._flights.stop()

    def close(self, now: float) -> None:
        """Say good-bye (``close_notify``) if there is a connection, and end. What is to be sent can still be polled."""
        if self.state in (DtlsState.CLOSED, DtlsState.FAILED):
            return
        self._shut_down()
        self._end(DtlsState.CLOSED)

    def _within_limits(self, length: int) -> bool:
        self._handshake_datagrams += 1
        self._handshake_bytes += length
        return (
            self._handshake_datagrams <= self._configuration.max_handshake_datagrams
            and self._handshake_bytes <= self._configuration.max_handshake_bytes
        )

    def _advance(self, connection: SSL.Connection, now: float) -> None:
        """Let OpenSSL work on what it was given, send what it wrote, tell what came of it."""
        closed, failure = (
            False,
            "",
        )  # not the error: with its traceback it would hold this frame, and the frame the session
        try:
            if self.state is DtlsState.CONNECTING:
                connection.do_handshake()
                self._complete(connection, now)
            while self._connection is not None:
                connection.recv(_READ_BYTES)
                self.dropped_application_data += 1
        except SSL.WantReadError:
            pass
        except SSL.Error as error:
            closed, failure = isinstance(error, SSL.ZeroReturnError), _describe(error)
        if self._connection is None:
            return
        self._transmit.extend(self._flights.send(_written(connection), now))
        if closed and self.state is DtlsState.CONNECTED:
            self._shut_down()
            self._end(DtlsState.CLOSED)
            self._events.append(DtlsClosed())
        elif failure:
            self._fail(_WRONG_FINGERPRINT if self._verification.refused else failure)
        else:
            self._read_openssl_timer(connection, now)

    def _complete(self, connection: SSL.Connection, now: float) -> None:
        """The handshake is done: check the certificate once more, by itself, and hand out the keys."""
        self._transmit.extend(self._flights.send(_written(connection), now))
        certificate = connection.get_peer_certificate()
        if certificate is None or not self._verification.accepts(certificate):
            self._shut_down()
            self._fail(_WRONG_FINGERPRINT)
            return
        selected = connection.get_selected_srtp_profile().decode("ascii")
        profile = next((one for one in self._configuration.srtp_profiles if one.openssl_name == selected), None)
        if profile is None:
            self._shut_down()
            self._fail("the peer shares no SRTP profile with us")
            return
        self.state = DtlsState.CONNECTED
        self._handshake_deadline = None
        # A client that is done has heard the server's last word; only the server must fear that its own was lost.
        self._flights.finish(self._configuration.final_flight_resends if self.role == "server" else 0)
        material = connection.export_keying_material(EXPORTER_LABEL, keying_material_bytes(profile))
        self._events.append(split_keying_material(profile, material, self.role))

    def _read_openssl_timer(self, connection: SSL.Connection, now: float) -> None:
        """Keep OpenSSL's own timer running behind ours: it alone can repeat a Finished under a new number."""
        pause = connection.DTLSv1_get_timeout() if self.state is DtlsState.CONNECTING else None
        self._openssl_deadline = None if pause is None else now + max(pause, _SHORTEST_OPENSSL_PAUSE_S)

    def _shut_down(self) -> None:
        """Write ``close_notify`` if the connection has come that far."""
        connection = self._connection
        if connection is None:
            return
        try:
            connection.shutdown()
        except SSL.Error:
            return  # in the middle of a handshake there is nothing to close
        self._transmit.extend(self._flights.pack(_written(connection)))

    def _fail(self, reason: str) -> None:
        self._end(DtlsState.FAILED)
        self._events.append(DtlsFailed(reason))

    def _end(self, state: DtlsState) -> None:
        """Let go of OpenSSL's memory and of all timers."""
        self.state = state
        self._connection = None
        self._handshake_deadline = None
        self._openssl_deadline = None
        self._flights.finish(0)


def _written(connection: SSL.Connection) -> list[bytes]:
    """The records that OpenSSL has written. Its buffer has lost the boundaries of datagrams."""
    written = b""
    while True:
        try:
            written += connection.bio_read(_READ_BYTES)
        except SSL.WantReadError:
            return split_records(written)[0] if written else []


def _describe(error: SSL.Error) -> str:
    """OpenSSL's reasons as one line."""
    if isinstance(error, SSL.ZeroReturnError):
        return "the peer closed the connection during the handshake"
    queue = error.args[0] if error.args else ()
    reasons = [entry[-1] for entry in queue if isinstance(entry, tuple)] if isinstance(queue, list) else []
    return "; ".join(str(reason) for reason in reasons) or f"OpenSSL: {type(error).__name__}"
