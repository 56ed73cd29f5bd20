"""Sessions on the virtual network, and the offer and answer between two of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import Protocol

from support.virtual_network import Address, Conditions, VirtualNetwork, seeded_random_bytes
from triortc.codecs.registry import DEFAULT_CODECS, Codec, MediaKind
from triortc.engine.datagrams import DatagramBatch
from triortc.engine.dtls.certificate import Certificate
from triortc.engine.ice.configuration import IceConfiguration
from triortc.engine.rtp.header import SEQUENCE_NUMBER, RtpHeader
from triortc.engine.sdp.local import AnswerConstraints
from triortc.engine.sdp.negotiated import Negotiated
from triortc.engine.sdp.negotiation import apply_answer, create_answer, create_offer
from triortc.engine.session.configuration import SessionConfiguration
from triortc.engine.session.description import describe_media, describe_transport
from triortc.engine.session.events import SessionEvent
from triortc.engine.session.inbound import InboundStream
from triortc.engine.session.session import Session

__all__ = ["Core", "SessionHost", "collect", "connect", "connected", "negotiate", "send_video", "two"]


class Core(Protocol):
    """Takes datagrams before the session does."""

    def receive(self, data: bytes, local: Address, remote: Address, now: float) -> bool:
        """Whether nothing is left to do for the session."""

    def looked_at(self, now: float) -> None:
        """The session has looked at what was left to it."""


@cache
def certificate(number: int) -> Certificate:
    """One of a few certificates that tests share: making one costs more than a test."""
    return Certificate.generate(valid_from=datetime(2026, 1, 1, tzinfo=UTC), common_name=f"test {number}")


class SessionHost:
    """A session with one address, as the virtual network wants it.

    Args:
        seed: gives credentials and SSRCs.
        address: where it is reached.
        controlling: whether it offers.
    """

    def __init__(
        self,
        seed: int,
        address: Address,
        *,
        controlling: bool,
        configuration: SessionConfiguration | None = None,
    ) -> None:
        self.address = address
        self.session = Session(
            controlling=controlling,
            certificate=certificate(seed % 2),
            configuration=configuration or SessionConfiguration(ice=IceConfiguration(allow_loopback=True)),
            random_bytes=seeded_random_bytes(seed),
        )
        self.session.add_host_candidate(address)
        self.events: list[SessionEvent] = []
        #: Where datagrams come by first.
        self.core: Core | None = None
        self._batch = DatagramBatch()
        self._outgoing: deque[tuple[bytes, Address, Address]] = deque()

    def receive(self, data: bytes, local: Address, remote: Address, now: float) -> None:
        if self.core is not None and self.core.receive(data, local, remote, now):
            return
        self._batch.load([(data, remote)], now)
        self.session.receive_batch(self._batch, 0, 1, local, remote, now)
        self._collect()
        if self.core is not None:
            self.core.looked_at(now)

    def put_out(self, data: bytes, local: Address, remote: Address) -> None:
        """Send a datagram beside the session."""
        self._outgoing.append((data, local, remote))

    def handle_timeout(self, now: float) -> None:
        self.session.handle_timeout(now)
        self._collect()

    def next_deadline(self) -> float | None:
        return self.session.next_deadline()

    def poll_transmit(self) -> tuple[bytes, Address, Address] | None:
        self._collect()
        return self._outgoing.popleft() if self._outgoing else None

    def _collect(self) -> None:
        while (transmit := self.session.poll_transmit()) is not None:
            self._outgoing.append(transmit)
        if self.session.path is not None:
            local, remote = self.session.path

            def send(run: memoryview, segment: int, to: Address) -> None:
                for start in range(0, len(run), segment):
                    self._outgoing.append((bytes(run[start : start + segment]), local, to))

            self.session.outbox.drain(send, remote)
        while (event := self.session.poll_event()) is not None:
            self.events.append(event)


def negotiate(
    offerer: Session,
    answerer: Session,
    now: float,
    *,
    codecs: dict[MediaKind, Sequence[Codec]] | None = None,
    constraints: AnswerConstraints | None = None,
    extensions: Sequence[str] | None = None,
    lite: bool = False,
    previous: tuple[Negotiated, Negotiated] | None = None,
) -> tuple[Negotiated, Negotiated]:
    """Exchange one offer and answer between two sessions.

    Args:
        extensions: those that are offered, None: all.
        lite: whether the offerer says that its ICE is lite.
        previous: what an exchange before has given: this one restarts ICE.

    Returns:
        What the offerer and the answerer have agreed on.
    """
    chosen = codecs or dict(DEFAULT_CODECS)
    restart = previous is not None
    if restart:
        offerer.prepare_ice_restart()
        answerer.prepare_ice_restart()
    offer = create_offer(
        replace(describe_transport(offerer, restart=restart), ice_lite=lite),
        [
            describe_media(offerer, kind, direction="sendrecv", codecs=tuple(chosen[kind]), extensions=extensions)
            for kind in ("audio", "video")
        ],
        session_id=1,
        session_version=1,
    )
    answer, agreed = create_answer(
        offer,
        describe_transport(answerer, restart=restart),
        [
            describe_media(answerer, kind, direction="sendrecv", codecs=DEFAULT_CODECS[kind])
            for kind in ("audio", "video")
        ],
        session_id=2,
        constraints=constraints,
        prefer="remote",
        previous=previous and previous[1],
    )
    answerer.set_remote(agreed, now)
    applied = apply_answer(offer, answer, previous=previous and previous[0])
    offerer.set_remote(applied, now)
    return applied, agreed


def connect(
    network: VirtualNetwork,
    offerer: SessionHost,
    answerer: SessionHost,
    *,
    codecs: dict[MediaKind, Sequence[Codec]] | None = None,
) -> bool:
    """Let two sessions find each other; whether media can go both ways after at most ten seconds."""
    for host in (offerer, answerer):
        network.attach(host, host.address)
    negotiate(offerer.session, answerer.session, network.now, codecs=codecs)
    return network.run_until(lambda: offerer.session.media.secured and answerer.session.media.secured, timeout_s=10.0)


def two(network: VirtualNetwork, seed: int = 1) -> tuple[SessionHost, SessionHost]:
    """A client that offers and a server."""
    return (
        SessionHost(2 * seed, ("10.0.0.1", 5000), controlling=True),
        SessionHost(2 * seed + 1, ("10.0.0.2", 6000), controlling=False),
    )


def connected(
    conditions: Conditions | None = None, *, seed: int = 0
) -> tuple[VirtualNetwork, SessionHost, SessionHost]:
    """A network with a client and a server that have found each other on it."""
    network = VirtualNetwork(seed=seed, conditions=conditions)
    client, server = two(network)
    assert connect(network, client, server)
    return network, client, server


def collect(session: Session) -> list[tuple[str, int, bytes]]:
    """What the session receives, as (kind, sequence number, payload)."""
    found: list[tuple[str, int, bytes]] = []

    def deliver(stream: InboundStream, header: RtpHeader, packet: memoryview, payload: memoryview, now: float) -> None:
        found.append((stream.kind, header[SEQUENCE_NUMBER], bytes(payload)))

    def on_stream(stream: InboundStream) -> None:
        stream.deliver = deliver

    session.media.on_stream = on_stream
    return found


def send_video(host: SessionHost, count: int, now: float, first: int = 0, size: int = 800) -> None:
    """Send VP8 packets that carry their number, from `first` on."""
    stream = host.session.media.outbound("video")
    assert stream is not None
    for n in range(first, first + count):
        payload = b"\x10\x01" + n.to_bytes(2, "big") + bytes(size)
        stream.send(True, 96, (stream.first_sequence_number + n) & 0xFFFF, 3000 * n, b"", payload, now)
