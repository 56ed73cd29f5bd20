"""Who is there: JSON Web Tokens (RFC 7519, RFC 8725), EdDSA or ES256, by keys that speak for named tenants only."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, Protocol

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec import Meta

from triortc.engine.calls.actor import Actor, Role
from triortc.errors import ConfigurationError, SignalingError
from triortc.signaling.wire_values import Id, Subject, Word

__all__ = [
    "ALL_CAPABILITIES",
    "AUDIENCE",
    "Claims",
    "DevelopmentIssuer",
    "KeyPort",
    "KeySet",
    "KeysUnavailableError",
    "NoRevocations",
    "RevocationPort",
    "TokenError",
    "TokenVerifier",
    "VerificationKey",
]

AUDIENCE: Final = "triortc"
ALGORITHMS: Final = ("EdDSA", "ES256")
MAX_LIFETIME_S: Final = 3600
_DEVELOPMENT_ISSUER: Final = "triortc-development"
CLOCK_SKEW_S: Final = 300
ALL_CAPABILITIES: Final = (
    "video.receive",
    "video.invite",
    "handoff",
    "presence",
    "history",
    "call.end",
    "record",
)


class TokenError(SignalingError):
    """A token is not acceptable.

    Attributes:
        code: `auth.invalid`, `auth.expired` or `auth.device_mismatch`; `server.unavailable` where it may come again as
            it is. The message does not say more than the client may know.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class KeysUnavailableError(TokenError):
    """Whether a key is there cannot be told now: the same token may be right later."""

    def __init__(self) -> None:
        super().__init__("server.unavailable", "the keys of the token's issuer cannot be read at the moment")


Words = Annotated[tuple[Word, ...], Meta(max_length=64)]
Seconds = Annotated[float, Meta(ge=0, le=2**53 - 1)]


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """The claims of a verified token; times are unix seconds."""

    iss: Annotated[str, Meta(min_length=1, max_length=256)]
    sub: Subject
    org: Word
    role: Role
    iat: Seconds
    exp: Seconds
    nbf: Seconds | None = None
    jti: Annotated[str, Meta(min_length=1, max_length=128)]
    did: Id | None = None
    grp: Words = ()
    cap: Words = ()
    cv: Annotated[tuple[Id, ...], Meta(max_length=8)] = ()
    name: Annotated[str, Meta(max_length=128)] | None = None
    avatar: Annotated[str, Meta(max_length=2048)] | None = None

    def actor(self, device: str) -> Actor:
        """The author of what comes from this device.

        Raises:
            TokenError: the token is for another device.
        """
        if self.did is not None and self.did != device:
            raise TokenError("auth.device_mismatch", "the token was issued for another device")
        return Actor(
            sub=self.sub,
            role=self.role,
            org=self.org,
            device=device,
            caps=frozenset(self.cap),
            groups=frozenset(self.grp),
            name=self.name,
            avatar=self.avatar,
            conversations=frozenset(self.cv),
        )


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A public key, and whom it may speak for.

    Attributes:
        kid: the key's id, unique among all keys.
        algorithm: the only algorithm this key is used with.
        public_key: an Ed25519 or a P-256 key.
        issuer: the `iss` that its tokens must name.
        organizations: the tenants (`org`) it may assert.
    """

    kid: str
    algorithm: Literal["EdDSA", "ES256"]
    public_key: Ed25519PublicKey | EllipticCurvePublicKey
    issuer: str
    organizations: frozenset[str]

    def __post_init__(self) -> None:
        right = (
            isinstance(self.public_key, Ed25519PublicKey)
            if self.algorithm == "EdDSA"
            else isinstance(self.public_key, EllipticCurvePublicKey) and isinstance(self.public_key.curve, SECP256R1)
        )
        if not right:
            raise ConfigurationError(
                f"key {self.kid!r}: {self.algorithm} needs an Ed25519 key (EdDSA) or a P-256 key (ES256)"
            )


class KeyPort(Protocol):
    """Where verification keys come from, for example a cached JWKS document of each tenant."""

    async def find(self, kid: str, issuer: str) -> VerificationKey | None:
        """The key of that id among those of an issuer; None: there is none.

        The issuer is what the token says before it is verified: it only tells whose keys to look at, so that one issuer
        cannot put its own key in the place of another's of the same id.

        Raises:
            KeysUnavailableError: the key is not known, and the issuer's keys cannot be read.
        """


class RevocationPort(Protocol):
    """Which tokens are not valid any more although they have not run out."""

    async def revoked(self, claims: Claims) -> bool:
        """Whether this token (`jti`) or its principal (`sub` inside `org`) is revoked."""


class NoRevocations:
    """No token is ever revoked."""

    async def revoked(self, claims: Claims) -> bool:
        """False."""
        return False


class KeySet:
    """Keys known from the start.

    Args:
        keys: the keys; their ids must differ.
    """

    def __init__(self, keys: Collection[VerificationKey] = ()) -> None:
        self._keys = {key.kid: key for key in keys}
        if len(self._keys) != len(keys):
            raise ConfigurationError("two keys have the same kid: give every key of a set its own")

    def get(self, kid: str) -> VerificationKey | None:
        """The key of that id."""
        return self._keys.get(kid)

    async def find(self, kid: str, issuer: str) -> VerificationKey | None:
        """The key of that id, if it is the issuer's."""
        key = self._keys.get(kid)
        return key if key is not None and key.issuer == issuer else None

    @classmethod
    def from_jwks(cls, document: str | bytes, *, issuer: str, organizations: Collection[str]) -> KeySet:
        """Read a JSON Web Key Set (RFC 7517). Other keys than Ed25519 and P-256, and broken ones, are passed over.

        Args:
            document: the JSON text.
            issuer: the `iss` of its tokens.
            organizations: the tenants it may speak for.

        Raises:
            ConfigurationError: it is no key set, or no usable key with a `kid` is in it.
        """
        try:
            entries = json.loads(document)["keys"]
            usable = [key for entry in entries if (key := _read_key(entry, issuer, frozenset(organizations)))]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, jwt.PyJWTError) as error:
            raise ConfigurationError(f"not a JSON Web Key Set: {error}") from None
        if not usable:
            raise ConfigurationError("the key set holds no Ed25519 or P-256 key with a kid")
        return cls(usable)


