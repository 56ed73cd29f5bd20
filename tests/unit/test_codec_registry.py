"""The codec table and the matching of formats (RFC 6184, RFC 8866, RFC 4588)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from support.sdp import vectors
from triortc.codecs.h264_profile import (
    ProfileLevel,
    answer_profile_level_id,
    format_profile_level_id,
    parse_profile_level_id,
)
from triortc.codecs.registry import (
    AUDIO_CODECS,
    AV1,
    H264,
    OPUS,
    PCMA,
    PCMU,
    VIDEO_CODECS,
    VP8,
    VP9,
    Codec,
    answer_parameters,
    find_static,
    format_fmtp,
    matches,
    media_kind,
    parse_fmtp,
    retransmission_of,
    with_parameters,
)

H264_VECTORS = vectors("h264.json")
LEVEL_1B = 10.5


@pytest.mark.parametrize("case", H264_VECTORS["profile_level_id"], ids=lambda case: case["profile_level_id"] or "empty")
def test_rfc6184_8_1_profile_level_ids_are_read_by_table_5(case: dict[str, Any]) -> None:
    found = parse_profile_level_id(case["profile_level_id"])
    if case["profile"] is None:
        assert found is None
    else:
        level = LEVEL_1B if case["level"] == "1b" else round(case["level"] * 10)
        assert found == ProfileLevel(case["profile"], level)


@pytest.mark.parametrize("case", H264_VECTORS["fmtp_matching"], ids=lambda case: case["why"][:40])
def test_rfc6184_8_2_2_formats_match_by_packetization_mode_and_profile(case: dict[str, Any]) -> None:
    assert matches(with_parameters(H264, case["answer"]), with_parameters(H264, case["offer"])) is case["match"]


@pytest.mark.parametrize("case", H264_VECTORS["answer_level"], ids=lambda case: f"{case['offer']}-{case['local']}")
def test_rfc6184_8_2_2_answer_names_the_lower_level_unless_levels_may_differ(case: dict[str, Any]) -> None:
    flag = {"level-asymmetry-allowed": "1"} if case["asymmetry"] else {}
    local = with_parameters(H264, {"profile-level-id": case["local"], **flag})
    remote = with_parameters(H264, {"profile-level-id": case["offer"], **flag})
    answer = answer_parameters(local, remote)
    assert answer is not None
    assert answer["profile-level-id"] == case["answer"]


def test_rfc6184_8_2_2_one_side_alone_does_not_allow_different_levels() -> None:
    remote = with_parameters(H264, {"packetization-mode": "1", "profile-level-id": "42e00d"})
    answer = answer_parameters(H264, remote)
    assert answer is not None
    assert answer["profile-level-id"] == "42e00d"


@pytest.mark.parametrize(
    "text", ["42e01f", "42f00b", "420020", "42100b", "4d001f", "640c1f", "64001f", "640009", "f4001f"]
)
def test_profile_level_id_survives_a_round_trip(text: str) -> None:
    value = parse_profile_level_id(text)
    assert value is not None
    assert format_profile_level_id(value) == text


def test_answer_level_keeps_the_local_profile_digits() -> None:
    offered, local = parse_profile_level_id("4d801f"), parse_profile_level_id("42e034")
    assert offered is not None
    assert local is not None
    assert answer_profile_level_id(offered, local, asymmetry=False) == "42e01f"


def test_the_table_prefers_vp8_and_opus() -> None:
    assert [codec.name for codec in VIDEO_CODECS] == ["VP8", "H264"]
    assert [codec.name for codec in AUDIO_CODECS] == ["opus", "PCMU", "PCMA"]
    assert all(codec.rtx for codec in VIDEO_CODECS)
    assert not any(codec.rtx for codec in AUDIO_CODECS)
    assert [codec.encoding for codec in (OPUS, PCMU, VP8)] == ["opus/48000/2", "PCMU/8000", "VP8/90000"]


def test_rfc8866_6_6_encoding_names_are_compared_without_case() -> None:
    assert matches(VP8, replace(VP8, name="vp8"))
    assert matches(OPUS, replace(OPUS, name="OPUS"))


@pytest.mark.parametrize("change", [{"clock_rate": 16000}, {"channels": 1}, {"kind": "video"}, {"name": "opux"}])
def test_rfc3264_6_1_another_clock_channel_count_kind_or_name_is_another_format(change: dict[str, Any]) -> None:
    assert not matches(OPUS, replace(OPUS, **change))


def test_opus_and_vp8_parameters_are_preferences_that_do_not_decide() -> None:
    assert answer_parameters(OPUS, with_parameters(OPUS, {"stereo": "1"})) == OPUS.parameters
    assert answer_parameters(VP8, with_parameters(VP8, {"max-fs": "12288"})) == {}


def test_rfc9628_6_vp9_profiles_are_formats_of_their_own() -> None:
    assert matches(VP9, with_parameters(VP9, {}))
    assert not matches(VP9, with_parameters(VP9, {"profile-id": "2"}))


def test_av1_profiles_are_formats_of_their_own_and_levels_are_not() -> None:
    assert matches(AV1, with_parameters(AV1, {"level-idx": "9"}))
    assert not matches(AV1, with_parameters(AV1, {"profile": "1"}))


def test_rfc3551_6_static_payload_types_need_no_rtpmap() -> None:
    assert (find_static(0), find_static(8), find_static(96)) == (PCMU, PCMA, None)


def test_fmtp_is_split_at_semicolons_with_blanks_and_without_values() -> None:
    parsed = parse_fmtp("max-fr=30; Max-FS=3600 ;x;;max-fr=1")
    assert parsed == {"max-fr": "30", "max-fs": "3600", "x": ""}
    assert format_fmtp(parsed) == "max-fr=30;max-fs=3600;x"


@pytest.mark.parametrize(
    ("text", "expected"), [("apt=96", 96), ("apt=128", None), ("apt=", None), ("apt=٣", None), ("", None)]
)
def test_rfc4588_8_6_apt_names_the_payload_type_that_is_retransmitted(text: str, expected: int | None) -> None:
    assert retransmission_of(parse_fmtp(text)) == expected


def test_media_kind_knows_audio_and_video_only() -> None:
    assert (media_kind("audio"), media_kind("video"), media_kind("application")) == ("audio", "video", None)


def test_codecs_are_hashable_values() -> None:
    assert len({OPUS, Codec("audio", "opus", 48000, 2), VP8}) == 3
