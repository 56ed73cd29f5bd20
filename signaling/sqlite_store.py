"""State in a directory: a journal that takes every transition at once, and an SQLite database that sorts it in behind.

    state.journal    a ring of fixed size; what is in it survives the death of the process
    state.db         SQLite in WAL mode, a table an entity; a worker thread brings it up to date every few milliseconds

Call control hands over the changes of a transition and goes on: they are in the journal before a reply can leave. The
database may be slow, locked or without room for as long as the journal has some; then `accepts` says no, and running
calls go on. docs/storage.md says what each setting means when the power fails.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import trio

from triortc.configuration_kinds import require_kinds
from triortc.engine.calls.store import ENTITIES, Change, Stored, StoreHealth, decode_row
from triortc.errors import ConfigurationError, StoreError
from triortc.signaling.journal import Journal, JournalFullError
from triortc.signaling.sqlite_tables import Pending, apply, bring_up, collect, forget_older, load, rows_of

__all__ = ["SqliteStore", "StoreConfiguration"]

_logger: Final = logging.getLogger("triortc.store")
_DAY_MS: Final = 86_400_000
#: An extended result code has the primary one in its lower eight bits.
_PRIMARY: Final = 0xFF
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Change]).decode


@dataclass(frozen=True, slots=True)
class StoreConfiguration:
    """How state is kept on disk.

    Attributes:
        synchronous: what a power failure may cost (the death of the process costs nothing in any case).
            `off`: the operating system writes when it likes; the database itself may be damaged.
            `normal`: the database stays whole; the last seconds may be missing.
            `full`: nothing that was acknowledged is missing: replies and events wait for the disk.
        journal_bytes: the size of the journal, which is how much may wait while the database cannot be written.
        refuse_above: the share of the journal that is taken when new obligations are refused; the rest is for endings.
        commit_interval_ms: how often what was taken is sorted into the database.
        busy_timeout_ms: how long one attempt waits for somebody else's lock on the database.
        retry_s: the wait before an attempt is repeated.
        alive_interval_s: how often a sign of life is written: a call that the process did not survive lasted till then.
        retention_days: how long history, event logs, messages and closed conversations are kept; None: for ever.
        replies_kept_s: how long a reply is remembered for a client that asks again.
        sweep_interval_s: how often what is too old is taken away.
        history_loaded: the newest records of history that are read at the start; calls keep `history_kept` of them.
        conversations_loaded: the newest closed conversations that are read at the start.
    """

    synchronous: Literal["off", "normal", "full"] = "normal"
    journal_bytes: int = 32 * 1024 * 1024
    refuse_above: float = 0.5
    commit_interval_ms: float = 50.0
    busy_timeout_ms: int = 250
    retry_s: float = 0.5
    alive_interval_s: float = 1.0
    retention_days: float | None = None
    replies_kept_s: float = 300.0
    sweep_interval_s: float = 60.0
    history_loaded: int = 10_000
    conversations_loaded: int = 1024

    def __post_init__(self) -> None:
        require_kinds(self)
        if self.synchronous not in ("off", "normal", "full"):
            raise ConfigurationError(f"synchronous is {self.synchronous!r}; choose off, normal or full")
        if self.journal_bytes < 64 * 1024 or not 0 < self.refuse_above <= 1:
            raise ConfigurationError("journal_bytes starts at 65536, and refuse_above is a share between 0 and 1")
        if min(self.commit_interval_ms, self.retry_s, self.alive_interval_s) <= 0:
            raise ConfigurationError("commit_interval_ms, retry_s and alive_interval_s must be positive")


def _advice(error: sqlite3.Error | OSError) -> str:
    """What somebody does whose database cannot be opened."""
    if isinstance(error, OSError):
        return ": it has to belong to the server's user"
    code: int = getattr(error, "sqlite_errorcode", 0)  # what Python's module says by itself has none
    if code & _PRIMARY in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return ": it is damaged; put a copy of the directory in its place, or move it away to begin anew"
    return "; nothing is lost: make room, or end who locks it, and start again"


class SqliteStore:
    """Keeps state in a directory. Implements `StateStore`.

    Arguments:
        directory: made if it is not there; one process at a time.
        configuration: see `StoreConfiguration`.
        wall_ms: unix milliseconds, for signs of life and for what grows old.
    """

    durable: bool = True

    def __init__(
        self,
        directory: Path,
        configuration: StoreConfiguration | None = None,
        *,
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        if not isinstance(directory, Path):
            raise ConfigurationError(f"a store's directory is a Path: SqliteStore(Path({directory!r}))")
        self.directory = directory
        self._configuration = configuration or StoreConfiguration()
        self._wall_ms = wall_ms
        self._limiter = trio.CapacityLimiter(1)
        self._database_free = trio.Lock()
        self._journal: Journal | None = None
        self._database: sqlite3.Connection | None = None
        self._pending: Pending = {}
        self._missed: Pending = {}
        self._wake = trio.Event()
        self._applied = trio.Event()
        self._sync_wanted = trio.Event()
        self._synchronized = 0
        self._sync_done = trio.Event()
        self._trouble: str | None = None
        self._journal_trouble: str | None = None
        self._disk_trouble: str | None = None
        self._written = 0
        self._unsaved = 0

    # --- opening and closing

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Open the directory, sort in what the process before left in its journal, and work until the block is left.

        Raises:
            StoreError: the directory cannot be used; the message says what to do.
        """
        await trio.to_thread.run_sync(self._open, limiter=self._limiter)
        failure: BaseException | None = None
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._sort_in, name="state: database")
                nursery.start_soon(self._synchronize, name="state: disk")
                nursery.start_soon(self._stay_alive, name="state: sign of life")
                nursery.start_soon(self._keep_sweeping, name="state: what is too old")
                try:
                    yield
                except BaseException as error:  # noqa: BLE001  # raised again below, where no group is made of it
                    failure = error
                nursery.cancel_scope.cancel()
        finally:
            # Not a wait for the network: one transaction, which has the busy timeout for a bound.
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(self._close, limiter=self._limiter)
        if failure is not None:
            raise failure

    def _open(self) -> None:
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{self.directory} cannot be made: {error.strerror}") from None
        limits = self._configuration
        journal = Journal(
            self.directory / "state.journal",
            limits.journal_bytes,
            keep_unsynchronized=limits.synchronous == "full",
        )
        try:
            self._recover(journal, self._connect())
        except (sqlite3.Error, OSError) as error:
            journal.close()
            self._disconnect()
            raise StoreError(f"the database in {self.directory} cannot be used ({error}){_advice(error)}") from None
        except BaseException:  # whatever it is goes on; the files are closed first
            journal.close()
            self._disconnect()
            raise
        self._journal = journal
        self._synchronized = journal.position

    def _connect(self) -> sqlite3.Connection:
        path = self.directory / "state.db"
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        database = sqlite3.connect(
            path, timeout=self._configuration.busy_timeout_ms / 1000, isolation_level=None, check_same_thread=False
        )
        self._database = database  # from here on whoever fails can close it
        database.execute("PRAGMA journal_mode = WAL")
        database.execute(f"PRAGMA synchronous = {self._configuration.synchronous}")
        bring_up(database, path)
        return database

    def _recover(self, journal: Journal, database: sqlite3.Connection) -> None:
        meta = dict(database.execute("SELECT name, value FROM meta"))
        pending: Pending = {}
        for record in journal.recover(meta.get("number", 0), meta.get("position", 0)):
            collect(pending, _decode(record.data))
        apply(database, pending, journal.number, journal.position)
        journal.release(journal.position)

    def _close(self) -> None:
        journal, database = self._journal, self._database
        if journal is None or database is None:
            return
        pending, self._pending = {**self._missed, **self._pending}, {}
        try:
            apply(database, pending, journal.number, journal.position)
            if self._configuration.synchronous != "off":
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            _logger.error("state stays in the journal until the next start: %s", error)
        finally:
            self._disconnect()
            journal.close()
            self._journal = None

    def _disconnect(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    # --- writing

    def write(self, changes: Sequence[Change]) -> None:
        """Take all changes of one transition, together."""
        journal = self._journal
        if journal is None:
            raise StoreError("the store is not open: write inside `async with store.open()`")
        if not changes:
            return
        if self._missed:
            self._make_up(journal)
        if self._missed or not self._append(journal, changes):
            collect(self._missed, changes)
            self._unsaved += len(changes)
            return
        self._written += len(changes)
        collect(self._pending, changes)
        self._wake.set()

    def _append(self, journal: Journal, changes: Sequence[Change]) -> bool:
        try:
            journal.append(_encode(changes))
        except JournalFullError:
            self._report_journal("the journal is full: what happens now is not saved until the database takes it")
            return False
        except OSError as error:
            self._report_journal(f"the journal cannot be written ({error.strerror}): what happens now is not saved")
            return False
        self._journal_trouble = None
        return True

    def _report_journal(self, trouble: str) -> None:
        if self._journal_trouble is None:
            _logger.error("%s", trouble)
        self._journal_trouble = trouble

    def _make_up(self, journal: Journal) -> None:
        """There may be room again: what could not be written is written now, each row as it is by now."""
        changes = [Change(entity, key, data) for (entity, key), data in self._missed.items()]
        if self._append(journal, changes):
            _logger.warning("the journal has room again: %d rows were made up for", len(changes))
            self._missed = {}
            self._written += len(changes)
            collect(self._pending, changes)
            self._wake.set()

    @property
    def accepts(self) -> bool:
        """Whether there is room for new obligations."""
        journal = self._journal
        return (
            journal is not None
            and self._journal_trouble is None
            and self._disk_trouble is None
            and journal.used_share < self._configuration.refuse_above
        )

    # --- the power may fail

    @property
    def settled(self) -> bool:
        """Whether all that was written may be told; with `full`, that it is on the platter."""
        if self._configuration.synchronous != "full" or self._journal is None:
            return True
        return self._synchronized >= self._journal.position

    async def settle(self) -> None:
        """Wait until what is written by now is on the platter."""
        journal = self._journal
        if journal is None or self.settled:
            return
        wanted = journal.position
        while self._synchronized < wanted:
            self._sync_wanted.set()
            await self._sync_done.wait()

    async def _synchronize(self) -> None:
        """Bring the journal to the platter for all who wait at one time."""
        journal = self._journal
        assert journal is not None
        while True:
            await self._sync_wanted.wait()
            self._sync_wanted = trio.Event()
            try:
                if self._disk_trouble is not None:
                    for _ in journal.write_again():
                        await trio.lowlevel.checkpoint()
                position = journal.position
                # A limiter of its own: the database may be busy for long. Bound by one task, this one.
                await trio.to_thread.run_sync(journal.synchronize)
            except OSError as error:
                if self._disk_trouble is None:
                    _logger.error("the disk does not take the journal (%s): replies and events wait", error.strerror)
                self._disk_trouble = f"the disk does not take the journal ({error.strerror}): replies and events wait"
                await trio.sleep(self._configuration.retry_s)
                self._sync_wanted.set()
                continue
            if self._disk_trouble is not None:
                _logger.warning("the disk takes the journal again")
            self._disk_trouble = None
            journal.synchronized(position)
            self._synchronized = position
            done, self._sync_done = self._sync_done, trio.Event()
            done.set()

    # --- behind the journal

    async def _stay_alive(self) -> None:
        """A sign of life, once in a while."""
        while True:
            self.write([Change("meta", ("alive_ms",), str(self._wall_ms()).encode())])
            await trio.sleep(self._configuration.alive_interval_s)

    async def _keep_sweeping(self) -> None:
        while True:
            await self.sweep()
            await trio.sleep(self._configuration.sweep_interval_s)

    async def sweep(self) -> None:
        """Take away what is too old. Happens by itself, once in a while."""
        limits, now_ms = self._configuration, self._wall_ms()
        replies_ms = now_ms - round(limits.replies_kept_s * 1000)
        before_ms = None if limits.retention_days is None else now_ms - round(limits.retention_days * _DAY_MS)
        assert self._database is not None
        async with self._database_free:
            try:
                await trio.to_thread.run_sync(
                    forget_older, self._database, replies_ms, before_ms, limiter=self._limiter
                )
            except sqlite3.Error as error:
                _logger.warning("what is too old stays a little longer: %s", error)

    async def _sort_in(self) -> None:
        """Bring the database up to date, everything that came meanwhile in one transaction."""
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            await trio.sleep(self._configuration.commit_interval_ms / 1000)
            if not await self._sort_in_once():
                self._wake.set()
                await trio.sleep(self._configuration.retry_s)

    async def flush(self) -> bool:
        """Bring the database up to date now, for a copy of it. False: it cannot be written; `health` says why.

        Raises:
            StoreError: the store is not open.
        """
        if self._journal is None:
            raise StoreError("the store is not open: flush inside `async with store.open()`")
        return await self._sort_in_once()

    async def _sort_in_once(self) -> bool:
        journal, database = self._journal, self._database
        assert journal is not None
        assert database is not None
        async with self._database_free:
            batch, self._pending = self._pending, {}
            number, position = journal.number, journal.position
            try:
                await trio.to_thread.run_sync(apply, database, batch, number, position, limiter=self._limiter)
            except sqlite3.Error as error:
                if self._trouble is None:
                    _logger.error("the database cannot be written (%s); the journal keeps all, calls go on", error)
                self._trouble = str(error)
                self._take_back(batch)
                return False
            except BaseException:  # goes on, below
                # Cancelled before the thread began: `_close` has to sort it in, which marks the whole journal as done.
                self._take_back(batch)
                raise
        if self._trouble is not None:
            _logger.warning("the database can be written again; everything is in it")
        self._trouble = None
        journal.release(position)
        if self._missed:
            self._make_up(journal)
        return True

    def _take_back(self, batch: Pending) -> None:
        """What was not sorted in waits again, below what came meanwhile."""
        newer, self._pending = self._pending, batch
        collect(self._pending, (Change(*row, data) for row, data in newer.items()))

    def watch_fences(self, on_fenced: Callable[[str], None]) -> None:
        """Nobody else has the directory: the journal is locked."""

    # --- reading

    async def load(self) -> Stored:
        """What the process before left."""
        return await trio.to_thread.run_sync(self._load, limiter=self._limiter)

    def _load(self) -> Stored:
        database, limits = self._database, self._configuration
        if database is None:
            raise StoreError("the store is not open: load inside `async with store.open()`")
        try:
            return load(database, limits.history_loaded, limits.conversations_loaded)
        except sqlite3.Error as error:
            raise StoreError(f"the database in {self.directory} cannot be read: {error}") from None

    async def rows(self, entity: str, *key: str | int, newest: int | None = None) -> list[Any]:
        """Rows of an entity whose key begins so, in the order of keys; of them the last `newest`."""
        database, columns = self._database, ENTITIES[entity].key
        if database is None:
            raise StoreError("the store is not open: read inside `async with store.open()`")
        where = " AND ".join(f"{column} = ?" for column in columns[: len(key)])
        order = ", ".join(f"{column} DESC" for column in columns)
        clause = f"{'WHERE ' + where if where else ''} ORDER BY {order} LIMIT {-1 if newest is None else newest}"

        async with self._database_free:
            pending = {known: data for (name, known), data in self._pending.items() if name == entity}
            try:
                read = await trio.to_thread.run_sync(rows_of, database, entity, clause, key, limiter=self._limiter)
            except sqlite3.Error as error:
                raise StoreError(f"the database in {self.directory} cannot be read: {error}") from None
        found = {row.key: row for row in read}
        for known, data in pending.items():
            if known[: len(key)] != key:
                continue
            if data is None:
                found.pop(known, None)
            elif not (ENTITIES[entity].once and known in found):
                found[known] = decode_row(entity, data)
        ordered = [found[known] for known in sorted(found)]
        return ordered if newest is None else ordered[-newest:]

    def health(self) -> StoreHealth:
        """How it does."""
        journal = self._journal
        used = 0.0 if journal is None else journal.used_share
        trouble = self._journal_trouble or self._disk_trouble or self._trouble
        state: Literal["ok", "behind", "full"] = "ok" if trouble is None else "behind" if self.accepts else "full"
        if trouble is None and not self.accepts:
            state, trouble = "full", "the database is too slow for what comes in"
        return StoreHealth("sqlite", state, trouble, len(self._pending), round(used, 4), self._written, self._unsaved)
