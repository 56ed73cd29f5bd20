"""Both sides of a recording in one picture and one sound."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from support.avsync import card_frames, watch
from triortc.codecs.composition import AudioMixer, compose_side_by_side
from triortc.codecs.configuration import CompositionConfiguration
from triortc.codecs.recorder import Recorder, RecorderTrack
from triortc.codecs.testcard import read_frame_number
from triortc.errors import CodecError, ConfigurationError

LATER_S = 0.5


def record(path: Path) -> None:
    names = ["agent video", "agent audio", "visitor video", "visitor audio"]
    codecs = ["VP8", "opus", "H264", "PCMU"]
    recorder = Recorder(path, [RecorderTrack(*pair) for pair in zip(names, codecs, strict=True)], started_at_s=0.0)
    sides = [("agent", 0.0, card_frames("VP8", "opus", 2.0)), ("visitor", LATER_S, card_frames("H264", "PCMU", 2.0))]
    for side, delay_s, sent in sides:
        for item in sent:
            recorder.write(f"{side} {item.kind}", item.frame, item.time_s + delay_s)
    assert recorder.finish(2.5).error is None


def half(frame: av.VideoFrame, side: int) -> av.VideoFrame:
    gray = frame.to_ndarray(format="gray")[:, side * 320 : (side + 1) * 320]
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(gray, np.uint8), format="gray")


def test_both_sides_are_seen_and_heard_at_their_times(tmp_path: Path) -> None:
    record(tmp_path / "call.mkv")
    configuration = CompositionConfiguration(pane_width=320, pane_height=240, frame_rate=30)
    result = compose_side_by_side(tmp_path / "call.mkv", tmp_path / "both.webm", configuration)
    assert result.error is None
    assert result.path is not None
    assert result.duration_s == pytest.approx(2.5, abs=0.05)
    with av.open(str(result.path), "r") as container:
        assert [stream.type for stream in container.streams] == ["video", "audio"]
        differences = []
        for frame in container.decode(video=0):
            assert (frame.width, frame.height) == (640, 240)
            left, right = (read_frame_number(half(frame, side)) for side in (0, 1))
            if left is not None and right is not None and frame.time is not None and frame.time < 1.9:
                differences.append(left - right)
    assert len(differences) > 30
    assert all(abs(difference - LATER_S * 30) <= 1 for difference in differences)
    beeps = watch(result.path).beeps
    assert beeps == pytest.approx([0.0, 0.5, 1.0, 1.5], abs=0.04)


def test_sound_alone_is_mixed_without_a_picture(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "a.webm", [RecorderTrack("a", "opus"), RecorderTrack("b", "opus")], started_at_s=0.0)
    for item in card_frames("VP8", "opus", 1.0):
        if item.kind == "audio":
            recorder.write("a", item.frame, item.time_s)
            recorder.write("b", item.frame, item.time_s + 0.3)
    recorder.finish(1.5)
    result = compose_side_by_side(tmp_path / "a.webm", tmp_path / "mix.webm")
    assert result.path is not None
    with av.open(str(result.path), "r") as container:
        assert [stream.type for stream in container.streams] == ["audio"]


def test_the_mixer_adds_clips_and_keeps_times() -> None:
    mixer = AudioMixer()
    loud = np.full(960, 30_000, np.int16)
    mixer.add(1, 0.0, loud)
    mixer.add(2, 0.01, loud)
    mixer.add(1, 0.0205, loud // 3)  # a rounded time: it runs on
    pieces = mixer.take(0.04)
    assert [start for start, _ in pieces] == [0, 960]
    first, second = (samples for _, samples in pieces)
    assert (first[0], first[479], first[480], first[959]) == (30_000, 30_000, 32_767, 32_767)
    assert (second[0], second[480]) == (32_767, 10_000)
    mixer.add(2, 0.0, loud)  # too late
    mixer.add(3, 1000.0, loud)  # far ahead
    assert [samples.any() for _, samples in mixer.take(0.08)] == [False, False]


def test_what_cannot_be_composed_raises(tmp_path: Path) -> None:
    with pytest.raises(CodecError, match="cannot compose"):
        compose_side_by_side(tmp_path / "missing.webm", tmp_path / "out.webm")
    with pytest.raises(ConfigurationError):
        CompositionConfiguration(pane_width=3)
