"""Every signaling session of this node: found by device, resumed by id, forgotten in time. No I/O."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterator

from triortc.engine.calls.actor import Actor, DeviceAddress, Principal
from triortc.signaling.configuration import SignalingConfiguration
from triortc.signaling.replies import ReplyCache
from triortc.signaling.session import SignalingSession
from triortc.signaling.wire import Resume

__all__ = ["SessionBook"]


class SessionBook:
    """Holds one session a device at most.

    Args:
        configuration: limits and timers.
        random_bytes: the source of session ids and resume tokens.
        wall_ms: unix milliseconds, to stamp messages with.
    """

    def __init__(
        self,
        configuration: SignalingConfiguration,
        *,
        random_bytes: Callable[[int], bytes],
        wall_ms: Callable[[], int],
    ) -> None:
        self._configuration = configuration
        self._random_bytes = random_bytes
        self._wall_ms = wall_ms
        self._by_address: dict[DeviceAddress, SignalingSession] = {}
        self._by_principal: dict[Principal, set[DeviceAddress]] = {}
        self._per_organization: Counter[str] = Counter()
        self._replies: dict[DeviceAddress, ReplyCache] = {}
        self._sweep_at = float("-inf")
        self._lost: list[tuple[float, int, SignalingSession]] = []
        self._waiting: set[SignalingSession] = set()
        self._pushes = 0

    def __len__(self) -> int:
        return len(self._by_address)

    def __iter__(self) -> Iterator[SignalingSession]:
        return iter(list(self._by_address.values()))

    @property
    def full(self) -> bool:
        """Whether no further device fits."""
        return len(self._by_address) >= self._configuration.max_sessions

    def is_full_for(self, organization: str) -> bool:
        """Whether no further device of a tenant fits."""
        return self._per_organization[organization] >= self._configuration.max_sessions_per_organization

    def of(self, address: DeviceAddress) -> SignalingSession | None:
        """The session of a device."""
        return self._by_address.get(address)

    def resume(self, address: DeviceAddress, resume: Resume | None, now: float) -> SignalingSession | None:
        """The device's session, if this is the way back into it."""
        session = self._by_address.get(address)
        if resume is None or session is None or session.id != resume.session:
            return None
        return session if session.accepts_resume(resume.token, resume.last_seq, now) else None

    def create(self, actor: Actor, address: DeviceAddress, now: float) -> SignalingSession:
        """A new session for a device; the one it had is forgotten, its memory of replies is kept."""
        session = SignalingSession(
            id="sg_" + self._random_bytes(16).hex(),
            actor=actor,
            address=address,
            configuration=self._configuration,
            replies=self._replies_of(address, now),
            random_bytes=self._random_bytes,
            wall_ms=self._wall_ms,
            now=now,
        )
        if address not in self._by_address:
            self._per_organization[address.org] += 1
        self._by_address[address] = session
        self._by_principal.setdefault(address.principal, set()).add(address)
        return session

    def remember(self, address: DeviceAddress, id: str, digest: bytes, reply: bytes, *, stored_at: float) -> None:
        """Take over a reply that another process gave to a device. Older ones first."""
        self._replies_of(address, stored_at).restore(id, digest, reply, stored_at)

    def surplus(self, principal: Principal) -> SignalingSession | None:
        """The session that has to make room for another device of a principal: a lost one first, else the oldest."""
        addresses = self._by_principal.get(principal, set())
        if len(addresses) < self._configuration.max_devices:
            return None
        sessions = [session for address, session in self._by_address.items() if address in addresses]
        return next((session for session in sessions if session.link is None), sessions[0])

    def lost(self, session: SignalingSession) -> None:
        """A session has no connection any more: it is forgotten when its time to resume is over."""
        if session not in self._waiting:  # one entry a session, however often it is lost
            self._waiting.add(session)
            self._pushes += 1
            heapq.heappush(self._lost, (session.resumable_until(), self._pushes, session))

    def remove(self, session: SignalingSession) -> bool:
        """Forget a session; False: it was forgotten, or replaced by a newer one of the device, before."""
        if self._by_address.get(session.address) is not session:
            return False
        del self._by_address[session.address]
        self._per_organization[session.address.org] -= 1
        if not self._per_organization[session.address.org]:
            del self._per_organization[session.address.org]
        addresses = self._by_principal[session.address.principal]
        addresses.discard(session.address)
        if not addresses:
            del self._by_principal[session.address.principal]
        return True

    def next_deadline(self) -> float:
        """When `expire` wants to be called; infinity: nothing is waiting."""
        return self._lost[0][0] if self._lost else float("inf")

    def expire(self, now: float) -> list[SignalingSession]:
        """Forget the sessions whose time to resume is over, and tell which."""
        gone: list[SignalingSession] = []
        while self._lost and self._lost[0][0] <= now:
            session = heapq.heappop(self._lost)[2]
            self._waiting.discard(session)
            if session.link is not None:
                continue  # it came back
            if session.resumable_until() > now:
                self.lost(session)  # it came back, and was lost again
            elif self.remove(session):
                gone.append(session)
        if gone:
            self._sweep_replies(now)
        return gone

    def _replies_of(self, address: DeviceAddress, now: float) -> ReplyCache:
        cache = self._replies.get(address)
        if cache is None:
            if now >= self._sweep_at or len(self._replies) >= 2 * self._configuration.max_sessions:
                self._sweep_replies(now)
            limits = self._configuration
            cache = self._replies[address] = ReplyCache(
                lifetime_s=limits.reply_lifetime_s,
                max_replies=limits.cached_replies,
                max_bytes=limits.cached_reply_bytes,
            )
        return cache

    def _sweep_replies(self, now: float) -> None:
        self._sweep_at = now + self._configuration.reply_lifetime_s / 2
        for address, cache in list(self._replies.items()):
            expires_at = cache.expires_at
            if address not in self._by_address and (expires_at is None or expires_at <= now):
                del self._replies[address]
        # Devices that came and went faster than replies grow old: the oldest memories make room.
        excess = len(self._replies) - 2 * self._configuration.max_sessions
        for address in [known for known in self._replies if known not in self._by_address][: max(0, excess)]:
            del self._replies[address]
