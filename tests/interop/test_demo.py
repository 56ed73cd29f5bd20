"""`triortc demo`: the whole call once as its users run it, and a fault that it must not overlook."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from click.testing import CliRunner

from triortc.bench.commands import demo
from triortc.bench.demo_files import TrackContent, sound_behind_pictures_ms
from triortc.bench.demo_media import (
    PERFORMERS,
    HeardSound,
    ReceivedLog,
    SentLog,
    SlateEye,
    beep_levels,
    count_beeps,
    performer_of,
)
from triortc.codecs.configuration import SlateConfiguration
from triortc.codecs.frames import EncodedFrame
from triortc.codecs.slate import slate_picture
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


def frame(data: bytes) -> EncodedFrame:
    return EncodedFrame(data, 0)


def test_a_frame_is_timed_from_the_last_equal_one_that_was_sent() -> None:
    desktop, mobile, received = SentLog(), SentLog(), ReceivedLog()
    desktop.add(frame(b"tone"), 1.0)
    desktop.add(frame(b"lost"), 1.5)
    mobile.add(frame(b"tone"), 2.0)
    mobile.add(frame(b"late"), 2.1)
    received.add(frame(b"tone"), 1.001)
    received.add(frame(b"tone"), 2.003)
    received.add(frame(b"slate"), 2.05)
    received.add(frame(b"late"), 2.5)
    assert received.latencies_s([mobile, desktop], 0.0, 2.2) == pytest.approx([0.001, 0.003])


def test_frames_sent_are_counted_from_the_first_to_the_last_that_came() -> None:
    sent, received = SentLog(), ReceivedLog()
    for data in (b"withheld", b"1", b"2", b"3", b"behind the end"):
        sent.add(frame(data), 0.0)
    assert received.count(sent) == (0, 0)
    received.add(frame(b"1"), 0.1)
    received.add(frame(b"3"), 0.1)
    assert received.count(sent) == (3, 2)


@pytest.mark.parametrize("performer", PERFORMERS, ids=lambda performer: performer.name)
def test_everybody_is_told_by_pictures_and_by_beeps(performer: Any) -> None:
    eye = SlateEye(SlateConfiguration())
    seen = eye.look(performer.card().picture(77), 1.0)
    assert (seen.performer, seen.slate) == (performer, False)
    tone = performer.tone()
    heard = [HeardSound(0.0, beep_levels(tone.sound(start, 960)), lost=False) for start in range(0, 2 * 48_000, 960)]
    assert {each.name: count_beeps(heard, each) for each in PERFORMERS} == {
        each.name: 2 if each is performer else 0 for each in PERFORMERS
    }


def test_the_slate_is_nobodys_picture_and_a_dark_one_is_no_slate() -> None:
    eye = SlateEye(SlateConfiguration())
    slate = eye.look(slate_picture(SlateConfiguration(), 7), 1.0)
    assert (slate.performer, slate.slate) == (None, True)
    dark = av.VideoFrame.from_ndarray(np.full((720, 640), 16, np.uint8), format="yuv420p")
    assert (eye.look(dark, 1.0).number, eye.look(dark, 1.0).slate) == (None, False)
    assert performer_of(5) is None


def test_sound_is_behind_pictures_by_the_median_of_flash_to_nearest_beep() -> None:
    pictures, sound = TrackContent("video"), TrackContent("audio")
    assert sound_behind_pictures_ms(pictures, sound) == float("inf")
    pictures.onsets_s += [1.0, 2.0, 3.0, 9.0]
    sound.onsets_s += [0.01, 1.01, 2.03, 3.02]
    assert sound_behind_pictures_ms(pictures, sound) == pytest.approx(20)


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
    assert run.stderr == f"Error: {tmp_path / 'file'} cannot be made: File exists\n"
