"""Sequence and timestamp arithmetic, restarts (RFC 3550 A.1), and RTX payloads (RFC 4588)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from triortc.engine.rtp.header import parse_header
from triortc.engine.rtp.rtx import decapsulate, encapsulate
from triortc.engine.rtp.sequence import (
    SequenceTracker,
    SequenceUnwrapper,
    TimestampUnwrapper,
    sequence_difference,
    sequence_is_newer,
    timestamp_difference,
    timestamp_is_newer,
)

RTX = json.loads((Path(__file__).parent.parent / "vectors" / "rtx.json").read_text())["vectors"]


def test_differences_go_the_shorter_way_round() -> None:
    assert sequence_difference(2, 65534) == 4
    assert sequence_difference(65534, 2) == -4
    assert timestamp_difference(5, 0xFFFFFFFB) == 10
    assert timestamp_difference(0xFFFFFFFB, 5) == -10
    assert sequence_is_newer(0, 65535)
    assert not sequence_is_newer(65535, 0)
    assert not sequence_is_newer(7, 7)
    assert timestamp_is_newer(0, 0xFFFFFFFF)
    assert not timestamp_is_newer(0xFFFFFFFF, 0)


def test_unwrapped_numbers_rise_through_wraps_and_keep_the_order_of_late_ones() -> None:
    sequence = SequenceUnwrapper()
    assert [sequence.unwrap(n) for n in (65534, 65535, 1, 0, 65533, 2)] == [65534, 65535, 65537, 65536, 65533, 65538]
    assert [sequence.unwrap((65538 + n * 1000) & 0xFFFF) for n in range(200)][-1] == 65538 + 199_000
    timestamp = TimestampUnwrapper()
    assert [timestamp.unwrap(n) for n in (0xFFFFFF00, 0x100, 0xFFFFFF80)] == [0xFFFFFF00, 0x100000100, 0xFFFFFF80]


def test_a_gap_is_loss_and_a_late_packet_is_reordering() -> None:
    tracker = SequenceTracker()
    first = tracker.extend(65530)
    assert [tracker.extend(n) - first for n in (65531, 4, 65535, 2900)] == [1, 10, 5, 2906]
    assert tracker.restarts == 0


@pytest.mark.parametrize("restart_at", [40_000, 60_000, 900], ids=["forward", "far forward", "backward"])
def test_a_jump_is_dropped_once_and_taken_as_a_restart_when_the_next_number_follows(restart_at: int) -> None:
    """RFC 3550 A.1: two packets in sequence confirm a restart."""
    tracker = SequenceTracker()
    first = tracker.extend(5000)
    assert tracker.extend(restart_at) == -1
    confirmed = tracker.extend(restart_at + 1)
    assert confirmed > first + tracker.maximum_dropout
    assert confirmed & 0xFFFF == restart_at + 1
    assert tracker.extend(restart_at + 3) == confirmed + 2
    assert tracker.restarts == 1


def test_a_single_stray_number_changes_nothing() -> None:
    tracker = SequenceTracker()
    first = tracker.extend(100)
    assert tracker.extend(30_000) == -1
    assert tracker.extend(101) == first + 1
    assert tracker.extend(30_001) == -1
    assert tracker.extend(102) == first + 2
    assert tracker.restarts == 0


@pytest.mark.parametrize("vector", RTX, ids=lambda vector: vector["name"])
def test_rtx_vectors_restore_the_original_and_are_built_of_it(vector: dict[str, Any]) -> None:
    packet = bytes.fromhex(vector["rtx"])
    header = parse_header(packet)
    assert header is not None
    restored = decapsulate(header, packet[header[5] :], payload_type=96, ssrc=0x1111)
    if "original" not in vector:
        assert restored is None
        return
    assert restored is not None
    original = bytes.fromhex(vector["original"])
    original_header = parse_header(original)
    assert restored[0] == original_header
    assert bytes(restored[1]) == original[12:]
    built = encapsulate(
        original[:12],
        original[12:],
        payload_type=vector["rtx_payload_type"],
        sequence_number=vector["rtx_seq"],
        ssrc=vector["rtx_ssrc"],
    )
    assert b"".join(built) == packet


def test_padding_of_a_retransmission_is_not_part_of_the_original() -> None:
    header = parse_header(bytes.fromhex("a06101f40001e24000002222"))
    assert header is not None
    restored = decapsulate(header, b"\x00\x07media\x00\x00\x03", payload_type=96, ssrc=1)
    assert restored is not None
    assert (restored[0][2], restored[0][8], bytes(restored[1])) == (7, False, b"media")
    assert decapsulate(header, b"\x00\x07\x09", payload_type=96, ssrc=1) is None
