"""Our offers, and the answers to them (RFC 9429 sections 5.2 and 5.11, RFC 3264 section 8)."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from aiortc.sdp import SessionDescription as SecondReader

from support.sdp import (
    AUDIO_LEVEL,
    FINGERPRINT,
    MID,
    ORIENTATION,
    TRANSPORT_CC,
    browser_offer,
    lines_of,
    make_media,
    make_transport,
    vectors,
)
from triortc.codecs.registry import AV1, H264, PCMA, VP8, VP9, Codec
from triortc.engine.sdp.configuration import SdpConfiguration
from triortc.engine.sdp.grammar import SessionDescription, parse
from triortc.engine.sdp.local import LocalMedia
from triortc.engine.sdp.negotiated import SdpUnsupportedError
from triortc.engine.sdp.negotiation import apply_answer, create_answer, create_offer
from triortc.engine.sdp.outcome import Exchange, conclude
from triortc.errors import ConfigurationError, SdpError

JSEP = {vector["name"]: vector for vector in vectors("sdp_jsep_examples.json")["vectors"]}
THEIRS = make_transport("tHeM")


def offer(**arguments: Any) -> SessionDescription:
    return create_offer(make_transport(), arguments.pop("media", make_media()), 7, 1, **arguments)


def answer_text(description: SessionDescription, **arguments: Any) -> str:
    return str(create_answer(description, THEIRS, arguments.pop("media", make_media()), session_id=9, **arguments)[0])


def test_an_offer_is_written_line_by_line() -> None:
    description = offer()
    assert [str(line) for line in description.lines[4:]] == [
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
        "a=rtcp-fb:0 transport-cc",
        "a=rtpmap:8 PCMA/8000",
        "a=rtcp-fb:8 transport-cc",
        f"a=extmap:1 {MID}",
        f"a=extmap:2 {AUDIO_LEVEL}",
        "a=ice-ufrag:oUrS",
        "a=ice-pwd:oUrSPassword0123456789",
        f"a=fingerprint:sha-256 {FINGERPRINT.value}",
        "a=setup:actpass",
        "a=candidate:1 1 udp 2130706431 192.0.2.1 40000 typ host",
        "a=end-of-candidates",
        "a=rtcp-mux",
        "a=rtcp-mux-only",
        "a=rtcp-rsize",
        "a=msid:stream a",
        "a=ssrc:11 cname:us",
    ]
    video = description.media[1]
    assert lines_of(description, 1)[0] == "m=video 9 UDP/TLS/RTP/SAVPF 96 97 98 99"
    assert video.values("candidate") == ()
    assert [(entry.id, entry.uri) for entry in video.extensions] == [(1, MID), (3, TRANSPORT_CC), (4, ORIENTATION)]
    assert parse(str(description)) == description


def test_our_own_answer_to_our_offer_agrees_on_both_sides() -> None:
    description = offer()
    answer, theirs = create_answer(description, THEIRS, make_media(ssrc=31, rtx_ssrc=32, cname="them"), session_id=9)
    ours = apply_answer(description, parse(str(answer)))
    assert (ours.dtls_role, theirs.dtls_role) == ("client", "server")
    assert (ours.remote_ufrag, theirs.remote_ufrag) == ("tHeM", "oUrS")
    assert ours.end_of_candidates
    assert [candidate.port for candidate in ours.remote_candidates] == [40000]
    for mine, other in zip(ours.media, theirs.media, strict=True):
        assert [(c.payload_type, c.rtx_payload_type) for c in mine.codecs] == [
            (c.payload_type, c.rtx_payload_type) for c in other.codecs
        ]
        assert [c.feedback for c in mine.codecs] == [c.feedback for c in other.codecs]
        assert [c.codec for c in mine.codecs] == [c.remote for c in other.codecs]
        assert mine.extensions == other.extensions
        assert (mine.remote_ssrc, mine.local_ssrc) == (other.local_ssrc, other.remote_ssrc)
        assert (mine.remote_rtx_ssrc, mine.local_rtx_ssrc) == (other.local_rtx_ssrc, other.remote_rtx_ssrc)
        assert (mine.mid, mine.index, mine.direction) == (other.mid, other.index, other.direction)


@pytest.mark.parametrize("which", ["offer", "answer to chromium156", "answer to firefox153"])
def test_a_second_reader_understands_our_descriptions(which: str) -> None:
    if which == "offer":
        description = offer()
    else:
        peer = parse(browser_offer(which.removeprefix("answer to ")))
        description, _ = create_answer(peer, make_transport(), make_media(), session_id=7)
    read = SecondReader.parse(str(description))
    assert read.group[0].items == ["0", "1"]
    for section, ours in zip(read.media, description.media, strict=True):
        assert section.kind == ours.kind
        assert section.rtp.muxId == ours.mid
        assert section.direction == "sendrecv"
        assert section.rtcp_mux
        assert section.ice is not None
        assert section.dtls is not None
        assert section.ice.usernameFragment == "oUrS"
        assert section.dtls.fingerprints[0].value == FINGERPRINT.value
        assert section.dtls.role == ("auto" if which == "offer" else "server")
        assert [codec.payloadType for codec in section.rtp.codecs] == [int(item) for item in ours.media.formats]
        assert {item.uri: item.id for item in section.rtp.headerExtensions} == {e.uri: e.id for e in ours.extensions}
        assert section.ssrc[0].cname == "us"
    assert read.media[0].ice_candidates[0].port == 40000
    assert read.media[1].ssrc_group[0].items == [21, 22]
    assert [str(item) for item in read.media[1].rtp.codecs[0].rtcpFeedback] != []


@pytest.mark.parametrize("pair", ["A1", "B1", "B2", "C1", "C2"])
def test_rfc9429_7_pairs_of_the_examples_agree_seen_from_both_sides(pair: str) -> None:
    texts = ["\r\n".join(JSEP[f"{kind}-{pair}"]["lines"]) for kind in ("offer", "answer")]
    asked = parse(texts[0])
    # The data channel of the examples is not ours to have: as if it had been refused.
    given = parse(re.sub(r"m=application \d+", "m=application 0", texts[1]))
    views = [
        conclude(asked, given, Exchange(local_offers, (), {}, None, SdpConfiguration()))
        for local_offers in (True, False)
    ]
    offerer, answerer = views
    assert {offerer.dtls_role, answerer.dtls_role} == {"client", "server"}
    assert offerer.remote_ufrag == given.media[0].value("ice-ufrag")
    assert answerer.remote_ufrag == asked.media[0].value("ice-ufrag")
    assert offerer.transport_mid == "a1"
    for mine, other in zip(offerer.media, answerer.media, strict=True):
        assert [c.payload_type for c in mine.codecs] == [c.payload_type for c in other.codecs]
        assert mine.send == other.receive
        assert mine.extensions == other.extensions


def test_a_renegotiated_offer_keeps_places_mids_and_numbers() -> None:
    first = parse(browser_offer("chromium156"))
    local, _ = create_answer(first, make_transport(), make_media(), session_id=7)
    again = create_offer(make_transport(), make_media(), 7, 2, previous_local=local, previous_remote=first)
    assert [section.mid for section in again.media] == ["0", "1"]
    # The offerer's numbers for VP8 and for constrained baseline, not those that a first offer would have.
    assert again.media[1].media.formats == ("96", "97", "108", "109")
    assert {entry.uri: entry.id for entry in again.media[1].extensions} == {MID: 4, TRANSPORT_CC: 3, ORIENTATION: 13}
    assert again.media[1].media.port == again.media[0].media.port == 40000
    assert again.origin.session_version == 2


def test_rfc3264_8_3_2_new_codecs_do_not_take_numbers_that_had_a_meaning() -> None:
    first = parse(browser_offer("chromium156"))
    local, _ = create_answer(first, make_transport(), make_media(), session_id=7)
    media = [LocalMedia("video", codecs=[VP8, Codec("video", "NEW", 90000, payload_type=98)])]
    again = create_offer(make_transport(), media, 7, 2, previous_local=local, previous_remote=first)
    taken = {int(number) for section in first.media for number in section.media.formats}
    new = next(number for number, entry in again.media[1].rtpmaps.items() if entry.name == "NEW")
    assert new not in taken


def test_sections_that_are_no_longer_wanted_are_disabled_in_place() -> None:
    before = offer()
    again = offer(media=make_media()[1:], previous_local=before)
    assert lines_of(again, 0)[0] == "m=audio 0 UDP/TLS/RTP/SAVPF 111 0 8"
    assert again.media[1].mid == "1"
    assert again.groups[0].mids == ("1",)
    assert again.media[1].values("candidate") != ()
    for section in SecondReader.parse(str(again)).media:  # aiortc takes no offer that leaves these out
        assert section.ice is not None
        assert section.ice.usernameFragment
        assert section.dtls is not None
        assert section.dtls.fingerprints
        assert [codec.name for codec in section.rtp.codecs]


def test_sections_that_come_anew_stand_behind_the_others() -> None:
    before = offer(media=make_media()[1:])
    again = offer(previous_local=before)
    assert [(section.kind, section.mid) for section in again.media] == [("video", "0"), ("audio", "1")]


def test_refused_sections_of_the_peer_keep_their_place_in_our_offer() -> None:
    first = parse("\r\n".join(JSEP["offer-B2"]["lines"]))
    local, _ = create_answer(first, make_transport(), make_media(), session_id=7)
    again = create_offer(make_transport(), make_media(), 7, 2, previous_local=local, previous_remote=first)
    assert [(section.mid, section.refused) for section in again.media] == [
        ("a1", False),
        ("d1", True),
        ("v1", False),
        ("v2", True),
    ]


def test_an_ice_restart_of_the_peer_is_seen_in_its_answer() -> None:
    description = offer()
    first = apply_answer(description, parse(answer_text(description)))
    restarted = answer_text(description).replace("tHeM", "nEwX")
    second = apply_answer(description, parse(restarted), previous=first)
    assert second.ice_restart
    assert not second.dtls_restart


def test_sources_of_sections_that_do_not_send_come_from_the_media() -> None:
    media = make_media(direction="recvonly")
    description = offer(media=media)
    assert not description.media[1].has("ssrc")
    negotiated = apply_answer(description, parse(answer_text(description)), media=media)
    video = negotiated.media[1]
    assert (video.local_ssrc, video.local_rtx_ssrc, video.direction) == (21, 22, "recvonly")
    assert apply_answer(description, parse(answer_text(description))).media[1].local_ssrc is None


def test_a_peer_may_refuse_a_section() -> None:
    description = offer()
    negotiated = apply_answer(description, parse(answer_text(description, media=make_media()[:1])))
    assert [item.kind for item in negotiated.media] == ["audio"]
    assert [(item.index, item.reason) for item in negotiated.rejected] == [(1, "the peer has refused it")]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("setup:passive", "setup:actpass", "chooses no DTLS role"),
        ("setup:passive", "setup:holdconn", "chooses no DTLS role"),
        ("a=mid:1", "a=mid:2", "not that of the offer|names a mid"),
        ("m=video", "m=audio", "not that of the offer"),
        ("a=group:BUNDLE 0 1\r\n", "", "BUNDLE"),
        ("a=rtcp-mux\r\n", "", "rtcp-mux"),
        ("a=ice-ufrag:tHeM\r\n", "", "ICE credentials"),
        ("sha-256 ", "x-256 ", "fingerprint"),
        ("VP8/90000", "VP7/90000", "no common codec: the answer has 96 VP7; the offer had 96 VP8, 98 H264"),
        ("UDP/TLS/RTP/SAVPF", "UDP/DTLS/SCTP", "not audio or video over RTP"),
    ],
)
def test_answers_that_do_not_fit_the_offer_are_refused(old: str, new: str, words: str) -> None:
    description = offer(media=make_media(codecs=None))
    text = answer_text(description, media=[make_media()[0], LocalMedia("video", codecs=[VP8])])
    assert old in text
    with pytest.raises(SdpError, match=words):
        apply_answer(description, parse(text.replace(old, new)))


def test_an_answer_with_fewer_sections_is_refused() -> None:
    description = offer()
    text = answer_text(offer(media=make_media()[:1]))
    with pytest.raises(SdpError, match="as many media sections"):
        apply_answer(description, parse(text))


def test_an_answer_that_refuses_everything_is_unsupported() -> None:
    description = offer(media=make_media()[:1])
    text = answer_text(description).replace("m=audio 40000", "m=audio 0")
    with pytest.raises(SdpUnsupportedError, match="the peer has refused it"):
        apply_answer(description, parse(text))


def test_rfc4145_4_an_answer_without_setup_is_passive() -> None:
    description = offer()
    text = answer_text(description).replace("a=setup:passive\r\n", "")
    assert apply_answer(description, parse(text)).dtls_role == "client"


def test_payload_types_of_the_answer_that_were_not_offered_do_not_count() -> None:
    description = offer()
    text = answer_text(description).replace("RTP/SAVPF 111 0 8", "RTP/SAVPF 120 0 8").replace(":111 ", ":120 ")
    assert [item.payload_type for item in apply_answer(description, parse(text)).media[0].codecs] == [0, 8]


def test_dynamic_payload_types_are_unique_in_the_bundle() -> None:
    clashing = replace(PCMA, name="L16", payload_type=96)
    media = [LocalMedia("video", codecs=[VP8, H264, VP9, AV1]), LocalMedia("audio", codecs=[clashing])]
    description = offer(media=media)
    numbers = [number for section in description.media for number in section.media.formats]
    assert len(set(numbers)) == len(numbers) == 9


def test_running_out_of_numbers_is_the_embedders_mistake() -> None:
    codecs = [Codec("audio", f"X{number}", 8000) for number in range(70)]
    with pytest.raises(ConfigurationError, match="payload types"):
        offer(media=[LocalMedia("audio", codecs=codecs)])
    uris = [f"urn:x:{number}" for number in range(256)]
    with pytest.raises(ConfigurationError, match="header extensions"):
        offer(media=[LocalMedia("audio", extensions=uris)])
    assert offer(media=[LocalMedia("audio", extensions=uris[:20])]).media[0].extensions[14].id == 16


def test_mistakes_of_the_embedder_are_told_at_once() -> None:
    with pytest.raises(ConfigurationError, match="at least one"):
        offer(media=[])
    with pytest.raises(ConfigurationError, match="one LocalMedia of a kind"):
        offer(media=[LocalMedia("audio"), LocalMedia("audio")])
    with pytest.raises(ConfigurationError, match="mid 'x' is used"):
        offer(media=[LocalMedia("audio", mid="x"), LocalMedia("video", mid="x")])
    with pytest.raises(ConfigurationError, match="mid '1' is used"):
        offer(media=[LocalMedia("audio", mid="1")], previous_local=offer())
