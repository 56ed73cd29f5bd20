"""Which tokens are not valid any more, although they have not run out: by token (`jti`) and by person (`sub`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from triortc.errors import ConfigurationError
from triortc.signaling.tokens import CLOCK_SKEW_S, MAX_LIFETIME_S, Claims, Seconds
from triortc.signaling.wire_values import Subject, Word

__all__ = ["RevocationList"]

_MAX_ENTRIES: Final = 100_000


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    org: Word
    jti: Annotated[str, Meta(min_length=1, max_length=128)] | None = None
    sub: Subject | None = None
    at: Seconds | None = None

    def __post_init__(self) -> None:
        if (self.jti is None) == (self.sub is None):
            raise ValueError("a revocation names either jti or sub")


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    revocations: tuple[_Entry, ...] = ()


class RevocationList:
    """A `RevocationPort` in memory. A tenant's entries touch no other, and go when no living token can be meant.

    Args:
        wall_s: unix seconds.
        clock_skew_s: how far an issuer's clock may be off. A token says itself when it was issued, so a person's tokens
            are taken again only when they say that they were issued this long after the revocation.
    """

    def __init__(self, *, wall_s: Callable[[], float], clock_skew_s: float = CLOCK_SKEW_S) -> None:
        self._wall_s = wall_s
        self._clock_skew_s = clock_skew_s
        #: A token that was issued before a revocation has run out by then, whatever its issuer's clock said.
        self._kept_s = MAX_LIFETIME_S + clock_skew_s + CLOCK_SKEW_S
        self._tokens: dict[tuple[str, str], float] = {}
        self._people: dict[tuple[str, str], float] = {}

    def __len__(self) -> int:
        return len(self._tokens) + len(self._people)

    def revoke_token(self, org: str, jti: str) -> None:
        """This token is not valid any more."""
        self._add(self._tokens, (org, jti))

    def revoke_person(self, org: str, sub: str) -> None:
        """No token of this person that may have been issued until now is valid any more; a later one is."""
        self._add(self._people, (org, sub))

    def is_revoked(self, claims: Claims) -> bool:
        """Whether the token itself or its person is revoked."""
        if (claims.org, claims.jti) in self._tokens:
            return True
        since = self._people.get((claims.org, claims.sub))
        return since is not None and claims.iat <= since + self._clock_skew_s

    async def revoked(self, claims: Claims) -> bool:
        """`RevocationPort`."""
        return self.is_revoked(claims)

    def read(self, document: bytes) -> None:
        """Revoke what a JSON document names: `{"revocations": [{"org", "jti"} or {"org", "sub"}, each with "at"?]}`.

        `at` is when it was revoked, in unix seconds. Without, it is when this process first read the entry: another
        process, or this one started anew, then means all tokens that were issued until it has read it.

        Raises:
            ConfigurationError: it is not such a document, or a time in it has not come yet.
        """
        try:
            entries = msgspec.json.decode(document, type=_Document).revocations
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"not a list of revocations: {error}") from None
        if len(entries) > _MAX_ENTRIES:
            raise ConfigurationError(f"a list of revocations has {_MAX_ENTRIES} entries at most")
        now = self._wall_s()
        if any(entry.at is not None and entry.at > now + self._clock_skew_s for entry in entries):
            raise ConfigurationError("a revocation is of the future: its `at` is unix seconds, when it was decided")
        for entry in entries:
            known, name = (self._people, entry.sub) if entry.jti is None else (self._tokens, entry.jti)
            key = entry.org, name or ""
            known[key] = known.get(key, now) if entry.at is None else max(entry.at, known.get(key, 0.0))
        self._tokens, self._people = _by_time(self._tokens), _by_time(self._people)
        self._forget()

    def _add(self, entries: dict[tuple[str, str], float], entry: tuple[str, str]) -> None:
        entries.pop(entry, None)  # the order of the entries is that of their times
        entries[entry] = self._wall_s()
        self._forget()

    def _forget(self) -> None:
        oldest = self._wall_s() - self._kept_s
        for entries in (self._tokens, self._people):
            while entries and (next(iter(entries.values())) < oldest or len(entries) > _MAX_ENTRIES):
                del entries[next(iter(entries))]


def _by_time(entries: dict[tuple[str, str], float]) -> dict[tuple[str, str], float]:
    """In the order in which they are forgotten."""
    return dict(sorted(entries.items(), key=lambda entry: entry[1]))
