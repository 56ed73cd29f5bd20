"""What `triortc doctor` says of a machine: versions, codecs, and the limits that a busy server meets first."""

from __future__ import annotations

import os
import platform
import resource
import socket
from importlib.metadata import version
from typing import Final

import av
from cryptography.hazmat.backends.openssl import backend

from triortc.engine.endpoint_configuration import EndpointConfiguration
from triortc.engine.udp import UdpSocket

__all__ = ["describe_codecs", "describe_open_files", "describe_socket_buffers", "describe_versions"]

#: What encodes for us, by FFmpeg's names: pictures and sound of the slate, of transcoding, and of Python's own peers.
_ENCODERS: Final = ("libvpx", "libx264", "libopus", "pcm_mulaw", "pcm_alaw")
#: A device has a TCP connection, or one QUIC socket for all; pushes, webhooks and the store want a few more.
_FILES_BESIDE_CONNECTIONS: Final = 100
_FEW_FILES: Final = 4096


def describe_versions() -> str:
    """What is installed, for a report of a bug."""
    ours, loop, quic = version("triortc"), version("trio"), version("aioquic")
    tls = backend.openssl_version_text().removeprefix("OpenSSL ").partition(" ")[0]
    return (
        f"triortc {ours}, Python {platform.python_version()}, trio {loop}, PyAV {av.__version__}, aioquic {quic}, "
        f"OpenSSL {tls}"
    )


def describe_codecs() -> str:
    """Whether this FFmpeg encodes all that is negotiated."""
    missing = [name for name in _ENCODERS if name not in av.codecs_available]
    if not missing:
        return "VP8, H.264, Opus, G.711: this FFmpeg encodes all of them"
    return (
        f"this FFmpeg lacks {', '.join(missing)}: relaying needs none of them; slate, transcoding and PeerConnection do"
    )


def describe_socket_buffers() -> str:
    """How much of the kernel's buffer that media is configured with the system gives."""
    asked = EndpointConfiguration().socket_buffer_bytes
    opened = UdpSocket("127.0.0.1", 0, buffer_bytes=asked)
    try:
        with socket.socket(fileno=os.dup(opened.fileno())) as same:
            # The kernel counts its own bookkeeping in, and tells twice of what was asked for (socket(7)).
            given = min(same.getsockopt(socket.SOL_SOCKET, name) // 2 for name in (socket.SO_RCVBUF, socket.SO_SNDBUF))
    finally:
        opened.close()
    if given >= asked:
        return f"{asked >> 10} KiB each way, as asked"
    return (
        f"{given >> 10} of the {asked >> 10} KiB that are asked for: bursts may be lost; "
        f"sysctl net.core.rmem_max={asked} net.core.wmem_max={asked}"
    )


def describe_open_files() -> str:
    """How many connections the limit of open files leaves room for."""
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return "no limit"
    room = max(0, limit - _FILES_BESIDE_CONNECTIONS)
    if limit >= _FEW_FILES:
        return f"{limit}: room for {room} connections"
    further = f" (here up to {most})" if most > limit else ""
    return f"{limit}: room for {room} connections only; raise it by ulimit -n{further}, or LimitNOFILE= of the service"
