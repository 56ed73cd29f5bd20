"""Answers to offers of browsers and others (RFC 9429 section 5.3, RFC 3264, RFC 9143, RFC 8842)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from support.sdp import (
    ABS_SEND_TIME,
    AUDIO_LEVEL,
    FINGERPRINT,
    MID,
    ORIENTATION,
    PLAYOUT_DELAY,
    TRANSPORT_CC,
    answer,
    browser_offer,
    lines_of,
    make_media,
    make_offer,
    make_transport,
    vectors,
    video_of,
)
from triortc.codecs.registry import H264, OPUS, PCMA, VP8, VP9, with_parameters
from triortc.engine.sdp.grammar import parse
from triortc.engine.sdp.local import AnswerConstraints, LocalMedia, LocalTransport
from triortc.engine.sdp.negotiated import RejectedSection, SdpUnsupportedError
from triortc.engine.sdp.negotiation import create_answer
from triortc.errors import ConfigurationError, SdpError

JSEP = {vector["name"]: vector for vector in vectors("sdp_jsep_examples.json")["vectors"]}
ODDITIES = {vector["name"]: vector["sdp"] for vector in vectors("sdp_oddities.json")["vectors"]}
FEEDBACK = ("goog-remb", "transport-cc", "ccm fir", "nack", "nack pli")


TRANSPORT_LINES = [
    "a=ice-ufrag:oUrS",
    "a=ice-pwd:oUrSPassword0123456789",
    f"a=fingerprint:sha-256 {FINGERPRINT.value}",
    "a=setup:passive",
]


def test_chromium_offer_is_answered_line_by_line() -> None:
    description, _ = answer(browser_offer("chromium156"), session_version=3)
    assert [str(line) for line in description.lines] == [
        "v=0",
        "o=- 7 3 IN IP4 127.0.0.1",
        "s=-",
        "t=0 0",
        "a=group:BUNDLE 0 1",
        "a=ice-options:trickle ice2",
        "a=extmap-allow-mixed",
    ]
    assert lines_of(description, 0) == [
        "m=audio 40000 UDP/TLS/RTP/SAVPF 111 0 8",
        "c=IN IP4 192.0.2.1",
        "a=mid:0",
        "a=sendrecv",
        "a=rtpmap:111 opus/48000/2",
        "a=fmtp:111 minptime=10;useinbandfec=1",
        "a=rtcp-fb:111 transport-cc",
        "a=rtpmap:0 PCMU/8000",
        "a=rtpmap:8 PCMA/8000",
        f"a=extmap:1 {AUDIO_LEVEL}",
        f"a=extmap:4 {MID}",
        *TRANSPORT_LINES,
        "a=candidate:1 1 udp 2130706431 192.0.2.1 40000 typ host",
        "a=end-of-candidates",
        "a=rtcp-mux",
        "a=rtcp-rsize",
        "a=msid:stream a",
        "a=ssrc:11 cname:us",
    ]
    assert lines_of(description, 1) == [
        "m=video 40000 UDP/TLS/RTP/SAVPF 96 97 108 109",
        "c=IN IP4 192.0.2.1",
        "a=mid:1",
        "a=sendrecv",
        "a=rtpmap:96 VP8/90000",
        *(f"a=rtcp-fb:96 {value}" for value in FEEDBACK),
        "a=rtpmap:97 rtx/90000",
        "a=fmtp:97 apt=96",
        "a=rtpmap:108 H264/90000",
        "a=fmtp:108 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
        *(f"a=rtcp-fb:108 {value}" for value in FEEDBACK),
        "a=rtpmap:109 rtx/90000",
        "a=fmtp:109 apt=108",
        f"a=extmap:13 {ORIENTATION}",
        f"a=extmap:3 {TRANSPORT_CC}",
        f"a=extmap:4 {MID}",
        *TRANSPORT_LINES,
        "a=rtcp-mux",
        "a=rtcp-rsize",
        "a=msid:stream v",
        "a=ssrc-group:FID 21 22",
        "a=ssrc:21 cname:us",
        "a=ssrc:22 cname:us",
    ]


def test_chromium_offer_is_understood_attribute_by_attribute() -> None:
    _, negotiated = answer(browser_offer("chromium156"))
    assert (negotiated.remote_ufrag, negotiated.remote_password) == ("O936", "ddiBH4sOZI8Ownl3N85Zl53C")
    assert [item.value[:8] for item in negotiated.remote_fingerprints] == ["5B:CD:AD"]
    assert negotiated.dtls_role == "server"
    assert [(item.transport, item.port) for item in negotiated.remote_candidates] == [
        ("udp", 52795),
        ("udp", 46901),
        ("tcp", 9),
        ("tcp", 9),
    ]
    assert negotiated.transport_mid == "0"
    assert negotiated.remote_trickle
    assert not negotiated.end_of_candidates
    assert not negotiated.remote_ice_lite
    assert (negotiated.ice_restart, negotiated.dtls_restart, negotiated.rejected) == (False, False, ())
    audio, video = negotiated.media
    assert (audio.kind, audio.mid, audio.index, audio.direction) == ("audio", "0", 0, "sendrecv")
    assert (video.kind, video.mid, video.index, video.direction) == ("video", "1", 1, "sendrecv")
    assert audio.send
    assert audio.receive
    assert [(item.codec.name, item.payload_type, item.rtx_payload_type) for item in video.codecs] == [
        ("VP8", 96, 97),
        ("H264", 108, 109),
    ]
    assert video.codecs[0].feedback == frozenset(FEEDBACK)
    assert audio.codecs[0].feedback == {"transport-cc"}
    assert audio.codecs[1].feedback == frozenset()
    assert video.extensions == {ORIENTATION: 13, TRANSPORT_CC: 3, MID: 4}
    assert video.sendable_extensions == {ORIENTATION, TRANSPORT_CC, MID}
    assert (video.remote_ssrc, video.remote_rtx_ssrc) == (2233171733, 2607641528)
    assert video.remote_ssrcs == (2233171733, 2607641528)
    assert (audio.remote_ssrc, audio.remote_rtx_ssrc) == (1920689284, None)
    assert audio.remote_cname == "KOseUEsoUDsfT//Z"
    assert video.remote_stream_id == "12c973a1-eda6-445a-97b6-467a03004297"
    assert video.remote_track_id == "d62a1c78-0c0f-448c-9660-baa157571b1d"
    assert (audio.local_ssrc, video.local_ssrc, video.local_rtx_ssrc) == (11, 21, 22)
    assert audio.reduced_size
    assert video.codec_of(97) is video.codecs[0]
    assert video.codec_of(102) is None


def test_firefox_offer_is_understood_attribute_by_attribute() -> None:
    description, negotiated = answer(browser_offer("firefox153"))
    audio, video = negotiated.media
    assert [item.value[:8] for item in negotiated.remote_fingerprints] == ["A4:D4:04"]
    assert [(item.component, item.transport, item.port) for item in negotiated.remote_candidates] == [
        (1, "udp", 60842),
        (1, "tcp", 9),
    ]
    assert negotiated.end_of_candidates
    assert negotiated.remote_trickle
    assert [(item.codec.name, item.payload_type) for item in audio.codecs] == [("opus", 109), ("PCMU", 0), ("PCMA", 8)]
    assert audio.codecs[0].remote.parameters == {"maxplaybackrate": "48000", "stereo": "1", "useinbandfec": "1"}
    assert audio.codecs[0].codec.parameters == OPUS.parameters
    assert [(item.codec.name, item.payload_type, item.rtx_payload_type) for item in video.codecs] == [("VP8", 120, 124)]
    assert (video.remote_ssrc, video.remote_rtx_ssrc) == (2095431046, 3049766973)
    assert (audio.reduced_size, video.reduced_size) == (False, True)
    assert "a=rtcp-rsize" not in lines_of(description, 0)
    assert audio.remote_track_id == "{7b926e1c-4076-41a6-9e10-d525dfdf4783}"


def test_rfc8285_6_one_way_extensions_are_answered_turned_around() -> None:
    offer = parse(browser_offer("firefox153"))
    media = (LocalMedia("video", extensions=(PLAYOUT_DELAY, ABS_SEND_TIME)),)
    description, negotiated = answer(offer, media=media)
    assert f"a=extmap:6/sendonly {PLAYOUT_DELAY}" in lines_of(description, 1)
    assert video_of(negotiated).extensions == {ABS_SEND_TIME: 4, PLAYOUT_DELAY: 6}
    assert video_of(negotiated).sendable_extensions == {ABS_SEND_TIME, PLAYOUT_DELAY}
    turned = parse(browser_offer("firefox153").replace("6/recvonly", "6/sendonly"))
    assert video_of(answer(turned, media=media)[1]).sendable_extensions == {ABS_SEND_TIME}


@pytest.mark.parametrize("name", ["offer-A1", "offer-B1", "offer-B2", "offer-C1", "offer-C2"])
def test_rfc9429_7_offers_of_the_examples_are_answered(name: str) -> None:
    description, negotiated = answer("\r\n".join(JSEP[name]["lines"]))
    sections = JSEP[name]["m_sections"]
    accepted = [next((mid for kind, mid, _ in sections if kind == wanted), None) for wanted in ("audio", "video")]
    assert [media.mid for media in negotiated.media] == [mid for mid in accepted if mid]
    refused = [section.mid for section in description.media if section.media.port == 0]
    assert refused == [item.mid for item in negotiated.rejected]
    assert len(refused) + len(negotiated.media) == len(sections)
    assert str(parse(str(description))) == str(description)


def test_sections_of_other_kinds_and_further_ones_are_refused_in_place() -> None:
    description, negotiated = answer("\r\n".join(JSEP["offer-B2"]["lines"]))
    assert negotiated.rejected == (
        RejectedSection(1, "application", "d1", "application is not wanted here"),
        RejectedSection(3, "video", "v2", "another video section is accepted already"),
    )
    assert description.groups[0].mids == ("a1", "v1")
    first, *_ = description.media
    credentials = [str(line) for line in first.lines if line.value.startswith(("ice-", "fingerprint:", "setup:"))]
    assert len(credentials) == 4
    assert lines_of(description, 1) == [
        "m=application 0 UDP/DTLS/SCTP webrtc-datachannel",
        "c=IN IP4 0.0.0.0",
        "a=mid:d1",
        "a=inactive",
        *credentials,
    ]
    assert lines_of(description, 3)[-5:] == [*credentials, "a=rtcp-mux"]


def test_a_kind_that_is_not_wanted_is_refused() -> None:
    _, negotiated = answer(make_offer("audio", "video"), media=make_media()[:1])
    assert [item.mid for item in negotiated.media] == ["a"]
    assert negotiated.rejected == (RejectedSection(1, "video", "v", "video is not wanted here"),)


def test_plain_rtp_is_refused_and_a_later_secure_section_taken() -> None:
    text = str(make_offer("audio", "video")).replace("m=audio 9 UDP/TLS/RTP/SAVPF", "m=audio 9 RTP/AVP")
    _, negotiated = answer(text)
    assert [item.kind for item in negotiated.media] == ["video"]
    assert "not RTP over DTLS-SRTP" in negotiated.rejected[0].reason
    assert negotiated.transport_mid == "v"


@pytest.mark.parametrize("name", ["port_zero_rejected", "sctp", "text_media", "port_range", "rtpmap_static_missing"])
def test_offers_with_nothing_for_us_are_unsupported(name: str) -> None:
    with pytest.raises(SdpUnsupportedError, match="no media section is acceptable: "):
        answer(ODDITIES[name])


@pytest.mark.parametrize(
    ("ours", "theirs", "result"),
    [
        ("sendrecv", "sendrecv", "sendrecv"),
        ("sendrecv", "sendonly", "recvonly"),
        ("sendrecv", "recvonly", "sendonly"),
        ("sendrecv", "inactive", "inactive"),
        ("sendonly", "sendrecv", "sendonly"),
        ("sendonly", "sendonly", "inactive"),
        ("recvonly", "sendrecv", "recvonly"),
        ("recvonly", "recvonly", "inactive"),
        ("inactive", "sendrecv", "inactive"),
    ],
)
def test_rfc3264_6_1_directions(ours: str, theirs: str, result: str) -> None:
    description, negotiated = answer(make_offer("audio", extra=[f"a={theirs}"]), media=make_media(direction=ours))
    assert description.media[0].direction == result
    assert negotiated.media[0].direction == result
    assert negotiated.media[0].send == (result in ("sendrecv", "sendonly"))
    assert description.media[0].has("msid") == negotiated.media[0].send
    assert negotiated.media[0].local_ssrc == 11


def test_codecs_follow_our_preference_or_the_offerers() -> None:
    offer = make_offer("audio", replace=("SAVPF 111 0", "SAVPF 0 111"))
    ours, theirs = answer(offer)[1], answer(offer, prefer="remote")[1]
    assert [item.payload_type for item in ours.media[0].codecs] == [111, 0]
    assert [item.payload_type for item in theirs.media[0].codecs] == [0, 111]


def test_a_constraint_allows_its_codecs_only_in_its_order_and_promises_its_parameters() -> None:
    visitor = answer(browser_offer("firefox153"))[1]
    accepted = {item.kind: [codec.remote for codec in item.codecs] for item in visitor.media}
    description, negotiated = answer(browser_offer("chromium156"), constraints=AnswerConstraints(codecs=accepted))
    assert [item.codec.name for item in video_of(negotiated).codecs] == ["VP8"]
    assert description.media[0].fmtp["111"] == "maxplaybackrate=48000;stereo=1;useinbandfec=1"
    assert description.media[1].fmtp == {"96": "max-fs=12288;max-fr=60", "97": "apt=96"}
    reverse = AnswerConstraints(codecs={"video": (H264, VP8)})
    _, reordered = answer(browser_offer("chromium156"), constraints=reverse)
    assert [item.payload_type for item in video_of(reordered).codecs] == [108, 96]


def test_a_constraint_lowers_the_h264_level_that_is_promised() -> None:
    low = with_parameters(H264, {"packetization-mode": "1", "profile-level-id": "42e00d"})
    description, _ = answer(browser_offer("chromium156"), constraints=AnswerConstraints(codecs={"video": [low]}))
    assert description.media[1].fmtp["108"] == "packetization-mode=1;profile-level-id=42e00d"


def test_a_constraint_without_common_codec_refuses_the_section() -> None:
    constraints = AnswerConstraints(codecs={"video": [VP9]})
    _, negotiated = answer(browser_offer("chromium156"), constraints=constraints)
    assert [item.kind for item in negotiated.media] == ["audio"]
    [rejected] = negotiated.rejected
    assert (rejected.index, rejected.kind, rejected.mid) == (1, "video", "1")
    assert rejected.reason.endswith("; taken here: VP9 (profile-id=0)")
    with pytest.raises(SdpUnsupportedError, match="no common codec"):
        answer(make_offer("audio"), constraints=AnswerConstraints(codecs={"audio": [PCMA]}))


def test_rfc6184_8_2_2_a_refusal_says_which_formats_were_offered_and_which_are_taken() -> None:
    """Of a list as Safari's without VP8: other profiles and the other packetization mode are other formats."""
    extra = [
        *("a=rtpmap:98 H264/90000", "a=fmtp:98 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=640c1f"),
        *("a=rtpmap:35 H264/90000", "a=fmtp:35 level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42e01f"),
    ]
    offer = make_offer("audio", "video", extra=extra, replace=("SAVPF 96", "SAVPF 98 35 97"))
    _, negotiated = answer(offer)
    assert negotiated.rejected == (
        RejectedSection(
            1,
            "video",
            "v",
            "the video section has no common codec: offered are"
            " H264 (packetization-mode=1, profile-level-id=640c1f),"
            " H264 (packetization-mode=0, profile-level-id=42e01f);"
            " taken here: VP8, H264 (packetization-mode=1, profile-level-id=42e01f)",
        ),
    )


