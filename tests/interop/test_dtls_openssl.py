"""DTLS-SRTP with the machine's own ``openssl`` program over UDP on loopback: another library build, real datagrams."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from support.dtls_pair import CLIENT, SERVER, make_transport, our_certificate
from triortc.engine.dtls import DtlsClosed, DtlsConnected, DtlsEvent, DtlsState, DtlsTransport
from triortc.engine.protection_profile import PROFILES, SrtpProfile

OPENSSL = shutil.which("openssl")
pytestmark = pytest.mark.skipif(OPENSSL is None, reason="the openssl program is not installed")

LIMIT_S = 20
PROFILE = pytest.mark.parametrize("profile", PROFILES[:3], ids=lambda profile: profile.name)


def _files(directory: Path, name: str) -> list[str]:
    """The options that give the program our peer's certificate."""
    certificate = our_certificate(name)
    cert, key = directory / "cert.pem", directory / "key.pem"
    cert.write_bytes(certificate.x509.public_bytes(Encoding.PEM))
    key.write_bytes(certificate._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return ["-cert", str(cert), "-key", str(key)]


def _common(profile: SrtpProfile, order: Sequence[SrtpProfile]) -> list[str]:
    length = 2 * (profile.key_bytes + profile.salt_bytes)
    names = ":".join(one.openssl_name for one in order)
    return ["-dtls1_2", "-use_srtp", names, "-keymatexport", "EXTRACTOR-dtls_srtp", "-keymatexportlen", str(length)]


@asynccontextmanager
async def _program(*arguments: str) -> AsyncIterator[trio.Process]:
    async with trio.open_nursery() as nursery:
        run = partial(
            trio.run_process,
            [OPENSSL or "openssl", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        process = await nursery.start(run)
        yield process
        nursery.cancel_scope.cancel()


async def _printed(process: trio.Process, pattern: bytes) -> bytes:
    """The first group of ``pattern`` in what the program prints."""
    assert process.stdout is not None
    text = b""
    async for part in process.stdout:
        text += part
        if found := re.search(pattern, text):
            return found[1]
    raise AssertionError(f"{pattern!r} not in {text!r}")


class Driver:
    """Turns one transport's crank on one socket."""

    def __init__(self, transport: DtlsTransport, socket: trio.socket.SocketType, peer: tuple[str, int] | None) -> None:
        self.transport = transport
        self.socket = socket
        self.peer = peer

    async def event(self) -> DtlsEvent:
        """Let datagrams and time pass until there is an event."""
        while True:
            while self.peer is not None and (datagram := self.transport.poll_transmit()) is not None:
                await self.socket.sendto(datagram, self.peer)
            if (event := self.transport.poll_event()) is not None:
                return event
            deadline = self.transport.next_deadline()
            with trio.move_on_at(trio.current_time() + LIMIT_S if deadline is None else deadline) as scope:
                data, self.peer = await self.socket.recvfrom(65536)
                self.transport.receive(data, trio.current_time())
            if scope.cancelled_caught:
                self.transport.handle_timeout(trio.current_time())

    async def flush(self) -> None:
        """Send what there is to send."""
        while self.peer is not None and (datagram := self.transport.poll_transmit()) is not None:
            await self.socket.sendto(datagram, self.peer)


def _material(event: DtlsConnected, role: str) -> bytes:
    local, remote = (event.local_key, event.local_salt), (event.remote_key, event.remote_salt)
    (client_key, client_salt), (server_key, server_salt) = (local, remote) if role == CLIENT else (remote, local)
    return client_key + server_key + client_salt + server_salt


@PROFILE
async def test_as_server_of_s_client(profile: SrtpProfile, tmp_path: Path) -> None:
    with trio.fail_after(LIMIT_S), trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as socket:
        await socket.bind(("127.0.0.1", 0))
        driver = Driver(make_transport("server"), socket, None)
        driver.transport.start(trio.current_time())
        target = f"127.0.0.1:{socket.getsockname()[1]}"
        # The worst of what it offers first: it is our order that counts.
        order = [PROFILES[3], *reversed(PROFILES[PROFILES.index(profile) : 3])]
        options = [*_common(profile, order), *_files(tmp_path, CLIENT)]
        async with _program("s_client", "-connect", target, *options) as process:
            event = await driver.event()
            assert isinstance(event, DtlsConnected)
            assert event.profile is profile
            driver.transport.media_arrived()
            printed = await _printed(process, rb"Keying material: ([0-9A-F]+)\n")
            assert bytes.fromhex(printed.decode()) == _material(event, SERVER)
            assert process.stdin is not None
            await process.stdin.send_all(b"Q\n")
            assert await driver.event() == DtlsClosed()
            await driver.flush()


@PROFILE
@pytest.mark.parametrize("cookie", [False, True], ids=["plain", "HelloVerifyRequest"])
async def test_as_client_of_s_server(profile: SrtpProfile, cookie: bool, tmp_path: Path) -> None:
    with trio.fail_after(LIMIT_S), trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as socket:
        await socket.bind(("127.0.0.1", 0))
        with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as probe:
            await probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        options = [*_common(profile, [profile]), *_files(tmp_path, SERVER), "-Verify", "1"]
        if cookie:
            options.append("-listen")
        async with _program("s_server", "-accept", f"127.0.0.1:{port}", *options) as process:
            await _printed(process, rb"(ACCEPT)")
            driver = Driver(make_transport("client"), socket, ("127.0.0.1", port))
            driver.transport.start(trio.current_time())
            event = await driver.event()
            assert isinstance(event, DtlsConnected)
            assert event.profile is profile
            printed = await _printed(process, rb"Keying material: ([0-9A-F]+)\n")
            assert bytes.fromhex(printed.decode()) == _material(event, CLIENT)
            driver.transport.close(trio.current_time())
            await driver.flush()
            assert driver.transport.state is DtlsState.CLOSED
            await _printed(process, rb"(CONNECTION CLOSED|DONE|shutting down SSL)")
