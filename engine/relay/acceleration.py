"""Whether the accelerated data plane can run here, and why not."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from triortc.engine.relay.core import Core
from triortc.engine.relay.core_cipher import Libcrypto

__all__ = ["Acceleration", "acceleration", "find_extension"]

#: The first that is there is taken. Its own soname, not a path: the loader knows where the machine keeps it.
LIBRARIES: Final = ("libcrypto.so.3", "libcrypto.so.1.1")


@dataclass(frozen=True, slots=True)
class Acceleration:
    """What this machine offers: the core in C, or in words why there is none."""

    core: Core | None
    reason: str


def find_extension() -> Path | None:
    """Where the extension lies, if it was built. It is a module by its place only: nothing in it knows Python."""
    found = find_spec("triortc.engine.relay.forwarder")
    return None if found is None or found.origin is None else Path(found.origin)


@cache
def acceleration() -> Acceleration:
    """Look once: for the extension, which needs a compiler at installation, and for libcrypto."""
    extension = find_extension()
    if extension is None:
        return Acceleration(None, "the extension was not built: no C compiler was there when triortc was installed")
    problems = []
    for name in LIBRARIES:
        try:
            crypto = Libcrypto(name)
        except (OSError, AttributeError) as error:
            problems.append(str(error))
            continue
        try:
            return Acceleration(Core(extension, crypto), f"the extension was built, {name} is there")
        except (OSError, AttributeError) as error:
            return Acceleration(None, f"the extension is not this version's: install triortc anew ({error})")
    return Acceleration(None, "no libcrypto to use: " + ", ".join(problems))
