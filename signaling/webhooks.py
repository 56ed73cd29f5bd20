"""Webhooks: events of calls, posted to servers of tenants. Signed, at least once, in order within each session.

Each session is a lane of its own: its next event is posted when the one before was taken or given up, so that what
fails for one session does not hold up another. Nothing in a call waits for any of it.

With a store that outlives the process the events that wait are in it: written with the step that made them, taken away
when they were taken or given up. What a process leaves there, whatever its end, the next one posts.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import random
import ssl
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Final

import msgspec
import trio

from triortc.configuration_kinds import require_kinds
from triortc.engine.calls.call_events import CallEvent
from triortc.engine.calls.store import OutboxRow, StateStore, delete
from triortc.errors import ConfigurationError, SignalingError
from triortc.signaling.dialing import DialingRefusedError, DialingRules
from triortc.signaling.https_client import HttpsError, HttpsPort, HttpsRequest, open_https_client

__all__ = [
    "Webhook",
    "WebhookConfiguration",
    "WebhookCounters",
    "WebhookSender",
    "WebhookSignatureError",
    "open_webhook_sender",
    "signature",
    "verify_webhook",
]

_logger: Final = logging.getLogger("triortc.webhooks")
_MINIMUM_SECRET_CHARACTERS: Final = 16
SIGNATURE_HEADER: Final = "triortc-signature"
TIMESTAMP_HEADER: Final = "triortc-timestamp"
_GONE: Final = 410


@dataclass(frozen=True, slots=True)
class Webhook:
    """One receiver.

    Attributes:
        url: where events are posted to, `https://…`.
        secret: what they are signed with, 16 characters or more; the receiver knows it, too. In a configuration file
            secret_file may name a file that holds it.
        organizations: of which tenants; None: of all.
        events: the names of events, as `call.ended`; empty: all.
        name: what it is called in the log and in the store; empty: after its address. With a name of its own a receiver
            that moves gets what waits for it at its new address.
    """

    url: str = field(repr=False)
    secret: str = field(repr=False)
    organizations: tuple[str, ...] | None = None
    events: tuple[str, ...] = ()
    name: str = ""

    def __post_init__(self) -> None:
        if len(self.secret) < _MINIMUM_SECRET_CHARACTERS:
            raise ConfigurationError(f"a webhook's secret needs {_MINIMUM_SECRET_CHARACTERS} characters or more")
        try:
            DialingRules().target(self.url)
        except DialingRefusedError as error:
            raise ConfigurationError(f"a webhook's url cannot be used: {error}") from None

    @property
    def receiver(self) -> str:
        """Its name; without one, a digest of its address, which may hold a secret."""
        return self.name or hashlib.sha256(self.url.encode()).hexdigest()[:16]

    def wants(self, event: CallEvent) -> bool:
        """Whether this receiver is told of an event."""
        if self.organizations is not None and event.org not in self.organizations:
            return False
        return not self.events or event.name in self.events


@dataclass(frozen=True, slots=True)
class WebhookConfiguration:
    """The receivers, and what may be spent on them.

    Attributes:
        receivers: who is told.
        queued_events: events that wait, for all receivers together; one more is dropped and counted.
        parallel_requests: to one receiver at a time.
        request_timeout_s: for one request.
        first_retry_s, longest_retry_s: the wait after a failure doubles from the one to the other.
        give_up_after_s: an event that was not taken in this time is given up, and the session's next one is tried.
        flush_timeout_s: how long events may still go out when the engine is left; a store keeps the rest for the next.
        max_answer_bytes: the largest answer that is read; what it says does not matter.
        networks: addresses outside the public Internet that may be posted to, as `10.0.0.0/8`.
        authorities_file: certificates (PEM) that are trusted instead of the system's.
    """

    receivers: tuple[Webhook, ...] = ()
    queued_events: int = 10_000
    parallel_requests: int = 20
    request_timeout_s: float = 10.0
    first_retry_s: float = 1.0
    longest_retry_s: float = 60.0
    give_up_after_s: float = 3600.0
    flush_timeout_s: float = 2.0
    max_answer_bytes: int = 16 * 1024
    networks: tuple[str, ...] = ()
    authorities_file: Path | None = None

    def __post_init__(self) -> None:
        require_kinds(self)
        if self.queued_events < 1 or self.parallel_requests < 1:
            raise ConfigurationError("webhooks: queued_events and parallel_requests start at 1")
        if not 0 < self.first_retry_s <= self.longest_retry_s or self.request_timeout_s <= 0:
            raise ConfigurationError("webhooks: first_retry_s must be positive and not above longest_retry_s")
        names = [webhook.receiver for webhook in self.receivers]
        if len(set(names)) < len(names):
            raise ConfigurationError("webhooks: two receivers have the same url; give each a name of its own")
        DialingRules(networks=self.networks)  # says what is wrong with them


@dataclass(slots=True)
class WebhookCounters:
    """What became of the events, all receivers together.

    Attributes:
        asked: events for a receiver.
        delivered: taken, with a status of 2xx.
        retried: attempts after the first.
        given_up: not taken in time, or answered 410.
        dropped: too many were waiting.
        found: left by the process before.
    """

    asked: int = 0
    delivered: int = 0
    retried: int = 0
    given_up: int = 0
    dropped: int = 0
    found: int = 0


_LaneKey = tuple[int, str]


@dataclass(slots=True, eq=False)
class _Receiver:
    webhook: Webhook
    limit: trio.CapacityLimiter


class WebhookSender:
    """Posts events. Made by `open_webhook_sender`; `tell` is called with every event."""

    def __init__(
        self,
        nursery: trio.Nursery,
        configuration: WebhookConfiguration,
        client: HttpsPort,
        store: StateStore | None,
        wall_s: Callable[[], float],
        jitter: Callable[[], float],
    ) -> None:
        self.counters = WebhookCounters()
        self._nursery = nursery
        self._configuration = configuration
        self._client = client
        self._store = store if store is not None and store.durable else None
        self._wall_s = wall_s
        self._jitter = jitter
        limit = configuration.parallel_requests
        self._receivers = [_Receiver(webhook, trio.CapacityLimiter(limit)) for webhook in configuration.receivers]
        self._lanes: dict[_LaneKey, deque[CallEvent]] = {}
        self._queued = 0
        self._idle = trio.Event()

    def tell(self, event: CallEvent) -> Sequence[OutboxRow]:
        """Post an event to everybody who wants it, behind the earlier ones of its session. Never blocks or raises.

        Returns:
            the rows that have to be written with the event's step; none without a store.
        """
        rows = []
        for number, receiver in enumerate(self._receivers):
            if not receiver.webhook.wants(event):
                continue
            self.counters.asked += 1
            if self._queued >= self._configuration.queued_events:
                self.counters.dropped += 1
                continue
            self._enqueue(number, event)
            if self._store is not None:
                rows.append(OutboxRow(receiver.webhook.receiver, event))
        return rows

    async def load(self) -> None:
        """Take up what the process before left. Called once, before the first event.

        What is left for a receiver that is not configured any more is taken away.
        """
        if self._store is None:
            return
        numbers = {receiver.webhook.receiver: number for number, receiver in enumerate(self._receivers)}
        left: list[OutboxRow] = await self._store.rows("outbox")
        for row in left:
            number = numbers.get(row.receiver)
            if number is not None:
                self.counters.found += 1
                self._enqueue(number, row.event)
            else:
                _logger.warning("%s is told to nobody: there is no receiver %s any more", row.event.id, row.receiver)
                self._store.write([delete("outbox", row.key)])

    def _enqueue(self, number: int, event: CallEvent) -> None:
        self._queued += 1
        key = (number, event.session)
        lane = self._lanes.get(key)
        if lane is not None:
            lane.append(event)
            return
        self._lanes[key] = deque([event])
        self._nursery.start_soon(self._work, key, self._receivers[number], name=f"webhooks of {event.session}")

    def health(self) -> Mapping[str, int]:
        """The counters, and how many events wait."""
        counted = {item.name: getattr(self.counters, item.name) for item in fields(self.counters)}
        return {**counted, "queued": self._queued}

    async def flush(self) -> None:
        """Wait until nothing is queued."""
        while self._lanes:
            self._idle = trio.Event()
            await self._idle.wait()

    # --- one session's events to one receiver

    async def _work(self, key: _LaneKey, receiver: _Receiver) -> None:
        lane = self._lanes[key]
        try:
            while lane:
                await self._contained(receiver, lane[0])
                self._forget(receiver, lane.popleft())
                self._queued -= 1
        finally:
            del self._lanes[key]
            self._queued -= len(lane)
            if not self._lanes:
                self._idle.set()

    def _forget(self, receiver: _Receiver, event: CallEvent) -> None:
        if self._store is not None:
            self._store.write([delete("outbox", OutboxRow(receiver.webhook.receiver, event).key)])

    async def _contained(self, receiver: _Receiver, event: CallEvent) -> None:
        try:
            await self._post(receiver, event)
        except Exception:
            # What the port may raise (HttpsError) counts as an attempt that failed. This is the boundary of one event,
            # as V44 is of one session: a fault of ours, of whatever class, must end neither the other sessions' lanes,
            # which share the nursery, nor the calls. It is counted and logged with its traceback.
            self.counters.given_up += 1
            _logger.exception("a webhook for %s failed inside the server", event.id)

    async def _post(self, receiver: _Receiver, event: CallEvent) -> None:
        """Post one event until it is taken or given up."""
        c = self._configuration
        if self._store is not None:
            await self._store.settle()  # nobody hears of what a power failure could still undo
        body = msgspec.json.encode({"event_id": event.id, **asdict(event)})
        wait_s = c.first_retry_s
        give_up_at = trio.current_time() + c.give_up_after_s
        while True:
            status = await self._attempt(receiver, event, body)
            if 200 <= status < 300:
                self.counters.delivered += 1
                return
            # Many sessions fail at once where a receiver does: their next attempts are spread.
            delay_s = wait_s * (0.5 + 0.5 * self._jitter())
            if status == _GONE or trio.current_time() + delay_s > give_up_at:
                self.counters.given_up += 1
                _logger.warning("a receiver of webhooks did not take %s", event.id)
                return
            await trio.sleep(delay_s)
            wait_s = min(2 * wait_s, c.longest_retry_s)
            self.counters.retried += 1

    async def _attempt(self, receiver: _Receiver, event: CallEvent, body: bytes) -> int:
        """The status of the answer; 0: there was none."""
        timestamp = int(self._wall_s())
        headers = (
            ("content-type", "application/json"),
            ("triortc-event-id", event.id),
            (TIMESTAMP_HEADER, str(timestamp)),
            (SIGNATURE_HEADER, signature(receiver.webhook.secret, timestamp, body)),
        )
        request = HttpsRequest(receiver.webhook.url, headers, body)
        async with receiver.limit:
            try:
                answer = await self._client.exchange(request, timeout_s=self._configuration.request_timeout_s)
            except HttpsError as error:
                _logger.info("a webhook failed: %s, %s", error.failure, error)
                return 0
        return answer.status


# --- signatures, for both ends


class WebhookSignatureError(SignalingError):
    """A request is not one of ours, or it is an old one."""


def signature(secret: str, timestamp: int, body: bytes) -> str:
    """The value of `triortc-signature`: HMAC-SHA256 over the timestamp, a dot and the body, in hexadecimal."""
    return "v1=" + hmac.digest(secret.encode(), f"{timestamp}.".encode() + body, "sha256").hex()


def verify_webhook(
    secret: str, headers: Mapping[str, str], body: bytes, *, now_s: float | None = None, tolerance_s: float = 300.0
) -> None:
    """For receivers in Python: check that a request is one of ours and not an old one that somebody sends again.

    Args:
        secret: of the webhook.
        headers: of the request, names in lower case.
        body: as it came, before any decoding.
        now_s: unix seconds; None: the clock's.
        tolerance_s: how far the timestamp may be from now.

    Raises:
        WebhookSignatureError: it is not.
    """
    stamped = headers.get(TIMESTAMP_HEADER, "")
    if not stamped.isascii() or not stamped.isdigit() or len(stamped) > 15:
        raise WebhookSignatureError("the timestamp is missing or no number")
    expected = signature(secret, int(stamped), body)
    if not hmac.compare_digest(expected.encode(), headers.get(SIGNATURE_HEADER, "").encode()):
        raise WebhookSignatureError("the signature is missing or wrong")
    if abs((time.time() if now_s is None else now_s) - int(stamped)) > tolerance_s:
        raise WebhookSignatureError("the timestamp is too far from now")


# --- opening


@asynccontextmanager
async def open_webhook_sender(
    configuration: WebhookConfiguration,
    *,
    client: HttpsPort | None = None,
    store: StateStore | None = None,
    wall_s: Callable[[], float] = time.time,
    jitter: Callable[[], float] = random.random,
) -> AsyncGenerator[WebhookSender]:
    """Open the sender. Leaving posts what still waits, for a bounded time, and leaves no task or connection behind.

    Args:
        configuration: receivers and limits.
        client: sends the requests; None: one that keeps to the rules of `triortc.signaling.dialing`.
        store: open, and open for longer; if it is durable, what waits outlives the process. None: it does not.
        wall_s: unix seconds.
        jitter: a number from 0 to 1, for the waits between attempts.

    Raises:
        OSError: the file of authorities cannot be read.
        StoreError: the store cannot be read.
    """
    if client is not None:
        async with _run(configuration, client, store, wall_s, jitter) as sender:
            yield sender
        return
    rules = DialingRules(networks=configuration.networks)
    tls = ssl.create_default_context(cafile=configuration.authorities_file)
    async with (
        open_https_client(rules, tls=tls, max_answer_bytes=configuration.max_answer_bytes) as opened,
        _run(configuration, opened, store, wall_s, jitter) as sender,
    ):
        yield sender


@asynccontextmanager
async def _run(
    configuration: WebhookConfiguration,
    client: HttpsPort,
    store: StateStore | None,
    wall_s: Callable[[], float],
    jitter: Callable[[], float],
) -> AsyncGenerator[WebhookSender]:
    async with trio.open_nursery() as nursery:
        sender = WebhookSender(nursery, configuration, client, store, wall_s, jitter)
        try:
            await sender.load()
            yield sender
        finally:
            with trio.move_on_after(configuration.flush_timeout_s, shield=True):
                await sender.flush()
            nursery.cancel_scope.cancel()
