"""The programs in examples/ do what they say, as processes of their own."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import av
import httpx
import trio

import triortc
from support.peers import LOOPBACK
from triortc.codecs.sources import TestCardSource
from triortc.codecs.testcard import TestCard, read_frame_number
from triortc.engine.peer.tracks import decode_frames, send_source
from triortc.signaling.client import ClientDevice, SignalClient, connect_websocket, open_signal_client

EXAMPLES = Path(__file__).parents[2] / "examples"


class Program:
    """A running example, and what it has printed."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self.said = ""

    async def says(self, pattern: str) -> re.Match[str]:
        assert self.process.stdout is not None
        with trio.fail_after(20):
            while (found := re.search(pattern, self.said)) is None:
                data = await self.process.stdout.receive_some()
                assert data, f"the program ended:\n{self.said}"
                self.said += data.decode()
        return found


@asynccontextmanager
async def running(name: str, *arguments: str) -> AsyncGenerator[Program]:
    command = [sys.executable, "-u", str(EXAMPLES / name), *arguments]
    process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout is not None
    try:
        yield Program(process)
    finally:
        with trio.move_on_after(5, shield=True):
            process.terminate()
            await process.wait()
            await process.stdout.aclose()


@asynccontextmanager
async def connected(url: str, role: str, sub: str, **claims: Any) -> AsyncGenerator[SignalClient]:
    async with httpx.AsyncClient() as http:
        asked = {"role": role, "sub": sub, "did": f"{sub}-1", **claims}
        token = (await http.post(f"{url}dev/token", json=asked)).json()["token"]

    @asynccontextmanager
    async def channel() -> AsyncGenerator[Any]:
        async with connect_websocket(url.replace("http", "ws", 1) + "v1/signal") as opened:
            yield opened

    async with open_signal_client(channel, token=token, device=ClientDevice(f"{sub}-1", "web")) as client:
        if role == "agent":
            for name in ("chat", "video"):
                await client.command("presence.set", channel=name, declared="available")
        yield client


def probed(path: Path) -> dict[str, Any]:
    """What FFmpeg's own tool finds in a file."""
    shown = ["-show_entries", "stream=codec_name,nb_read_packets", "-show_entries", "format=duration", "-count_packets"]
    ran = subprocess.run(["ffprobe", "-v", "error", *shown, "-of", "json", str(path)], capture_output=True, check=True)
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


async def test_what_is_played_is_recorded_and_another_program_can_read_it(tmp_path: Path) -> None:
    first, second = tmp_path / "first.mkv", tmp_path / "second.mkv"
    # What the first run records, the second one plays.
    for arguments in ((str(first), "2"), (str(second), "2", str(first))):
        async with running("play_and_record.py", *arguments) as program:
            await program.says(r"pictures received: [1-9]\d*, packets lost: 0")
    for path in (first, second):
        found = probed(path)
        assert [stream["codec_name"] for stream in found["streams"]] == ["opus", "vp8"]
        assert float(found["format"]["duration"]) > 1
        assert all(int(stream["nb_read_packets"]) > 5 for stream in found["streams"])


