# ruff: noqa: N802 - test names carry the numbers of docs/calls.md as they are written there
"""What is sent to a Web Push service: encryption (RFC 8291), headers (RFC 8030), who we say that we are (RFC 8292)."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from support.push_fakes import (
    SESSION,
    VAPID_KEY,
    WALL_S,
    WEB_PUSH,
    Browser,
    Clock,
    a_notice,
    a_ring,
    a_withdrawal,
)
from triortc.engine.calls.push_values import Push
from triortc.signaling.push.encryption import MAX_PLAINTEXT_BYTES, base64url, base64url_decoded, encrypt, public_bytes
from triortc.signaling.push.provider import UnusableEndpointError
from triortc.signaling.push.web_push import WebPush, public_key


def test_RFC_8291_appendix_A_the_example_is_encrypted_to_the_octet() -> None:
    private = int.from_bytes(base64url_decoded("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"), "big")
    key = ec.derive_private_key(private, ec.SECP256R1())
    receiver = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
    body = encrypt(
        b"When I grow up, I want to be a watermelon",
        base64url_decoded(receiver),
        base64url_decoded("BTBZMqHH6r4Tts7J_aSIgg"),
        key=key,
        random_bytes=lambda n: base64url_decoded("DGv6ra1nlYgDCS1FRnbzlw"),
    )
    assert base64url(body) == (
        "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27ml"
        "mlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPT"
        "pK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
    )


@pytest.mark.parametrize("length", [0, 1, 511, 512, 513, MAX_PLAINTEXT_BYTES])
def test_padding_hides_the_length_and_a_body_has_4096_bytes_at_most(length: int) -> None:
    browser = Browser()
    assert browser.endpoint.p256dh is not None
    assert browser.endpoint.auth is not None
    p256dh, auth = base64url_decoded(browser.endpoint.p256dh), base64url_decoded(browser.endpoint.auth)
    text = b'"' + b"x" * (length - 2) + b'"' if length > 1 else b"1" * length
    body = encrypt(text, p256dh, auth, padded_bytes=512)
    padded = min(-(-len(text) // 512) * 512, MAX_PLAINTEXT_BYTES)
    assert len(body) == 86 + padded + 1 + 16 <= 4096
    if text:
        browser.decrypt(body)


def test_RFC_8291_a_message_that_is_too_long_and_keys_that_are_none_are_refused() -> None:
    key = public_bytes(ec.generate_private_key(ec.SECP256R1()).public_key())
    for plaintext, p256dh, auth in (
        (b"x" * (MAX_PLAINTEXT_BYTES + 1), key, bytes(16)),
        (b"x", b"\x04" + bytes(64), bytes(16)),
        (b"x", key[:-1], bytes(16)),
        (b"x", key, bytes(15)),
    ):
        with pytest.raises(ValueError, match=r"."):
            encrypt(plaintext, p256dh, auth)


async def web_push_message(push: Push, browser: Browser) -> tuple[dict[str, str], Any]:
    request = await WebPush(WEB_PUSH, Clock()).request(push, 29.6)
    assert request.url == browser.endpoint.endpoint
    headers = dict(request.headers)
    assert len(headers) == len(request.headers)
    return headers, browser.decrypt(request.body)


async def test_S1_6a_a_closed_page_is_rung_by_an_encrypted_message_of_high_urgency() -> None:
    browser = Browser()
    headers, message = await web_push_message(a_ring(browser.endpoint), browser)
    token = headers.pop("authorization")
    topic = headers.pop("topic")
    assert headers == {
        "ttl": "29",
        "urgency": "high",
        "content-encoding": "aes128gcm",
        "content-type": "application/octet-stream",
    }
    assert len(topic) == 32
    assert set(topic) <= set(base64.urlsafe_b64encode(bytes(range(256))).decode())
    assert token.startswith("vapid t=")
    assert message == {
        "type": "ring",
        "session": SESSION,
        "ring": "rg_1",
        "conversation": "cv_9",
        "kind": "call",
        "timeout_ms": 29_600,
        "expires_at": 1_800_000_029_600,
        "video": True,
    }


async def test_RFC_8030_a_withdrawal_has_its_rings_topic_and_replaces_it_where_it_waits() -> None:
    browser = Browser()
    ring, _ = await web_push_message(a_ring(browser.endpoint), browser)
    withdrawal, message = await web_push_message(a_withdrawal(browser.endpoint), browser)
    other, _ = await web_push_message(a_ring(browser.endpoint, session="vs_other"), browser)
    assert ring["topic"] == withdrawal["topic"] != other["topic"]
    assert (withdrawal["ttl"], withdrawal["urgency"]) == ("60", "high")
    assert (message["type"], message["withdraw"], message["outcome"]) == ("withdraw", SESSION, "timeout")
    notice, message = await web_push_message(a_notice(browser.endpoint), browser)
    assert (notice["ttl"], notice["urgency"]) == ("3600", "normal")
    assert message == {"type": "message", "conversation": "cv_9", "message": "msg_1"}


async def test_RFC_8292_the_token_names_the_push_service_and_is_signed_by_the_key_that_pages_subscribe_with() -> None:
    clock = Clock()
    web_push = WebPush(WEB_PUSH, clock)

    async def authorization(url: str) -> str:
        return dict((await web_push.request(a_ring(Browser(url).endpoint), 10)).headers)["authorization"]

    first = await authorization("https://push.example/one")
    t, k = first.removeprefix("vapid t=").split(", k=")
    assert k == public_key(WEB_PUSH) == base64url(public_bytes(VAPID_KEY.public_key()))
    assert jwt.get_unverified_header(t)["alg"] == "ES256"
    options: Any = {"verify_exp": False}
    claims = jwt.decode(t, VAPID_KEY.public_key(), ["ES256"], audience="https://push.example", options=options)
    assert claims["exp"] == int(WALL_S) + 12 * 3600
    assert claims["sub"] == "mailto:calls@example.org"
    assert await authorization("https://push.example/two") == first
    assert await authorization("https://eu.push.example/two") != first
    clock.now += 9 * 3600 + 1
    assert await authorization("https://push.example/two") != first


@pytest.mark.parametrize(
    "url",
    [
        "http://push.example/one",
        "https://push.example.evil.example/one",
        "https://evil.example/push.example",
        "https://push.example:8443/one",
        "https://user@push.example/one",
        "https://push.example\\@evil.example/",
        "https://127.0.0.1/one",
        "https://push.example/\r\nx: y",
    ],
)
def test_a_subscription_may_name_the_push_services_of_the_list_only(url: str) -> None:
    with pytest.raises(UnusableEndpointError):
        WebPush(WEB_PUSH, Clock()).origin(Browser(url).endpoint)


async def test_a_subscription_without_keys_or_with_impossible_ones_is_not_sent_to() -> None:
    web_push, good = WebPush(WEB_PUSH, Clock()), Browser().endpoint
    for broken in (replace(good, p256dh=None), replace(good, auth=None), replace(good, endpoint=None)):
        with pytest.raises(UnusableEndpointError):
            web_push.origin(broken)
    for broken in (replace(good, p256dh="AAAA"), replace(good, auth="not base64!"), replace(good, auth="A")):
        with pytest.raises(UnusableEndpointError):
            await web_push.request(a_ring(broken), 10)
