"""What the demultiplexer reads out of datagrams without parsing them."""

from __future__ import annotations

import pytest

from triortc.engine.stun import MessageClass, build_message, looks_like_stun, peek_local_ufrag, peek_username
from triortc.engine.stun.attributes import priority, username

ID = bytes(12)


def request(name: str = "here:there", message_class: MessageClass = MessageClass.REQUEST) -> bytes:
    return build_message(message_class, 1, ID, [priority(1), username(name)], key=b"k")


def test_username_and_local_ufrag_come_out_of_a_binding_request() -> None:
    assert peek_username(request()) == "here:there"
    assert peek_local_ufrag(memoryview(request())) == "here"


def test_local_ufrag_needs_a_colon() -> None:
    assert peek_username(request("alone")) == "alone"
    assert peek_local_ufrag(request("alone")) is None


@pytest.mark.parametrize("message_class", [MessageClass.INDICATION, MessageClass.SUCCESS, MessageClass.ERROR])
def test_only_requests_are_looked_into(message_class: MessageClass) -> None:
    assert peek_username(request(message_class=message_class)) is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(20),
        request()[:-1],
        request()[:19],
        build_message(MessageClass.REQUEST, 1, ID),
        build_message(MessageClass.REQUEST, 1, ID, [(6, b"\xff")]),
        build_message(MessageClass.REQUEST, 1, ID, [(0x8001, b"")] * 16 + [username("a:b")]),
        b"\0\1\0\4\x21\x12\xa4\x42" + ID + b"\0\6\0\x40",
    ],
)
def test_what_has_no_readable_username_gives_none(data: bytes) -> None:
    assert peek_username(data) is None
    assert peek_local_ufrag(data) is None


def test_rfc7983_7_stun_is_told_from_dtls_and_rtp() -> None:
    assert looks_like_stun(request())
    assert not looks_like_stun(b"\x16\xfe\xff" + bytes(30))
    assert not looks_like_stun(b"\x80\x60" + bytes(30))
    assert not looks_like_stun(b"\0\1")
