"""Agents and visitors who call each other for hours, with made-up media, and count what does not go as it should."""

from __future__ import annotations

import os
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

import trio

from triortc.bench.kill_people import PEER, Server
from triortc.codecs.frames import EncodedFrame
from triortc.engine.peer.connection import PeerConnection, open_peer_connection
from triortc.engine.peer.description import RtcSessionDescription
from triortc.errors import TriortcError
from triortc.signaling.client import ClientDevice, CommandError, SignalClient
from triortc.signaling.wire import Message

__all__ = ["Pace", "answer_calls", "call_often"]

#: Nobody waits longer than the rules of calls allow: connecting 15 s, a leg's return 30 s, and some for a busy machine.
_PATIENCE_S: Final = 60.0
#: Who gets no picture for so long, and ran all the time, has lost the other side.
_SILENCE_S: Final = 5.0
#: How often one looks whether this process runs at all.
_LOOK_S: Final = 0.2
_KEYFRAME: Final = b"\x10\x00\x00\x9d\x01\x2a\x80\x02\xe0\x01" + bytes(900)
_PICTURE: Final = b"\x11\x00\x00" + bytes(900)
_SOUND: Final = b"\xfc" + bytes(60)


@dataclass(slots=True)
class Pace:
    """What people do, and what they have counted.

    Attributes:
        chance: their whims.
        talk_s: the shortest and the longest call.
        frames_per_s: pictures, and as many pieces of sound, that each side sends.
        counts: calls by how they ended, renegotiations, and what went wrong.
        wrong: in words, the first of them.
        starved: when this process itself did not run, and for how long, in seconds: it can blame nobody for that time.
    """

    chance: random.Random
    talk_s: tuple[float, float] = (4.0, 30.0)
    frames_per_s: float = 15.0
    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    starved: list[tuple[float, float]] = field(default_factory=list)

    def starved_s(self, since: float) -> float:
        """How much of the time since then this process did not run."""
        return sum(late_s for at, late_s in self.starved if at >= since)

    async def watch_clock(self) -> None:
        """Note when a short sleep takes long, which it does on a machine that has no time; runs until cancelled."""
        while True:
            due = trio.current_time() + _LOOK_S
            await trio.sleep_until(due)
            late_s = trio.current_time() - due
            if late_s > _LOOK_S:
                self.starved.append((trio.current_time(), late_s))

    def complain(self, what: str, words: str) -> None:
        """Count something that must not happen."""
        self.counts[what] += 1
        if len(self.wrong) < 50:
            self.wrong.append(f"{what}: {words}")


