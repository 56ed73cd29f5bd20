"""The numbers of docs/calls.md and docs/calls-numbers.md, and the tests that name them.

A test names a number in its own name (`test_S1_3f_…`, `test_S1_4e_4i_and_4j_…`, `test_R2_…`) or in its docstring
(`I1, I13 to I17: …`). In the folder of the model the rules and invariants are read too.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Final

__all__ = ["SEVERAL_NODES", "documented_numbers", "naming_tests", "numbers_with_tests"]

_TESTS: Final = Path(__file__).parents[1]
_NUMBER: Final = re.compile(r"\b(S\d\.\d{1,2}[a-z]?|[VNLCPKDGRIA]\d{1,2}b?)\b")
_RANGE: Final = re.compile(r"\b(S\d\.\d{1,2}|[VNLCPKDGRIA])(\d{0,2})([a-z]?)\s*(?:to|–)\s*\1?(\d{0,2})([a-z]?)\b")

SEVERAL_NODES: Final = frozenset({"C4", "C7"})
"""Numbers that say something of several nodes only: no test names them."""


def documented_numbers() -> set[str]:
    """Every number that the two documents name; `S1.3` alone is a chapter where some test knows an S1.3a."""
    texts = [(_TESTS.parent / "docs" / name).read_text(encoding="utf-8") for name in ("calls.md", "calls-numbers.md")]
    found = set(numbers_in("\n".join(texts)))
    return {number for number in found if not (number.startswith("S") and f"{number}a" in naming_tests())}


def numbers_in(text: str) -> list[str]:
    """The numbers in a text, ranges (`I13 to I17`, `S1.1b–S1.1e`) written out."""
    text = re.sub(r"\bA-(?=\d)", "A", text)
    found = _NUMBER.findall(text)
    for prefix, low, low_letter, high, high_letter in _RANGE.findall(text):
        if low_letter and high_letter and low == high == "":
            found += [f"{prefix}{chr(code)}" for code in range(ord(low_letter), ord(high_letter) + 1)]
        elif low and high and not low_letter:
            found += [f"{prefix}{number}" for number in range(int(low), int(high) + 1)]
    return found


def numbers_in_name(name: str) -> list[str]:
    """The numbers in a test's name: `test_S1_4e_4i_and_4j_the_end` has S1.4e, S1.4i, S1.4j; `1b_to_1e` is a range."""
    found: list[str] = []
    chapter, ranged = "", False
    for word in name.removeprefix("test_").split("_"):
        if re.fullmatch(r"[Ss]\d", word):
            chapter, ranged = word.upper(), False
        elif chapter and re.fullmatch(r"\d{1,2}[a-z]?", word):
            number = f"{chapter}.{word}"
            if ranged and found and found[-1][:-1] == number[:-1]:
                found += [f"{number[:-1]}{chr(code)}" for code in range(ord(found[-1][-1]) + 1, ord(word[-1]))]
            found.append(number)
            ranged = False
        elif re.fullmatch(r"[VNLCPKDGRIAvnlcpkdgria]\d{1,2}b?", word):
            chapter = ""
            found.append(word[0].upper() + word[1:])
        elif word == "to":
            ranged = True
        elif word != "and":
            chapter = ""
    return found


@cache
def naming_tests() -> dict[str, list[str]]:
    """For each number the tests that name it."""
    found: dict[str, list[str]] = {}
    for path in sorted({*_TESTS.rglob("test_*.py"), *(_TESTS / "model").glob("*.py")}):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            is_test = node.name.startswith("test_")
            if is_test or path.parent.name == "model":
                named = numbers_in_name(node.name) if is_test else []
                for number in [*named, *numbers_in(ast.get_docstring(node) or "")]:
                    found.setdefault(number, []).append(f"{path.parent.name}/{path.name}::{node.name}")
    return found


def numbers_with_tests(further: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    """Every documented number with the tests that name it, then further ones (of rows, by number), each test once."""
    named = naming_tests()
    return {
        number: list(dict.fromkeys([*named.get(number, ()), *further.get(number, ())]))
        for number in sorted(documented_numbers(), key=_natural)
    }


def _natural(number: str) -> tuple[str | int, ...]:
    return tuple(int(part) if part.isdigit() else part for part in re.split(r"(\d+)", number))
