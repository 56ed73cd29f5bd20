"""What every store of call control keeps to, whether it is memory or a directory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from support.calls import agent_actor, information
from triortc.engine.calls.actor import DeviceAddress, Principal, PushEndpoint
from triortc.engine.calls.conversation_table import Conversation
from triortc.engine.calls.history_records import SessionRecord
from triortc.engine.calls.memory_store import MemoryStore
from triortc.engine.calls.notifications import ConversationMessage
from triortc.engine.calls.session import LogRecord, Session
from triortc.engine.calls.store import (
    AgentRow,
    ConversationRow,
    DeviceRow,
    EventRow,
    HistoryRow,
    MessageRow,
    ReplyRow,
    SessionRow,
    StateStore,
    Stored,
    TimerRow,
    delete,
    put,
)
from triortc.engine.calls.world import Agent, Device
from triortc.signaling.sqlite_store import SqliteStore

DESK = DeviceAddress("org", "agent", "ana", "desk")


def conversation(name: str, state: str = "open", created_at: float = 1.0) -> ConversationRow:
    made = Conversation(name, "org", "vic", "default", created_at, 1000, state=state)
    made.unread_by_agent.extend(["m_1", "m_2"])
    return ConversationRow(5000, made)


def message(number: int, text: str = "hello") -> MessageRow:
    return MessageRow("org", ConversationMessage("cv_1", f"m_{number:03}", "visitor", True, 1000 + number, text))


def record(session: str, outcome: str = "completed", ended_at: int = 2000) -> HistoryRow:
    ended = SessionRecord(
        session, "cv_1", "org", "routed", "ana", "vic", outcome, "agent_hangup", "agent", 1, 2, 3, 4, ended_at, 5
    )
    return HistoryRow(ended)


def session(name: str) -> SessionRow:
    made = Session(name, "org", "cv_1", "vic", "routed", "default", 1.25, phase="ringing", timers={"T_ring": 31.25})
    return SessionRow(5000, made, ring="rg_1", told=(DESK,))


def event(name: str, n: int) -> EventRow:
    return EventRow(5000, name, LogRecord(n, 1.0, "V1", "new", "call.request", "ringing", "vic", 1, {"epoch": n}))


def device() -> DeviceRow:
    push = (PushEndpoint("webpush", endpoint="https://push.example/1", p256dh="k", auth="a"),)
    known = information("desk")
    return DeviceRow(
        5000, Device(DESK, agent_actor("ana", "desk"), type(known)("desk", "desktop", push=push), connected_at=3.0)
    )


AGENT = AgentRow(
    5000,
    Agent(
        Principal("org", "agent", "ana"),
        frozenset({"default"}),
        frozenset({"handoff"}),
        "Ana",
        chats={("org", "cv_1")},
        occupied={"call": {"c_1"}, "third_party": set()},
        idle_since=2.0,
    ),
    7,
)
REPLY = ReplyRow(DESK, "c1", b"digest", b'{"t":"ok"}', 1000)
TIMER = TimerRow(5000, ("T_close_reminder", "org", "cv/1"), 61.0)


class Kept:
    """A store that can be closed and opened again."""

    def __init__(self, make: Callable[[], StateStore]) -> None:
        self.make = make

    @asynccontextmanager
    async def open(self) -> AsyncIterator[StateStore]:
        store = self.make()
        async with store.open():
            yield store

    async def load(self) -> Stored:
        async with self.open() as store:
            return await store.load()


@pytest.fixture(params=["memory", "sqlite"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Kept:
    if request.param == "memory":
        store = MemoryStore(durable=True)
        return Kept(lambda: store)
    return Kept(lambda: SqliteStore(tmp_path / "state"))


async def test_an_empty_store_has_nothing_and_takes_everything(kept: Kept) -> None:
    async with kept.open() as store:
        stored = await store.load()
        assert (stored.sessions, stored.conversations, stored.history) == ([], [], [])
        assert store.accepts
        assert store.settled
        assert store.health().state == "ok"


async def test_every_entity_comes_back_as_it_was_written(kept: Kept) -> None:
    rows: dict[str, Any] = {
        "conversations": conversation("cv_1"),
        "agents": AGENT,
        "devices": device(),
        "sessions": session("vs_1"),
        "events": event("vs_1", 0),
        "history": record("vs_0"),
        "replies": REPLY,
        "timers": TIMER,
    }
    async with kept.open() as store:
        store.write([put(name, row) for name, row in rows.items()])
    stored = await kept.load()
    for name, row in rows.items():
        assert getattr(stored, name) == [row], name


async def test_the_last_row_of_a_key_counts_and_a_deleted_one_is_gone(kept: Kept) -> None:
    async with kept.open() as store:
        store.write([put("conversations", conversation("cv_1")), put("sessions", session("vs_1"))])
        store.write([put("conversations", conversation("cv_1", "snoozed")), delete("sessions", ("vs_1",))])
    stored = await kept.load()
    assert [row.conversation.state for row in stored.conversations] == ["snoozed"]
    assert stored.sessions == []


async def test_what_is_written_once_keeps_its_first_row(kept: Kept) -> None:
    """History and messages are counted once, however often a crash makes somebody try."""
    async with kept.open() as store:
        store.write([put("history", record("vs_1")), put("messages", message(1))])
        store.write([put("history", record("vs_1", "failed")), put("messages", message(1, "another"))])
    async with kept.open() as store:
        store.write([put("history", record("vs_1", "failed"))])
    async with kept.open() as store:
        assert await store.rows("history") == [record("vs_1")]
        assert await store.rows("messages", "org", "cv_1") == [message(1)]


async def test_rows_are_found_by_the_beginning_of_their_key_in_its_order(kept: Kept) -> None:
    async with kept.open() as store:
        store.write([put("messages", message(number)) for number in (3, 1, 2)])
        store.write([put("messages", MessageRow("other", message(9).message))])
        assert await store.rows("messages", "org", "cv_1") == [message(1), message(2), message(3)]
        assert await store.rows("messages", "org", "cv_1", newest=2) == [message(2), message(3)]
        assert await store.rows("messages", "org", "cv_2") == []
    async with kept.open() as store:
        assert await store.rows("messages", "org", newest=1) == [message(3)]


async def test_the_events_of_sessions_come_in_their_order(kept: Kept) -> None:
    async with kept.open() as store:
        store.write([put("sessions", session("vs_1"))])
        for n in (0, 1, 2, 10, 11):
            store.write([put("events", event("vs_1", n))])
    assert [row.record.n for row in (await kept.load()).events] == [0, 1, 2, 10, 11]


async def test_history_comes_back_oldest_first(kept: Kept) -> None:
    async with kept.open() as store:
        for at, name in enumerate(("vs_c", "vs_a", "vs_b")):
            store.write([put("history", record(name, ended_at=at))])
    assert [row.record.session for row in (await kept.load()).history] == ["vs_c", "vs_a", "vs_b"]
