"""What the README shows works as it is shown."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import httpx
import trio
from click.testing import CliRunner

from triortc.signaling.cli import main

ROOT = Path(__file__).resolve().parent.parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


async def test_the_server_that_embeds_the_engine_serves_its_pages() -> None:
    # Ports that the system picks: the test must not mind who else runs on this machine.
    program = BLOCKS[0].replace("port=8080", "port=0").replace("media_port=40000", "media_port=0")
    assert program != BLOCKS[0]
    process = await trio.lowlevel.open_process([sys.executable, "-u", "-c", program], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        with trio.fail_after(20):
            said = b""
            while b"\n" not in said:
                chunk = await process.stdout.receive_some()
                assert chunk, "the program ended"
                said += chunk
            url = re.search(rb"http://\S+", said)
            assert url is not None
            async with httpx.AsyncClient() as client:
                for path in ("health", "visitor", "agent"):
                    assert (await client.get(url.group().decode() + path)).status_code == 200
    finally:
        with trio.move_on_after(5, shield=True):
            process.terminate()
            await process.wait()
            await process.stdout.aclose()


def test_the_other_examples_are_valid_python() -> None:
    for block in BLOCKS:
        compile(block, "README.md", "exec", flags=0x2000)  # PyCF_ALLOW_TOP_LEVEL_AWAIT


def test_every_file_that_is_linked_exists() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)", README)
    assert links
    for link in links:
        assert (ROOT / link).exists(), link


def test_every_command_that_is_named_exists() -> None:
    listed = subprocess.run(["make", "-n", "demo", "test"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "triortc demo" in listed.stdout
    for command in set(re.findall(r"triortc ((?:bench )?[a-z-]+)", README)) - {"bench"}:
        shown = CliRunner().invoke(main, [*command.split(), "--help"])
        assert shown.exit_code == 0, command
    started = subprocess.run([sys.executable, "-m", "triortc.signaling.cli", "--help"], capture_output=True, check=True)
    assert b"serve" in started.stdout
