"""What may be tuned about media processes."""

from __future__ import annotations

from dataclasses import dataclass, fields

from triortc.configuration_kinds import require_kinds
from triortc.errors import ConfigurationError

__all__ = ["WorkerConfiguration"]


@dataclass(frozen=True, slots=True)
class WorkerConfiguration:
    """How many media processes there are, and how long each may take.

    Attributes:
        count: media processes; 0: media runs in the process of the server. With a `media_port`, the first worker has
            that port, the second the next one, and so on.
        start_timeout_s: how long a worker may take until it listens.
        request_timeout_s: how long a worker may take to answer an offer; then the offer has failed.
        silence_timeout_s: a worker that says nothing for so long is ended and started again.
        report_interval_s: how often a worker tells its counters, which is its sign of life, too.
        restart_after_s, restart_at_most_s: how long the server waits before it starts a worker again: the first time,
            then twice as long each time, up to this. A worker that ran for that long begins anew.
        stop_timeout_s: how long a worker may take to end its legs and finish its recordings; then it is killed.
        max_message_bytes: the longest message between server and worker, either way: a still as PNG.
        max_waiting_bytes: what may wait to be written, either way; who does not read for so long is given up.
    """

    count: int = 0
    start_timeout_s: float = 30.0
    request_timeout_s: float = 5.0
    silence_timeout_s: float = 10.0
    report_interval_s: float = 1.0
    restart_after_s: float = 0.25
    restart_at_most_s: float = 30.0
    stop_timeout_s: float = 5.0
    max_message_bytes: int = 16 << 20
    max_waiting_bytes: int = 64 << 20

    def __post_init__(self) -> None:
        require_kinds(self)
        if not 0 <= self.count <= 256:
            raise ConfigurationError(f"workers.count is {self.count}; choose 0 (none) to 256")
        for field in fields(self):
            if field.name != "count" and getattr(self, field.name) <= 0:
                raise ConfigurationError(f"workers.{field.name} is above 0")
        if self.report_interval_s * 2 > self.silence_timeout_s:
            raise ConfigurationError("workers.silence_timeout_s is at least twice workers.report_interval_s")
