"""Are we inside the private network of tools/in_private_network.sh?"""

from __future__ import annotations

import socket

__all__ = ["HOW_TO", "in_private_network"]

INTERFACE = "d0"
HOW_TO = "browsers probe every address of the machine; run: tools/in_private_network.sh .venv/bin/pytest tests/browsers"


def in_private_network() -> bool:
    """True where only loopback and the namespace's own veth pair exist, so nothing a browser sends can leave."""
    names = {name for _, name in socket.if_nameindex()}
    return INTERFACE in names and not any(name.startswith(("eth", "en", "wl")) for name in names)
