"""State in a directory: crashes, damage, locks, no room, other versions, other processes."""

from __future__ import annotations

import errno
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from triortc.engine.calls.actor import DeviceAddress
from triortc.engine.calls.conversation_table import Conversation
from triortc.engine.calls.store import Change, ConversationRow, ReplyRow, TimerRow, put
from triortc.errors import ConfigurationError, StoreError
from triortc.signaling.journal import Journal, JournalFullError
from triortc.signaling.sqlite_store import SqliteStore, StoreConfiguration

SMALL = StoreConfiguration(journal_bytes=64 * 1024, commit_interval_ms=3_600_000, alive_interval_s=3600)
"""Nothing is sorted in but by `flush`."""


def row(name: str, group: str = "default") -> Change:
    return put("conversations", ConversationRow(0, Conversation(name, "org", "vic", group, 1.0, 1000)))


async def names(directory: Path) -> list[str]:
    store = SqliteStore(directory)
    async with store.open():
        return [found.conversation.id for found in await store.rows("conversations")]


def died(directory: Path) -> Path:
    """What another process finds if this one is killed now: the files as the kernel has them."""
    copy = directory.with_name(f"{directory.name}-after")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(directory, copy)
    return copy


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Somebody else writes to the database and does not come to an end."""
    other = sqlite3.connect(directory / "state.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


# --- crashes


async def test_what_was_written_survives_the_death_of_the_process_before_the_database_has_it(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "a", SMALL)
    async with store.open():
        store.write([row("cv_1")])
        store.write([row("cv_2"), row("cv_3")])
        copy = died(tmp_path / "a")
        with closing(sqlite3.connect(copy / "state.db")) as database:
            assert database.execute("SELECT count(*) FROM conversations").fetchone() == (0,)
        assert await names(copy) == ["cv_1", "cv_2", "cv_3"]


async def test_a_death_between_database_and_journal_applies_nothing_twice(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "a", SMALL)
    async with store.open():
        store.write([row("cv_1", "old")])
        assert await store.flush()
        store.write([row("cv_1", "new")])
        copy = died(tmp_path / "a")
        for _ in range(2):
            again = SqliteStore(copy)
            async with again.open():
                assert [found.conversation.group for found in await again.rows("conversations")] == ["new"]


async def test_the_journal_goes_round_and_a_death_at_any_time_finds_the_newest(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "a", SMALL)
    async with store.open():
        for number in range(400):
            store.write([row("cv_1", f"group {number}"), row("cv_2", "x" * (number * 7 % 1000))])
            if number % 20 == 19:
                assert await store.flush()
            if number % 57 == 56:
                again = SqliteStore(died(tmp_path / "a"))
                async with again.open():
                    assert (await again.rows("conversations"))[0].conversation.group == f"group {number}"
        assert store.health().unsaved == 0


@pytest.mark.parametrize("damage", ["last byte", "torn", "middle"])
async def test_a_damaged_record_ends_the_recovery_and_what_came_before_is_there(tmp_path: Path, damage: str) -> None:
    """A record that was not finished was not acknowledged."""
    store = SqliteStore(tmp_path / "a", SMALL)
    async with store.open():
        store.write([row("cv_1")])
        whole = store._journal.position  # type: ignore[union-attr]  # open
        store.write([row("cv_2")])
        end = store._journal.position  # type: ignore[union-attr]  # open
        copy = died(tmp_path / "a")
    journal = bytearray((copy / "state.journal").read_bytes())
    match damage:
        case "last byte":
            journal[end - 1] ^= 1
        case "torn":
            journal[end - 40 : end] = bytes(40)
        case "middle":
            journal[whole + 5] ^= 0x80
    (copy / "state.journal").write_bytes(journal)
    assert await names(copy) == ["cv_1"]


def test_a_journal_full_of_nonsense_recovers_nothing_and_works(tmp_path: Path) -> None:
    path = tmp_path / "state.journal"
    for filling in (b"\xff", b"tjr1", b"\x00", b"tjr1\xff\xff\xff\xff\x01\x00\x00\x00\x00\x00\x00\x00"):
        path.write_bytes((filling * 65536)[:65536])
        journal = Journal(path, 65536)
        assert list(journal.recover(0, 0)) == []
        journal.append(b"record")
        journal.close()
        journal = Journal(path, 65536)
        assert [found.data for found in journal.recover(0, 0)] == [b"record"]
        journal.close()


def test_a_full_journal_refuses_whole_records_and_writes_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", 65536)
    list(journal.recover(0, 0))
    count = 0
    while journal.used_share * 65536 + 1020 <= 65536:
        journal.append(b"x" * 1000)
        count += 1
    with pytest.raises(JournalFullError):
        journal.append(b"x" * 1000)
    assert 0.9 < journal.used_share <= 1
    journal.close()
    journal = Journal(tmp_path / "j", 65536)
    assert len(list(journal.recover(0, 0))) == count
    journal.close()


# --- the database cannot be written


async def test_a_locked_database_is_said_in_words_and_nothing_is_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = SqliteStore(
        tmp_path / "a", StoreConfiguration(busy_timeout_ms=1, retry_s=3600, commit_interval_ms=3_600_000)
    )
    async with store.open():
        with locked(tmp_path / "a"):
            store.write([row("cv_1")])
            assert not await store.flush()
            assert (store.health().state, store.health().message) == ("behind", "database is locked")
            assert store.accepts, "the journal has room"
            assert "the database cannot be written (database is locked)" in caplog.text
            store.write([row("cv_2")])
            assert await names(died(tmp_path / "a")) == ["cv_1", "cv_2"]
        assert await store.flush()
        assert store.health().state == "ok"
        assert "can be written again" in caplog.text
    assert await names(tmp_path / "a") == ["cv_1", "cv_2"]


async def test_a_slow_database_holds_nothing_up(tmp_path: Path) -> None:
    """The thread waits for the lock for as long as it takes; whoever writes does not."""
    store = SqliteStore(tmp_path / "a", StoreConfiguration(busy_timeout_ms=60_000, commit_interval_ms=3_600_000))
    sorted_in: list[bool] = []

    async def flush() -> None:
        sorted_in.append(await store.flush())

    async with store.open(), trio.open_nursery() as nursery:
        with locked(tmp_path / "a"):
            store.write([row("cv_1")])
            nursery.start_soon(flush)
            await trio.testing.wait_all_tasks_blocked()
            for number in range(2, 100):
                store.write([row(f"cv_{number}")])
            assert store.accepts
            assert not sorted_in
            assert len(await names(died(tmp_path / "a"))) == 99
    assert sorted_in == [True]


async def test_new_obligations_are_refused_before_the_room_for_endings_is_used(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "a", SMALL)
    async with store.open():
        while store.accepts:
            store.write([row("cv_1")])
        assert 0.49 < store.health().used_share < 0.52
        assert store.health().state == "full"
        for number in range(10):
            store.write([row(f"cv_end_{number}")])
        assert store.health().unsaved == 0
        assert await store.flush()
        assert store.accepts


async def test_what_a_full_journal_cannot_take_is_counted_and_made_up_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = SqliteStore(tmp_path / "a", SMALL)
    async with store.open():
        number = 0
        while store.health().unsaved < 5:
            store.write([row(f"cv_{number:04}")])
            number += 1
        assert not store.accepts
        assert "the journal is full" in caplog.text
        assert await store.flush()
        assert store.accepts
        assert "has room again" in caplog.text
        assert len(await names(died(tmp_path / "a"))) == number, "durable again, all of it"


async def test_a_database_that_does_not_come_back_leaves_everything_to_the_next_start(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "a", StoreConfiguration(busy_timeout_ms=1))
    async with store.open():
        other = sqlite3.connect(tmp_path / "a" / "state.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        store.write([row("cv_1")])
    other.execute("ROLLBACK")
    other.close()
    assert await names(tmp_path / "a") == ["cv_1"]


async def test_a_disk_without_room_for_the_database_stops_no_writer(tmp_path: Path) -> None:
    """SQLITE_FULL, by a limit on the database's pages; a whole server on a full disk is in tests/interop."""
    store = SqliteStore(tmp_path / "a", StoreConfiguration(retry_s=3600, commit_interval_ms=3_600_000))
    async with store.open():
        assert store._database is not None
        (pages,) = store._database.execute("PRAGMA page_count").fetchone()
        store._database.execute(f"PRAGMA max_page_count = {pages}")
        for number in range(50):
            store.write([row(f"cv_{number:03}", "g" * 500)])
        assert not await store.flush()
        assert store.health().message == "database or disk is full"
        assert store.accepts
        assert len(await names(died(tmp_path / "a"))) == 50
        store._database.execute("PRAGMA max_page_count = 100000")
        assert await store.flush()


