"""Hostile session descriptions: nothing but SdpError comes out, and nothing is lost."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from support.sdp import browser_offer, make_media, make_transport, vectors
from triortc.codecs.h264_profile import format_profile_level_id, parse_profile_level_id
from triortc.codecs.registry import H264, answer_parameters, format_fmtp, parse_fmtp, with_parameters
from triortc.engine.sdp.attributes import ATTRIBUTE_PARSERS
from triortc.engine.sdp.grammar import parse
from triortc.engine.sdp.negotiation import apply_answer, create_answer, create_offer, restarts_ice
from triortc.engine.sdp.trickle import parse_trickled
from triortc.errors import SdpError

SEEDS = [
    *(browser_offer(browser) for browser in ("chromium156", "firefox153")),
    *(vector["sdp"] for vector in vectors("sdp_oddities.json")["vectors"]),
    *("\r\n".join(v["lines"]) for v in vectors("sdp_jsep_examples.json")["vectors"] if "m_sections" in v),
]
LINES = sorted({line for seed in SEEDS for line in seed.split("\r\n") if line})
OUR_OFFER = create_offer(make_transport(), make_media(), 1, 1)
OUR_ANSWER, AGREED = create_answer(parse(browser_offer("chromium156")), make_transport(), make_media(), session_id=1)
ANSWER_TEXT = str(create_answer(OUR_OFFER, make_transport("tHeM"), make_media(), session_id=2)[0])


def exercise(text: str) -> None:
    """Parse, answer, apply; whatever is accepted must be consistent."""
    try:
        description = parse(text)
    except SdpError:
        return
    assert parse(str(description)) == description
    for section in description.media:
        section.candidates(8)
    try:
        answer, negotiated = create_answer(description, make_transport(), make_media(), session_id=1, previous=AGREED)
    except SdpError:
        pass
    else:
        assert parse(str(answer)) == answer
        assert len(answer.media) == len(description.media)
        assert len(negotiated.media) + len(negotiated.rejected) == len(answer.media)
        assert all(media.codecs for media in negotiated.media)
        assert len({media.kind for media in negotiated.media}) == len(negotiated.media)
        again = create_offer(make_transport(), make_media(), 1, 2, previous_local=answer, previous_remote=description)
        assert len(again.media) >= len(answer.media)
    for call in (lambda: apply_answer(OUR_OFFER, description), lambda: restarts_ice(description, AGREED)):
        try:
            call()
        except SdpError:
            pass


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=300))
def test_random_text_is_refused_or_read(text: str) -> None:
    exercise(text)


@settings(max_examples=250, deadline=None)
@given(st.sampled_from([*SEEDS, ANSWER_TEXT]), st.data())
def test_descriptions_with_changed_characters_are_refused_or_read(seed: str, data: st.DataObject) -> None:
    characters = list(seed)
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(characters) - 1))
        characters[position] = chr(ord(characters[position]) ^ (1 << data.draw(st.integers(0, 7))))
    exercise("".join(characters))


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([*SEEDS, ANSWER_TEXT]), st.data())
def test_descriptions_with_lines_lost_moved_and_mixed_are_refused_or_read(seed: str, data: st.DataObject) -> None:
    lines = seed.split("\r\n")
    for _ in range(data.draw(st.integers(1, 5))):
        position = data.draw(st.integers(0, len(lines) - 1))
        match data.draw(st.sampled_from(["lose", "copy", "insert", "cut"])):
            case "lose" if len(lines) > 1:
                del lines[position]
            case "copy":
                lines.insert(data.draw(st.integers(0, len(lines))), lines[position])
            case "insert":
                lines.insert(position, data.draw(st.sampled_from(LINES)))
            case _:
                lines[position] = lines[position][: data.draw(st.integers(0, 40))]
    exercise("\r\n".join(lines))


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(ATTRIBUTE_PARSERS)), st.text(max_size=40))
def test_attribute_values_raise_nothing_but_sdp_errors(name: str, value: str) -> None:
    try:
        ATTRIBUTE_PARSERS[name](value)
    except SdpError:
        pass


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=80), st.text(max_size=10) | st.none())
def test_trickled_lines_raise_nothing_but_sdp_errors(line: str, mid: str | None) -> None:
    try:
        parse_trickled(line, mid)
    except SdpError:
        pass


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60))
def test_format_parameters_survive_a_round_trip(text: str) -> None:
    parameters = parse_fmtp(text)
    assert parse_fmtp(format_fmtp(parameters)) == parameters


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**24 - 1))
def test_profile_levels_survive_a_round_trip(number: int) -> None:
    text = f"{number:06x}"
    value = parse_profile_level_id(text)
    answer = answer_parameters(H264, with_parameters(H264, {"packetization-mode": "1", "profile-level-id": text}))
    if value is not None:
        assert parse_profile_level_id(format_profile_level_id(value)) == value
    assert (answer is not None) == (value is not None and value.profile == "ConstrainedBaseline")
