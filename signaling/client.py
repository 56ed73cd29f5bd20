"""A small trio client of `triortc.v1`: commands with replies, events in order, resume. For demos, benches and tests."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import trio

from triortc.errors import SignalingError
from triortc.lone_errors import raises_lone_errors
from triortc.signaling.channel import ChannelClosedError, MessageChannel
from triortc.signaling.websocket_client import connect_websocket
from triortc.signaling.wire import Message, WireError, decode_message, encode_message
from triortc.signaling.wire_values import Platform

__all__ = ["ClientDevice", "CommandError", "SignalClient", "connect_websocket", "open_signal_client"]

OpenChannel = Callable[[], AbstractAsyncContextManager[MessageChannel]]

#: Events that are acknowledged at once; others after 20 or with the next command.
_URGENT_PREFIXES = ("ring.", "call.")
_ACK_EVERY = 20
_MAX_EVENTS_WAITING = 4096


class CommandError(SignalingError):
    """The server refused a command (or `hello`).

    Attributes:
        code: the stable code.
        details: what is known besides.
        retryable, retry_after_ms: whether and when the same command may be tried again.
    """

    def __init__(self, payload: Mapping[str, Any]) -> None:
        super().__init__(f"{payload.get('code')}: {payload.get('message')}")
        self.code = str(payload.get("code", ""))
        self.details: Mapping[str, Any] = payload.get("details") or {}
        self.retryable = bool(payload.get("retryable"))
        self.retry_after_ms: int | None = payload.get("retry_after_ms")


@dataclass(frozen=True, slots=True)
class ClientDevice:
    """What the client says of its device."""

    id: str
    platform: Platform = "desktop"
    name: str | None = None
    app_version: str = "triortc"
    app_state: Literal["foreground", "background", "locked", "terminated"] = "foreground"
    perms: Mapping[str, str] = field(default_factory=lambda: {"camera": "granted", "mic": "granted"})
    caps: tuple[str, ...] = ()
    push: tuple[Mapping[str, str], ...] = field(default=(), repr=False)


class _Pending:
    """A command that waits for its reply."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.answered = trio.Event()
        self.reply: Message | None = None


