"""Whether what concurrent clients saw can have happened one after the other (Herlihy and Wing)."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

__all__ = ["Operation", "linearizable"]

StateT = TypeVar("StateT", bound=Hashable)


@dataclass(frozen=True)
class Operation:
    """What a client asked, what it was told, and the instants between which it must have happened."""

    what: str
    argument: Any
    result: Any
    invoked: int
    returned: int


def linearizable(
    history: Sequence[Operation], initial: StateT, apply: Callable[[StateT, Operation], StateT | None]
) -> bool:
    """Search for an order that keeps every operation inside its interval and that the specification allows.

    Arguments:
        history: complete operations.
        initial: the first state.
        apply: the state after an operation, or None if the operation cannot have had its result in this state.
    """
    seen: set[tuple[frozenset[int], StateT]] = set()
    stack: list[tuple[frozenset[int], StateT]] = [(frozenset(range(len(history))), initial)]
    while stack:
        left, state = stack.pop()
        if not left:
            return True
        if (left, state) in seen:
            continue
        seen.add((left, state))
        first_return = min(history[index].returned for index in left)
        for index in left:
            if history[index].invoked > first_return:
                continue  # something had returned before this one was asked: it cannot be the next
            after = apply(state, history[index])
            if after is not None:
                stack.append((left - {index}, after))
    return False
