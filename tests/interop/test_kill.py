# ruff: noqa: N802 - test names carry the numbers of docs/calls.md as they are written there
"""A real server that is killed with -9 and started again, with real clients and real media; and one without a disk."""

from __future__ import annotations

import os
import resource
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from support.peers import see_and_hear
from support.real_calls import Party
from triortc.bench.kill_people import Server
from triortc.bench.kills import kill_often, open_lives
from triortc.errors import TriortcError
from triortc.signaling.client import ClientDevice, CommandError, SignalClient
from triortc.signaling.sqlite_store import SqliteStore

MEDIA = {"audio": True, "video": True}


class Device:
    """A device that outlives the server."""

    def __init__(self, server: Server, nursery: trio.Nursery, device: str, **claims: Any) -> None:
        self.signal = SignalClient(server.open_channel, "", ClientDevice(device), os.urandom)
        self.party = Party(self.signal, None, nursery)  # type: ignore[arg-type]  # for its legs; it asks no house
        self._server, self._nursery, self._claims = server, nursery, claims

    async def connect(self) -> None:
        if self.signal.welcome:
            await self.signal.ended()
            self.party.close_legs()
        self.signal.token = await self._server.token(did=self.signal.device.id, **self._claims)
        await self.signal.connect(self._nursery)


@asynccontextmanager
async def devices(server: Server) -> AsyncGenerator[tuple[Device, Device]]:
    """An agent who is available, and a visitor."""
    async with trio.open_nursery() as nursery:
        agent = Device(server, nursery, "desk", role="agent", sub="ana")
        visitor = Device(server, nursery, "tab", role="visitor", sub="lea", cv=["cv_1"])
        for device in (agent, visitor):
            await device.connect()
        for channel in ("chat", "video"):
            await agent.signal.command("presence.set", channel=channel, declared="available")
        yield agent, visitor
        nursery.cancel_scope.cancel()


async def health(server: Server) -> dict[str, Any]:
    async with httpx.AsyncClient(verify=False) as http:
        found: dict[str, Any] = (await http.get(f"{server.url}/health")).json()
        return found


async def test_V46_V47_I22_kill_9_under_load_loses_nothing_that_was_acknowledged() -> None:
    """The bench of 200 kills (`triortc bench kills`), a few times."""
    with trio.fail_after(90):
        figures = await kill_often(3, 1.2, visitors=8, settle=False)
    assert figures["faults"] == []
    assert figures["acknowledged"] > 50


async def test_V47_a_call_with_media_goes_on_after_kill_9(tmp_path: Path) -> None:
    server = Server()
    with trio.fail_after(90):
        async with open_lives(tmp_path / "state") as lives:
            server.began(await lives.start())
            async with devices(server) as (agent, visitor):
                asked = await visitor.signal.command("call.request", conversation="cv_1", media=MEDIA)
                session = asked["session"]
                await visitor.party.leg(asked["leg"])
                await agent.signal.event("ring.offer")
                accepted = await agent.signal.command("call.accept", session=session)
                await agent.party.leg(accepted["leg"])
                for device in (agent, visitor):
                    await device.signal.event("call.active")
                await lives.kill()
                server.began(await lives.start())
                sides = []
                for device in (agent, visitor):
                    await device.connect()
                    assert device.signal.welcome["resumed"] is False
                    (view,) = device.signal.snapshot["sessions"]
                    assert (view["session"], view["state"]) == (session, "reconnecting")
                    peer = await device.signal.event("call.peer", session=session)
                    assert (peer.p["what"], peer.p["renegotiate"]) == ("reconnecting", True)
                    sides.append(await device.party.leg(view["leg"], neg=2))
                for device in (agent, visitor):
                    await device.signal.event("call.peer", session=session, what="resumed")
                await see_and_hear(*sides)
                ended = await visitor.signal.command("call.hangup", session=session)
                assert (ended["outcome"], ended["reason"]) == ("completed", "visitor_hangup")
                (record,) = (await agent.signal.command("history.get", session=session))["items"]
                assert record["outcome"] == "completed"
                assert record["talk_ms"] > 0
            await lives.stop()


