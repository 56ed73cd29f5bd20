"""The accelerated data plane's core in C; absent where it could not be built. See forwarder.h."""

from collections.abc import Sequence
from typing import final

from typing_extensions import Buffer

def load(library: str, /) -> str | None:
    """Take the functions of this libcrypto; return the name of one that is missing."""

@final
class Cipher:
    """The keys of one direction of one session, for RTP.

    Raises ValueError when a length is not that of a profile, or before `load`.
    """

    def __new__(
        cls, aead: bool, sending: bool, tag_bytes: int, key: bytes, salt: bytes, authentication: bytes, /
    ) -> Cipher: ...

@final
class History:
    """Sent packets of one stream, as triortc.engine.streams.retransmission_history keeps them."""

    def __new__(cls, forwarder: Forwarder, slots: int, maximum_bytes: int, maximum_age_s: float, /) -> History: ...
    def store(self, sequence_number: int, header: Buffer, payload: Buffer, now: float, /) -> None: ...
    def find(self, sequence_number: int, /) -> tuple[float, bytes, bytes] | None:
        """(when it was sent, header, payload), None if it is gone."""

    def clear(self) -> None: ...

@final
class Direction:
    """The open flows from one leg to another, four at most; addresses are packed (see `Address` in forwarder.h)."""

    def __new__(
        cls,
        forwarder: Forwarder,
        source: bytes,
        destination: bytes,
        cipher_in: Cipher,
        cipher_out: Cipher,
        journal_sent: bool,
        /,
    ) -> Direction: ...
    def open(
        self,
        numbers: bytes,
        state: bytes,
        seen_in: Buffer,
        seen_out: Buffer,
        history: History | None,
        transport_sequence_number: int,
        now: float,
        /,
    ) -> int | None:
        """Open a flow: its number here; None while others are paused. What was handed up is caught up with.

        The transport-wide number counts for the first flow only: those after it go on from where that one is.
        """

    def quiet(self, flow: int, /) -> bool:
        """Tell of gaps only, not of every packet, unless there is something in the journal."""

    def settle(self, flow: int, /) -> tuple[bytes, int, int, int, bytes]:
        """(state, PictureID shift, TL0PICIDX shift, next transport-wide number, journal).

        The counts in the state, and the journal of the whole direction, are those since the last call.
        """

    def close(self, flow: int, /) -> tuple[bytes, int, int, int, bytes]:
        """As `settle`, and from here on every packet of the flow is handed up."""

@final
class Forwarder:
    """The sockets, the flows and the media thread. `hand_ups` is how many datagrams may wait for Python."""

    def __new__(cls, hand_ups: int, /) -> Forwarder: ...
    def listen(self, file_descriptor: int, /) -> int:
        """Receive from this socket; returns its number. Before `start`."""

    def start(self, clock_offset_s: float, /) -> None:
        """Run the thread; its times are CLOCK_MONOTONIC plus the offset."""

    def stop(self) -> None:
        """Join the thread. It ends after the batch that it is at."""

    def fileno(self) -> int:
        """An eventfd that is readable when something was handed up."""

    def take(self) -> tuple[list[tuple[bytes, bytes, float]], bytes]:
        """What was handed up, at most 64: (address, datagram, arrived at); and the sources whose gaps want a look."""

    def process(
        self, source: bytes, datagram: bytes, arrived_at: float, now: float, /
    ) -> Sequence[tuple[bytes, bytes]] | None:
        """Without a thread: what one datagram makes the core send, None if it is handed up."""

    def counters(self) -> bytes: ...
