"""Signaling under load through WebSocket: calls asked for and cancelled, idle connections.

The generator is light, and writes its frames itself: a WebSocket library of its own would be most of what it measures.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
import trio

from triortc.bench.machine import cpu_seconds, percentile, raise_file_limit
from triortc.bench.signal_process import SignalProcess, open_signal_process
from triortc.errors import TriortcError

__all__ = ["measure_calls", "measure_idle"]

_WARM_UP_S: Final = 1.0
_CLOSE_OPCODE: Final = 0x8
_UPGRADE: Final = (
    "GET /v1/signal HTTP/1.1\r\nhost: {host}:{port}\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
    "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n"
    "sec-websocket-protocol: triortc.v1\r\n\r\n"
)


class _Envelope(msgspec.Struct):
    t: str
    p: dict[str, Any] = {}
    re: str | None = None
    seq: int | None = None


_decode: Final = msgspec.json.Decoder(_Envelope).decode


def _frame(message: dict[str, Any]) -> bytes:
    """One text frame of a client (RFC 6455 section 5.2), masked with zeros: the payload stays as it is."""
    payload = json.dumps(message, separators=(",", ":")).encode()
    length = len(payload)
    head = bytes((0x81, 0x80 | length)) if length < 126 else bytes((0x81, 0xFE)) + length.to_bytes(2, "big")
    return head + bytes(4) + payload


class _Line:
    """One connection: frames out, messages in."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._buffer = b""
        self._at = 0
        self._count = 0

    async def send(self, t: str, payload: dict[str, Any], *, command: bool = True) -> None:
        message: dict[str, Any] = {"t": t, "p": payload}
        if command:
            self._count += 1
            message["id"] = f"c{self._count}"
        await self._stream.send_all(_frame(message))

    async def next(self) -> _Envelope:
        """The next message of the server."""
        while (payload := self._take()) is None:
            more = await self._stream.receive_some(65536)
            if not more:
                raise TriortcError("the server closed a connection of the benchmark")
            self._buffer = self._buffer[self._at :] + more
            self._at = 0
        return _decode(payload)

    def _take(self) -> bytes | None:
        """The payload of the next whole frame; None: it has not come yet."""
        data, at = self._buffer, self._at
        if len(data) - at < 10 and (len(data) - at < 2 or data[at + 1] & 0x7F >= 126):
            return None
        length, head = data[at + 1] & 0x7F, 2
        if length == 126:
            length, head = int.from_bytes(data[at + 2 : at + 4], "big"), 4
        elif length == 127:
            length, head = int.from_bytes(data[at + 2 : at + 10], "big"), 10
        if len(data) < at + head + length:
            return None
        self._at = at + head + length
        payload = data[at + head : self._at]
        if data[at] & 0x0F == _CLOSE_OPCODE:
            code, reason = int.from_bytes(payload[:2], "big"), payload[2:].decode(errors="replace")
            raise TriortcError(f"the server closed a connection of the benchmark: {code} {reason}")
        return payload

    async def receive(self, *types: str) -> _Envelope:
        """The next message of one of these types."""
        while (message := await self.next()).t not in types:
            pass
        return message


