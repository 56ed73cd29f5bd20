"""The scenes that docs/calls-numbers.md says both browsers play: the tests are there, and run in both."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
ROW: Final = re.compile(r"^\| ([^|]+?) \| `(test_\w+\.py)::(test_\w+)` \|$", re.MULTILINE)
SCENES: Final = ROW.findall((ROOT / "docs" / "calls-numbers.md").read_text(encoding="utf-8"))


def test_there_are_scenes() -> None:
    assert len(SCENES) == 10


@pytest.mark.parametrize(("scene", "file", "name"), SCENES)
def test_a_scene_is_a_test_in_both_browsers_or_in_the_one_that_it_names(scene: str, file: str, name: str) -> None:
    source = (ROOT / "tests" / "browsers" / file).read_text(encoding="utf-8")
    (test,) = [node for node in ast.parse(source).body if isinstance(node, ast.AsyncFunctionDef) and node.name == name]
    body = ast.unparse(test)
    if scene.endswith((", Chromium", ", Firefox")):
        assert f"open_browser('{scene.rpartition(', ')[2].lower()}'" in body
    else:
        assert [ast.unparse(one) for one in test.decorator_list] == ["pytest.mark.parametrize('name', BROWSERS)"]
        functions = [node for node in ast.parse(source).body if isinstance(node, ast.AsyncFunctionDef)]
        openers = [node.name for node in functions if "open_browser(name)" in ast.unparse(node)]
        assert name in openers or any(f" {opener}(name, " in body for opener in openers)
