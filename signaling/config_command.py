"""The command `triortc config`: print the defaults of the configuration file, or check one."""

from __future__ import annotations

import os
from pathlib import Path

import click

from triortc.errors import ConfigurationError
from triortc.signaling.production import prepare, require_keys
from triortc.signaling.settings import load_settings
from triortc.signaling.settings_text import default_settings_text

__all__ = ["config"]


@click.command()
@click.option(
    "--check",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Read this file, the environment over it, and every file that it names; exit with 1 if it would not serve.",
)
def config(check: Path | None) -> None:
    """Print every setting as TOML, with its default and its meaning."""
    if check is None:
        click.echo(default_settings_text(), nl=False)
        return
    try:
        settings = load_settings(check, os.environ)
        production = prepare(settings)
        require_keys(settings)
    except (ConfigurationError, OSError) as error:
        raise click.ClickException(str(error)) from None
    server = production.settings.server
    click.echo(f"{check}: fine; it serves {server.host}, port {server.port}")
