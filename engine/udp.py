"""Batched UDP sockets: one system call receives many datagrams, one system call sends a run of equal ones.

`recvmmsg` is reached through ctypes because Python's socket module does not have it; runs leave by one `sendmsg` with
UDP_SEGMENT (generic segmentation offload, Linux 4.18), which the kernel cuts into datagrams. Where the kernel refuses
either, the plain calls take over.

Each datagram comes with the instant at which the kernel took it in (SO_TIMESTAMPNS). One wake-up takes what has come in
the meantime, so by the clock of the wake-up a paced burst would have arrived at once: a sender that probes the path
(draft-ietf-rmcat-gcc-02) learns nothing from feedback like that.
"""

from __future__ import annotations

import ctypes
import errno
import ipaddress
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass

import trio

from triortc.engine.address import Address, Datagram
from triortc.errors import ConfigurationError

__all__ = ["BATCH_DATAGRAMS", "MAX_DATAGRAM_BYTES", "SocketCounters", "UdpSocket"]

#: Datagrams taken by one receive call, and the largest of them; a longer datagram is no media packet and is dropped.
BATCH_DATAGRAMS = 64
MAX_DATAGRAM_BYTES = 2048

SOL_UDP = 17
UDP_SEGMENT = 103
MAX_SEGMENTS = 64
MAX_RUN_BYTES = 65_000
MSG_DONTWAIT = 0x40
MSG_TRUNC = 0x20
NAME_BYTES = 32

#: asm-generic's number of the option and of the control message that comes of it: a header of 16 bytes and a timespec.
SO_TIMESTAMPNS = 35
STAMP_BYTES = 32
#: A stamp that says more is the work of a wall clock that was set, not of a full buffer.
MAX_WAITING_NS = 1_000_000_000

_WOULD_BLOCK = (errno.EAGAIN, errno.EWOULDBLOCK)
#: Errors of one destination or one moment: the datagram is lost, the socket is fine.
_TRANSIENT = (
    errno.EAGAIN,
    errno.EWOULDBLOCK,
    errno.ECONNREFUSED,
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
    errno.EPERM,
    errno.ENOBUFS,
    errno.ENOMEM,
    errno.EINTR,
    errno.EINVAL,
    errno.EMSGSIZE,
    errno.EACCES,
    errno.EADDRNOTAVAIL,
    errno.ENETDOWN,
)


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _MessageHeader(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint),
        ("vector", ctypes.c_void_p),
        ("vector_length", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _MultipleMessageHeader(ctypes.Structure):
    _fields_ = (("header", _MessageHeader), ("length", ctypes.c_uint))


_MESSAGE_BYTES = ctypes.sizeof(_MultipleMessageHeader)


def _load_recvmmsg() -> Callable[[int, int, int, int, None], int] | None:
    function = getattr(ctypes.CDLL(None), "recvmmsg", None)
    if function is None:
        return None
    function.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p]
    function.restype = ctypes.c_int
    receive: Callable[[int, int, int, int, None], int] = function
    return receive


_recvmmsg = _load_recvmmsg()


@dataclass(slots=True)
class SocketCounters:
    """What one socket has done: datagrams and system calls, and what it could not do."""

    received: int = 0
    receive_calls: int = 0
    truncated: int = 0
    sent: int = 0
    send_calls: int = 0
    send_errors: int = 0


