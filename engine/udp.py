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
import logging
import os
import socket
import struct
import sys
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from enum import Enum

import trio

from triortc.engine.address import Address, Datagram
from triortc.engine.datagrams import BATCH_DATAGRAMS, MAX_DATAGRAM_BYTES, STAMP_BYTES, DatagramBatch
from triortc.errors import ConfigurationError

__all__ = ["SocketCounters", "UdpSocket", "describe_sending"]

_LOG = logging.getLogger("triortc.udp")

SOL_UDP = 17
UDP_SEGMENT = 103
MAX_SEGMENTS = 64
MAX_RUN_BYTES = 65_000
MSG_DONTWAIT = 0x40
MSG_TRUNC = 0x20
NAME_BYTES = 32

#: Buffers beyond the administrator's limit, for privileged processes (Linux; socket(7)).
SO_SNDBUFFORCE = 32
SO_RCVBUFFORCE = 33
#: asm-generic's number of the option and of the control message that comes of it.
SO_TIMESTAMPNS = 35
#: What a socket holds, as nine numbers of which the last counts the datagrams that found its buffer full.
SO_MEMINFO = 55
_MEMORY = struct.Struct("=32xI")

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


def _load_sendmmsg() -> Callable[[int, int, int, int], int] | None:
    function = getattr(ctypes.CDLL(None, use_errno=True), "sendmmsg", None)
    if function is None:
        return None
    function.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int]
    function.restype = ctypes.c_int
    send: Callable[[int, int, int, int], int] = function
    return send


_recvmmsg = _load_recvmmsg()
_sendmmsg = _load_sendmmsg()

#: What the kernel writes of so many messages: flags and length of each, and where each came from.
_RESULT = (
    f"{_MessageHeader.flags.offset}xi"
    f"{_MultipleMessageHeader.length.offset - _MessageHeader.flags.offset - 4}xI"
    f"{ctypes.sizeof(_MultipleMessageHeader) - _MultipleMessageHeader.length.offset - 4}x"
)
_RESULTS = [struct.Struct("=" + _RESULT * count) for count in range(BATCH_DATAGRAMS + 1)]
#: A sockaddr_in's family, port and address as one number; a sockaddr_in6 as it is.
_NAMES_IPV4 = [struct.Struct("=" + f"Q{NAME_BYTES - 8}x" * count) for count in range(BATCH_DATAGRAMS + 1)]
_NAMES_IPV6 = [struct.Struct("=" + f"28s{NAME_BYTES - 28}x" * count) for count in range(BATCH_DATAGRAMS + 1)]


class SendWay(Enum):
    """How a run of datagrams leaves, the best way first."""

    SEGMENTED = "by one sendmsg with UDP_SEGMENT a run"
    MANY = "by one sendmmsg a run"
    SINGLE = "one by one"


_SEGMENTED = SendWay.SEGMENTED  # an enumeration's member is found by a call each time


@dataclass(slots=True)
class SocketCounters:
    """What one socket has done: datagrams and system calls, and what it could not do."""

    received: int = 0
    receive_calls: int = 0
    truncated: int = 0
    sent: int = 0
    send_calls: int = 0
    send_errors: int = 0
    overflowed: int = 0


