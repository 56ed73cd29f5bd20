"""A WebSocket of the server as a message channel (RFC 6455): one text frame is one message.

wsproto knows the protocol, without I/O; the task that waits for messages reads the stream itself. A connection costs no
task and no queue of its own. wsproto gets whole frames; those that are a whole text message, nearly all, need none of
its state and are unmasked here.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import h11
import trio
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Event, Ping, TextMessage
from wsproto.handshake import H11Handshake
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from triortc.errors import ProtocolError
from triortc.signaling.channel import MAX_REASON_BYTES, ChannelClosedError, Sending
from triortc.signaling.socket_bytes import SocketBytes, byte_stream
from triortc.signaling.wire import PROTOCOL

__all__ = ["WebSocketChannel", "accept_websocket"]

#: Above our own limit of 64 KiB, so that `proto.too_large` can be answered before the channel closes with 1009.
_MAX_MESSAGE_BYTES: Final = 128 * 1024
#: More than any message has with its frames: a peer that sends this much without finishing one is not honest.
_MAX_UNFINISHED_BYTES: Final = 1 << 20
#: The same in frames, which take the same time however small they are; proxies cut a message into a few dozen at most.
_MAX_UNFINISHED_FRAMES: Final = 256
_CLOSE_OPCODE: Final = 0x8


def accept_websocket(head: h11.Request, trailing: bytes, stream: trio.abc.Stream) -> tuple[bytes, WebSocketChannel]:
    """The answer to an opening handshake (section 4.2.2), to be written first, and the channel behind it.

    Args:
        head: the request.
        trailing: what came behind it.
        stream: where it came from; it belongs to whoever opened it.

    Raises:
        ProtocolError: that is no opening handshake.
    """
    handshake = H11Handshake(ConnectionType.SERVER)
    try:
        handshake.initiate_upgrade_connection(list(head.headers.raw_items()), head.target)
        answer = handshake.send(AcceptConnection(subprotocol=PROTOCOL))
    except (LocalProtocolError, RemoteProtocolError, h11.ProtocolError, UnicodeError) as error:
        raise ProtocolError(f"not a WebSocket handshake: {error}") from None
    assert handshake.connection is not None
    return answer, WebSocketChannel(stream, handshake.connection, trailing)


def _text_frame(payload: bytes) -> bytes:
    """One whole, unmasked text message (section 5.2)."""
    length = len(payload)
    if length < 126:
        return bytes((0x81, length)) + payload
    if length < 65536:
        return b"\x81\x7e" + length.to_bytes(2, "big") + payload
    return b"\x81\x7f" + length.to_bytes(8, "big") + payload


def _frame_end(data: bytes, at: int) -> int | None:
    """Where the frame that begins at `at` ends, which may be behind the data; None: too little is here to tell."""
    if len(data) < at + 2:
        return None
    masked, length = data[at + 1] & 0x80, data[at + 1] & 0x7F
    further = 2 if length == 126 else 8 if length == 127 else 0
    start = at + 2 + further
    if len(data) < start:
        return None
    if further:
        length = int.from_bytes(data[at + 2 : start], "big")
    return start + length + (4 if masked else 0)


def _whole_text(data: bytes, at: int, end: int) -> bytes | None:
    """The payload of a frame that is a whole, masked text message of less than 64 KiB; None: wsproto shall look."""
    length = data[at + 1] & 0x7F
    start = at + (6 if length < 126 else 8)
    if data[at] != 0x81 or data[at + 1] < 0x80 or length == 127 or (length == 126 and end - start < 126):
        return None
    size = end - start
    mask = data[start - 4 : start] * (size // 4 + 1)
    payload = (int.from_bytes(data[start:end], "big") ^ int.from_bytes(mask[:size], "big")).to_bytes(size, "big")
    try:
        payload.decode()
    except UnicodeDecodeError:
        return None
    return payload


class WebSocketChannel:
    """A server's end. One task may receive while another one sends.

    Args:
        stream: below it; it is not closed here.
        connection: the protocol's state, open.
        first: bytes that were read already.
    """

    __slots__ = (
        "_closed",
        "_connection",
        "_first",
        "_messages",
        "_parts",
        "_rest",
        "_size",
        "_stream",
        "_unfinished",
        "_unfinished_frames",
        "_unsent",
        "_writing",
        "heard_at",
    )

    def __init__(self, stream: trio.abc.Stream, connection: Connection, first: bytes = b"") -> None:
        self._stream = byte_stream(stream)
        self._connection = connection
        self._first = first
        self._messages: deque[bytes] = deque()
        self._parts: list[str] = []
        self._rest = b""
        self._size = 0
        self._unfinished = 0
        self._unfinished_frames = 0
        self._unsent = b""
        self._closed: tuple[int, str, str | None] | None = None
        self._writing = trio.Lock()
        self.heard_at = trio.current_time()

    # --- sending

    async def send(self, *messages: bytes) -> None:
        """Send messages as text frames, all in one write. Raises ChannelClosedError.

        A server's data frames need no mask and no state, so they are made here.
        """
        if self._closed is not None or self._connection.state is not ConnectionState.OPEN:
            raise self._end()
        await self._write(b"".join(map(_text_frame, messages)))

    def send_now(self, *messages: bytes) -> Sending:
        """Send messages as `send` does, as far as the kernel takes them at once; over TLS it is not asked."""
        stream = self._stream
        if (
            type(stream) is not SocketBytes
            or self._closed is not None
            or self._connection.state is not ConnectionState.OPEN
            or self._unsent
            or self._writing.locked()
        ):
            return Sending.BLOCKED
        data = b"".join(map(_text_frame, messages))
        sent = stream.send_now(data)
        if sent == len(data):
            return Sending.DONE
        if sent:
            self._unsent = data[sent:]
        return Sending.BEGUN if sent else Sending.BLOCKED

    async def _write(self, data: bytes) -> None:
        """Write, behind what is begun; of several tasks one after the other."""
        try:
            self._writing.acquire_nowait()
        except trio.WouldBlock:
            await self._writing.acquire()
        try:
            if self._unsent:
                data, self._unsent = self._unsent + data, b""
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise self._end() from None
        finally:
            self._writing.release()

    # --- receiving

    async def receive(self) -> bytes:
        """Wait for the next message. Raises ChannelClosedError; a binary frame closes with 4400."""
        if self._messages:
            await trio.lowlevel.checkpoint()  # of many that came together each lets others have their turn
        while not self._messages:
            if self._closed is not None:
                raise self._end()
            answers = self._take(await self._read())
            if answers:
                await self._write(answers)
        return self._messages.popleft()

    async def _read(self) -> bytes:
        if self._first:
            data, self._first = self._first, b""
            return data
        try:
            data = bytes(await self._stream.receive_some())
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            data = b""
        if not data:
            raise self._end()
        self.heard_at = trio.current_time()
        return data

    def _take(self, data: bytes) -> bytes:
        """Take bytes of the peer; what has to be answered."""
        answers, at = b"", 0
        self._unfinished += len(data)
        if self._rest:
            data, self._rest = self._rest + data, b""
        while self._closed is None and at < len(data):
            end = _frame_end(data, at)
            if end is not None and end - at > _MAX_MESSAGE_BYTES:
                answers += self._fail(1009, "the message is too large")
                self._rest = data[at:]
            elif end is None or end > len(data):
                self._rest = data[at:]
                break
            else:
                answers += self._frame(data, at, end)
                at = end
        if self._closed is None and self._unfinished > _MAX_UNFINISHED_BYTES:
            answers += self._fail(1009, "too many bytes without a whole message")
        return answers

    def _finished(self) -> None:
        self._unfinished = self._unfinished_frames = 0

    def _frame(self, data: bytes, at: int, end: int) -> bytes:
        payload = None if self._parts else _whole_text(data, at, end)
        if payload is not None:
            self._messages.append(payload)
            self._finished()
            return b""
        self._unfinished_frames += 1
        if self._unfinished_frames > _MAX_UNFINISHED_FRAMES:
            return self._fail(1009, "too many frames without a whole message")
        answers, connection = b"", self._connection
        connection.receive_data(data[at:end])
        for event in connection.events():
            if self._closed is None:
                answers += self._happened(event)
        return answers

    def _happened(self, event: Event) -> bytes:
        match event:
            case TextMessage():
                return self._text(event)
            case BytesMessage():
                self._closed = 4400, "binary frames are not part of the protocol", "proto.malformed"
            case Ping():
                return self._connection.send(event.response())
            case CloseConnection():
                return self._peer_closed(event)
        return b""

    def _text(self, event: TextMessage) -> bytes:
        self._size += len(event.data)
        if self._size > _MAX_MESSAGE_BYTES:
            return self._fail(1009, "the message is too large")
        self._parts.append(event.data)
        if event.message_finished:
            self._messages.append("".join(self._parts).encode())
            self._parts.clear()
            self._size = 0
            self._finished()
        return b""

    def _peer_closed(self, event: CloseConnection) -> bytes:
        """The peer closes, or what it sent is not WebSocket (section 7.1.7)."""
        if self._connection.state is not ConnectionState.REMOTE_CLOSING:
            return self._fail(int(event.code), event.reason or "")
        self._closed = int(event.code), event.reason or "", None
        return self._connection.send(event.response())

    def _fail(self, code: int, reason: str) -> bytes:
        self._closed = code, reason, None
        return self._connection.send(CloseConnection(code, _short(reason)))

    # --- closing

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        """Close with the closing handshake: wait for the peer's answer."""
        connection = self._connection
        try:
            if connection.state in (ConnectionState.OPEN, ConnectionState.REMOTE_CLOSING):
                self._closed = code, reason, None
                await self._write(connection.send(CloseConnection(code, _short(reason))))
            if connection.state is ConnectionState.LOCAL_CLOSING:
                await self._closed_by_peer()
        except ChannelClosedError:
            pass  # the peer has gone

    async def _closed_by_peer(self) -> None:
        """Wait for the peer's close frame. Nobody listens to anything else any more: other frames are passed over."""
        data, at = self._rest, 0  # the beginning of a frame, perhaps
        while self._unfinished <= _MAX_UNFINISHED_BYTES:
            while (end := _frame_end(data, at)) is not None:
                if data[at] & 0x0F == _CLOSE_OPCODE:
                    return
                at = end
            # The next frame begins behind what is here, or is not all here yet.
            data, at = data[at:], max(0, at - len(data))
            piece = await self._read()
            self._unfinished += len(piece)
            data += piece

    def _end(self) -> ChannelClosedError:
        """Why nothing goes on here; if nobody has said so, the connection just went away."""
        if self._closed is None:
            self._closed = 1006, "", None
        code, reason, error = self._closed
        return ChannelClosedError(code, reason, error=error)


def _short(reason: str) -> str:
    return reason.encode()[:MAX_REASON_BYTES].decode("utf-8", "ignore")
