"""RTP headers and extensions against the vectors, and what the builders make of them (RFC 3550 5.1, RFC 8285)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from triortc.engine.rtp.extensions import (
    build_extensions,
    elements,
    find_element,
    format_abs_send_time,
    format_audio_level,
    format_identifier,
    format_playout_delay_ms,
    format_transport_sequence_number,
    format_video_orientation,
    parse_abs_send_time,
    parse_audio_level,
    parse_identifier,
    parse_playout_delay_ms,
    parse_transport_sequence_number,
    parse_video_orientation,
)
from triortc.engine.rtp.header import build_header, csrcs, parse_header, payload_length
from triortc.errors import ConfigurationError

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "rtp_headers_and_extensions.json").read_text())


def by_name(key: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("vector", VECTORS[key], ids=lambda vector: vector["name"])


def known(extension: str) -> list[dict[str, Any]]:
    return [vector for vector in VECTORS["known_values"] if vector["extension"] == extension]


@by_name("headers")
def test_headers_and_padding_of_the_vectors(vector: dict[str, Any]) -> None:
    packet = bytes.fromhex(vector["packet"])
    header = parse_header(packet)
    payload = b"" if header is None else packet[header[5] :]
    length = -1 if header is None else payload_length(payload, header[8])
    if isinstance(vector["expect"], str):
        assert length == -1
        return
    assert header is not None
    assert payload[:length].hex() == vector["expect"]["payload"]
    assert len(payload) - length == vector["expect"].get("padding", 0)
    assert len(csrcs(packet)) == vector["expect"].get("csrc_count", 0)


@by_name("vectors")
def test_extension_elements_of_the_vectors(vector: dict[str, Any]) -> None:
    packet = bytes.fromhex(vector["packet"])
    header = parse_header(packet)
    assert header is not None
    assert header[1:5] == (96, 1000, 90000, 0x11223344) or header[2:5] == (1000, 90000, 0x11223344)
    assert header[7] == int(vector["profile"], 16)
    assert packet[header[6] : header[5]].hex() == vector["extension_block"]
    assert packet[header[5] :].hex() == vector["payload"]
    found = {str(name): packet[at : at + length].hex() for name, at, length in elements(packet, header)}
    assert found == (vector["expect"] or {})


@by_name("vectors")
def test_what_is_built_of_a_vectors_elements_reads_the_same(vector: dict[str, Any]) -> None:
    pairs = [(int(name), bytes.fromhex(value)) for name, value in (vector["expect"] or {}).items()]
    built = build_header(
        payload_type=96,
        sequence_number=7,
        timestamp=8,
        ssrc=9,
        marker=True,
        csrcs=[5, 6],
        extension=build_extensions(pairs),
    )
    header = parse_header(built + b"payload")
    assert header is not None
    assert header[:6] == (True, 96, 7, 8, 9, len(built))
    assert csrcs(built) == (5, 6)
    assert [(name, built[at : at + length]) for name, at, length in elements(built, header)] == pairs
    for name, value in pairs:
        at, length = find_element(built, header, name) or (0, 0)
        assert built[at : at + length] == value
    assert find_element(built, header, 13) is None


def test_a_view_parses_as_bytes_do() -> None:
    packet = build_header(
        payload_type=0, sequence_number=1, timestamp=2, ssrc=3, extension=build_extensions([(1, b"a")])
    )
    assert parse_header(memoryview(packet)) == parse_header(packet) == parse_header(bytearray(packet))


def test_one_byte_form_is_chosen_only_when_every_element_fits_it() -> None:
    """RFC 8285 4.1.2."""
    assert build_extensions([]) == b""
    assert build_extensions([(1, b"a"), (14, bytes(16))])[:2] == b"\xbe\xde"
    assert build_extensions([(1, b"a"), (15, b"b")])[:2] == b"\x10\x00"
    assert build_extensions([(1, b"")])[:2] == b"\x10\x00"
    assert build_extensions([(1, bytes(17))])[:2] == b"\x10\x00"


@pytest.mark.parametrize("pair", [(0, b"a"), (256, b"a"), (-1, b"a"), (1, bytes(256))])
def test_an_element_that_fits_no_form_is_the_embedders_mistake(pair: tuple[int, bytes]) -> None:
    with pytest.raises(ConfigurationError):
        build_extensions([pair])


def test_impossible_header_fields_are_the_embedders_mistake() -> None:
    with pytest.raises(ConfigurationError, match="payload_type"):
        build_header(payload_type=128, sequence_number=0, timestamp=0, ssrc=0)
    with pytest.raises(ConfigurationError, match="CSRC"):
        build_header(payload_type=0, sequence_number=0, timestamp=0, ssrc=0, csrcs=range(16))
    with pytest.raises(ConfigurationError, match="build_extensions"):
        build_header(payload_type=0, sequence_number=0, timestamp=0, ssrc=0, extension=b"abc")


def test_padding_without_payload_is_malformed() -> None:
    assert payload_length(b"", True) == -1
    assert payload_length(b"", False) == 0


@pytest.mark.parametrize("vector", known("abs-send-time"))
def test_abs_send_time_is_6_18_fixed_point_seconds(vector: dict[str, Any]) -> None:
    value = bytes.fromhex(vector["value"])
    assert format_abs_send_time(vector["seconds"]) == value
    assert parse_abs_send_time(value) == pytest.approx(vector["seconds"] % 64, abs=1 / (1 << 18))


@pytest.mark.parametrize("vector", known("ssrc-audio-level"))
def test_audio_level_rfc6464(vector: dict[str, Any]) -> None:
    value = bytes.fromhex(vector["value"])
    assert parse_audio_level(value) == (vector["voice"], vector["level_dbov"])
    assert format_audio_level(vector["voice"], vector["level_dbov"]) == value


@pytest.mark.parametrize("vector", known("video-orientation"))
def test_video_orientation_3gpp_26_114(vector: dict[str, Any]) -> None:
    value = bytes.fromhex(vector["value"])
    expected = vector["camera_back"], vector["flip"], vector["rotation"]
    assert parse_video_orientation(value) == expected
    assert format_video_orientation(*expected) == value


@pytest.mark.parametrize("vector", known("playout-delay"))
def test_playout_delay_is_two_counts_of_10_ms(vector: dict[str, Any]) -> None:
    value = bytes.fromhex(vector["value"])
    assert parse_playout_delay_ms(value) == (vector["min_ms"], vector["max_ms"])
    assert format_playout_delay_ms(vector["min_ms"], vector["max_ms"]) == value


def test_transport_sequence_number_takes_version_2_of_the_extension_too() -> None:
    assert [parse_transport_sequence_number(bytes.fromhex(v["value"])) for v in known("transport-wide-cc")] == [65535]
    assert parse_transport_sequence_number(bytes.fromhex("00010000")) == 1
    assert format_transport_sequence_number(65536) == b"\x00\x00"


def test_identifiers_are_ascii() -> None:
    assert parse_identifier(format_identifier("video0")) == "video0"
    assert parse_identifier(b"\xff") is None
    assert parse_identifier(b"") is None
    for wrong in ("", "é", "x" * 256):
        with pytest.raises(ConfigurationError):
            format_identifier(wrong)


def test_values_of_a_wrong_length_are_none() -> None:
    assert parse_abs_send_time(b"ab") is None
    assert parse_transport_sequence_number(b"a") is None
    assert parse_audio_level(b"") is None
    assert parse_video_orientation(b"") is None
    assert parse_playout_delay_ms(b"ab") is None


def test_a_rotation_that_is_no_quarter_turn_is_the_embedders_mistake() -> None:
    with pytest.raises(ConfigurationError, match="rotation"):
        format_video_orientation(False, False, 45)


def test_rfc_8285_4_2_an_element_of_id_0_with_a_length_ends_the_block() -> None:
    """What lies before it counts, what lies behind it does not; bytes of zero are padding still."""
    packet = bytes.fromhex("906003e800015f9011223344bede0002" + "0010aa01bbcc20dd")
    header = parse_header(packet)
    assert header is not None
    assert [(found, packet[at : at + length].hex()) for found, at, length in elements(packet, header)] == [(1, "aa")]
    assert find_element(packet, header, 1) == (18, 1)
    assert find_element(packet, header, 2) is None


def test_looking_for_an_element_stops_where_reading_them_stops() -> None:
    """RFC 8285 4.2: nothing behind id 15 or an element that overruns counts."""
    for block in ("f0bb20cc", "10aa27bb", "00000000"):
        packet = bytes.fromhex("906003e800015f9011223344bede0001" + block)
        header = parse_header(packet)
        assert header is not None
        assert find_element(packet, header, 2) is None
    two_byte = bytes.fromhex("906003e800015f9011223344100000010203aabb")
    header = parse_header(two_byte)
    assert header is not None
    assert list(elements(two_byte, header)) == []  # three bytes claimed, two there
    plain = build_header(payload_type=0, sequence_number=0, timestamp=0, ssrc=0)
    assert find_element(plain, parse_header(plain) or header, 1) is None
