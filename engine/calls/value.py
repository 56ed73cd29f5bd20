"""Values: what call control is told, decides and tells; nobody changes one.

Most are a `ValueStruct`: call control makes some sixty in a step, and a struct is made and written as JSON in C.
What the store keeps, or an embedder takes apart, is a dataclass with slots. Type checkers hold it to be frozen; at run
time nothing stands in the way of a change, since a frozen dataclass sets each field through a call: making one takes
three times as long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

__all__ = ["ValueStruct", "value"]


class ValueStruct(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, rename={"from_": "from"}):
    """The base of values that are made in every step.

    They refer to nothing that could refer back, so the garbage collector need not look at them. As JSON an optional
    field that is None is left out, as everywhere on the wire.
    """


if TYPE_CHECKING:
    from dataclasses import dataclass as value
else:
    from dataclasses import dataclass

    def value(*, slots, frozen):
        """As `dataclass`. A value that is frozen can be a key."""
        return dataclass(slots=slots, unsafe_hash=frozen)
