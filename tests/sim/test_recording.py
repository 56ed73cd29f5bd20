"""Calls over the simulated network, recorded where they are relayed; the files are played back and measured."""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import av
import pytest
import trio
from trio.testing import MockClock

from support.avsync import Seen, watch
from support.session_host import SessionHost, connect
from support.virtual_network import Conditions, VirtualNetwork
from triortc.codecs.configuration import RecorderConfiguration, VideoEncoderConfiguration
from triortc.codecs.encoders import audio_encoder_for, video_encoder_for
from triortc.codecs.frames import EncodedFrame
from triortc.codecs.payload.formats import packetizer_for
from triortc.codecs.registry import MediaKind
from triortc.codecs.sources import TestCardSource
from triortc.codecs.testcard import TestCard
from triortc.engine.calls.call_recording import RecordingConfiguration
from triortc.engine.calls.media_watch import MediaWatch, WatchedLeg
from triortc.engine.calls.ports import Side
from triortc.engine.relay.gate import GateState
from triortc.engine.relay.python_plane import PythonPlane

#: Sound leaves at once, a picture when it is encoded: the distance that sender reports make good.
ENCODER_S = 0.06
STEP_S = 0.02
FILE_TRACKS = ["agent audio", "agent video", "visitor audio", "visitor video"]
SYNC_S = 0.040


class Device:
    """A device that shows the test card from now on, and makes a keyframe when it is asked for one."""

    def __init__(self, number: int, side: Side, network: VirtualNetwork, plane: PythonPlane) -> None:
        self.side, self.name, self.network = side, f"leg{number}", network
        self.host = SessionHost(10 + 2 * number, (f"10.0.1.{number + 1}", 5000), controlling=True)
        self.leg = SessionHost(11 + 2 * number, ("10.0.0.1", 4000 + number), controlling=False)
        self.forwarded: list[str] = []
        self.keyframes_asked = 0
        self._sent = {"audio": 0, "video": 0}
        self._first_timestamp = (0xFFFF_0000 + number * 777) & 0xFFFFFFFF  # wraps within two seconds
        self._packetizers = {"audio": packetizer_for("opus"), "video": packetizer_for("VP8", picture_id=number * 50)}
        self._video = video_encoder_for("VP8", VideoEncoderConfiguration(bitrate_bps=300_000))
        self._audio = audio_encoder_for("opus")
        self.wants_keyframe = True
        self.host.session.media.on_keyframe_request = self._on_keyframe_request
        plane.add_leg(self.name, self.leg.session, on_ready=lambda name: None, on_own_keyframe=lambda name: None)
        assert connect(network, self.host, self.leg)
        plane.negotiated(self.name, network.now)

    def _on_keyframe_request(self, stream: object, now: float) -> None:
        self.keyframes_asked += 1
        self.wants_keyframe = True

    def play(self) -> None:
        self._source = TestCardSource(TestCard(160, 120, 15))
        self._source.start(self.network.now)
        self._next()

    def _next(self) -> None:
        deadline = self._source.next_deadline()
        assert deadline is not None
        self.network.call_at(deadline, self._capture)

    def _capture(self) -> None:
        now = self.network.now
        item = self._source.poll_frame(now)
        assert item is not None
        if isinstance(item.frame, av.VideoFrame):
            key, self.wants_keyframe = self.wants_keyframe, False
            timestamp = item.timestamp(90_000, self._first_timestamp)
            for frame in self._video.encode(item.frame, timestamp, force_keyframe=key):
                self.network.call_at(now + ENCODER_S, partial(self._send, "video", frame, now))
        else:
            for frame in self._audio.encode(item.frame, item.timestamp(48_000, self._first_timestamp)):
                self._send("audio", frame, now)
        self._next()

    def _send(self, kind: MediaKind, frame: EncodedFrame, captured_at: float) -> None:
        stream = self.host.session.media.outbound(kind)
        assert stream is not None
        payloads = self._packetizers[kind].packetize(frame.data, 1100)
        for index, payload in enumerate(payloads):
            number = (stream.first_sequence_number + self._sent[kind]) & 0xFFFF
            self._sent[kind] += 1
            marker = kind == "video" and index == len(payloads) - 1
            payload_type = 96 if kind == "video" else 111
            stream.send(marker, payload_type, number, frame.timestamp, b"", payload, self.network.now)
        # Reports of a real device tell when a picture was taken, not when it was sent.
        stream.statistics.note(frame.timestamp, 0, captured_at)


