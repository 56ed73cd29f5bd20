"""The accelerated data plane's core in C (forwarder.h), as objects that own what it works on.

One thread at a time calls what belongs to one :class:`Forwarder`; the lock that it waits for is held for a batch of
datagrams at most. Whatever the core still points to is kept alive by the arguments of finalizers, in whatever order the
objects themselves go.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import weakref
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

from triortc.engine.relay.core_cipher import Cipher, Libcrypto
from triortc.engine.relay.core_layout import (
    ADDRESS_BYTES,
    BATCH_DATAGRAMS,
    CLOSE,
    COUNTERS,
    GO_ON,
    HAND_UP,
    HAND_UP_BYTES,
    LAYOUTS,
    LOOK,
    MAX_DATAGRAM_BYTES,
    MAX_FLOWS,
    NOTE,
    NOTES_AT,
    NUMBERS,
    SENT_PACKET,
    SETTLED,
    SETTLED_BYTES,
    STATE,
    TELL,
    WINDOW,
    notes_of,
)
from triortc.engine.rtp.header import Buffer

__all__ = ["Core", "Direction", "Forwarder", "History", "Journal", "Settled", "address_of"]

_INT, _U32, _U16, _DOUBLE = ctypes.c_int, ctypes.c_uint32, ctypes.c_uint16, ctypes.c_double
_POINTER, _BYTES = ctypes.c_void_p, ctypes.c_char_p
#: (result, arguments) of every function that is called.
_FUNCTIONS: Final = {
    "forwarder_new": (_POINTER, (_INT, _INT, _INT, _POINTER, _U32)),
    "forwarder_free": (None, (_POINTER,)),
    "forwarder_start": (_INT, (_POINTER, _DOUBLE)),
    "forwarder_stop": (None, (_POINTER,)),
    "forwarder_waiting": (None, (_POINTER, _POINTER)),
    "forwarder_taken": (None, (_POINTER, _U32)),
    "forwarder_try": (_INT, (_POINTER, _BYTES, _BYTES, _U32, _DOUBLE, _DOUBLE, _POINTER, _POINTER)),
    "history_new": (_POINTER, (_U32, _U32, _DOUBLE)),
    "history_free": (None, (_POINTER,)),
    "history_store": (None, (_POINTER, _POINTER, _U16, _BYTES, _U32, _BYTES, _U32, _DOUBLE)),
    "history_find": (_U32, (_POINTER, _POINTER, _U16, _POINTER)),
    "history_clear": (None, (_POINTER, _POINTER)),
    "direction_new": (_POINTER, (_POINTER, _BYTES, _BYTES, _BYTES, _BYTES, _BYTES)),
    "direction_free": (None, (_POINTER, _POINTER)),
    "direction_open": (
        _INT,
        (_POINTER, _POINTER, _U32, _BYTES, _BYTES, _BYTES, _BYTES, _POINTER, _U32, _DOUBLE),
    ),
    "direction_settle": (None, (_POINTER, _POINTER, _U32, _INT, _POINTER)),
    "arrivals_take": (_U32, (_POINTER, _U32, _BYTES, _POINTER, _U32, _DOUBLE)),
}
_STATE_BYTES: Final = STATE.size
_ARRIVALS_AT: Final = _STATE_BYTES + SETTLED.size
_MAX_HAND_UPS: Final = 1 << 16
#: (next transport-wide number, values of ARRIVALs one behind the other, of NOTEs the same).
Journal: TypeAlias = tuple[int, tuple[Any, ...], tuple[Any, ...]]
#: (values of STATE, and a Journal).
Settled: TypeAlias = tuple[tuple[Any, ...], int, tuple[Any, ...], tuple[Any, ...]]


class Core:
    """The functions of the extension.

    Arguments:
        path: of the shared library.
        crypto: whose functions it calls.

    Raises:
        OSError: it cannot be loaded.
        AttributeError: it is another one, or was built from other sources.
    """

    def __init__(self, path: Path, crypto: Libcrypto) -> None:
        self.crypto = crypto
        self.library = ctypes.CDLL(str(path))
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(self.library, name)
            function.restype, function.argtypes = result, arguments
        if tuple((_U32 * len(LAYOUTS)).in_dll(self.library, "forwarder_layouts")) != LAYOUTS:
            raise AttributeError("another layout")
        table = (_POINTER * len(crypto.addresses)).in_dll(self.library, "libcrypto")
        for place, address in enumerate(crypto.addresses):
            table[place] = address


class Forwarder:
    """The flows of all directions, and the media thread that carries their packets.

    Arguments:
        core: what runs them.
        hand_ups: how many datagrams may wait for Python; those on top of them are lost.
    """

    def __init__(self, core: Core, hand_ups: int) -> None:
        if not 0 < hand_ups <= _MAX_HAND_UPS:
            raise ValueError(f"hand_ups must be 1 to {_MAX_HAND_UPS}")
        self.library = core.library
        self._slots = hand_ups
        self._ring = memoryview(bytearray(hand_ups * HAND_UP_BYTES))
        self._span = (_U32 * 2)()
        #: Where the core writes what is asked of it.
        self.answer = bytearray(SETTLED_BYTES)
        self.answer_at = address_of(self.answer)
        self._epoll = select.epoll()
        self._wake, self._signal = (os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK) for _ in range(2))
        self._epoll.register(self._wake, select.EPOLLIN)
        #: A thread that runs; shared with what ends it when this object is gone.
        self._running: list[int] = []
        #: Of the core.
        self.pointer: int | None = self.library.forwarder_new(
            self._epoll.fileno(), self._wake, self._signal, address_of(self._ring), hand_ups
        )
        owned = self.library, self.pointer, self._epoll, self._wake, self._signal, self._running, self._ring
        weakref.finalize(self, _free_forwarder, *owned).atexit = False
        if self.pointer is None:
            raise MemoryError("the accelerated plane does not fit into memory")
        self._counters = (ctypes.c_uint64 * len(COUNTERS)).from_address(self.pointer)

    def start(self, sockets: Sequence[int], clock_offset_s: float) -> None:
        """Run the thread on these sockets (file descriptors); its times are CLOCK_MONOTONIC plus the offset."""
        if self._running:
            raise RuntimeError("the thread runs already: stop it first")
        for file_descriptor in sockets:
            self._epoll.register(file_descriptor, select.EPOLLIN)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # they are for the main thread
        error = self.library.forwarder_start(self.pointer, clock_offset_s)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if error:
            raise OSError(error, os.strerror(error))
        self._running.append(1)

    def stop(self) -> None:
        """Join the thread. It ends after the batch that it is at."""
        _stop(self.library, self.pointer, self._wake, self._running)

    def fileno(self) -> int:
        """An eventfd that is readable when something was handed up."""
        return self._signal

    def take(self) -> tuple[list[tuple[bytes, bytes, float]], list[bytes]]:
        """What was handed up, at most 64: (source, datagram, arrived at); and sources whose flows want settling."""
        taken: list[tuple[bytes, bytes, float]] = []
        sources: list[bytes] = []
        self.library.forwarder_waiting(self.pointer, self._span)
        head, tail = self._span
        if head == tail:
            return taken, sources
        while head != tail and len(taken) < BATCH_DATAGRAMS:
            at = head % self._slots * HAND_UP_BYTES
            source, length, arrived_at = HAND_UP.unpack_from(self._ring, at)
            if length <= MAX_DATAGRAM_BYTES:
                at += HAND_UP.size
                taken.append((source, bytes(self._ring[at : at + length]), arrived_at))
            elif length == LOOK:
                sources.append(source)
            head = (head + 1) & 0xFFFFFFFF
        self.library.forwarder_taken(self.pointer, head)
        return taken, sources

    def process(self, source: bytes, datagram: bytes, now: float) -> list[tuple[bytes, bytes]] | None:
        """Without a thread: what a datagram makes the core send, as (destination, packet); None if it is handed up."""
        if len(source) != ADDRESS_BYTES or len(datagram) > MAX_DATAGRAM_BYTES or self._running:
            raise ValueError("give a packed address and a datagram of 2048 bytes at most, while no thread runs")
        to = bytearray(ADDRESS_BYTES)
        sent: int = self.library.forwarder_try(
            self.pointer, source, datagram, len(datagram), now, now, address_of(to), self.answer_at
        )
        return None if sent < 0 else [(bytes(to), bytes(self.answer[:sent]))] if sent else []

    def counters(self) -> Sequence[int]:
        """The values of COUNTERS now."""
        return tuple(self._counters)


class History:
    """Sent packets of one stream, as triortc.engine.streams.retransmission_history keeps them.

    Arguments:
        slots: for so many sequence numbers; a power of two.
    """

    def __init__(self, forwarder: Forwarder, slots: int, maximum_bytes: int, maximum_age_s: float) -> None:
        if not 0 < slots <= 1 << 15 or slots & (slots - 1):
            raise ValueError("slots must be a power of two up to 32768")
        self.forwarder = forwarder
        self.pointer: int | None = forwarder.library.history_new(slots, maximum_bytes, maximum_age_s)
        if self.pointer is None:
            raise MemoryError("a history does not fit into memory")
        weakref.finalize(self, forwarder.library.history_free, self.pointer).atexit = False

    def store(self, sequence_number: int, header: Buffer, payload: Buffer, now: float) -> None:
        """Keep a packet that Python has sent."""
        kept, body, forwarder = bytes(header), bytes(payload), self.forwarder
        forwarder.library.history_store(
            forwarder.pointer, self.pointer, sequence_number, kept, len(kept), body, len(body), now
        )

    def find(self, sequence_number: int) -> tuple[float, bytes, bytes] | None:
        """(when it was sent, header, payload), None if it is gone."""
        forwarder = self.forwarder
        if not forwarder.library.history_find(forwarder.pointer, self.pointer, sequence_number, forwarder.answer_at):
            return None
        at, _, header_bytes, payload_bytes = SENT_PACKET.unpack_from(forwarder.answer)
        payload_at = SENT_PACKET.size + header_bytes
        header = bytes(forwarder.answer[SENT_PACKET.size : payload_at])
        return at, header, bytes(forwarder.answer[payload_at : payload_at + payload_bytes])

    def clear(self) -> None:
        """Forget every packet."""
        self.forwarder.library.history_clear(self.forwarder.pointer, self.pointer)


class Direction:
    """The open flows from one leg to another, MAX_FLOWS at most.

    Arguments:
        source, destination: packed addresses.
        cipher_in, cipher_out: to unprotect and to protect with.
        sent: where packets are written down that were sent, as triortc.engine.congestion.sent_history.SENT, used in
            place, a power of two of them; None: nowhere, and the journal does not tell of them.
    """

    def __init__(
        self,
        forwarder: Forwarder,
        source: bytes,
        destination: bytes,
        cipher_in: Cipher,
        cipher_out: Cipher,
        *,
        sent: bytearray | None,
    ) -> None:
        if {len(source), len(destination)} != {ADDRESS_BYTES}:
            raise ValueError("an address is what pack_address has made")
        sent_slots = 0 if sent is None else len(sent) // NOTE.size
        if sent is not None and (not sent_slots or sent_slots & (sent_slots - 1) or len(sent) % NOTE.size):
            raise ValueError("sent is a power of two of SENT")
        sent_by = WINDOW.pack(0, 0) if sent is None else WINDOW.pack(address_of(sent), sent_slots - 1)
        self._forwarder, self._library = forwarder, forwarder.library
        self._settle_core = self._library.direction_settle
        self._pointer: int | None = self._library.direction_new(
            forwarder.pointer, source, destination, cipher_in.packed, cipher_out.packed, sent_by
        )
        if self._pointer is None:
            raise MemoryError("a direction does not fit into memory")
        #: By the flow's slot, what the core works on in place.
        self._held: dict[int, tuple[object, ...]] = {}
        kept = cipher_in, cipher_out, None if sent is None else memoryview(sent)  # a view keeps it from moving
        weakref.finalize(self, _free_direction, forwarder, self._pointer, kept, self._held).atexit = False

    def open(
        self,
        numbers: bytes,
        state: bytes,
        seen_in: array[int],
        seen_out: array[int],
        history: History | None,
        transport_sequence_number: int,
        now: float,
    ) -> int | None:
        """Open a flow: its slot here; None while others are paused. What was handed up is caught up with.

        Arguments:
            numbers, state: NUMBERS and STATE.
            seen_in, seen_out: the windows, which are used in place.
            transport_sequence_number: counts for the first flow only: those after it go on from where that one is.
        """
        if len(numbers) != NUMBERS.size or len(state) != STATE.size:
            raise ValueError("numbers and state have another layout: core_layout says which")
        if history is not None and history.forwarder is not self._forwarder:
            raise ValueError("the history is another forwarder's")
        slot = next((slot for slot in range(MAX_FLOWS) if slot not in self._held), None)
        if slot is None:
            return None
        # A view of an array keeps it from growing, that is from moving.
        held = history, memoryview(seen_in), memoryview(seen_out)
        opened = self._library.direction_open(
            *(self._forwarder.pointer, self._pointer, slot, numbers, state, _window(seen_in), _window(seen_out)),
            *(None if history is None else history.pointer, transport_sequence_number, now),
        )
        if not opened:
            return None
        self._held[slot] = held
        return slot

    def settle(self, slot: int, then: int = GO_ON) -> Settled:
        """Take back what has come of a flow, and of the whole direction, since the last call.

        Arguments:
            then: whether the flow goes on (GO_ON), has only gaps told of if there was nothing to tell (QUIET), or is
                closed, so that its packets are handed up (CLOSE).
        """
        journal = self._settle(slot, then)
        if then == CLOSE:
            del self._held[slot]
        return STATE.unpack_from(self._forwarder.answer), *journal

    def tell(self, slot: int) -> Journal:
        """Take what the journal says since the last call, and leave the rest to the next one of `settle`.

        Arguments:
            slot: of any open flow.
        """
        return self._settle(slot, TELL)

    def _settle(self, slot: int, then: int) -> Journal:
        if slot not in self._held:
            raise ValueError("that flow is not open")
        forwarder = self._forwarder
        answer = forwarder.answer
        self._settle_core(forwarder.pointer, self._pointer, slot, then, forwarder.answer_at)
        number, arrived, count = SETTLED.unpack_from(answer, _STATE_BYTES)
        return (
            number,
            notes_of(arrived).unpack_from(answer, _ARRIVALS_AT) if arrived else (),
            notes_of(count).unpack_from(answer, NOTES_AT) if count else (),
        )


def address_of(buffer: bytearray | memoryview) -> int:
    """Where a buffer lies; it must be kept, and not be resized."""
    return ctypes.addressof((ctypes.c_char * len(buffer)).from_buffer(buffer))


def _window(seen: array[int]) -> bytes:
    address, slots = seen.buffer_info()
    if seen.typecode != "Q" or not slots or slots & (slots - 1):
        raise ValueError("a window has 8 bytes for each of a power of two of indices")
    return WINDOW.pack(address, slots - 1)


def _stop(library: ctypes.CDLL, pointer: int | None, wake: int, running: list[int]) -> None:
    if running:
        library.forwarder_stop(pointer)
        os.eventfd_read(wake)
        running.clear()


def _free_forwarder(
    library: ctypes.CDLL,
    pointer: int | None,
    epoll: select.epoll,
    wake: int,
    signal_: int,
    running: list[int],
    ring: memoryview,  # the thread writes there until it has ended
) -> None:
    _stop(library, pointer, wake, running)
    if pointer is not None:
        library.forwarder_free(pointer)
    epoll.close()
    os.close(wake)
    os.close(signal_)


def _free_direction(
    forwarder: Forwarder, pointer: int, kept: tuple[object, ...], held: dict[int, tuple[object, ...]]
) -> None:
    """What `kept` and `held` keep is not used any more when this is done."""
    forwarder.library.direction_free(forwarder.pointer, pointer)
