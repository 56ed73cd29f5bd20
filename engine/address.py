"""Transport addresses, as every room of the engine writes them."""

from __future__ import annotations

from typing import TypeAlias

__all__ = ["Address"]

#: ``(ip, port)``: the address in text form as :mod:`ipaddress` prints it (no brackets, no scope), and the UDP port.
Address: TypeAlias = tuple[str, int]
