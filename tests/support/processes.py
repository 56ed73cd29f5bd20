"""Processes as /proc tells of them."""

from __future__ import annotations

from pathlib import Path

__all__ = ["alive", "children", "told"]


def children(process: int) -> list[int]:
    """The processes that a process has started and not fetched yet."""
    lists = [task.joinpath("children").read_text() for task in Path(f"/proc/{process}/task").iterdir()]
    return sorted(int(child) for found in lists for child in found.split())


def told(process: int, what: str) -> bytes:
    """What a process was started with."""
    return Path(f"/proc/{process}/{what}").read_bytes()


def alive(process: int) -> bool:
    """Whether a process runs; one that has ended and was not fetched does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
