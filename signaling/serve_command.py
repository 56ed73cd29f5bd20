"""`triortc serve`: a server of one's own tenants from a file, or one to try things out."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Literal

import click
import segno
import trio

from triortc.engine.calls.call_recording import RecordingConfiguration
from triortc.engine.calls.event_log_files import EventLogConfiguration
from triortc.engine.calls.leg_configuration import MediaConfiguration
from triortc.engine.calls.store import StateStore
from triortc.engine.collector import settle_collector
from triortc.engine.endpoint_configuration import EndpointConfiguration
from triortc.engine.interfaces import local_addresses
from triortc.engine.relay.plane_choice import PlaneChoice
from triortc.engine.workers.configuration import WorkerConfiguration
from triortc.errors import ConfigurationError, StoreError
from triortc.signaling.app import RunningServer, ServerConfiguration
from triortc.signaling.development import development_configuration
from triortc.signaling.engine import EngineConfiguration, open_engine
from triortc.signaling.logs import configure_logs
from triortc.signaling.operations.listener import open_operations
from triortc.signaling.production import prepare, serve_production
from triortc.signaling.push.file import load_push_configuration
from triortc.signaling.server_signals import cancelled_by_signals, wait_for_end
from triortc.signaling.settings import load_settings
from triortc.signaling.sqlite_store import SqliteStore, StoreConfiguration

__all__ = ["serve"]


@click.command()
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=None,
    metavar="FILE",
    help="Serve what this TOML file says (docs/operating.md); `triortc config` prints one.",
)
@click.option("--dev", is_flag=True, help="Give tokens to whoever asks. For your own machine.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address of HTTP and WebSocket.")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(0, 65535))
@click.option("--media-port", default=0, type=click.IntRange(0, 65535), help="UDP port of media; 0: any.")
@click.option("--public-host", default=None, help="The address that a 1:1 NAT maps onto this machine.")
@click.option("--operations-port", default=None, type=click.IntRange(0, 65535), help="Metrics and operator's page.")
@click.option("--force", is_flag=True, help="Serve development mode to the network, over TLS with its own certificate.")
@click.option(
    "--record",
    type=click.Path(file_okay=False, path_type=Path),
    default=None,
    metavar="DIR",
    help="Let agents record calls, into this directory.",
)
@click.option(
    "--push",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=None,
    metavar="FILE",
    help="Wake devices without a connection: push services and credentials, in TOML (docs/pushes.md).",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    default=None,
    metavar="DIR",
    help="Keep conversations, history, devices and running calls in this directory; without it, in memory.",
)
@click.option(
    "--synchronous",
    type=click.Choice(["off", "normal", "full"]),
    default="normal",
    show_default=True,
    help="What a power failure may cost, with --data: anything, the last seconds, nothing.",
)
@click.option(
    "--event-logs",
    type=click.Path(file_okay=False, path_type=Path),
    default=None,
    metavar="DIR",
    help="Write every session's event log into this directory, for `triortc replay`; with --data: event-logs in there.",
)
@click.option(
    "--plane",
    default=MediaConfiguration().plane,
    show_default=True,
    type=click.Choice(["auto", "python", "accelerated"]),
    help="What forwards packets; `triortc doctor` says what auto means here.",
)
@click.option(
    "--workers",
    default=0,
    show_default=True,
    type=click.IntRange(0, 256),
    help="Media processes beside this one, each with a UDP port of its own; 0: media runs in this process.",
)
@click.option(
    "--journal-mib",
    default=32,
    show_default=True,
    type=click.IntRange(1, 4096),
    help="Room, with --data, for what the database cannot take at the moment.",
)
def serve(
    config: Path | None,
    dev: bool,
    host: str,
    port: int,
    media_port: int,
    public_host: str | None,
    operations_port: int | None,
    force: bool,
    record: Path | None,
    push: Path | None,
    data: Path | None,
    synchronous: Literal["off", "normal", "full"],
    event_logs: Path | None,
    plane: PlaneChoice,
    workers: int,
    journal_mib: int,
) -> None:
    """Serve the pages, signaling and media."""
    if config is not None:
        if dev:
            raise click.ClickException("give either --config or --dev: a file names its own token issuers")
        _serve_file(config)
        return
    if not dev:
        raise click.ClickException(
            "say what to serve: --config FILE for a server of your own tenants (see `triortc config` and "
            "docs/operating.md), or --dev to try things out. To embed it in a program: triortc.open_engine"
        )
    configure_logs("text", "info")
    try:
        configuration = development_configuration(
            host, port, public_host=public_host, force=force, record=record is not None
        )
        if push is not None:
            configuration = replace(configuration, push=load_push_configuration(push))
        engine = EngineConfiguration(
            configuration,
            _media_configuration(media_port, public_host, record, plane),
            WorkerConfiguration(count=workers),
            event_logs=_event_logs(event_logs, data),
        )
        kept = StoreConfiguration(synchronous=synchronous, journal_bytes=journal_mib << 20)
        store = None if data is None else SqliteStore(data, kept)
        trio.run(_serve, engine, public_host, store, operations_port)
    except (ConfigurationError, StoreError, OSError) as error:
        raise click.ClickException(str(error)) from None


def _serve_file(path: Path) -> None:
    try:
        settings = load_settings(path, os.environ)
        configure_logs(settings.server.log_format, settings.server.log_level)
        trio.run(serve_production, prepare(settings), lambda server: click.echo(f"serving  {server.url}"))
    except (ConfigurationError, StoreError, OSError) as error:
        raise click.ClickException(str(error)) from None


def _event_logs(directory: Path | None, data: Path | None) -> EventLogConfiguration | None:
    """Where event logs go: where it is said, else beside what else is kept."""
    if directory is None and data is not None:
        directory = data / "event-logs"
    return None if directory is None else EventLogConfiguration(directory)


def _media_configuration(
    media_port: int, public_host: str | None, record: Path | None, plane: PlaneChoice
) -> MediaConfiguration:
    # Development: browser and server are often on one machine, hence loopback.
    endpoint = EndpointConfiguration(
        media_port=media_port, media_advertise=public_host, loopback=True, media_first=True
    )
    return MediaConfiguration(endpoint=endpoint, recording=RecordingConfiguration(directory=record), plane=plane)


async def _serve(
    configuration: EngineConfiguration, public_host: str | None, store: StateStore | None, operations_port: int | None
) -> None:
    async with (
        cancelled_by_signals(),
        open_engine(configuration, store=store) as server,
        AsyncExitStack() as stack,
    ):
        settle_collector()
        _announce(server, configuration.server, public_host)
        if operations_port is not None:
            operations = await stack.enter_async_context(open_operations(server, port=operations_port))
            click.echo(f"operator {operations.url}")
        await wait_for_end(server, drain_s=0.0)
        click.echo("ending calls and closing connections …")


def _announce(server: RunningServer, configuration: ServerConfiguration, public_host: str | None) -> None:
    click.secho(" INSECURE: development mode gives a token to everybody who asks. ", fg="black", bg="yellow")
    url = server.url
    if configuration.certificate is not None:
        host = public_host or _address_for_phones(configuration.host)
        port = server.addresses[0][1]
        url = f"https://{f'[{host}]' if ':' in host else host}:{port}/"
        click.echo("The certificate is self-signed: the browser will ask whether you trust it.")
        click.echo(_qr_code(url))
    click.echo(f"page     {url}")
    click.echo(f"visitor  {url}visitor")
    click.echo(f"agent    {url}agent")


def _address_for_phones(host: str) -> str:
    """An address of this machine that another one can reach."""
    if host not in ("0.0.0.0", "::"):
        return host
    return next(iter(local_addresses(loopback=False)), "127.0.0.1")


def _qr_code(url: str) -> str:
    """A QR code in characters, two rows of modules a line."""
    rows = [[bool(module) for module in row] for row in segno.make(url).matrix_iter(border=2)]
    if len(rows) % 2:
        rows.append([False] * len(rows[0]))
    blocks = {(False, False): "█", (False, True): "▀", (True, False): "▄", (True, True): " "}
    return "\n".join(
        "".join(blocks[upper, lower] for upper, lower in zip(*pair, strict=True))
        for pair in zip(rows[::2], rows[1::2], strict=True)
    )
