"""What a turn of the loop tells is written at its end; what a slow peer does not take is left to its writer (3.7)."""

from __future__ import annotations

import trio
from trio.testing import wait_all_tasks_blocked
from wsproto.connection import Connection as WebSocket
from wsproto.connection import ConnectionType
from wsproto.events import TextMessage

from support.calls import agent_actor
from triortc.engine.calls.actor import DeviceAddress
from triortc.engine.deadlines import DeadlineClock
from triortc.signaling.channel import MemoryChannel, Sending, memory_channel_pair
from triortc.signaling.configuration import SignalingConfiguration
from triortc.signaling.connection import Connection
from triortc.signaling.link import Link
from triortc.signaling.replies import ReplyCache
from triortc.signaling.session import SignalingSession
from triortc.signaling.turn_writes import TurnWrites
from triortc.signaling.websocket import WebSocketChannel
from triortc.signaling.wire import Hello, Incoming, decode_message, encode_message
from triortc.signaling.wire_commands import AuthRefresh

HELLO = encode_message("hello", {"token": "t", "device": {"id": "desk", "platform": "desktop"}})


class Handler:
    """A server with one session; whatever was told may be written, unless it is said that it may not."""

    def __init__(self) -> None:
        self.settled = True
        self.session = SignalingSession(
            id="sg_1",
            actor=agent_actor("ana", "desk"),
            address=DeviceAddress("org", "agent", "ana", "desk"),
            configuration=SignalingConfiguration(),
            replies=ReplyCache(lifetime_s=300, max_replies=10, max_bytes=1000),
            random_bytes=bytes,
            wall_ms=lambda: 0,
            now=trio.current_time(),
        )

    async def greet(self, hello: Hello, link: Link) -> SignalingSession:
        self.session.attach(link)
        return self.session

    def execute(self, session: SignalingSession, command: Incoming, rx_time: float) -> None: ...

    async def refresh(self, session: SignalingSession, id: str, refresh: AuthRefresh) -> None: ...

    async def settle(self) -> None:
        await trio.sleep_forever()

    def parted(self, session: SignalingSession, link: Link) -> None:
        session.detach(trio.current_time())


class Pieces:
    """The server's end of a channel; it notes how many messages it was given at a time, to send or to try."""

    def __init__(self, channel: MemoryChannel) -> None:
        self._channel = channel
        self.receive = channel.receive
        self.aclose = channel.aclose
        self.tried: list[int] = []
        self.sent: list[int] = []

    @property
    def heard_at(self) -> float:
        return self._channel.heard_at

    async def send(self, *messages: bytes) -> None:
        self.sent.append(len(messages))
        await self._channel.send(*messages)

    def send_now(self, *messages: bytes) -> Sending:
        self.tried.append(len(messages))
        return self._channel.send_now(*messages)


class Scene:
    """A connection that has been greeted, and whose writer has nothing to do."""

    def __init__(self, nursery: trio.Nursery, queue: int = 16) -> None:
        self.handler = Handler()
        self.writes = TurnWrites()
        channel, self.client = memory_channel_pair(queue)
        self.channel = Pieces(channel)
        connection = Connection(
            self.channel, self.handler, SignalingConfiguration(), lambda: 0, DeadlineClock(), self.writes
        )
        nursery.start_soon(self.writes.run)
        nursery.start_soon(connection.run, lambda: None)

    async def greeted(self) -> MemoryChannel:
        await self.client.send(HELLO)
        await wait_all_tasks_blocked()
        return self.client

    async def tell(self, count: int) -> None:
        """A turn of the loop that tells so many things."""
        for number in range(count):
            self.handler.session.push_event("test", {"n": number})
        await wait_all_tasks_blocked()

    def arrived(self) -> int:
        return self.client._incoming.statistics().current_buffer_used


async def numbers(channel: MemoryChannel, count: int) -> list[int]:
    return [decode_message(await channel.receive()).p["n"] for _ in range(count)]


async def test_3_7_what_one_turn_tells_is_written_in_one_piece_without_the_connections_own_task() -> None:
    async with trio.open_nursery() as nursery:
        scene = Scene(nursery)
        await scene.greeted()
        await scene.tell(3)
        assert scene.arrived() == 3
        assert (scene.channel.tried, scene.channel.sent) == ([3], [])
        nursery.cancel_scope.cancel()