def _read_key(entry: Mapping[str, Any], issuer: str, organizations: frozenset[str]) -> VerificationKey | None:
    algorithm: Literal["EdDSA", "ES256"]
    match entry.get("kty"), entry.get("crv"):
        case "OKP", "Ed25519":
            algorithm = "EdDSA"
        case "EC", "P-256":
            algorithm = "ES256"
        case _:
            return None
    if not isinstance(entry.get("kid"), str) or entry.get("use", "sig") != "sig" or "d" in entry:
        return None
    try:
        public_key = jwt.PyJWK(dict(entry), algorithm).key
    except (jwt.PyJWTError, ValueError, TypeError):
        return None  # RFC 7517 section 5: one that lacks a member, or has what makes no sense, spoils no other
    return VerificationKey(entry["kid"], algorithm, public_key, issuer, organizations)


class TokenVerifier:
    """Checks tokens.

    Args:
        keys: where keys come from.
        revocations: which tokens are revoked.
        wall_s: unix seconds, now.
        clock_skew_s: how far an issuer's clock may be off.
        max_lifetime_s: the longest time from `iat` to `exp`.
    """

    def __init__(
        self,
        keys: KeyPort,
        *,
        wall_s: Callable[[], float],
        revocations: RevocationPort | None = None,
        clock_skew_s: float = CLOCK_SKEW_S,
        max_lifetime_s: float = MAX_LIFETIME_S,
    ) -> None:
        self._keys = keys
        self._revocations = NoRevocations() if revocations is None else revocations
        self._wall_s = wall_s
        self._clock_skew_s = clock_skew_s
        self._max_lifetime_s = max_lifetime_s

    async def verify(self, token: str) -> Claims:
        """Check signature, key, tenant, audience, times and revocation.

        Raises:
            TokenError: `auth.invalid` or `auth.expired`; `server.unavailable` while the issuer's keys cannot be read.
        """
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, UnicodeEncodeError):  # the latter: half a surrogate pair, which is no text
            raise TokenError("auth.invalid", "this is no token") from None
        kid = header.get("kid")
        issuer = _named_issuer(token)
        key = None
        if isinstance(kid, str) and len(kid) <= 256 and issuer is not None:
            key = await self._keys.find(kid, issuer)
        if key is None or header.get("alg") != key.algorithm:
            raise TokenError("auth.invalid", "the token is signed with no key that is known here")
        claims = self._decode(token, key)
        if claims.iss != key.issuer or claims.org not in key.organizations:
            raise TokenError("auth.invalid", "the key may not speak for this issuer and organization")
        self._check_times(claims)
        if claims.role == "agent" and claims.did is None:
            raise TokenError("auth.invalid", "an agent's token names its device (did)")
        if await self._revocations.revoked(claims):
            raise TokenError("auth.invalid", "the token is revoked")
        return claims

    def _decode(self, token: str, key: VerificationKey) -> Claims:
        # The times are checked below, against a clock that tests can turn.
        options: Any = {
            "require": ["iss", "aud", "sub", "org", "role", "iat", "exp", "jti"],
            "verify_exp": False,
            "verify_nbf": False,
            "verify_iat": False,
        }
        try:
            decoded = jwt.decode(token, key.public_key, algorithms=[key.algorithm], audience=AUDIENCE, options=options)
            claims = msgspec.convert(decoded, Claims)
            # Half a surrogate pair can be escaped in JSON (RFC 8259 section 8.2), and read, and be told to nobody.
            msgspec.json.encode(claims)
        except (jwt.PyJWTError, msgspec.ValidationError, RecursionError, UnicodeEncodeError):
            raise TokenError("auth.invalid", "signature, audience or claims are not right") from None
        return claims

    def _check_times(self, claims: Claims) -> None:
        now = self._wall_s()
        if claims.exp - claims.iat > self._max_lifetime_s:
            raise TokenError("auth.invalid", f"a token lives {self._max_lifetime_s:.0f} s at most")
        if max(claims.iat, claims.nbf or 0.0) > now + self._clock_skew_s:
            raise TokenError("auth.invalid", "the token is not valid yet")
        if claims.exp + self._clock_skew_s <= now:
            raise TokenError("auth.expired", "the token has run out")

    def remaining_s(self, claims: Claims) -> float:
        """Seconds for which a verified token is still accepted."""
        return claims.exp + self._clock_skew_s - self._wall_s()


