"""The server's WebSocket (RFC 6455) over a stream in memory, against the frames that wsproto makes as a client."""

from __future__ import annotations

import random
from collections.abc import Iterable
from contextlib import suppress

import pytest
import trio
from trio.testing import memory_stream_pair, wait_all_tasks_blocked
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage

from triortc.signaling.channel import ChannelClosedError
from triortc.signaling.websocket import WebSocketChannel

TEXT = "Grüße · 你好 · " * 10


def client() -> Connection:
    return Connection(ConnectionType.CLIENT)


async def received(data: bytes, pieces: Iterable[bytes] | None = None) -> tuple[list[str], tuple[int, str | None]]:
    """What a server takes from these bytes, and how that ends."""
    ours, theirs = memory_stream_pair()
    channel = WebSocketChannel(ours, Connection(ConnectionType.SERVER))
    messages: list[str] = []
    for piece in [data] if pieces is None else pieces:
        await theirs.send_all(piece)
    await theirs.send_eof()
    while True:
        try:
            messages.append((await channel.receive()).decode())
        except ChannelClosedError as closed:
            return messages, (closed.code, closed.error)


async def test_5_2_messages_arrive_whole_however_their_bytes_are_cut() -> None:
    chance = random.Random(5)
    peer = client()
    sent = [TEXT[: chance.choice([0, 1, 30, 125, 126, 200])] * chance.choice([1, 1, 1, 60]) for _ in range(60)]
    data = b"".join(peer.send(TextMessage(data=text)) for text in sent)
    for longest in (1, 7, 400, len(data)):
        pieces, at = [], 0
        while at < len(data):
            size = chance.randint(1, longest)
            pieces.append(data[at : at + size])
            at += size
        assert await received(data, pieces) == (sent, (1006, None))


async def test_5_4_a_message_in_fragments_is_one_with_a_ping_between_them() -> None:
    peer = client()
    first = peer.send(TextMessage(data="one ", message_finished=False))
    rest = peer.send(Ping(b"?")) + peer.send(TextMessage(data="two")) + peer.send(TextMessage(data="three"))
    assert await received(first + rest) == (["one two", "three"], (1006, None))


async def test_5_5_2_a_ping_is_answered_and_5_5_1_a_close_too() -> None:
    ours, theirs = memory_stream_pair()
    channel, peer = WebSocketChannel(ours, Connection(ConnectionType.SERVER)), client()
    await theirs.send_all(peer.send(Ping(b"still there?")) + peer.send(CloseConnection(4000, "bye")))
    with pytest.raises(ChannelClosedError, match="4000 bye"):
        await channel.receive()
    peer.receive_data(bytes(await theirs.receive_some()))
    pong, close = peer.events()
    assert isinstance(pong, Pong)
    assert isinstance(close, CloseConnection)
    assert (bytes(pong.payload), close.code) == (b"still there?", 4000)
    with pytest.raises(ChannelClosedError):
        await channel.send(b"too late")


MASK = b"\x01\x02\x03\x04"


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"\x81\x03abc", 1002),  # section 5.1: a client's frames are masked
        (b"\x81\xfe\x00\x03" + MASK + b"abc", 1002),  # section 5.2: the shortest form of the length
        (b"\x81\xff" + (200).to_bytes(8, "big") + MASK + bytes(200), 1002),
        (b"\x83\x80" + MASK, 1002),  # section 5.2: a reserved opcode
        (b"\xc1\x83" + MASK + b"abc", 1002),  # section 5.2: a reserved bit
        (b"\x80\x83" + MASK + b"abc", 1002),  # section 5.4: a continuation of nothing
        (b"\x89\xfe\x00\x80" + MASK + bytes(128), 1002),  # section 5.5: a control frame is short
        (b"\x81\x81\x00\x00\x00\x00\xff", 1007),  # section 8.1: text is UTF-8
        (b"\x81\xff" + (1 << 40).to_bytes(8, "big"), 1009),  # section 7.4.1: too big, without waiting for it
    ],
)
async def test_7_1_7_what_is_no_websocket_fails_the_connection_behind_what_came_before(frame: bytes, code: int) -> None:
    messages, (ended, _) = await received(client().send(TextMessage(data="before")) + frame)
    assert (messages, ended) == (["before"], code)


async def test_5_4_a_message_whose_fragments_are_too_large_together_is_1009() -> None:
    peer = client()
    data = b"".join(peer.send(TextMessage(data="x" * 60_000, message_finished=False)) for _ in range(3))
    assert (await received(data))[1] == (1009, None)


async def test_5_4_a_peer_that_never_finishes_a_message_is_cut_off() -> None:
    peer = client()
    assert (await received(peer.send(Ping(b"?" * 125)) * 9000))[1] == (1009, None)


@pytest.mark.parametrize("opcode", [0x0, 0x9, 0xA])
async def test_5_4_a_peer_that_sends_frames_and_no_message_is_cut_off(opcode: int) -> None:
    empty = bytes((opcode | (0x80 if opcode else 0), 0x80, 0, 0, 0, 0))
    begun = client().send(TextMessage(data="", message_finished=False))
    end = b"\x80\x80\0\0\0\0" + client().send(TextMessage(data="next"))
    assert await received((begun + empty * 200 + end) * 3) == (["", "next"] * 3, (1006, None))
    assert await received(begun + empty * 10_000) == ([], (1009, None))


async def test_a_binary_frame_is_not_part_of_the_protocol() -> None:
    assert (await received(client().send(BytesMessage(data=b"x"))))[1] == (4400, "proto.malformed")


async def test_7_1_2_a_close_waits_for_the_peers_close_and_listens_to_nothing_else() -> None:
    ours, theirs = memory_stream_pair()
    channel, peer = WebSocketChannel(ours, Connection(ConnectionType.SERVER)), client()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(channel.aclose, 4010, "ä" * 100)
        peer.receive_data(bytes(await theirs.receive_some()))
        (close,) = peer.events()
        assert isinstance(close, CloseConnection)
        assert (close.code, close.reason) == (4010, "ä" * 61)
        await theirs.send_all(client().send(TextMessage(data="unheard")) + peer.send(close.response()))
    with pytest.raises(ChannelClosedError, match="4010"):
        await channel.receive()


@pytest.mark.parametrize(("size", "code"), [(60_000, 4010), (200_000, 1009)])
async def test_7_1_1_a_close_is_answered_behind_the_frame_that_was_on_its_way(size: int, code: int) -> None:
    """Who ends the connection before that may take the close and its code away from the peer (a TCP reset)."""
    ours, theirs = memory_stream_pair()
    channel, peer = WebSocketChannel(ours, Connection(ConnectionType.SERVER)), client()
    frame = peer.send(TextMessage(data="x" * size))
    closed, reading = trio.Event(), trio.CancelScope()

    async def serve() -> None:
        with reading, suppress(ChannelClosedError):
            await channel.receive()
        await channel.aclose(4010, "superseded")
        closed.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        await theirs.send_all(frame[:1000])
        await wait_all_tasks_blocked()
        reading.cancel()
        await wait_all_tasks_blocked()
        await theirs.send_all(frame[1000:])
        await wait_all_tasks_blocked()
        assert not closed.is_set()
        peer.receive_data(bytes(await theirs.receive_some()))
        (said,) = peer.events()
        assert isinstance(said, CloseConnection)
        assert said.code == code
        await theirs.send_all(peer.send(said.response()))
        with trio.fail_after(5):
            await closed.wait()
