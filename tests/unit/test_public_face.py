"""The thin public face: what it exports, and that importing it is cheap and free of cycles."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import triortc


def test_everything_that_is_promised_is_there() -> None:
    assert sorted(triortc.__all__, key=str) == sorted(set(triortc.__all__))
    assert all(hasattr(triortc, name) for name in triortc.__all__)
    assert triortc.__version__[0].isdigit()


def test_every_error_has_one_root() -> None:
    errors = [getattr(triortc, name) for name in triortc.__all__ if name.endswith("Error")]
    assert len(errors) >= 14
    assert all(issubclass(error, triortc.TriortcError) for error in errors)


def test_type_checkers_are_told_of_the_same_names_at_the_same_places() -> None:
    assert triortc.__file__ is not None
    tree = ast.parse(Path(triortc.__file__).read_text(encoding="utf-8"))
    checking = next(node for node in tree.body if isinstance(node, ast.If))
    told = {
        alias.name: node.module for node in checking.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert told == triortc._HOMES
    assert dir(triortc) == sorted(triortc.__all__)
    with pytest.raises(AttributeError, match="no attribute 'open_motor'"):
        getattr(triortc, "open_" + "motor")


def documented(name: str) -> Iterator[tuple[str, str, set[str]]]:
    """What is called under an exported name, its documentation, and the words that have to be in there."""
    exported: Any = getattr(triortc, name)
    if not inspect.isclass(exported):
        exported = {name: exported}
    else:
        classes = [each for each in exported.__mro__ if each.__module__.startswith("triortc")]
        words = "\n".join(each.__doc__ or "" for each in classes)
        fields = dataclasses.fields(exported) if dataclasses.is_dataclass(exported) else ()
        yield name, words, {field.name for field in fields if not field.name.startswith("_")}
        exported = {f"{name}.{each}": value for each, value in vars(exported).items() if not each.startswith("_")}
    for place, value in exported.items():
        function = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
        if inspect.isroutine(function):
            bare = inspect.unwrap(function)
            arguments = set(inspect.signature(bare).parameters) - {"self", "cls"}
            raised = set(re.findall(r"raise (\w+Error)\(", inspect.getsource(bare)))
            yield place, inspect.getdoc(bare) or "", arguments | raised


@pytest.mark.parametrize("name", [name for name in triortc.__all__ if callable(getattr(triortc, name))])
def test_what_is_exported_says_what_its_arguments_and_attributes_are_and_what_it_raises(name: str) -> None:
    for place, text, words in documented(name):
        assert text, f"{place} says nothing of itself"
        missing = sorted(word for word in words if not re.search(rf"\b{word}\b", text))
        assert not missing, f"{place} does not speak of {missing}"


def imported_with(module: str, *looked_for: str) -> set[str]:
    """Which of some packages a fresh interpreter has loaded when it has imported a module."""
    code = f"import sys, {module}; print(*sorted(set({looked_for!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_face_alone_costs_next_to_nothing() -> None:
    assert imported_with("triortc", "trio", "numpy", "triortc.engine", "triortc.signaling", "triortc.errors") == {
        "triortc.errors"
    }


def test_a_media_process_has_nothing_of_signaling() -> None:
    """It has PyAV, for slates, recordings and legs that share no codec."""
    strangers = ("triortc.signaling", "aioquic", "httpx", "h11", "wsproto", "jwt", "prometheus_client", "click")
    assert imported_with("triortc.engine.workers.worker_process", "av", *strangers) == {"av"}


def test_the_face_does_not_pull_in_the_command_line_or_the_benchmarks() -> None:
    everything = "from triortc import *"
    code = f"import sys; {everything}; print(sorted({{'click', 'httpx', 'rich', 'segno'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "module", ["triortc.errors", "triortc.codecs.sources", "triortc.engine.peer.tracks", "triortc.engine.calls.legs"]
)
def test_any_room_can_be_imported_first(module: str) -> None:
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True, capture_output=True)
