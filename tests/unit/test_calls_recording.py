"""Who may have a call recorded, who is told, and what the media side is asked for (docs/calls.md, rows V50 to V52)."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from support.calls import ALL_CAPS, FakeClients, FakeMedia, House, agent_actor, information, visitor_actor
from triortc.engine.calls.actor import Actor
from triortc.engine.calls.call_recording import RecordingConfiguration, delete_old_recordings, file_suffix
from triortc.engine.calls.commands import (
    CallAccept,
    CallHangup,
    CallRequest,
    PresenceSet,
    RecordingStart,
    RecordingStop,
)
from triortc.engine.calls.configuration import CallConfiguration
from triortc.engine.calls.control import CallControl
from triortc.engine.calls.effects import Effect, Notify, SetGate, StartRecording, StopRecording
from triortc.engine.calls.gate_table import GateState
from triortc.engine.calls.media_events import LegUp, RecordingStopped
from triortc.engine.calls.media_watch import MediaWatch
from triortc.engine.calls.notifications import CallActive, RecordingChanged
from triortc.engine.calls.supervisor import open_call_supervisor
from triortc.engine.relay.python_plane import PythonPlane
from triortc.errors import ConfigurationError
from triortc.signaling.app import ServerConfiguration
from triortc.signaling.development import development_configuration
from triortc.signaling.engine import EngineConfiguration

RECORDER = ALL_CAPS | {"record"}
BOSS = Actor("boss", "supervisor", "org")


def house_of(policy: Any, *, caps: frozenset[str] = RECORDER) -> tuple[House, Actor, Actor]:
    house = House(CallConfiguration(recording=policy))
    ana = agent_actor("ana", "desk", caps)
    house.connect(ana, information("desk"))
    house.ok(ana, PresenceSet("video", "available"))
    return house, ana, house.visitor()


def of_kind(effects: list[Effect], *kinds: type) -> list[Effect]:
    return [effect for effect in effects if isinstance(effect, kinds)]


def changes(house: House, actor: Actor) -> list[tuple[bool, str]]:
    return [(told.on, told.by) for told in house.told(actor, RecordingChanged)]


def test_recording_is_off_by_default() -> None:
    assert CallConfiguration().recording == "off"
    house, ana, vic = house_of("off")
    session, _, _ = house.active(vic, ana)
    assert house.fault(ana, RecordingStart(session)).code == "auth.forbidden"
    assert house.fault(BOSS, RecordingStart(session)).code == "auth.forbidden"
    assert not changes(house, vic)


def test_both_sides_are_told_before_the_media_side_begins() -> None:
    house, ana, vic = house_of("on_request")
    session, _, _ = house.active(vic, ana)
    recording = house.ok(ana, RecordingStart(session)).recording
    told = of_kind(house.effects, Notify, StartRecording)
    assert told[-1] == StartRecording(session, recording)
    assert {effect.address for effect in told if isinstance(effect, Notify)} == {ana.address, vic.address}
    assert changes(house, ana) == changes(house, vic) == [(True, "agent")]


def test_starting_twice_is_one_recording_and_stopping_twice_is_ok() -> None:
    house, ana, vic = house_of("on_request")
    session, _, _ = house.active(vic, ana)
    recording = house.ok(ana, RecordingStart(session)).recording
    assert house.ok(BOSS, RecordingStart(session)).recording == recording
    assert not of_kind(house.effects, StartRecording)
    house.ok(BOSS, RecordingStop(session))
    assert of_kind(house.effects, StopRecording) == [StopRecording(session)]
    house.ok(ana, RecordingStop(session))
    assert not of_kind(house.effects, StopRecording)
    assert changes(house, vic) == [(True, "agent"), (False, "supervisor")]
    again = house.ok(ana, RecordingStart(session)).recording
    assert again != recording
    house.check_replay(session)
    house.finish(vic, ana, session)
    (record,) = house.history.find("org", session=session)
    assert record.recordings == (recording, again)


@pytest.mark.parametrize(
    ("actor", "code"),
    [
        (agent_actor("ana", "desk", ALL_CAPS), "auth.forbidden"),
        (agent_actor("ben", "desk2", RECORDER), "state.not_found"),
        (agent_actor("ana", "phone", RECORDER), "call.not_participant"),
        (visitor_actor("vic", "tab", "cv_1"), "auth.forbidden"),
        (Actor("boss", "supervisor", "other"), "state.not_found"),
        (Actor("back", "service", "org"), "auth.forbidden"),
    ],
)
def test_who_may_not_record(actor: Actor, code: str) -> None:
    house, ana, vic = house_of("on_request")
    session, _, _ = house.active(vic, ana)
    if actor.device not in (None, "desk", "tab"):
        house.connect(actor, information(actor.device or ""))
    assert house.fault(actor, RecordingStart(session)).code == code
    assert house.fault(actor, RecordingStop(session)).code == code


def test_only_a_call_that_is_active_is_recorded() -> None:
    house, ana, vic = house_of("on_request")
    session = house.request(vic).session
    assert house.fault(BOSS, RecordingStart(session)).code == "call.invalid_state"
    house.ok(ana, CallAccept(session))
    assert house.fault(ana, RecordingStart(session)).code == "call.invalid_state"
    house.ok(vic, CallHangup(session))
    assert house.fault(ana, RecordingStart(session)).code == "call.ended"


def test_always_begins_at_go_told_and_started_before_a_gate_opens() -> None:
    house, ana, vic = house_of("always")
    session, visitor_leg, agent_leg = house.answered(vic, ana)
    house.media(LegUp(visitor_leg))
    house.media(LegUp(agent_leg))
    kinds = [
        type(effect.notification) if isinstance(effect, Notify) else type(effect)
        for effect in of_kind(house.effects, Notify, StartRecording, SetGate)
        if not isinstance(effect, SetGate) or effect.state is GateState.OPEN
    ]
    first = kinds.index
    assert first(CallActive) < first(RecordingChanged) < first(StartRecording) < first(SetGate)
    assert changes(house, ana) == changes(house, vic) == [(True, "system")]
    house.check_replay(session)


def test_a_broken_recording_is_told_to_both_sides_and_the_call_goes_on() -> None:
    house, ana, vic = house_of("on_request")
    session, _, _ = house.active(vic, ana)
    recording = house.ok(ana, RecordingStart(session)).recording
    house.media(RecordingStopped(session, "rec_of_before", "too late"))
    assert house.session(session).recording == recording
    house.media(RecordingStopped(session, recording, "no space left on device"))
    assert house.session(session).state == "active"
    assert changes(house, ana) == changes(house, vic) == [(True, "agent"), (False, "system")]
    assert not of_kind(house.effects, StopRecording)
    house.check_replay(session)
    house.ok(vic, CallHangup(session))
    stale = house.world.stale_events_total
    house.media(RecordingStopped(session, recording, "too late"))
    house.media(RecordingStopped("vs_unknown", recording, "of nobody"))
    assert house.world.stale_events_total == stale + 2


def test_a_device_that_takes_the_call_over_is_told_that_it_is_recorded() -> None:
    house, ana, vic = house_of("on_request")
    phone = agent_actor("ana", "phone", RECORDER)
    house.connect(phone, information("phone", "ios"))
    session, _, _ = house.active(vic, ana)
    house.ok(ana, RecordingStart(session))
    house.moved(phone, session)
    assert changes(house, phone) == [(True, "agent")]
    house.ok(phone, RecordingStop(session))
    assert changes(house, phone) == [(True, "agent"), (False, "agent")]


def test_a_reloaded_page_sees_in_its_snapshot_that_it_is_recorded() -> None:
    house, ana, vic = house_of("on_request")
    session, _, _ = house.active(vic, ana)
    assert house.connect(vic).sessions[0].recording is None
    house.ok(ana, RecordingStart(session))
    assert house.connect(vic).sessions[0].recording is True
    assert house.connect(ana).sessions[0].recording is True


@dataclass
class Consent:
    """An embedder's policy."""

    answer: bool
    asked: list[tuple[str, str, str, str]] = field(default_factory=list)

    def may_record(self, org: str, conversation: str, session: str, by: str) -> bool:
        self.asked.append((org, conversation, session, by))
        return self.answer


