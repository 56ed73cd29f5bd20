"""The main of a media process: `python -m triortc.engine.workers.worker_process FD`, FD being one end of a socket pair.

What it is to be comes through the socket, nothing is in its arguments or its environment. It ends when the socket's
other end is closed, by whatever way the server went. It is the server that gets the terminal's and the service
manager's signals: calls are drained there while this process goes on.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import threading
import time
from functools import partial

import trio

from triortc.engine.workers.media_server import serve_media

__all__ = ["main"]

#: From the server's end to ours, if the loop hangs; above what a server may grant for finishing recordings.
_LONGEST_END_S = 60.0


def main() -> None:
    """Serve the socket until its other end is closed."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    descriptor = int(sys.argv[1])
    connection = socket.socket(fileno=descriptor)
    threading.Thread(target=_end_with, args=(os.dup(descriptor),), name="lifeline", daemon=True).start()
    trio.run(partial(_serve, connection))


async def _serve(connection: socket.socket) -> None:
    await serve_media(trio.SocketStream(trio.socket.from_stdlib_socket(connection)), own_process=True)


def _end_with(descriptor: int) -> None:
    """A loop that hangs does not see that the server is gone, and a process that nobody talks to is an orphan."""
    poll = select.poll()
    poll.register(descriptor, 0)  # nothing but the hang-up
    poll.poll()
    time.sleep(_LONGEST_END_S)
    os._exit(1)


if __name__ == "__main__":
    main()
