"""Agents and visitors who use a server that is killed again and again, and write down what they are told."""

from __future__ import annotations

import json
import os
import random
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import trio

from triortc.bench.kill_ledger import Ledger, Promises
from triortc.engine.calls.presence import Channel
from triortc.engine.endpoint_configuration import EndpointConfiguration
from triortc.engine.peer.configuration import PeerConfiguration
from triortc.engine.peer.connection import open_peer_connection
from triortc.engine.peer.description import RtcSessionDescription
from triortc.errors import ConnectionClosedError, TriortcError
from triortc.signaling.channel import MessageChannel
from triortc.signaling.client import ClientDevice, CommandError, SignalClient, connect_websocket
from triortc.signaling.wire import Message

__all__ = ["PEER", "Agent", "Device", "Server", "Visitor", "keep_visiting"]

PEER: Final = PeerConfiguration(endpoint=EndpointConfiguration(media_host=("127.0.0.1",)))


class Server:
    """Where the server is by now; it moves with every life."""

    def __init__(self) -> None:
        self.url = ""
        self.up = trio.Event()

    def began(self, url: str) -> None:
        self.url = url
        self.up.set()

    def died(self) -> None:
        self.up = trio.Event()

    def open_channel(self) -> AbstractAsyncContextManager[MessageChannel]:
        return connect_websocket(self.url.replace("http", "ws", 1) + "/v1/signal")

    async def token(self, **claims: Any) -> str:
        """A development token of the present life.

        Raises:
            OSError: it is over.
        """
        body = json.dumps(claims).encode()
        host, port = urlsplit(self.url).hostname or "", urlsplit(self.url).port or 80
        head = f"POST /dev/token HTTP/1.1\r\nhost: {host}:{port}\r\ncontent-type: application/json\r\n"
        async with await trio.open_tcp_stream(host, port) as stream:
            await stream.send_all(f"{head}content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode() + body)
            answer = b"".join([data async for data in stream])
        status, _, content = answer.partition(b"\r\n\r\n")
        if not status.startswith(b"HTTP/1.1 200"):
            raise ConnectionError(f"no token: {status[:60]!r}")
        token: str = json.loads(content)["token"]
        return token


class Device:
    """A device that comes back whenever the server does, and sends again what had no reply."""

    def __init__(self, server: Server, ledger: Ledger, nursery: trio.Nursery, chance: random.Random) -> None:
        self._server = server
        self._ledger = ledger
        self._nursery = nursery
        self._chance = chance
        self.client: SignalClient
        self._legs: dict[str, trio.CancelScope] = {}
        self._negs: dict[str, int] = {}

    async def arrive(self, device: ClientDevice, claims: dict[str, Any]) -> None:
        """Connect, and stay."""
        self.client = SignalClient(self._server.open_channel, "", device, os.urandom)
        await self._connect(claims)
        self._nursery.start_soon(self._come_back, claims)

    async def _connect(self, claims: dict[str, Any]) -> None:
        while True:
            await self._server.up.wait()
            try:
                self.client.token = await self._server.token(did=self.client.device.id, **claims)
                await self.client.connect(self._nursery)
            except (TriortcError, OSError, trio.BrokenResourceError):
                await trio.sleep(0.05)  # it died again
            else:
                if claims["role"] == "agent":
                    self._ledger.welcomed.add(claims["sub"])
                return

    async def _come_back(self, claims: dict[str, Any]) -> None:
        while True:
            await self.client.ended()
            self.drop_legs()
            await self._connect(claims)

    async def _ok(self, t: str, /, **payload: Any) -> dict[str, Any] | None:
        """Send a command; None: it was refused. A life may end in between, and another one answers."""
        try:
            reply = await self.client.command(t, **payload)
        except CommandError:
            return None
        self._ledger.acknowledged += 1
        return reply

    # --- media

    async def warm(self, leg: str) -> None:
        """Bring a leg up, and wait until it is."""
        await self._nursery.start(self._negotiate, leg)

    async def _negotiate(self, leg: str, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Bring a leg up, with a transport of its own; a former one of the same leg goes."""
        neg = self._negs[leg] = self._negs.get(leg, 0) + 1
        former = self._legs.pop(leg, None)
        if former is not None:
            former.cancel()
        with trio.CancelScope() as scope:
            self._legs[leg] = scope
            async with open_peer_connection(PEER) as connection:
                connection.add_transceiver("audio")
                connection.add_transceiver("video")
                connection.set_local_description(connection.create_offer())
                assert connection.local_description is not None
                reply = await self._ok("sdp.offer", leg=leg, neg=neg, sdp=connection.local_description.sdp)
                if reply is not None:
                    connection.set_remote_description(RtcSessionDescription("answer", reply["answer"]))
                    try:
                        await connection.connected()
                    except ConnectionClosedError:
                        return  # the call was over before its leg was up
                    task_status.started()
                    await trio.sleep_forever()

    def drop_legs(self) -> None:
        """End the transports from this side."""
        for scope in self._legs.values():
            scope.cancel()
        self._legs.clear()

    def _renegotiate(self, event: Message) -> None:
        """V47: the process that had the transport is dead."""
        views = [view for view in self.client.snapshot.get("sessions", ()) if view["session"] == event.p["session"]]
        for view in views:
            if view.get("leg"):
                self._nursery.start_soon(self._negotiate, view["leg"])

    def _start(self, leg: str | None) -> None:
        if leg is not None:
            self._nursery.start_soon(self._negotiate, leg)


class Visitor(Device):
    """One visit: ask for a call and wait, or chat and be invited; then leave."""

    async def run(self, number: str) -> None:
        self.conversation = f"cv_{number}"
        device = ClientDevice(f"tab_{number}", "web")
        await self.arrive(device, {"role": "visitor", "sub": f"v_{number}", "cv": [self.conversation]})
        if self._chance.random() < 0.8:
            await self._call()
        else:
            await self._chat()
        self.drop_legs()
        await self.client.leave()

    async def _write(self, count: int) -> None:
        for _ in range(count):
            text = f"{self.conversation} {self._chance.getrandbits(48):012x}"
            reply = await self._ok("conversation.message.send", conversation=self.conversation, text=text)
            if reply is not None:
                self._ledger.messages[self.conversation, reply["message"]] = text

    async def _call(self) -> None:
        media = {"audio": True, "video": True}
        reply = await self._ok("call.request", conversation=self.conversation, media=media)
        if reply is None:
            return
        session = reply["session"]
        self._ledger.sessions[session] = self.conversation
        if reply["state"] == "ended":
            return
        with_media = self._chance.random() < 0.4
        if with_media:
            self._start(reply["leg"])
        patience_s = self._chance.choice([0.1, 0.4, 1.5, 5.0, 60.0])
        with trio.move_on_after(patience_s) as impatient:
            await self._follow(session, with_media)
        if impatient.cancelled_caught:
            ended = await self._ok("call.hangup", session=session)
            if ended is not None and not ended.get("already_ended"):
                self._ledger.ended[session] = ended["outcome"], ended["reason"]
        await self._write(1)

    async def _follow(self, session: str, with_media: bool) -> None:
        """Until the call is over; after a restart the snapshot tells whether it is."""
        while True:
            with trio.move_on_after(1.0):
                event = await self.client.event()
                if event.t == "call.ended" and event.p["session"] == session:
                    return
                if event.t == "call.peer" and event.p.get("renegotiate") and with_media:
                    self._renegotiate(event)

    async def _chat(self) -> None:
        await self._write(self._chance.randint(1, 3))
        with trio.move_on_after(self._chance.uniform(0.5, 4.0)):
            while True:
                event = await self.client.event("invitation.changed")
                if event.p["state"] in ("pending", "agent_joined"):
                    answer = self._chance.choice(["invitation.accept", "invitation.accept", "invitation.decline"])
                    reply = await self._ok(answer, invitation=event.p["invitation"])
                    if reply is not None and reply.get("session"):
                        self._ledger.sessions[reply["session"]] = self.conversation
                        self._start(reply["leg"])
        await self._write(1)


class Agent(Device):
    """One device of an agent: answers some rings, ends calls, tags and closes, invites, changes what it declares."""

    async def run(self, sub: str, device: str) -> None:
        self._sub = sub
        self._name = f"{sub}/{device}"
        self._conversations: dict[str, None] = {}
        claims = {"role": "agent", "sub": sub}
        await self.arrive(ClientDevice(device, "desktop" if device == "desk" else "ios"), claims)
        if device == "desk":
            await self._declare("chat", "available")
            await self._declare("video", "available")
            self._nursery.start_soon(self._work)
        while True:
            await self._take(await self.client.event())

    async def _take(self, event: Message) -> None:
        mine = event.t == "conversation.changed" and (event.p["assignee"], event.p["state"]) == (self._sub, "open")
        if event.t == "ring.offer":
            self._nursery.start_soon(self._ring, event.p["ring"], event.p["session"])
        elif mine or (event.t == "conversation.message" and event.p["from"] == "visitor"):
            self._conversations[event.p["conversation"]] = None
        elif event.t == "call.peer" and event.p.get("renegotiate"):
            self._renegotiate(event)

    async def _ring(self, ring: str, session: str) -> None:
        await self._ok("ring.ack", ring=ring)
        await trio.sleep(self._chance.uniform(0.0, 0.6))
        choice = self._chance.random()
        if choice < 0.25:
            return  # nobody is at this device
        if choice < 0.35:
            await self._ok("call.decline", session=session)
            return
        reply = await self._ok("call.accept", session=session)
        if reply is None:
            return
        self._ledger.answered[session] = self._name
        if self._chance.random() < 0.7:
            self._start(reply["leg"])
        await self._talk(session)

    async def _talk(self, session: str) -> None:
        for n in range(self._chance.randint(0, 4)):
            await trio.sleep(self._chance.uniform(0.05, 0.8))
            await self._ok("media.set", session=session, n=n + 1, camera=bool(n % 2), mic=True)
        await trio.sleep(self._chance.choice([0.0, 0.3, 2.0, 4.0]))
        ended = await self._ok("call.hangup", session=session)
        if ended is not None and not ended.get("already_ended"):
            self._ledger.ended[session] = ended["outcome"], ended["reason"]

    async def _declare(self, channel: Channel, declared: str) -> None:
        promises = self._ledger.declared.setdefault((self._sub, channel), Promises("unavailable"))
        promises.ask(declared)
        if await self._ok("presence.set", channel=channel, declared=declared) is not None:
            promises.keep(declared)

    async def _work(self) -> None:
        """What a desk does besides: invite, tag, close, and now and then say that a channel is off and on again."""
        while True:
            await trio.sleep(self._chance.uniform(0.01, 0.1))
            if self._conversations and self._chance.random() < 0.7:
                await self._handle(self._chance.choice(list(self._conversations)))
            elif self._chance.random() < 0.1:
                await self._declare("call", self._chance.choice(["available", "unavailable"]))

    async def _handle(self, conversation: str) -> None:
        choice = self._chance.random()
        if choice < 0.2:
            sent = await self._ok("invitation.send", conversation=conversation)
            if sent is not None:
                self._ledger.invitations[sent["invitation"]] = conversation
                if self._chance.random() < 0.6:
                    joined = await self._ok("invitation.join", invitation=sent["invitation"])
                    if joined is not None:
                        self._start(joined.get("leg"))
        elif choice < 0.7:
            tags = (f"t{self._chance.randrange(1000)}",)
            promises = self._ledger.tags.setdefault(conversation, Promises(()))
            promises.ask(tags)
            if await self._ok("conversation.tag", conversation=conversation, tags=list(tags)) is not None:
                promises.keep(tags)
        else:
            ended = self._chance.random() < 0.3
            if await self._ok("conversation.close", conversation=conversation, end_video=ended) is not None:
                self._ledger.closed.add(conversation)
                self._conversations.pop(conversation, None)


@asynccontextmanager
async def keep_visiting(server: Server, ledger: Ledger, chance: random.Random, at_a_time: int) -> AsyncGenerator[None]:
    """So many visitors at a time, one after the other, until the block is left."""

    async def visit(slot: int) -> None:
        number = 0
        while True:
            number += 1
            async with trio.open_nursery() as nursery:
                visitor = Visitor(server, ledger, nursery, chance)
                await visitor.run(f"{slot}_{number}")
                nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for slot in range(at_a_time):
            nursery.start_soon(visit, slot)
        try:
            yield
        finally:
            nursery.cancel_scope.cancel()