@dataclass
class Call:
    """A visitor and agent devices, relayed and watched; the network's time is trio's."""

    network: VirtualNetwork
    clock: MockClock
    plane: PythonPlane
    watch: MediaWatch
    stopped: list[tuple[str, str, str]]
    devices: list[Device] = field(default_factory=list)

    def device(self, side: Side) -> Device:
        device = Device(len(self.devices), side, self.network, self.plane)
        self.devices.append(device)
        self.clock.jump(self.network.now - trio.current_time())
        return device

    def join(self, one: Device, other: Device) -> None:
        self.plane.connect(one.name, other.name, self.network.now)
        self.plane.connect(other.name, one.name, self.network.now)

    def gates(self, device: Device, state: GateState, *kinds: MediaKind) -> None:
        for kind in kinds or ("audio", "video"):
            self.plane.set_gate(device.name, kind, state, self.network.now)

    def legs(self) -> list[WatchedLeg]:
        return [WatchedLeg(device.name, device.side, device.leg.session.media) for device in self.devices]

    async def run(self, seconds: float) -> None:
        end = self.network.now + seconds
        while self.network.now < end - 1e-6:
            self.network.run_for(min(STEP_S, end - self.network.now))
            self.clock.jump(self.network.now - trio.current_time())
            await trio.testing.wait_all_tasks_blocked()

    async def finished(self) -> None:
        """Until the files are on the disk; that takes real threads, and no time of the call."""
        while self.watch.running:
            await trio.lowlevel.checkpoint()


@asynccontextmanager
async def open_call(
    clock: MockClock, configuration: RecordingConfiguration, conditions: Conditions | None = None, seed: int = 0
) -> AsyncGenerator[Call]:
    network = VirtualNetwork(seed=seed, conditions=conditions or Conditions(delay_s=0.01))
    plane = PythonPlane()
    stopped: list[tuple[str, str, str]] = []
    async with trio.open_nursery() as nursery:
        watch = MediaWatch(plane, nursery, configuration, lambda *told: stopped.append(told))
        yield Call(network, clock, plane, watch, stopped)
        watch.close_session("vs_1")


async def talking(call: Call) -> tuple[Device, Device]:
    """Both sides play; no gate is open yet, and sender reports have come."""
    visitor, agent = call.device("visitor"), call.device("agent")
    call.join(visitor, agent)
    visitor.play()
    agent.play()
    await call.run(1.5)
    return visitor, agent


def tracks(path: Path) -> dict[str, int]:
    """Index of each track among those of its kind, by name."""
    with av.open(str(path)) as container:
        streams = [*container.streams.audio, *container.streams.video]
        return {
            stream.metadata["title"]: index
            for kind in ("audio", "video")
            for index, stream in enumerate(s for s in streams if s.type == kind)
        }


def seen_of(path: Path, side: Side) -> Seen:
    index = tracks(path)
    return watch(path, index[f"{side} video"], index[f"{side} audio"])


def sync(seen: Seen) -> float:
    """The widest distance of a flash from its beep."""
    assert len(seen.flashes) >= 2
    return max(min(abs(flash - beep) for beep in seen.beeps) for flash in seen.flashes)


async def test_both_sides_are_in_one_file_from_go_on_and_in_step(mock_clock: MockClock, tmp_path: Path) -> None:
    async with open_call(mock_clock, RecordingConfiguration(directory=tmp_path)) as call:
        visitor, agent = await talking(call)
        call.watch.start_recording("vs_1", "rec_1", call.legs())
        call.gates(visitor, GateState.OPEN)
        call.gates(agent, GateState.OPEN)
        await call.run(5.0)
        call.watch.stop_recording("vs_1")
        await call.finished()
    assert call.stopped == []
    path = tmp_path / "rec_1.webm"
    assert os.listdir(tmp_path) == [path.name]
    assert sorted(tracks(path)) == FILE_TRACKS
    with av.open(str(path)) as container:
        assert container.duration is not None
        assert container.duration / 1e6 == pytest.approx(5.0, abs=0.02)
    for side in ("agent", "visitor"):
        seen = seen_of(path, side)
        assert sync(seen) <= SYNC_S
        # The card began 1.5 s before Go, so its seconds fall on half seconds of the file.
        assert seen.beeps[0] == pytest.approx(0.5, abs=0.05)
        assert len(seen.beeps) == 5
        number, first = seen.numbers[0]
        assert 0 <= first <= 0.3, "a keyframe is asked for at Go"
        assert number / 15 - 1.5 == pytest.approx(first, abs=0.05)
        assert seen.numbers[-1][1] >= 4.8


