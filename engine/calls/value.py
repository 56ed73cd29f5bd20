"""Values: dataclasses with slots that nobody changes.

Type checkers hold them to be frozen. At run time nothing stands in the way of a change, since a frozen dataclass sets
each field through a call: making one takes three times as long, and call control makes some sixty in a step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = ["value"]

if TYPE_CHECKING:
    from dataclasses import dataclass as value
else:
    from dataclasses import dataclass

    def value(*, slots, frozen):
        """As `dataclass`. A value that is frozen can be a key."""
        return dataclass(slots=slots, unsafe_hash=frozen)
