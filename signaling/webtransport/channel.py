"""A WebTransport session as a message channel, and the one task that owns its connection."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

import trio

from triortc.engine.address import Address
from triortc.errors import ProtocolError
from triortc.signaling.channel import ChannelClosedError, Sending
from triortc.signaling.webtransport.session import WebTransportEvent, WebTransportSession

__all__ = ["ConnectionOwner", "WebTransportChannel"]

_NEVER: Final = float("inf")


def _nothing(_: object) -> None:
    """Nobody is told any more."""


class ConnectionOwner:
    """The only task that touches a connection's datagrams and clock; others leave notes and wake it.

    Args:
        session: the connection.
        send: gives a datagram to the network; it may be lost.
        on_event: called for each event, in the owner's task.
        queued_datagrams: datagrams that may wait; more are dropped.
    """

    def __init__(
        self,
        session: WebTransportSession,
        *,
        send: Callable[[bytes, Address], object],
        on_event: Callable[[WebTransportEvent], None],
        queued_datagrams: int,
    ) -> None:
        self.session = session
        self.heard_at = trio.current_time()
        self.dropped_datagrams = 0
        #: Set and replaced whenever the owner has done something: whoever waits for the connection looks again.
        self.changed = trio.Event()
        self._send = send
        self._on_event = on_event
        self._inbox: deque[tuple[bytes, Address]] = deque()
        self._queued_datagrams = queued_datagrams
        self._wake = trio.Event()

    def deliver(self, datagram: bytes, address: Address) -> None:
        """Leave a datagram for the owner."""
        if len(self._inbox) >= self._queued_datagrams:
            self.dropped_datagrams += 1
            return
        self._inbox.append((datagram, address))
        self._wake.set()

    def wake(self) -> None:
        """Something was written or read: look what is to be sent."""
        self._wake.set()

    def abort(self, code: int, reason: str) -> None:
        """Close at once."""
        for datagram, address in self.session.abort(code, reason, trio.current_time()):
            self._send(datagram, address)
        self._tell()
        self._wake.set()

    async def run(self) -> None:
        """Own the connection until it is gone. Cancelled: it is closed at once, with 1012."""
        session = self.session
        try:
            while not session.terminated:
                deadline = session.next_deadline()
                with trio.CancelScope(deadline=_NEVER if deadline is None else deadline):
                    await self._wake.wait()
                self._wake = trio.Event()
                self._step(trio.current_time())
        finally:
            self.abort(1012, "the server goes away")
            # Who is told holds this in its turn, and the connection holds itself.
            self._on_event = _nothing
            session.release()

    def _step(self, now: float) -> None:
        session = self.session
        if self._inbox:
            self.heard_at = now
        while self._inbox:
            session.receive(*self._inbox.popleft(), now)
        deadline = session.next_deadline()
        if deadline is not None and now >= deadline:
            session.handle_timeout(now)
        self._tell()
        for datagram, address in session.transmit(now):
            self._send(datagram, address)
        if session.terminated:
            self._tell()

    def _tell(self) -> None:
        while (event := self.session.poll_event()) is not None:
            self._on_event(event)
        self.changed.set()
        self.changed = trio.Event()


class WebTransportChannel:
    """The open session of a connection: one length and JSON on its stream is one message.

    Args:
        owner: the connection's task.
        unsent_bytes: what may wait to arrive before `send` waits.
    """

    def __init__(self, owner: ConnectionOwner, *, unsent_bytes: int) -> None:
        self._owner = owner
        self._session = owner.session
        self._unsent_bytes = unsent_bytes

    @property
    def heard_at(self) -> float:
        """When the last datagram came."""
        return self._owner.heard_at

    async def send(self, *messages: bytes) -> None:
        """Send messages; waits while too much has not arrived yet. Raises ChannelClosedError."""
        await trio.lowlevel.checkpoint()
        for data in messages:
            while self._session.closed is None and self._session.unsent_bytes > self._unsent_bytes:
                self._owner.wake()
                await self._owner.changed.wait()
            if not self._session.send_message(data):
                raise self._closed()
        self._owner.wake()

    def send_now(self, *messages: bytes) -> Sending:
        """Leave messages with the connection, if what has not arrived yet is little enough to need no wait."""
        for count, data in enumerate(messages):
            blocked = self._session.closed is not None or self._session.unsent_bytes > self._unsent_bytes
            if blocked and not count:
                return Sending.BLOCKED
            self._session.send_message(data)
        self._owner.wake()
        return Sending.DONE

    async def receive(self) -> bytes:
        """Wait for the next message. Raises ChannelClosedError; a length that is too large closes with 4409."""
        await trio.lowlevel.checkpoint()
        while True:
            try:
                message = self._session.next_message()
            except ProtocolError as error:
                raise ChannelClosedError(4409, str(error), error="proto.too_large") from None
            if message is not None:
                self._owner.wake()  # the peer gets credit for as much more
                return message
            if self._session.closed is not None:
                raise self._closed()
            await self._owner.changed.wait()

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        """Close with a code and a reason: in order, or at once when cancelled."""
        session, now = self._session, trio.current_time()
        try:
            session.close(code, reason, now)
            self._owner.wake()
            await trio.lowlevel.checkpoint()
            while session.closed is None and not session.terminated:
                await self._owner.changed.wait()
        except trio.Cancelled:
            self._owner.abort(code, reason)
            raise

    def _closed(self) -> ChannelClosedError:
        closed = self._session.closed
        return ChannelClosedError() if closed is None else ChannelClosedError(closed.code, closed.reason)
