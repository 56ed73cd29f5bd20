"""A server of a configuration file, as people run it: a process with its certificate, keys and tokens."""

from __future__ import annotations

import json
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import jwt
import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from support.signaling_ports import free_port
from triortc.signaling.certificates import ServerCertificate, self_signed_certificate
from triortc.signaling.client import ClientDevice, connect_websocket, open_signal_client

__all__ = ["KEY", "OTHER_KEY", "Served", "served", "token", "write_certificate", "write_keys"]

TRIORTC = str(Path(sys.executable).with_name("triortc"))
NAMES = ("127.0.0.1", "localhost")
KEY = Ed25519PrivateKey.generate()
#: With media processes, several interpreters start.
START_TIMEOUT_S = 30.0
OTHER_KEY = Ed25519PrivateKey.generate()


def write_certificate(folder: Path) -> ServerCertificate:
    certificate = self_signed_certificate(NAMES, now=datetime.now(UTC))
    key = certificate.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "certificate.pem").write_bytes(certificate.pem)
    (folder / "key.pem").write_bytes(key)
    return certificate


def write_keys(folder: Path, **keys: Ed25519PrivateKey) -> None:
    entries = [
        {**json.loads(jwt.algorithms.OKPAlgorithm.to_jwk(key.public_key())), "kid": kid} for kid, key in keys.items()
    ]
    (folder / "keys.json").write_text(json.dumps({"keys": entries}))


def token(
    sub: str, did: str, *, kid: str = "a", key: Ed25519PrivateKey = KEY, role: str = "agent", **more: object
) -> str:
    """A token of the file's issuer, for its tenant."""
    now = int(time.time())
    claims = {"iss": "https://login.example", "aud": "triortc", "sub": sub, "org": "acme", "role": role, "did": did}
    times = {"iat": now - 5, "exp": now + 600, "jti": f"{sub}-{did}"}
    return jwt.encode({**claims, **times, **more}, key, algorithm="EdDSA", headers={"kid": kid})


@dataclass
class Served:
    folder: Path
    process: trio.Process
    port: int
    lines: list[str]

    async def said(self, words: str, within_s: float = 10.0) -> str:
        """Wait until it has logged a line with these words."""
        with trio.fail_after(within_s):
            while True:
                found = [line for line in self.lines if words in line]
                if found:
                    return found[-1]
                await trio.sleep(0.02)

    async def kill(self) -> None:
        """End it with -9, as the kernel does."""
        self.process.kill()
        await self.process.wait()

    def shown_certificate(self) -> bytes:
        return ssl.get_server_certificate(("127.0.0.1", self.port)).encode()

    def client(self, sub: str, did: str, certificate: ServerCertificate, **more: object):  # type: ignore[no-untyped-def]  # long, and used once
        trusting = ssl.create_default_context(cadata=certificate.pem.decode())
        trusting.verify_flags &= ~ssl.VERIFY_X509_STRICT
        channel = partial(connect_websocket, f"wss://127.0.0.1:{self.port}/v1/signal", tls=trusting)
        return open_signal_client(channel, token=token(sub, did, **more), device=ClientDevice(did))  # type: ignore[arg-type]  # any claims


@asynccontextmanager
async def served(folder: Path, drain_s: float = 5, more: str = "") -> AsyncGenerator[Served]:
    """Run the server on the files of a folder, which has a certificate, until the block is left or it is killed.

    Arguments:
        folder: where its files are, and its state.
        drain_s: how long it waits for calls.
        more: tables for its configuration.
    """
    write_keys(folder, a=KEY)
    (folder / "revoked.json").write_text('{"revocations": []}')
    port = free_port()
    (folder / "triortc.toml").write_text(
        f"""
        [server]
        port = {port}
        host_names = ["127.0.0.1", "localhost"]
        revocations = "revoked.json"
        data = "state"
        drain_s = {drain_s}
        log_format = "json"
        [tls]
        certificate_file = "certificate.pem"
        key_file = "key.pem"
        [webtransport]
        [operations]
        port = {free_port()}
        [media]
        media_host = ["127.0.0.1"]
        loopback = true
        [jwks]
        retry_s = 0.1
        [[issuers]]
        issuer = "https://login.example"
        organizations = ["acme"]
        jwks_file = "keys.json"
        {more}
        """
    )
    process = await trio.lowlevel.open_process(
        [TRIORTC, "serve", "--config", str(folder / "triortc.toml")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    lines: list[str] = []

    async def listen() -> None:
        assert process.stdout is not None
        waiting = b""
        async for piece in process.stdout:
            *whole, waiting = (waiting + piece).split(b"\n")
            lines.extend(line.decode() for line in whole)

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            running = Served(folder, process, port, lines)
            await running.said("serving  https://", START_TIMEOUT_S)
            yield running
            if process.returncode is None:
                process.send_signal(signal.SIGINT)
                process.send_signal(signal.SIGINT)
            with trio.fail_after(10):
                await process.wait()
            nursery.cancel_scope.cancel()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
