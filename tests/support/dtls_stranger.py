"""A DTLS peer that is not our code: OpenSSL itself, with whatever a test wants it to offer."""

from __future__ import annotations

from typing import Literal

from OpenSSL import SSL

from support.dtls_pair import CLIENT, our_certificate
from triortc.engine.dtls import Certificate, DtlsEvent, DtlsTransport

__all__ = ["Stranger", "converse"]


class Stranger:
    """One end of a DTLS connection that checks nothing."""

    def __init__(
        self,
        role: Literal["client", "server"],
        *,
        certificate: Certificate | None = None,
        srtp: bytes = b"SRTP_AES128_CM_SHA1_80:SRTP_AEAD_AES_128_GCM",
        alpn: list[bytes] | None = None,
        mtu_bytes: int = 1200,
        shows_certificate: bool = True,
    ) -> None:
        context = SSL.Context(SSL.DTLS_METHOD)
        if shows_certificate:
            # Its own context, since ours would verify.
            own = certificate or our_certificate(role)
            context.use_certificate(own.x509)
            context.use_privatekey(own._key)
        context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
        if srtp:
            context.set_tlsext_use_srtp(srtp)
        if alpn:
            context.set_alpn_protos(alpn)
        context.set_options(SSL.OP_NO_QUERY_MTU)
        self.connection = SSL.Connection(context, None)
        self.connection.set_ciphertext_mtu(mtu_bytes)
        if role == CLIENT:
            self.connection.set_connect_state()
        else:
            self.connection.set_accept_state()
        self.error: SSL.Error | None = None
        self.done = False

    def step(self, datagram: bytes | None = None) -> bytes:
        """Take a datagram, return all that is written, as one string."""
        if datagram is not None:
            self.connection.bio_write(datagram)
        try:
            if not self.done:
                self.connection.do_handshake()
                self.done = True
            self.connection.recv(4096)
        except SSL.WantReadError:
            pass
        except SSL.Error as error:
            self.error = error
        return self.written()

    def written(self) -> bytes:
        """All that is written, as one string."""
        try:
            return self.connection.bio_read(65536)
        except SSL.WantReadError:
            return b""


def converse(transport: DtlsTransport, stranger: Stranger, *, now: float = 0.0) -> list[DtlsEvent]:
    """Start both and pass datagrams on until both are silent; returns the transport's events."""
    transport.start(now)
    pending = stranger.step()
    for _ in range(20):
        if pending:
            transport.receive(pending, now)
        pending = b""
        while (datagram := transport.poll_transmit()) is not None:
            pending += stranger.step(datagram)
        if not pending:
            break
    events: list[DtlsEvent] = []
    while (event := transport.poll_event()) is not None:
        events.append(event)
    return events
