"""Recordings through the whole server: WebSocket commands, UDP on loopback, a real file, and nothing left behind."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import av
import pytest
import trio

from support.real_calls import agent, held_before, leftovers, legs_of, talk, visitor
from triortc.codecs.configuration import RecorderConfiguration
from triortc.engine.calls.call_recording import RecordingConfiguration
from triortc.engine.calls.configuration import CallConfiguration
from triortc.engine.calls.leg_configuration import MediaConfiguration
from triortc.engine.endpoint_configuration import EndpointConfiguration
from triortc.engine.ice.configuration import IceConfiguration
from triortc.engine.session.configuration import SessionConfiguration
from triortc.errors import CallError
from triortc.signaling.app import RunningServer, ServerConfiguration
from triortc.signaling.engine import EngineConfiguration, open_engine


@asynccontextmanager
async def open_house(
    directory: Path, *, always: bool = False, files: RecorderConfiguration | None = None
) -> AsyncGenerator[RunningServer]:
    calls = CallConfiguration(recording="always" if always else "on_request")
    configuration = EngineConfiguration(
        server=ServerConfiguration(port=0, development=True, calls=calls),
        media=MediaConfiguration(
            endpoint=EndpointConfiguration(media_host=("127.0.0.1",)),
            session=SessionConfiguration(ice=IceConfiguration(allow_loopback=True)),
            recording=RecordingConfiguration(directory=directory, files=files or RecorderConfiguration()),
        ),
    )
    with trio.fail_after(30):
        async with open_engine(configuration) as house:
            yield house


async def finished(house: RunningServer) -> None:
    """Until no recording is on or on its way to the disk; threads tell nobody, so this looks again and again."""
    while legs_of(house).counters()["recordings.open"]:
        await trio.lowlevel.checkpoint()


async def test_a_call_is_recorded_on_request_and_both_sides_are_told(tmp_path: Path) -> None:
    async with open_house(tmp_path) as house, agent(house) as ana, visitor(house, "cv_1") as vic:
        session = await talk(vic, ana, "cv_1")
        started = await ana.signal.command("recording.start", session=session)
        for party in (ana, vic):
            told = await party.signal.event("recording.changed", session=session)
            assert (told.p["on"], told.p["by"]) == (True, "agent")
        await trio.sleep(1.0)
        await ana.signal.command("recording.stop", session=session)
        for party in (ana, vic):
            assert (await party.signal.event("recording.changed", session=session, on=False)).p["by"] == "agent"
        await finished(house)
        path = tmp_path / f"{started['recording']}.webm"
        assert os.listdir(tmp_path) == [path.name]
        with av.open(str(path)) as container:
            assert container.duration is not None
            assert 0.9 < container.duration / 1e6 < 1.5
            titles = {stream.metadata["title"] for stream in container.streams}
            assert titles == {"agent audio", "agent video", "visitor audio", "visitor video"}
        await vic.signal.command("call.hangup", session=session)
        history = await ana.signal.command("history.get", session=session)
        assert history["items"][0]["recordings"] == [started["recording"]]


async def test_a_file_that_cannot_go_on_is_told_to_both_and_the_call_goes_on(tmp_path: Path) -> None:
    files = RecorderConfiguration(max_file_bytes=20_000, flush_frames=8)
    async with (
        open_house(tmp_path, always=True, files=files) as house,
        agent(house) as ana,
        visitor(house, "cv_1") as vic,
    ):
        session = await talk(vic, ana, "cv_1")
        for party in (ana, vic):
            assert (await party.signal.event("recording.changed", session=session, on=True)).p["by"] == "system"
        for party in (ana, vic):
            assert (await party.signal.event("recording.changed", session=session, on=False)).p["by"] == "system"
        gates = legs_of(house).gate_statistics(session)
        before = sum(gate.forwarded for gate in gates.values())
        await trio.sleep(0.2)
        gates = legs_of(house).gate_statistics(session)
        assert sum(gate.forwarded for gate in gates.values()) > before
        await vic.signal.command("call.hangup", session=session)


async def test_the_end_of_the_server_leaves_a_whole_file_and_nothing_else(tmp_path: Path) -> None:
    before = held_before()
    async with open_house(tmp_path, always=True) as house, agent(house) as ana, visitor(house, "cv_1") as vic:
        session = await talk(vic, ana, "cv_1")
        await trio.sleep(0.7)
        with pytest.raises(CallError):
            await legs_of(house).snapshot("vs_unknown", "agent")
        # The made-up pictures cannot be decoded: no still, and no harm either.
        assert await legs_of(house).snapshot(session, "agent") is None
    assert leftovers() == before
    (name,) = os.listdir(tmp_path)
    with av.open(str(tmp_path / name)) as container:
        assert container.duration is not None
        assert container.duration / 1e6 > 0.5
