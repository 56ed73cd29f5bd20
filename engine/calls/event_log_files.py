"""Event logs on disk: one file a session, written behind the caller's back: a support ticket can be replayed."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from triortc.configuration_kinds import require_kinds
from triortc.engine.calls.event_log import header
from triortc.engine.calls.session import LogRecord
from triortc.errors import ConfigurationError

__all__ = ["EventLogConfiguration", "EventLogFiles", "open_event_log_files"]

_logger: Final = logging.getLogger("triortc.calls")
_DAY_S: Final = 86_400
_SUFFIX: Final = ".jsonl"


@dataclass(slots=True, frozen=True)
class EventLogConfiguration:
    """Where event logs go.

    Attributes:
        directory: made if it is missing, readable by its owner only; a file is named by the session's id.
        event_log_days: older files are deleted at the start; None: they are kept.
        max_waiting: records that may wait for a slow disk; more are dropped and counted.
    """

    directory: Path
    event_log_days: float | None = 30.0
    max_waiting: int = 100_000

    def __post_init__(self) -> None:
        require_kinds(self)
        if isinstance(self.directory, str):
            raise ConfigurationError(f"directory is a Path: write Path({self.directory!r})")
        if self.event_log_days is not None and self.event_log_days <= 0:
            raise ConfigurationError("event_log_days must be above 0; None keeps event logs for ever")
        if self.max_waiting < 1:
            raise ConfigurationError("max_waiting must be 1 or more")


class EventLogFiles:
    """Takes records at once and writes them soon. Made by `open_event_log_files`.

    Attributes:
        dropped_total: records that a slow or broken disk cost.
    """

    def __init__(self, configuration: EventLogConfiguration, unix_ms_at_zero: int) -> None:
        self.dropped_total = 0
        self._configuration = configuration
        self._unix_ms_at_zero = unix_ms_at_zero
        self._begun: set[str] = set()
        self._waiting: deque[tuple[str, LogRecord]] = deque()
        self._wake = trio.Event()

    def append(self, session: str, record: LogRecord) -> None:
        """Take a record in. Never blocks."""
        if len(self._waiting) >= self._configuration.max_waiting:
            self.dropped_total += 1
            return
        self._waiting.append((session, record))
        self._wake.set()

    async def _write_for_ever(self) -> None:
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            await self._write_waiting()

    async def _write_waiting(self) -> None:
        while self._waiting:
            batch = list(self._waiting)
            self._waiting.clear()
            try:
                self.dropped_total += await trio.to_thread.run_sync(self._write, batch)
            except trio.Cancelled:
                # A thread that runs is waited for, so this one never began: who closes the files writes the batch.
                self._waiting.extendleft(reversed(batch))
                raise

    def _write(self, batch: list[tuple[str, LogRecord]]) -> int:
        """In a thread: append the lines to their files. Returns how many records were lost."""
        lines: dict[str, list[str]] = {}
        for session, record in batch:
            of_session = lines.setdefault(session, [])
            if session not in self._begun:
                self._begun.add(session)
                of_session.append(header(session, self._unix_ms_at_zero))
            of_session.append(record.to_json())
            if record.state_to == "ended":
                self._begun.discard(session)
        lost = 0
        for session, written in lines.items():
            try:
                path = self._configuration.directory / (session + _SUFFIX)
                file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
                with open(file, "w", encoding="utf-8") as opened:
                    opened.write("\n".join(written) + "\n")
            except OSError as error:
                lost += sum(line.startswith('{"n"') for line in written)
                _logger.error("the event log of %s could not be written: %s", session, error)
        return lost


def _prepare(configuration: EventLogConfiguration, wall_s: Callable[[], float]) -> None:
    try:
        configuration.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"the directory {configuration.directory} cannot be made: {error.strerror}") from error
    if configuration.event_log_days is None:
        return
    oldest_s = wall_s() - configuration.event_log_days * _DAY_S
    for path in configuration.directory.glob(f"vs_*{_SUFFIX}"):
        if path.stat().st_mtime < oldest_s:
            path.unlink(missing_ok=True)


@asynccontextmanager
async def open_event_log_files(
    configuration: EventLogConfiguration, *, wall_s: Callable[[], float] = time.time
) -> AsyncGenerator[EventLogFiles]:
    """Keep event logs until the block is left; what has been taken in by then is on disk afterwards.

    Arguments:
        configuration: where to, and for how long.
        wall_s: unix seconds, for the age of files and the first line of each.

    Raises:
        OSError: the directory cannot be made.
    """
    await trio.to_thread.run_sync(_prepare, configuration, wall_s)
    files = EventLogFiles(configuration, round(wall_s() * 1000) - round(trio.current_time() * 1000))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(files._write_for_ever, name="event logs")
        try:
            yield files
        finally:
            nursery.cancel_scope.cancel()
    with trio.CancelScope(shield=True, deadline=trio.current_time() + 5.0):
        await files._write_waiting()
