"""Frames of a call's sides: their clock, changes of source, order; and the files that follow from them."""

from __future__ import annotations

import os
from pathlib import Path

import av
import pytest
import trio
from trio.testing import MockClock

from triortc.codecs.threads import CodecThreads
from triortc.engine.calls.call_recording import CallRecording, RecordingConfiguration, TrackFormat
from triortc.engine.calls.frame_assembly import AssembledFrame, CallTap, SenderClock, TrackAssembler
from triortc.engine.rtp.header import RtpHeader
from triortc.errors import ConfigurationError

VP8_KEY = b"\x10\x00\x00\x9d\x01\x2a\x40\x01\xf0\x00" + bytes(50)
VP8_DELTA = b"\x10\x01\x00" + bytes(20)
SOUND = b"\xfc" + bytes(40)


def header(number: int, timestamp: int, *, ssrc: int = 1, marker: bool = True) -> RtpHeader:
    return (marker, 96, number & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc, 12, 0, 0, False)


def no_reports(ssrc: int, timestamp: int) -> float | None:
    return None


def sounds(track: TrackAssembler, numbers: list[int], *, now: float, clock: SenderClock = no_reports) -> list[int]:
    frames = []
    for number in numbers:
        packet = memoryview(bytearray(SOUND))
        frames += track.packet("leg", clock, "opus", header(number, number * 960), packet, now + number * 0.02)
    return [frame.timestamp // 960 for frame in frames + track.flush(now + 1)]


def test_sound_comes_in_order_once_and_to_its_last_packet() -> None:
    assert sounds(TrackAssembler(), [0, 1, 3, 2, 2, 5, 4, 6, 9], now=10.0) == [0, 1, 2, 3, 4, 5, 6, 9]


def test_pictures_begin_with_a_keyframe_and_a_loss_asks_for_the_next() -> None:
    asked: list[str] = []
    frames: list[AssembledFrame] = []
    tap = CallTap(lambda leg, now: asked.append(leg))
    tap.watchers.append(lambda side, kind, frame: frames.append(frame))
    for number in (0, 1, 2, 4, 5, 40, 41, 42, 43, 44):
        payload = memoryview(bytearray(VP8_KEY if number in (1, 40) else VP8_DELTA))
        tap.packet("agent", "leg", no_reports, "video", "vp8", header(number, number * 3000), payload, number / 30)
    assert [frame.timestamp // 3000 for frame in frames] == [1, 2, 40, 41, 42, 43, 44]
    assert [frame.keyframe for frame in frames] == [True, False, True, *[False] * 4]
    assert asked == ["leg"]


def test_times_are_those_of_the_sender_reports_once_there_are_any() -> None:
    known = False

    def clock(ssrc: int, timestamp: int) -> float | None:
        return 99.5 + timestamp / 90_000 if known else None

    track = TrackAssembler()
    (frame,) = track.packet("leg", clock, "vp8", header(0, 9000), memoryview(bytearray(VP8_KEY)), 100.0)
    assert frame.clock.told(frame.timestamp, frame.arrived_at) is None
    assert frame.clock.guess(frame.timestamp) == pytest.approx(100.0)
    known = True
    assert frame.clock.told(frame.timestamp, frame.arrived_at) == pytest.approx(99.6)


@pytest.mark.parametrize("off_s", [-50.0, 50.0])
def test_reports_that_cannot_be_are_not_believed(off_s: float) -> None:
    track = TrackAssembler()
    packet = memoryview(bytearray(VP8_KEY))
    (frame,) = track.packet("leg", lambda ssrc, timestamp: 100.0 + off_s, "vp8", header(0, 0), packet, 100.0)
    assert frame.clock.told(frame.timestamp, frame.arrived_at) is None


def test_the_guess_follows_the_packet_that_took_the_shortest_way() -> None:
    track = TrackAssembler()
    frames: list[AssembledFrame] = []
    for number, late in enumerate((0.05, 0.0, 0.08)):
        packet = memoryview(bytearray(VP8_KEY))
        frames += track.packet("leg", no_reports, "vp8", header(number, number * 9000), packet, 7 + number / 10 + late)
    assert [frame.clock.guess(frame.timestamp) for frame in frames] == pytest.approx([7.0, 7.1, 7.2])


def test_another_leg_or_codec_is_another_source_of_the_same_track() -> None:
    track = TrackAssembler()
    assert sounds(track, [0, 1, 2], now=1.0) == [0, 1, 2]
    found = track.packet("leg", no_reports, "opus", header(50_000, 5), memoryview(bytearray(SOUND)), 2.0)
    found += track.packet("other", no_reports, "opus", header(7, 2**31), memoryview(bytearray(SOUND)), 2.1)
    found += track.packet("other", no_reports, "pcmu", header(8, 77), memoryview(bytearray(160)), 2.2)
    found += track.packet("other", no_reports, "g722", header(9, 78), memoryview(bytearray(160)), 2.3)
    found += track.flush(3.0)
    assert [(frame.codec_name, frame.timestamp) for frame in found] == [("opus", 5), ("opus", 2**31), ("pcmu", 77)]


async def test_a_track_that_changes_its_codec_goes_on_in_another_file(mock_clock: MockClock, tmp_path: Path) -> None:
    tap = CallTap(lambda leg, now: None)
    expected = {"agent audio": TrackFormat("opus"), "agent video": TrackFormat("vp8")}
    recording = CallRecording(
        "rec_1",
        tap,
        expected,
        started_at=0.0,
        configuration=RecordingConfiguration(directory=tmp_path),
        threads=CodecThreads(1),
    )
    reasons: list[str | None] = []
    async with trio.open_nursery() as nursery:

        async def run() -> None:
            reasons.append(await recording.run())

        def send(number: int, codec: str, data: bytes, ssrc: int) -> None:
            now = trio.current_time()
            rate = {"opus": 48, "pcmu": 8}.get(codec, 90)
            packet = memoryview(bytearray(data))
            tap.packet(
                "agent",
                "leg",
                lambda ssrc, timestamp: timestamp / rate / 1000,
                "video" if codec == "vp8" else "audio",
                codec,
                header(number, round(now * 1000) * rate, ssrc=ssrc),
                packet,
                now,
            )

        nursery.start_soon(run)
        for number in range(200):
            send(number, "opus" if number < 100 else "pcmu", SOUND if number < 100 else bytes(160), number // 100)
            if number % 2 == 0:
                send(number // 2, "vp8", VP8_KEY, 9)
            mock_clock.jump(0.02)
            await trio.testing.wait_all_tasks_blocked()
            while number == 110 and len(recording.results) < 1:
                await trio.lowlevel.checkpoint()  # a thread finishes the first file
        recording.stop(trio.current_time())
    assert reasons == [None]
    assert [result.path and result.path.name for result in recording.results] == ["rec_1.webm", "rec_1.2.mkv"]
    lengths = []
    for result in recording.results:
        assert result.path is not None
        with av.open(str(result.path)) as container:
            assert container.duration is not None
            lengths.append(container.duration / 1e6)
    assert lengths[0] == pytest.approx(2.2, abs=0.25)
    assert sum(lengths) == pytest.approx(4.0, abs=0.3)
    assert tap.watchers == []


async def test_a_recording_without_a_frame_leaves_no_file(mock_clock: MockClock, tmp_path: Path) -> None:
    configuration = RecordingConfiguration(directory=tmp_path)
    tap = CallTap(lambda leg, now: None)
    recording = CallRecording("rec_1", tap, {}, started_at=0.0, configuration=configuration, threads=CodecThreads(1))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(recording.run)
        await trio.testing.wait_all_tasks_blocked()
        recording.stop(1.0)
    assert recording.results == []
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["", "../rec_1", "rec/1", "x" * 65, "rec 1", "rec_1.webm"])
def test_an_id_that_is_no_plain_name_is_refused(name: str, tmp_path: Path) -> None:
    tap = CallTap(lambda leg, now: None)
    for configuration in (RecordingConfiguration(directory=tmp_path), RecordingConfiguration()):
        with pytest.raises(ConfigurationError):
            CallRecording(name, tap, {}, started_at=0.0, configuration=configuration, threads=CodecThreads(1))
    assert tap.watchers == []
