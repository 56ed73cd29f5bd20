"""The command line and the assembled server: what it refuses, what it prints, and TLS on a network (3.8a)."""

from __future__ import annotations

import re
import socket
import ssl
import subprocess
import sys
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path

import click
import pytest
import trio
from click.testing import CliRunner

from support.signaling_house import open_signaling_house
from triortc.errors import ConfigurationError
from triortc.signaling import serve_command
from triortc.signaling.app import ServerConfiguration
from triortc.signaling.certificates import self_signed_certificate
from triortc.signaling.cli import main
from triortc.signaling.client import ClientDevice, connect_websocket, open_signal_client
from triortc.signaling.development import development_configuration
from triortc.signaling.tokens import KeySet


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, list(arguments))
    return result.exit_code, result.output


def test_the_version_is_that_of_the_package() -> None:
    assert run("--version") == (0, f"triortc, version {version('triortc')}\n")


def test_to_show_the_version_nothing_of_the_engine_is_imported() -> None:
    shown = "import sys; from triortc.signaling.cli import main; main(['--version'], standalone_mode=False); "
    told = [sys.executable, "-c", shown + "print({'trio', 'av', 'triortc.engine'} & set(sys.modules))"]
    assert subprocess.run(told, capture_output=True, check=True, text=True).stdout.splitlines()[1] == "set()"


def test_help_names_the_commands() -> None:
    code, output = run("--help")
    assert code == 0
    assert "serve" in output


def test_serve_without_dev_says_what_to_do() -> None:
    code, output = run("serve")
    assert code == 1
    assert all(word in output for word in ("--config", "--dev", "open_engine"))


@pytest.mark.parametrize("option", ["--port", "--operations-port", "--media-port"])
def test_a_port_that_is_taken_is_named(option: str) -> None:
    kind = socket.SOCK_DGRAM if option == "--media-port" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        code, output = run("serve", "--dev", "--port", "0", option, str(port))
    assert code == 1
    assert re.search(rf"Error: .*127\.0\.0\.1, (TCP|UDP) port {port}: Address already in use\n$", output)


def test_a_public_host_is_an_address() -> None:
    code, output = run("serve", "--dev", "--public-host", "calls.example")
    assert code == 1
    assert "'calls.example' is no IP address" in output


def test_what_cannot_be_written_is_told_before_anything_is_measured(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    for command in ("setup", "soak", "srtp"):
        code, output = run("bench", command, "--out", str(missing / "figures.jsonl"))
        assert code == 2
        assert "is no directory: make it first" in output
    (tmp_path / "file").touch()
    code, output = run("demo", "--out", str(tmp_path / "file" / "demo"))
    assert code == 1
    assert "cannot be made" in output


def test_peers_are_chosen_only_beside_peers() -> None:
    code, output = run("bench", "relay", "--only", "pion")
    assert code == 2
    assert "add --beside-peers" in output


def test_changes_are_told_from_a_document_only(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text("hello")
    code, output = run("schema", "--changes", str(tmp_path / "old.json"))
    assert code == 1
    assert "is no document that `triortc schema` has printed" in output


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "example.org"])
def test_3_8a_a_development_server_refuses_the_network_unless_forced(host: str) -> None:
    code, output = run("serve", "--dev", "--host", host)
    assert code == 1
    assert "--force" in output
    with pytest.raises(ConfigurationError):
        development_configuration(host, 0)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.0.0.9"])
def test_3_8a_loopback_needs_no_force_and_no_tls(host: str) -> None:
    configuration = development_configuration(host, 0)
    assert configuration.certificate is None
    assert configuration.host_names is not None
    assert {host, "localhost", "127.0.0.1"} <= set(configuration.host_names)


def test_3_8a_forced_onto_the_network_it_serves_tls_under_its_own_names_only() -> None:
    configuration = development_configuration("192.0.2.1", 0, public_host="203.0.113.5", force=True)
    assert configuration.certificate is not None
    assert configuration.host_names == ("192.0.2.1", "203.0.113.5")


