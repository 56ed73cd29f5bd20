"""The load generator's own reading of frames (RFC 6455 section 5.2)."""

from __future__ import annotations

import pytest

from triortc.bench.signaling import _Line
from triortc.errors import TriortcError


def line(data: bytes) -> _Line:
    made = _Line(None)  # type: ignore[arg-type]  # nothing is read
    made._buffer = data
    return made


def test_rfc_6455_5_5_1_a_close_frame_says_why_instead_of_being_read_as_a_message() -> None:
    with pytest.raises(TriortcError, match=r"4008 flow\.slow_consumer"):
        line(b"\x88\x14" + (4008).to_bytes(2, "big") + b"flow.slow_consumer")._take()


@pytest.mark.parametrize("length", [0, 125, 126, 65535, 65536])
def test_rfc_6455_5_2_frames_of_every_length_are_read_whole_and_not_before(length: int) -> None:
    if length < 126:
        head = bytes((length,))
    else:
        head = b"\x7e" + length.to_bytes(2, "big") if length < 65536 else b"\x7f" + length.to_bytes(8, "big")
    frame = b"\x81" + head + bytes(length)
    assert line(frame[:-1])._take() is None
    assert line(frame + b"\x81")._take() == bytes(length)