class _Device:
    """One device: its signaling, and its legs by session."""

    def __init__(self, client: SignalClient, nursery: trio.Nursery, pace: Pace) -> None:
        self.client = client
        self.pace = pace
        self._nursery = nursery
        self._legs: dict[str, tuple[str, trio.CancelScope]] = {}
        self._negs: Counter[str] = Counter()
        #: When the last picture came, by session.
        self.seen_at: dict[str, float] = {}

    def bring_up(self, session: str, leg: str) -> None:
        """Make a connection for a leg; a former one of the same session goes."""
        self.drop(session)
        scope = trio.CancelScope()
        self._legs[session] = leg, scope
        self._nursery.start_soon(self._run_leg, session, leg, scope)

    def renew(self, session: str) -> None:
        """V47: the process that had the leg is gone."""
        leg = self._legs.get(session)
        if leg is not None:
            self.pace.counts["renegotiations"] += 1
            self.bring_up(session, leg[0])

    def drop(self, session: str) -> None:
        """End the session's connection."""
        _, scope = self._legs.pop(session, ("", None))
        if scope is not None:
            scope.cancel()

    async def _run_leg(self, session: str, leg: str, scope: trio.CancelScope) -> None:
        with scope:
            async with open_peer_connection(PEER) as connection:
                connection.add_transceiver("audio")
                connection.add_transceiver("video")
                connection.set_local_description(connection.create_offer())
                if not await self._negotiate(leg, connection):
                    return
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._watch, session, connection)
                    await self._send(connection)

    async def _negotiate(self, leg: str, connection: PeerConnection) -> bool:
        """Offer until there is an answer; a worker that has just died answers nothing, the next one does."""
        assert connection.local_description is not None
        for attempt in range(20):
            self._negs[leg] += 1
            try:
                reply = await self.client.command(
                    "sdp.offer", leg=leg, neg=self._negs[leg], sdp=connection.local_description.sdp
                )
            except CommandError as error:
                if error.code != "server.internal":
                    self.pace.counts[f"offer {error.code}"] += 1  # the call is over
                    return False
                self.pace.counts["offers again"] += 1
                await trio.sleep(0.3 * (attempt + 1))
            else:
                connection.set_remote_description(RtcSessionDescription("answer", reply["answer"]))
                return True
        self.pace.complain("offers without an answer", leg)
        return False

    async def _watch(self, session: str, connection: PeerConnection) -> None:
        video = connection.transceiver("video")
        assert video is not None
        async for _ in video.receiver.frames():
            self.seen_at[session] = trio.current_time()

    async def _send(self, connection: PeerConnection) -> None:
        audio, video = connection.transceiver("audio"), connection.transceiver("video")
        assert audio is not None
        assert video is not None
        await connection.connected()
        number = 0
        step = round(90_000 / self.pace.frames_per_s)
        while True:
            key = number == 0 or video.sender.take_keyframe_request()
            video.sender.send_frame(EncodedFrame(_KEYFRAME if key else _PICTURE, number * step, step, key))
            audio.sender.send_frame(EncodedFrame(_SOUND, number * step * 48 // 90, 960))
            number += 1
            await trio.sleep(1 / self.pace.frames_per_s)


async def _connect(server: Server, device: ClientDevice, nursery: trio.Nursery, **claims: Any) -> SignalClient:
    client = SignalClient(server.open_channel, await server.token(did=device.id, **claims), device, os.urandom)
    await client.connect(nursery)
    return client


async def _until_lost(client: SignalClient, pace: Pace, life: trio.CancelScope) -> None:
    """A machine that is starved loses connections: whoever had one begins anew, as a page does."""
    await client.ended()
    code, _ = client.closed or (1006, "")
    pace.counts[f"connections lost, {code}"] += 1
    life.cancel()


async def answer_calls(server: Server, sub: str, pace: Pace) -> None:
    """An agent who is always there; runs until cancelled."""
    while True:
        try:
            await _be_there(server, sub, pace)
        except* (TriortcError, OSError, trio.BrokenResourceError) as errors:
            pace.complain("exceptions at an agent", repr(errors.exceptions[0]))
        await trio.sleep(1.0)


async def _be_there(server: Server, sub: str, pace: Pace) -> None:
    async with trio.open_nursery() as nursery:
        client = await _connect(server, ClientDevice("desk", "desktop"), nursery, role="agent", sub=sub)
        nursery.start_soon(_until_lost, client, pace, nursery.cancel_scope)
        for channel in ("chat", "video"):
            await client.command("presence.set", channel=channel, declared="available")
        device = _Device(client, nursery, pace)
        while True:
            event = await client.event()
            if event.t == "ring.offer":
                nursery.start_soon(_answer, device, event)
            elif event.t == "call.peer" and event.p.get("renegotiate"):
                device.renew(event.p["session"])
            elif event.t == "call.ended":
                device.drop(event.p["session"])
                device.seen_at.pop(event.p["session"], None)
                nursery.start_soon(_close, device, event.p["conversation"])


async def _answer(device: _Device, ring: Message) -> None:
    try:
        opened = await device.client.command("ring.opened", ring=ring.p["ring"])
        device.bring_up(ring.p["session"], opened["leg"])
        await trio.sleep(device.pace.chance.uniform(0.1, 1.0))
        await device.client.command("call.accept", session=ring.p["session"])
    except CommandError as error:
        device.pace.counts[f"accept {error.code}"] += 1  # the visitor was quicker
        device.drop(ring.p["session"])


async def _close(device: _Device, conversation: str) -> None:
    try:
        await device.client.command("conversation.close", conversation=conversation)
    except CommandError as error:
        device.pace.counts[f"close {error.code}"] += 1


async def call_often(server: Server, number: int, pace: Pace) -> None:
    """A visitor after the other, from one place; runs until cancelled."""
    visit = 0
    while True:
        visit += 1
        conversation = f"cv_{number}_{visit}"
        try:
            async with trio.open_nursery() as nursery:
                device = ClientDevice(f"tab_{number}_{visit}", "web")
                claims = {"role": "visitor", "sub": f"v_{number}_{visit}", "cv": [conversation]}
                client = await _connect(server, device, nursery, **claims)
                async with trio.open_nursery() as watching:
                    watching.start_soon(_until_lost, client, pace, nursery.cancel_scope)
                    await _visit(_Device(client, nursery, pace), conversation)
                    watching.cancel_scope.cancel()
                await client.leave()
                nursery.cancel_scope.cancel()
        except* (TriortcError, OSError, trio.BrokenResourceError) as errors:
            pace.complain("exceptions at a visitor", repr(errors.exceptions[0]))
        await trio.sleep(pace.chance.uniform(0.2, 2.0))


async def _visit(device: _Device, conversation: str) -> None:
    pace = device.pace
    media = {"audio": True, "video": True}
    asked = await device.client.command("call.request", conversation=conversation, media=media)
    session = asked["session"]
    if asked["state"] == "ended":
        pace.counts["nobody was free"] += 1
        return
    device.bring_up(session, asked["leg"])
    if not await _until_active(device, session):
        return
    pace.counts["calls that began"] += 1
    ended, troubled = await _talk(device, session, pace.chance.uniform(*pace.talk_s))
    if not ended:
        seen_at = device.seen_at.get(session, 0.0)
        silent_s = trio.current_time() - seen_at - pace.starved_s(seen_at)
        if silent_s > _SILENCE_S and not troubled:
            pace.complain("calls without pictures", f"{session}: none for {silent_s:.0f} s")
        reply = await device.client.command("call.hangup", session=session)
        pace.counts[f"ended {reply['outcome']}/{reply['reason']}"] += 1
    device.drop(session)


async def _until_active(device: _Device, session: str) -> bool:
    with trio.move_on_after(_PATIENCE_S):
        while True:
            event = await device.client.event()
            if event.p.get("session") != session:
                continue
            if event.t == "call.active":
                return True
            if event.t == "call.ended":
                device.pace.counts[f"before it began {event.p['outcome']}/{event.p['reason']}"] += 1
                return False
            if event.t == "call.peer" and event.p.get("renegotiate"):
                device.renew(session)
    device.pace.complain("stuck calls", f"{session} did not begin within {_PATIENCE_S:g} s")
    return False


async def _talk(device: _Device, session: str, talk_s: float) -> tuple[bool, bool]:
    """Talk, and go through what happens to the call; (it has ended, it was being mended just now)."""
    until = trio.current_time() + talk_s
    broken_since: float | None = None
    mended_at = 0.0
    while True:
        now = trio.current_time()
        if broken_since is None and now >= until:
            return False, now - mended_at < 5.0
        if broken_since is not None and now >= broken_since + _PATIENCE_S:
            device.pace.complain("stuck calls", f"{session} was not mended within {_PATIENCE_S:g} s")
            return False, True
        event: Message | None = None
        with trio.move_on_at(until if broken_since is None else broken_since + _PATIENCE_S):
            event = await device.client.event()
        if event is None or event.p.get("session") != session:
            continue
        if event.t == "call.ended":
            device.pace.counts[f"ended {event.p['outcome']}/{event.p['reason']}"] += 1
            return True, True
        if event.t == "call.peer" and event.p["what"] == "reconnecting":
            broken_since = broken_since or now
            if event.p.get("renegotiate"):
                device.renew(session)
        elif event.t == "call.peer" and event.p["what"] == "resumed":
            if broken_since is not None:
                device.pace.counts["calls mended"] += 1
            broken_since, mended_at = None, now
