"""Whatever bytes come, the parsers of the signaling room answer with their own errors."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from triortc.engine.calls.actor import Actor, DeviceAddress
from triortc.errors import ConfigurationError
from triortc.signaling.configuration import SignalingConfiguration
from triortc.signaling.link import Link
from triortc.signaling.origin import host_is_known, origin_is_allowed, parse_authority
from triortc.signaling.replies import ReplyCache
from triortc.signaling.session import SignalingSession
from triortc.signaling.site import Request, Site
from triortc.signaling.tokens import DevelopmentIssuer, KeySet, TokenError, TokenVerifier
from triortc.signaling.wire import COMMANDS, WireError, decode_message, encode_message, parse_incoming

WORDS = st.sampled_from(["vs_1", "", "a" * 65, "\ud800", "é", "0", "audio"]) | st.text(max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    ["session", "conversation", "ring", "leg", "neg", "sdp", "n", "media", "to", "perms", "candidates", "text", "tags"]
)
MESSAGES = st.fixed_dictionaries(
    {},
    optional={
        "t": st.sampled_from([*COMMANDS, "hello", "ack", "ping", "bye"]) | VALUES,
        "id": st.sampled_from(["a", "b"]) | VALUES,
        "p": st.dictionaries(FIELDS, VALUES, max_size=4) | VALUES,
    },
)
VALID = encode_message("call.request", {"conversation": "cv_9", "media": {"video": True}, "offer": "v=0"}, id="q1")


def as_bytes(message: object) -> bytes:
    return json.dumps(message).encode("utf-8", "surrogatepass")


def check_parse(data: bytes) -> None:
    refusal: WireError | None = None
    try:
        assert parse_incoming(data).content
    except WireError as error:
        refusal = error
    if refusal is not None:
        assert refusal.code in ("proto.malformed", "proto.unknown_type", "proto.too_large")
        assert refusal.reply_to is None or 0 < len(refusal.reply_to) <= 64


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_parse_or_are_refused(data: bytes) -> None:
    check_parse(data)


@settings(max_examples=300, deadline=None)
@given(MESSAGES)
def test_json_of_the_wrong_shape_parses_or_is_refused(message: Any) -> None:
    check_parse(as_bytes(message))


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(VALID) * 8 - 1), st.integers(0, len(VALID)))
def test_flipped_and_cut_messages_parse_or_are_refused(bit: int, end: int) -> None:
    flipped = bytearray(VALID)
    flipped[bit // 8] ^= 1 << bit % 8
    check_parse(bytes(flipped))
    check_parse(VALID[:end])


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=100) | MESSAGES.map(as_bytes))
def test_a_client_refuses_what_is_no_message(data: bytes) -> None:
    with contextlib.suppress(WireError):
        decode_message(data).event()


@settings(max_examples=100, deadline=None)
@given(st.lists(MESSAGES.map(as_bytes) | st.binary(max_size=30), max_size=60), st.integers(0, 3))
def test_i41_a_session_survives_any_input_within_its_bounds(messages: list[bytes], step: int) -> None:
    configuration = SignalingConfiguration()
    session = SignalingSession(
        id="sg_1",
        actor=Actor("ana", "agent", "dev"),
        address=DeviceAddress("dev", "agent", "ana", "d1"),
        configuration=configuration,
        replies=ReplyCache(lifetime_s=300, max_replies=8, max_bytes=1000),
        random_bytes=bytes,
        wall_ms=lambda: 0,
        now=0.0,
    )
    link = Link(configuration, 0.0, lambda: 0)
    session.attach(link)
    now = 0.0
    for number, data in enumerate(messages):
        now += step * 0.001
        command = session.receive(data, now)
        if command is not None and command.id is not None and session.admit(command, now):
            session.reply(command.id, {"n": number})
        session.push_event("conversation.reminder", {"n": number}, key=("k", str(number % 3)))
        if number % 4 == 0:
            while link.poll_transmit() is not None:
                pass
    assert len(session._buffer) <= configuration.buffered_events
    assert len(session._replies) <= 8


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60), st.text(max_size=60))
def test_no_host_or_origin_raises(host: str, origin: str) -> None:
    parse_authority(host, "http")
    host_is_known(host, ["localhost", "::1"], "https")
    origin_is_allowed(origin, host, "http", ())


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet='abcXYZ019-_.={}"', max_size=120))
def test_no_token_raises_but_a_token_error(token: str) -> None:
    issuer = DevelopmentIssuer(random_bytes=bytes, wall_s=lambda: 1e9)
    genuine = issuer.issue(role="visitor", sub="v")

    async def verify() -> None:
        for text in (token, genuine[: len(token)] + token, genuine.replace(genuine[len(token)], token[:1] or "x", 1)):
            with contextlib.suppress(TokenError):
                await TokenVerifier(issuer, wall_s=lambda: 1e9).verify(text)

    trio.run(verify)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=80) | VALUES.map(as_bytes))
def test_no_key_set_and_no_token_request_raises_but_a_configuration_error(body: bytes) -> None:
    with contextlib.suppress(ConfigurationError):
        KeySet.from_jwks(body, issuer="i", organizations=["o"])
    site = Site(health=dict, issuer=DevelopmentIssuer(random_bytes=bytes, wall_s=lambda: 1e9), pages={})
    headers = {"content-type": "application/json"}
    assert site.respond(Request("POST", "/dev/token", headers, body)).status in (200, 400)