def test_a_refusal_repeats_little_of_what_a_stranger_wrote() -> None:
    extra = [f"a=rtpmap:{number} {number}{'X' * 500}/90000" for number in range(96, 127)]
    offer = make_offer("video", replace=("SAVPF 96", "SAVPF " + " ".join(str(number) for number in range(96, 127))))
    text = str(offer).replace("a=rtpmap:96 VP8/90000\r\n", "\r\n".join(extra) + "\r\n")
    with pytest.raises(SdpUnsupportedError, match="no common codec") as refusal:
        answer(text)
    assert len(str(refusal.value)) < 700
    nothing = make_offer("video", replace=("a=rtpmap:96 VP8/90000", "a=x"))
    with pytest.raises(SdpUnsupportedError, match="offered are nothing with a known meaning"):
        answer(nothing)


def test_a_kind_that_can_be_transcoded_is_answered_freely_where_nothing_is_common_and_only_there() -> None:
    constraints = AnswerConstraints(codecs={"video": [VP9], "audio": [PCMA]}, else_any=("video", "audio"))
    _, negotiated = answer(browser_offer("chromium156"), constraints=constraints)
    chosen = {media.kind: [entry.codec.name for entry in media.codecs] for media in negotiated.media}
    assert chosen["audio"] == ["PCMA"]
    assert "VP8" in chosen["video"]


