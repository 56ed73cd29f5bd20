"""The commands that print the protocol's documents: `triortc schema`, `triortc asyncapi`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec
import yaml

from triortc.signaling.asyncapi import asyncapi_document
from triortc.signaling.schema import message_schema, protocol_schema
from triortc.signaling.schema_changes import incompatible_changes

__all__ = ["asyncapi", "schema"]

#: libyaml's, where PyYAML was built with it: ten times as fast, the same text.
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


@click.command()
@click.argument("message", required=False)
@click.option(
    "--changes",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Print what breaks clients that were written by that older document; exit with 1 if anything does.",
)
def schema(message: str | None, changes: Path | None) -> None:
    """Print the signaling protocol as JSON Schema 2020-12.

    All of it, or one MESSAGE. A MESSAGE is named as under $defs: client:call.request, server:ring.offer,
    server:ok:call.accept.
    """
    if changes is not None:
        try:
            older = msgspec.json.decode(changes.read_bytes(), type=dict[str, Any])
        except msgspec.MsgspecError as error:
            raise click.ClickException(f"{changes} is no document that `triortc schema` has printed: {error}") from None
        breaks = incompatible_changes(older, protocol_schema())
        for change in breaks:
            click.echo(change)
        raise SystemExit(1 if breaks else 0)
    try:
        found = protocol_schema() if message is None else message_schema(message)
    except KeyError:
        known = ", ".join(sorted(name for name in protocol_schema()["$defs"] if ":" in name))
        raise click.ClickException(f"no message {message!r}; there are {known}") from None
    click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())


@click.command()
def asyncapi() -> None:
    """Print the signaling protocol as an AsyncAPI 3.0 document."""
    document = yaml.dump(asyncapi_document(), Dumper=_DUMPER, sort_keys=False, allow_unicode=True, width=120)
    click.echo(document, nl=False)
