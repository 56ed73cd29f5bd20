"""One connection of a signaling session: what waits to be written, signs of life, and why it has to close.

No I/O: `poll_transmit` gives the next message to write, `next_deadline` and `handle_timeout` keep time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum

from triortc.signaling.configuration import SignalingConfiguration
from triortc.signaling.limits import Liveness
from triortc.signaling.wire import Bye, Ping, encode_error, encode_signal

__all__ = ["BufferedEvent", "CloseCode", "Link"]


class CloseCode(IntEnum):
    """Why a connection ends. After 4010 and 4400 to 4403 a client must not resume."""

    NORMAL = 1000
    BYE = 4000
    SLOW_CONSUMER = 4008
    SUPERSEDED = 4010
    RATE_LIMITED = 4029
    MALFORMED = 4400
    UNSUPPORTED_VERSION = 4401
    HELLO = 4402
    AUTHENTICATION = 4403
    SILENT = 4408
    TOO_LARGE = 4409
    RESTART = 1012


def _nothing() -> None:
    """In the place of a hook."""


@dataclass(slots=True, eq=False)
class BufferedEvent:
    """An event that the device has not acknowledged."""

    seq: int
    data: bytes
    key: tuple[str, ...] | None
    sent: bool = False


@dataclass(slots=True)
class _Outgoing:
    data: bytes
    is_reply: bool = False


@dataclass(slots=True)
class Closing:
    """Why and how a connection is closed; `abrupt`: without writing what is still queued."""

    code: int
    reason: str
    abrupt: bool = False


@dataclass(slots=True, eq=False)
class Link:
    """The sans-I/O part of one connection.

    Args:
        configuration: limits and timers.
        now: seconds, monotonic.
        wall_ms: unix milliseconds, to stamp messages with.
        on_change: called when there is something to write, or to close.
        on_reschedule: called when the next deadline may have come nearer.
    """

    configuration: SignalingConfiguration
    now: float
    wall_ms: Callable[[], int]
    on_change: Callable[[], None] = _nothing
    on_reschedule: Callable[[], None] = _nothing
    closing: Closing | None = None
    unwritten_replies: int = 0
    malformed: int = 0
    _queue: deque[_Outgoing | BufferedEvent] = field(default_factory=deque)
    _bytes: int = 0
    _pings: int = 0
    liveness: Liveness = field(init=False)

    def __post_init__(self) -> None:
        c = self.configuration
        self.liveness = Liveness(c.heartbeat_ms / 1000, c.dead_after_s, self.now)

    def release(self) -> None:
        """Tell nobody any more: the connection is over, and its owner, who holds this, need not be held by it."""
        self.on_change = self.on_reschedule = _nothing

    # --- queueing

    def push(self, data: bytes, *, first: bool = False, reply: bool = False) -> None:
        """Queue a reply or a signal; `first`: before everything that waits."""
        if self.closing is not None:
            return
        item = _Outgoing(data, reply)
        self.unwritten_replies += reply
        self._queue.appendleft(item) if first else self._queue.append(item)
        self._account(len(data))

    def push_event(self, event: BufferedEvent) -> None:
        """Queue an event; it is written once and stays with its session until it is acknowledged."""
        if self.closing is None:
            self._queue.append(event)
            self._account(len(event.data))

    def resized(self, difference_bytes: int) -> None:
        """A queued event was replaced by a newer version of itself."""
        self._account(difference_bytes)

    def _account(self, size: int) -> None:
        self._bytes += size
        limits = self.configuration
        if len(self._queue) > limits.queued_messages or self._bytes > limits.queued_message_bytes:
            self.close(CloseCode.SLOW_CONSUMER, "flow.slow_consumer", abrupt=True)
        self.on_change()

    def close(
        self,
        code: int,
        reason: str,
        *,
        error: str | None = None,
        reply_to: str | None = None,
        retryable: bool = False,
        abrupt: bool = False,
    ) -> None:
        """Close once what is queued is written, an `err` (if named) and a `bye` last; only the first call counts.

        Args:
            code: the close code.
            reason: a short text for the log of the client.
            error: the code of an `err` to send before.
            reply_to: what that `err` answers.
            retryable: whether the same may be tried again.
            abrupt: drop what is queued, for a peer that does not read or is gone.
        """
        if self.closing is not None:
            return
        if abrupt:
            self._queue.clear()
            self.unwritten_replies = 0
        else:
            if error is not None:
                data = encode_error(reply_to, error, reason, at_ms=self.wall_ms(), retryable=retryable)
                self._queue.append(_Outgoing(data))
            bye = Bye(code=code, reason=reason)
            self._queue.append(_Outgoing(encode_signal("bye", bye, at_ms=self.wall_ms())))
        self.closing = Closing(code, reason, abrupt)
        self.on_change()

    def refuse(
        self,
        reply_to: str | None,
        code: str,
        message: str,
        *,
        retryable: bool = False,
        retry_after_ms: int | None = None,
    ) -> None:
        """Queue an `err` that is not remembered."""
        error = encode_error(
            reply_to, code, message, at_ms=self.wall_ms(), retryable=retryable, retry_after_ms=retry_after_ms
        )
        self.push(error, reply=True)

    # --- writing

    def poll_transmit(self) -> bytes | None:
        """The next message to write; None: nothing waits."""
        if not self._queue:
            return None
        item = self._queue.popleft()
        self._bytes -= len(item.data)
        if isinstance(item, BufferedEvent):
            item.sent = True
        else:
            self.unwritten_replies -= item.is_reply
        return item.data

    @property
    def finished(self) -> bool:
        """Whether the connection has to close and nothing waits to be written."""
        return self.closing is not None and not self._queue

    # --- time

    def next_deadline(self) -> float:
        """When `handle_timeout` wants to be called."""
        return self.liveness.next_deadline() if self.closing is None else float("inf")

    def handle_timeout(self, now: float) -> None:
        """Ping a silent peer; give up one that stays silent."""
        if self.closing is not None:
            return
        if self.liveness.dead(now):
            self.close(CloseCode.SILENT, "no sign of life", abrupt=True)
        elif self.liveness.ping_due(now):
            self._pings += 1
            self.push(encode_signal("ping", Ping(n=self._pings), at_ms=self.wall_ms()))
