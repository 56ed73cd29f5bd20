"""Continuous sequence numbers, timestamps and VP8 picture numbers across sources."""

from __future__ import annotations

__all__ = ["StreamRewriter"]

#: Behind this many sequence numbers a packet counts as late; the floor follows the stream so that wraps stay clear.
FLOOR_LAG = 0x2000
FLOOR_STEP = 0x4000


class StreamRewriter:
    """Maps the numbers of whatever source feeds an outgoing stream onto one numbering without seam.

    A source starts with :meth:`restart`; from then on its packets are shifted by constant offsets, so that losses,
    reordering and retransmissions on the way in keep their places. Packets older than the start are refused: they
    belong to what was not to be forwarded.

    Arguments:
        clock_rate: RTP clock of the stream in hertz; may be changed before a restart.
        sequence_number: the first number to be sent.
        timestamp: the first timestamp to be sent.
    """

    __slots__ = (
        "_floor",
        "_highest_in",
        "_last_at",
        "_last_picture_id",
        "_last_sequence_number",
        "_last_timestamp",
        "_last_tl0",
        "_picture_id_shift",
        "_sequence_shift",
        "_started",
        "_tl0_shift",
        "clock_rate",
        "timestamp_shift",
    )

    def __init__(self, *, clock_rate: int, sequence_number: int, timestamp: int) -> None:
        self.clock_rate = clock_rate
        self._last_sequence_number = (sequence_number - 1) & 0xFFFF
        self._last_timestamp = timestamp
        self._last_at: float | None = None
        self._last_picture_id = -1
        self._last_tl0 = -1
        self._started = False
        self._floor = 0
        self._highest_in = 0
        self._sequence_shift = 0
        self.timestamp_shift = 0
        self._picture_id_shift = 0
        self._tl0_shift = 0

    def restart(self, sequence_number: int, timestamp: int, now: float, *, same_source: bool) -> None:
        """The packet with these numbers is the first of a source, or of a source that had been held back.

        Arguments:
            same_source: the source's clock goes on (a mute ended), so its timestamps keep their offset.
        """
        self._sequence_shift = (self._last_sequence_number + 1 - sequence_number) & 0xFFFF
        self._floor = self._highest_in = sequence_number
        if not self._started or not same_source:
            elapsed = 0.0 if self._last_at is None else max(0.0, now - self._last_at)
            step = 0 if self._last_at is None else max(1, round(elapsed * self.clock_rate))
            self.timestamp_shift = (self._last_timestamp + step - timestamp) & 0xFFFFFFFF
        self._picture_id_shift = self._tl0_shift = -1
        self._started = True

    def rewrite(self, sequence_number: int, timestamp: int, now: float) -> tuple[int, int] | None:
        """The outgoing (sequence number, timestamp); None for a packet from before the source's start."""
        ahead = (sequence_number - self._floor) & 0xFFFF
        if ahead >= 0x8000:
            return None
        out = (sequence_number + self._sequence_shift) & 0xFFFF
        out_timestamp = (timestamp + self.timestamp_shift) & 0xFFFFFFFF
        if (sequence_number - self._highest_in) & 0xFFFF < 0x8000:
            self._highest_in = sequence_number
            self._last_sequence_number = out
            self._last_timestamp = out_timestamp
            self._last_at = now
            if ahead > FLOOR_STEP:
                self._floor = (sequence_number - FLOOR_LAG) & 0xFFFF
        return out, out_timestamp

    @property
    def newest(self) -> tuple[int, int, int]:
        """(newest sequence number in, the same as it went out, last timestamp out), for :meth:`advance`."""
        return self._highest_in, self._last_sequence_number, self._last_timestamp

    def advance(self, packets: int, timestamp: int, now: float) -> None:
        """So many packets in sequence were rewritten elsewhere; `timestamp` is what the last one went out with."""
        self._highest_in = (self._highest_in + packets) & 0xFFFF
        self._last_sequence_number = (self._last_sequence_number + packets) & 0xFFFF
        self._last_timestamp = timestamp
        self._last_at = now
        if (self._highest_in - self._floor) & 0xFFFF > FLOOR_STEP:
            self._floor = (self._highest_in - FLOOR_LAG) & 0xFFFF

    @property
    def pictures(self) -> tuple[int, int, int, int]:
        """(PictureID's shift, the last one out, TL0PICIDX's shift, the last one out), -1 where there was none yet."""
        return self._picture_id_shift, self._last_picture_id, self._tl0_shift, self._last_tl0

    @pictures.setter
    def pictures(self, value: tuple[int, int, int, int]) -> None:
        self._picture_id_shift, self._last_picture_id, self._tl0_shift, self._last_tl0 = value

    @property
    def sequence_shift(self) -> int:
        """What is added to sequence numbers."""
        return self._sequence_shift

    def picture_id(self, picture_id: int, mask: int = 0x7FFF) -> int:
        """The outgoing PictureID of RFC 7741 for the source's; `mask` is 0x7F for one of 7 bits."""
        if self._picture_id_shift < 0:
            self._picture_id_shift = (self._last_picture_id + 1 - picture_id) & 0x7FFF
        out = (picture_id + self._picture_id_shift) & mask
        ahead = (out - self._last_picture_id) & mask
        if ahead <= mask >> 1:
            self._last_picture_id = (self._last_picture_id + ahead) & 0x7FFF
        return out

    def tl0_picture_index(self, index: int) -> int:
        """The outgoing TL0PICIDX of RFC 7741 for the source's."""
        if self._tl0_shift < 0:
            self._tl0_shift = (self._last_tl0 + 1 - index) & 0xFF
        out = (index + self._tl0_shift) & 0xFF
        if (out - self._last_tl0) & 0xFF < 0x80:
            self._last_tl0 = out
        return out
