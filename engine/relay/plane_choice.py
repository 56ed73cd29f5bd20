"""Which data plane forwards packets here, and why."""

from __future__ import annotations

import logging
from typing import Literal, TypeAlias

from triortc.engine.relay.accelerated_plane import AcceleratedPlane
from triortc.engine.relay.acceleration import acceleration
from triortc.engine.relay.python_plane import PythonPlane
from triortc.errors import ConfigurationError

__all__ = ["PlaneChoice", "choose_plane", "describe_choice"]

PlaneChoice: TypeAlias = Literal["auto", "python", "accelerated"]
_LOG = logging.getLogger("triortc.plane")


def describe_choice(choice: PlaneChoice) -> tuple[str, str]:
    """(the plane that `choice` makes run here, why), in words for people."""
    found = acceleration()
    if choice == "python":
        return "python", f"it was chosen; {found.reason}"
    return "python" if found.core is None else "accelerated", found.reason


def choose_plane(choice: PlaneChoice) -> PythonPlane:
    """The plane; what was missed for a faster one is said once in the log.

    Raises:
        ConfigurationError: "accelerated" was asked for and cannot run here.
    """
    found = acceleration()
    if choice == "python":
        return PythonPlane()
    if found.core is not None:
        return AcceleratedPlane(found.core)
    if choice == "accelerated":
        raise ConfigurationError(f"the accelerated plane cannot run: {found.reason}; choose plane auto or python")
    _LOG.warning("packets are forwarded by the Python plane: %s", found.reason)
    return PythonPlane()
