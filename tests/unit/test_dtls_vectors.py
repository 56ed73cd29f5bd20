"""The bytes of DTLS-SRTP: the exporter's layout, and the use_srtp extension."""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest

from support.dtls_pair import make_transport
from triortc.engine.dtls.exporter import EXPORTER_LABEL, keying_material_bytes, split_keying_material
from triortc.engine.protection_profile import PROFILES, SrtpProfile

CONTENT: dict[str, Any] = json.loads((Path(__file__).parent.parent / "vectors" / "dtls_srtp.json").read_text())
HANDSHAKES = [pytest.param(vector, id=vector["profile"]) for vector in CONTENT["vectors"]]


def _profile(vector: dict[str, Any]) -> SrtpProfile:
    return next(profile for profile in PROFILES if profile.identifier == vector["profile_id"])


def _p_sha256(secret: bytes, seed: bytes, length: int) -> bytes:
    """The PRF of RFC 5246 section 5."""
    produced, step = b"", seed
    while len(produced) < length:
        step = hmac.digest(secret, step, hashlib.sha256)
        produced += hmac.digest(secret, step + seed, hashlib.sha256)
    return produced[:length]


@pytest.mark.parametrize("vector", HANDSHAKES)
def test_label_and_length_are_those_of_rfc5764_section_4_2(vector: dict[str, Any]) -> None:
    assert vector["label"].encode() == EXPORTER_LABEL
    secret, client, server = (bytes.fromhex(vector[key]) for key in ("master_secret", "client_random", "server_random"))
    length = keying_material_bytes(_profile(vector))
    assert _p_sha256(secret, EXPORTER_LABEL + client + server, length).hex() == vector["keying_material"]


@pytest.mark.parametrize("vector", HANDSHAKES)
def test_layout_of_the_keying_material_rfc5764_section_4_2_and_rfc7714_section_12(vector: dict[str, Any]) -> None:
    material = bytes.fromhex(vector["keying_material"])
    client = split_keying_material(_profile(vector), material, "client")
    server = split_keying_material(_profile(vector), material, "server")
    assert client.local_key.hex() == server.remote_key.hex() == vector["client_write_master_key"]
    assert client.local_salt.hex() == server.remote_salt.hex() == vector["client_write_master_salt"]
    assert client.remote_key.hex() == server.local_key.hex() == vector["server_write_master_key"]
    assert client.remote_salt.hex() == server.local_salt.hex() == vector["server_write_master_salt"]


def test_a_client_hello_offers_three_profiles_in_order_rfc5764_section_4_1_1() -> None:
    transport = make_transport("client")
    transport.start(0.0)
    hello = transport.poll_transmit()
    assert hello is not None
    (offer,) = (vector for vector in CONTENT["use_srtp"] if vector["name"] == "use_srtp_three")
    data = bytes.fromhex(offer["extension_data"])
    assert b"\x00\x0e" + len(data).to_bytes(2, "big") + data in hello
