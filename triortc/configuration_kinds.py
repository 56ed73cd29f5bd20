"""Numbers and words of a configuration are what they are declared to be: a mistake is told where it was made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from numbers import Integral, Real
from typing import Any, Final

from triortc.errors import ConfigurationError

__all__ = ["require_kinds"]

#: A field's declared type, what a value of it may be, and that in words. Other types are the business of their owner.
_KINDS: Final[Mapping[str, tuple[type, str]]] = {
    "int": (Integral, "a whole number"),
    "float": (Real, "a number"),
    "bool": (bool, "True or False"),
    "str": (str, "text"),
}


def require_kinds(configuration: Any) -> None:
    """Raise ConfigurationError unless every number, switch and text of a dataclass is one. For `__post_init__`.

    Args:
        configuration: a dataclass; fields that are declared as ``int``, ``float``, ``bool`` or ``str``, with or without
            ``| None``, are looked at.
    """
    for field in fields(configuration):
        declared = field.type if isinstance(field.type, str) else field.type.__name__
        kind, _, nothing = declared.partition(" | ")
        if kind not in _KINDS or nothing not in ("", "None"):
            continue
        value = getattr(configuration, field.name)
        if value is None and nothing:
            continue
        wanted, words = _KINDS[kind]
        is_switch_for_number = isinstance(value, bool) and wanted is not bool
        is_nan = isinstance(value, float) and math.isnan(value)
        if not isinstance(value, wanted) or is_switch_for_number or is_nan:
            given = "nan" if is_nan else type(value).__name__  # not the value: it may be a key
            words += " or None" if nothing else ""
            raise ConfigurationError(f"{type(configuration).__name__}.{field.name} is {words}, not {given}")
