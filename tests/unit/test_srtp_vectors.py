"""SRTP and SRTCP against the numbers of the RFCs, and against packets that another implementation made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from triortc.engine.protection_profile import PROFILES
from triortc.engine.srtp import PROFILES_BY_NAME, SrtpInbound, SrtpOutbound, SrtpProfile
from triortc.engine.srtp.key_derivation import SessionKeys, derive_session_keys
from triortc.engine.srtp.transform import AesCmTransform, AesGcmTransform, make_transform

VECTORS = Path(__file__).parent.parent / "vectors"
_NAMES = {
    "AES_CM_128": "AES128_CM_HMAC_SHA1_80",
    "AES_CM_128_HMAC_SHA1_80": "AES128_CM_HMAC_SHA1_80",
    "AES_CM_128_HMAC_SHA1_32": "AES128_CM_HMAC_SHA1_32",
}


def _load(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((VECTORS / name).read_text())
    return content


def _vectors(name: str) -> list[dict[str, Any]]:
    vectors: list[dict[str, Any]] = _load(name)["vectors"]
    return vectors


def _profile(name: str) -> SrtpProfile:
    return PROFILES_BY_NAME[_NAMES.get(name, name)]


def _hex(vector: dict[str, Any], key: str) -> bytes:
    return bytes.fromhex(vector.get(key, ""))


def _header_length(packet: bytes) -> int:
    length = 12 + 4 * (packet[0] & 15)
    if packet[0] & 0x10:
        length += 4 + 4 * int.from_bytes(packet[length + 2 : length + 4], "big")
    return length


def _session_keys(vector: dict[str, Any]) -> SessionKeys:
    return SessionKeys(
        rtp_key=_hex(vector, "rtp_key"),
        rtp_salt=_hex(vector, "rtp_salt"),
        rtcp_key=_hex(vector, "rtcp_key"),
        rtcp_salt=_hex(vector, "rtcp_salt"),
        rtp_authentication=_hex(vector, "rtp_auth"),
        rtcp_authentication=_hex(vector, "rtcp_auth"),
    )


def _named(vectors: list[dict[str, Any]], key: str) -> list[Any]:
    return [pytest.param(vector, id=vector[key]) for vector in vectors]


def test_key_derivation_rfc3711_b3() -> None:
    vector = next(v for v in _vectors("srtp_key_derivation.json") if v["name"] == "b3")
    keys = derive_session_keys(
        PROFILES_BY_NAME["AES128_CM_HMAC_SHA1_80"], _hex(vector, "master_key"), _hex(vector, "master_salt")
    )
    assert keys.rtp_key == _hex(vector, "cipher_key")
    assert keys.rtp_salt == _hex(vector, "cipher_salt")
    assert keys.rtp_authentication == _hex(vector, "auth_key_94")[:20]


def test_key_derivation_with_256_bits_rfc6188_7_3() -> None:
    vector = next(v for v in _vectors("srtp_key_derivation.json") if v["name"] == "rfc6188_aes256")
    profile = SrtpProfile("AES256_CM_HMAC_SHA1_80", 0, "", 32, 14, 10, 10, aead=False)
    keys = derive_session_keys(profile, _hex(vector, "master_key"), _hex(vector, "master_salt"))
    assert keys.rtp_key == _hex(vector, "cipher_key")
    assert keys.rtp_salt == _hex(vector, "cipher_salt")
    assert keys.rtp_authentication == _hex(vector, "auth_key")


@pytest.mark.parametrize(
    "vector", _named([v for v in _vectors("srtp_key_derivation.json") if "session_keys" in v], "name")
)
def test_all_six_session_keys_rfc3711_4_3_2_and_rfc7714_11(vector: dict[str, Any]) -> None:
    profile = _profile(vector["name"].removeprefix("all_labels_"))
    derived = derive_session_keys(profile, _hex(vector, "master_key"), _hex(vector, "master_salt"))
    assert derived == _session_keys(vector["session_keys"])


def test_counter_mode_keystream_rfc3711_b2() -> None:
    (vector,) = _vectors("srtp_aes_cm_keystream.json")
    salt = _hex(vector, "session_salt_padded")[:14]
    keys = SessionKeys(
        rtp_key=_hex(vector, "session_key"), rtp_salt=salt, rtcp_key=bytes(16), rtcp_salt=bytes(14),
        rtp_authentication=bytes(20), rtcp_authentication=bytes(20),
    )  # fmt: skip
    transform = AesCmTransform(keys, 10, 10)
    out = bytearray(12 + vector["keystream_bytes"] + 10)
    zeros = bytes(vector["keystream_bytes"])
    transform.seal_rtp(bytes(12), zeros, transform.rtp_iv(vector["ssrc"]), vector["seq"], memoryview(out))
    for block in vector["blocks"]:
        at = 12 + 16 * int(block["counter"], 16)
        assert out[at : at + 16].hex() == block["keystream"]


@pytest.mark.parametrize("vector", _named(_vectors("srtp_rfc7714.json"), "profile"))
def test_srtp_packets_rfc7714_16(vector: dict[str, Any]) -> None:
    transform = _gcm(vector)
    plain, protected = _hex(vector["srtp"], "plain"), _hex(vector["srtp"], "protected")
    ssrc, index = int.from_bytes(plain[8:12], "big"), int.from_bytes(plain[2:4], "big")
    iv = transform.rtp_iv(ssrc)
    assert (iv ^ index).to_bytes(12, "big") == _hex(vector["srtp"], "iv")
    out = bytearray(len(protected))
    transform.seal_rtp(plain[:12], plain[12:], iv, index, memoryview(out))
    assert out == protected
    opened = bytearray(len(plain) - 12)
    assert transform.open_rtp(memoryview(protected), 12, iv, index, memoryview(opened))
    assert opened == plain[12:]


@pytest.mark.parametrize("vector", _named(_vectors("srtp_rfc7714.json"), "profile"))
def test_authentication_alone_rfc7714_16(vector: dict[str, Any]) -> None:
    # Not used with RTP, but the same tag: the nonce and the associated data are as they should be.
    sealed = AESGCM(_hex(vector, "session_key")).encrypt(_hex(vector["srtp"], "iv"), b"", _hex(vector["srtp"], "plain"))
    assert _hex(vector["srtp"], "plain") + sealed == _hex(vector["srtp"], "authenticated_only")


@pytest.mark.parametrize("vector", _named(_vectors("srtp_rfc7714.json"), "profile"))
def test_srtcp_packets_rfc7714_17(vector: dict[str, Any]) -> None:
    transform = _gcm(vector)
    plain, protected = _hex(vector["srtcp"], "plain"), _hex(vector["srtcp"], "protected")
    index = vector["srtcp"]["index"]
    iv = transform.rtcp_iv(int.from_bytes(plain[4:8], "big"))
    assert (iv ^ index).to_bytes(12, "big") == _hex(vector["srtcp"], "iv")
    assert transform.seal_rtcp(plain, iv, index) == protected
    assert transform.open_rtcp(protected, iv, 1 << 31 | index) == plain


@pytest.mark.parametrize("vector", _named(_vectors("srtp_rfc7714.json"), "profile"))
def test_srtcp_without_encryption_rfc7714_9_3(vector: dict[str, Any]) -> None:
    transform = _gcm(vector)
    plain, packet = _hex(vector["srtcp"], "plain"), _hex(vector["srtcp"], "authenticated_only")
    iv = transform.rtcp_iv(int.from_bytes(plain[4:8], "big"))
    assert transform.open_rtcp(packet, iv, vector["srtcp"]["index"]) == plain
    assert transform.open_rtcp(packet, iv, vector["srtcp"]["index"] + 1) is None


def _gcm(vector: dict[str, Any]) -> AesGcmTransform:
    key, salt = _hex(vector, "session_key"), _hex(vector, "session_salt")
    transform = make_transform(
        _profile(vector["profile"]), SessionKeys(rtp_key=key, rtp_salt=salt, rtcp_key=key, rtcp_salt=salt)
    )
    assert isinstance(transform, AesGcmTransform)
    return transform


PACKETS = [vector for vector in _vectors("srtp_packets.json") if "master_salt" in vector]


@pytest.mark.parametrize("vector", _named(PACKETS, "profile"))
def test_rtp_packets_are_protected_byte_for_byte_with_roll_over_rfc3711_3_3(vector: dict[str, Any]) -> None:
    outbound = SrtpOutbound(_profile(vector["profile"]), _hex(vector, "master_key"), _hex(vector, "master_salt"))
    for packet in vector.get("rtp", ()):
        plain, out = _hex(packet, "plain"), bytearray(1500)
        at = _header_length(plain)
        length = outbound.protect_rtp(plain[:at], packet["seq"], packet["ssrc"], plain[at:], memoryview(out))
        assert out[:length].hex() == packet["protected"]


@pytest.mark.parametrize("vector", _named(PACKETS, "profile"))
def test_rtp_packets_are_unprotected_rfc3711_3_3(vector: dict[str, Any]) -> None:
    inbound = SrtpInbound(_profile(vector["profile"]), _hex(vector, "master_key"), _hex(vector, "master_salt"))
    for packet in vector.get("rtp", ()):
        plain, protected, out = _hex(packet, "plain"), _hex(packet, "protected"), bytearray(1500)
        at = _header_length(protected)
        length = inbound.unprotect_rtp(memoryview(protected), at, packet["seq"], packet["ssrc"], memoryview(out))
        assert out[:length] == plain[at:]
        again = inbound.unprotect_rtp(memoryview(protected), at, packet["seq"], packet["ssrc"], memoryview(out))
        assert again == -1
    assert inbound.dropped_replay == len(vector.get("rtp", ()))
    assert inbound.dropped_authentication == inbound.dropped_malformed == 0


@pytest.mark.parametrize("vector", _named(PACKETS, "profile"))
def test_rtcp_packets_both_ways_rfc3711_3_4(vector: dict[str, Any]) -> None:
    keys = _profile(vector["profile"]), _hex(vector, "master_key"), _hex(vector, "master_salt")
    inbound, outbound = SrtpInbound(*keys), SrtpOutbound(*keys)
    started: set[bytes] = set()
    for packet in vector.get("rtcp", ()):
        plain, protected = _hex(packet, "plain"), _hex(packet, "protected")
        assert inbound.unprotect_rtcp(protected) == plain
        assert inbound.unprotect_rtcp(protected) is None
        if plain[4:8] not in started:
            # The maker of the vectors sends index 1 first, we send 0 first as the RFC has it.
            started.add(plain[4:8])
            outbound.protect_rtcp(plain)
        assert outbound.protect_rtcp(plain) == protected
    assert inbound.dropped_replay == len(vector.get("rtcp", ()))


def test_the_first_srtcp_index_is_zero_rfc3711_3_2_1() -> None:
    profile = PROFILES[0]
    packet = SrtpOutbound(profile, bytes(16), bytes(12)).protect_rtcp(bytes(8))
    assert packet[-4:] == b"\x80\0\0\0"


@pytest.mark.parametrize("vector", _named([v for v in PACKETS if "tampered" in v], "profile"))
def test_tampered_packets_are_dropped_rfc3711_3_3(vector: dict[str, Any]) -> None:
    inbound = SrtpInbound(_profile(vector["profile"]), _hex(vector, "master_key"), _hex(vector, "master_salt"))
    out = memoryview(bytearray(1500))
    for packet in vector["tampered"]:
        protected = _hex(packet, "protected")
        seq, ssrc = int.from_bytes(protected[2:4], "big"), int.from_bytes(protected[8:12], "big")
        header_length = _header_length(protected) if len(protected) >= 16 else 12
        assert inbound.unprotect_rtp(memoryview(protected), header_length, seq, ssrc, out) == -1
    expected = [packet["expect"] for packet in vector["tampered"]]
    assert inbound.dropped_authentication == expected.count("authentication failure")
    assert inbound.dropped_malformed == expected.count("too short")
