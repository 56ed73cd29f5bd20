"""A dict that remembers which of its keys somebody looked at: what may have changed since it was last asked."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Generic, TypeVar

__all__ = ["TrackedDict"]

KeyT = TypeVar("KeyT", bound=Hashable)
ValueT = TypeVar("ValueT")


class TrackedDict(dict[KeyT, ValueT], Generic[KeyT, ValueT]):
    """A dict whose looked-up, set and removed keys are noted. Iteration is not: who only walks by changes nothing.

    Values are mutable objects that many hands change. Whoever changes one has looked it up first, so the noted keys
    are a superset of the changed ones, without a word from those hands.

    Arguments:
        touched: where keys are noted; several dicts with the same keys may share it.
    """

    __slots__ = ("_touched",)

    def __init__(self, touched: dict[KeyT, None]) -> None:
        super().__init__()
        self._touched = touched

    def __getitem__(self, key: KeyT) -> ValueT:
        self._touched[key] = None
        return super().__getitem__(key)

    def __setitem__(self, key: KeyT, value: ValueT) -> None:
        self._touched[key] = None
        super().__setitem__(key, value)

    def __delitem__(self, key: KeyT) -> None:
        self._touched[key] = None
        super().__delitem__(key)

    def get(self, key: KeyT, default: Any = None) -> Any:
        self._touched[key] = None
        return super().get(key, default)

    def peek(self, key: KeyT) -> ValueT | None:
        """The value, without a note: for whoever asks what changed."""
        return super().get(key)

    def setdefault(self, key: KeyT, default: Any = None) -> Any:
        self._touched[key] = None
        return super().setdefault(key, default)

    def pop(self, key: KeyT, *default: Any) -> Any:
        self._touched[key] = None
        return super().pop(key, *default)