def test_a_constraint_limits_extensions() -> None:
    constraints = AnswerConstraints(extensions={"video": {MID}})
    _, negotiated = answer(browser_offer("chromium156"), constraints=constraints)
    assert video_of(negotiated).extensions == {MID: 4}
    assert set(negotiated.media[0].extensions) == {AUDIO_LEVEL, MID}


def test_codecs_of_the_table_that_are_not_default_can_be_asked_for() -> None:
    _, negotiated = answer(browser_offer("chromium156"), media=[LocalMedia("video", codecs=[VP9, VP8])])
    assert [item.payload_type for item in video_of(negotiated).codecs] == [98, 96]


def test_rfc4588_rtx_is_answered_only_where_both_want_it() -> None:
    offer = browser_offer("chromium156")
    description, negotiated = answer(offer, media=make_media(rtx=False))
    assert [item.rtx_payload_type for item in video_of(negotiated).codecs] == [None, None]
    assert video_of(negotiated).local_rtx_ssrc is None
    assert description.media[1].media.formats == ("96", "108")
    assert not description.media[1].has("ssrc-group")
    assert video_of(answer(make_offer("video"))[1]).codecs[0].rtx_payload_type is None


def test_rfc4585_4_2_wildcard_feedback_is_for_all_formats() -> None:
    description, negotiated = answer(ODDITIES["rtcp_fb_wildcard"])
    assert video_of(negotiated).codecs[0].feedback == {"nack pli"}
    assert description.media[0].values("rtcp-fb") == ["96 nack pli"]


