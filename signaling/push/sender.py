"""Sends pushes: one lane for each host, so many requests at a time and no more, one other attempt where it makes sense.

Nothing here waits for a push but the task that sends it, and nothing that goes wrong with one is felt in a call. A lane
has tasks only while it has pushes. The withdrawal of a ring overtakes what of the ring is not sent yet, and never what
is on its way: it waits for that, or the ring would come last.
"""

from __future__ import annotations

import logging
import ssl
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, fields
from typing import Final

import trio

from triortc.engine.calls.actor import DeviceAddress, PushEndpoint, PushKind
from triortc.engine.calls.push_values import Push, RingPush, WithdrawPush
from triortc.signaling.dialing import DialingRules
from triortc.signaling.https_client import HttpsError, HttpsPort, open_https_client
from triortc.signaling.push.apns import Apns
from triortc.signaling.push.configuration import PushConfiguration
from triortc.signaling.push.fcm import Fcm
from triortc.signaling.push.provider import Provider, UnusableEndpointError, Verdict
from triortc.signaling.push.web_push import WebPush, public_key

__all__ = ["PushCounters", "PushSender", "open_push_sender"]

_logger: Final = logging.getLogger("triortc.push")
GoneCallback = Callable[[DeviceAddress, PushEndpoint], None]


@dataclass(slots=True)
class PushCounters:
    """What became of the pushes of one service.

    Attributes:
        asked: handed over by call control.
        delivered: the service took it.
        retried: attempts after a failure.
        gone: the endpoint is no more, and was forgotten.
        refused: the service does not want it, or our own rules do not.
        garbage: answers that make no sense.
        failed: given up after 429, 5xx, silence or a connection that broke.
        expired: the ring was over before its turn came.
        withdrawn: overtaken by the withdrawal of its ring.
        dropped: too many were waiting.
    """

    asked: int = 0
    delivered: int = 0
    retried: int = 0
    gone: int = 0
    refused: int = 0
    garbage: int = 0
    failed: int = 0
    expired: int = 0
    withdrawn: int = 0
    dropped: int = 0


@dataclass(slots=True, eq=False)
class _Ring:
    """The pushes of one ring to one endpoint that are queued or on their way."""

    pending: int = 0
    sending: int = 0
    withdrawn: bool = False
    quiet: trio.Event = field(default_factory=trio.Event)


@dataclass(slots=True, eq=False)
class _Job:
    push: Push
    provider: Provider
    deadline: float
    ring: _Ring | None


@dataclass(slots=True, eq=False)
class _Lane:
    """What goes to one host."""

    waiting: deque[_Job] = field(default_factory=deque)
    tasks: int = 0


_RingKey = tuple[DeviceAddress, PushEndpoint, str]


