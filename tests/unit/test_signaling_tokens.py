"""Tokens (3.8, 3.8b): algorithms, keys and whom they speak for, times, revocation, the development issuer."""

from __future__ import annotations

import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from triortc.errors import ConfigurationError, SignalingError
from triortc.signaling.revocations import RevocationList
from triortc.signaling.tokens import (
    ALL_CAPABILITIES,
    Claims,
    DevelopmentIssuer,
    KeySet,
    TokenError,
    TokenVerifier,
    VerificationKey,
)

NOW = 1_800_000_000
ED = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
P256 = ec.derive_private_key(12345, ec.SECP256R1())
KEYS = KeySet(
    [
        VerificationKey("ed", "EdDSA", ED.public_key(), "https://one.example", frozenset({"acme", "globex"})),
        VerificationKey("p256", "ES256", P256.public_key(), "https://two.example", frozenset({"initech"})),
    ]
)


def claims(**changes: Any) -> dict[str, Any]:
    base = {
        "iss": "https://one.example",
        "aud": "triortc",
        "sub": "ana",
        "org": "acme",
        "role": "agent",
        "did": "d1",
        "iat": NOW,
        "nbf": NOW,
        "exp": NOW + 3600,
        "jti": "j1",
    }
    return {key: value for key, value in {**base, **changes}.items() if value is not None}


def token(kid: str | None = "ed", key: Any = ED, algorithm: str = "EdDSA", **changes: Any) -> str:
    return jwt.encode(claims(**changes), key, algorithm=algorithm, headers={"kid": kid} if kid else {})


async def verify(text: str, now: float = NOW, **options: Any) -> Claims:
    return await TokenVerifier(KEYS, wall_s=lambda: now, **options).verify(text)


async def refused(text: str, now: float = NOW, **options: Any) -> str:
    with pytest.raises(TokenError) as error:
        await verify(text, now, **options)
    assert isinstance(error.value, SignalingError)
    return error.value.code


async def test_a_token_by_ed25519_is_taken_with_everything_it_says() -> None:
    verified = await verify(token(grp=["sales"], cap=["video.receive"], cv=["cv_1"], name="Ana", avatar="https://x/y"))
    actor = verified.actor("d1")
    assert (actor.org, actor.role, actor.sub, actor.device) == ("acme", "agent", "ana", "d1")
    assert [*actor.groups, *actor.caps, *actor.conversations] == ["sales", "video.receive", "cv_1"]
    assert (actor.name, actor.avatar) == ("Ana", "https://x/y")


async def test_a_token_by_p256_is_taken() -> None:
    verified = await verify(token("p256", P256, "ES256", iss="https://two.example", org="initech"))
    assert verified.org == "initech"


async def test_the_key_may_not_be_used_with_another_algorithm() -> None:
    pem = ED.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    header = {"alg": "HS256", "kid": "ed", "typ": "JWT"}
    parts = [jwt.utils.base64url_encode(json.dumps(part).encode()) for part in (header, claims())]
    signature = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(b".".join(parts), pem)
    forged = b".".join([*parts, jwt.utils.base64url_encode(signature)]).decode()
    assert await refused(forged) == "auth.invalid"
    unsigned = b".".join([jwt.utils.base64url_encode(b'{"alg":"none","kid":"ed"}'), parts[1], b""]).decode()
    assert await refused(unsigned) == "auth.invalid"
    rsa_key = rsa.generate_private_key(65537, 2048)
    assert await refused(token("ed", rsa_key, "RS256")) == "auth.invalid"
    assert await refused(token("ed", P256, "ES256")) == "auth.invalid"


async def test_a_key_of_one_tenant_may_not_speak_for_another() -> None:
    assert (await verify(token(org="globex"))).org == "globex"
    assert await refused(token(org="initech")) == "auth.invalid"
    assert await refused(token(iss="https://two.example")) == "auth.invalid"
    assert await refused(token("p256", P256, "ES256")) == "auth.invalid"


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "other"},
        {"aud": None},
        {"exp": None},
        {"iat": None},
        {"jti": None},
        {"sub": None},
        {"sub": ""},
        {"org": None},
        {"role": "admin"},
        {"role": None},
        {"did": None},
        {"cv": ["x"] * 9},
        {"exp": NOW + 3601},
        {"iat": NOW + 301, "nbf": None, "exp": NOW + 600},
        {"nbf": NOW + 301},
        {"exp": "soon"},
        {"grp": "sales"},
    ],
    ids=str,
)
async def test_a_token_with_wrong_claims_is_invalid(changes: dict[str, Any]) -> None:
    assert await refused(token(**changes)) == "auth.invalid"


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "\ud800"},
        {"sub": "v\udfff"},
        {"avatar": "\ud83d"},
        {"grp": ["\ud800"]},
        {"jti": "\ud800"},
    ],
)
async def test_3_8_a_claim_that_could_be_told_to_nobody_is_invalid(changes: dict[str, Any]) -> None:
    r"""JSON may escape half a surrogate pair (`"\ud800"`); no message of ours could hold it."""
    assert await refused(token(**changes)) == "auth.invalid"


@pytest.mark.parametrize("text", ["\ud800", "a.b.\udc00", ""])
async def test_a_text_that_is_no_token_at_all_is_invalid(text: str) -> None:
    assert await refused(text) == "auth.invalid"


async def test_a_token_that_nobody_here_signed_is_invalid() -> None:
    assert await refused(token(key=Ed25519PrivateKey.generate())) == "auth.invalid"
    assert await refused(token("unknown")) == "auth.invalid"
    assert await refused(token(None)) == "auth.invalid"
    assert await refused("a.b.c") == "auth.invalid"
    assert await refused(token() + "x") == "auth.invalid"