async def test_the_robot_visitor_rings_shows_itself_and_sees_the_agent() -> None:
    configuration = triortc.EngineConfiguration(
        triortc.ServerConfiguration(host="127.0.0.1", port=0, development=True),
        triortc.MediaConfiguration(endpoint=LOOPBACK.endpoint),
    )
    async with triortc.open_engine(configuration) as engine:
        assert engine.url is not None
        async with running("robot_visitor.py", engine.url) as program:
            await program.says("nobody to ring: no_agent_available")
        async with (
            connected(engine.url, "agent", "ana") as ana,
            triortc.open_peer_connection(LOOPBACK) as leg,
            running("robot_visitor.py", engine.url) as program,
            trio.open_nursery() as nursery,
        ):
            session = (await ana.event("ring.offer")).p["session"]
            senders = [leg.add_transceiver(kind).sender for kind in ("audio", "video")]
            offer = leg.set_local_description().sdp
            accepted = await ana.command("call.accept", session=session, offer=offer)
            leg.set_remote_description(triortc.RtcSessionDescription("answer", accepted["answer"]))
            with trio.fail_after(20):
                await leg.connected()
                nursery.start_soon(send_source, TestCardSource(TestCard(320, 240, 10)), *senders)
                await program.says("call.active")
                await program.says("sees picture .*: 320x240")
                async for decoded in decode_frames(leg.transceivers[1].receiver):
                    assert isinstance(decoded.frame, av.VideoFrame)
                    if read_frame_number(decoded.frame) is not None:
                        break  # the robot's own test card
                await ana.command("call.hangup", session=session)
                await program.says("over: completed, agent_hangup")
                assert await program.process.wait() == 0
            nursery.cancel_scope.cancel()


async def test_the_skills_router_rings_the_best_free_agent_with_the_skill() -> None:
    async with running("skills_router.py", "0") as program:
        url = (await program.says(r"visitor  (http://\S+/)visitor\?group=french")).group(1)
        await program.says("agent.*cleo.*german\n")
        with trio.fail_after(20):
            async with (
                connected(url, "agent", "cleo", grp=["french", "german"]) as cleo,
                connected(url, "agent", "ana", grp=["french"]) as ana,
                connected(url, "agent", "zoe", grp=["french", "german"]),
                connected(url, "visitor", "lea", cv=["cv_1"]) as lea,
                connected(url, "visitor", "max", cv=["cv_2"]) as max_,
                connected(url, "visitor", "tom", cv=["cv_3"]) as tom,
            ):
                media = {"audio": True, "video": True}
                first = await lea.command("call.request", conversation="cv_1", group="french", media=media)
                assert (await ana.event("ring.offer")).p["session"] == first["session"]
                second = await max_.command("call.request", conversation="cv_2", group="french", media=media)
                assert (await cleo.event("ring.offer")).p["session"] == second["session"]
                # Zoe is free and in the group, and cannot do it.
                third = await tom.command("call.request", conversation="cv_3", group="german", media=media)
                assert third["outcome"] == "unavailable"
                await ana.command("call.decline", session=first["session"])
        await program.says(f"{first['session']}: ana, declined")


async def test_an_interrupted_example_ends_without_a_traceback() -> None:
    async with running("skills_router.py", "0") as program:
        await program.says("agent.*cleo.*german\n")
        program.process.send_signal(signal.SIGINT)
        with trio.fail_after(20):
            assert await program.process.wait() == 0
            assert program.process.stdout is not None
            assert b"Traceback" not in await program.process.stdout.receive_some()


async def test_a_robot_that_is_interrupted_hangs_up_whether_it_rings_or_talks() -> None:
    async with serving() as engine, connected(engine.url, "agent", "ana") as ana:
        async with running("robot_visitor.py", engine.url) as program:
            rung = (await ana.event("ring.offer")).p
            await program.says("rings for 30 seconds")
            program.process.send_signal(signal.SIGINT)
            with trio.fail_after(20):
                assert await program.process.wait() == 0
                assert (await ana.event("ring.ended", session=rung["session"])).p["reason"] == "cancelled"
        async with running("robot_visitor.py", engine.url) as program, triortc.open_peer_connection(LOOPBACK) as leg:
            session = (await ana.event("ring.offer")).p["session"]
            for kind in ("audio", "video"):
                leg.add_transceiver(kind)
            offer = leg.set_local_description().sdp
            accepted = await ana.command("call.accept", session=session, offer=offer)
            leg.set_remote_description(triortc.RtcSessionDescription("answer", accepted["answer"]))
            await program.says("call.active")
            program.process.send_signal(signal.SIGINT)
            with trio.fail_after(20):
                assert await program.process.wait() == 0
                assert (await ana.event("call.ended", session=session)).p["reason"] == "visitor_hangup"