def test_rfc5761_4_payload_types_that_look_like_rtcp_are_not_taken() -> None:
    assert not answer(make_offer("audio", replace=("111", "72")))[1].media[0].codec_of(72)


def test_rfc9143_9_1_a_payload_type_of_the_bundle_has_one_meaning() -> None:
    offer = make_offer("audio", "video", replace=("96", "111"))
    _, negotiated = answer(offer)
    assert [item.kind for item in negotiated.media] == ["audio"]


def test_rfc9143_an_extension_id_of_the_bundle_has_one_meaning() -> None:
    text = str(make_offer("audio", "video"))
    text = text.replace("a=mid:a", f"a=mid:a\r\na=extmap:1 {MID}").replace(
        "a=mid:v", f"a=mid:v\r\na=extmap:1 {ORIENTATION}\r\na=extmap:2 {TRANSPORT_CC}"
    )
    assert video_of(answer(text)[1]).extensions == {TRANSPORT_CC: 2}


def test_rfc8285_4_3_ids_over_14_need_mixed_header_forms() -> None:
    extra = [f"a=extmap:20 {ORIENTATION}", f"a=extmap:4097 {MID}", f"a=extmap:3 {TRANSPORT_CC}", "a=extmap:3 urn:x"]
    assert video_of(answer(make_offer("video", extra=extra))[1]).extensions == {TRANSPORT_CC: 3}
    mixed = answer(make_offer("video", session=["a=extmap-allow-mixed"], extra=extra))
    assert video_of(mixed[1]).extensions == {ORIENTATION: 20, TRANSPORT_CC: 3}
    assert mixed[0].has("extmap-allow-mixed")