class PushSender:
    """Implements `PushPort`. Made by `open_push_sender`.

    Attributes:
        kinds: the services that there are credentials for.
        web_push_key: our public key for pages that subscribe; None without Web Push.
        on_gone: told of endpoints that are no more.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        configuration: PushConfiguration,
        client: HttpsPort,
        wall_s: Callable[[], float],
    ) -> None:
        self.on_gone: GoneCallback = lambda address, endpoint: None
        self.web_push_key = None if configuration.web_push is None else public_key(configuration.web_push)
        self._nursery = nursery
        self._configuration = configuration
        self._client = client
        self._providers = _providers(configuration, client, wall_s)
        self._lanes: dict[tuple[PushKind, str], _Lane] = {}
        self._rings: dict[_RingKey, _Ring] = {}
        self._queued = 0
        self._idle = trio.Event()
        self._counters: dict[PushKind, PushCounters] = {kind: PushCounters() for kind in self._providers}

    @property
    def kinds(self) -> frozenset[PushKind]:
        """The services that there are credentials for."""
        return frozenset(self._providers)

    def counters(self) -> Mapping[str, Mapping[str, int]]:
        """What became of the pushes, by service, and how many wait."""
        return {
            kind: {item.name: getattr(counters, item.name) for item in fields(counters)}
            for kind, counters in self._counters.items()
        }

    @property
    def queued(self) -> int:
        """Pushes that wait for others to the same host."""
        return self._queued

    def send(self, push: Push) -> None:
        """Send a push as soon as its lane has room; see `PushPort`."""
        kind = push.endpoint.kind
        provider = self._providers.get(kind)
        if provider is None:
            return  # call control asks for `kinds` only; the credentials may have been taken away since
        counters = self._counters[kind]
        counters.asked += 1
        try:
            origin = provider.origin(push.endpoint)
        except UnusableEndpointError as error:
            counters.refused += 1
            _logger.info("a push to %s was not sent: %s", push.address, error)
            return
        ring = self._ring_of(push)
        deadline = trio.current_time() + push.remaining_ms / 1000 if isinstance(push, RingPush) else float("inf")
        job = _Job(push, provider, deadline, ring)
        lane = self._lanes.setdefault((kind, origin), _Lane())
        if lane.tasks < self._configuration.parallel_requests:
            lane.tasks += 1
            self._begin(job)
            self._nursery.start_soon(self._work, (kind, origin), lane, job, name=f"pushes to {origin}")
        elif self._queued < self._configuration.queued_pushes:
            self._queued += 1
            self._begin(job)
            lane.waiting.append(job)
        else:
            counters.dropped += 1

    # --- rings and their withdrawals

    def _ring_of(self, push: Push) -> _Ring | None:
        if isinstance(push, RingPush):
            return self._rings.get(_key(push)) or _Ring()
        if isinstance(push, WithdrawPush):
            ring = self._rings.get(_key(push))
            if ring is not None:
                ring.withdrawn = True
            return ring
        return None

    def _begin(self, job: _Job) -> None:
        if job.ring is not None and isinstance(job.push, RingPush):
            job.ring.pending += 1
            self._rings[_key(job.push)] = job.ring

    def _end(self, job: _Job) -> None:
        if job.ring is not None and isinstance(job.push, RingPush):
            job.ring.pending -= 1
            if not job.ring.pending and self._rings.get(_key(job.push)) is job.ring:
                del self._rings[_key(job.push)]

    # --- sending

    async def _work(self, name: tuple[PushKind, str], lane: _Lane, job: _Job) -> None:
        """One of a lane's tasks: it ends when nothing waits."""
        try:
            while True:
                await self._contained(job)
                if not lane.waiting:
                    break
                job = lane.waiting.popleft()
                self._queued -= 1
        finally:
            lane.tasks -= 1
            if not lane.tasks and not lane.waiting:
                self._lanes.pop(name, None)
                if not self._lanes:
                    self._idle.set()

    async def _contained(self, job: _Job) -> None:
        counters = self._counters[job.push.endpoint.kind]
        try:
            await self._deliver(job, counters)
        except Exception:
            # What a port may raise (HttpsError, UnusableEndpointError) is an answer, and was taken as one below. This
            # is the boundary of one push, as V44 is of one session: all tenants' pushes live in one nursery, and a
            # fault of ours, of whatever class, in one of them must end neither the others nor the calls. It is counted
            # and logged with its traceback; a cancellation is no Exception and passes.
            counters.failed += 1
            _logger.exception("a push to %s failed inside the server", job.push.address)
        finally:
            self._end(job)

    async def _deliver(self, job: _Job, counters: PushCounters) -> None:
        push, ring = job.push, job.ring
        if ring is not None and isinstance(push, WithdrawPush):
            if ring.sending:
                await ring.quiet.wait()  # bounded by the request's own time limit
        elif self._is_over(job, counters):
            return
        verdict = await self._attempt(job, counters)
        if verdict is Verdict.RETRY and self._may_retry(job):
            await trio.sleep(self._configuration.retry_after_ms / 1000)
            if self._is_over(job, counters):
                return
            counters.retried += 1
            verdict = await self._attempt(job, counters)
        if verdict is Verdict.RETRY:
            counters.failed += 1
        elif verdict is not None:
            setattr(counters, verdict.value, getattr(counters, verdict.value) + 1)
        if verdict is Verdict.GONE:
            self.on_gone(push.address, push.endpoint)

    def _is_over(self, job: _Job, counters: PushCounters) -> bool:
        if job.ring is not None and job.ring.withdrawn and isinstance(job.push, RingPush):
            counters.withdrawn += 1
        elif job.deadline <= trio.current_time():
            counters.expired += 1
        else:
            return False
        return True

    def _may_retry(self, job: _Job) -> bool:
        if not isinstance(job.push, RingPush):
            return True
        return job.push.may_retry and job.deadline - trio.current_time() > self._configuration.retry_needs_s

    async def _attempt(self, job: _Job, counters: PushCounters) -> Verdict:
        ring = job.ring if isinstance(job.push, RingPush) else None
        if ring is not None:
            ring.sending += 1
        try:
            return await self._ask(job)
        finally:
            if ring is not None:
                ring.sending -= 1
                if not ring.sending:
                    ring.quiet.set()
                    ring.quiet = trio.Event()

    async def _ask(self, job: _Job) -> Verdict:
        push = job.push
        remaining_s = max(0.0, job.deadline - trio.current_time())
        timeout_s = min(self._configuration.request_timeout_s, remaining_s)
        try:
            request = await job.provider.request(push, remaining_s)
            answer = await self._client.exchange(request, timeout_s=timeout_s)
        except UnusableEndpointError as error:
            _logger.info("a push to %s was not sent: %s", push.address, error)
            return Verdict.REFUSED
        except HttpsError as error:
            _logger.info("a push by %s failed: %s, %s", push.endpoint.kind, error.failure, error)
            return _VERDICTS[error.failure]
        verdict = job.provider.judge(answer)
        if verdict is not Verdict.DELIVERED:
            _logger.info("a push by %s: %s, status %d", push.endpoint.kind, verdict.value, answer.status)
        return verdict

    async def flush(self) -> None:
        """Wait until nothing is queued or on its way."""
        while self._lanes:
            self._idle = trio.Event()
            await self._idle.wait()


