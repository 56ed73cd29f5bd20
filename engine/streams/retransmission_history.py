"""Sent packets, kept for answers to NACK: bounded by count and age, and by how fast they may go out again."""

from __future__ import annotations

from math import inf

from triortc.engine.rtp.header import Buffer
from triortc.engine.streams.configuration import RetransmissionConfiguration

__all__ = ["RetransmissionHistory"]


class RetransmissionHistory:
    """The last packets of one sent stream. `store` runs for every packet, so the slots are flat lists and made once.

    A packet is given out at most once per round trip, and all together within a bit rate: after an outage a peer may
    ask for thousands, and answering would cause the next one.
    """

    __slots__ = (
        "_burst_bytes",
        "_bytes_per_s",
        "_headers",
        "_maximum_age_s",
        "_minimum_interval_s",
        "_payloads",
        "_resent_at",
        "_sequence_numbers",
        "_size",
        "_stored_at",
        "_tokens",
        "_tokens_at",
        "packets_resent",
        "refused_by_age",
        "refused_by_interval",
        "refused_by_rate",
        "rtt_s",
    )

    def __init__(self, configuration: RetransmissionConfiguration | None = None) -> None:
        chosen = configuration or RetransmissionConfiguration()
        # A power of two divides 65536, so that slots follow each other across the wrap of the sequence number.
        size = min(1 << (chosen.maximum_packets - 1).bit_length(), 0x8000)
        self._size = size
        self._maximum_age_s = chosen.maximum_age_ms / 1000
        self._minimum_interval_s = chosen.minimum_resend_interval_ms / 1000
        self._bytes_per_s = chosen.maximum_bps / 8
        self._burst_bytes = float(chosen.maximum_burst_bytes)
        self._tokens = self._burst_bytes
        self._tokens_at = -inf
        self._sequence_numbers = [-1] * size
        self._headers = [b""] * size
        self._payloads = [b""] * size
        self._stored_at = [-inf] * size
        self._resent_at = [-inf] * size
        self.rtt_s = 0.0
        """The round-trip time in seconds; keep it up to date."""
        self.packets_resent = 0
        self.refused_by_age = 0
        """Also packets that were never stored or have been pushed out."""
        self.refused_by_interval = 0
        self.refused_by_rate = 0

    def store(self, sequence_number: int, header: bytes, payload: Buffer, now: float) -> None:
        """Keep a sent packet's header and plain payload; a view is copied, since its buffer will be used again."""
        slot = sequence_number % self._size
        self._sequence_numbers[slot] = sequence_number
        self._headers[slot] = header
        self._payloads[slot] = payload if type(payload) is bytes else bytes(payload)
        self._stored_at[slot] = now
        self._resent_at[slot] = -inf

    def lookup(self, sequence_number: int, now: float) -> tuple[bytes, bytes] | None:
        """Return (header, payload) to send again; None if gone, resent within a round trip, or beyond the rate."""
        slot = sequence_number % self._size
        if self._sequence_numbers[slot] != sequence_number or now - self._stored_at[slot] > self._maximum_age_s:
            self.refused_by_age += 1
            return None
        if now - self._resent_at[slot] < max(self.rtt_s, self._minimum_interval_s):
            self.refused_by_interval += 1
            return None
        size = len(self._headers[slot]) + len(self._payloads[slot])
        if not self._take(size, now):
            self.refused_by_rate += 1
            return None
        self._resent_at[slot] = now
        self.packets_resent += 1
        return self._headers[slot], self._payloads[slot]

    def _take(self, size_bytes: int, now: float) -> bool:
        tokens = min(self._tokens + (now - self._tokens_at) * self._bytes_per_s, self._burst_bytes)
        self._tokens_at = now
        self._tokens = tokens - size_bytes if tokens >= size_bytes else tokens
        return tokens >= size_bytes

    def clear(self) -> None:
        """Forget all packets, for a stream whose source or keys have changed."""
        self._sequence_numbers = [-1] * self._size
        self._headers = [b""] * self._size
        self._payloads = [b""] * self._size
