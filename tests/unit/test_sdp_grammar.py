"""The text of session descriptions: what is read, what is kept, what is refused (RFC 8866, RFC 9429 section 5.8)."""

from __future__ import annotations

from typing import Any

import pytest

from support.sdp import browser_offer, make_offer, vectors
from triortc.engine.sdp.attributes import (
    ExtensionMap,
    RtcpFeedback,
    RtpMap,
    SsrcAttribute,
    SsrcGroup,
    StreamTrack,
    parse_bandwidth,
    parse_media_line,
)
from triortc.engine.sdp.configuration import SdpConfiguration
from triortc.engine.sdp.fingerprint import Fingerprint, format_fingerprint, parse_fingerprint
from triortc.engine.sdp.grammar import SessionDescription, parse
from triortc.engine.sdp.remembering import remembered
from triortc.errors import ConfigurationError, SdpError

ODDITIES = vectors("sdp_oddities.json")
JSEP = [vector for vector in vectors("sdp_jsep_examples.json")["vectors"] if "m_sections" in vector]
HEAD = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"


def oddity(name: str) -> SessionDescription:
    return parse(next(vector["sdp"] for vector in ODDITIES["vectors"] if vector["name"] == name))


def normalised(text: str) -> str:
    return "".join(line + "\r\n" for line in text.replace("\r\n", "\n").rstrip("\n").split("\n"))


@pytest.mark.parametrize("vector", ODDITIES["vectors"], ids=lambda vector: vector["name"])
def test_unusual_but_valid_descriptions_parse_without_loss(vector: dict[str, Any]) -> None:
    assert str(parse(vector["sdp"])) == normalised(vector["sdp"])


@pytest.mark.parametrize("vector", ODDITIES["refuse"], ids=lambda vector: vector["name"])
def test_malformed_descriptions_are_refused_with_the_number_of_the_line(vector: dict[str, Any]) -> None:
    with pytest.raises(SdpError, match=r"^line \d+: [a-z]"):
        parse(vector["sdp"])


@pytest.mark.parametrize("vector", JSEP, ids=lambda vector: vector["name"])
def test_rfc9429_7_examples_parse_without_loss(vector: dict[str, Any]) -> None:
    text = "\r\n".join(vector["lines"]) + "\r\n"
    description = parse(text)
    assert str(description) == text
    found = [[section.kind, section.mid, section.direction] for section in description.media]
    assert found == vector["m_sections"]


@pytest.mark.parametrize("browser", ["chromium156", "firefox153"])
def test_offers_of_browsers_parse_without_loss(browser: str) -> None:
    text = browser_offer(browser)
    assert str(parse(text)) == normalised(text)


def test_chromium_offer_reads_as_written() -> None:
    description = parse(browser_offer("chromium156"))
    audio, video = description.media
    assert description.origin.session_id == 1554817176582077610
    assert description.bundle_of("1") == ("0", "1")
    assert audio.media.port == 52795
    assert audio.rtpmaps[111] == RtpMap(111, "opus", 48000, 2)
    assert audio.fmtp["111"] == "minptime=10;useinbandfec=1"
    assert RtcpFeedback(96, "nack pli") in video.feedback
    assert ExtensionMap(13, "urn:3gpp:video-orientation", "sendrecv", "") in video.extensions
    assert video.ssrc_groups == (SsrcGroup("FID", (2233171733, 2607641528)),)
    assert video.ssrcs[0] == SsrcAttribute(2233171733, "cname", "KOseUEsoUDsfT//Z")
    assert audio.msid == StreamTrack("12c973a1-eda6-445a-97b6-467a03004297", "9b053811-e205-4bcc-b530-0d224fcc7673")
    assert [candidate.port for candidate in audio.candidates(10)[0]] == [52795, 46901, 9, 9]


def test_rfc8866_6_7_direction_is_that_of_the_section_then_of_the_session_then_sendrecv() -> None:
    description = make_offer("audio", "video", session=["a=recvonly"], replace=("a=mid:v", "a=mid:v\r\na=inactive"))
    audio, video = description.media
    assert description.direction_of(audio) == "recvonly"
    assert description.direction_of(video) == "inactive"
    plain = make_offer("audio")
    assert plain.direction_of(plain.media[0]) == "sendrecv"


def test_the_last_of_two_directions_counts() -> None:
    assert make_offer("audio", extra=["a=sendonly", "a=inactive", "a=recvonly"]).media[0].direction == "recvonly"


