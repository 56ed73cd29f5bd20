"""`triortc demo`: the whole call once as its users run it, and a fault that it must not overlook."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import pytest
from click.testing import CliRunner

from triortc.bench.commands import demo
from triortc.codecs.testcard import read_frame_number
from triortc.engine.relay.gate import GateState
from triortc.engine.relay.python_plane import PythonPlane

COMMAND = (str(Path(sys.executable).with_name("triortc")), "demo")
TIMEOUT_S = 90
LEAST_TALK_S = 7.0


def decoded(path: Path, kind: str) -> dict[str, list[Any]]:
    """Every frame of a kind, by the track's name."""
    with av.open(str(path)) as container:
        streams = [stream for stream in container.streams if stream.type == kind]
        found: dict[str, list[Any]] = {stream.metadata["title"]: [] for stream in streams}
        for packet in container.demux(streams):
            found[packet.stream.metadata["title"]] += packet.decode()
    return found


def test_the_demo_makes_a_whole_call_and_leaves_files_that_can_be_played(tmp_path: Path) -> None:
    out = tmp_path / "made" / "by the demo"
    run = subprocess.run(
        [*COMMAND, "--json", "--out", str(out)], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    told = json.loads(run.stdout)
    assert told["succeeded"] is True
    assert told["failures"] == []
    assert all(expectation["holds"] for expectation in told["expectations"])
    figures = told["figures"]
    assert set(figures["leg_setup_ms"]) == {"visitor", "desktop", "mobile"}
    assert figures["withheld_packets"] > 0
    for name in ("go_to_picture_ms", "pull_to_picture_ms", "handoff_gap_ms"):
        assert figures[name] > 0
    for name in ("picture_latency_ms", "sound_latency_ms"):
        assert 0 < figures[name]["p50"] <= figures[name]["p99"]
    for direction in ("agent", "visitor"):
        assert 0 < figures["frames"][direction]["shown"] <= figures["frames"][direction]["sent"]
        assert figures["sound_gaps"][direction] >= 0
    instants = [moment["ms"] for moment in told["timeline"]]
    assert instants == sorted(instants)

    pictures, sound = decoded(out / "call.webm", "video"), decoded(out / "call.webm", "audio")
    assert set(pictures) == {"agent video", "visitor video"}
    assert set(sound) == {"agent audio", "visitor audio"}
    for frames in (*pictures.values(), *sound.values()):
        assert frames[-1].time - frames[0].time > LEAST_TALK_S
    with av.open(str(out / "snapshot.png")) as still:
        assert read_frame_number(next(still.decode(video=0))) is not None
    assert sorted(path.name for path in out.iterdir()) == ["call.webm", "snapshot.png"]


def test_an_agent_who_is_seen_before_go_makes_the_demo_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_leg = PythonPlane.add_leg

    def add_leg_with_open_gates(self: PythonPlane, leg: str, *arguments: Any, **options: Any) -> None:
        add_leg(self, leg, *arguments, **options)
        for kind in ("audio", "video"):
            self.set_gate(leg, kind, GateState.OPEN, 0.0)

    monkeypatch.setattr(PythonPlane, "add_leg", add_leg_with_open_gates)
    run = CliRunner().invoke(demo, ["--json", "--out", str(tmp_path)])
    assert run.exit_code == 1, run.output
    told = json.loads(run.stdout)
    assert told["succeeded"] is False
    assert told["figures"] is None
    assert "before Go" in told["failures"][0]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    run = CliRunner().invoke(demo, ["--quiet", "--out", str(tmp_path / "file")])
    assert run.exit_code == 1
    assert run.stderr.startswith("failed: ")
    assert "File exists" in run.stderr