async def test_nothing_before_go_is_in_the_file(mock_clock: MockClock, tmp_path: Path) -> None:
    async with open_call(mock_clock, RecordingConfiguration(directory=tmp_path)) as call:
        _, agent = await talking(call)
        call.watch.start_recording("vs_1", "rec_1", call.legs())
        await call.run(0.7)
        call.gates(agent, GateState.OPEN)
        await call.run(2.0)
        call.watch.stop_recording("vs_1")
        await call.finished()
    seen = seen_of(tmp_path / "rec_1.webm", "agent")
    assert seen.numbers[0][1] >= 0.65
    assert min(seen.beeps) >= 0.65
    assert not seen_of(tmp_path / "rec_1.webm", "visitor").numbers


async def test_a_keyframe_that_was_on_its_way_at_go_is_what_the_pictures_begin_with(
    mock_clock: MockClock, tmp_path: Path
) -> None:
    async with open_call(mock_clock, RecordingConfiguration(directory=tmp_path)) as call:
        visitor, agent = await talking(call)
        agent.wants_keyframe = True
        while agent.wants_keyframe:
            await call.run(STEP_S)
        await call.run(2 * STEP_S)  # captured before Go, sent after it
        agent.host.session.media.on_keyframe_request = lambda stream, now: None  # no other will come
        call.watch.start_recording("vs_1", "rec_1", call.legs())
        call.gates(visitor, GateState.OPEN)
        call.gates(agent, GateState.OPEN)
        await call.run(2.5)
        call.watch.stop_recording("vs_1")
        await call.finished()
    seen = seen_of(tmp_path / "rec_1.webm", "agent")
    assert seen.numbers[0][1] == 0.0
    assert len(seen.numbers) >= 35


async def test_a_change_of_device_and_a_mute_stay_in_the_sides_own_tracks(
    mock_clock: MockClock, tmp_path: Path
) -> None:
    async with open_call(mock_clock, RecordingConfiguration(directory=tmp_path)) as call:
        visitor, agent = await talking(call)
        call.gates(visitor, GateState.OPEN)
        call.gates(agent, GateState.OPEN)
        await call.run(0.5)
        call.watch.start_recording("vs_1", "rec_1", call.legs())
        await call.run(2.0)
        call.gates(agent, GateState.MUTED)
        await call.run(1.0)
        call.gates(agent, GateState.OPEN)
        await call.run(1.0)
        phone = call.device("agent")
        await call.run(0.4)  # so that the beeps of the two do not meet
        call.watch.leg_opened("vs_1", call.legs()[-1])
        phone.play()
        moved = call.network.now
        call.gates(phone, GateState.OPEN)
        call.join(phone, visitor)
        call.watch.leg_closing("vs_1", agent.name)
        call.plane.remove_leg(agent.name)
        await call.run(3.0)
        call.watch.stop_recording("vs_1")
        await call.finished()
    path = tmp_path / "rec_1.webm"
    assert sorted(tracks(path)) == FILE_TRACKS
    seen = seen_of(path, "agent")
    times = [time for _, time in seen.numbers]
    gaps = [(before, after) for before, after in itertools.pairwise(times) if after - before > 0.3]
    assert len(gaps) == 1, "the mute, and nothing else"
    assert gaps[0][0] == pytest.approx(2.0, abs=0.2)
    assert gaps[0][1] == pytest.approx(3.0, abs=0.3)
    assert not [beep for beep in seen.beeps if 2.05 < beep < 2.95]
    restarted = next(time for (before, _), (number, time) in itertools.pairwise(seen.numbers) if number < before)
    assert restarted == pytest.approx(times[-1] - (call.network.now - moved), abs=0.3)
    assert sync(seen) <= SYNC_S


