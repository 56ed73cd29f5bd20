"""The thin public face: what it exports, and that importing it is cheap and free of cycles."""

from __future__ import annotations

import subprocess
import sys

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


def test_the_face_does_not_pull_in_the_command_line_or_the_benchmarks() -> None:
    code = "import sys, triortc; print(sorted({'click', 'httpx', 'rich', 'segno'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "module", ["triortc.errors", "triortc.codecs.sources", "triortc.engine.peer.tracks", "triortc.engine.calls.legs"]
)
def test_any_room_can_be_imported_first(module: str) -> None:
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True, capture_output=True)