def test_3_8a_the_qr_code_is_drawn_in_two_rows_a_line() -> None:
    lines = serve_command._qr_code("https://192.0.2.1:8080/").splitlines()
    assert len({len(line) for line in lines}) == 1
    assert set("".join(lines)) <= set(" █▀▄")
    assert len(lines) * 2 - len(lines[0]) in (0, 1)


def test_an_unknown_command_is_an_error() -> None:
    code, output = run("teleport")
    assert code == 2
    assert "teleport" in output


def test_commands_of_other_rooms_are_found_by_their_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def demo() -> None:
        """Show a call."""
        click.echo("a call")

    class Entry:
        name, value = "demo", "somewhere:demo"

        def load(self) -> click.Command:
            return demo

    def entry_points(group: str, name: str | None = None) -> list[Entry]:
        return [Entry()] if group == "triortc.commands" and name in (None, "demo") else []

    monkeypatch.setattr("triortc.signaling.cli.entry_points", entry_points)
    assert run("demo") == (0, "a call\n")
    assert "Show a call." in run("--help")[1]


def test_a_configuration_needs_keys_or_development_and_not_both() -> None:
    with pytest.raises(ConfigurationError, match="keys"):
        ServerConfiguration()
    with pytest.raises(ConfigurationError, match="either"):
        ServerConfiguration(development=True, keys=KeySet())
    assert ServerConfiguration(keys=KeySet()).keys is not None


async def test_3_8a_a_server_with_tls_of_its_own_carries_the_socket() -> None:
    names = ("127.0.0.1", "localhost")
    certificate = self_signed_certificate(names, now=datetime.now(UTC))
    configuration = ServerConfiguration(port=0, development=True, certificate=certificate, host_names=names)
    trusting = ssl.create_default_context()
    trusting.check_hostname = False
    trusting.verify_mode = ssl.CERT_NONE
    async with open_signaling_house("websocket", configuration) as house:
        assert house.server.url.startswith("https://127.0.0.1:")
        channel = partial(connect_websocket, house.server.signal_url, tls=trusting, origin=house.server.url.rstrip("/"))
        token = house.token("agent", "ana", "d1")
        async with open_signal_client(channel, token=token, device=ClientDevice("d1")) as client:
            assert client.welcome["p"] == "triortc.v1"
        plain = await trio.open_tcp_stream(*house.server.addresses[0])
        async with plain:
            await plain.send_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
            with trio.fail_after(5):
                assert b"200 OK" not in await plain.receive_some()


async def test_a_port_in_use_is_reported_and_leaves_nothing() -> None:
    async with open_signaling_house() as house:
        port = house.server.addresses[0][1]
        taken = ServerConfiguration(port=port, development=True)
        with pytest.raises(OSError, match="in use"):
            async with open_signaling_house(configuration=taken):
                pass
    assert house.media.closed


async def test_a_server_that_is_left_leaves_no_task_and_no_socket() -> None:
    def open_files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    async def serve_and_leave() -> None:
        async with open_signaling_house("websocket") as house, house.agent(), house.visitor() as visitor:
            await visitor.command("call.request", conversation="cv_9", media={"video": True}, offer="v=0")
            stream = await trio.open_tcp_stream(*house.server.addresses[0])
            await stream.aclose()

    await serve_and_leave()  # what is opened once and kept, such as trio's own threads, is open now
    tasks, files = trio.lowlevel.current_statistics().tasks_living, open_files()
    await serve_and_leave()
    assert trio.lowlevel.current_statistics().tasks_living == tasks
    assert open_files() == files


async def test_idle_connections_do_not_hold_a_server_up() -> None:
    async with open_signaling_house("websocket") as house:
        stream = await trio.open_tcp_stream(*house.server.addresses[0])
        await stream.send_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert b"200 OK" in await stream.receive_some()
    with trio.fail_after(1):
        assert await stream.receive_some() == b""
    await stream.aclose()