def _named_issuer(token: str) -> str | None:
    """What a token that nobody has verified says of its issuer."""
    try:
        named = jwt.decode(token, options={"verify_signature": False}).get("iss")
    except (jwt.PyJWTError, RecursionError):
        return None
    return named if isinstance(named, str) else None


class DevelopmentIssuer:
    """Issues tokens to anybody who asks, with a key that lives as long as the process. For development only.

    It is its own `KeyPort`: the key may speak for the tenants that tokens were asked for.

    Args:
        random_bytes: the source of the key and of token ids.
        wall_s: unix seconds, now.
        default_organization: the tenant of tokens that name none.
    """

    MAX_ORGANIZATIONS: Final = 1000

    def __init__(
        self,
        *,
        random_bytes: Callable[[int], bytes],
        wall_s: Callable[[], float],
        default_organization: str = "dev",
    ) -> None:
        self._random_bytes = random_bytes
        self._wall_s = wall_s
        self._private_key = Ed25519PrivateKey.from_private_bytes(random_bytes(32))
        self._default_organization = default_organization
        self._organizations = {default_organization}
        self._kid = "development-" + random_bytes(8).hex()

    async def find(self, kid: str, issuer: str) -> VerificationKey | None:
        """The key, if this is its id."""
        if kid != self._kid or issuer != _DEVELOPMENT_ISSUER:
            return None
        public_key = self._private_key.public_key()
        return VerificationKey(kid, "EdDSA", public_key, _DEVELOPMENT_ISSUER, frozenset(self._organizations))

    def issue(
        self,
        *,
        role: Role,
        sub: str,
        did: str | None = None,
        name: str | None = None,
        org: str | None = None,
        grp: Collection[str] = ("default",),
        cv: Collection[str] = (),
        cap: Collection[str] | None = None,
        lifetime_s: float = MAX_LIFETIME_S,
    ) -> str:
        """Make a token. Capabilities default to all of them, the group to `default`.

        Raises:
            ConfigurationError: more tenants were named than a development server is for.
        """
        now = self._wall_s()
        organization = org or self._default_organization
        if organization not in self._organizations and len(self._organizations) >= self.MAX_ORGANIZATIONS:
            raise ConfigurationError(f"a development server has {self.MAX_ORGANIZATIONS} organizations at most")
        self._organizations.add(organization)
        claims = {
            "iss": _DEVELOPMENT_ISSUER,
            "aud": AUDIENCE,
            "sub": sub,
            "org": organization,
            "role": role,
            "iat": int(now),
            "nbf": int(now),
            "exp": int(now + lifetime_s),
            "jti": self._random_bytes(16).hex(),
            "grp": list(grp),
            "cap": list(ALL_CAPABILITIES if cap is None else cap),
            "cv": list(cv),
        }
        claims.update({key: value for key, value in (("did", did), ("name", name)) if value is not None})
        return jwt.encode(claims, self._private_key, algorithm="EdDSA", headers={"kid": self._kid})