def test_rfc8839_5_credentials_of_the_session_are_inherited() -> None:
    description = oddity("session_level_transport")
    section = description.media[0]
    assert description.inherited(section, "ice-ufrag") == "abcd"
    assert description.inherited(section, "setup") == "active"
    assert len(description.fingerprints_of(section)) == 1
    assert description.ice_options == {"trickle", "ice2"}
    assert description.has("ice-lite")


def test_rfc3264_6_port_zero_disables_a_section_but_not_with_bundle_only() -> None:
    assert oddity("port_zero_rejected").media[0].refused
    assert [section.refused for section in oddity("bundle_only_port_zero").media] == [False, False]


def test_rfc8285_6_extensions_have_directions_and_attributes() -> None:
    section = oddity("extmap_direction_and_attributes").media[0]
    assert section.extensions == (
        ExtensionMap(4, "urn:example:x", "recvonly", "1 2 3"),
        ExtensionMap(4096, "urn:example:y", "sendrecv", ""),
    )


def test_rfc5576_a_cname_may_hold_colons_and_blanks() -> None:
    assert oddity("ssrc_group_and_cname_with_colon").media[0].ssrcs[0] == SsrcAttribute(1, "cname", "a:b c")


def test_rfc4585_4_2_a_wildcard_is_feedback_for_all_formats() -> None:
    assert oddity("rtcp_fb_wildcard").media[0].feedback == (RtcpFeedback(None, "nack pli"),)


def test_rfc8866_5_8_bandwidths_of_unknown_type_are_kept() -> None:
    assert oddity("bandwidth_unknown_type").media[0].bandwidths == {"X-YZ": 128, "TIAS": 64000}


def test_rfc8830_2_a_stream_may_come_without_a_track() -> None:
    assert oddity("msid_without_track").media[0].msid == StreamTrack("-", "")


def test_rfc8866_5_2_session_ids_may_have_64_bits() -> None:
    assert oddity("huge_session_id").origin.session_id == 2**64 - 1


def test_rfc8853_simulcast_lines_are_kept_as_they_are() -> None:
    section = oddity("rid_simulcast").media[0]
    assert section.values("rid") == ["h send pt=96;max-width=1280", "l send"]
    assert section.value("simulcast") == "send h;~l"


def test_malformed_candidates_are_skipped_and_counted() -> None:
    good = "a=candidate:1 1 udp 1 192.0.2.1 5000 typ host"
    section = make_offer("audio", extra=[good, "a=candidate:nonsense", good, good]).media[0]
    found, skipped = section.candidates(limit=2)
    assert (len(found), skipped) == (2, 2)


def test_the_first_of_two_rtpmaps_of_a_payload_type_counts() -> None:
    section = make_offer("video", extra=["a=rtpmap:96 VP9/90000", "a=fmtp:96 a=1", "a=fmtp:96 a=2"]).media[0]
    assert section.rtpmaps[96].name == "VP8"
    assert section.fmtp["96"] == "a=1"


@pytest.mark.parametrize(
    ("configuration", "words"),
    [
        (SdpConfiguration(max_bytes=100), "longer than 100 bytes"),
        (SdpConfiguration(max_lines=10), "line 11: there are too many lines"),
        (SdpConfiguration(max_sections=1), "too many media sections"),
    ],
)
def test_limits_bound_bytes_lines_and_sections(configuration: SdpConfiguration, words: str) -> None:
    with pytest.raises(SdpError, match=words):
        parse(browser_offer("chromium156"), configuration)


def test_the_byte_limit_counts_bytes_and_not_characters() -> None:
    text = HEAD + "a=x:" + "é" * 100
    parse(text, SdpConfiguration(max_bytes=len(text.encode())))
    with pytest.raises(SdpError, match="longer"):
        parse(text, SdpConfiguration(max_bytes=len(text.encode()) - 1))


def test_limits_that_make_no_sense_are_the_embedders_mistake() -> None:
    with pytest.raises(ConfigurationError, match="max_lines"):
        SdpConfiguration(max_lines=0)


