"""`triortc push-key`: a key for Web Push."""

from __future__ import annotations

import click

from triortc.signaling.push.file import new_web_push_key

__all__ = ["push_key"]


@click.command()
def push_key() -> None:
    """Print a fresh private key for Web Push (VAPID). Keep it: browsers bind their subscriptions to it."""
    click.echo(new_web_push_key(), nl=False)