async def test_3_7_what_a_slow_reader_does_not_take_is_queued_and_comes_in_order() -> None:
    async with trio.open_nursery() as nursery:
        scene = Scene(nursery, queue=3)
        client = await scene.greeted()
        await scene.tell(5)
        assert scene.arrived() == 3
        await scene.tell(2)
        await wait_all_tasks_blocked()
        assert scene.arrived() == 3
        assert await numbers(client, 7) == [0, 1, 2, 3, 4, 0, 1]
        nursery.cancel_scope.cancel()


async def test_3_7_no_more_is_taken_from_the_queue_while_the_channel_has_begun_with_what_it_has() -> None:
    async with trio.open_nursery() as nursery:
        scene = Scene(nursery, queue=1)
        client = await scene.greeted()
        await scene.tell(40)
        link = scene.handler.session.link
        assert link is not None
        assert len(link._queue) == 40 - 32  # one batch
        assert await numbers(client, 40) == list(range(40))
        nursery.cancel_scope.cancel()


async def test_3_7_a_reader_that_has_stopped_is_closed_with_4008_by_the_step_that_finds_no_room() -> None:
    async with trio.open_nursery() as nursery:
        scene = Scene(nursery, queue=1)
        await scene.greeted()
        limit = SignalingConfiguration().queued_messages
        await scene.tell(1)
        await scene.tell(1)  # what the writer waits with is taken from the queue
        await wait_all_tasks_blocked()
        await scene.tell(limit)
        link = scene.handler.session.link
        assert link is not None
        assert link.closing is None
        await scene.tell(1)
        assert link.closing is not None
        assert link.closing.code == 4008
        nursery.cancel_scope.cancel()


async def test_nothing_is_written_before_it_may_be_told() -> None:
    async with trio.open_nursery() as nursery:
        scene = Scene(nursery)
        await scene.greeted()
        scene.handler.settled = False
        await scene.tell(1)
        await wait_all_tasks_blocked()
        assert scene.arrived() == 0
        nursery.cancel_scope.cancel()


class Told:
    """A connection with something to write; it notes when it was asked to."""

    def __init__(self, written: list[int], number: int) -> None:
        self._written, self._number = written, number

    def write_now(self) -> None:
        self._written.append(self._number)

    def failed(self, error: Exception) -> None:
        raise AssertionError("nothing fails here")


async def test_what_thousands_are_told_at_once_is_written_a_few_at_a_time_in_order() -> None:
    """A write is a call of the kernel: for 5,000 devices it held up the loop, and the media on it, for 50 ms."""
    written: list[int] = []
    writes = TurnWrites()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writes.run)
        await wait_all_tasks_blocked()
        for number in range(1000):
            assert writes.gather(Told(written, number))
        before = 0
        while len(written) < 1000:
            await trio.lowlevel.checkpoint()
            assert len(written) - before <= 64, "one turn of 32 before ours of the loop, one behind it"
            before = len(written)
        await wait_all_tasks_blocked()
        assert writes.gather(Told(written, 1000))
        await wait_all_tasks_blocked()
        assert written == list(range(1001))
        for number in range(1001, 1101):
            writes.gather(Told(written, number))
        nursery.cancel_scope.cancel()
    assert written == list(range(1101)), "what waits at the end is written all the same"


async def test_what_the_kernel_takes_half_of_goes_on_before_everything_else() -> None:
    ours, theirs = trio.socket.socketpair()
    ours.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_SNDBUF, 4096)
    channel = WebSocketChannel(trio.SocketStream(ours), WebSocket(ConnectionType.SERVER))
    sent = [f"{number}:".ljust(1500, "x") for number in range(200)]
    begun = 0
    for place in range(0, len(sent), 20):
        sending = channel.send_now(*[text.encode() for text in sent[place : place + 20]])
        if sending is not Sending.DONE:
            begun = place + 20
            break
    assert sending is Sending.BEGUN
    assert channel.send_now(b"later") is Sending.BLOCKED
    peer, heard = WebSocket(ConnectionType.CLIENT), ""

    async def read() -> None:
        nonlocal heard
        while not heard.endswith("last"):
            peer.receive_data(await theirs.recv(65536))
            heard += "".join(event.data for event in peer.events() if isinstance(event, TextMessage))

    with theirs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await channel.send(b"last")
        assert heard == "".join(sent[:begun]) + "last"
        assert channel.send_now(b"again") is Sending.DONE
        ours.close()
        assert channel.send_now(b"gone") is Sending.BLOCKED
