"""The tables of the database of `SqliteStore`, one an entity: how they are made, written, read and kept small.

Plain SQLite, called in the store's thread; each function is one transaction or one reading, and raises sqlite3.Error.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from triortc.engine.calls.store import ENTITIES, Change, Entity, Stored, decode_row
from triortc.errors import StoreError

__all__ = ["Pending", "apply", "bring_up", "collect", "forget_older", "load", "rows_of"]

_SCHEMA_VERSION: Final = 1
_MIGRATIONS: Final[dict[int, str]] = {}
"""SQL that leads from a version of the schema to the next. New tables need none: what is missing is made."""

Pending = dict[tuple[str, tuple[str | int, ...]], bytes | None]
"""What is to be sorted in: the newest data of each row, None where it goes."""

_BORN: Final = "json_extract(data, '$.zero_ms') + 1000 * json_extract(data, '$.conversation.created_at')"
_STATE: Final = "json_extract(data, '$.conversation.state')"
_CLOSED: Final = f"{_STATE} = 'closed'"
_ENDED: Final = "json_extract(data, '$.record.ended_at')"
_OLD: Final = (
    f"DELETE FROM events WHERE session IN (SELECT session FROM history WHERE {_ENDED} < ?)",
    f"DELETE FROM history WHERE {_ENDED} < ?",
    f"DELETE FROM invitation_history WHERE {_ENDED} < ?",
    "DELETE FROM messages WHERE json_extract(data, '$.message.sent_at') < ?",
    f"DELETE FROM conversations WHERE {_CLOSED} AND {_BORN} < ? AND NOT EXISTS (SELECT 1 FROM messages "
    "WHERE messages.org = conversations.org AND messages.conversation = conversations.conversation)",
)
"""In this order: an event log goes with its record, a closed conversation when its last message is gone."""


def bring_up(database: sqlite3.Connection, path: Path) -> None:
    """Make the tables that are missing, and lead an older schema to this one.

    Raises:
        StoreError: the database at `path` was written by a newer version.
    """
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version > _SCHEMA_VERSION:
        raise StoreError(
            f"{path} was written by a newer version of triortc (schema {version}, this one knows "
            f"{_SCHEMA_VERSION}): use that version, or another directory"
        )
    database.execute("BEGIN IMMEDIATE")
    for step in range(version or _SCHEMA_VERSION, _SCHEMA_VERSION):
        for statement in filter(None, map(str.strip, _MIGRATIONS[step].split(";"))):
            database.execute(statement)
    database.execute("CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID")
    for entity in ENTITIES.values():
        for statement in _table(entity):
            database.execute(statement)
    database.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
    database.execute("COMMIT")


def _table(entity: Entity) -> list[str]:
    columns = ", ".join(f"{name} {'INTEGER' if name == 'n' else 'TEXT'} NOT NULL" for name in entity.key)
    key = ", ".join(entity.key)
    statements = [
        f"CREATE TABLE IF NOT EXISTS {entity.name} ({columns}, data TEXT NOT NULL, PRIMARY KEY ({key})) WITHOUT ROWID"
    ]
    if entity.at_ms is not None:
        # Written as the queries write it: an index on an expression serves the same expression only.
        age = f"json_extract(data, '{entity.at_ms}')"
        statements.append(f"CREATE INDEX IF NOT EXISTS {entity.name}_age ON {entity.name} ({age})")
    return statements


def collect(pending: Pending, changes: Iterable[Change]) -> None:
    """Of several changes of one row the last counts; of a row that is written once, the first."""
    for entity, key, data in changes:
        known = ENTITIES.get(entity)
        if known is not None and known.once and (entity, key) in pending:
            continue
        pending[entity, key] = data


def apply(database: sqlite3.Connection, pending: Pending, number: int, position: int) -> None:
    """One transaction: the rows, and how far the journal is sorted in."""
    groups: dict[tuple[str, bool], list[tuple[str | int, ...]]] = {}
    for (entity, key), data in pending.items():
        values = key if data is None else (*key, data.decode())
        groups.setdefault((entity, data is None), []).append(values)
    database.execute("BEGIN IMMEDIATE")
    try:
        for (name, gone), rows in groups.items():
            database.executemany(_statement(name, gone), rows)
        marks = [("number", number), ("position", position)]
        database.executemany("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)", marks)
        database.execute("COMMIT")
    except BaseException:  # whatever it is goes on; nothing of it stays
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


def _statement(name: str, gone: bool) -> str:
    if name == "meta":
        return "INSERT OR REPLACE INTO meta (name, value) VALUES (?, CAST(? AS INTEGER))"
    entity = ENTITIES[name]
    if gone:
        return f"DELETE FROM {name} WHERE {' AND '.join(f'{column} = ?' for column in entity.key)}"
    marks = ", ".join("?" for _ in range(len(entity.key) + 1))
    verb = "INSERT OR IGNORE" if entity.once else "INSERT OR REPLACE"
    return f"{verb} INTO {name} ({', '.join(entity.key)}, data) VALUES ({marks})"


def rows_of(database: sqlite3.Connection, name: str, clause: str, values: Sequence[str | int] = ()) -> list[Any]:
    """The rows of an entity that a clause of SQL, with these values, picks, in its order."""
    return [decode_row(name, data) for (data,) in database.execute(f"SELECT data FROM {name} {clause}", tuple(values))]


def forget_older(database: sqlite3.Connection, replies_ms: int, before_ms: int | None) -> None:
    """Delete what is older than an instant. `before_ms` is for what has a retention; None: it has none."""
    database.execute("BEGIN IMMEDIATE")
    try:
        database.execute("DELETE FROM replies WHERE json_extract(data, '$.at_ms') < ?", (replies_ms,))
        if before_ms is not None:
            for statement in _OLD:
                database.execute(statement, (before_ms,))
        database.execute("COMMIT")
    except BaseException:  # whatever it is goes on; nothing of it stays
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


def load(database: sqlite3.Connection, records: int, closed: int) -> Stored:
    """What a process goes on with; of history the newest `records`, of closed conversations the newest `closed`."""
    stored = Stored()
    meta = dict(database.execute("SELECT name, value FROM meta"))
    stored.alive_ms = meta.get("alive_ms")
    for name in ("agents", "devices", "sessions", "invitations", "timers", "replies"):
        getattr(stored, name).extend(rows_of(database, name, ""))
    newest = f"WHERE {_CLOSED} ORDER BY {_BORN} DESC LIMIT {closed}"
    stored.conversations = [
        *reversed(rows_of(database, "conversations", newest)),
        *rows_of(database, "conversations", f"WHERE {_STATE} IS NOT 'closed' ORDER BY {_BORN}"),
    ]
    known = "WHERE session IN (SELECT session FROM sessions) ORDER BY session, n"
    stored.events = rows_of(database, "events", known)
    for name in ("history", "invitation_history"):
        rows = rows_of(database, name, f"ORDER BY {_ENDED} DESC LIMIT {records}")
        getattr(stored, name).extend(reversed(rows))
    return stored