class UdpSocket:
    """A non-blocking UDP socket that is drained and filled in batches.

    ``receive_batch`` gives views of buffers that live in this object: they hold until the next ``receive_batch``.

    Raises OSError when the address cannot be bound, ConfigurationError when it is no IP address.
    """

    def __init__(self, host: str, port: int, *, buffer_bytes: int) -> None:
        try:
            version = ipaddress.ip_address(host).version
        except ValueError as error:
            raise ConfigurationError(f"{host!r} is no IP address: give the address to bind, not a name") from error
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        try:
            if family == socket.AF_INET6:
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                self._socket.setsockopt(socket.SOL_SOCKET, option, buffer_bytes)
            self._socket.setblocking(False)
            self._socket.bind((host, port))
        except BaseException:
            self._socket.close()
            raise
        self.address: Address = (host, self._socket.getsockname()[1])
        self.counters = SocketCounters()
        self._ipv4 = version == 4
        self._stamped = self._ask_for_stamps()
        self._segmentation = True
        self._has_segmented = False
        self._control: dict[int, list[tuple[int, int, bytes]]] = {}
        #: Raw socket addresses that were parsed before; emptied when strangers fill it.
        self._known: dict[bytes, Address] = {}
        self._allocate()

    def _ask_for_stamps(self) -> bool:
        if _recvmmsg is None or struct.calcsize("l") != 8:  # a timespec has another shape there
            return False
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        except OSError:
            return False
        return True

    def _allocate(self) -> None:
        self._buffer = bytearray(BATCH_DATAGRAMS * MAX_DATAGRAM_BYTES)
        self._names = bytearray(BATCH_DATAGRAMS * NAME_BYTES)
        self._stamps = bytearray(BATCH_DATAGRAMS * STAMP_BYTES)
        view = memoryview(self._buffer)
        self._slots = [view[i * MAX_DATAGRAM_BYTES : (i + 1) * MAX_DATAGRAM_BYTES] for i in range(BATCH_DATAGRAMS)]
        base = ctypes.addressof((ctypes.c_char * len(self._buffer)).from_buffer(self._buffer))
        names = ctypes.addressof((ctypes.c_char * len(self._names)).from_buffer(self._names))
        stamps = ctypes.addressof((ctypes.c_char * len(self._stamps)).from_buffer(self._stamps))
        self._vectors = (_Iovec * BATCH_DATAGRAMS)()
        self._messages = (_MultipleMessageHeader * BATCH_DATAGRAMS)()
        for index in range(BATCH_DATAGRAMS):
            self._vectors[index].base = base + index * MAX_DATAGRAM_BYTES
            self._vectors[index].length = MAX_DATAGRAM_BYTES
            header = self._messages[index].header
            header.name = names + index * NAME_BYTES
            header.name_length = NAME_BYTES
            header.vector = ctypes.addressof(self._vectors) + index * ctypes.sizeof(_Iovec)
            header.vector_length = 1
            if self._stamped:
                header.control = stamps + index * STAMP_BYTES
                header.control_length = STAMP_BYTES
        self._messages_address = ctypes.addressof(self._messages)
        # The kernel shortens the room for stamps to what it wrote; the next call wants it whole again.
        self._fresh_messages = bytes(self._messages)
        self._stamp = struct.Struct("=16xqq")
        # The kernel writes flags and length of every message; one struct reads the pair of each.
        size, flags = ctypes.sizeof(_MultipleMessageHeader), _MessageHeader.flags.offset
        length = _MultipleMessageHeader.length.offset
        fields = f"{flags}xi{length - flags - 4}xI{size - length - 4}x"
        self._results = struct.Struct("=" + fields * BATCH_DATAGRAMS)

    def fileno(self) -> int:
        """The file descriptor, for trio's wait functions."""
        return self._socket.fileno()

    async def wait_readable(self) -> None:
        """Wait until a datagram is there."""
        await trio.lowlevel.wait_readable(self._socket)

    def receive_batch(self, now: float) -> list[Datagram]:
        """Take what is there, at most BATCH_DATAGRAMS. Empty: nothing was waiting.

        Arguments:
            now: the present, in seconds; the datagrams arrived then or a little earlier.
        """
        if _recvmmsg is None:
            return self._receive_one_by_one(now)
        count = _recvmmsg(self._socket.fileno(), self._messages_address, BATCH_DATAGRAMS, MSG_DONTWAIT, None)
        counters = self.counters
        counters.receive_calls += 1
        if count <= 0:
            return []
        counters.received += count
        results = self._results.unpack_from(self._messages)
        arrivals = self._arrivals(count, now) if self._stamped else [now] * count
        batch: list[Datagram] = []
        names, known, slots = self._names, self._known, self._slots
        name_end = 8 if self._ipv4 else 28
        for index in range(count):
            if results[2 * index] & MSG_TRUNC:
                counters.truncated += 1
                continue
            start = index * NAME_BYTES
            name = bytes(names[start : start + name_end])
            address = known.get(name)
            if address is None:
                address = self._learn(name)
            batch.append((slots[index][: results[2 * index + 1]], address, arrivals[index]))
        return batch

    def _arrivals(self, count: int, now: float) -> list[float]:
        """When each datagram of this batch arrived, by the clock of `now`: the kernel stamps them by the wall clock."""
        wall_ns = time.time_ns()
        ctypes.memmove(self._messages_address, self._fresh_messages, count * _MESSAGE_BYTES)
        arrivals = []
        for seconds, nanoseconds in self._stamp.iter_unpack(memoryview(self._stamps)[: count * STAMP_BYTES]):
            waited_ns = wall_ns - seconds * 1_000_000_000 - nanoseconds
            arrivals.append(now - waited_ns * 1e-9 if 0 <= waited_ns < MAX_WAITING_NS else now)
        return arrivals

    def _learn(self, name: bytes) -> Address:
        port = int.from_bytes(name[2:4], "big")
        if self._ipv4:
            host = socket.inet_ntop(socket.AF_INET, name[4:8])
        else:
            host = socket.inet_ntop(socket.AF_INET6, name[8:24])
        if len(self._known) >= 4096:
            self._known.clear()
        address = self._known[name] = (host, port)
        return address

    def _receive_one_by_one(self, now: float) -> list[Datagram]:
        batch: list[Datagram] = []
        for slot in self._slots:
            try:
                length, source = self._socket.recvfrom_into(slot, MAX_DATAGRAM_BYTES)
            except OSError as error:
                if error.errno not in _TRANSIENT:
                    raise
                break
            batch.append((slot[:length], (source[0], source[1]), now))
        self.counters.received += len(batch)
        self.counters.receive_calls += 1
        return batch

    def send(self, data: bytes | memoryview, remote: Address) -> bool:
        """Send one datagram; False when the network did not take it (counted, never raised: datagrams may be lost)."""
        counters = self.counters
        counters.send_calls += 1
        try:
            self._socket.sendto(data, remote)
        except OSError as error:
            # gaierror: an address of the other family, which a peer can signal but this socket cannot reach.
            if error.errno not in _TRANSIENT and not isinstance(error, socket.gaierror):
                raise
            counters.send_errors += 1
            return False
        counters.sent += 1
        return True

    def send_run(self, run: memoryview, segment_bytes: int, remote: Address) -> None:
        """Send `run` as datagrams of `segment_bytes` each (the last may be shorter), in as few calls as possible."""
        length = len(run)
        if length <= segment_bytes:
            self.send(run, remote)
            return
        step = min(MAX_SEGMENTS, max(1, MAX_RUN_BYTES // segment_bytes)) * segment_bytes
        for start in range(0, length, step):
            part = run[start : start + step]
            if len(part) <= segment_bytes or not self._segmentation:
                self._send_each(part, segment_bytes, remote)
            else:
                self._send_segmented(part, segment_bytes, remote)

    def _send_segmented(self, part: memoryview, segment_bytes: int, remote: Address) -> None:
        control = self._control.get(segment_bytes)
        if control is None:
            control = self._control[segment_bytes] = [(SOL_UDP, UDP_SEGMENT, struct.pack("=H", segment_bytes))]
        datagrams = -(-len(part) // segment_bytes)
        counters = self.counters
        counters.send_calls += 1
        try:
            self._socket.sendmsg((part,), control, 0, remote)
        except OSError as error:
            if error.errno in (errno.EIO, errno.EINVAL, errno.ENOPROTOOPT, errno.EOPNOTSUPP):
                # A device without checksum offload, or an old kernel: do without from here on. Where it has worked,
                # EINVAL is about this run: its datagrams are longer than this way's MTU.
                self._segmentation = error.errno == errno.EINVAL and self._has_segmented
                self._send_each(part, segment_bytes, remote)
            elif error.errno in _TRANSIENT:
                counters.send_errors += datagrams
            else:
                raise
        else:
            self._has_segmented = True
            counters.sent += datagrams

    def _send_each(self, part: memoryview, segment_bytes: int, remote: Address) -> None:
        for start in range(0, len(part), segment_bytes):
            self.send(part[start : start + segment_bytes], remote)

    def close(self) -> None:
        """Close the socket; safe to call twice. Nobody may be waiting for it any more."""
        self._socket.close()
