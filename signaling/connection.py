"""One connection: the handshake, then a reader and a writer around a signaling session, in one nursery."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

import trio

from triortc.engine.deadlines import DeadlineClock, Timed
from triortc.signaling.channel import ChannelClosedError, Sending, ServedChannel
from triortc.signaling.configuration import SignalingConfiguration
from triortc.signaling.link import CloseCode, Link
from triortc.signaling.session import BESIDE_A_TOKEN_CHECK, SignalingSession
from triortc.signaling.turn_writes import TurnWrites
from triortc.signaling.wire import Hello, Incoming, WireError, parse_incoming
from triortc.signaling.wire_commands import AuthRefresh

_BATCH_MESSAGES: Final = 32
_BATCH_BYTES: Final = 32 * 1024

__all__ = ["Connection", "RefusedError", "SignalHandler"]


class RefusedError(Exception):
    """A `hello` is refused; it never leaves this package.

    Attributes:
        code: the stable error code.
        close_code: the number the connection is closed with.
        reply_to: what the `err` answers.
        retryable: whether the client may try again as it is.
    """

    def __init__(
        self, code: str, message: str, close_code: int, *, reply_to: str = "hello", retryable: bool = False
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.close_code = close_code
        self.reply_to = reply_to
        self.retryable = retryable


class SignalHandler(Protocol):
    """What a connection needs of the server."""

    async def greet(self, hello: Hello, link: Link) -> SignalingSession:
        """Check who it is, find or make the session, attach the link, queue `welcome`. Raises RefusedError."""

    def execute(self, session: SignalingSession, command: Incoming, rx_time: float) -> None:
        """Carry out a command; the reply goes to the session."""

    async def refresh(self, session: SignalingSession, id: str, refresh: AuthRefresh) -> None:
        """Check a newer token, in bounded time; the reply goes to the session."""

    @property
    def settled(self) -> bool:
        """Whether what is queued by now may be told: whether it would survive what it has to survive."""

    async def settle(self) -> None:
        """Wait until it may."""

    def parted(self, session: SignalingSession, link: Link) -> None:
        """The connection is over."""


class Connection:
    """Owns one channel until it is closed.

    Args:
        channel: where messages travel.
        handler: the server.
        configuration: limits and timers.
        wall_ms: unix milliseconds, to stamp messages with.
        clock: keeps the time of all connections.
        writes: gathers what one turn of the loop tells.
    """

    def __init__(
        self,
        channel: ServedChannel,
        handler: SignalHandler,
        configuration: SignalingConfiguration,
        wall_ms: Callable[[], int],
        clock: DeadlineClock,
        writes: TurnWrites,
    ) -> None:
        self._channel = channel
        self._handler = handler
        self._configuration = configuration
        self._clock = clock
        self._writes = writes
        self._timed = Timed(self._deadline, self._on_time, self.failed)
        self._link = Link(configuration, trio.current_time(), wall_ms, self._changed, self._rescheduled)
        self._session: SignalingSession | None = None
        self._wake = trio.Event()
        self._replies_written = trio.Event()
        self._replies_in_batch = 0
        self._checking_token = False
        self._held: deque[tuple[Incoming, float]] = deque()
        self._writing = trio.CancelScope()
        self._serving = trio.CancelScope()
        self._failure: Exception | None = None
        #: Whether the writer waits for something to write.
        self._idle = False
        #: Whether the channel has begun with messages that it could not send at once.
        self._begun = False
        self._refused: list[bytes] = []

    async def run(self, greeted: Callable[[], None]) -> None:
        """Serve the connection until it ends, and close it.

        Args:
            greeted: called once `hello` has been dealt with, either way.
        """
        try:
            try:
                self._session = await self._handshake()
            finally:
                greeted()
            if self._session is None:
                await self._write()
            else:
                await self._serve(self._session)
        except ChannelClosedError:
            pass  # the client went away; what it was can be resumed
        finally:
            if self._session is not None:
                self._handler.parted(self._session, self._link)
            try:
                await self._close()
            finally:
                self._release()

    def _release(self) -> None:
        """Let go of who leads back here.

        Without this only the garbage collector, which servers let run seldom, would find out that all of it can go:
        with its channel and its session, 30 kB a connection.
        """
        self._clock.forget(self._timed)
        self._timed.release()
        self._link.release()

    # --- the handshake

    async def _handshake(self) -> SignalingSession | None:
        hello: Hello | None = None
        try:
            with trio.move_on_after(self._configuration.hello_timeout_s):
                hello = await self._hello()
            if hello is None:
                raise RefusedError("proto.hello_timeout", "no hello in time", CloseCode.HELLO)
            with trio.move_on_after(self._configuration.token_check_timeout_s):
                return await self._handler.greet(hello, self._link)
            late = "the token could not be checked in time"
            raise RefusedError("server.unavailable", late, CloseCode.RESTART, retryable=True)
        except RefusedError as refused:
            self._link.close(
                refused.close_code,
                refused.message,
                error=refused.code,
                reply_to=refused.reply_to,
                retryable=refused.retryable,
            )
        return None

    async def _hello(self) -> Hello:
        try:
            data = await self._channel.receive()
        except ChannelClosedError as closed:
            if closed.error is None:
                raise
            raise RefusedError(closed.error, closed.reason, closed.code) from None
        try:
            first = parse_incoming(data, max_bytes=self._configuration.max_message_bytes)
        except WireError as error:
            if len(data) > self._configuration.max_message_bytes:
                raise RefusedError(error.code, error.message, CloseCode.TOO_LARGE) from None
            if error.reply_to == "hello":
                raise RefusedError(error.code, error.message, CloseCode.MALFORMED) from None
            raise RefusedError(
                "proto.hello_required",
                "the first message is hello",
                CloseCode.HELLO,
                reply_to=error.reply_to or "hello",
            ) from None
        if not isinstance(first.payload, Hello):
            raise RefusedError(
                "proto.hello_required", "the first message is hello", CloseCode.HELLO, reply_to=first.id or "hello"
            )
        return first.payload

    # --- the session

    def _changed(self) -> None:
        """There is something to write, or to close."""
        closing = self._link.closing
        if closing is None and self._idle and self._writes.gather(self):
            return
        self._wake.set()
        if closing is not None:
            patience_s = 0.0 if closing.code == CloseCode.SILENT else self._configuration.close_timeout_s
            self._writing.deadline = min(self._writing.deadline, trio.current_time() + patience_s)

    def _rescheduled(self) -> None:
        self._clock.watch(self._timed)

    def _deadline(self) -> float:
        session = self._session
        return session.next_deadline() if session is not None and session.link is self._link else float("inf")

    def _on_time(self, now: float) -> None:
        session = self._session
        if session is not None and session.link is self._link:
            self._link.liveness.heard(self._channel.heard_at)
            session.handle_timeout(now)

    async def _serve(self, session: SignalingSession) -> None:
        self._rescheduled()
        with self._serving:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read, session, nursery)
                await self._write()
                nursery.cancel_scope.cancel()
        if self._failure is not None:
            raise self._failure

    async def _write(self) -> None:
        """Write what is queued, until the connection has to close or is gone."""
        link = self._link
        with self._writing:
            try:
                while not link.finished or self._begun or self._refused:
                    if self._begun or self._refused:  # before more is taken from the queue: that is what bounds it
                        batch, self._refused = self._refused, []
                    else:
                        batch = self._batch()
                    if not batch and not self._begun:
                        await self._something_to_write()
                        continue
                    if not self._handler.settled:
                        await self._handler.settle()
                    await self._channel.send(*batch)
                    self._written()
            except ChannelClosedError as closed:
                link.close(closed.code, closed.reason, abrupt=True)

    async def _something_to_write(self) -> None:
        self._wake = trio.Event()
        self._idle = True
        try:
            await self._wake.wait()
        finally:
            self._idle = False

    def write_now(self) -> None:
        """Write what is queued, unless the client reads too slowly for that: then it is left to the writer.

        The bounds are the same as the writer's: what it has taken from the queue is one batch, here and there.
        """
        if not self._idle or self._link.closing is not None or not self._handler.settled:
            self._wake.set()
            return
        while batch := self._batch():
            sending = self._channel.send_now(*batch)
            if sending is not Sending.DONE:
                self._idle = False
                self._begun = sending is Sending.BEGUN
                self._refused = [] if self._begun else batch
                self._wake.set()
                return
            self._written()

    def failed(self, error: Exception) -> None:
        """Our code raised in a task that serves all connections: it is raised again in this one's own, and ends it."""
        self._failure = self._failure or error
        self._serving.cancel()

    def _written(self) -> None:
        self._begun = False
        self._replies_in_batch = 0
        self._replies_written.set()

    def _batch(self) -> list[bytes]:
        """What is written in one go: what has come together, up to a bound."""
        batch: list[bytes] = []
        size, unwritten = 0, self._link.unwritten_replies
        while len(batch) < _BATCH_MESSAGES and size < _BATCH_BYTES:
            data = self._link.poll_transmit()
            if data is None:
                break
            batch.append(data)
            size += len(data)
        self._replies_in_batch = unwritten - self._link.unwritten_replies
        return batch

    async def _read(self, session: SignalingSession, nursery: trio.Nursery) -> None:
        """Take messages, while not too many commands wait for their replies to be written."""
        link = self._link
        try:
            while link.closing is None:
                while self._unanswered >= self._configuration.max_inflight:
                    self._replies_written = trio.Event()
                    await self._replies_written.wait()
                data = await self._channel.receive()
                now = trio.current_time()
                command = session.receive(data, now) if session.link is link else None
                if command is None:
                    continue
                rx_time = min(now, self._channel.heard_at)
                if self._checking_token and (self._held or command.type not in BESIDE_A_TOKEN_CHECK):
                    self._held.append((command, rx_time))
                else:
                    self._carry_out(session, command, rx_time, nursery)
        except ChannelClosedError as closed:
            link.close(closed.code, closed.reason, error=closed.error, abrupt=closed.error is None)

    @property
    def _unanswered(self) -> int:
        return self._link.unwritten_replies + self._replies_in_batch + len(self._held)

    def _carry_out(self, session: SignalingSession, command: Incoming, rx_time: float, nursery: trio.Nursery) -> None:
        if not session.admit(command, trio.current_time()):
            return
        if isinstance(command.payload, AuthRefresh):
            self._checking_token = True
            nursery.start_soon(self._refresh, session, command.id or "", command.payload, nursery)
        else:
            self._handler.execute(session, command, rx_time)

    async def _refresh(self, session: SignalingSession, id: str, refresh: AuthRefresh, nursery: trio.Nursery) -> None:
        """Check a newer token beside the reader; then go on with what waited for what it allows, in order."""
        await self._handler.refresh(session, id, refresh)
        self._checking_token = False
        while self._held and not self._checking_token and session.link is self._link:
            command, rx_time = self._held.popleft()
            self._carry_out(session, command, rx_time, nursery)
        self._replies_written.set()

    async def _close(self) -> None:
        """Say why, if the other side still listens; the transport below is closed by whoever opened it."""
        closing = self._link.closing
        if closing is None:
            # Cancelled: whoever would hear the closing handshake's answer is cancelled, too.
            patience_s, code, reason = 0.0, int(CloseCode.RESTART), "the server goes away"
        else:
            deaf = self._writing.cancelled_caught
            patience_s = 0.0 if deaf else self._configuration.close_timeout_s
            code, reason = closing.code, closing.reason
        with trio.move_on_after(patience_s, shield=True):
            await self._channel.aclose(code, reason)
