"""Where a failure stops: what one session's code throws harms no other session."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TypeAlias

__all__ = ["CrashBoundary", "OnCrash"]

OnCrash: TypeAlias = Callable[[str | None, Exception], str]
"""Told of a failure: the session to blame (None: none is), and what was thrown. Returns what the log calls it."""


class CrashBoundary:
    """Keeps what one session's code throws from every other session (V44). Cancellation passes through.

    Arguments:
        on_crash: is told.
        session: who is to blame, or how to find out once it is known that somebody is.
    """

    __slots__ = ("_on_crash", "_session", "incident")

    def __init__(self, on_crash: OnCrash, session: str | Callable[[], str | None] | None) -> None:
        self._on_crash = on_crash
        self._session = session
        #: What the log calls the failure; empty while there is none.
        self.incident = ""

    def __enter__(self) -> CrashBoundary:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        self.incident = self._on_crash(self._session() if callable(self._session) else self._session, error)
        return True
