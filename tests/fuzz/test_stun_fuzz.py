"""Hostile bytes into the STUN parser, the peek and the ICE agent: only StunError, and nothing sent to strangers."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from support.virtual_network import seeded_random_bytes
from triortc.engine.ice import IceAgent, IceConfiguration, host_candidate
from triortc.engine.sdp.candidate import format_candidate, parse_candidate
from triortc.engine.stun import MessageClass, build_message, parse_message, peek_username
from triortc.engine.stun import attributes as stun_attributes
from triortc.errors import SdpError, StunError

VECTORS = Path(__file__).parent.parent / "vectors"
SEEDS = [bytes.fromhex(v["message"]) for v in json.loads((VECTORS / "stun_rfc5769.json").read_text())["vectors"]]
LINES = [v["line"] for v in json.loads((VECTORS / "ice_priorities_and_candidates.json").read_text())["candidates"]]
PROPERTIES = ("username", "priority", "ice_controlling", "ice_controlled", "error_code", "mapped_address")

flips = st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 255)), min_size=1, max_size=6)


def flip(data: bytes, changes: list[tuple[int, int]]) -> bytes:
    out = bytearray(data)
    for index, mask in changes:
        out[index % len(out)] ^= mask
    return bytes(out)


def exercise(data: bytes) -> None:
    peek_username(data)
    try:
        message = parse_message(data)
    except StunError:
        return
    message.verify(b"key")
    message.unknown_required(())
    for name in PROPERTIES:
        try:
            getattr(message, name)
        except StunError:
            continue


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_raise_nothing_but_stun_error(data: bytes) -> None:
    exercise(data)
    exercise(b"\x00\x01" + len(data).to_bytes(2, "big") + b"\x21\x12\xa4\x42" + bytes(12) + data)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(SEEDS), flips)
def test_bit_flipped_messages_raise_nothing_but_stun_error(seed: bytes, changes: list[tuple[int, int]]) -> None:
    exercise(flip(seed, changes))


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(list(MessageClass)),
    st.integers(0, 0xFFF),
    st.binary(min_size=12, max_size=12),
    st.lists(st.tuples(st.integers(0x8100, 0xFFFF), st.binary(max_size=40)), max_size=8),
)
def test_what_is_built_is_parsed_to_the_same(
    message_class: MessageClass, method: int, transaction_id: bytes, fields: list[tuple[int, bytes]]
) -> None:
    message = parse_message(build_message(message_class, method, transaction_id, fields, key=b"key"))
    assert (message.message_class, message.method, message.transaction_id) == (message_class, method, transaction_id)
    assert message.attributes[: len(fields)] == fields
    assert message.verify(b"key")
    assert message.has_fingerprint


@settings(max_examples=200, deadline=None)
@given(flips, st.booleans(), st.binary(max_size=120))
def test_agent_answers_no_stranger(changes: list[tuple[int, int]], use_noise: bool, noise: bytes) -> None:
    base, stranger = ("192.0.2.1", 1), ("198.51.100.9", 9)
    agent = IceAgent(
        controlling=False,
        configuration=IceConfiguration(answer_unauthenticated=True),
        random_bytes=seeded_random_bytes(4),
    )
    agent.add_local_candidate(host_candidate(base))
    agent.set_remote_credentials("remote", "r" * 22)
    agent.start(0.0)
    good = build_message(
        MessageClass.REQUEST,
        1,
        bytes(12),
        [stun_attributes.username(f"{agent.local_ufrag}:remote"), stun_attributes.priority(7)],
        key=agent.local_password.encode(),
    )
    data = noise if use_noise else flip(good, changes)
    accepted = agent.receive(data, base, stranger, 1.0)
    answer = agent.poll_transmit()
    covered = len(good) - 32  # MESSAGE-INTEGRITY and FINGERPRINT stand behind what they protect
    if accepted:
        assert data[:covered] == good[:covered]
    else:
        assert data != good
        assert answer is None or len(answer[0]) <= len(data)
    agent.handle_timeout(2.0)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=120), st.text(max_size=80).map("candidate:".__add__)))
def test_random_candidate_lines_raise_nothing_but_sdp_error(line: str) -> None:
    try:
        candidate = parse_candidate(line)
    except SdpError:
        return
    assert parse_candidate(format_candidate(candidate)) == candidate


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(LINES), st.integers(0, 100), st.text(max_size=3))
def test_damaged_candidate_lines_raise_nothing_but_sdp_error(line: str, at: int, text: str) -> None:
    at %= len(line)
    try:
        candidate = parse_candidate(line[:at] + text + line[at + 1 :])
    except SdpError:
        return
    assert parse_candidate(format_candidate(candidate)) == candidate
