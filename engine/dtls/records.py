"""DTLS records as far as they are visible from outside (RFC 6347 section 4.1)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

__all__ = [
    "CHANGE_CIPHER_SPEC",
    "HANDSHAKE",
    "RECORD_HEADER_BYTES",
    "content_type",
    "epoch",
    "pack_records",
    "split_records",
    "with_sequence_number",
]

RECORD_HEADER_BYTES: Final = 13  # type, version, epoch, sequence number, length
MAX_FRAGMENT_BYTES: Final = (1 << 14) + 2048  # RFC 5246 section 6.2.3

CHANGE_CIPHER_SPEC: Final = 20
HANDSHAKE: Final = 22
_CONTENT_TYPES: Final = range(20, 24)  # change_cipher_spec, alert, handshake, application_data
_MAJOR_VERSION: Final = 0xFE  # DTLS 1.0 and 1.2


def content_type(record: bytes) -> int:
    """The record's content type; readable in every epoch of DTLS 1.2."""
    return record[0]


def epoch(record: bytes) -> int:
    """The record's epoch: 0 until ChangeCipherSpec, and neither encrypted nor authenticated there."""
    return record[3] << 8 | record[4]


def with_sequence_number(record: bytes, sequence_number: int) -> bytes:
    """The same record under another number of its epoch."""
    return record[:5] + sequence_number.to_bytes(6, "big") + record[11:]


def split_records(data: bytes) -> tuple[list[bytes], int]:
    """Cut a datagram, or several written one behind the other, into records.

    Returns:
        The well-formed records from the beginning, and how many bytes behind them are none.
    """
    records: list[bytes] = []
    offset = 0
    while offset + RECORD_HEADER_BYTES <= len(data):
        length = data[offset + 11] << 8 | data[offset + 12]
        end = offset + RECORD_HEADER_BYTES + length
        if data[offset] not in _CONTENT_TYPES or data[offset + 1] != _MAJOR_VERSION:
            break
        if end > len(data) or length > MAX_FRAGMENT_BYTES:
            break
        records.append(data[offset:end])
        offset = end
    return records, len(data) - offset


def pack_records(records: Iterable[bytes], mtu_bytes: int) -> list[bytes]:
    """Fill datagrams of at most ``mtu_bytes`` with records, in order. A record that is longer travels alone."""
    datagrams: list[bytes] = []
    current = b""
    for record in records:
        if current and len(current) + len(record) > mtu_bytes:
            datagrams.append(current)
            current = b""
        current += record
    if current:
        datagrams.append(current)
    return datagrams
