"""The signaling server: greets devices, carries their commands to call control and call control's events to them."""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import fields
from typing import Any, Final

import msgspec
import trio

from triortc.engine.calls.actor import Actor, DeviceAddress
from triortc.engine.calls.commands import Command as EngineCommand
from triortc.engine.calls.notifications import Notification
from triortc.engine.calls.quality import QualityConfiguration
from triortc.engine.calls.replies import CallFault, Ok, Reply
from triortc.engine.calls.store import ReplyRow
from triortc.engine.calls.view_values import Snapshot
from triortc.engine.deadlines import DeadlineClock
from triortc.signaling.book import SessionBook
from triortc.signaling.channel import ServedChannel
from triortc.signaling.configuration import SignalingConfiguration
from triortc.signaling.connection import Connection, RefusedError
from triortc.signaling.link import CloseCode, Link
from triortc.signaling.mapping import device_information, engine_command
from triortc.signaling.ports import CallControl, Keeper, SignalCounters
from triortc.signaling.session import SignalingSession
from triortc.signaling.tokens import CLOCK_SKEW_S, Claims, TokenError, TokenVerifier
from triortc.signaling.turn_credentials import turn_server
from triortc.signaling.turn_writes import TurnWrites
from triortc.signaling.wire import (
    PROTOCOL,
    Hello,
    Incoming,
    Limits,
    QualityThresholds,
    RateLimit,
    Welcome,
    encode_payload,
    encode_signal,
    plain,
)
from triortc.signaling.wire_commands import AuthRefresh, Command
from triortc.signaling.wire_events import Snapshot as WireSnapshot

__all__ = ["SignalServer", "open_signal_server"]

_logger: Final = logging.getLogger("triortc.signaling")
#: After so many at once others get a turn.
_AT_ONCE: Final = 32


def _subject(session: SignalingSession) -> dict[str, str]:
    """What a log line says of a signaling session."""
    org, role, sub, device = session.address
    return {"signaling_session": session.id, "org": org, "role": role, "sub": sub, "device": device}