class UdpSocket:
    """A non-blocking UDP socket that is drained and filled in batches.

    ``receive`` fills :attr:`batch`, which holds until the next ``receive``.

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
            for plain, forced in ((socket.SO_RCVBUF, SO_RCVBUFFORCE), (socket.SO_SNDBUF, SO_SNDBUFFORCE)):
                self._ask_for_buffer(plain, forced, buffer_bytes)
            self._socket.setblocking(False)
            self._socket.bind((host, port))
        except OSError as error:
            self._socket.close()
            raise OSError(error.errno, f"cannot bind {host}, UDP port {port}: {error.strerror}") from error
        except BaseException:  # whatever it is goes on; the socket is closed first
            self._socket.close()
            raise
        self.address: Address = (host, self._socket.getsockname()[1])
        self.counters = SocketCounters()
        self._ipv4 = version == 4
        self._stamped = self._ask_for_stamps()
        #: How runs leave; the best that works here.
        self.way = SendWay.SEGMENTED
        #: In words, what had to be done without.
        self.fallbacks: list[str] = []
        self._has_segmented = False
        self._control: dict[int, list[tuple[int, int, bytes]]] = {}
        #: Raw socket addresses that were parsed before; emptied when strangers fill it.
        self._known: dict[Hashable, Address] = {}
        self._allocate()
        self._probe_ways()

    def _ask_for_buffer(self, plain: int, forced: int, buffer_bytes: int) -> None:
        """All legs share one buffer: a pause of 10 ms at 50 calls is 170 packets, about the usual limit."""
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, forced, buffer_bytes)
        except OSError:  # not Linux, or not privileged: as much as the administrator allows (net.core.rmem_max)
            self._socket.setsockopt(socket.SOL_SOCKET, plain, buffer_bytes)

    def take_overflow(self) -> int:
        """How many datagrams the kernel has dropped since the last call, because nobody took what waited.

        0 where the kernel does not tell (Linux does, since 4.12).
        """
        try:
            told = self._socket.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, _MEMORY.size)
        except OSError:
            return 0
        if len(told) < _MEMORY.size:
            return 0
        dropped: int = _MEMORY.unpack(told)[0]
        new = (dropped - self.counters.overflowed) & 0xFFFFFFFF
        self.counters.overflowed += new
        return new

    @property
    def receive_buffer_bytes(self) -> int:
        """What the kernel grants for datagrams that wait, its own overhead included."""
        return self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)

    def _ask_for_stamps(self) -> bool:
        if _recvmmsg is None or struct.calcsize("l") != 8:  # a timespec has another shape there
            return False
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        except OSError:
            return False
        return True

    def _probe_ways(self) -> None:
        """Find the best ways that this kernel has, once, before anything is sent."""
        if _recvmmsg is None:
            self.fallbacks.append("no recvmmsg: datagrams are taken one by one")
            _LOG.warning("%s:%d takes datagrams one by one: the C library has no recvmmsg", *self.address)
        try:
            self._socket.setsockopt(SOL_UDP, UDP_SEGMENT, 0)  # known since Linux 4.18; 0 leaves it off
        except OSError as error:
            self._fall_back(SendWay.MANY, f"no UDP_SEGMENT ({errno.errorcode.get(error.errno or 0, error.errno)})")
        if self.way is SendWay.MANY and _sendmmsg is None:
            self._fall_back(SendWay.SINGLE, "the C library has no sendmmsg")

    def _allocate(self) -> None:
        #: What :meth:`receive` has filled last.
        self.batch = DatagramBatch()
        buffer = self.batch.buffer
        self._names = bytearray(BATCH_DATAGRAMS * NAME_BYTES)
        base = ctypes.addressof((ctypes.c_char * len(buffer)).from_buffer(buffer))
        names = ctypes.addressof((ctypes.c_char * len(self._names)).from_buffer(self._names))
        stamps = ctypes.addressof((ctypes.c_char * len(self.batch.stamps)).from_buffer(self.batch.stamps))
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
        self._messages_view = memoryview(self._messages).cast("B")
        self._fresh_messages = memoryview(bytes(self._messages))
        self._out_name = bytearray(NAME_BYTES)
        self._out_vectors = (_Iovec * MAX_SEGMENTS)()
        self._out_messages = (_MultipleMessageHeader * MAX_SEGMENTS)()
        name = ctypes.addressof(ctypes.c_char.from_buffer(self._out_name))
        for index in range(MAX_SEGMENTS):
            header = self._out_messages[index].header
            header.name = name
            header.vector = ctypes.addressof(self._out_vectors) + index * ctypes.sizeof(_Iovec)
            header.vector_length = 1
        self._name_structs = _NAMES_IPV4 if self._ipv4 else _NAMES_IPV6

    def fileno(self) -> int:
        """The file descriptor, for trio's wait functions."""
        return self._socket.fileno()

    async def wait_readable(self) -> None:
        """Wait until a datagram is there."""
        await trio.lowlevel.wait_readable(self._socket)

    def receive(self, now: float) -> int:
        """Take what is there, at most BATCH_DATAGRAMS, into :attr:`batch`; how many that were. 0: nothing was waiting.

        The batch's sources are what :meth:`address_of` takes.

        Arguments:
            now: the present, in seconds; the datagrams arrived then or a little earlier.
        """
        self.batch.now = now
        if _recvmmsg is None:
            return self._receive_one_by_one()
        count = _recvmmsg(self._socket.fileno(), self._messages_address, BATCH_DATAGRAMS, MSG_DONTWAIT, None)
        counters = self.counters
        counters.receive_calls += 1
        if count <= 0:
            return 0
        counters.received += count
        batch = self.batch
        results = _RESULTS[count].unpack_from(self._messages)
        batch.lengths = results[1::2]
        if any(results[::2]):
            cut_off = [flags & MSG_TRUNC != 0 for flags in results[::2]]
            counters.truncated += sum(cut_off)
            batch.lengths = [-1 if cut else length for cut, length in zip(cut_off, batch.lengths, strict=True)]
        if self._stamped:
            batch.wall_ns = time.time_ns()
            used = count * _MESSAGE_BYTES
            self._messages_view[:used] = self._fresh_messages[:used]
        batch.sources = self._name_structs[count].unpack_from(self._names)
        batch.filled(count)
        return count

    def receive_batch(self, now: float) -> list[Datagram]:
        """The same as values, for whoever has no runs to take."""
        batch = self.batch
        return [
            (batch.slots[n][: batch.lengths[n]], self.address_of(batch.sources[n]), batch.arrived_at(n))
            for n in range(self.receive(now))
            if batch.lengths[n] >= 0
        ]

    def address_of(self, source: Hashable) -> Address:
        """The address behind a source of a batch; the same object every time."""
        return self._known.get(source) or self._learn(source)

    def _learn(self, source: Hashable) -> Address:
        if isinstance(source, int):
            raw = source.to_bytes(8, sys.byteorder)
            host = socket.inet_ntop(socket.AF_INET, raw[4:8])
        elif isinstance(source, bytes):
            raw = source
            host = socket.inet_ntop(socket.AF_INET6, raw[8:24])
        else:
            raise TypeError("a source is what receive() has put into the batch")
        if len(self._known) >= 4096:
            self._known.clear()
        address = self._known[source] = (host, int.from_bytes(raw[2:4], "big"))
        return address

    def _receive_one_by_one(self) -> int:
        batch = self.batch
        lengths: list[int] = []
        sources: list[Hashable] = []
        for slot in batch.slots:
            try:
                length, source = self._socket.recvfrom_into(slot, MAX_DATAGRAM_BYTES)
            except OSError as error:
                if error.errno not in _TRANSIENT:
                    raise
                break
            lengths.append(length)
            sources.append(source)
            self._known[source] = (source[0], source[1])
        self.counters.received += len(lengths)
        self.counters.receive_calls += 1
        batch.lengths, batch.sources = lengths, sources
        batch.filled(len(lengths))
        return len(lengths)

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
            if len(part) <= segment_bytes:
                self.send(part, remote)
            elif self.way is _SEGMENTED:
                self._send_segmented(part, segment_bytes, remote)
            elif self.way is SendWay.MANY:
                self._send_many(part, segment_bytes, remote)
            else:
                self._send_each(part, segment_bytes, remote)

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
            if error.errno in (errno.EIO, errno.EINVAL, errno.ENOPROTOOPT, errno.EOPNOTSUPP, errno.EMSGSIZE):
                # A device without checksum offload, or an old kernel: do without from here on. Where it has worked,
                # EINVAL is about this run: its datagrams are longer than this way's MTU.
                if not (self._has_segmented and error.errno in (errno.EINVAL, errno.EMSGSIZE)):
                    self._fall_back(SendWay.MANY, f"sendmsg with UDP_SEGMENT says {errno.errorcode[error.errno]}")
                self._send_each(part, segment_bytes, remote)
            elif error.errno in _TRANSIENT:
                counters.send_errors += datagrams
            else:
                raise
        else:
            self._has_segmented = True
            counters.sent += datagrams

    def _send_many(self, part: memoryview, segment_bytes: int, remote: Address) -> None:
        """One `sendmmsg`: what a kernel without UDP_SEGMENT, or a device that cannot cut datagrams, still has."""
        name = self._name_of(remote)
        if _sendmmsg is None or name is None or part.readonly:
            self._send_each(part, segment_bytes, remote)
            return
        self._out_name[: len(name)] = name
        base, length, datagrams = ctypes.addressof(ctypes.c_char.from_buffer(part)), len(part), 0
        for start in range(0, length, segment_bytes):
            vector = self._out_vectors[datagrams]
            vector.base, vector.length = base + start, min(segment_bytes, length - start)
            self._out_messages[datagrams].header.name_length = len(name)
            datagrams += 1
        counters = self.counters
        counters.send_calls += 1
        sent = _sendmmsg(self._socket.fileno(), ctypes.addressof(self._out_messages), datagrams, MSG_DONTWAIT)
        if sent < 0:
            error = ctypes.get_errno()
            if error in (errno.ENOSYS, errno.EOPNOTSUPP):
                self._fall_back(SendWay.SINGLE, f"sendmmsg says {errno.errorcode[error]}")
                self._send_each(part, segment_bytes, remote)
                return
            if error not in _TRANSIENT:
                raise OSError(error, os.strerror(error))
            sent = 0
        counters.sent += sent
        counters.send_errors += datagrams - sent

    def _name_of(self, remote: Address) -> bytes | None:
        """The sockaddr of an address, None for one of the other family."""
        host, port = remote
        try:
            if self._ipv4:
                head = struct.pack("=H", socket.AF_INET) + port.to_bytes(2, "big")
                return head + socket.inet_pton(socket.AF_INET, host) + bytes(8)
            head = struct.pack("=H", socket.AF_INET6) + port.to_bytes(2, "big")
            return head + bytes(4) + socket.inet_pton(socket.AF_INET6, host) + bytes(4)
        except OSError:
            return None

    def _fall_back(self, way: SendWay, reason: str) -> None:
        """Slower, never wrong: from here on by another way, said once."""
        self.way = way
        self.fallbacks.append(reason)
        _LOG.warning("%s:%d sends packets %s from here on: %s", *self.address, way.value, reason)

    def _send_each(self, part: memoryview, segment_bytes: int, remote: Address) -> None:
        for start in range(0, len(part), segment_bytes):
            self.send(part[start : start + segment_bytes], remote)

    def close(self) -> None:
        """Close the socket; safe to call twice. Nobody may be waiting for it any more."""
        self._socket.close()


def describe_sending() -> str:
    """How runs of packets are received and sent on this machine, in words for people; tried on loopback."""
    receiving = "received one by one" if _recvmmsg is None else "received in batches (recvmmsg)"
    sockets = [UdpSocket("127.0.0.1", 0, buffer_bytes=1 << 16) for _ in range(2)]
    try:
        sockets[0].send_run(memoryview(bytes(64)), 32, sockets[1].address)
        sent = sockets[0].counters.send_calls == 1
    finally:
        for opened in sockets:
            opened.close()
    return f"{receiving}, sent {'in runs (UDP_SEGMENT)' if sent else 'one by one: the kernel does not cut runs'}"
