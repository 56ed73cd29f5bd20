"""TCP ports, bound in words."""

from __future__ import annotations

import trio

__all__ = ["listen"]


async def listen(host: str, port: int) -> list[trio.SocketListener]:
    """Bind a TCP port at every address that a host has.

    Args:
        host: an address or a name.
        port: 0: one that the system picks.

    Raises:
        OSError: it cannot be bound; the message says which port of which host, and why.
    """
    try:
        return await trio.open_tcp_listeners(port, host=host)
    except OSError as error:
        why = error.strerror or str(error)
        raise OSError(error.errno, f"cannot listen on {host}, TCP port {port}: {why}") from error