@asynccontextmanager
async def serving() -> AsyncGenerator[triortc.Engine]:
    configuration = triortc.EngineConfiguration(
        triortc.ServerConfiguration(port=0, development=True, host_names=("127.0.0.1",)),
        triortc.MediaConfiguration(endpoint=LOOPBACK.endpoint, slate="off"),
    )
    async with triortc.open_engine(configuration) as engine:
        yield engine


async def test_the_answering_machine_plays_and_records_and_waits_for_the_next_call(tmp_path: Path) -> None:
    async with (
        serving() as engine,
        running("answering_machine.py", engine.url.rstrip("/"), "", str(tmp_path)) as program,
        connected(engine.url, "visitor", "lea", cv=["cv_1", "cv_2"]) as lea,
    ):
        await program.says("waiting for calls")
        for conversation in ("cv_1", "cv_2"):
            async with triortc.open_peer_connection(LOOPBACK) as connection, trio.open_nursery() as nursery:
                halves = [connection.add_transceiver(kind) for kind in ("audio", "video")]
                call = await lea.command(
                    "call.request",
                    conversation=conversation,
                    media={"audio": True, "video": True},
                    offer=connection.set_local_description().sdp,
                )
                connection.set_remote_description(triortc.RtcSessionDescription("answer", call["answer"]))
                senders = [half.sender for half in halves]
                nursery.start_soon(partial(send_source, TestCardSource(TestCard(160, 120, 10)), *senders))
                with trio.fail_after(20):
                    await lea.event("call.active")
                    shown = [half.receiver for half in halves]
                    for receiver in shown:
                        received = await receiver.next_frame()
                        assert received is not None
                    await trio.sleep(1)  # what the recording is of
                if conversation == "cv_1":
                    await lea.command("call.hangup", session=call["session"])
                else:
                    program.process.send_signal(signal.SIGINT)
                    with trio.fail_after(20):
                        assert (await lea.event("call.ended")).p["reason"] == "agent_hangup"
                        assert await program.process.wait() == 0
                nursery.cancel_scope.cancel()
            if conversation == "cv_2":
                break
            recorded = await program.says(rf"{call['session']}: (\S+) s in (\S+)\n")
            with av.open(recorded.group(2)) as film:
                assert {stream.type for stream in film.streams} == {"audio", "video"}
                assert next(film.decode(video=0)).width == 160


async def test_a_program_that_lacks_its_arguments_says_how_it_is_called() -> None:
    for name in ("robot_visitor.py", "play_and_record.py"):
        ended = await trio.run_process([sys.executable, str(EXAMPLES / name)], capture_stderr=True, check=False)
        assert ended.returncode == 1
        assert f"python examples/{name} " in ended.stderr.decode()
        assert "Traceback" not in ended.stderr.decode()


async def test_a_file_that_cannot_be_played_or_recorded_is_told_in_one_line(tmp_path: Path) -> None:
    film = str(tmp_path / "film.mkv")
    for arguments in ((str(tmp_path / "film.txt"), "1"), (film, "1", str(tmp_path / "none.mp4"))):
        command = [sys.executable, str(EXAMPLES / "play_and_record.py"), *arguments]
        ended = await trio.run_process(command, capture_stderr=True, check=False)
        assert ended.returncode == 1
        assert ended.stderr.decode().count("\n") == 1


async def test_a_program_whose_server_is_not_there_says_so_in_one_line(tmp_path: Path) -> None:
    with socket.socket() as held:  # bound, and nobody listens
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}"
        for name, *arguments in (("robot_visitor.py", url), ("answering_machine.py", url, "", str(tmp_path))):
            ended = await trio.run_process(
                [sys.executable, str(EXAMPLES / name), *arguments], capture_stderr=True, check=False
            )
            assert ended.returncode == 1
            said = ended.stderr.decode()
            assert said.startswith(f"no token from {url}: ")
            assert said.count("\n") == 1
