"""What `triortc doctor` tells of a machine that lacks something."""

from __future__ import annotations

import resource
import socket
from typing import Any

import av
import pytest
from click.testing import CliRunner

from triortc.engine.udp import UdpSocket
from triortc.signaling.cli import main
from triortc.signaling.machine_report import describe_codecs, describe_open_files, describe_socket_buffers


def test_doctor_tells_versions_and_limits() -> None:
    told = CliRunner().invoke(main, ["doctor"])
    assert told.exit_code == 0
    for word in ("versions      triortc ", "OpenSSL ", "UDP buffers ", "codecs        VP8, H.264", "open files "):
        assert word in told.output


def test_a_low_limit_of_open_files_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 65_536))
    assert describe_open_files().startswith(
        "1024: room for 924 connections only; raise it by ulimit -n (here up to 65536)"
    )
    monkeypatch.setattr(resource, "getrlimit", lambda _: (65_536, 65_536))
    assert describe_open_files() == "65536: room for 65436 connections"
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert describe_open_files() == "no limit"


def test_codecs_that_this_ffmpeg_lacks_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(av, "codecs_available", av.codecs_available - {"libx264", "libopus"})
    assert describe_codecs().startswith("this FFmpeg lacks libx264, libopus: relaying needs none")


def test_a_system_that_gives_less_buffer_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def give_less(opened: UdpSocket, *_: Any) -> None:
        for name in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            opened._socket.setsockopt(socket.SOL_SOCKET, name, 200 << 10)

    monkeypatch.setattr(UdpSocket, "_ask_for_buffer", give_less)
    assert describe_socket_buffers().startswith("200 of the 4096 KiB that are asked for: bursts may be lost; sysctl ")
