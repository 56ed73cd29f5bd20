"""docs/architecture.md: the session without I/O that it shows connects, and carries a packet."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

TEXT = (Path(__file__).parents[2] / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_the_sessions_that_are_shown_connect_and_carry_a_packet_without_a_clock() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(block, "architecture.md", "exec"), names)
    connected_at, heard = names["say"](b"hello")
    assert 0.03 < connected_at < 0.1  # a few ways of 10 ms: checks, then two round trips of DTLS
    assert heard == b"hello"
