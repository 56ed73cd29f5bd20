"""RTCP against the vectors: reports, feedback, compounds, malformed packets, NTP times."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from triortc.engine.rtcp.ntp import compact_to_seconds, middle_32, ntp_to_unix, seconds_to_compact, unix_to_ntp
from triortc.engine.rtcp.packets import (
    MAXIMUM_PACKETS,
    ApplicationDefined,
    FullIntraRequest,
    GenericNack,
    Goodbye,
    PictureLossIndication,
    ReceiverEstimatedMaximumBitrate,
    ReceiverReport,
    ReportBlock,
    RtcpPacket,
    SdesChunk,
    SenderReport,
    SourceDescription,
    TransportFeedback,
    Unknown,
    build_compound,
    parse_compound,
)
from triortc.errors import ConfigurationError, RtpError

DIRECTORY = Path(__file__).parent.parent / "vectors"
RTCP = json.loads((DIRECTORY / "rtcp.json").read_text())
PACKETS = {vector["name"]: bytes.fromhex(vector["packet"]) for vector in RTCP["vectors"]}
NTP = json.loads((DIRECTORY / "ntp.json").read_text())["vectors"]

EXPECTED: dict[str, RtcpPacket] = {
    "sender_report": SenderReport(
        0x1111,
        0xB44DB70520000000,
        90000,
        100,
        120000,
        (ReportBlock(0x2222, 64, -2, 131071, 7, 3070590976, 344064),),
    ),
    "receiver_report_empty": ReceiverReport(0x3333),
    "sdes_cname": SourceDescription((SdesChunk(0x1111, ((1, b"a@b.c"),)),)),
    "bye_with_reason": Goodbye((1, 2), "bye"),
    "app": ApplicationDefined(5, 9, b"test", b"data"),
    "nack": GenericNack(0x3333, 0x1111, (100, 101, 116, 65535, 0, 1)),
    "pli": PictureLossIndication(0x3333, 0x1111),
    "fir_two_entries": FullIntraRequest(0x3333, ((0x1111, 7), (0x4444, 255))),
    "remb": ReceiverEstimatedMaximumBitrate(1, 6291424, (0x1111,)),
    "remb_two_ssrcs": ReceiverEstimatedMaximumBitrate(1, 250000, (5, 6)),
    "sli": Unknown(206, 2, bytes.fromhex("0000000100000002000800c4")),
}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_vectors_parse_to_the_expected_value_and_build_to_the_same_bytes(name: str) -> None:
    assert parse_compound(PACKETS[name]) == [EXPECTED[name]]
    assert build_compound([EXPECTED[name]]) == PACKETS[name]


@pytest.mark.parametrize("vector", [v for v in RTCP["vectors"] if "types" in v["expect"]], ids=lambda v: v["name"])
def test_compound_and_reduced_size_packets_parse_in_order(vector: dict[str, Any]) -> None:
    """RFC 3550 6.1, RFC 5506."""
    assert [packet.packet_type for packet in parse_compound(bytes.fromhex(vector["packet"]))] == vector["expect"][
        "types"
    ]


@pytest.mark.parametrize("vector", RTCP["malformed"], ids=lambda vector: vector["name"])
def test_malformed_vectors_raise_rtp_error(vector: dict[str, Any]) -> None:
    with pytest.raises(RtpError):
        parse_compound(bytes.fromhex(vector["packet"]))


@pytest.mark.parametrize(
    "packet",
    [
        "",
        "81c8000100001111",  # SR shorter than its sender information
        "80c90000",  # RR without SSRC
        "82cb000100000001",  # BYE with one of two sources
        "81cb00020000000109616263",  # BYE whose reason overruns
        "80cc000100000001",  # APP without name
        "81ca00010000000a",  # SDES chunk without its end
        "81ca0000",  # SDES without its chunk
        "81cd000100000001",  # NACK without media SSRC
        "84ce0003000000010000000000000001",  # FIR with half an entry
        "8fce00030000000100000000" + b"REMB".hex(),  # REMB without rate
    ],
)
def test_bodies_that_are_cut_off_raise_rtp_error(packet: str) -> None:
    with pytest.raises(RtpError):
        parse_compound(bytes.fromhex(packet))


def test_the_number_of_packets_in_a_datagram_is_bounded() -> None:
    one = PACKETS["receiver_report_empty"]
    assert len(parse_compound(one * MAXIMUM_PACKETS)) == MAXIMUM_PACKETS
    with pytest.raises(RtpError, match="more than"):
        parse_compound(one * (MAXIMUM_PACKETS + 1))


def test_a_nack_longer_than_a_datagram_is_refused() -> None:
    body = GenericNack(1, 2, tuple(range(0, 65536, 20))).build()[1]
    packet = bytes((0x81, 205)) + (len(body) // 4).to_bytes(2, "big") + body
    with pytest.raises(RtpError, match="NACK"):
        parse_compound(packet)


def test_a_nack_for_more_packets_than_anybody_misses_is_looked_at_so_far() -> None:
    everything = b"".join((17 * n & 0xFFFF).to_bytes(2, "big") + b"\xff\xff" for n in range(340))
    body = bytes(8) + everything
    (nack,) = parse_compound(bytes((0x81, 205)) + (len(body) // 4).to_bytes(2, "big") + body)
    assert isinstance(nack, GenericNack)
    assert nack.lost == tuple(range(len(nack.lost)))
    assert 1000 < len(nack.lost) <= 1024
    one_by_one = GenericNack(1, 2, tuple(range(0, 20 * 300, 20)))
    assert parse_compound(build_compound([one_by_one])) == [one_by_one]


def test_a_nack_whose_padding_reaches_into_an_entry_is_refused() -> None:
    with pytest.raises(RtpError, match="not whole"):
        parse_compound(bytes.fromhex("a1cd0004 00000001 00000002 00648001 00000003"))


def test_profile_specific_extensions_of_reports_are_skipped() -> None:
    """RFC 3550 6.4.3."""
    assert parse_compound(bytes.fromhex("80c9000200003333deadbeef")) == [ReceiverReport(0x3333)]


def test_sdes_with_several_chunks_and_items_survives_building() -> None:
    """RFC 3550 6.5: each chunk ends with null bytes at a 32-bit boundary."""
    chunks = tuple(SdesChunk(ssrc, ((1, b"x" * ssrc), (2, b"name"))) for ssrc in range(6))
    [parsed] = parse_compound(build_compound([SourceDescription(chunks)]))
    assert parsed == SourceDescription(chunks)
    assert chunks[3].cname == "xxx"
    assert SdesChunk(1, ((2, b"name"),)).cname is None
    assert SdesChunk(1, ((1, b"\xff"),)).cname is None


def test_application_layer_feedback_that_is_not_remb_stays_opaque() -> None:
    packet = Unknown(206, 15, bytes(8) + b"ELSE")
    assert parse_compound(build_compound([packet])) == [packet]


def test_remb_rounds_down_to_18_bits() -> None:
    [parsed] = parse_compound(build_compound([ReceiverEstimatedMaximumBitrate(1, 0x7FFFFFF, ())]))
    assert isinstance(parsed, ReceiverEstimatedMaximumBitrate)
    assert parsed.bitrate_bps == 0x3FFFF << 9


def test_what_cannot_be_built_is_the_embedders_mistake() -> None:
    feedback = TransportFeedback(1, 2, 0, 1, 0, 0, ((0, 1),))
    impossible: list[list[RtcpPacket]] = [
        [feedback, PictureLossIndication(1, 2)],
        [ReceiverReport(1, (ReportBlock(1, 0, 0, 0, 0, 0, 0),) * 32)],
        [ApplicationDefined(1, 2, b"abc")],
        [SourceDescription((SdesChunk(1, ((1, bytes(256)),)),))],
        [ReceiverEstimatedMaximumBitrate(1, 1 << 82, ())],
        [ReceiverEstimatedMaximumBitrate(1, -1, ())],
    ]
    for packets in impossible:
        with pytest.raises(ConfigurationError):
            build_compound(packets)


@pytest.mark.parametrize("vector", NTP, ids=lambda vector: str(vector["unix_s"]))
def test_ntp_times_of_the_vectors_in_both_eras(vector: dict[str, Any]) -> None:
    """RFC 3550 4, RFC 5905 6."""
    ntp = unix_to_ntp(vector["unix_s"])
    assert f"{ntp:016x}" == vector["ntp"]
    assert f"{middle_32(ntp):08x}" == vector["middle_32"]
    assert ntp_to_unix(ntp) == vector["unix_s"]


def test_durations_in_compact_ntp_are_clamped() -> None:
    assert seconds_to_compact(-1.0) == 0
    assert seconds_to_compact(5.25) == 0x54000
    assert seconds_to_compact(1e9) == 0xFFFFFFFF
    assert compact_to_seconds(0x62000) == 6.125
