"""Every signaling session of this node: found by device, resumed by id, forgotten in time. No I/O."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

from triortc.engine.calls.actor import Actor, DeviceAddress, Principal
from triortc.signaling.configuration import SignalingConfiguration
from triortc.signaling.replies import ReplyCache
from triortc.signaling.session import SignalingSession
from triortc.signaling.wire import Resume

__all__ = ["SessionBook"]

#: After so many at once others get a turn.
_AT_ONCE: Final = 8


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
        self._by_principal: dict[Principal, dict[DeviceAddress, None]] = {}
        self._per_organization: Counter[str] = Counter()
        self._replies: dict[DeviceAddress, ReplyCache] = {}
        # Both hold one entry a device at most, however often it comes and goes, and neither holds a session.
        self._lost = _Agenda()
        self._outliving = _Agenda()

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
        self._by_principal.setdefault(address.principal, {})[address] = None
        return session

    def remember(self, address: DeviceAddress, id: str, digest: bytes, reply: bytes, *, stored_at: float) -> None:
        """Take over a reply that another process gave to a device. Older ones first."""
        self._replies_of(address, stored_at).restore(id, digest, reply, stored_at)
        if address not in self._by_address:
            self._outlive(address)

    def surplus(self, principal: Principal) -> SignalingSession | None:
        """The session that has to make room for another device of a principal: a lost one first, else the oldest."""
        addresses = self._by_principal.get(principal, {})
        if len(addresses) < self._configuration.max_devices:
            return None
        sessions = [self._by_address[address] for address in addresses]
        return next((session for session in sessions if session.link is None), sessions[0])

    def lost(self, session: SignalingSession) -> None:
        """A session has no connection any more: it is forgotten when its time to resume is over."""
        self._lost.add(session.address, session.resumable_until())

    def remove(self, session: SignalingSession) -> bool:
        """Forget a session; False: it was forgotten, or replaced by a newer one of the device, before."""
        if self._by_address.get(session.address) is not session:
            return False
        del self._by_address[session.address]
        self._per_organization[session.address.org] -= 1
        if not self._per_organization[session.address.org]:
            del self._per_organization[session.address.org]
        addresses = self._by_principal[session.address.principal]
        del addresses[session.address]
        if not addresses:
            del self._by_principal[session.address.principal]
        self._outlive(session.address)
        return True

    def next_deadline(self) -> float:
        """When `expire` wants to be called; infinity: nothing is waiting."""
        return self._lost.next

    def expire(self, now: float) -> list[SignalingSession]:
        """Forget the sessions whose time to resume is over, a few at a time, and tell which."""
        gone: list[SignalingSession] = []
        for _ in range(_AT_ONCE):
            address = self._lost.take(now)
            if address is None:
                break
            session = self._by_address.get(address)
            if session is None or session.link is not None:
                continue  # it left, or came back
            if session.resumable_until() > now:
                self.lost(session)  # it came back, and was lost again
            elif self.remove(session):
                gone.append(session)
        self._forget_replies(now)
        return gone

    # --- replies, which outlive sessions

    def _replies_of(self, address: DeviceAddress, now: float) -> ReplyCache:
        cache = self._replies.get(address)
        if cache is None:
            self._forget_replies(now)
            limits = self._configuration
            cache = self._replies[address] = ReplyCache(
                lifetime_s=limits.reply_lifetime_s,
                max_replies=limits.cached_replies,
                max_bytes=limits.cached_reply_bytes,
            )
        return cache

    def _outlive(self, address: DeviceAddress) -> None:
        """The device has no session: what it was answered is remembered until the last of it is too old."""
        cache = self._replies.get(address)
        expires_at = None if cache is None else cache.expires_at
        if expires_at is None:
            self._replies.pop(address, None)
        else:
            self._outliving.add(address, expires_at)

    def _forget_replies(self, now: float) -> None:
        """Forget what is too old, a few memories at a time; of too many the oldest make room before."""
        for _ in range(_AT_ONCE):
            crowded = len(self._replies) >= 2 * self._configuration.max_sessions
            address = self._outliving.take(float("inf") if crowded else now)
            if address is None:
                break
            if address in self._by_address:
                continue  # it came back
            cache = self._replies.get(address)
            expires_at = None if cache is None else cache.expires_at
            if crowded or expires_at is None or expires_at <= now:
                self._replies.pop(address, None)
            else:
                self._outliving.add(address, expires_at)  # it came back, and left again


class _Agenda:
    """Devices by the time when to look at them: one entry each."""

    __slots__ = ("_entries", "_known", "_pushes")

    def __init__(self) -> None:
        self._entries: list[tuple[float, int, DeviceAddress]] = []
        self._known: set[DeviceAddress] = set()
        self._pushes = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def next(self) -> float:
        """The earliest time; infinity: there is none."""
        return self._entries[0][0] if self._entries else float("inf")

    def add(self, address: DeviceAddress, at: float) -> None:
        """Look at a device then, or at the time that stands here already, which is not later."""
        if address not in self._known:
            self._known.add(address)
            self._pushes += 1
            heapq.heappush(self._entries, (at, self._pushes, address))

    def take(self, now: float) -> DeviceAddress | None:
        """The device that is to be looked at by now; None: there is none."""
        if self.next > now:
            return None
        address = heapq.heappop(self._entries)[2]
        self._known.discard(address)
        return address
