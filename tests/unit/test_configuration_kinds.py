"""A configuration's numbers, switches and texts are refused at once, in words, where they are something else."""

from __future__ import annotations

import pkgutil
from dataclasses import MISSING, fields, is_dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

import triortc
from triortc.errors import ConfigurationError
from triortc.signaling.push.configuration import FcmConfiguration

WRONG = {"int": ["5", 5.5, True, None], "float": ["5", float("nan"), False], "bool": [1, "yes"], "str": [b"text", 5]}
RIGHT = {"int": 5, "float": 5.0, "bool": True, "str": "text"}


def configurations() -> list[type[Any]]:
    """Every configuration of the package, found and not listed: a new one is held to the same."""
    found: dict[type[Any], None] = {}
    for room in ("codecs", "engine", "signaling"):
        package = import_module(f"triortc.{room}")
        for module in pkgutil.walk_packages(package.__path__, f"triortc.{room}."):
            if not str(getattr(find_spec(module.name), "origin", "")).endswith(".py"):
                continue  # the core in C is no module of Python
            for value in vars(import_module(module.name)).values():
                if isinstance(value, type) and is_dataclass(value) and value.__module__.startswith("triortc."):
                    found[value] = None
    return sorted((kind for kind in found if kind.__name__.endswith("Configuration")), key=lambda kind: kind.__name__)


def declared(kind: type[Any]) -> dict[str, list[Any]]:
    """What each simple field must not be."""
    simple: dict[str, list[Any]] = {}
    for field in fields(kind):
        name, _, nothing = str(field.type).partition(" | ")
        if name in WRONG and nothing in ("", "None"):
            simple[field.name] = [value for value in WRONG[name] if value is not None or not nothing]
    return simple


def filled(kind: type[Any], chosen: dict[str, Any]) -> Any:
    """One as `__init__` leaves it to `__post_init__`: some cannot be made of defaults alone."""
    one = object.__new__(kind)
    for field in fields(kind):
        value = None if field.default is MISSING else field.default
        if field.default_factory is not MISSING:
            value = field.default_factory()
        if value is None and str(field.type) in RIGHT:
            value = RIGHT[str(field.type)]
        object.__setattr__(one, field.name, chosen.get(field.name, value))
    return one


@pytest.mark.parametrize("kind", [each for each in configurations() if declared(each)], ids=lambda kind: kind.__name__)
def test_what_is_no_such_value_is_refused_by_name(kind: type[Any]) -> None:
    for name, values in declared(kind).items():
        for value in values:
            unfinished = filled(kind, {name: value})
            with pytest.raises(ConfigurationError, match=rf"{kind.__name__}\.{name} is "):
                unfinished.__post_init__()


def test_there_are_as_many_as_one_can_see() -> None:
    assert len(configurations()) > 30


def test_numbers_of_numpy_are_numbers_and_none_is_a_value_where_it_is_declared() -> None:
    made = triortc.EndpointConfiguration(media_port=np.int64(5000), media_advertise=None)  # type: ignore[arg-type]  # no int to a checker
    assert made.media_port == 5000
    with pytest.raises(ConfigurationError, match="media_port is a whole number, not str"):
        triortc.EndpointConfiguration(media_port="5")  # type: ignore[arg-type]  # what a program without types does


def test_a_key_that_is_no_text_is_not_in_what_is_said() -> None:
    with pytest.raises(ConfigurationError) as told:
        FcmConfiguration("p", "me@p.example", b"-----BEGIN PRIVATE KEY-----")  # type: ignore[arg-type]  # the mistake
    assert "PRIVATE" not in str(told.value)
