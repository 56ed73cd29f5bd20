"""`triortc serve --config FILE`: an engine made of settings, its signals, and what is read again while it runs."""

from __future__ import annotations

import importlib
import logging
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final

from triortc.engine.calls.call_events import CallEvent
from triortc.engine.calls.event_log_files import EventLogConfiguration
from triortc.engine.calls.leg_configuration import MediaConfiguration
from triortc.engine.collector import settle_collector
from triortc.errors import ConfigurationError
from triortc.signaling.app import RunningServer, ServerConfiguration
from triortc.signaling.certificates import ServerCertificate, load_certificate
from triortc.signaling.engine import EngineConfiguration, open_engine
from triortc.signaling.jwks import CachedKeys
from triortc.signaling.operations.listener import RunningOperations, open_operations
from triortc.signaling.push.file import load_push_configuration
from triortc.signaling.revocations import RevocationList
from triortc.signaling.server_signals import cancelled_by_signals, wait_for_end
from triortc.signaling.settings import Settings
from triortc.signaling.sqlite_store import SqliteStore
from triortc.signaling.tokens import KeySet

__all__ = ["Production", "prepare", "require_keys", "serve_production"]

_logger: Final = logging.getLogger("triortc.serve")


@dataclass(frozen=True, slots=True)
class Production:
    """What settings come to.

    Attributes:
        settings: as they were read.
        engine: the engine's configuration.
        keys: the token issuers' key sets.
        revocations: what the file of revocations says.
        store: the database; None: memory.
        sinks: told every call event: spans, where they are switched on.
    """

    settings: Settings
    engine: EngineConfiguration
    keys: CachedKeys
    revocations: RevocationList
    store: SqliteStore | None
    sinks: tuple[Callable[[CallEvent], None], ...] = ()


def prepare(settings: Settings) -> Production:
    """Make an engine's configuration of settings, reading the files that they name.

    Raises:
        ConfigurationError: a file cannot be used; the message says which.
    """
    keys = CachedKeys([issuer.source for issuer in settings.issuers], configuration=settings.jwks)
    revocations = RevocationList(wall_s=time.time)
    _read_revocations(settings, revocations)
    origins = {item.name: frozenset(item.origins) for item in settings.organizations}
    everywhere = frozenset(settings.http.allowed_origins)
    listed = everywhere.union(*origins.values())
    server = ServerConfiguration(
        host=settings.server.host,
        port=settings.server.port,
        keys=keys,
        revocations=revocations,
        certificate=_certificate(settings),
        webtransport=settings.webtransport,
        scheme=settings.server.scheme,
        host_names=settings.server.host_names or None,
        origin_allowed=lambda org, origin: origin in everywhere or origin in origins.get(org, ()),
        signaling=settings.signaling,
        http=replace(settings.http, allowed_origins=tuple(sorted(listed))),
        calls=settings.calls,
        push=None if settings.server.push is None else load_push_configuration(settings.server.push),
    )
    media = MediaConfiguration(
        endpoint=replace(settings.media, media_first=True),
        plane=settings.relay.plane,
        slate=settings.relay.slate,
        thumbnail_bps=settings.relay.thumbnail_bps,
        max_legs=settings.relay.max_legs,
        quality=settings.quality,
        recording=settings.recording,
    )
    logs = settings.server.event_logs
    engine = EngineConfiguration(
        server,
        media,
        settings.workers,
        event_logs=None if logs is None else EventLogConfiguration(logs),
        webhooks=settings.webhooks,
    )
    data = settings.server.data
    store = None if data is None else SqliteStore(data, settings.store)
    return Production(settings, engine, keys, revocations, store, _spans(settings))


def _spans(settings: Settings) -> tuple[Callable[[CallEvent], None], ...]:
    if not settings.operations.spans:
        return ()
    try:
        # An extra that most do without: found by its name when it is asked for.
        tracing = importlib.import_module("triortc.signaling.operations.tracing")
    except ImportError:
        raise ConfigurationError("operations.spans needs OpenTelemetry: pip install 'triortc[otel]'") from None
    return (tracing.CallSpans().take,)


def _certificate(settings: Settings) -> ServerCertificate | None:
    tls = settings.tls
    return None if tls is None else load_certificate(tls.certificate_file, tls.key_file)


def require_keys(settings: Settings) -> None:
    """Read the issuers' key files: a server starts without one, since it may come later, and lets nobody in until then.

    Raises:
        ConfigurationError: a file cannot be read, or has no key that a token could be verified with.
    """
    for issuer in settings.issuers:
        path = issuer.jwks_file
        if path is None:
            continue
        try:
            KeySet.from_jwks(path.read_bytes(), issuer=issuer.issuer, organizations=issuer.organizations)
        except (OSError, ConfigurationError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise ConfigurationError(f"the keys of {issuer.issuer}, {path}: {why}") from None


def _read_revocations(settings: Settings, revocations: RevocationList) -> None:
    path = settings.server.revocations
    if path is None:
        return
    try:
        revocations.read(path.read_bytes())
    except (OSError, ConfigurationError) as error:
        raise ConfigurationError(f"{path}: {error}") from None


async def serve_production(production: Production, announce: Callable[[RunningServer], None]) -> None:
    """Serve until SIGTERM or SIGINT, then as long as calls last, `drain_s` at most; a second signal ends it at once.

    SIGHUP reads the certificate, the key sets and the revocations again.

    Args:
        production: see `prepare`.
        announce: told when the server listens.
    """
    async with cancelled_by_signals():
        await production.keys.load()  # what cannot be read is logged, and tried again when a token needs it
        async with open_engine(production.engine, store=production.store) as server:
            settle_collector()
            async with _opened_operations(production, server) as operations:
                announce(server)
                if operations is not None:
                    _logger.info("metrics and the operator's page are at %s", operations.url)
                await wait_for_end(
                    server,
                    drain_s=production.settings.server.drain_s,
                    reconnect=production.settings.server.reconnect_url,
                    reload=lambda: _reload(production, server),
                )


@asynccontextmanager
async def _opened_operations(production: Production, server: RunningServer) -> AsyncGenerator[RunningOperations | None]:
    chosen = production.settings.operations
    if chosen.port is None:
        yield None
        return
    async with open_operations(
        server,
        host=chosen.host,
        port=chosen.port,
        host_names=chosen.host_names,
        ring_timeout_s=production.settings.calls.ring_timeout_s,
        sinks=production.sinks,
    ) as operations:
        yield operations


async def _reload(production: Production, server: RunningServer) -> None:
    """Read again what changes while a server runs. What cannot be read leaves what was before."""
    settings = production.settings
    failures: list[str] = await production.keys.load()
    steps: Mapping[str, Callable[[], None]] = {
        "certificate": lambda: _use_certificate(settings, server),
        "revocations": lambda: _revoke(production, server),
    }
    for step in steps.values():
        try:
            step()
        except (ConfigurationError, OSError) as error:
            failures.append(str(error))
    for failure in failures:
        _logger.error("not read again: %s", failure)
    if not failures:
        _logger.info("certificate, key sets and revocations were read again")


def _use_certificate(settings: Settings, server: RunningServer) -> None:
    certificate = _certificate(settings)
    if certificate is not None:
        server.use_certificate(certificate)


def _revoke(production: Production, server: RunningServer) -> None:
    _read_revocations(production.settings, production.revocations)
    ended = server.signaling.revoke(production.revocations.is_revoked)
    if ended:
        _logger.info("%d signaling sessions were ended by revocations", ended)
