"""Answers to offers: what they say of the transport, BUNDLE, DTLS, ICE and its restarts (RFC 9143, 8842, 8839)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from support.sdp import answer, browser_offer, lines_of, make_media, make_offer, make_transport, vectors
from triortc.engine.sdp.configuration import SdpConfiguration
from triortc.engine.sdp.grammar import parse
from triortc.engine.sdp.negotiated import DtlsRole, SdpUnsupportedError
from triortc.engine.sdp.negotiation import restarts_ice

ODDITIES = {vector["name"]: vector["sdp"] for vector in vectors("sdp_oddities.json")["vectors"]}


def test_rfc9143_6_a_bundle_only_section_takes_the_transport_of_the_tagged_one() -> None:
    _, negotiated = answer(ODDITIES["bundle_only_port_zero"])
    assert [(item.kind, item.mid) for item in negotiated.media] == [("video", "0"), ("audio", "1")]
    assert negotiated.transport_mid == "0"


def test_rfc9143_7_3_a_bundle_only_section_alone_takes_the_credentials_of_the_refused_tag() -> None:
    _, negotiated = answer(ODDITIES["bundle_only_port_zero"], media=make_media()[:1])
    assert negotiated.transport_mid == "1"
    assert negotiated.remote_ufrag == "abcd"


@pytest.mark.parametrize("group", ["", "a=group:BUNDLE v\r\n", "a=group:BUNDLE a\r\na=group:BUNDLE v\r\n"])
def test_rfc9429_5_3_1_a_section_that_needs_a_second_transport_is_refused_beside_the_first(group: str) -> None:
    offer = make_offer("audio", "video", replace=("a=group:BUNDLE a v\r\n", group))
    description, negotiated = answer(offer)
    assert [section.media.port == 0 for section in description.media] == [False, True]
    assert [item.mid for item in negotiated.media] == ["a"]
    assert [(item.mid, "BUNDLE" in item.reason) for item in negotiated.rejected] == [("v", True)]
    assert [mid for each in description.groups for mid in each.mids] == (["a"] if "BUNDLE a" in group else [])


def test_a_single_section_needs_no_bundle_and_no_mid() -> None:
    description, negotiated = answer(make_offer("video", replace=("a=mid:v\r\n", "")))
    assert negotiated.media[0].mid == ""
    assert not description.media[0].has("mid")


def test_rfc5761_without_rtcp_mux_a_section_is_refused() -> None:
    with pytest.raises(SdpUnsupportedError, match="rtcp-mux"):
        answer(make_offer("audio", replace=("a=rtcp-mux\r\n", "")))


@pytest.mark.parametrize(
    ("offered", "preferred", "role", "setup"),
    [
        ("actpass", "server", "server", "passive"),
        ("actpass", "client", "client", "active"),
        ("active", "client", "server", "passive"),
        ("passive", "server", "client", "active"),
    ],
)
def test_rfc8842_5_3_dtls_roles(offered: str, preferred: DtlsRole, role: str, setup: str) -> None:
    offer = make_offer("audio", replace=("setup:actpass", f"setup:{offered}"))
    description, negotiated = answer(offer, transport=make_transport(dtls_role=preferred))
    assert negotiated.dtls_role == role
    assert description.media[0].value("setup") == setup


def test_rfc4145_4_an_offer_without_setup_is_active() -> None:
    assert answer(make_offer("audio", replace=("a=setup:actpass\r\n", "")))[1].dtls_role == "server"


def test_rfc4145_4_holdconn_is_unsupported() -> None:
    with pytest.raises(SdpUnsupportedError, match="holdconn"):
        answer(make_offer("audio", replace=("setup:actpass", "setup:holdconn")))


def test_rfc8122_5_weak_fingerprints_do_not_count() -> None:
    assert [item.algorithm for item in answer(ODDITIES["two_fingerprints"])[1].remote_fingerprints] == ["sha-256"]
    weak = make_offer("audio", replace=("sha-256 " + ":".join(["AB"] * 32), "sha-1 " + ":".join(["AB"] * 20)))
    with pytest.raises(SdpUnsupportedError, match="fingerprint"):
        answer(weak)


def test_without_ice_credentials_an_offer_is_unsupported() -> None:
    with pytest.raises(SdpUnsupportedError, match="ICE credentials"):
        answer(make_offer("audio", replace=("a=ice-pwd:pppppppppppppppppppppp\r\n", "")))


def test_rfc8839_5_transport_of_the_session_level_counts() -> None:
    _, negotiated = answer(ODDITIES["session_level_transport"])
    assert negotiated.remote_ice_lite
    assert negotiated.remote_trickle
    assert negotiated.dtls_role == "server"


def test_candidates_beyond_the_limit_and_malformed_ones_are_counted() -> None:
    extra = ["a=candidate:x", *(f"a=candidate:{n} 1 udp {n} 192.0.2.1 5000 typ host" for n in range(1, 5))]
    _, negotiated = answer(make_offer("audio", extra=extra), configuration=SdpConfiguration(max_candidates=3))
    assert (len(negotiated.remote_candidates), negotiated.skipped_candidates) == (3, 2)


def test_candidates_of_other_sections_of_the_bundle_do_not_count_beside_those_of_the_tagged_one() -> None:
    extra = ["a=candidate:1 1 udp 1 192.0.2.8 5000 typ host"]
    text = str(make_offer("audio", "video", extra=extra)).replace("192.0.2.8", "192.0.2.9", 1)
    assert [candidate.address for candidate in answer(text)[1].remote_candidates] == ["192.0.2.9"]


def test_rfc9143_7_1_3_candidates_of_a_tagged_section_that_is_refused_lead_to_the_transport_of_the_others() -> None:
    channel = make_offer("audio", extra=["a=candidate:1 1 udp 1 192.0.2.9 5000 typ host", "a=end-of-candidates"])
    lines = [
        line.replace("m=audio 9 UDP/TLS/RTP/SAVPF 111 0", "m=audio 9 UDP/DTLS/SCTP webrtc-datachannel")
        .replace("m=audio", "m=application")
        .replace("a=mid:a", "a=mid:d")
        for line in lines_of(channel, 0)
    ]
    text = str(make_offer("audio", "video")).replace("BUNDLE a v", "BUNDLE d a v")
    text = text.replace("m=audio", "\r\n".join([*lines, "m=audio"]))
    negotiated = answer(text)[1]
    assert negotiated.transport_mid == "a"
    assert [candidate.address for candidate in negotiated.remote_candidates] == ["192.0.2.9"]
    assert negotiated.end_of_candidates
    other = text.replace("a=ice-ufrag:abcd", "a=ice-ufrag:other", 1)  # a transport of its own
    assert answer(other)[1].remote_candidates == ()


def test_default_address_is_the_first_udp_candidate_with_an_address() -> None:
    host = make_transport().candidates[0]
    names = replace(host, address="x.local"), replace(host, transport="tcp"), replace(host, address="2001:db8::1")
    description, _ = answer(make_offer("audio"), transport=make_transport(candidates=names))
    assert lines_of(description, 0)[:2] == ["m=audio 40000 UDP/TLS/RTP/SAVPF 111 0", "c=IN IP6 2001:db8::1"]
    trickled, _ = answer(make_offer("audio"), transport=make_transport(candidates=()))
    assert lines_of(trickled, 0)[:2] == ["m=audio 9 UDP/TLS/RTP/SAVPF 111 0", "c=IN IP4 0.0.0.0"]


def test_ice_lite_of_ours_is_said() -> None:
    assert answer(make_offer("audio"), transport=replace(make_transport(), ice_lite=True))[0].has("ice-lite")


def test_rfc8839_4_4_1_new_credentials_are_an_ice_restart_and_keep_the_dtls_association() -> None:
    offer = browser_offer("chromium156")
    _, first = answer(offer, transport=make_transport(dtls_role="client"))
    restarted = parse(offer.replace("ice-ufrag:O936", "ice-ufrag:New1"))
    assert not restarts_ice(parse(offer), first)
    assert restarts_ice(restarted, first)
    description, second = answer(restarted, transport=make_transport("nEwU"), previous=first)
    assert second.ice_restart
    assert not second.dtls_restart
    assert second.dtls_role == "client"
    assert description.media[0].value("setup") == "active"
    assert description.media[0].value("ice-ufrag") == "nEwU"


@pytest.mark.parametrize(
    ("old", "new"), [("AB:AB:AB", "AC:AB:AB"), ("setup:actpass", "setup:passive"), ("tls-id:1", "tls-id:2")]
)
def test_rfc8842_3_1_another_certificate_role_or_tls_id_is_a_new_dtls_association(old: str, new: str) -> None:
    text = str(make_offer("audio", extra=["a=tls-id:1"]))
    _, first = answer(text)
    assert answer(text.replace(old, new, 1), previous=first)[1].dtls_restart
    assert not answer(text, previous=first)[1].dtls_restart


def test_sections_that_were_accepted_stay_the_chosen_ones() -> None:
    first = str(make_offer("video"))
    _, before = answer(first)
    section = first[first.index("m=video") :]
    again = first.replace("t=0 0\r\n", "t=0 0\r\na=group:BUNDLE w v\r\n" + section.replace("a=mid:v", "a=mid:w"))
    assert [item.mid for item in answer(again, previous=before)[1].media] == ["v"]
    assert [item.mid for item in answer(again)[1].media] == ["w"]


def test_restart_cannot_be_told_without_live_sections() -> None:
    _, before = answer(make_offer("audio"))
    with pytest.raises(SdpUnsupportedError, match="disables every section"):
        restarts_ice(parse(ODDITIES["port_zero_rejected"]), before)