async def test_V46_a_ring_has_the_same_deadline_after_kill_9_and_is_answered(tmp_path: Path) -> None:
    server = Server()
    with trio.fail_after(90):
        async with open_lives(tmp_path / "state") as lives:
            server.began(await lives.start())
            async with devices(server) as (agent, visitor):
                await visitor.signal.command("call.request", conversation="cv_1", media=MEDIA)
                offer = await agent.signal.event("ring.offer")
                await lives.kill()
                server.began(await lives.start())
                for device in (agent, visitor):
                    await device.connect()
                (ring,) = agent.signal.snapshot["rings"]
                assert ring["ring"] == offer.p["ring"]
                assert abs(ring["expires_at"] - offer.p["expires_at"]) <= 2
                assert ring["ttl_ms"] < offer.p["ttl_ms"]
                await agent.signal.command("call.accept", session=ring["session"])
                ended = await visitor.signal.command("call.hangup", session=ring["session"])
                assert ended["outcome"] == "completed"
                status = (await agent.signal.command("presence.get"))["items"]
                assert not {"ringing", "in_video"} & {reason for item in status for reason in item["reasons"]}
            await lives.stop()


async def say(visitor: Device, text: str) -> dict[str, Any]:
    """Send a message, as soon as the server's limit lets it."""
    while True:
        try:
            return await visitor.signal.command("conversation.message.send", conversation="cv_1", text=text)
        except CommandError as refused:
            if refused.code != "rate.limited":
                raise
            await trio.sleep((refused.retry_after_ms or 0) / 1000)


@pytest.mark.parametrize("trouble", ["full disk", "locked"])
async def test_a_call_goes_on_while_the_database_cannot_be_written_and_survives_kill_9(
    tmp_path: Path, trouble: str
) -> None:
    """A limit on the size of files fills the disk for the database only: the journal has its full size already."""
    server = Server()
    directory = tmp_path / "state"
    with trio.fail_after(90):
        async with open_lives(directory, "--journal-mib", "1") as lives:
            server.began(await lives.start())
            async with devices(server) as (agent, visitor):
                asked = await visitor.signal.command("call.request", conversation="cv_1", media=MEDIA)
                other = sqlite3.connect(directory / "state.db", isolation_level=None)
                if trouble == "locked":
                    other.execute("BEGIN IMMEDIATE")
                else:
                    resource.prlimit(lives.pid, resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
                # What is written from here on is in the journal only.
                await agent.signal.command("call.accept", session=asked["session"])
                while (found := await health(server))["store"]["state"] != "behind":
                    await say(visitor, "hello? " * 99)
                assert found["store"]["message"]
                assert found["store"]["unsaved"] == 0
                ended = await agent.signal.command("call.hangup", session=asked["session"])
                assert ended["reason"] == "agent_hangup"
                sent = await say(visitor, "thank you")
                await lives.kill()
                other.close()
            assert "the database cannot be written" in lives.said
        store = SqliteStore(directory)
        async with store.open():
            (record,) = await store.rows("history")
            assert record.record.reason == "agent_hangup"
            assert sent["message"] in {row.message.message for row in await store.rows("messages")}


async def test_with_synchronous_full_replies_wait_for_the_disk_and_come(tmp_path: Path) -> None:
    server = Server()
    with trio.fail_after(90):
        async with open_lives(tmp_path / "state", "--synchronous", "full") as lives:
            server.began(await lives.start())
            async with devices(server) as (agent, visitor):
                asked = await visitor.signal.command("call.request", conversation="cv_1", media=MEDIA)
                await agent.signal.event("ring.offer")
                await agent.signal.command("call.decline", session=asked["session"])
            await lives.stop()


async def test_a_directory_that_cannot_be_used_ends_the_server_in_words(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    async with open_lives(tmp_path / "state") as lives:
        with pytest.raises(TriortcError, match="cannot be made"):
            await lives.start()
