"""The recorder: times, holes, keyframes, containers, disks that fail. And A/V sync, measured in the file."""

from __future__ import annotations

import errno
import io
from pathlib import Path
from typing import BinaryIO, cast

import av
import numpy as np
import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.avsync import SentFrame, card_frames, watch
from triortc.codecs.configuration import RecorderConfiguration
from triortc.codecs.frames import EncodedFrame
from triortc.codecs.recorder import Recorder, RecorderTrack
from triortc.codecs.recording import open_recording
from triortc.codecs.threads import CodecThreads
from triortc.errors import CodecError, ConfigurationError

GO = 1000.0
SYNC_LIMIT_S = 0.040
TRACKS = [RecorderTrack("video", "VP8"), RecorderTrack("audio", "opus")]


@pytest.fixture(scope="module")
def card() -> list[SentFrame]:
    """Three seconds of test card whose timestamps wrap."""
    return card_frames("VP8", "opus", 3.0, first_timestamp=(1 << 32) - 50_000)


def feed(recorder: Recorder, sent: list[SentFrame], *, late_s: float = 0.0) -> None:
    for item in sent:
        assert recorder.write(item.kind, item.frame, GO + item.time_s + late_s)
        if recorder.flush_wanted:
            recorder.flush()


@pytest.mark.parametrize(
    ("video", "audio", "suffix"),
    [
        ("VP8", "opus", ".webm"),
        ("VP8", "PCMA", ".mkv"),
        ("H264", "PCMU", ".mkv"),
        ("H264", "opus", ".mkv"),
        ("H264", "opus", ".mp4"),
    ],
)
def test_flash_and_beep_stay_together_through_payloads_and_file(
    video: str, audio: str, suffix: str, tmp_path: Path
) -> None:
    tracks = [RecorderTrack("video", video), RecorderTrack("audio", audio)]
    recorder = Recorder(tmp_path / f"call{suffix}", tracks, started_at_s=GO, title="a call")
    feed(recorder, card_frames(video, audio, 3.0))
    result = recorder.finish(GO + 3.0)
    assert result.error is None
    assert result.path == tmp_path / f"call{suffix}"
    assert (result.duration_s, result.frames_dropped) == (3.0, 0)
    assert [path.name for path in tmp_path.iterdir()] == [f"call{suffix}"]
    seen = watch(result.path)
    assert len(seen.flashes) == len(seen.beeps) == 3
    for second, (flash, beep) in enumerate(zip(seen.flashes, seen.beeps, strict=True)):
        assert abs(flash - beep) <= SYNC_LIMIT_S
        assert flash == pytest.approx(second, abs=0.002)
    assert [number for number, _ in seen.numbers] == list(range(90))
    with av.open(str(result.path)) as container:
        assert container.duration == pytest.approx(3_000_000, abs=20_000)


def test_sync_holds_when_one_side_arrives_late_but_its_reports_tell_the_capture_time(
    card: list[SentFrame], tmp_path: Path
) -> None:
    recorder = Recorder(tmp_path / "call.webm", TRACKS, started_at_s=GO)
    first = {kind: next(item.frame.timestamp for item in card if item.kind == kind) for kind in ("video", "audio")}
    recorder.map_timestamps("video", first["video"], GO)
    recorder.map_timestamps("audio", first["audio"], GO)
    for item in card:
        recorder.write(item.kind, item.frame, GO + item.time_s + (0.4 if item.kind == "video" else 0.05))
    result = recorder.finish()
    assert result.path is not None
    seen = watch(result.path)
    assert len(seen.flashes) == len(seen.beeps) == 3
    assert all(abs(flash - beep) <= SYNC_LIMIT_S for flash, beep in zip(seen.flashes, seen.beeps, strict=True))


def test_a_late_first_packet_does_not_shift_what_follows(card: list[SentFrame], tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "call.webm", TRACKS, started_at_s=GO)
    for index, item in enumerate(card):
        recorder.write(item.kind, item.frame, GO + item.time_s + (0.3 if index < 2 else 0.0))
    result = recorder.finish()
    assert result.path is not None
    assert watch(result.path).numbers[60][1] == pytest.approx(2.0, abs=0.002)


