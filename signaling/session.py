"""A signaling session: one device's events in order, its commands at most once, over any number of connections.

No I/O. A session outlives its connection (`Link`) for `resume_s`: events wait in a buffer, and a client that shows the
resume token gets what it has missed. Names and rules: docs/protocol.md.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from triortc.engine.calls.actor import Actor, DeviceAddress
from triortc.signaling.configuration import SignalingConfiguration
from triortc.signaling.limits import TokenBucket
from triortc.signaling.link import BufferedEvent, CloseCode, Link
from triortc.signaling.replies import CachedReply, ReplyCache
from triortc.signaling.wire import (
    Ack,
    Bye,
    Incoming,
    Ping,
    Pong,
    WireError,
    encode_error,
    encode_event,
    encode_reply,
    encode_signal,
    parse_incoming,
)
from triortc.signaling.wire_commands import AuthRefresh, SdpOffer

__all__ = ["AFTER_EXPIRY", "BESIDE_A_TOKEN_CHECK", "URGENT", "SignalingSession"]

#: Commands that are never refused for their rate alone: somebody wants out of a call.
URGENT = frozenset({"call.hangup", "call.cancel", "call.decline"})
#: What a device may still ask when its token ran out while it is in a call.
AFTER_EXPIRY = frozenset(
    {"call.hangup", "media.set", "ice.candidates", "ice.restart", "sdp.offer", "sdp.answer", "auth.refresh"}
)
#: What does not wait for the check of a newer token: it is allowed without one.
BESIDE_A_TOKEN_CHECK = (URGENT | AFTER_EXPIRY) - {"auth.refresh"}
#: Refusals that say nothing about the command itself: the same id may be tried again.
_NOT_REMEMBERED = ("server.", "rate.", "auth.expired")
_EXPIRY_WARNING_S = 60.0


@dataclass(slots=True)
class SessionCounters:
    """What a session has seen."""

    commands: int = 0
    duplicates: int = 0
    events: int = 0
    coalesced: int = 0
    forgotten_events: int = 0
    rate_limited: int = 0


class SignalingSession:
    """The sans-I/O state of one device's signaling session.

    Args:
        id: the session's id.
        actor: who this is, from a verified token; may be refreshed.
        configuration: limits and timers.
        replies: the device's memory of replies; it outlives the session.
        random_bytes: the source of resume tokens.
        wall_ms: unix milliseconds, to stamp messages with.
        now: seconds, monotonic.
    """

    def __init__(
        self,
        *,
        id: str,
        actor: Actor,
        address: DeviceAddress,
        configuration: SignalingConfiguration,
        replies: ReplyCache,
        random_bytes: Callable[[int], bytes],
        wall_ms: Callable[[], int],
        now: float,
    ) -> None:
        self.id = id
        self.actor = actor
        self.address = address
        self.counters = SessionCounters()
        self.link: Link | None = None
        self.lost_at: float | None = None
        self.left = False
        self.busy: set[str] = set()
        self._configuration = configuration
        self._replies = replies
        self._random_bytes = random_bytes
        self._wall_ms = wall_ms
        self._bucket = TokenBucket(configuration.rate_burst, configuration.rate_per_s, now)
        self._urgent = TokenBucket(configuration.urgent_burst, configuration.urgent_per_s, now)
        self._offers = TokenBucket(configuration.offer_burst, configuration.offers_per_s, now)
        self._patience = TokenBucket(configuration.ignored_limits, configuration.ignored_limits_per_s, now)
        self._signals = TokenBucket(configuration.signal_burst, configuration.signal_per_s, now)
        self._buffer: deque[BufferedEvent] = deque()
        self._buffer_bytes = 0
        self._replaceable: dict[tuple[str, ...], BufferedEvent] = {}
        self._last_seq = 0
        self._token_digest = b""
        self._expires_at = float("inf")
        self._warn_at = float("inf")
        self._expiry_told = False
        self._exp_at_ms = 0
        self._renew_ice_at = float("inf")
        self._make_ice: Callable[[SignalingSession], tuple[dict[str, Any], ...]] | None = None

    # --- connections

    def attach(self, link: Link) -> None:
        """Write to this connection from now on; what has not been acknowledged is written first."""
        self.link = link
        self.lost_at = None
        for event in self._buffer:
            event.sent = False
            link.push_event(event)
        self._replaceable = {event.key: event for event in self._buffer if event.key is not None}
        if self.busy:
            self._use_heartbeat(link, link.now)

    def detach(self, now: float) -> None:
        """The connection is gone; the session waits to be resumed."""
        if self.link is not None:
            self.link = None
            self.lost_at = now

    def resumable_until(self) -> float:
        """When a session without a connection is given up; infinity while it has one."""
        return float("inf") if self.lost_at is None else self.lost_at + self._configuration.resume_s

    def issue_resume_token(self) -> str:
        """Make the only valid resume token, 256 bits; the one before is worth nothing any more."""
        secret = self._random_bytes(32)
        token = base64.urlsafe_b64encode(secret).rstrip(b"=").decode("ascii")
        self._token_digest = self._digest(token)
        return token

    def accepts_resume(self, token: str, last_seq: int, now: float) -> bool:
        """Whether this token and event number lead back into this session; if so, the token is used up.

        Args:
            token: what the client shows. It is bound to the principal and the device, and compared in constant time.
            last_seq: the last event the client has processed; those after it must still be in the buffer.
            now: seconds, monotonic.
        """
        if not hmac.compare_digest(self._digest(token), self._token_digest) or not self._token_digest:
            return False
        if self.left or now >= self.resumable_until():
            return False
        floor = self._buffer[0].seq - 1 if self._buffer else self._last_seq
        if not floor <= last_seq <= self._last_seq:
            return False
        self._token_digest = b""
        self._acknowledge(last_seq)
        return True

    def _digest(self, token: str) -> bytes:
        return hashlib.sha256("\0".join((token, *self.address)).encode()).digest()

    # --- events

    def push_event(self, t: str, payload: object, *, key: tuple[str, ...] | None = None) -> None:
        """Number an event, keep it until it is acknowledged, and write it if there is a connection.

        Args:
            t: the message type.
            payload: a dataclass or struct with the fields of the wire, or one that is encoded already.
            key: names the older event that this one replaces where that has not been written yet.
        """
        old = self._replaceable.get(key) if key is not None else None
        if old is not None and not old.sent:
            data = encode_event(t, payload, seq=old.seq, at_ms=self._wall_ms())
            difference, old.data = len(data) - len(old.data), data
            self._buffer_bytes += difference
            self.counters.coalesced += 1
            if self.link is not None:
                self.link.resized(difference)
            self._bound_buffer()
            return
        self._last_seq += 1
        self.counters.events += 1
        data = encode_event(t, payload, seq=self._last_seq, at_ms=self._wall_ms())
        event = BufferedEvent(self._last_seq, data, key)
        self._buffer.append(event)
        self._buffer_bytes += len(data)
        if key is not None:
            self._replaceable[key] = event
        if self.link is not None:
            self.link.push_event(event)
        self._bound_buffer()

    def _bound_buffer(self) -> None:
        limits = self._configuration
        while len(self._buffer) > limits.buffered_events or self._buffer_bytes > limits.buffered_event_bytes:
            self.counters.forgotten_events += 1
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        event = self._buffer.popleft()
        self._buffer_bytes -= len(event.data)
        if event.key is not None and self._replaceable.get(event.key) is event:
            del self._replaceable[event.key]

    def _acknowledge(self, seq: int) -> None:
        while self._buffer and self._buffer[0].seq <= seq:
            self._forget_oldest()

    # --- messages from the client

    def receive(self, data: bytes, now: float) -> Incoming | None:
        """Take one message. Signals and nonsense are dealt with here.

        Returns:
            A command, for `admit`; None: nothing to do.
        """
        link = self.link
        if link is None or link.closing is not None:
            return None
        link.liveness.heard(now)
        try:
            incoming = parse_incoming(data, max_bytes=self._configuration.max_message_bytes)
        except WireError as error:
            self._faulty(link, error, len(data), now)
            return None
        if incoming.id is None:
            self._signal(link, incoming, now)
            return None
        return incoming

    def _faulty(self, link: Link, error: WireError, size: int, now: float) -> None:
        if size > self._configuration.max_message_bytes:
            link.close(CloseCode.TOO_LARGE, error.message, error=error.code)
            return
        if not self._signals.take(now):
            link.close(CloseCode.RATE_LIMITED, "too many messages", error="rate.limited")
            return
        link.refuse(error.reply_to, error.code, error.message)
        if error.code == "proto.malformed":
            link.malformed += 1
            if link.malformed >= self._configuration.max_malformed:
                link.close(CloseCode.MALFORMED, "too many malformed messages")

    def _signal(self, link: Link, incoming: Incoming, now: float) -> None:
        if not self._signals.take(now):
            link.close(CloseCode.RATE_LIMITED, "too many signals", error="rate.limited")
            return
        match incoming.payload:
            case Ping(n=n):
                link.push(encode_signal("pong", Pong(n=n), at_ms=self._wall_ms()))
            case Ack(seq=seq):
                self._acknowledge(min(seq, self._last_seq))
            case Bye(code=code):
                self.left = code == CloseCode.BYE
                link.close(CloseCode.BYE if self.left else CloseCode.NORMAL, "bye", abrupt=True)
            case _:  # a second hello is out of place; `pong` has already counted as a sign of life
                if incoming.type == "hello":
                    link.refuse("hello", "proto.malformed", "hello was said before on this connection")

    def admit(self, command: Incoming, now: float) -> bool:
        """Whether a command of `receive` is to be carried out, and answered by `reply` or `refuse`.

        Repeats, excess, and what an expired token does not allow are answered here.
        """
        link, id = self.link, command.id
        if link is None or link.closing is not None or id is None:
            return False
        content = command.content
        known, same = self._replies.find(id, content, now)
        if known is None or not same:
            if not self._within_rate(link, command, id, now):
                return False
            if known is not None:
                link.refuse(id, "proto.id_reused", "this id was used for another command")
                return False
        elif known.reply is None:
            return False  # it is being carried out; its reply will come
        else:
            if self._signals.take(now):
                self.counters.duplicates += 1
                link.push(known.reply, reply=True)
            else:
                link.close(CloseCode.RATE_LIMITED, "too many repeats", error="rate.limited")
            return False
        if now >= self._expires_at and command.type not in AFTER_EXPIRY:
            link.refuse(id, "auth.expired", "the token has run out: auth.refresh first")
            return False
        if not isinstance(command.payload, AuthRefresh):
            self._replies.begin(id, content, now)
        self.counters.commands += 1
        return True

    def _within_rate(self, link: Link, incoming: Incoming, id: str, now: float) -> bool:
        short = self._bucket
        if short.take(now) or (incoming.type in URGENT and self._urgent.take(now)):
            if not _has_offer(incoming) or self._offers.take(now):
                return True
            short = self._offers
        self.counters.rate_limited += 1
        if not self._patience.take(now):
            link.close(CloseCode.RATE_LIMITED, "the rate limit was ignored", error="rate.limited", reply_to=id)
            return False
        wait_ms = max(1, round(short.wait_s() * 1000))
        many = "too many offers" if short is self._offers else "too many commands"
        link.refuse(id, "rate.limited", many, retryable=True, retry_after_ms=wait_ms)
        return False

    # --- replies

    def reply(self, id: str, payload: object) -> None:
        """Answer `ok`, and remember it."""
        self._answer(id, encode_reply(id, payload, at_ms=self._wall_ms()))

    def refuse(
        self,
        id: str,
        code: str,
        message: str,
        *,
        retryable: bool = False,
        retry_after_ms: int | None = None,
        details: Mapping[str, object] | None = None,
    ) -> None:
        """Answer `err`; it is remembered unless it says nothing about the command itself."""
        data = encode_error(
            id,
            code,
            message,
            at_ms=self._wall_ms(),
            retryable=retryable,
            retry_after_ms=retry_after_ms,
            details=details,
        )
        if code.startswith(_NOT_REMEMBERED):
            self._replies.forget(id)
            if self.link is not None:
                self.link.push(data, reply=True)
        else:
            self._answer(id, data)

    def kept_reply(self, id: str) -> CachedReply | None:
        """The remembered reply to a command."""
        return self._replies.kept(id)

    def _answer(self, id: str, data: bytes) -> None:
        self._replies.finish(id, data)
        if self.link is not None:
            self.link.push(data, reply=True)

    # --- heartbeats and the token's end

    def start_busy(self, calls: Collection[str], now: float) -> None:
        """These video sessions ring or run on this device from the start; `welcome` tells the interval."""
        self.busy.update(calls)
        if self.link is not None:
            self._use_heartbeat(self.link, now)

    def set_busy(self, call: str, busy: bool, now: float) -> None:
        """A video session rings or runs on this device, or does not any more: heartbeats follow."""
        before = bool(self.busy)
        (self.busy.add if busy else self.busy.discard)(call)
        if bool(self.busy) != before:
            c = self._configuration
            self.push_event("session.heartbeat", {"hb_ms": c.call_heartbeat_ms if self.busy else c.heartbeat_ms})
            if self.link is not None:
                self._use_heartbeat(self.link, now)
                self.link.on_reschedule()

    @property
    def heartbeat_ms(self) -> int:
        """The interval of heartbeats that is in force."""
        return self._configuration.call_heartbeat_ms if self.busy else self._configuration.heartbeat_ms

    def _use_heartbeat(self, link: Link, now: float) -> None:
        c = self._configuration
        link.liveness.change(self.heartbeat_ms / 1000, c.call_dead_after_s if self.busy else c.dead_after_s, now)

    def set_expiry(self, *, exp_s: float, remaining_s: float, skew_s: float, now: float) -> None:
        """Learn when the token runs out.

        Args:
            exp_s: the claim `exp`, unix seconds.
            remaining_s: how long the token is still accepted, the clocks' skew included.
            skew_s: that skew; the client is warned 60 s before `exp` itself.
            now: seconds, monotonic.
        """
        self._exp_at_ms = round(exp_s * 1000)
        self._expires_at = now + remaining_s
        self._warn_at = self._expires_at - skew_s - _EXPIRY_WARNING_S
        self._expiry_told = False

    def set_ice_renewal(self, at: float, make: Callable[[SignalingSession], tuple[dict[str, Any], ...]]) -> None:
        """Tell the device of other ICE servers at that time (seconds, monotonic), if it is connected then.

        `make` gets the session, and does not hold it.
        """
        self._renew_ice_at = at
        self._make_ice = make

    def next_deadline(self) -> float:
        """When `handle_timeout` wants to be called while a connection is attached."""
        if self.link is None or self.link.closing is not None:
            return float("inf")
        expiry = self._expires_at if self._expiry_told else self._warn_at
        if self._expiry_told and self.busy:
            expiry = float("inf")  # a running video is not cut because of a token
        return min(self.link.next_deadline(), expiry, self._renew_ice_at)

    def handle_timeout(self, now: float) -> None:
        """Heartbeats, the warning before the token runs out, and its end."""
        link = self.link
        if link is None:
            return
        link.handle_timeout(now)
        if not self._expiry_told and now >= self._warn_at:
            self._expiry_told = True
            self.push_event("auth.expiring", {"exp_at": self._exp_at_ms})
        if now >= self._renew_ice_at and self._make_ice is not None:
            self._renew_ice_at = float("inf")  # until the new ones are made
            self.push_event("session.ice_servers", {"ice_servers": self._make_ice(self)})
        if now >= self._expires_at and not self.busy:
            link.close(CloseCode.AUTHENTICATION, "the token has run out", error="auth.expired")


def _has_offer(command: Incoming) -> bool:
    """Whether the answer takes an answer to an offer, alone or inside of another command."""
    return isinstance(command.payload, SdpOffer) or getattr(command.payload, "offer", None) is not None