async def test_clocks_may_differ_by_five_minutes() -> None:
    assert await verify(token(iat=NOW + 300, nbf=NOW + 300))
    assert await verify(token(), now=NOW + 3600 + 299)
    assert await refused(token(), now=NOW + 3600 + 300) == "auth.expired"


async def test_a_visitor_needs_no_device_in_its_token_but_one_that_is_there_binds() -> None:
    visitor = await verify(token(role="visitor", did=None, cv=["cv_1"]))
    assert visitor.actor("any").device == "any"
    bound = await verify(token(role="visitor", did="d1"))
    with pytest.raises(TokenError) as error:
        bound.actor("d2")
    assert error.value.code == "auth.device_mismatch"


async def test_a_revoked_token_is_invalid() -> None:
    class Revoked:
        async def revoked(self, claims: Claims) -> bool:
            return claims.jti == "j1"

    assert await refused(token(), revocations=Revoked()) == "auth.invalid"
    assert await verify(token(jti="j2"), revocations=Revoked())


def jwk(private: Any, **fields: Any) -> dict[str, Any]:
    algorithm = jwt.algorithms.OKPAlgorithm if isinstance(private, Ed25519PrivateKey) else jwt.algorithms.ECAlgorithm
    return {**json.loads(algorithm.to_jwk(private.public_key())), **fields}


async def test_a_key_set_is_read_and_other_keys_in_it_are_passed_over() -> None:
    document = {
        "keys": [
            {"kty": "RSA", "kid": "r", "n": "AQAB", "e": "AQAB"},
            {"kty": "oct", "kid": "o", "k": "AAAA"},
            jwk(ED, kid="ed", use="sig"),
            jwk(P256, kid="p256"),
            jwk(P256, kid="encryption", use="enc"),
            jwk(P256),
        ]
    }
    keys = KeySet.from_jwks(json.dumps(document), issuer="https://one.example", organizations=["acme"])
    verifier = TokenVerifier(keys, wall_s=lambda: NOW)
    assert (await verifier.verify(token())).sub == "ana"
    assert (await verifier.verify(token("p256", P256, "ES256"))).sub == "ana"
    assert await keys.find("encryption", "https://one.example") is None


@pytest.mark.parametrize("broken", [{"x": None}, {"x": "AA"}, {"x": 5}, {"x": "\u00e9"}], ids=str)
async def test_rfc7517_5_a_broken_key_of_a_set_spoils_no_other(broken: dict[str, Any]) -> None:
    spoilt = {name: value for name, value in {**jwk(ED, kid="spoilt"), **broken}.items() if value is not None}
    document = json.dumps({"keys": [spoilt, jwk(ED, kid="ed")]})
    keys = KeySet.from_jwks(document, issuer="https://issuer.example", organizations=["shop"])
    assert keys.get("ed") is not None
    assert keys.get("spoilt") is None
    with pytest.raises(ConfigurationError, match="no Ed25519 or P-256 key"):
        KeySet.from_jwks(json.dumps({"keys": [spoilt]}), issuer="https://issuer.example", organizations=["shop"])


@pytest.mark.parametrize(
    "document", ["", "[]", "{}", '{"keys":5}', '{"keys":[]}', '{"keys":[5]}', '{"keys":[{"kty":"OKP"}]}']
)
def test_what_is_no_key_set_is_refused_at_once(document: str) -> None:
    with pytest.raises(ConfigurationError):
        KeySet.from_jwks(document, issuer="i", organizations=["o"])


def test_keys_that_do_not_fit_their_algorithm_or_share_an_id_are_refused_at_once() -> None:
    with pytest.raises(ConfigurationError):
        VerificationKey("k", "ES256", ED.public_key(), "i", frozenset())
    with pytest.raises(ConfigurationError):
        VerificationKey("k", "EdDSA", P256.public_key(), "i", frozenset())
    with pytest.raises(ConfigurationError):
        VerificationKey("k", "ES256", ec.derive_private_key(5, ec.SECP384R1()).public_key(), "i", frozenset())
    key = VerificationKey("k", "EdDSA", ED.public_key(), "i", frozenset())
    with pytest.raises(ConfigurationError, match="kid"):
        KeySet([key, key])


async def test_the_development_issuer_gives_every_capability_and_the_default_group() -> None:
    issuer = DevelopmentIssuer(random_bytes=bytes, wall_s=lambda: NOW)
    verifier = TokenVerifier(issuer, wall_s=lambda: NOW)
    verified = await verifier.verify(issuer.issue(role="agent", sub="ana", did="d1"))
    assert (verified.org, verified.grp, set(verified.cap)) == ("dev", ("default",), set(ALL_CAPABILITIES))
    other = await verifier.verify(issuer.issue(role="visitor", sub="v", org="acme", cap=[], grp=["x"]))
    assert (other.org, other.cap, other.grp) == ("acme", (), ("x",))
    assert await refused(issuer.issue(role="visitor", sub="v")) == "auth.invalid"


async def test_3_8_a_list_of_revocations_that_is_empty_at_the_start_is_asked_all_the_same() -> None:
    revocations = RevocationList(wall_s=lambda: NOW)
    verifier = TokenVerifier(KEYS, wall_s=lambda: NOW, revocations=revocations)
    assert (await verifier.verify(token())).sub == "ana"
    revocations.revoke_person("acme", "ana")
    with pytest.raises(TokenError) as error:
        await verifier.verify(token())
    assert error.value.code == "auth.invalid"
