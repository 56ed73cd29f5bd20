"""The command `triortc doctor`: what of this machine the engine can use."""

from __future__ import annotations

import click
import trio

from triortc.engine.calls.leg_configuration import MediaConfiguration
from triortc.engine.endpoint_configuration import EndpointConfiguration
from triortc.engine.interfaces import local_addresses
from triortc.engine.relay.plane_choice import PlaneChoice, describe_choice
from triortc.engine.udp import describe_sending
from triortc.engine.workers.configuration import WorkerConfiguration
from triortc.engine.workers.worker_pool import open_worker_pool
from triortc.errors import ConfigurationError
from triortc.signaling.machine_report import (
    describe_codecs,
    describe_open_files,
    describe_socket_buffers,
    describe_versions,
)

__all__ = ["doctor"]


@click.command()
@click.option(
    "--plane",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "python", "accelerated"]),
    help="As of serve.",
)
@click.option(
    "--workers", default=0, show_default=True, type=click.IntRange(0, 256), help="As of serve: starts them, to see."
)
def doctor(plane: PlaneChoice, workers: int) -> None:
    """Say what the engine can use here, and why not the rest."""
    name, reason = describe_choice(plane)
    click.echo(f"versions      {describe_versions()}")
    click.echo(f"data plane    {name}: {reason}")
    click.echo(f"UDP           {describe_sending()}")
    click.echo(f"UDP buffers   {describe_socket_buffers()}")
    click.echo(f"codecs        {describe_codecs()}")
    click.echo(f"open files    {describe_open_files()}")
    click.echo(f"addresses     {', '.join(local_addresses(loopback=True))}")
    if workers:
        try:
            trio.run(_try_workers, plane, workers)
        except (ConfigurationError, OSError) as error:
            raise click.ClickException(f"media processes do not start here: {error}") from None
    if plane == "accelerated" and name != plane:
        raise click.ClickException("the accelerated plane cannot run here: leave --plane at auto, or mend the above")


async def _try_workers(plane: PlaneChoice, workers: int) -> None:
    """Start media processes on ports that the system picks, and end them."""
    media = MediaConfiguration(endpoint=EndpointConfiguration(media_host=("127.0.0.1",)), plane=plane)
    began = trio.current_time()
    async with open_worker_pool(media, WorkerConfiguration(count=workers)) as pool:
        took_s = trio.current_time() - began
        click.echo(f"workers       {pool.counters()['workers.running']} of {workers} listen after {took_s:.1f} s")