def test_both_sides_are_four_named_tracks(card: list[SentFrame], tmp_path: Path) -> None:
    names = ["agent video", "agent audio", "visitor video", "visitor audio"]
    tracks = [RecorderTrack(name, "VP8" if "video" in name else "opus") for name in names]
    recorder = Recorder(tmp_path / "call.webm", tracks, started_at_s=GO)
    for item in card:
        recorder.write(f"agent {item.kind}", item.frame, GO + item.time_s)
        recorder.write(f"visitor {item.kind}", item.frame, GO + item.time_s + 0.5)
    result = recorder.finish(GO + 4.0)
    assert result.path is not None
    with av.open(str(result.path)) as container:
        assert [stream.metadata["title"] for stream in container.streams] == names
        assert container.duration == pytest.approx(4_000_000, abs=20_000)
    agent, visitor = watch(result.path, 0, 0), watch(result.path, 1, 1)
    assert agent.flashes[0] == pytest.approx(0.0, abs=0.002)
    assert visitor.flashes[0] == pytest.approx(0.5, abs=0.002)
    assert visitor.beeps[0] == pytest.approx(0.5, abs=SYNC_LIMIT_S)


def test_nothing_before_go_is_in_the_file(card: list[SentFrame], tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "call.webm", TRACKS, started_at_s=GO + 1.0)
    for item in card:
        recorder.write(item.kind, item.frame, GO + item.time_s)
    recorder.flush()
    assert recorder.keyframes_wanted == ("video",), "the only keyframe came before Go"
    result = recorder.finish(GO + 3.0)
    assert result.path is not None
    assert result.duration_s == 2.0
    assert result.frames_dropped == 50 + 90, "sound before Go, and pictures without a keyframe"
    assert watch(result.path).numbers == []


def test_pictures_begin_with_a_keyframe(card: list[SentFrame], tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "call.webm", TRACKS, started_at_s=GO)
    assert recorder.keyframes_wanted == ("video",)
    pictures = [item.frame for item in card if item.kind == "video"]
    recorder.write("video", pictures[5], GO + 0.1)
    for index, frame in enumerate(pictures[:10]):
        again = EncodedFrame(frame.data, (frame.timestamp + 90_000) % (1 << 32), 0, frame.keyframe)
        recorder.write("video", again, GO + 1.0 + index / 30)
    recorder.flush()
    assert not recorder.keyframes_wanted
    result = recorder.finish()
    assert result.path is not None
    assert watch(result.path).numbers[0][0] == 0


