"""The command `triortc`. Other rooms add subcommands through the entry-point group `triortc.commands`."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points, version
from typing import Final

import click

__all__ = ["main"]

COMMANDS_GROUP: Final = "triortc.commands"

#: Where each command is. The whole engine is behind some of them: an import of it is a second.
_BUILT_IN: Final = {
    "asyncapi": "triortc.signaling.documents:asyncapi",
    "config": "triortc.signaling.config_command:config",
    "doctor": "triortc.signaling.doctor:doctor",
    "push-key": "triortc.signaling.push.key_command:push_key",
    "replay": "triortc.signaling.replay:replay",
    "schema": "triortc.signaling.documents:schema",
    "serve": "triortc.signaling.serve_command:serve",
}


class _Commands(click.Group):
    """A group whose commands are found when they are asked for: nothing is imported to show the version."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The built-in commands and those of other packages."""
        others = (entry.name for entry in entry_points(group=COMMANDS_GROUP))
        return sorted({*super().list_commands(ctx), *_BUILT_IN, *others})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A command by its name."""
        if cmd_name in _BUILT_IN:
            module, _, name = _BUILT_IN[cmd_name].partition(":")
            return _command(getattr(import_module(module), name), _BUILT_IN[cmd_name])
        for entry in entry_points(group=COMMANDS_GROUP, name=cmd_name):
            return _command(entry.load(), entry.value)
        return super().get_command(ctx, cmd_name)


def _command(loaded: object, named: str) -> click.Command:
    if not isinstance(loaded, click.Command):
        raise click.ClickException(f"{named} is not a click command")
    return loaded


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("triortc"), prog_name="triortc")
def main() -> None:
    """A media and signaling engine for one-to-one video calls."""


if __name__ == "__main__":
    main()
