"""Asks a source for keyframes: not too often, and again until one arrives (RFC 4585 6.3.1, RFC 5104 4.3.1)."""

from __future__ import annotations

from math import inf

from triortc.engine.streams.configuration import KeyframeConfiguration

__all__ = ["KeyframeRequestThrottle"]


class KeyframeRequestThrottle:
    """Merges the wishes of decoders and receivers for one source into few PLI or FIR messages.

    A wish is passed on at once if the last message is long enough ago, else when it is; it is repeated with growing
    waits until `keyframe_arrived`. A wish that comes after the keyframe stands for itself.
    """

    __slots__ = ("_configuration", "_interval_s", "_sent_at", "command_number", "deadline", "rtt_s", "sent", "waiting")

    def __init__(self, configuration: KeyframeConfiguration | None = None) -> None:
        self._configuration = configuration or KeyframeConfiguration()
        self.waiting = False
        """Whether a keyframe is wanted and has not come."""
        self.deadline = inf
        """When the next message is due; infinity if none is."""
        self._sent_at = -inf
        self._interval_s = 0.0
        self.rtt_s = 0.0
        """The round-trip time to the source in seconds; a repetition never comes sooner."""
        self.sent = 0
        self.command_number = 255
        """The command sequence number for FIR.

        It rises with each new wish and stays for repetitions (RFC 5104 4.3.1.2).
        """

    def request(self, now: float) -> None:
        """Somebody needs a keyframe. More wishes while one is open change nothing."""
        if self.waiting:
            return
        self.waiting = True
        self.command_number = (self.command_number + 1) & 0xFF
        self._interval_s = self._configuration.minimum_interval_ms / 1000
        self.deadline = max(now, self._sent_at + self._interval_s)

    def keyframe_arrived(self) -> None:
        """A keyframe of the source has come: stop asking."""
        self.waiting = False
        self.deadline = inf

    def next_deadline(self) -> float | None:
        """Return when the next message is due, None if none is."""
        return None if self.deadline == inf else self.deadline

    def due(self, now: float) -> bool:
        """Tell whether to send a PLI or FIR now, and if so plan its repetition."""
        if now < self.deadline:
            return False
        self.sent += 1
        self._sent_at = now
        self.deadline = now + max(self._interval_s, self.rtt_s)
        longest_s = self._configuration.maximum_interval_ms / 1000
        self._interval_s = min(self._interval_s * self._configuration.backoff, longest_s)
        return True