def audio_times(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [float(packet.pts * packet.time_base) for packet in container.demux(audio=0) if packet.pts is not None]


@pytest.mark.parametrize(("codec", "suffix"), [("opus", ".webm"), ("PCMU", ".mkv"), ("PCMA", ".mkv")])
def test_a_hole_in_the_sound_is_filled_with_silence_and_nothing_moves(codec: str, suffix: str, tmp_path: Path) -> None:
    sent = [item for item in card_frames("VP8", codec, 3.0) if item.kind == "audio"]
    kept = [item for item in sent if not 0.5 <= item.time_s < 1.5]
    recorder = Recorder(tmp_path / f"call{suffix}", [RecorderTrack("audio", codec)], started_at_s=GO)
    feed(recorder, kept)
    result = recorder.finish(GO + 3.2)
    assert result.path is not None
    times = audio_times(result.path)
    assert max(np.diff(times)) <= 0.021, "no gap, the end filled too"
    assert times[-1] == pytest.approx(3.18, abs=0.03)
    with av.open(str(result.path)) as container:
        sound = [(frame.time or 0.0, frame.to_ndarray()) for frame in container.decode(audio=0)]
    scale = 1.0 if sound[0][1].dtype == np.float32 else 32768.0
    quiet = [np.abs(part).max() / scale for time_s, part in sound if 0.6 < time_s < 1.4]
    assert max(quiet) < 0.01
    with_beep = [np.abs(part).max() / scale for time_s, part in sound if 1.99 < time_s < 2.05]
    assert max(with_beep) > 0.3, "what follows the hole is at its place"


def test_a_very_long_hole_stays_a_hole(card: list[SentFrame], tmp_path: Path) -> None:
    configuration = RecorderConfiguration(max_audio_fill_s=1.0)
    recorder = Recorder(
        tmp_path / "call.webm", [RecorderTrack("audio", "opus")], started_at_s=GO, configuration=configuration
    )
    sounds = [item.frame for item in card if item.kind == "audio"]
    recorder.write("audio", sounds[0], GO)
    later = EncodedFrame(sounds[1].data, (sounds[0].timestamp + 48_000 * 4) % (1 << 32), 960)
    recorder.write("audio", later, GO + 4.0)
    result = recorder.finish()
    assert result.path is not None
    assert (result.frames_written, round(audio_times(result.path)[-1])) == (2, 4)


def test_a_timestamp_out_of_all_bounds_starts_a_new_time_line(card: list[SentFrame], tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "call.webm", TRACKS, started_at_s=GO)
    for item in card:
        jump = 0 if item.time_s < 1.5 else 0x7000_0000
        frame = EncodedFrame(
            item.frame.data, (item.frame.timestamp + jump) % (1 << 32), item.frame.duration, item.frame.keyframe
        )
        recorder.write(item.kind, frame, GO + item.time_s)
    result = recorder.finish()
    assert result.path is not None
    assert result.duration_s == pytest.approx(3.0, abs=0.05)
    numbers = watch(result.path).numbers
    assert numbers[80][1] == pytest.approx(80 / 30, abs=0.005)


def test_a_track_that_never_comes_does_not_hold_up_the_others(card: list[SentFrame], tmp_path: Path) -> None:
    tracks = [*TRACKS, RecorderTrack("visitor video", "VP8"), RecorderTrack("visitor audio", "PCMU")]
    recorder = Recorder(tmp_path / "call.mkv", tracks, started_at_s=GO)
    feed(recorder, card)
    result = recorder.finish(GO + 3.0)
    assert result.path is not None
    assert len(watch(result.path).numbers) == 90


def test_h264_that_comes_after_the_head_was_written_can_still_be_played(tmp_path: Path) -> None:
    tracks = [RecorderTrack("video", "H264"), RecorderTrack("audio", "opus")]
    configuration = RecorderConfiguration(header_wait_s=1.0)
    recorder = Recorder(tmp_path / "call.mkv", tracks, started_at_s=GO, configuration=configuration)
    sent = card_frames("H264", "opus", 3.0)
    for item in sorted(sent, key=lambda item: item.time_s + (1.5 if item.kind == "video" else 0)):
        delay = 1.5 if item.kind == "video" else 0.0
        recorder.write(item.kind, item.frame, GO + item.time_s + delay)
        recorder.flush()
    result = recorder.finish()
    assert result.path is not None
    seen = watch(result.path)
    assert [number for number, _ in seen.numbers] == list(range(90))
    assert seen.flashes[0] == pytest.approx(1.5, abs=0.002)


def test_the_last_picture_lasts_until_the_end(card: list[SentFrame], tmp_path: Path) -> None:
    pictures = [item for item in card if item.kind == "video"]
    recorder = Recorder(tmp_path / "call.webm", TRACKS[:1], started_at_s=GO)
    feed(recorder, pictures)
    result = recorder.finish(GO + 10.0)
    assert result.path is not None
    assert result.duration_s == 10.0
    with av.open(str(result.path)) as container:
        *_, last = [packet for packet in container.demux(video=0) if packet.pts is not None]
        assert last.duration is not None
        assert float(((last.pts or 0) + last.duration) * last.time_base) == pytest.approx(10.0, abs=0.01)


def test_a_recording_without_a_frame_leaves_no_file(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "call.webm", TRACKS, started_at_s=GO)
    result = recorder.finish(GO + 1.0)
    assert (result.path, result.error, result.duration_s, result.frames_written) == (None, None, 0.0, 0)
    assert list(tmp_path.iterdir()) == []
    assert recorder.finish() is result
    assert not recorder.write("audio", EncodedFrame(b"\x78", 0), GO)


def test_the_queue_is_bounded_in_frames_and_bytes(tmp_path: Path) -> None:
    by_count = RecorderConfiguration(queue_frames=3)
    recorder = Recorder(tmp_path / "a.webm", TRACKS, started_at_s=GO, configuration=by_count)
    taken = [recorder.write("audio", EncodedFrame(b"\x78abc", 960 * i, 960), GO + i / 50) for i in range(5)]
    assert taken == [True, True, True, False, False]
    recorder.flush()
    assert recorder.write("audio", EncodedFrame(b"\x78abc", 4800, 960), GO + 0.1)
    assert recorder.finish().frames_dropped == 2
    by_size = RecorderConfiguration(queue_bytes=100)
    recorder = Recorder(tmp_path / "b.webm", TRACKS, started_at_s=GO, configuration=by_size)
    assert [recorder.write("audio", EncodedFrame(b"\x78" * 60, 960 * i, 960), GO) for i in range(2)] == [True, False]
    recorder.finish()


class _FullDisk(io.RawIOBase):
    """A file that takes so many bytes and then has no room. Overwriting what is there needs none."""

    def __init__(self, path: Path, room: int, *, short_writes: bool) -> None:
        self._file = path.open("w+b", buffering=0)
        self._room = room
        self._short_writes = short_writes

    def write(self, data: bytes | memoryview) -> int:  # type: ignore[override]  # narrower than any buffer
        if self._file.tell() + len(data) <= self._room:
            return self._file.write(data)
        if self._short_writes:
            return self._file.write(bytes(data)[: max(0, self._room - self._file.tell())])
        raise OSError(errno.ENOSPC, "No space left on device")

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def truncate(self, size: int | None = None) -> int:
        return self._file.truncate(size)

    def close(self) -> None:
        self._file.close()
        super().close()


@pytest.mark.parametrize("short_writes", [False, True])
def test_a_full_disk_ends_the_recording_with_a_value_and_leaves_a_whole_file(
    short_writes: bool, card: list[SentFrame], tmp_path: Path
) -> None:
    def open_file(path: Path) -> BinaryIO:
        return cast(BinaryIO, _FullDisk(path, 40_000, short_writes=short_writes))

    configuration = RecorderConfiguration(cluster_s=0.5, flush_frames=10)
    recorder = Recorder(
        tmp_path / "call.webm", TRACKS, started_at_s=GO, configuration=configuration, open_file=open_file
    )
    refused = 0
    for item in card:
        refused += not recorder.write(item.kind, item.frame, GO + item.time_s)
        if recorder.flush_wanted:
            recorder.flush()
    assert isinstance(recorder.error, CodecError)
    assert refused > 0
    result = recorder.finish(GO + 3.0)
    assert result.error is recorder.error
    assert result.path == tmp_path / "call.webm"
    assert 0.4 < result.duration_s < 3.0
    assert 0 < result.file_bytes <= 40_000
    seen = watch(result.path)
    assert [number for number, _ in seen.numbers] == list(range(len(seen.numbers)))
    assert len(seen.numbers) >= 14
    with av.open(str(result.path)) as container:
        assert container.duration == pytest.approx(result.duration_s * 1e6, abs=10_000)
    assert [path.name for path in tmp_path.iterdir()] == ["call.webm"]


def test_a_folder_that_does_not_exist_is_a_value_too(card: list[SentFrame], tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "missing" / "call.webm", TRACKS, started_at_s=GO)
    for item in card:
        recorder.write(item.kind, item.frame, GO + item.time_s)
    result = recorder.finish()
    assert isinstance(result.error, CodecError)
    assert result.path is None


def test_a_file_that_reaches_its_limit_is_closed_in_order(card: list[SentFrame], tmp_path: Path) -> None:
    configuration = RecorderConfiguration(cluster_s=0.5, max_file_bytes=40_000)
    recorder = Recorder(tmp_path / "call.webm", TRACKS, started_at_s=GO, configuration=configuration)
    for item in card:
        recorder.write(item.kind, item.frame, GO + item.time_s)
    result = recorder.finish()
    assert result.error is not None
    assert "limit" in str(result.error)
    assert result.path is not None
    assert len(watch(result.path).numbers) > 10


def test_the_file_on_the_disk_can_be_played_while_it_grows(card: list[SentFrame], tmp_path: Path) -> None:
    recorder = Recorder(
        tmp_path / "call.webm", TRACKS, started_at_s=GO, configuration=RecorderConfiguration(cluster_s=0.5)
    )
    for item in card:
        recorder.write(item.kind, item.frame, GO + item.time_s)
    recorder.flush()
    assert [path.name for path in tmp_path.iterdir()] == ["call.webm.part"]
    assert len(watch(tmp_path / "call.webm.part").numbers) > 60
    recorder.finish()
    assert [path.name for path in tmp_path.iterdir()] == ["call.webm"]


def test_a_finished_file_has_an_index_of_keyframes(card: list[SentFrame], tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "call.webm", TRACKS, started_at_s=GO)
    for round_s in (0.0, 3.0, 6.0):
        for item in card:
            ticks = round(round_s * (90_000 if item.kind == "video" else 48_000))
            stamp = (item.frame.timestamp + ticks) % (1 << 32)
            frame = EncodedFrame(item.frame.data, stamp, item.frame.duration, item.frame.keyframe)
            recorder.write(item.kind, frame, GO + round_s + item.time_s)
    result = recorder.finish(GO + 9.0)
    assert result.path is not None
    with av.open(str(result.path)) as container:
        video = container.streams.video[0]
        container.seek(6_100, stream=video)
        assert next(container.demux(video)).pts == pytest.approx(6_000, abs=2)


def test_a_file_of_sound_alone_has_an_index_of_its_clusters(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "call.webm", [RecorderTrack("caller", "opus")], started_at_s=GO)
    for n in range(500):
        recorder.write("caller", EncodedFrame(b"\xf8\xff\xfe", 960 * n, 960), GO + n / 50)
    result = recorder.finish(GO + 10.0)
    assert result.path is not None
    data = result.path.read_bytes()
    assert data.count(b"\x1f\x43\xb6\x75") == 5, "clusters of two seconds"
    _, index = data.split(b"\x1c\x53\xbb\x6b")[-2:]  # the first one is in the seek head
    assert index.count(b"\xf7\x81\x01\xf1") == 5, "the same track, and a cluster's place"
    with av.open(str(result.path)) as container:
        sound = container.streams.audio[0]
        container.seek(6_100, stream=sound)
        assert next(container.demux(sound)).pts == pytest.approx(6_000, abs=20)


def test_tracks_far_out_of_step_still_make_a_file_in_order(tmp_path: Path) -> None:
    tracks = [RecorderTrack("a", "opus"), RecorderTrack("b", "opus")]
    configuration = RecorderConfiguration(cluster_s=30.0, max_audio_fill_s=0.0, max_clock_error_s=100.0)
    recorder = Recorder(tmp_path / "call.webm", tracks, started_at_s=0.0, configuration=configuration)
    for second, name in ((30, "a"), (1, "b"), (59, "a"), (5, "b"), (62, "a"), (93, "b")):
        recorder.write(name, EncodedFrame(b"\x78abc", second * 48_000, 960), float(second))
    result = recorder.finish()
    assert (result.error, result.frames_written) == (None, 6)
    assert result.path is not None
    assert [round(time_s) for time_s in audio_times(result.path)] == [30, 59, 62]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    frames=st.lists(
        st.tuples(
            st.sampled_from(["vp8", "h264", "opus", "pcmu"]),
            st.one_of(
                st.binary(max_size=60),
                st.builds(bytes.__add__, st.just(bytes.fromhex("d002009d012a")), st.binary(max_size=9)),
                st.builds(
                    bytes.__add__, st.just(bytes.fromhex("0000016742c01f0000016800000165")), st.binary(max_size=9)
                ),
            ),
            st.integers(0, (1 << 32) - 1),
            st.booleans(),
            st.floats(0, 3),
        ),
        max_size=25,
    ),
)
def test_whatever_peers_send_the_recording_ends_in_order(
    frames: list[tuple[str, bytes, int, bool, float]], tmp_path: Path
) -> None:
    tracks = [RecorderTrack(name, name) for name in ("vp8", "h264", "opus", "pcmu")]
    recorder = Recorder(tmp_path / "call.mkv", tracks, started_at_s=GO)
    now = GO
    for track, data, timestamp, keyframe, later_s in frames:
        now += later_s
        recorder.write(track, EncodedFrame(data, timestamp, 0, keyframe), now)
        recorder.flush()
    result = recorder.finish(now)
    assert result.error is None
    if result.path is not None:
        with av.open(str(result.path), "r") as container:
            assert len(container.streams) == 4
            assert sum(packet.pts is not None for packet in container.demux()) <= result.frames_written


