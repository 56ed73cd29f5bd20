"""Clients that send nonsense, too much, too little or nothing, on every transport (call-control spec 3.6, 3.7, I41)."""

from __future__ import annotations

import random
import resource
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest
import trio

from support.signaling_host import (
    TRANSPORTS,
    SignalingHost,
    address,
    hello,
    open_signaling_host,
    receive,
)
from triortc.engine.calls.notifications import ConversationMessage
from triortc.signaling.channel import ChannelClosedError, MessageChannel
from triortc.signaling.configuration import SignalingConfiguration
from triortc.signaling.wire import COMMANDS, encode_message

VALID = (
    encode_message("call.request", {"conversation": "cv_9", "media": {"video": True}, "offer": "v=0"}, id="q1"),
    encode_message("sdp.offer", {"leg": "leg_1", "neg": 1, "sdp": "v=0" * 100}, id="q2"),
    encode_message("presence.set", {"channel": "video", "declared": "available"}, id="q3"),
    encode_message("ack", {"seq": 1}),
    encode_message("ping", {"n": 7}),
)
SLOW_READER_MOST = 4000


@pytest.fixture(params=TRANSPORTS)
async def host(request: pytest.FixtureRequest) -> AsyncGenerator[SignalingHost]:
    async with open_signaling_host(request.param) as running:
        yield running


