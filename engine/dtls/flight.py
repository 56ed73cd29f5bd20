"""Flights and their retransmission (RFC 6347 section 4.2.4), on a timer that starts at 50 ms, not at a second.

OpenSSL's own timer starts at a second and cannot be set through pyOpenSSL. So the records it writes are kept here and
sent again:

* Records of epoch 0 are numbered here, at every sending: they are not authenticated, and a number used before would be
  taken for a replay.
* Records of epoch 1 are sent again as they are. If the peer has the first copy it drops the second one, as it should.
"""

from __future__ import annotations

from collections.abc import Sequence

from triortc.engine.dtls.configuration import DtlsConfiguration
from triortc.engine.dtls.records import (
    CHANGE_CIPHER_SPEC,
    HANDSHAKE,
    content_type,
    epoch,
    pack_records,
    with_sequence_number,
)

__all__ = ["FlightSender"]


class FlightSender:
    """Numbers our records, packs them into datagrams and repeats the last flight until it is answered."""

    __slots__ = (
        "_flight",
        "_max_pause",
        "_mtu_bytes",
        "_next_sequence_number",
        "_pause",
        "_resends_left",
        "_shortest_pause",
        "deadline",
        "retransmissions",
    )

    def __init__(self, configuration: DtlsConfiguration) -> None:
        self._mtu_bytes = configuration.mtu_bytes
        self._shortest_pause = configuration.first_retransmission_ms / 1000
        self._max_pause = configuration.max_retransmission_ms / 1000
        self._pause = self._shortest_pause
        self._next_sequence_number = 0
        self._flight: Sequence[bytes] = ()
        self._resends_left: int | None = None
        #: When :meth:`resend` is due; ``None``: nothing to repeat.
        self.deadline: float | None = None
        #: Flights sent again.
        self.retransmissions = 0

    def send(self, records: Sequence[bytes], now: float) -> list[bytes]:
        """Datagrams for records that answer the peer. If they are a handshake's flight, it replaces the one before."""
        if self._resends_left is None and any(
            content_type(record) in (CHANGE_CIPHER_SPEC, HANDSHAKE) for record in records
        ):
            self._flight = records
            self._pause = self._shortest_pause
            self.deadline = now + self._pause
        return self.pack(records)

    def send_again(self, records: Sequence[bytes]) -> list[bytes]:
        """Datagrams for a flight that OpenSSL repeats by itself. Our own timer keeps its pace."""
        if self._resends_left is None and records:
            self._flight = records
        return self.pack(records)

    def resend(self, now: float) -> list[bytes]:
        """Datagrams of the last flight, once more."""
        self.retransmissions += 1
        self._pause = min(self._pause * 2, self._max_pause)
        self.deadline = now + self._pause
        datagrams = self.pack(self._flight)
        if self._resends_left is not None:
            self._resends_left -= 1
            if self._resends_left <= 0:
                self.stop()
        return datagrams

    def finish(self, resends: int) -> None:
        """The handshake is done on our side: repeat the last flight ``resends`` times at most."""
        self._resends_left = resends
        if resends <= 0:
            self.stop()

    def stop(self) -> None:
        """Repeat nothing any more."""
        self._flight = ()
        self.deadline = None

    def pack(self, records: Sequence[bytes]) -> list[bytes]:
        """Datagrams for records that nobody will repeat, such as alerts."""
        return pack_records([self._numbered(record) for record in records], self._mtu_bytes)

    def _numbered(self, record: bytes) -> bytes:
        if epoch(record) != 0:
            return record
        number = self._next_sequence_number
        self._next_sequence_number = number + 1
        return with_sequence_number(record, number)
