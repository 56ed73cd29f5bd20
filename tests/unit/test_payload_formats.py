"""Which codec has which payload format, and what all of them share."""

from __future__ import annotations

import pytest

from triortc.codecs.payload.formats import depacketizer_for, packetizer_for
from triortc.codecs.payload.splitting import even_chunks
from triortc.errors import ConfigurationError

FRAMES = {
    "VP8": bytes.fromhex("d002009d012a8002e001") + bytes(5000),
    "H264": b"\x00\x00\x00\x01\x65\x88" + b"\xaa" * 5000,
    "opus": b"\x78abc",
    "PCMU": b"\xff" * 160,
    "PCMA": b"\xd5" * 160,
}


@pytest.mark.parametrize("name", FRAMES)
def test_every_format_is_found_by_its_sdp_name_in_any_case(name: str) -> None:
    for spelled in (name, name.lower(), name.upper()):
        payloads = packetizer_for(spelled).packetize(FRAMES[name], 1200)
        depacketizer = depacketizer_for(spelled)
        assert depacketizer.depacketize(payloads) == FRAMES[name]
        assert depacketizer.is_frame_start(payloads[0])
        assert depacketizer.is_keyframe(payloads[0])
        assert depacketizer.depacketize([]) is None


def test_an_unknown_codec_raises_and_names_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match="vp8"):
        packetizer_for("theora")
    with pytest.raises(ConfigurationError, match="vp8"):
        depacketizer_for("theora")


@pytest.mark.parametrize("total", [1, 2, 7, 999, 1000, 1001, 12345])
@pytest.mark.parametrize("limit", [1, 3, 1000])
def test_chunks_are_few_even_and_without_gap(total: int, limit: int) -> None:
    chunks = even_chunks(total, limit)
    sizes = [end - start for start, end in chunks]
    assert sum(sizes) == total
    assert len(chunks) == -(-total // limit)
    assert max(sizes) - min(sizes) <= 1
    assert [start for start, _ in chunks[1:]] == [end for _, end in chunks[:-1]]
