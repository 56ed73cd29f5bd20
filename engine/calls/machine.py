"""State machines as tables: a row says number, states, event, guard, next state and effects, nothing else.

A machine is data; guards and effects are names that its owner gives a meaning. `select` is all the logic there is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Generic, Literal, NamedTuple, Protocol, TypeVar

__all__ = ["SAME", "Guard", "Machine", "Row", "Same"]

Same = Literal["(same)"]
SAME: Final[Same] = "(same)"
"""As `next` of a row: the state does not change, or is a projection that the effects decide."""

FactsT = TypeVar("FactsT", contravariant=True)


class Guard(Protocol[FactsT]):
    """A named condition over the facts that come with an event."""

    def __call__(self, facts: FactsT, /) -> bool: ...


class Row(NamedTuple):
    """One transition.

    Attributes:
        number: its number in docs/calls.md, for example `V11`.
        states: the states it starts from.
        event: commands have the name they have on the wire; internal events start with `int.` or `T_`.
        guard: the name of a condition, or "" for none. Rows are tried in order; the first whose guard holds is taken.
        next: the state it leads to, or `SAME`.
        effects: names of what is done, in order.
    """

    number: str
    states: tuple[str, ...]
    event: str
    guard: str
    next: str
    effects: tuple[str, ...] = ()


class Machine(Generic[FactsT]):
    """An indexed table.

    Arguments:
        name: the machine's name, for messages.
        rows: the table.
        guards: a function for every guard's name in the table.

    Raises:
        KeyError: a row names a guard that is not given.
    """

    __slots__ = ("_index", "guards", "name", "rows")

    def __init__(self, name: str, rows: tuple[Row, ...], guards: Mapping[str, Guard[FactsT]]) -> None:
        self.name = name
        self.rows = rows
        self.guards = guards
        self._index: dict[tuple[str, str], list[Row]] = {}
        for row in rows:
            if row.guard and row.guard not in guards:
                raise KeyError(f"the table {name} names the guard {row.guard!r} in row {row.number}; define it")
            for state in row.states:
                self._index.setdefault((state, row.event), []).append(row)

    def select(self, state: str, event: str, facts: FactsT) -> Row | None:
        """The row to take, or None if the pair is not in the table or no guard holds."""
        for row in self._index.get((state, event), ()):
            if not row.guard or self.guards[row.guard](facts):
                return row
        return None