def test_limits_of_bandwidth_and_packet_duration_are_reported() -> None:
    text = str(make_offer("audio", extra=["a=ptime:20", "a=maxptime:60"])).replace(
        "c=IN IP4 0.0.0.0", "c=IN IP4 0.0.0.0\r\nb=AS:500"
    )
    media = answer(text)[1].media[0]
    assert (media.remote_max_bitrate_bps, media.ptime_ms, media.maxptime_ms) == (500_000, 20, 60)
    assert answer(ODDITIES["bandwidth_unknown_type"])[1].media[0].remote_max_bitrate_bps == 64_000


def test_our_bandwidth_limit_stands_before_the_attributes() -> None:
    description, _ = answer(make_offer("audio"), media=make_media(max_bitrate_bps=64_000))
    assert lines_of(description, 0)[2] == "b=TIAS:64000"


def test_a_renegotiation_changes_directions_and_nothing_else() -> None:
    offer = browser_offer("chromium156")
    _, first = answer(offer)
    again, second = answer(offer.replace("a=sendrecv", "a=inactive"), previous=first, session_version=2)
    assert [item.direction for item in second.media] == ["inactive", "inactive"]
    assert replace(second, media=first.media) == first
    assert again.origin.session_version == 2


def test_mistakes_of_the_embedder_are_told_at_once() -> None:
    offer = make_offer("audio")
    with pytest.raises(ConfigurationError, match="at most one LocalMedia"):
        answer(offer, media=[LocalMedia("audio"), LocalMedia("audio")])
    with pytest.raises(ConfigurationError, match="session_id"):
        create_answer(offer, make_transport(), make_media(), session_id=2**63)
    with pytest.raises(ConfigurationError, match="fingerprint"):
        LocalTransport("abcd", "p" * 22, [])
    with pytest.raises(ConfigurationError, match="at least one codec"):
        LocalMedia("audio", codecs=[])
    with pytest.raises(ConfigurationError, match="another kind"):
        LocalMedia("audio", codecs=[VP8])


def test_our_answers_are_read_back_as_they_are_written() -> None:
    for browser in ("chromium156", "firefox153"):
        description, _ = answer(browser_offer(browser))
        assert parse(str(description)) == description


def test_unsupported_offers_are_sdp_errors() -> None:
    assert issubclass(SdpUnsupportedError, SdpError)
