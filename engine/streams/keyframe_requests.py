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

    __slots__ = ("_configuration", "_deadline", "_interval_s", "_sent_at", "_wanted", "command_number", "rtt_s", "sent")

    def __init__(self, configuration: KeyframeConfiguration | None = None) -> None:
        self._configuration = configuration or KeyframeConfiguration()
        self._wanted = False
        self._sent_at = -inf
        self._deadline = inf
        self._interval_s = 0.0
        self.rtt_s = 0.0
        """The round-trip time to the source in seconds; a repetition never comes sooner."""
        self.sent = 0
        self.command_number = 255
        """The command sequence number for FIR.

        It rises with each new wish and stays for repetitions (RFC 5104 4.3.1.2).
        """

    @property
    def waiting(self) -> bool:
        """Whether a keyframe is wanted and has not come."""
        return self._wanted

    def request(self, now: float) -> None:
        """Somebody needs a keyframe. More wishes while one is open change nothing."""
        if self._wanted:
            return
        self._wanted = True
        self.command_number = (self.command_number + 1) & 0xFF
        self._interval_s = self._configuration.minimum_interval_ms / 1000
        self._deadline = max(now, self._sent_at + self._interval_s)

    def keyframe_arrived(self) -> None:
        """A keyframe of the source has come: stop asking."""
        self._wanted = False
        self._deadline = inf

    def next_deadline(self) -> float | None:
        """Return when the next message is due, None if none is."""
        return None if self._deadline == inf else self._deadline

    def due(self, now: float) -> bool:
        """Tell whether to send a PLI or FIR now, and if so plan its repetition."""
        if now < self._deadline:
            return False
        self.sent += 1
        self._sent_at = now
        self._deadline = now + max(self._interval_s, self.rtt_s)
        longest_s = self._configuration.maximum_interval_ms / 1000
        self._interval_s = min(self._interval_s * self._configuration.backoff, longest_s)
        return True
