"""What the lines mean that nearly every description has is remembered, within bounds."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Final, TypeVar

__all__ = ["remembered"]

_Value = TypeVar("_Value")
_MAX_LINES: Final = 256
_MAX_CHARACTERS: Final = 128


def remembered(parse: Callable[[str], _Value]) -> Callable[[str], _Value]:
    """Let a parser, whose values nobody changes, remember what short lines mean; strangers can make it forget it all.

    A description is read several times (checked, answered, concluded), and one browser's are much like another's.
    """
    known: dict[str, _Value] = {}

    @wraps(parse)
    def parse_or_remember(value: str) -> _Value:
        if value in known:
            return known[value]
        parsed = parse(value)
        if len(value) <= _MAX_CHARACTERS:
            if len(known) >= _MAX_LINES:
                known.clear()
            known[value] = parsed
        return parsed

    return parse_or_remember