class SignalServer:
    """Implements `ClientPort`: whoever knows it can tell devices something at any time, without waiting.

    Made by `open_signal_server`. Set `calls` to call control before the first connection, and `keeper` where state
    outlives the process.

    Args:
        verifier: checks tokens.
        configuration: limits and timers.
        origin_allowed: whether pages of an origin (second) may connect for a tenant (first); None: all do.
        quality: when the media side calls a way weak, so that pages say it at the same scores; None: the defaults.
        random_bytes: the source of session ids and resume tokens.
        wall_ms: unix milliseconds.
    """

    def __init__(
        self,
        verifier: TokenVerifier,
        *,
        configuration: SignalingConfiguration | None = None,
        origin_allowed: Callable[[str, str], bool] | None = None,
        quality: QualityConfiguration | None = None,
        random_bytes: Callable[[int], bytes] = os.urandom,
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._verifier = verifier
        self._configuration = configuration or SignalingConfiguration()
        self._origin_allowed = origin_allowed
        judged = quality or QualityConfiguration()
        self._quality = QualityThresholds(weak_score=judged.weak_score, good_score=judged.good_score)
        self._wall_ms = wall_ms
        self._book = SessionBook(self._configuration, random_bytes=random_bytes, wall_ms=wall_ms)
        self._claims: dict[SignalingSession, Claims] = {}
        self._told: tuple[Notification | None, msgspec.Raw] = None, msgspec.Raw(b"null")
        self._handshakes_of: Counter[str] = Counter()
        self._expiry = trio.CancelScope()
        self._clock = DeadlineClock()
        self._writes = TurnWrites()
        self._draining = False
        self.calls: CallControl | None = None
        self.keeper: Keeper | None = None
        self.counters = SignalCounters()

    # --- connections

    @property
    def draining(self) -> bool:
        """Whether devices are sent elsewhere."""
        return self._draining

    def may_greet(self, arriving: int = 0, peer: str = "") -> bool:
        """Whether one more connection may begin its handshake.

        Args:
            arriving: connections that may, and have not come here yet.
            peer: what connections from its address are counted by; empty: they are not.
        """
        c = self._configuration
        if peer and 0 < c.max_handshakes_per_address <= self._handshakes_of[peer]:
            return False
        return self.counters.handshakes + arriving < c.max_handshakes

    async def serve(self, channel: ServedChannel, *, foreign_origin: str | None = None, peer: str = "") -> None:
        """Serve one connection to its end.

        Args:
            channel: where its messages travel; closed at the end.
            foreign_origin: the origin of the page behind it, unless that is our own.
            peer: as for `may_greet`.
        """
        greeter = _Greeter(self, foreign_origin)
        connection = Connection(channel, greeter, self._configuration, self._wall_ms, self._clock, self._writes)
        self.counters.connections += 1
        self.counters.open_connections += 1
        self.counters.handshakes += 1
        self._handshakes_of[peer] += 1

        def greeted() -> None:
            self.counters.handshakes -= 1
            self._handshakes_of[peer] -= 1
            if not self._handshakes_of[peer]:
                del self._handshakes_of[peer]

        try:
            await connection.run(greeted)
        finally:
            self.counters.open_connections -= 1

    async def greet(self, hello: Hello, link: Link, foreign_origin: str | None) -> SignalingSession:
        """Deal with `hello`: verify, resume or begin, welcome.

        Raises:
            RefusedError: the client may not come in.
        """
        try:
            claims = await self._verifier.verify(hello.token)
            actor = claims.actor(hello.device.id)
        except TokenError as error:
            self.counters.refused += 1
            _logger.info("a token was refused", extra={"device": hello.device.id, "reason": error.code})
            again = error.code == "server.unavailable"
            close_code = CloseCode.RESTART if again else CloseCode.AUTHENTICATION
            raise RefusedError(error.code, error.message, close_code, retryable=again) from None
        if foreign_origin is not None and self._origin_allowed and not self._origin_allowed(claims.org, foreign_origin):
            self.counters.refused += 1
            raise RefusedError("auth.forbidden", "a page of this origin may not connect", CloseCode.AUTHENTICATION)
        # From here on nothing waits: no other connection can come between.
        now = trio.current_time()
        address = DeviceAddress(actor.org, actor.role, actor.sub, hello.device.id)
        known = self._book.of(address)
        in_call = known is not None and bool(known.busy)
        if self.calls is None or (self._draining and not in_call):
            raise RefusedError("server.draining", "connect elsewhere", CloseCode.RESTART, retryable=True)
        if known is None and (self._book.full or self._book.is_full_for(actor.org)):
            raise RefusedError("server.overloaded", "too many devices", CloseCode.RESTART, retryable=True)
        device = device_information(hello.device)
        session = self._book.resume(address, hello.resume, now)
        if known is not None and known.link is not None:
            self.counters.superseded += 1
            known.link.close(
                CloseCode.SUPERSEDED, "a newer connection of this device took over", error="session.superseded"
            )
        snapshot: Snapshot | None = None
        if session is not None:
            self.counters.resumed += 1
            if session.actor != actor:  # as `auth.refresh`, and before what the device may not do any more begins anew
                self.calls.actor_changed(actor)
            session.actor = actor
            session.attach(link)
            self.calls.device_resumed(address, device)
        else:
            session = self._begin(actor, address, known, now)
            session.attach(link)
            snapshot = self.calls.device_connected(actor, device)
            live = {ring.session for ring in snapshot.rings} | {view.session for view in snapshot.sessions}
            session.start_busy(live, now)
        self._remember_claims(session, claims, now)
        self.counters.welcomed += 1
        _logger.info("device %s", "came back" if snapshot is None else "connected", extra=_subject(session))
        self._welcome(session, link, snapshot)
        return session

    def _begin(
        self, actor: Actor, address: DeviceAddress, known: SignalingSession | None, now: float
    ) -> SignalingSession:
        if known is not None:
            self._claims.pop(known, None)
        elif (surplus := self._book.surplus(address.principal)) is not None:
            self._forget(surplus, "too many devices of one user")
        return self._book.create(actor, address, now)

    def _welcome(self, session: SignalingSession, link: Link, snapshot: Snapshot | None) -> None:
        c = self._configuration
        welcome = Welcome(
            session=session.id,
            resume_token=session.issue_resume_token(),
            resumed=snapshot is None,
            p=PROTOCOL,
            node=c.node,
            hb_ms=session.heartbeat_ms,
            limits=Limits(
                max_message=c.max_message_bytes,
                max_inflight=c.max_inflight,
                rate=RateLimit(burst=c.rate_burst, per_s=c.rate_per_s),
            ),
            quality=self._quality,
            caps=tuple(sorted({*session.actor.caps, *c.features})),
            ice_servers=self._ice_servers(session),
            snapshot=None if snapshot is None else msgspec.convert(plain(snapshot), WireSnapshot),
        )
        link.push(encode_signal("welcome", welcome, at_ms=self._wall_ms()), first=True)

    def _ice_servers(self, session: SignalingSession) -> tuple[dict[str, Any], ...]:
        """What the device may reach us through; its TURN credentials are renewed as long as it is connected."""
        c = self._configuration
        servers = tuple(dict(server) for server in c.ice_servers)
        if c.turn is None:
            return servers
        session.set_ice_renewal(trio.current_time() + c.turn.renew_after_s, self._ice_servers)
        return (*servers, turn_server(c.turn, session.address, self._wall_ms() / 1000))

    def parted(self, session: SignalingSession, link: Link) -> None:
        """A connection is over: its session is kept for a while, unless the device said that it leaves."""
        if session.link is not link:
            return  # a newer connection has taken over
        session.detach(trio.current_time())
        code = None if link.closing is None else int(link.closing.code)
        _logger.info("device disconnected", extra={**_subject(session), "code": code})
        if self._book.of(session.address) is not session:
            self._claims.pop(session, None)
        elif session.left or (link.closing is not None and link.closing.code == CloseCode.AUTHENTICATION):
            self._forget(session, "the device left")
        else:
            self._book.lost(session)
            self._expiry.cancel()
            if self.calls is not None:
                self.calls.device_lost(session.address)

    def _forget(self, session: SignalingSession, why: str) -> None:
        self._claims.pop(session, None)
        if self._book.remove(session):
            if session.link is not None:
                session.link.close(CloseCode.SUPERSEDED, why, error="session.superseded")
            if self.calls is not None:
                self.calls.device_gone(session.address)

    async def run_clock(self) -> None:
        """Heartbeats and the ends of tokens, of all connections; runs until cancelled."""
        await self._clock.run()

    async def run_writes(self) -> None:
        """Write what devices are told, as far as they read it; runs until cancelled."""
        await self._writes.run()

    async def run_expiry(self) -> None:
        """Give up sessions that nobody resumed; runs until cancelled."""
        while True:
            with trio.CancelScope(deadline=self._book.next_deadline()) as self._expiry:
                await trio.sleep_forever()
            for session in self._book.expire(trio.current_time()):
                self.counters.expired += 1
                self._claims.pop(session, None)
                if self.calls is not None:
                    self.calls.device_gone(session.address)

    # --- commands

    def execute(self, session: SignalingSession, command: Incoming, rx_time: float) -> None:
        """Carry out one command of a session, in the order of arrival."""
        id = command.id or ""
        payload = command.payload
        self.counters.commands += 1
        asked = engine_command(command.type, payload) if isinstance(payload, Command) else None
        if asked is None:
            session.refuse(id, "proto.not_implemented", f"{command.type} is not part of this build")
        elif self.calls is None:
            session.refuse(id, "server.draining", "the server is going away", retryable=True)
        else:
            self.calls.command(
                session.actor, asked, rx_time, lambda reply: self._replied(session, id, command.type, asked, reply)
            )

    def _replied(self, session: SignalingSession, id: str, t: str, command: EngineCommand, reply: Reply) -> None:
        if isinstance(reply, CallFault):
            session.refuse(
                id,
                reply.code,
                reply.message,
                details=reply.details,
                retryable=reply.retryable,
                retry_after_ms=reply.retry_after_ms,
            )
            return
        session.reply(id, reply.payload)
        self._keep_reply(session, id)
        self._follow(session, t, command, reply)

    def _keep_reply(self, session: SignalingSession, id: str) -> None:
        known = session.kept_reply(id)
        if self.keeper is not None and known is not None and known.reply is not None:
            self.keeper.keep_reply(ReplyRow(session.address, id, known.digest, known.reply, self._wall_ms()))

    def remember_replies(self, rows: Iterable[ReplyRow]) -> None:
        """Know the replies of the process before: a command that comes again is answered as it was."""
        now, now_ms = trio.current_time(), self._wall_ms()
        for row in sorted(rows, key=lambda row: row.at_ms):
            stored_at = now - max(0, now_ms - row.at_ms) / 1000
            self._book.remember(row.address, row.command, row.digest, row.reply, stored_at=stored_at)

    @property
    def settled(self) -> bool:
        """Whether what has happened by now may be told."""
        return self.keeper is None or self.keeper.settled

    async def settle(self) -> None:
        """Wait until what has happened by now may be told."""
        if self.keeper is not None:
            await self.keeper.settle()

    def _follow(self, session: SignalingSession, t: str, command: EngineCommand, reply: Ok) -> None:
        """A reply that lets a device into a video makes its heartbeats quick."""
        if t in _ENTERING:
            entered = getattr(reply.payload, "session", None) or getattr(command, "session", None)
            if entered is not None and getattr(reply.payload, "state", None) != "ended":
                session.set_busy(entered, True, trio.current_time())

    async def refresh(self, session: SignalingSession, id: str, refresh: AuthRefresh) -> None:
        """Check a newer token of a session, `token_check_timeout_s` at most, and let it have what that allows."""
        link = session.link
        found: tuple[Claims, Actor] | None = None
        refused = TokenError("server.unavailable", "the token could not be checked in time")
        self.counters.commands += 1
        try:
            with trio.move_on_after(self._configuration.token_check_timeout_s):
                found = await self._newer_token(refresh.token, session.address)
        except TokenError as error:
            refused = error
        if link is None or session.link is not link or self._book.of(session.address) is not session:
            return  # revoked, or a newer connection has taken over, while the token was looked at
        if found is not None:
            self._take_newer_token(session, id, *found)
        elif refused.code == "server.unavailable":
            session.refuse(id, refused.code, refused.message, retryable=True)
        elif session.busy:  # a running video is not cut because of a token
            session.refuse(id, refused.code, refused.message)
        else:
            link.close(CloseCode.AUTHENTICATION, refused.message, error=refused.code, reply_to=id)

    async def _newer_token(self, token: str, address: DeviceAddress) -> tuple[Claims, Actor]:
        claims = await self._verifier.verify(token)
        actor = claims.actor(address.device)
        if (actor.org, actor.role, actor.sub) != address[:3]:
            raise TokenError("auth.device_mismatch", "the token is for somebody else")
        return claims, actor

    def _take_newer_token(self, session: SignalingSession, id: str, claims: Claims, actor: Actor) -> None:
        session.actor = actor
        self._remember_claims(session, claims, trio.current_time())
        if self.calls is not None:
            self.calls.actor_changed(actor)
        session.reply(id, {"exp_at": round(claims.exp * 1000)})

    def _remember_claims(self, session: SignalingSession, claims: Claims, now: float) -> None:
        self._claims[session] = claims
        remaining_s = self._verifier.remaining_s(claims)
        session.set_expiry(exp_s=claims.exp, remaining_s=remaining_s, skew_s=CLOCK_SKEW_S, now=now)
        if session.link is not None:
            session.link.on_reschedule()

    def revoke(self, revoked: Callable[[Claims], bool]) -> int:
        """Close the connections whose token is not valid any more, with 4403; the revocation port refuses new ones.

        Args:
            revoked: tells by the claims.

        Returns:
            How many sessions were ended.
        """
        ended = [session for session, claims in self._claims.items() if revoked(claims)]
        for session in ended:
            self._claims.pop(session, None)
            if session.link is not None:
                session.link.close(CloseCode.AUTHENTICATION, "the token was revoked", error="auth.invalid")
            if self._book.remove(session) and self.calls is not None:
                self.calls.device_revoked(session.address)
        return len(ended)

    # --- ClientPort

    def notify(self, address: DeviceAddress, notification: Notification) -> None:
        """Queue an event for a device; it is dropped if the device has no session."""
        session = self._book.of(address)
        if session is None:
            return
        self.counters.events += 1
        if self._told[0] is not notification:  # the same is often told to several devices in a row
            self._told = notification, encode_payload(notification)
        t = notification.wire_type
        call = getattr(notification, "session", None) if t in _ABOUT_CALLS else None
        if call is not None and t in _BEGINNING and not getattr(notification, "in_other_tab", None):
            session.set_busy(call, True, trio.current_time())
        session.push_event(t, self._told[1], key=getattr(notification, "coalesce_key", None))
        if call is not None and t in _FINISHING:
            session.set_busy(call, False, trio.current_time())

    def remove(self, address: DeviceAddress) -> None:
        """Close a revoked device's connection with 4403; it does not come back with what it has."""
        session = self._book.of(address)
        if session is not None:
            self._claims.pop(session, None)
            self._book.remove(session)
            if session.link is not None:
                session.link.close(CloseCode.AUTHENTICATION, "the device was revoked", error="auth.invalid")

    def drain(self, until: float) -> None:
        """Nothing waits here: commands are handed over as soon as they are read."""

    # --- going away

    async def announce_draining(self, deadline_ms: int, reconnect: str | None = None) -> None:
        """Tell every device that this node goes away, and take none but those that come back to a running call.

        Thousands are told a few at a time, because their calls go on.

        Args:
            deadline_ms: how long running calls may still last.
            reconnect: where to go instead.
        """
        self._draining = True
        payload: dict[str, object] = {"deadline_ms": deadline_ms}
        if reconnect is not None:
            payload["reconnect"] = reconnect
        for turn, session in enumerate(self._book, 1):
            session.push_event("server.draining", payload)
            if turn % _AT_ONCE == 0:
                await trio.lowlevel.checkpoint()

    def close_all(self) -> None:
        """Close every connection with 1012 once what is queued for it is written."""
        self._draining = True
        for session in self._book:
            if session.link is not None:
                session.link.close(CloseCode.RESTART, "the server goes away", error=None)

    def health(self) -> Mapping[str, object]:
        """The counters, and how many sessions there are."""
        counters = {field.name: getattr(self.counters, field.name) for field in fields(self.counters)}
        store = {} if self.keeper is None else {"store": self.keeper.health()}
        return {"draining": self._draining, "sessions": len(self._book), **counters, **store}


class _Greeter:
    """The server as one connection sees it: it remembers where the connection's page came from."""

    def __init__(self, server: SignalServer, foreign_origin: str | None) -> None:
        self._server = server
        self._foreign_origin = foreign_origin
        self.execute = server.execute
        self.refresh = server.refresh
        self.parted = server.parted
        self.settle = server.settle

    @property
    def settled(self) -> bool:
        """Whether what has happened by now may be told."""
        return self._server.settled

    async def greet(self, hello: Hello, link: Link) -> SignalingSession:
        """Pass the hello on."""
        return await self._server.greet(hello, link, self._foreign_origin)


_BEGINNING = frozenset({"ring.offer", "call.state", "call.active"})
_FINISHING = frozenset({"ring.ended", "call.ended", "handoff.moved"})
_ABOUT_CALLS = _BEGINNING | _FINISHING
_ENTERING = frozenset({"call.request", "call.accept", "handoff.request", "invitation.join", "invitation.accept"})


@asynccontextmanager
async def open_signal_server(server: SignalServer) -> AsyncGenerator[SignalServer]:
    """Run a signaling server's own tasks until the block is left."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.run_clock)
        nursery.start_soon(server.run_expiry)
        nursery.start_soon(server.run_writes)
        try:
            yield server
        finally:
            nursery.cancel_scope.cancel()