_VERDICTS: Final = {
    "refused": Verdict.REFUSED,
    "timeout": Verdict.RETRY,
    "unreachable": Verdict.RETRY,
    "garbage": Verdict.GARBAGE,
    "too_large": Verdict.GARBAGE,
}


def _key(push: RingPush | WithdrawPush) -> _RingKey:
    return (push.address, push.endpoint, push.ring)


def _providers(
    configuration: PushConfiguration, client: HttpsPort, wall_s: Callable[[], float]
) -> dict[PushKind, Provider]:
    providers: dict[PushKind, Provider] = {}
    if configuration.apns is not None:
        apns = Apns(configuration.apns, wall_s)
        providers["apns"] = providers["apns_voip"] = apns
    if configuration.fcm is not None:
        providers["fcm"] = Fcm(configuration.fcm, client, wall_s, configuration.request_timeout_s)
    if configuration.web_push is not None:
        providers["webpush"] = WebPush(configuration.web_push, wall_s)
    return providers


@asynccontextmanager
async def open_push_sender(
    configuration: PushConfiguration,
    *,
    client: HttpsPort | None = None,
    wall_s: Callable[[], float] = time.time,
) -> AsyncGenerator[PushSender]:
    """Open the gateways. Leaving sends what still waits, for a bounded time, and leaves no task or connection behind.

    Args:
        configuration: credentials and limits.
        client: sends the requests; None: one that keeps to the rules of `triortc.signaling.dialing`.
        wall_s: unix seconds.

    Raises:
        ConfigurationError: a key cannot be used.
        OSError: the file of authorities cannot be read.
    """
    if client is not None:
        async with _run(configuration, client, wall_s) as sender:
            yield sender
        return
    # Which hosts a client may name is up to the provider; here it is the addresses.
    rules = DialingRules(networks=configuration.networks)
    tls = ssl.create_default_context(cafile=configuration.authorities_file)
    async with (
        open_https_client(rules, tls=tls, max_answer_bytes=configuration.max_answer_bytes) as opened,
        _run(configuration, opened, wall_s) as sender,
    ):
        yield sender


@asynccontextmanager
async def _run(
    configuration: PushConfiguration, client: HttpsPort, wall_s: Callable[[], float]
) -> AsyncGenerator[PushSender]:
    async with trio.open_nursery() as nursery:
        sender = PushSender(nursery, configuration, client, wall_s)
        try:
            yield sender
        finally:
            with trio.move_on_after(configuration.flush_timeout_s, shield=True):
                await sender.flush()
            nursery.cancel_scope.cancel()
