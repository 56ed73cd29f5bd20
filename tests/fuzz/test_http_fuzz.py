"""Whatever comes in over HTTP, before and after an upgrade: nothing fails inside the server, and it goes on serving."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair

from support.signaling_host import SignalingHost, open_signaling_host
from triortc.signaling.configuration import HttpConfiguration, SignalingConfiguration

UPGRADE = (
    b"GET /v1/signal HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
    b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n"
    b"sec-websocket-protocol: triortc.v1\r\n\r\n"
)
METHODS = (b"GET", b"POST", b"HEAD", b"OPTIONS", b"CONNECT", b"PUT", b"TRACE", b"X!")
TARGETS = (
    b"/", b"/agent", b"/v1/signal", b"/v1/signal?x", b"/health", b"/ready", b"/v1/transports", b"/dev/token",
    b"/../../etc/passwd", b"/%2e%2e/x", b"*", b"http://x/agent", b"localhost:1",
)  # fmt: skip
HEADERS = (
    b"host: localhost", b"host: elsewhere", b"host: [::1", b"host: a@b", b"host: \xff", b"host: a;b",
    b"origin: null", b"origin: http://localhost", b"origin: http://[::", b"origin: http://\xe2\x84\x80",
    b"expect: 100-continue", b"content-length: 5", b"content-length: 99999999999", b"transfer-encoding: chunked",
    b"connection: close", b"connection: Upgrade, keep-alive", b"upgrade: websocket", b"upgrade: h2c",
    b"sec-websocket-version: 13", b"sec-websocket-key: x", b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
    b"sec-websocket-protocol: triortc.v1", b"sec-websocket-protocol: \xff",
    b"sec-websocket-extensions: permessage-deflate; server_max_window_bits=8",
    b"accept-encoding: gzip;q=x", b"if-none-match: *", b"content-type: application/json",
)  # fmt: skip
BODIES = (b"", b"", b"hello", b'{"role":"agent","sub":"x"}', b"5\r\nhello\r\n0\r\n\r\n", b"{" * 3000)
PAYLOADS = (
    b"", b"{}", b'{"t":"ping","p":{}}', b'{"t":"hello","p":{"token":"a.b.c","device":{"id":"d","platform":"web"}}}',
    b"\x03\xe8ok", b"\x03", b"\x03\xed", b"\x03\xe8\xff\xfe", b"\xe2\x82", b"[" * 5000,
)  # fmt: skip


def requests(chance: random.Random) -> bytes:
    """A few requests of parts that are each what somebody might send."""
    made = b""
    for _ in range(chance.randint(1, 3)):
        version = chance.choice([b"1.1", b"1.1", b"1.0", b"2.0"])
        made += b"%s %s HTTP/%s\r\n" % (chance.choice(METHODS), chance.choice(TARGETS), version)
        lines = (
            [chance.choice([b"host: localhost", b"host: localhost", b"host: \xff"])] if chance.random() < 0.7 else []
        )
        lines += chance.sample(HEADERS, chance.randint(0, 9))
        made += b"\r\n".join(lines) + b"\r\n\r\n" + chance.choice(BODIES)
    if chance.random() < 0.2:
        spoilt = bytearray(made)
        for _ in range(3):
            spoilt[chance.randrange(len(spoilt))] = chance.randrange(256)
        return bytes(spoilt)
    return made


def frames(chance: random.Random) -> bytes:
    """An upgrade, and frames of RFC 6455 section 5.2 behind it, some of which are none."""
    made = UPGRADE
    for _ in range(chance.randint(1, 8)):
        payload = chance.choice([*PAYLOADS, chance.randbytes(chance.randint(0, 140))])
        length = chance.choice([*[len(payload)] * 15, 2**63 - 1, 70_000, 200])
        first = chance.choice([0, 1, 1, 1, 2, 3, 8, 9, 10, 15]) | chance.choice([0, 0x80, 0x80, 0x80, 0xC0])
        masked = chance.random() < 0.95
        short = length if length < 126 else 126 if length < 1 << 16 else 127
        made += bytes((first, short | (0x80 if masked else 0)))
        made += b"" if short < 126 else length.to_bytes(2 if short == 126 else 8, "big")
        mask = chance.randbytes(4) if masked else bytes(4)
        made += mask if masked else b""
        made += bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
    return made


async def send(host: SignalingHost, data: bytes, chance: random.Random) -> None:
    ours, theirs = memory_stream_pair()
    host.nursery.start_soon(host.http.serve, theirs)
    longest = chance.choice([7, 50, 10_000])
    try:
        while data:
            size = chance.randint(1, longest)
            await ours.send_all(data[:size])
            data = data[size:]
        if chance.random() < 0.5:
            await ours.send_eof()
        with trio.move_on_after(60):
            while await ours.receive_some():
                pass
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass  # it was refused before it was all sent
    await trio.aclose_forcefully(ours)


@pytest.mark.parametrize("host_names", [("localhost",), None])
@pytest.mark.parametrize("make", [requests, frames])
async def test_nothing_that_comes_in_over_http_fails_inside_the_server(
    make: Callable[[random.Random], bytes], host_names: tuple[str, ...] | None, autojump_clock: MockClock
) -> None:
    chance = random.Random(8)
    limits = SignalingConfiguration(hello_timeout_s=0.2, close_timeout_s=0.1)
    http = HttpConfiguration(request_timeout_s=0.2, keep_alive_s=0.2)
    async with open_signaling_host("memory", configuration=limits, http=http, host_names=host_names) as host:
        for _ in range(250):
            await send(host, make(chance), chance)
        assert host.http.counters.faults == 0
        assert host.http.counters.requests > 50