async def _token(server: SignalProcess, **claims: Any) -> str:
    body = json.dumps(claims).encode()
    head = f"POST /dev/token HTTP/1.1\r\nhost: {server.host}:{server.port}\r\ncontent-type: application/json\r\n"
    async with await trio.open_tcp_stream(server.host, server.port) as stream:
        await stream.send_all(f"{head}content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode() + body)
        answer = b"".join([data async for data in stream])
    token: str = json.loads(answer.partition(b"\r\n\r\n")[2])["token"]
    return token


@asynccontextmanager
async def _connect(server: SignalProcess, token: str, device: str) -> AsyncGenerator[_Line]:
    stream = await trio.open_tcp_stream(server.host, server.port)
    async with stream:
        await stream.send_all(_UPGRADE.format(host=server.host, port=server.port).encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += await stream.receive_some(65536)
        line = _Line(stream)
        line._buffer = answer.partition(b"\r\n\r\n")[2]
        described = {"id": device, "platform": "desktop", "app_version": "bench", "app_state": "foreground"}
        permissions = {"camera": "granted", "mic": "granted"}
        hello = {"token": token, "device": {**described, "perms": permissions, "caps": []}, "features": []}
        await line.send("hello", hello, command=False)
        await line.receive("welcome")
        yield line


# --- calls asked for and cancelled


class _Pair:
    """An agent with two devices and a visitor, in a tenant of their own: ask, wait for both offers, cancel, again."""

    def __init__(self, number: int) -> None:
        self._org = f"org{number}"
        self._waiting = trio.Event()
        self._left = 0
        self.offers_s: list[float] = []
        self.cycles_s: list[float] = []
        self.warm = trio.Event()

    def _expect(self, count: int) -> trio.Event:
        self._waiting, self._left = trio.Event(), count
        return self._waiting

    def _arrived(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._waiting.set()

    async def run(self, server: SignalProcess) -> None:
        async with trio.open_nursery() as nursery:
            for device in ("desk", "phone"):
                await nursery.start(self._device, server, device)
            await self._visit(server)

    async def _device(self, server: SignalProcess, device: str, task_status: trio.TaskStatus[None]) -> None:
        token = await _token(server, role="agent", sub="a", did=device, org=self._org)
        async with _connect(server, token, device) as line:
            if device == "desk":
                await line.send("presence.set", {"channel": "video", "declared": "available"})
                await line.receive("ok")
            task_status.started()
            last = 0
            while True:
                message = await line.next()
                if message.t in ("ring.offer", "ring.ended"):
                    self._arrived()
                if message.seq is not None and message.seq >= last + 10:
                    last = message.seq
                    await line.send("ack", {"seq": last}, command=False)

    async def _visit(self, server: SignalProcess) -> None:
        token = await _token(server, role="visitor", sub="v", did="tab", org=self._org, cv=["cv"])
        async with _connect(server, token, "tab") as line:
            wanted = {"conversation": "cv", "media": {"audio": True, "video": True}}
            seq = 0
            while True:
                began = time.perf_counter()
                offered = self._expect(2)
                await line.send("call.request", wanted)
                reply = await line.receive("ok", "err")
                if reply.t == "err" or reply.p["state"] != "ringing":
                    raise TriortcError(f"the benchmark's own call was refused: {reply.p}")
                await offered.wait()
                self.offers_s.append(time.perf_counter() - began)
                over = self._expect(2)
                await line.send("call.cancel", {"session": reply.p["session"]})
                await line.receive("ok")
                await over.wait()
                self.cycles_s.append(time.perf_counter() - began)
                self.warm.set()
                seq += 1
                if seq % 5 == 0:
                    await line.send("ack", {"seq": 2**40}, command=False)


async def measure_calls(pairs: int, seconds: float, directory: str | None = None) -> dict[str, Any]:
    """Request, two ring offers, cancel, two ends of rings: as often as so many visitors at one time can.

    Arguments:
        pairs: visitors, each with an agent of two devices.
        seconds: of measuring.
        directory: keep state in this directory; None: in memory.
    """
    options = () if directory is None else (directory,)
    async with open_signal_process(*options) as server, trio.open_nursery() as nursery:
        running = [_Pair(number) for number in range(pairs)]
        for pair in running:
            nursery.start_soon(pair.run, server)
        for pair in running:
            await pair.warm.wait()
        await trio.sleep(_WARM_UP_S)
        for pair in running:
            pair.offers_s.clear()
            pair.cycles_s.clear()
        before, own_before, began = cpu_seconds(server.pid), cpu_seconds(os.getpid()), trio.current_time()
        await trio.sleep(seconds)
        wall_s = trio.current_time() - began
        cpu_s, own_s = cpu_seconds(server.pid) - before, cpu_seconds(os.getpid()) - own_before
        offers = [offer for pair in running for offer in pair.offers_s]
        cycles = [cycle for pair in running for cycle in pair.cycles_s]
        nursery.cancel_scope.cancel()
    return {
        "what": "calls through WebSocket",
        "label": "triortc",
        "calls": pairs,
        "first_cycles": sum(pair.warm.is_set() for pair in running),
        "store": "memory" if directory is None else "sqlite",
        "cycles_per_second": len(cycles) / wall_s,
        "offers_ms_p50": percentile(offers, 0.5) * 1000,
        "offers_ms_p99": percentile(offers, 0.99) * 1000,
        "cycle_ms_p99": percentile(cycles, 0.99) * 1000,
        "server_cpu_us_per_cycle": cpu_s * 1e6 / max(1, len(cycles)),
        "server_cpu_percent": 100 * cpu_s / wall_s,
        "generator_cpu_percent": 100 * own_s / wall_s,
    }


# --- idle connections


async def measure_idle(connections: int, *, idle_s: float = 15.0) -> dict[str, Any]:
    """Agents' devices that have been welcomed and do nothing: what one costs the server in memory."""
    raise_file_limit()
    async with open_signal_process() as server, trio.open_nursery() as nursery:

        async def hold(number: int, task_status: trio.TaskStatus[None]) -> None:
            org = f"org{number // 100}"
            token = await _token(server, role="agent", sub=f"a{number}", did="desk", org=org)
            async with _connect(server, token, "desk") as line:
                task_status.started()
                while True:
                    message = await line.next()
                    if message.t == "ping":
                        await line.send("pong", message.p, command=False)

        for number in range(50):
            await nursery.start(hold, number)
        before, began = server.rss_kib, trio.current_time()
        for number in range(50, 50 + connections):
            await nursery.start(hold, number)
        connect_s = trio.current_time() - began
        await trio.sleep(1)
        after = server.rss_kib
        cpu_before = cpu_seconds(server.pid)
        await trio.sleep(idle_s)
        cpu_s = cpu_seconds(server.pid) - cpu_before
        nursery.cancel_scope.cancel()
    return {
        "what": "idle connections",
        "label": "triortc",
        "connections": connections,
        "kib_per_connection": (after - before) / connections,
        "connects_per_second": connections / connect_s,
        "cpu_percent_while_idle": 100 * cpu_s / idle_s,
    }