@pytest.mark.parametrize(
    ("path", "tracks"),
    [
        ("call.avi", TRACKS),
        ("call", TRACKS),
        ("call.webm", []),
        ("call.webm", [TRACKS[0], TRACKS[0]]),
        ("call.webm", [RecorderTrack("v", "H264")]),
        ("call.webm", [RecorderTrack("a", "PCMU")]),
        ("call.mp4", [RecorderTrack("v", "VP8")]),
    ],
)
def test_a_recording_that_cannot_be_is_refused_at_once(path: str, tracks: list[RecorderTrack]) -> None:
    with pytest.raises(ConfigurationError):
        Recorder(path, tracks, started_at_s=GO)


def test_mistakes_with_tracks_raise_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="theora"):
        RecorderTrack("v", "theora")
    with pytest.raises(ConfigurationError):
        RecorderTrack("a", "opus", 3)
    recorder = Recorder(tmp_path / "call.webm", TRACKS, started_at_s=GO)
    with pytest.raises(ConfigurationError, match="no track 'x'"):
        recorder.write("x", EncodedFrame(b"\x78", 0), GO)
    with pytest.raises(ConfigurationError, match="no track 'x'"):
        recorder.map_timestamps("x", 0, GO)
    with pytest.raises(ConfigurationError, match="of what a receiver gives, its `frame`"):
        recorder.write("video", b"\x78", GO)  # type: ignore[arg-type]  # as those do who check no types
    with pytest.raises(ConfigurationError, match="'sound' is no track: write RecorderTrack"):
        Recorder(tmp_path / "call.webm", ["sound"], started_at_s=GO)  # type: ignore[list-item]  # the mistake