# --- power


async def test_with_full_what_is_written_is_settled_only_when_the_disk_has_it(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "a", StoreConfiguration(synchronous="full"))
    async with store.open():
        await store.settle()
        store.write([row("cv_1")])
        assert not store.settled
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(store.settle)
        assert store.settled


class ForgetfulDisk:
    """Refuses to synchronize the journal while it is told to, and lets go of what it did not write then."""

    def __init__(self, journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._journal = journal
        self._platter = b""
        self.refuses = False
        self.refusals = 0
        self.refused_again = trio.Event()
        monkeypatch.setattr("triortc.signaling.journal.os.fdatasync", self.synchronize)

    def synchronize(self, file: int) -> None:
        if not self.refuses:
            self._platter = self._journal.read_bytes()
            return
        self.refusals += 1
        if self.refusals > 1:
            trio.from_thread.run_sync(self.refused_again.set)
        with self._journal.open("r+b") as pages:
            pages.write(self._platter)
        raise OSError(errno.EIO, "Input/output error")


async def test_with_full_a_disk_that_fails_to_synchronize_is_told_of_until_it_does_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The next record goes into the page cache as ever: that says nothing about the disk."""
    disk = ForgetfulDisk(tmp_path / "a" / "state.journal", monkeypatch)
    store = SqliteStore(tmp_path / "a", replace(SMALL, synchronous="full", retry_s=0.01))
    async with store.open():
        store.write([row("cv_0")])
        await store.settle()
        disk.refuses = True
        store.write([row("cv_1")])
        with trio.CancelScope() as waiting:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(store.settle)
                await disk.refused_again.wait()
                waiting.cancel()
        store.write([row("cv_2")])
        assert not store.accepts
        health = store.health()
        assert (health.state, health.message) == (
            "full",
            "the disk does not take the journal (Input/output error): replies and events wait",
        )
        disk.refuses = False
        await store.settle()
        assert store.accepts
        assert store.health().state == "ok"
        assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
        assert await names(died(tmp_path / "a")) == ["cv_0", "cv_1", "cv_2"]


async def test_with_full_nothing_is_kept_for_a_disk_that_nobody_waits_for(tmp_path: Path) -> None:
    """Signs of life are written on a server without clients, too; the database has them."""
    store = SqliteStore(tmp_path / "a", replace(SMALL, synchronous="full"))
    async with store.open():
        await trio.testing.wait_all_tasks_blocked()  # the first sign of life
        for number in range(100):
            store.write([row(f"cv_{number}")])
        assert store._journal is not None
        assert store._journal._unsynchronized
        assert await store.flush()
        assert not store._journal._unsynchronized


@pytest.mark.parametrize("synchronous", ["off", "normal"])
async def test_otherwise_nobody_waits_for_the_disk(tmp_path: Path, synchronous: Any) -> None:
    store = SqliteStore(tmp_path / "a", StoreConfiguration(synchronous=synchronous))
    async with store.open():
        store.write([row("cv_1")])
        assert store.settled
        level = {"off": 0, "normal": 1}[synchronous]
        assert store._database is not None
        assert store._database.execute("PRAGMA synchronous").fetchone() == (level,)


# --- what grows old


async def test_replies_and_what_has_a_retention_are_taken_away_in_time(tmp_path: Path) -> None:
    now_ms = 10_000_000_000
    clock = [now_ms]
    limits = StoreConfiguration(retention_days=1, replies_kept_s=60, sweep_interval_s=3600)
    day_ms = 86_400_000
    old = Conversation("cv_old", "org", "vic", "default", 0.0, 1000, state="closed")
    store = SqliteStore(tmp_path / "a", limits, wall_ms=lambda: clock[0])
    address = DeviceAddress("org", "agent", "ana", "desk")
    async with store.open():
        store.write([put("replies", ReplyRow(address, "c1", b"", b"", now_ms))])
        store.write([put("conversations", ConversationRow(now_ms, old)), row("cv_open")])
        await store.flush()
    clock[0] += 2 * day_ms
    store = SqliteStore(tmp_path / "a", limits, wall_ms=lambda: clock[0])
    async with store.open():
        await trio.testing.wait_all_tasks_blocked()
        await store.sweep()
        assert await store.rows("replies") == []
        assert [found.conversation.id for found in await store.rows("conversations")] == ["cv_open"]


# --- who may use it


async def test_what_was_about_to_be_sorted_in_when_the_server_was_left_is_not_lost(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "state")
    at_work = object()
    async with store.open():
        store._limiter.acquire_on_behalf_of_nowait(at_work)  # another thread has the database
        store.write([put("timers", TimerRow(5000, ("T_close_reminder", "org", "cv"), 61.0))])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.flush)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        store._limiter.release_on_behalf_of(at_work)
    async with store.open():
        assert [row.at for row in (await store.load()).timers] == [61.0]


async def test_a_second_server_on_a_directory_is_told_so(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path / "a").open():
        code = (
            "import trio, pathlib, sys\nfrom triortc.signaling.sqlite_store import SqliteStore\n"
            "async def main():\n    async with SqliteStore(pathlib.Path(sys.argv[1])).open(): pass\ntrio.run(main)"
        )
        command = [sys.executable, "-c", code, str(tmp_path / "a")]
        ended = await trio.run_process(command, capture_stderr=True, check=False)
        assert ended.returncode != 0
        assert b"another process uses" in ended.stderr


async def test_a_directory_of_a_newer_version_is_refused_in_words(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path / "a").open():
        pass
    database = sqlite3.connect(tmp_path / "a" / "state.db")
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(StoreError, match="newer version"):
        async with SqliteStore(tmp_path / "a").open():
            pass


async def test_a_row_of_an_older_version_gets_the_defaults_of_what_it_lacks(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path / "a").open():
        pass
    database = sqlite3.connect(tmp_path / "a" / "state.db", isolation_level=None)
    known = '{"id":"cv_1","org":"org","visitor":"vic","group":"g","created_at":1,"unread_kept":9}'
    lean = f'{{"zero_ms":0,"conversation":{known}}}'
    database.execute("INSERT INTO conversations VALUES ('org', 'cv_1', ?)", (lean,))
    database.close()
    store = SqliteStore(tmp_path / "a")
    async with store.open():
        (found,) = (await store.load()).conversations
        assert (found.conversation.state, found.conversation.tags) == ("open", ())


async def test_a_database_that_is_none_is_said_in_words(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "state.db").write_bytes(b"not a database, but long enough to look like one" * 100)
    with pytest.raises(StoreError, match=r"cannot be used.*damaged; put a copy") as refused:
        async with SqliteStore(tmp_path / "a").open():
            pass
    assert "nothing is lost" not in str(refused.value)


async def test_a_database_that_is_somebody_elses_is_said_in_words(tmp_path: Path) -> None:
    (tmp_path / "a" / "state.db").mkdir(parents=True)  # tests run as root, whom nothing else refuses
    with pytest.raises(StoreError, match="has to belong to the server's user"):
        async with SqliteStore(tmp_path / "a").open():
            pass


async def test_files_are_for_their_owner_only(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path / "a").open():
        for name in ("state.db", "state.journal"):
            assert (tmp_path / "a" / name).stat().st_mode & 0o077 == 0
        assert (tmp_path / "a").stat().st_mode & 0o077 == 0


async def test_a_store_that_is_not_open_says_what_to_do(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "a")
    with pytest.raises(StoreError, match="async with"):
        store.write([row("cv_1")])
    with pytest.raises(StoreError, match="async with"):
        await store.load()


def test_numbers_that_make_no_sense_are_refused() -> None:
    for wrong in ({"journal_bytes": 5}, {"refuse_above": 0}, {"retry_s": 0}, {"synchronous": "sometimes"}):
        with pytest.raises(ConfigurationError):
            StoreConfiguration(**wrong)
