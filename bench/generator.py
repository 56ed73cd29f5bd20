"""Load for a relay: calls of two legs each, real ICE, DTLS and SRTP, pictures in bursts and sound in between.

The workload is that of bench/peers: a call sends 30 pictures a second, each a burst of ten packets of 1200 bytes, and
50 packets of sound a second of 92 bytes, from leg a to leg b. Every payload carries its number and when it was sent.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from struct import Struct
from typing import Final, Literal

import httpx
import trio

from triortc.bench.hostile import Hostility
from triortc.codecs.registry import DEFAULT_CODECS
from triortc.engine.dtls.certificate import Certificate
from triortc.engine.dtls.configuration import DtlsConfiguration
from triortc.engine.endpoint import Endpoint, open_endpoint
from triortc.engine.endpoint_configuration import EndpointConfiguration
from triortc.engine.ice.configuration import IceConfiguration
from triortc.engine.protection_profile import PROFILES_BY_NAME
from triortc.engine.rtp.header import RtpHeader
from triortc.engine.sdp.grammar import parse
from triortc.engine.sdp.negotiated import Direction
from triortc.engine.sdp.negotiation import apply_answer, create_offer
from triortc.engine.session.configuration import SessionConfiguration
from triortc.engine.session.description import describe_media, describe_transport
from triortc.engine.session.events import ConnectionState, ConnectionStateChanged, SessionEvent
from triortc.engine.session.inbound import InboundStream
from triortc.engine.session.session import Session
from triortc.errors import TriortcError

__all__ = ["Generator", "Leg", "Traffic", "open_generator"]

PICTURES_PER_S: Final = 30
PACKETS_PER_PICTURE: Final = 10
PICTURE_PAYLOAD_BYTES: Final = 1188
SOUND_PAYLOAD_BYTES: Final = 80
_STAMP: Final = Struct("!Qd")
_STAMP_AT: Final = 12
#: Header and tag, by profile.
_AROUND_PAYLOAD: Final = {"AEAD_AES_128_GCM": 28, "AEAD_AES_256_GCM": 28, "AES128_CM_HMAC_SHA1_80": 22}
#: A VP8 descriptor with nothing but S, or nothing at all, and the first byte of a keyframe or of another picture.
_FIRST_KEY, _FIRST, _LATER = b"\x10\x00", b"\x10\x01", b"\x00\x01"
_KEYFRAME_EVERY: Final = 60


class SetupFailedError(TriortcError):
    """A leg did not come up; the message says why."""


@dataclass(slots=True)
class Traffic:
    """What was sent and what came of it, since the last reset."""

    sent: int = 0
    received: int = 0
    latencies_s: list[float] = field(default_factory=list)


@dataclass(eq=False)
class Leg:
    """One end of a call."""

    session: Session
    endpoint: Endpoint
    setup_s: float = 0.0
    up: trio.Event = field(default_factory=trio.Event)
    failure: str = ""
    sequence_numbers: dict[str, int] = field(default_factory=lambda: {"audio": 0, "video": 0})

    def on_event(self, event: SessionEvent) -> None:
        """Take note of what the session tells."""
        if isinstance(event, ConnectionStateChanged) and event.state in (
            ConnectionState.CONNECTED,
            ConnectionState.FAILED,
            ConnectionState.CLOSED,
        ):
            self.failure = "" if event.state is ConnectionState.CONNECTED else event.reason
            self.up.set()


class Generator:
    """Makes legs and traffic. Made by :func:`open_generator`."""

    def __init__(self, client: httpx.AsyncClient, url: str) -> None:
        self._client = client
        self._url = url
        self._certificate = Certificate.generate(valid_from=datetime.now(UTC) - timedelta(days=1))
        self.traffic = Traffic()
        #: Packets since the start, whatever `traffic` was set back to.
        self.sent_in_all = 0
        #: The only SRTP profile that is offered to the relay; what legs b do, too.
        self.profile = "AEAD_AES_128_GCM"
        self.both_ways = False
        #: Sends what no peer would, beside everything else.
        self.hostility: Hostility | None = None

    @asynccontextmanager
    async def connect(self, call: str, which: Literal["a", "b"], *, timeout_s: float = 10.0) -> AsyncGenerator[Leg]:
        """Offer one leg to the server and wait until media can flow; leaving the block ends it.

        Every leg has a socket of its own, as every browser has: the server tells legs apart by their address.

        Raises:
            SetupFailedError: the server refused, or the leg did not come up in time.
        """
        async with open_endpoint(EndpointConfiguration(media_host=("127.0.0.1",))) as endpoint:
            began = trio.current_time()
            session = Session(
                controlling=True,
                certificate=self._certificate,
                configuration=SessionConfiguration(
                    ice=IceConfiguration(allow_loopback=True),
                    dtls=DtlsConfiguration(srtp_profiles=(PROFILES_BY_NAME[self.profile],)),
                ),
                random_bytes=secrets.token_bytes,
            )
            leg = Leg(session, endpoint)
            session.media.on_stream = self._on_stream
            endpoint.add(session, leg.on_event)
            try:
                await self._negotiate(leg, call, which)
                with trio.move_on_after(timeout_s):
                    await leg.up.wait()
                if leg.failure or not leg.up.is_set():
                    raise SetupFailedError(leg.failure or f"leg {which} of call {call} is not up after {timeout_s} s")
                leg.setup_s = trio.current_time() - began
                yield leg
            finally:
                session.close(trio.current_time())
                endpoint.remove(session)

    async def counters(self) -> dict[str, int]:
        """What the server counts."""
        answer = await self._client.get(self._url.removesuffix("offer"))
        found: dict[str, int] = answer.json()
        return found

    async def _negotiate(self, leg: Leg, call: str, which: Literal["a", "b"]) -> None:
        session = leg.session
        direction: Direction = "sendrecv" if self.both_ways else "sendonly" if which == "a" else "recvonly"
        offer = create_offer(
            describe_transport(session),
            [
                describe_media(session, kind, direction=direction, codecs=DEFAULT_CODECS[kind][:1], extensions=())
                for kind in ("audio", "video")
            ],
            session_id=secrets.randbits(62),
            session_version=1,
        )
        body = {"call": call, "leg": which, "sdp": str(offer), "type": "offer"}
        answer = await self._client.post(self._url, json=body)
        if answer.status_code != 200:
            raise SetupFailedError(f"the server answered {answer.status_code}: {answer.text.strip()}")
        now = trio.current_time()
        session.set_remote(apply_answer(offer, parse(answer.json()["sdp"])), now)
        leg.endpoint.flush(now)

    def _on_stream(self, stream: InboundStream) -> None:
        stream.deliver = self._deliver

    def _deliver(
        self, stream: InboundStream, header: RtpHeader, packet: memoryview, payload: memoryview, now: float
    ) -> None:
        if len(payload) >= _STAMP_AT + _STAMP.size:
            _number, sent_at = _STAMP.unpack_from(payload, _STAMP_AT)
            self.traffic.received += 1
            self.traffic.latencies_s.append(trio.current_time() - sent_at)

    async def send(self, leg: Leg, *, seconds: float, offset_s: float) -> None:
        """Send pictures and sound on leg a at their pace; `offset_s` spreads the calls over the picture period."""
        begin = trio.current_time() + offset_s
        pictures, sounds = int(seconds * PICTURES_PER_S), int(seconds * 50)
        schedule = sorted(
            [(n / PICTURES_PER_S, "video", n) for n in range(pictures)] + [(n / 50, "audio", n) for n in range(sounds)]
        )
        for at, kind, number in schedule:
            await trio.sleep_until(begin + at)
            now = trio.current_time()
            if kind == "video":
                self._send_picture(leg, number, now)
            else:
                self._send_packet(leg, "audio", number * 960, b"\xfc\xff", SOUND_PAYLOAD_BYTES, False, now)
            leg.endpoint.flush(now)

    def _send_picture(self, leg: Leg, number: int, now: float) -> None:
        first = _FIRST_KEY if number % _KEYFRAME_EVERY == 0 else _FIRST
        for part in range(PACKETS_PER_PICTURE):
            head = first if part == 0 else _LATER
            last = part == PACKETS_PER_PICTURE - 1
            self._send_packet(leg, "video", number * 3000, head, PICTURE_PAYLOAD_BYTES, last, now)

    def _send_packet(
        self,
        leg: Leg,
        kind: Literal["audio", "video"],
        timestamp: int,
        head: bytes,
        size: int,
        marker: bool,
        now: float,
    ) -> None:
        stream = leg.session.media.outbound(kind)
        if stream is None:
            return
        number = leg.sequence_numbers[kind]
        leg.sequence_numbers[kind] = number + 1
        stamp = _STAMP.pack(number, now)
        payload = head + bytes(_STAMP_AT - len(head)) + stamp + bytes(size - _STAMP_AT - len(stamp))
        stream.send(
            marker,
            stream.section.codecs[0].payload_type,
            (stream.first_sequence_number + number) & 0xFFFF,
            (stream.first_timestamp + timestamp) & 0xFFFFFFFF,
            b"",
            payload,
            now,
        )
        self.traffic.sent += 1
        self.sent_in_all += 1
        outbox, path = leg.session.outbox, leg.session.path
        if self.hostility is not None and path is not None and self.hostility.is_due():
            packet = bytes(outbox.view[outbox.position - size - _AROUND_PAYLOAD[self.profile] : outbox.position])
            leg.endpoint.flush(now)  # what follows the packet comes behind it
            self.hostility.send_behind(packet, leg.endpoint.sockets[0].send, path[1])


@asynccontextmanager
async def open_generator(url: str) -> AsyncGenerator[Generator]:
    """A generator for the server at `url` (bench/peers/README.md has the contract)."""
    async with httpx.AsyncClient(timeout=10) as client:
        yield Generator(client, url)
