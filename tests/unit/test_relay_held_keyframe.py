"""What is held of a leg that takes a call over: a whole keyframe, in order, and no more than a bound."""

from __future__ import annotations

from typing import cast

import pytest

from triortc.engine.relay.held_keyframe import MAX_HELD_BYTES, MAX_HELD_PACKETS, HeldKeyframe
from triortc.engine.rtp.header import SEQUENCE_NUMBER, RtpHeader
from triortc.engine.session.inbound import InboundStream

STREAM = cast(InboundStream, object())
OTHER = cast(InboundStream, object())


def add(
    held: HeldKeyframe,
    number: int,
    timestamp: int = 0,
    *,
    marker: bool = False,
    begins: bool = False,
    size: int = 10,
    stream: InboundStream = STREAM,
) -> int:
    header: RtpHeader = (marker, 96, number & 0xFFFF, timestamp, 7, 12, 0, 0, False)
    return held.add(stream, header, memoryview(bytes(12 + size)), memoryview(bytes(size)), begins=begins)


def numbers(held: HeldKeyframe) -> list[int]:
    return [packet.header[SEQUENCE_NUMBER] for packet in held.take()]


def test_a_keyframe_is_whole_with_its_marker_and_comes_out_in_order_across_the_wrap_of_numbers() -> None:
    held = HeldKeyframe()
    assert add(held, 65534, begins=True) == 0
    assert add(held, 0, marker=True) == 0
    assert not held.whole
    assert add(held, 65535) == 0
    assert held.whole
    assert add(held, 1, 3000, marker=True) == 0
    assert numbers(held) == [65534, 65535, 0, 1]
    assert len(held) == 0
    assert not held.whole


def test_nothing_is_held_before_a_keyframe_begins_nor_what_is_older_nor_twice() -> None:
    held = HeldKeyframe()
    assert add(held, 5, marker=True) == 1
    assert add(held, 6, begins=True) == 0
    assert add(held, 5) == 1
    assert add(held, 6, begins=True) == 1
    assert numbers(held) == [6]


def test_a_newer_keyframe_takes_the_place_of_an_older_one_and_a_late_older_one_does_not() -> None:
    held = HeldKeyframe()
    add(held, 1, begins=True, marker=True)
    add(held, 2, 3000)
    assert add(held, 3, 6000, begins=True) == 2
    assert not held.whole
    assert add(held, 1, begins=True) == 1
    assert add(held, 9, stream=OTHER) == 1
    assert add(held, 9, 77, begins=True, marker=True, stream=OTHER) == 1
    assert held.whole
    assert held.stream is OTHER


@pytest.mark.parametrize(("size", "count"), [(1000, MAX_HELD_BYTES // 1000), (0, MAX_HELD_PACKETS)])
def test_what_is_held_is_bounded(size: int, count: int) -> None:
    held = HeldKeyframe()
    add(held, 0, begins=True, size=size)
    for number in range(1, count):
        assert add(held, number, size=size) == 0
    assert add(held, count, size=size) == count + 1
    assert len(held) == 0