@pytest.mark.parametrize(("policy", "by"), [("on_request", "ana"), ("always", "system")])
def test_the_embedders_policy_may_refuse(policy: Any, by: str) -> None:
    house, ana, vic = house_of(policy)
    consent = Consent(False)
    house.world.recording_policy = consent
    session, _, _ = house.active(vic, ana)
    if policy == "on_request":
        assert house.fault(ana, RecordingStart(session)).code == "auth.forbidden"
    assert consent.asked == [("org", "cv_1", session, by)]
    assert house.session(session).recording is None
    consent.answer = True
    assert house.ok(BOSS, RecordingStart(session)).recording


async def test_the_supervisor_asks_the_media_side_and_ends_no_call_for_a_broken_recording(
    autojump_clock: MockClock,
) -> None:
    media, clients = FakeMedia(), FakeClients()
    ana, vic = agent_actor("ana", "desk", RECORDER), visitor_actor("vic", "tab", "cv_1")
    async with open_call_supervisor(
        media, clients=clients, configuration=CallConfiguration(recording="always"), recording_policy=Consent(True)
    ) as calls:
        calls.device_connected(ana, information("desk"))
        calls.device_connected(vic, information("tab", "web"))
        calls.command(ana, PresenceSet("video", "available"))
        session = calls.command(vic, CallRequest("cv_1")).payload.session  # type: ignore[union-attr]  # it is ok
        calls.command(ana, CallAccept(session))
        for leg in tuple(media.open_legs):
            calls.media_event(LegUp(leg))
        recording = next(call[2] for call in media.calls if call[0] == "start_recording")
        assert isinstance(recording, str)
        calls.media_event(RecordingStopped(session, recording, "the disk is full"))
        assert [told.on for told in clients.told(vic, RecordingChanged)] == [True, False]
        assert calls.running_sessions == 1
        assert calls.command(ana, RecordingStart(session)).payload.recording != recording  # type: ignore[union-attr]  # an Ok
        calls.command(ana, RecordingStop(session))
        assert [call[0] for call in media.calls].count("start_recording") == 2
        assert media.calls[-1] == ("stop_recording", session)
        calls.command(vic, CallHangup(session))
        await trio.testing.wait_all_tasks_blocked()
    assert calls.crashes_total == 0