class SignalClient:
    """One device's signaling session. Made by `open_signal_client`.

    Attributes:
        welcome: the payload of the latest `welcome`.
        snapshot: that of the latest welcome which had one.
        closed: the code and the reason of the latest close; None while connected.
    """

    def __init__(
        self, open_channel: OpenChannel, token: str, device: ClientDevice, random_bytes: Callable[[int], bytes]
    ) -> None:
        self._open_channel = open_channel
        self.token = token
        self.device = device
        self._random_bytes = random_bytes
        self._channel: MessageChannel | None = None
        self._connection = trio.CancelScope()
        self._receiving = trio.CancelScope()
        self._ended = trio.Event()
        self._pending: dict[str, _Pending] = {}
        self._send_lock = trio.Lock()
        self._events_in, self._events_out = trio.open_memory_channel[Message](_MAX_EVENTS_WAITING)
        self._last_seq = 0
        self._acknowledged = 0
        self.welcome: dict[str, Any] = {}
        self.snapshot: dict[str, Any] = {}
        self.closed: tuple[int, str] | None = None

    # --- connecting

    async def connect(self, nursery: trio.Nursery, *, resume: bool = True) -> None:
        """Connect and say hello; with the session from before, if there is one and it is still there.

        Args:
            nursery: where the connection's reader runs.
            resume: show the resume token of the last welcome.

        Raises:
            CommandError: the server refused the hello.
            ChannelClosedError: the connection could not be made or was lost.
        """
        hello: dict[str, Any] = {"token": self.token, "device": self.device, "features": []}
        if resume and self.welcome:
            hello["resume"] = {
                "session": self.welcome["session"],
                "token": self.welcome["resume_token"],
                "last_seq": self._last_seq,
            }
        await nursery.start(self._run, encode_message("hello", hello))

    async def _run(self, hello: bytes, task_status: trio.TaskStatus[None]) -> None:
        self._ended = trio.Event()
        refusal: SignalingError | WireError | None = None
        try:
            with trio.CancelScope() as self._connection:
                async with self._open_channel() as channel:
                    try:
                        await self._greet(channel, hello)
                    except (SignalingError, WireError) as error:
                        refusal = error  # raised outside of the channel's nursery, which would wrap it in a group
                    else:
                        task_status.started()
                        await self._receive(channel)
            if refusal is not None:
                raise refusal
        finally:
            self._channel = None
            self.closed = self.closed or (1006, "dropped")
            self._ended.set()

    async def _receive(self, channel: MessageChannel) -> None:
        try:
            with trio.CancelScope() as self._receiving:
                while True:
                    await self._take(decode_message(await channel.receive()))
            self.closed = (1000, "")
        except ChannelClosedError as closed:
            self.closed = (closed.code, closed.reason)

    async def _greet(self, channel: MessageChannel, hello: bytes) -> None:
        await channel.send(hello)
        self._greeted(decode_message(await channel.receive()))
        self._channel, self.closed = channel, None
        for pending in list(self._pending.values()):
            await self._send(pending.data)

    def _greeted(self, message: Message) -> None:
        if message.t == "err":
            raise CommandError(message.p)
        if message.t != "welcome":
            raise WireError("proto.malformed", f"{message.t} came instead of welcome")
        self.welcome = message.p
        if not message.p["resumed"]:
            self._last_seq = self._acknowledged = 0
            self.snapshot = message.p.get("snapshot", {})

    def drop(self) -> None:
        """Lose the connection without a word, as a network does. `connect` resumes."""
        self._connection.cancel()

    async def close(self) -> None:
        """Close the connection; the session can be resumed."""
        self._receiving.cancel()
        await self._ended.wait()

    async def ended(self) -> None:
        """Wait until the connection is closed; `closed` tells how."""
        await self._ended.wait()

    async def leave(self) -> None:
        """Say `bye`: the server forgets the session."""
        await self._send(encode_message("bye", {"code": 4000, "reason": "left"}))

    # --- messages

    async def command(self, t: str, /, **payload: Any) -> dict[str, Any]:
        """Send a command and wait for its reply. It survives a lost connection: `connect` sends it again.

        Args:
            t: the message type.
            payload: its fields; `from_` stands for `from`.

        Returns:
            The payload of `ok`.

        Raises:
            CommandError: the payload of `err`.
        """
        return await self.command_again(self.new_id(), t, **payload)

    async def command_again(self, id: str, t: str, /, **payload: Any) -> dict[str, Any]:
        """As `command`, for one that was sent before under this id, perhaps by another client: the same reply comes."""
        pending = self._pending[id] = _Pending(encode_message(t, _renamed(payload), id=id))
        try:
            await self._send(pending.data)
            await pending.answered.wait()
        finally:
            del self._pending[id]
        assert pending.reply is not None
        if pending.reply.t == "err":
            raise CommandError(pending.reply.p)
        return pending.reply.p

    async def event(self, t: str | None = None, /, **matching: Any) -> Message:
        """Wait for the next event, or the next of a type (and with these fields); others are passed over."""
        while True:
            message = await self._events_out.receive()
            if t in (None, message.t) and all(message.p.get(key) == value for key, value in _renamed(matching).items()):
                return message

    def waiting_events(self) -> list[Message]:
        """The events that have come and nobody has taken."""
        taken: list[Message] = []
        while True:
            try:
                taken.append(self._events_out.receive_nowait())
            except trio.WouldBlock:
                return taken

    async def send_raw(self, data: bytes) -> None:
        """Send bytes as they are, for tests of the other side."""
        await self._send(data)

    def new_id(self) -> str:
        """A time-ordered command id (UUID version 7)."""
        value = bytearray((time.time_ns() // 1_000_000).to_bytes(6, "big") + self._random_bytes(10))
        value[6] = value[6] & 0x0F | 0x70
        value[8] = value[8] & 0x3F | 0x80
        return value.hex()

    async def _send(self, data: bytes) -> None:
        channel = self._channel
        if channel is not None:
            try:
                async with self._send_lock:
                    await channel.send(data)
            except ChannelClosedError:
                pass  # the reader sees it, too; commands are sent again by `connect`

    async def _take(self, message: Message) -> None:
        if message.seq is not None:
            await self._take_event(message, message.seq)
        elif message.t in ("ok", "err"):
            pending = self._pending.get(message.re or "")
            if pending is not None:
                pending.reply = message
                pending.answered.set()
        elif message.t == "ping":
            await self._send(encode_message("pong", {"n": message.p.get("n", 0)}))

    async def _take_event(self, message: Message, seq: int) -> None:
        if seq <= self._last_seq:
            return  # a repeat
        if seq != self._last_seq + 1:
            raise WireError("proto.malformed", f"event {seq} came after {self._last_seq}")
        self._last_seq = seq
        try:
            self._events_in.send_nowait(message)
        except trio.WouldBlock:
            raise SignalingError("nobody takes the events: call event() or waiting_events()") from None
        if message.t.startswith(_URGENT_PREFIXES) or seq - self._acknowledged >= _ACK_EVERY:
            self._acknowledged = seq
            await self._send(encode_message("ack", {"seq": seq}))


def _renamed(payload: Mapping[str, Any]) -> dict[str, Any]:
    return {key.rstrip("_"): value for key, value in payload.items()}


@raises_lone_errors
@asynccontextmanager
async def open_signal_client(
    open_channel: OpenChannel,
    *,
    token: str,
    device: ClientDevice,
    random_bytes: Callable[[int], bytes] = os.urandom,
) -> AsyncGenerator[SignalClient]:
    """Connect a device; the connection is closed when the block is left.

    Args:
        open_channel: opens a connection, for example `partial(connect_websocket, url)`.
        token: the JSON Web Token.
        device: what the device says of itself.
        random_bytes: the source of command ids.

    Raises:
        CommandError: the server refused the hello.
        ChannelClosedError: there is no connection.
    """
    client = SignalClient(open_channel, token, device, random_bytes)
    async with trio.open_nursery() as nursery:
        try:
            await client.connect(nursery)
            yield client
            await client.close()
        finally:
            nursery.cancel_scope.cancel()
