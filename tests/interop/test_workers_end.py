"""Media processes end with their server, however it ends; what a benchmark has started ends with the benchmark."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
import trio

from support.media_ports import until
from support.processes import alive, children, told
from support.real_calls import Party
from support.running_server import COMMAND
from support.served_file import Served, served, write_certificate
from triortc.bench.machine import family
from triortc.engine.peer.connection import PeerConnection
from triortc.signaling.client import CommandError

MEDIA = {"audio": True, "video": True}


@dataclass
class Call:
    """A call that is on, in one of two media processes, and who could begin another."""

    server: Served
    workers: list[int]
    session: str
    visitor: Party
    agent: Party
    newcomer: Party
    legs: tuple[PeerConnection, PeerConnection]

    async def sees_and_hears(self) -> None:
        """Ten more frames of each kind reach both sides."""
        kinds: tuple[Literal["audio", "video"], ...] = ("audio", "video")
        for leg in self.legs:
            for kind in kinds:
                transceiver = leg.transceiver(kind)
                assert transceiver is not None
                for _ in range(10):
                    assert await transceiver.receiver.next_frame() is not None


@asynccontextmanager
async def call_on(folder: Path, drain_s: float) -> AsyncGenerator[Call]:
    certificate = write_certificate(folder)
    claims = {"role": "visitor", "grp": ["default"]}
    async with (
        served(folder, drain_s, more="[workers]\ncount = 2") as server,
        server.client("lea", "tab", certificate, cv=["cv_1"], **claims) as visitor_signal,
        server.client("max", "tab2", certificate, cv=["cv_2"], **claims) as newcomer_signal,
        server.client("ana", "desk", certificate, cap=["video.receive", "presence"], grp=["default"]) as agent_signal,
        trio.open_nursery() as nursery,
    ):
        visitor, newcomer, agent = (
            Party(signal, None, nursery)  # type: ignore[arg-type]  # for its legs; it asks no house
            for signal in (visitor_signal, newcomer_signal, agent_signal)
        )
        for channel in ("chat", "video"):
            await agent.signal.command("presence.set", channel=channel, declared="available")
        asked = await visitor.signal.command("call.request", conversation="cv_1", media=MEDIA)
        seen = await visitor.leg(asked["leg"])
        offer = await agent.signal.event("ring.offer")
        opened = await agent.signal.command("ring.opened", ring=offer.p["ring"])
        legs = seen, await agent.leg(opened["leg"])
        await agent.signal.command("call.accept", session=asked["session"])
        for party in (visitor, agent):
            await party.signal.event("call.active")
        workers = children(server.process.pid)
        assert len(workers) == 2
        call = Call(server, workers, asked["session"], visitor, agent, newcomer, legs)
        await call.sees_and_hears()
        yield call
        nursery.cancel_scope.cancel()


async def ended_in_order(call: Call) -> None:
    with trio.fail_after(15):
        assert await call.server.process.wait() == 0
    assert not any(map(alive, call.workers))
    assert not [line for line in call.server.lines if "Traceback" in line]


async def test_r24_a_call_in_a_worker_goes_on_while_the_server_drains_and_no_other_begins(tmp_path: Path) -> None:
    async with call_on(tmp_path, drain_s=60) as call:
        # A service manager's SIGTERM goes to all of the group: it is the server that decides.
        os.killpg(call.server.process.pid, signal.SIGTERM)
        for party in (call.visitor, call.agent, call.newcomer):
            assert (await party.signal.event("server.draining")).p["deadline_ms"] == 60_000
        with pytest.raises(CommandError, match="takes no new calls") as refused:
            await call.newcomer.signal.command("call.request", conversation="cv_2", media=MEDIA)
        assert (refused.value.code, refused.value.retryable) == ("server.draining", True)
        await call.sees_and_hears()
        assert all(map(alive, call.workers))
        ended = await call.visitor.signal.command("call.hangup", session=call.session)
        assert ended["outcome"] == "completed"
        await ended_in_order(call)
        assert await call.server.said("drained: every call has ended")


async def test_v43_a_call_in_a_worker_that_outlasts_the_draining_ends_in_words(tmp_path: Path) -> None:
    async with call_on(tmp_path, drain_s=1) as call:
        call.server.process.send_signal(signal.SIGTERM)
        await call.visitor.signal.event("server.draining")
        await call.sees_and_hears()
        for party in (call.visitor, call.agent):
            ended = await party.signal.event("call.ended")
            assert (ended.p["outcome"], ended.p["reason"]) == ("failed", "server_shutdown")
        await ended_in_order(call)


async def test_a_server_that_is_killed_in_a_call_leaves_no_worker_behind(tmp_path: Path) -> None:
    async with call_on(tmp_path, drain_s=60) as call:
        await call.server.kill()
        await until(lambda: not any(map(alive, call.workers)), "the workers are gone", within_s=5.0)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=lambda number: number.name)
async def test_however_the_server_ends_its_workers_end_with_it(number: signal.Signals) -> None:
    process = await trio.lowlevel.open_process(
        [*COMMAND, "--workers", "2"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        assert process.stdout is not None
        said = b""
        with trio.fail_after(40.0):
            while b"/agent" not in said:
                said += await process.stdout.receive_some()
        workers = children(process.pid)
        assert len(workers) == 2
        for worker in workers:
            assert re.search(rb"worker_process\0\d+\0$", told(worker, "cmdline")), "nothing but a descriptor"
            assert b"TRIORTC_" not in told(worker, "environ")
        os.kill(workers[0], signal.SIGTERM)  # what a service manager sends to all: the server decides
        # A terminal's interrupt, too, goes to all of the group.
        os.killpg(process.pid, number) if number is not signal.SIGKILL else process.kill()
        with trio.fail_after(15.0):
            await process.wait()
        await until(lambda: not any(alive(worker) for worker in workers), "the workers are gone")
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def servers(process: int) -> list[int]:
    """The servers that a process has started, and their workers."""
    found = []
    for one in family(process)[1:]:
        with suppress(OSError):
            if re.search(rb"\0serve|worker_process\0", told(one, "cmdline")):
                found.append(one)
    return found


@pytest.mark.parametrize(
    ("bench", "number"),
    [
        (("soak", "--minutes", "5", "--calls", "2"), signal.SIGTERM),
        (("kills", "--seconds", "30", "--visitors", "2"), signal.SIGINT),
        (("relay", "--calls", "1", "--seconds", "60", "--workers", "1"), signal.SIGHUP),
    ],
    ids=lambda value: value.name if isinstance(value, signal.Signals) else value[0],
)
async def test_a_bench_that_is_ended_ends_its_server_and_the_workers_of_that(
    bench: tuple[str, ...], number: signal.Signals
) -> None:
    program = str(Path(sys.executable).with_name("triortc"))
    least = 1 if bench[0] == "kills" else 2  # the server, and with workers the first of them
    process = await trio.lowlevel.open_process(
        [program, "bench", *bench], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )
    started: list[int] = []
    try:
        await until(lambda: len(servers(process.pid)) >= least, "it has started a server", within_s=40.0)
        started = servers(process.pid)
        process.send_signal(number)
        with trio.fail_after(20):
            assert await process.wait() == 128 + number
        assert process.stderr is not None
        assert await process.stderr.receive_some() == f"ended by {number.name}\n".encode()
        await until(lambda: not any(map(alive, started)), "what it has started is gone", within_s=5.0)
    finally:
        for one in (process.pid, *started):
            if alive(one):
                os.kill(one, signal.SIGKILL)
        await process.wait()
        if process.stderr is not None:
            await process.stderr.aclose()