def test_the_development_server_records_only_when_it_is_asked_to() -> None:
    assert development_configuration("127.0.0.1", 0).calls.recording == "off"
    assert development_configuration("127.0.0.1", 0, record=True).calls.recording == "on_request"


# --- the directory


def test_only_recordings_that_are_too_old_are_deleted(tmp_path: Path) -> None:
    directory = tmp_path / "made" / "here"
    configuration = RecordingConfiguration(directory=directory, recording_days=2)
    assert delete_old_recordings(configuration) == 0
    names = ("rec_1.webm", "rec_1.2.mkv", "rec_2.mp4.part", "rec_new.webm", "holiday.webm", "rec_1.txt")
    for name in names:
        (directory / name).write_bytes(b"x")
        os.utime(directory / name, (1_000_000, 1_000_000))
    os.utime(directory / "rec_new.webm", (1_100_000, 1_100_000))
    assert delete_old_recordings(configuration, lambda: 1_000_000 + 2 * 86_400 + 1) == 3
    assert sorted(os.listdir(directory)) == ["holiday.webm", "rec_1.txt", "rec_new.webm"]
    assert delete_old_recordings(RecordingConfiguration(directory=directory, recording_days=None), lambda: 1e12) == 0
    assert delete_old_recordings(RecordingConfiguration()) == 0


async def test_old_recordings_go_while_the_server_is_up_too(
    tmp_path: Path, mock_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    old = tmp_path / "rec_old.webm"
    async with trio.open_nursery() as nursery:
        watch = MediaWatch(PythonPlane(), nursery, RecordingConfiguration(directory=tmp_path), lambda *_: None)
        old.write_bytes(b"x")
        os.utime(old, (1_000_000, 1_000_000))
        await watch._delete_old(trio.current_time() + 3599.0)
        assert old.exists(), "once an hour is often enough"
        await watch._delete_old(trio.current_time() + 3600.0)
        assert not old.exists()
        taken = tmp_path / "a file"
        taken.write_bytes(b"x")
        watch = MediaWatch(PythonPlane(), nursery, RecordingConfiguration(directory=taken), lambda *_: None)
        await watch._delete_old(trio.current_time() + 7200.0)
        assert "could not be deleted" in caplog.text


@pytest.mark.parametrize(
    ("codecs", "suffix"),
    [
        ({"vp8", "opus"}, ".webm"),
        ({"opus"}, ".webm"),
        ({"h264", "opus"}, ".mp4"),
        ({"vp8", "h264"}, ".mkv"),
        ({"pcmu", "vp8"}, ".mkv"),
    ],
)
def test_the_container_follows_from_the_codecs(codecs: set[str], suffix: str) -> None:
    assert file_suffix(codecs) == suffix


@pytest.mark.parametrize(
    "make",
    [
        lambda: RecordingConfiguration(recording_days=0),
        lambda: RecordingConfiguration(max_recordings=0),
        lambda: RecordingConfiguration(track_wait_s=0),
        lambda: EngineConfiguration(ServerConfiguration(development=True, calls=CallConfiguration(recording="always"))),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(make: Callable[[], object]) -> None:
    with pytest.raises(ConfigurationError):
        make()


def test_call_control_without_a_policy_allows_what_the_configuration_allows() -> None:
    assert CallControl(CallConfiguration(), os.urandom).world.recording_policy is None
