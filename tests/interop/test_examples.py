"""The programs in examples/ do what they say, as processes of their own."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import trio

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