@pytest.mark.parametrize("mistake", [{"queue_frames": 0}, {"cluster_s": 31.0}, {"temporary_suffix": "../x"}])
def test_limits_that_make_no_sense_raise_at_once(mistake: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError):
        RecorderConfiguration(**mistake)  # type: ignore[arg-type]  # names come from the table above


async def test_a_recording_is_whole_when_its_block_is_left(
    card: list[SentFrame], tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    start = trio.current_time()
    async with open_recording(tmp_path / "call.webm", TRACKS, started_at_s=start, threads=CodecThreads(1)) as recorder:
        for item in card:
            await trio.sleep_until(start + item.time_s)
            recorder.write(item.kind, item.frame, trio.current_time())
    result = recorder.finish()
    assert result.error is None
    assert result.path is not None
    assert len(watch(result.path).numbers) == 90


async def test_a_cancelled_recording_is_whole_too(card: list[SentFrame], tmp_path: Path) -> None:
    with trio.CancelScope() as scope:
        async with open_recording(
            tmp_path / "call.webm", TRACKS, started_at_s=GO, threads=CodecThreads(1), now=lambda: GO + 3.0
        ) as recorder:
            for item in card:
                recorder.write(item.kind, item.frame, GO + item.time_s)
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    result = recorder.finish()
    assert (result.path, result.duration_s) == (tmp_path / "call.webm", 3.0)
