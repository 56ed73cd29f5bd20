"""Transport addresses and what comes from them, as every room of the engine writes them."""

from __future__ import annotations

from typing import TypeAlias

__all__ = ["Address", "Datagram"]

#: ``(ip, port)``: the address in text form as :mod:`ipaddress` prints it (no brackets, no scope), and the UDP port.
Address: TypeAlias = tuple[str, int]

#: ``(data, source, arrived_at)``: when it reached this machine, in seconds on the clock of every `now`.
Datagram: TypeAlias = tuple[memoryview, Address, float]