@pytest.mark.parametrize(
    ("tail", "words"),
    [
        ("a=\r\n", "line 5: the attribute has no proper name"),
        ("a=:x\r\n", "line 5: the attribute has no proper name"),
        ("a=x:\ra=y\r\n", "line 5: a control character"),
        ("\r\na=x\r\n", "line 5"),
        ("a=x:\ud800\r\n", "not valid Unicode"),
        ("s=again\r\n", "line 3: the name of the session occurs more than once"),
        ("c=IN IP4\r\n", "line 5: the connection line"),
        ("b=AS\r\n", "line 5: a bandwidth line"),
        ("m=audio 9/0 RTP/AVP 0\r\n", "line 5: the number of ports"),
        ("m=audio ٩ RTP/AVP 0\r\n", "line 5: the port is not a number"),
        ("m=audio 9 RTP//AVP 0\r\n", "line 5: the media line has a malformed protocol"),
        ("m=audio 9 RTP/AVP 0\r\na=fmtp:0\r\n", "line 6: fmtp needs"),
        ("m=audio 9 RTP/AVP 0\r\na=extmap:0 urn:x\r\n", "line 6: the extension id"),
        ("m=audio 9 RTP/AVP 0\r\na=extmap:300 urn:x\r\n", "line 6: extmap has an id of the reserved range"),
        ("m=audio 9 RTP/AVP 0\r\na=extmap:1/both urn:x\r\n", "line 6: extmap has an unknown direction"),
        ("m=audio 9 RTP/AVP 0\r\na=extmap:1\r\n", "line 6: extmap needs"),
        ("m=audio 9 RTP/AVP 0\r\na=ssrc:4294967296 cname:x\r\n", "line 6: the SSRC"),
        ("m=audio 9 RTP/AVP 0\r\na=ssrc-group:\r\n", "line 6: the semantics"),
        ("m=audio 9 RTP/AVP 0\r\na=msid:a b c\r\n", "line 6: msid needs"),
        ("m=audio 9 RTP/AVP 0\r\na=rtcp-fb:0\r\n", "line 6: rtcp-fb needs"),
        ("m=audio 9 RTP/AVP 0\r\na=mid:a b\r\n", "line 6: the mid is malformed"),
        ("a=group:BUNDLE a a\r\nm=audio 9 RTP/AVP 0\r\na=mid:a\r\n", "line 5: a mid is in a BUNDLE group twice"),
    ],
)
def test_errors_say_what_is_wrong_in_which_line(tail: str, words: str) -> None:
    with pytest.raises(SdpError, match=words):
        parse(HEAD + tail)


@pytest.mark.parametrize("missing", [1, 2, 3])
def test_rfc9429_5_8_1_origin_name_and_time_are_required(missing: int) -> None:
    lines = HEAD.splitlines(keepends=True)
    del lines[missing]
    with pytest.raises(SdpError, match="is missing"):
        parse("".join(lines))


def test_rfc8866_5_14_formats_of_other_protocols_are_not_payload_types() -> None:
    line = parse_media_line("application 9 UDP/DTLS/SCTP webrtc-datachannel")
    assert line.formats == ("webrtc-datachannel",)
    assert parse_media_line("video 5000/2 RTP/AVP 96").port_count == 2


def test_bandwidth_values_are_bounded() -> None:
    assert parse_bandwidth("AS:500") == ("AS", 500)
    with pytest.raises(SdpError, match="bandwidth"):
        parse_bandwidth("AS:99999999999999999999")


def test_rfc8122_5_fingerprints_are_compared_without_case() -> None:
    fingerprint = parse_fingerprint("SHA-256 " + ":".join(["ab"] * 32))
    assert fingerprint == Fingerprint("sha-256", ":".join(["AB"] * 32))
    assert parse_fingerprint(format_fingerprint(fingerprint)) == fingerprint


@pytest.mark.parametrize("algorithm", ["sha-1", "md5", "md2", "sha-224", "x-new"])
def test_rfc8122_5_weak_and_unknown_hash_functions_do_not_count(algorithm: str) -> None:
    assert not Fingerprint(algorithm, "AB").strong


@pytest.mark.parametrize("value", ["", "sha-256", "sha-256 XY", "sha-256 ABCD", "sha-1 AB:CD", "é AB"])
def test_malformed_fingerprints_are_refused(value: str) -> None:
    with pytest.raises(SdpError):
        parse_fingerprint(value)


def test_what_short_lines_mean_is_remembered_within_bounds() -> None:
    read: list[str] = []

    def parse_line(value: str) -> str:
        read.append(value)
        return value.upper()

    parsed = remembered(parse_line)
    assert [parsed("opus"), parsed("opus"), parsed("x" * 1000), parsed("x" * 1000)] == ["OPUS"] * 2 + ["X" * 1000] * 2
    assert read == ["opus", "x" * 1000, "x" * 1000]
    for number in range(1000):
        parsed(f"stranger {number}")
    parsed("opus")
    assert read.count("opus") == 2
