"""What a datagram costs to send and to receive, by every way that this kernel has."""

from __future__ import annotations

import time
from typing import Any, Final

from triortc.engine.udp import SendWay, UdpSocket

__all__ = ["measure_udp"]

_DATAGRAM_BYTES: Final = 1200
_RUN: Final = 10


def measure_udp(packets: int) -> dict[str, Any]:
    """Send runs of ten datagrams over loopback and take them in batches.

    Returns:
        CPU microseconds a datagram of each way to send, and of receiving.
    """
    figures: dict[str, Any] = {"what": "udp", "label": "triortc", "packets": packets}
    run = memoryview(bytearray(_DATAGRAM_BYTES * _RUN))
    sender, receiver = (UdpSocket("127.0.0.1", 0, buffer_bytes=4 << 20) for _ in range(2))
    received_ns = received = 0
    try:
        for way in SendWay:
            sender.way = way
            sent_ns = 0
            for _ in range(packets // _RUN):
                began = time.thread_time_ns()
                sender.send_run(run, _DATAGRAM_BYTES, receiver.address)
                middle = time.thread_time_ns()
                received += receiver.receive(0.0)
                received_ns += time.thread_time_ns() - middle
                sent_ns += middle - began
            figures[f"send_{way.name.lower()}_us"] = sent_ns / 1000 / (packets // _RUN * _RUN)
    finally:
        sender.close()
        receiver.close()
    figures["receive_us"] = received_ns / 1000 / max(1, received)
    figures["lost_percent"] = 100 * (1 - received / (packets // _RUN * _RUN * len(SendWay)))
    return figures
