"""What is shipped for systemd and for containers: its commands are started, asked, and drained, as each would do it."""

from __future__ import annotations

import fnmatch
import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from support.served_file import write_keys
from support.signaling_ports import free_port
from triortc.signaling.settings import ServerSettings

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
UNIT = (ROOT / "packaging" / "triortc.service").read_text(encoding="utf-8")
IMAGE = (ROOT / "packaging" / "Dockerfile").read_text(encoding="utf-8")
MOST_EXPOSURE_TENTHS = 20


def unit_values(key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", UNIT, re.MULTILINE)


def image_steps() -> list[tuple[str, str]]:
    """Instruction and arguments of each step; none is continued on a second line."""
    steps = [line.partition(" ") for line in IMAGE.splitlines() if line and not line.startswith("#")]
    return [(instruction, arguments) for instruction, _, arguments in steps]


def image_step(instruction: str) -> list[str]:
    found: list[str] = json.loads(dict(image_steps())[instruction])
    return found


def here(command: Sequence[str], folder: Path, operations_port: int) -> list[str]:
    """A command of the unit or the image, with this machine's places for theirs."""
    replaced = {"/opt/triortc/bin": str(BIN), "/etc/triortc": str(folder / "etc"), "9464": str(operations_port)}
    words = []
    for word in command:
        for theirs, ours in replaced.items():
            word = word.replace(theirs, ours)
        words.append(word)
    return words


def write_configuration(folder: Path, operations_port: int) -> None:
    etc = folder / "etc"
    etc.mkdir()
    write_keys(etc, a=Ed25519PrivateKey.generate())
    (etc / "triortc.toml").write_text(
        f"""
        [server]
        host = "127.0.0.1"
        port = {free_port()}
        data = "{folder / "state"}"
        [operations]
        port = {operations_port}
        [media]
        media_host = ["127.0.0.1"]
        [[issuers]]
        issuer = "https://login.example"
        organizations = ["acme"]
        jwks_file = "keys.json"
        """
    )


START = {
    "systemd": (
        [shlex.split(unit_values(key)[0]) for key in ("ExecStartPre", "ExecStart")],
        unit_values("KillSignal")[0],
    ),
    "container": ([[*image_step("ENTRYPOINT"), *image_step("CMD")]], dict(image_steps())["STOPSIGNAL"]),
}


@pytest.mark.parametrize(("commands", "stop"), START.values(), ids=START)
async def test_the_command_starts_answers_ready_and_leaves_when_it_is_asked_to(
    commands: list[list[str]], stop: str, tmp_path: Path
) -> None:
    operations_port = free_port()
    write_configuration(tmp_path, operations_port)
    check = json.loads(dict(image_steps())["HEALTHCHECK"].partition(" CMD ")[2])
    with trio.fail_after(60):
        *before, command = commands
        for each in before:
            await trio.run_process(here(each, tmp_path, operations_port), capture_stdout=True)
        process = await trio.lowlevel.open_process(
            here(command, tmp_path, operations_port), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        try:
            assert process.stdout is not None
            said = b""
            while b"serving" not in said:
                piece = await process.stdout.receive_some()
                assert piece, f"it ended before it served:\n{said.decode()}"
                said += piece
            healthy = await trio.run_process(here(check, tmp_path, operations_port), check=False, capture_stderr=True)
            assert healthy.returncode == 0, healthy.stderr.decode()
            assert (tmp_path / "state" / "state.db").exists()
            process.send_signal(signal.Signals[stop])
            assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            assert process.stdout is not None
            await process.stdout.aclose()


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("systemd-analyze")
    assert program is not None, "the unit is checked by systemd-analyze: apt-get install systemd"
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False)


def test_systemd_understands_every_line_of_the_unit_and_finds_it_well_confined(tmp_path: Path) -> None:
    unit = tmp_path / "triortc.service"
    unit.write_text(UNIT.replace("/opt/triortc/bin", str(BIN)))
    verified = analyze("verify", "--man=no", str(unit))
    complaints = [line for line in verified.stderr.splitlines() if "triortc.service" in line]
    assert complaints == []
    exposed = analyze("security", "--offline=true", f"--threshold={MOST_EXPOSURE_TENTHS}", "--no-pager", str(unit))
    assert exposed.returncode == 0, exposed.stdout[-2000:]


def test_the_unit_waits_longer_than_calls_may_last_and_grants_only_low_ports() -> None:
    assert int(unit_values("TimeoutStopSec")[0]) > ServerSettings().drain_s
    assert unit_values("AmbientCapabilities") == unit_values("CapabilityBoundingSet") == ["CAP_NET_BIND_SERVICE"]
    assert unit_values("ExecReload") == ["/bin/kill -HUP $MAINPID"]


def test_every_file_that_the_image_copies_is_there_and_not_ignored() -> None:
    stages = [arguments.split()[-1] for instruction, arguments in image_steps() if instruction == "FROM"]
    ignored = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    copied = [arguments.split() for instruction, arguments in image_steps() if instruction == "COPY"]
    assert copied, "an image without our files is none"
    for words in copied:
        if words[0].startswith("--from="):
            assert words[0].removeprefix("--from=") in stages
            continue
        for source in words[:-1]:
            assert (ROOT / source).exists(), source
    # The build reads these from the context; a pattern that is too wide would leave them out.
    for needed in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "engine/relay/forwarder.c"):
        assert (ROOT / needed).exists()
        parts = {*Path(needed).parts, needed}
        assert not [pattern for pattern in ignored if fnmatch.filter(parts, pattern.removeprefix("**/"))], needed
    for kept_out in (".venv", ".git"):
        assert any(fnmatch.fnmatch(kept_out, pattern) for pattern in ignored)


def test_the_image_s_programs_are_those_that_its_build_installs() -> None:
    (build,) = [arguments for instruction, arguments in image_steps() if instruction == "RUN" and "venv" in arguments]
    place = re.findall(r"python -m venv (\S+)", build)[0]
    assert f"{place}/bin/pip install --no-cache-dir /source" in build
    programs = re.findall(rf"{place}/bin/(\w+)", IMAGE)
    for program in programs:
        assert (BIN / program).exists(), program
    assert ("COPY", f"--from=build {place} {place}") in image_steps()
