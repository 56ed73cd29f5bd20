"""STUN messages against the vectors of RFC 5769 and RFC 8489, and their rules one by one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from triortc.engine.stun import Attribute, Integrity, MessageClass, Method, build_message, parse_message
from triortc.engine.stun import attributes as stun_attributes
from triortc.engine.stun.constants import ErrorCode
from triortc.engine.stun.credentials import PasswordAlgorithm, long_term_key, short_term_key, user_hash
from triortc.engine.stun.message import fingerprint
from triortc.errors import StunError

VECTORS = Path(__file__).parent.parent / "vectors"
TRANSACTION_ID = bytes(range(12))
KEY = short_term_key("VOkJxbRl1RmTxUk/WvJxBt")


def load(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((VECTORS / f"{name}.json").read_text())
    return loaded


RFC5769 = load("stun_rfc5769")["vectors"]
RFC8489 = {vector["name"]: vector for vector in load("stun_rfc8489")["vectors"]}
ADDRESSES = load("stun_addresses_and_malformed")


@pytest.mark.parametrize("vector", RFC5769, ids=lambda vector: vector["name"])
def test_rfc5769_message_is_parsed_and_its_integrity_verified(vector: dict[str, Any]) -> None:
    message = parse_message(bytes.fromhex(vector["message"]))
    assert [(kind, value.hex()) for kind, value in message.attributes] == [
        (attribute["type"], attribute["value"]) for attribute in vector["attributes"]
    ]
    assert message.has_fingerprint is vector["fingerprint"]
    assert message.integrity is Integrity.SHA1
    assert message.verify(bytes.fromhex(vector["hmac_key"]))
    assert not message.verify(b"another key")


def test_rfc5769_2_1_request_decodes_to_the_values_of_the_rfc() -> None:
    message = parse_message(bytes.fromhex(RFC5769[0]["message"]))
    assert message.message_class is MessageClass.REQUEST
    assert message.method == Method.BINDING
    assert message.username == "evtj:h6vY"
    assert message.priority == 0x6E0001FF
    assert message.ice_controlled == 0x932FF9B151263B36
    assert message.ice_controlling is None
    assert not message.use_candidate
    assert message.unknown_required({Attribute.USERNAME, Attribute.PRIORITY, Attribute.MESSAGE_INTEGRITY}) == []


@pytest.mark.parametrize("vector", RFC5769[1:3], ids=lambda vector: vector["name"])
def test_rfc5769_responses_carry_the_mapped_address(vector: dict[str, Any]) -> None:
    message = parse_message(bytes.fromhex(vector["message"]))
    assert message.message_class is MessageClass.SUCCESS
    assert message.mapped_address == tuple(vector["decoded"]["xor_mapped_address"])


def test_rfc5769_2_4_request_is_built_to_the_same_bytes() -> None:
    vector = RFC5769[3]
    message = parse_message(bytes.fromhex(vector["message"]))
    key = long_term_key(vector["decoded"]["username"], vector["decoded"]["realm"], vector["password"])
    assert key.hex() == vector["hmac_key"]
    built = build_message(
        MessageClass.REQUEST,
        Method.BINDING,
        message.transaction_id,
        message.attributes[:-1],
        key=key,
        with_fingerprint=False,
    )
    assert built.hex() == vector["message"]


def test_rfc8489_b1_sha256_request_is_verified_and_built_to_the_same_bytes() -> None:
    vector = RFC8489["b1_request_sha256_userhash"]
    message = parse_message(bytes.fromhex(vector["message"]))
    key = long_term_key(vector["username"], vector["realm"], vector["password"], PasswordAlgorithm.SHA256)
    assert key.hex() == vector["hmac_key"]
    assert message.integrity is Integrity.SHA256
    assert message.verify(key)
    assert message.get(Attribute.USERHASH) == user_hash(vector["username"], vector["realm"])
    built = build_message(
        MessageClass.REQUEST,
        Method.BINDING,
        message.transaction_id,
        message.attributes[:-1],
        key=key,
        integrity=(Integrity.SHA256,),
        with_fingerprint=False,
    )
    assert built.hex() == vector["message"]


@pytest.mark.parametrize("vector", RFC8489["long_term_keys"]["keys"], ids=lambda vector: vector["key"][:8])
def test_rfc8489_18_5_1_long_term_key(vector: dict[str, Any]) -> None:
    algorithm = PasswordAlgorithm(vector["number"])
    assert long_term_key(vector["username"], vector["realm"], vector["password"], algorithm).hex() == vector["key"]


@pytest.mark.parametrize("vector", load("stun_fingerprint")["vectors"], ids=lambda vector: vector["name"])
def test_rfc8489_14_7_fingerprint(vector: dict[str, Any]) -> None:
    assert f"{fingerprint(bytes.fromhex(vector['input'])):08x}" == vector["fingerprint"]


@pytest.mark.parametrize("vector", ADDRESSES["vectors"], ids=lambda vector: vector["address"])
def test_rfc8489_14_2_xor_mapped_address_both_ways(vector: dict[str, Any]) -> None:
    transaction_id = bytes.fromhex(vector["transaction_id"])
    address = (vector["address"], vector["port"])
    value = bytes.fromhex(vector["xor_address_value"])
    assert stun_attributes.encode_xor_address(address, transaction_id) == value
    assert stun_attributes.decode_xor_address(value, transaction_id) == address


@pytest.mark.parametrize("vector", ADDRESSES["malformed"], ids=lambda vector: vector["name"])
def test_malformed_message_is_refused(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["message"])
    try:
        message = parse_message(data)
    except StunError:
        return
    assert vector["name"] == "wrong_integrity", "only this one is well-formed"
    assert not message.verify(KEY)


def test_rfc8489_5_class_and_method_bits_are_interleaved() -> None:
    for message_class in MessageClass:
        for method in (0x001, 0x003, 0x080, 0xABC, 0xFFF):
            message = parse_message(build_message(message_class, method, TRANSACTION_ID))
            assert (message.message_class, message.method) == (message_class, method)
    assert build_message(MessageClass.ERROR, Method.BINDING, TRANSACTION_ID)[:2] == b"\x01\x11"


def test_rfc8489_14_5_attributes_behind_the_integrity_are_ignored() -> None:
    protected = build_message(MessageClass.REQUEST, 1, TRANSACTION_ID, key=KEY, with_fingerprint=False)
    added = b"\x00\x25\x00\x00"
    data = protected[:2] + (len(protected) - 20 + len(added)).to_bytes(2, "big") + protected[4:] + added
    message = parse_message(data)
    assert message.verify(KEY)
    assert not message.use_candidate


def test_rfc8489_14_6_both_integrities_stand_side_by_side_and_the_stronger_counts() -> None:
    both = (Integrity.SHA1, Integrity.SHA256)
    message = parse_message(build_message(MessageClass.REQUEST, 1, TRANSACTION_ID, key=KEY, integrity=both))
    assert set(message.integrity_offsets) == set(both)
    assert message.integrity is Integrity.SHA256
    assert message.verify(KEY)


def test_rfc8489_14_6_truncated_sha256_is_verified_but_not_below_16_bytes() -> None:
    import hmac

    for size, good in ((16, True), (20, True), (12, False)):
        header = b"\x00\x01" + (4 + size).to_bytes(2, "big") + b"\x21\x12\xa4\x42" + TRANSACTION_ID
        data = header + b"\x00\x1c" + size.to_bytes(2, "big") + hmac.digest(KEY, header, "sha256")[:size]
        if good:
            assert parse_message(data).verify(KEY)
        else:
            with pytest.raises(StunError, match="wrong length"):
                parse_message(data)


def test_rfc8489_14_7_nothing_stands_behind_the_fingerprint() -> None:
    data = build_message(MessageClass.REQUEST, 1, TRANSACTION_ID)
    data = data[:2] + (len(data) - 16).to_bytes(2, "big") + data[4:] + b"\x80\x22\x00\x00"
    with pytest.raises(StunError):
        parse_message(data)


def test_rfc8489_14_only_the_first_of_equal_attributes_counts() -> None:
    data = build_message(
        MessageClass.REQUEST, 1, TRANSACTION_ID, [stun_attributes.username("a:b"), stun_attributes.username("c:d")]
    )
    assert parse_message(data).username == "a:b"


def test_rfc8489_6_3_1_unknown_required_attributes_are_listed_once() -> None:
    fields = [(0x7F01, b"x"), (0xFF01, b"y"), (0x7F01, b"z"), (Attribute.PRIORITY, b"\0\0\0\1")]
    message = parse_message(build_message(MessageClass.REQUEST, 1, TRANSACTION_ID, fields))
    assert message.unknown_required({Attribute.PRIORITY}) == [0x7F01]


def test_error_code_and_unknown_attributes_both_ways() -> None:
    fields = [
        stun_attributes.error_code(ErrorCode.UNKNOWN_ATTRIBUTE, "what?"),
        stun_attributes.unknown_attributes([0x7F01, 2]),
    ]
    message = parse_message(build_message(MessageClass.ERROR, 1, TRANSACTION_ID, fields))
    assert message.error_code == (420, "what?")
    listed = message.get(Attribute.UNKNOWN_ATTRIBUTES)
    assert listed is not None
    assert stun_attributes.decode_unknown_attributes(listed) == (0x7F01, 2)
    assert message.get(Attribute.SOFTWARE) is None


@pytest.mark.parametrize(
    ("kind", "value", "name"),
    [
        (Attribute.PRIORITY, b"\0\0\1", "priority"),
        (Attribute.ICE_CONTROLLING, b"\0" * 7, "ice_controlling"),
        (Attribute.ICE_CONTROLLED, b"", "ice_controlled"),
        (Attribute.USERNAME, b"\xff\xfe", "username"),
        (Attribute.USERNAME, b"a" * 509, "username"),
        (Attribute.ERROR_CODE, b"\0\0\2\0", "error_code"),
        (Attribute.ERROR_CODE, b"\0\0\4", "error_code"),
        (Attribute.ERROR_CODE, b"\0\0\4\x64", "error_code"),
        (Attribute.XOR_MAPPED_ADDRESS, b"\0\3\0\0\0\0\0\0", "mapped_address"),
        (Attribute.XOR_MAPPED_ADDRESS, b"\0\2\0\0\0\0\0\0", "mapped_address"),
        (Attribute.MAPPED_ADDRESS, b"", "mapped_address"),
    ],
)
def test_malformed_attribute_raises_when_it_is_read(kind: int, value: bytes, name: str) -> None:
    message = parse_message(build_message(MessageClass.REQUEST, 1, TRANSACTION_ID, [(kind, value)]))
    with pytest.raises(StunError):
        getattr(message, name)


def test_mapped_address_stands_in_where_the_xor_one_is_missing() -> None:
    value = stun_attributes.encode_address(("192.0.2.9", 99))
    message = parse_message(build_message(MessageClass.SUCCESS, 1, TRANSACTION_ID, [(Attribute.MAPPED_ADDRESS, value)]))
    assert message.mapped_address == ("192.0.2.9", 99)


def test_too_many_attributes_are_refused() -> None:
    with pytest.raises(StunError, match="too many"):
        parse_message(build_message(MessageClass.REQUEST, 1, TRANSACTION_ID, [(0x8001, b"")] * 65))


def test_odd_unknown_attributes_and_wrong_transaction_id_are_refused() -> None:
    with pytest.raises(StunError):
        stun_attributes.decode_unknown_attributes(b"\0")
    with pytest.raises(ValueError, match="12 bytes"):
        build_message(MessageClass.REQUEST, 1, b"short")