async def assert_others_are_served(host: SignalingHost) -> None:
    async with host.client("ben", "other") as other:
        assert await other.command("presence.get") == {}


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what a counter says; nothing else tells of it."""
    with trio.fail_after(10):
        while not holds():  # noqa: ASYNC110  # a counter has no event
            await trio.sleep(0.02)


def flipped(chance: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def nonsense(chance: random.Random) -> bytes:
    match chance.randrange(4):
        case 0:
            return chance.randbytes(chance.randint(0, 300))
        case 1:
            return flipped(chance, chance.choice(VALID))
        case 2:
            return chance.choice(VALID)[: chance.randint(0, 60)]
        case _:
            return encode_message(
                chance.choice([*COMMANDS]), {"session": chance.choice([1, None, "", "x" * 70])}, id="n"
            )


@pytest.mark.parametrize("seed", range(4))
async def test_i41_random_and_bit_flipped_messages_cost_their_sender_the_connection_at_most(
    host: SignalingHost, seed: int
) -> None:
    chance = random.Random(seed)
    for _ in range(5):
        async with host.open_channel() as channel:
            if chance.random() < 0.7:
                await hello(host, channel)
            with trio.move_on_after(5) as patience:
                await _send_until_closed(channel, [_sendable(host, nonsense(chance)) for _ in range(40)])
            assert not patience.cancelled_caught
    await assert_others_are_served(host)


def _sendable(host: SignalingHost, data: bytes) -> bytes:
    """A WebSocket's text has to be UTF-8: what is not is the library's to refuse, and is tested below."""
    return data if host.transport != "websocket" else data.decode("utf-8", "replace").encode()


async def _send_until_closed(channel: MessageChannel, messages: list[bytes]) -> None:
    async with trio.open_nursery() as nursery:

        async def read() -> None:
            try:
                while True:
                    await channel.receive()
            except ChannelClosedError:
                nursery.cancel_scope.cancel()

        nursery.start_soon(read)
        try:
            for message in messages:
                await channel.send(message)
            await channel.send(b"[]")
            await channel.send(b"[]")
            await channel.send(b"[]")  # the third malformed one closes, if nothing has before
            await trio.sleep_forever()
        except ChannelClosedError:
            pass


async def test_bytes_that_are_no_frames_end_their_connection_only() -> None:
    """Below the messages: an upgrade that goes on with anything but WebSocket frames."""
    async with open_signaling_host("websocket") as host:
        assert host.address is not None
        chance = random.Random(3)
        for _ in range(20):
            async with await trio.open_tcp_stream(*host.address) as stream:
                await stream.send_all(_upgrade(host.address))
                await stream.receive_some()
                with trio.fail_after(5):
                    try:
                        await stream.send_all(chance.randbytes(2000))
                        while await stream.receive_some():
                            pass
                    except trio.BrokenResourceError:
                        pass
        await assert_others_are_served(host)


def _upgrade(to: tuple[str, int]) -> bytes:
    return (
        f"GET /v1/signal HTTP/1.1\r\nhost: {to[0]}:{to[1]}\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
        "sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        "sec-websocket-protocol: triortc.v1\r\n\r\n"
    ).encode()


async def test_3_7_a_reader_that_stops_is_closed_with_4008_and_slows_nobody(host: SignalingHost) -> None:
    """However much the transport takes in for it, what waits here stays within the bounds of 3.7."""
    message = ConversationMessage("cv_9", "m_1", "visitor", True, 1, text="x" * 8000)
    async with host.open_channel() as slow:
        welcome = (await hello(host, slow)).p
        with trio.fail_after(20):
            for _ in range(SLOW_READER_MOST):
                host.server.notify(address(), message)
                await trio.lowlevel.checkpoint()
                if ("lost", "d1") in host.calls.happened:
                    break
            await host.calls.wait_for("lost")
        await assert_others_are_served(host)
        session = host.server._book.of(address())
        assert session is not None
        assert session._buffer_bytes <= 512 * 1024
        assert len(session._buffer) <= 256
        floor = session._buffer[0].seq - 1
        resume = {"session": welcome["session"], "token": welcome["resume_token"], "last_seq": floor}
        async with host.open_channel() as again:
            assert (await hello(host, again, resume=resume)).p["resumed"] is True
            assert (await receive(again)).seq == floor + 1


@pytest.mark.parametrize("flood", ["signals", "commands", "repeats"])
async def test_3_6_a_flood_is_closed_with_4029(host: SignalingHost, flood: str) -> None:
    def one(number: int) -> bytes:
        match flood:
            case "signals":
                return encode_message("ping", {"n": number})
            case "commands":
                return encode_message("presence.get", {}, id=f"c{number}")
            case _:
                return encode_message("presence.get", {}, id="same")

    async with host.open_channel() as channel:
        await hello(host, channel)
        codes: list[int] = []
        async with trio.open_nursery() as nursery:

            async def read() -> None:
                try:
                    while True:
                        await channel.receive()
                except ChannelClosedError as closed:
                    codes.append(closed.code)
                    nursery.cancel_scope.cancel()

            nursery.start_soon(read)
            with trio.fail_after(10):
                try:
                    for number in range(20_000):
                        await channel.send(one(number))
                except ChannelClosedError:
                    pass
                await trio.sleep_forever()
    assert codes == [4029]
    await assert_others_are_served(host)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_3_3_a_peer_that_vanished_without_a_word_is_given_up(transport: Any) -> None:
    """Half-open: nothing comes, nothing is answered. Three heartbeats later its session waits to be resumed."""
    quick = SignalingConfiguration(heartbeat_ms=100, dead_after_s=0.35, call_heartbeat_ms=100, call_dead_after_s=0.35)
    async with open_signaling_host(transport, configuration=quick) as host, host.open_channel() as channel:
        await hello(host, channel)
        if transport == "webtransport":
            channel._owner._send = lambda datagram, to: None  # type: ignore[attr-defined]  # not even acknowledgements
        await host.calls.wait_for("lost")
        await until(lambda: host.server.counters.open_connections == 0)


async def open_silent_connections(to: tuple[str, int], count: int) -> tuple[list[trio.SocketStream], list[int]]:
    """Upgrade that many connections and say nothing more on them: the streams, and the HTTP status of each."""
    streams: list[trio.SocketStream] = []
    statuses: list[int] = []
    limiter = trio.CapacityLimiter(64)

    async def one() -> None:
        async with limiter:
            stream = await trio.open_tcp_stream(*to)
            streams.append(stream)
            try:
                await stream.send_all(_upgrade(to))
                statuses.append(int((await stream.receive_some())[9:12]))
            except trio.BrokenResourceError:
                statuses.append(0)

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(one)
    return streams, statuses


async def test_3_7_unauthenticated_connections_are_bounded_and_known_devices_still_come_in() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    limits = SignalingConfiguration(max_handshakes=300, hello_timeout_s=60.0)
    try:
        async with open_signaling_host("websocket", configuration=limits) as host, host.client() as known:
            assert host.address is not None
            streams, statuses = await open_silent_connections(host.address, 500)
            try:
                assert statuses.count(101) == 300
                assert statuses.count(503) == 200
                assert host.server.counters.handshakes == 300
                assert await known.command("presence.get") == {}
            finally:
                for stream in streams:
                    await trio.aclose_forcefully(stream)
            await until(lambda: host.server.counters.handshakes == 0)
            async with host.client("ben", "d2"):
                pass
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
