"""The option `--out` of the benchmarks: looked at before minutes are spent on figures that could not be written."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

__all__ = ["out_option"]

CommandT = TypeVar("CommandT", bound=Callable[..., Any])


class _OutFile(click.Path):
    """A file that lines can be appended to."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path, if its file is there or can be made."""
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        directory = path.absolute().parent
        if not directory.is_dir():
            self.fail(f"{directory} is no directory: make it first", param, ctx)
        if not os.access(path if path.exists() else directory, os.W_OK):
            self.fail(f"{path} cannot be written", param, ctx)
        return path


def out_option(command: CommandT) -> CommandT:
    """Add `--out FILE` to a command."""
    kind = _OutFile(dir_okay=False, path_type=Path)
    return click.option("--out", type=kind, help="Append the figures as JSON lines.")(command)