@pytest.mark.parametrize("seed", range(3))
async def test_losses_and_jitter_are_repaired_before_they_are_written(
    mock_clock: MockClock, tmp_path: Path, seed: int
) -> None:
    bad = Conditions(delay_s=0.02, jitter_s=0.03, loss=0.03)
    async with open_call(mock_clock, RecordingConfiguration(directory=tmp_path), bad, seed) as call:
        visitor, agent = await talking(call)
        call.gates(visitor, GateState.OPEN)
        call.gates(agent, GateState.OPEN)
        await call.run(1.0)
        call.watch.start_recording("vs_1", "rec_1", call.legs())
        await call.run(4.0)
        call.watch.stop_recording("vs_1")
        await call.finished()
    for side in ("agent", "visitor"):
        seen = seen_of(tmp_path / "rec_1.webm", side)
        assert sync(seen) <= SYNC_S
        assert len(seen.numbers) >= 0.9 * 15 * 3.5


async def test_a_full_disk_ends_the_recording_and_the_call_goes_on(mock_clock: MockClock, tmp_path: Path) -> None:
    (tmp_path / "rec_1.webm.part").symlink_to("/dev/full")
    files = RecorderConfiguration(flush_frames=16)
    async with open_call(mock_clock, RecordingConfiguration(directory=tmp_path, files=files)) as call:
        _, agent = await talking(call)
        call.watch.start_recording("vs_1", "rec_1", call.legs())
        call.gates(agent, GateState.OPEN)
        for _ in range(200):
            await call.run(0.1)
            if call.stopped:
                break
        assert [told[:2] for told in call.stopped] == [("vs_1", "rec_1")]
        assert "No space left" in call.stopped[0][2]
        assert call.watch.running == 0
        before = call.plane.statistics(agent.name)["video"].forwarded
        await call.run(0.5)
        assert call.plane.statistics(agent.name)["video"].forwarded > before
        call.watch.start_recording("vs_1", "rec_2", call.legs())
        await call.run(1.5)
    assert os.listdir(tmp_path) == ["rec_2.webm"], "the call can be recorded again, and nothing else is left"


async def test_a_cancelled_server_leaves_a_whole_file(mock_clock: MockClock, tmp_path: Path) -> None:
    async with open_call(mock_clock, RecordingConfiguration(directory=tmp_path)) as call:
        visitor, agent = await talking(call)
        async with trio.open_nursery() as nursery:
            watching = MediaWatch(call.plane, nursery, RecordingConfiguration(directory=tmp_path), lambda *told: None)
            watching.start_recording("vs_1", "rec_1", call.legs())
            call.gates(visitor, GateState.OPEN)
            call.gates(agent, GateState.OPEN)
            await call.run(2.5)
            nursery.cancel_scope.cancel()
        assert watching.running == 0
    assert os.listdir(tmp_path) == ["rec_1.webm"]
    assert len(seen_of(tmp_path / "rec_1.webm", "agent").numbers) > 25


async def test_a_still_shows_the_side_that_was_asked_for_with_and_without_a_recording(
    mock_clock: MockClock, tmp_path: Path
) -> None:
    async with open_call(mock_clock, RecordingConfiguration(directory=tmp_path)) as call:
        _, agent = await talking(call)
        call.gates(agent, GateState.OPEN)
        await call.run(0.5)
        stills: dict[str, bytes | None] = {}

        async def take(name: str, side: Side) -> None:
            stills[name] = await call.watch.snapshot("vs_1", side, call.legs())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(take, "agent", "agent")
            nursery.start_soon(take, "visitor", "visitor")
            await call.run(3.2)
        assert stills["visitor"] is None, "its gate is closed"
        call.watch.start_recording("vs_1", "rec_1", call.legs())
        await call.run(1.0)
        asked = agent.keyframes_asked
        await take("recorded", "agent")
        assert agent.keyframes_asked == asked
    for name in ("agent", "recorded"):
        png = stills[name]
        assert png is not None
        assert png.startswith(b"\x89PNG")
        assert int.from_bytes(png[16:20], "big") == 160
