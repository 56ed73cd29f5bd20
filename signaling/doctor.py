"""The command `triortc doctor`: what of this machine the engine can use."""

from __future__ import annotations

import click

from triortc.engine.interfaces import local_addresses
from triortc.engine.relay.plane_choice import PlaneChoice, describe_choice
from triortc.engine.udp import describe_sending

__all__ = ["doctor"]


@click.command()
@click.option(
    "--plane",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "python", "accelerated"]),
    help="As of serve.",
)
def doctor(plane: PlaneChoice) -> None:
    """Say what of this machine the engine can use, and why not the rest."""
    name, reason = describe_choice(plane)
    click.echo(f"data plane    {name}: {reason}")
    click.echo(f"UDP           {describe_sending()}")
    click.echo(f"addresses     {', '.join(local_addresses(loopback=True))}")
    if plane == "accelerated" and name != plane:
        raise click.ClickException("the accelerated plane cannot run here: leave --plane at auto, or mend the above")
