"""Keys of tokens from JSON Web Key Sets (RFC 7517), in files and behind URLs, each bound to its issuer and tenants.

A set is kept and read again when it is old, or when a token names a key that is not in it: then at most every
`retry_s`, however many such tokens come, and once for all that wait. A set that cannot be read leaves the one before in
force for `stale_s`: an issuer's outage keeps nobody out who would have come in. A key that is not known while its set
cannot be read may be a new one: nobody is refused for good because of that.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

import httpx
import trio

from triortc.configuration_kinds import require_kinds
from triortc.errors import ConfigurationError
from triortc.signaling.tokens import KeySet, KeysUnavailableError, VerificationKey

__all__ = ["CachedKeys", "JwksCacheConfiguration", "JwksFile", "JwksSource", "JwksUrl"]

_logger: Final = logging.getLogger("triortc.jwks")
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
_NEVER: Final = float("-inf")


class JwksSource(Protocol):
    """Where one issuer's key set comes from."""

    @property
    def issuer(self) -> str:
        """The `iss` that its tokens must name."""

    @property
    def organizations(self) -> Collection[str]:
        """The tenants that its tokens may speak for."""

    async def load(self) -> bytes:
        """Read the document. Raises OSError or httpx.HTTPError."""


@dataclass(frozen=True, slots=True)
class JwksFile:
    """A key set in a file.

    Attributes:
        path: the JSON document.
        issuer: the `iss` of its tokens.
        organizations: the tenants that it may speak for.
    """

    path: Path
    issuer: str
    organizations: tuple[str, ...]

    async def load(self) -> bytes:
        """Read the file."""
        return await trio.Path(self.path).read_bytes()


@dataclass(frozen=True, slots=True)
class JwksUrl:
    """A key set behind a URL; https, unless it is on this machine.

    Attributes:
        url: where the document is; it does not redirect.
        issuer: the `iss` of its tokens.
        organizations: the tenants that it may speak for.
        timeout_s: how long an answer may take; a client waits for it with its `hello`.
        max_bytes: how large the document may be.
    """

    url: str
    issuer: str
    organizations: tuple[str, ...]
    timeout_s: float = 3.0
    max_bytes: int = 256 * 1024

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
            raise ConfigurationError(f"{self.url}: keys come over https, or from this machine")

    async def load(self) -> bytes:
        """Ask for the document."""
        # Reading all the authorities there are takes tens of milliseconds: media on this loop would wait for it.
        tls = await trio.to_thread.run_sync(httpx.create_ssl_context)
        with trio.fail_after(self.timeout_s):
            async with (
                httpx.AsyncClient(verify=tls, follow_redirects=False, timeout=self.timeout_s) as client,
                client.stream("GET", self.url, headers={"accept": "application/json"}) as answer,
            ):
                if answer.status_code != 200:
                    raise httpx.HTTPError(f"status {answer.status_code}")
                document = bytearray()
                with trio.CancelScope() as reading:
                    async for piece in answer.aiter_bytes():
                        document += piece
                        if len(document) > self.max_bytes:
                            reading.cancel()  # the library's generators are left the only way that closes them all
        if len(document) > self.max_bytes:
            raise httpx.HTTPError(f"more than {self.max_bytes} bytes")
        return bytes(document)


@dataclass(frozen=True, slots=True)
class JwksCacheConfiguration:
    """How long key sets are kept.

    Attributes:
        refresh_s: a set that is older is read again when a token needs it.
        retry_s: the least time between two tries to read one, whoever asks.
        stale_s: how long a set stands in for newer ones that could not be read.
    """

    refresh_s: float = 600.0
    retry_s: float = 30.0
    stale_s: float = 24 * 3600.0

    def __post_init__(self) -> None:
        require_kinds(self)
        if not 0 < self.retry_s <= self.refresh_s <= self.stale_s:
            raise ConfigurationError("the times of key sets grow: retry_s, refresh_s, stale_s")


class CachedKeys:
    """A `KeyPort` over any number of key sets. A key is found among those of its token's issuer only.

    Args:
        sources: where the sets come from.
        configuration: how long they are kept.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        sources: Collection[JwksSource],
        *,
        configuration: JwksCacheConfiguration | None = None,
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        chosen = configuration or JwksCacheConfiguration()
        self._sets: dict[str, list[_CachedSet]] = {}
        for source in sources:
            self._sets.setdefault(source.issuer, []).append(_CachedSet(source, chosen, clock))

    async def find(self, kid: str, issuer: str) -> VerificationKey | None:
        """The key of that id among those of the issuer. What is known in one set does not wait for another.

        Raises:
            KeysUnavailableError: it is in none that could be read, and not all could.
        """
        sets = self._sets.get(issuer, ())
        for cached in sets:
            key = cached.known(kid)
            if key is not None:
                return key
        for cached in sets:
            key = await cached.find(kid)
            if key is not None:
                return key
        if any(cached.unreadable for cached in sets):
            raise KeysUnavailableError
        return None

    async def load(self) -> list[str]:
        """Read every set now, as at start and after a change.

        Returns:
            What could not be read, in words.
        """
        failures: list[str] = []

        async def one(cached: _CachedSet) -> None:
            failure = await cached.load()
            if failure is not None:
                failures.append(failure)

        async with trio.open_nursery() as nursery:
            for sets in self._sets.values():
                for cached in sets:
                    nursery.start_soon(one, cached)
        return failures


class _CachedSet:
    def __init__(self, source: JwksSource, configuration: JwksCacheConfiguration, clock: Callable[[], float]) -> None:
        self._source = source
        self._configuration = configuration
        self._clock = clock
        self._keys = KeySet()
        self._loaded_at = _NEVER
        self._tried_at = _NEVER
        self._loading = trio.Lock()
        #: Whether the last try to read it failed.
        self.unreadable = False

    def known(self, kid: str) -> VerificationKey | None:
        """A key that nobody has to wait for: its set is young, or somebody reads it anew already."""
        age_s = self._clock() - self._loaded_at
        c = self._configuration
        young = age_s < c.refresh_s or (age_s < c.stale_s and self._loading.locked())
        return self._keys.get(kid) if young else None

    async def find(self, kid: str) -> VerificationKey | None:
        key = self._keys.get(kid)
        if key is None or self._clock() - self._loaded_at >= self._configuration.refresh_s:
            await self._refresh()
            key = self._keys.get(kid)
        return key if self._clock() - self._loaded_at < self._configuration.stale_s else None

    async def _refresh(self) -> None:
        async with self._loading:  # whoever waited here finds what was read meanwhile
            if self._clock() - self._tried_at >= self._configuration.retry_s:
                await self.load()

    async def load(self) -> str | None:
        before, self._tried_at = self._tried_at, self._clock()
        source = self._source
        try:
            document = await source.load()
            self._keys = KeySet.from_jwks(document, issuer=source.issuer, organizations=source.organizations)
        except (OSError, httpx.HTTPError, httpx.InvalidURL, trio.TooSlowError, ConfigurationError) as error:
            failure = f"the keys of {source.issuer}: {error or type(error).__name__}"
            _logger.warning("%s", failure)
            self.unreadable = True
            return failure
        except trio.Cancelled:
            self._tried_at = before  # whoever asked has gone; whoever waits behind it asks for itself
            raise
        self._loaded_at = self._clock()
        self.unreadable = False
        return None
