"""The configuration file of `triortc serve`: TOML, and the environment over it. Every number has its unit in its name.

The tables are the configurations of the rooms, by their own names; what is not in the file has its default. A name that
nothing bears is an error, and so is a value that makes no sense: a server that starts is configured as it was written.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

import msgspec

from triortc.engine.calls.call_recording import RecordingConfiguration
from triortc.engine.calls.configuration import CallConfiguration
from triortc.engine.calls.quality import QualityConfiguration
from triortc.engine.endpoint_configuration import EndpointConfiguration
from triortc.engine.relay.plane_choice import PlaneChoice
from triortc.engine.workers.configuration import WorkerConfiguration
from triortc.errors import ConfigurationError
from triortc.signaling.configuration import HttpConfiguration, SignalingConfiguration
from triortc.signaling.jwks import JwksCacheConfiguration, JwksFile, JwksSource, JwksUrl
from triortc.signaling.origin import require_origins
from triortc.signaling.sqlite_store import StoreConfiguration
from triortc.signaling.webhooks import WebhookConfiguration
from triortc.signaling.webtransport.configuration import WebTransportConfiguration

__all__ = [
    "IssuerSettings",
    "OperationsSettings",
    "OrganizationSettings",
    "ServerSettings",
    "Settings",
    "TlsSettings",
    "load_settings",
]

_MAX_FILE_BYTES: Final = 1024 * 1024
_PREFIX: Final = "TRIORTC_"


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Where the server listens and what it keeps.

    Attributes:
        host: the address of HTTP and WebSocket.
        port: their TCP port.
        scheme: `http` or `https`: what browsers speak, where TLS ends before this server.
        host_names: the names that requests may use; empty: any, and then a proxy in front has to check.
        data: the directory of the database; without it state is kept in memory.
        event_logs: the directory of the sessions' event logs, for `triortc replay`.
        push: the file of push services and credentials (docs/pushes.md).
        revocations: a JSON file of tokens and people that are not valid any more, read again at SIGHUP.
        drain_s: how long running calls may last after SIGTERM.
        reconnect_url: where devices are sent meanwhile.
        log_format: `text` for people, `json` for machines: one object a line.
        log_level: the least that is logged.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    scheme: Literal["http", "https"] | None = None
    host_names: tuple[str, ...] = ()
    data: Path | None = None
    event_logs: Path | None = None
    push: Path | None = None
    revocations: Path | None = None
    drain_s: float = 60.0
    reconnect_url: str | None = None
    log_format: Literal["text", "json"] = "text"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ConfigurationError(f"server.port is {self.port}; choose 0 to 65535")
        if self.drain_s < 0:
            raise ConfigurationError("server.drain_s is not below 0")


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """The server's own certificate, for HTTP, WebSocket and WebTransport; read again at SIGHUP.

    Attributes:
        certificate_file: the certificate and what leads to its authority, PEM.
        key_file: its private key, PEM.
    """

    certificate_file: Path
    key_file: Path


@dataclass(frozen=True, slots=True)
class IssuerSettings:
    """Who issues tokens, and for which tenants.

    Attributes:
        issuer: the `iss` of its tokens.
        organizations: the tenants (`org`) that its tokens may speak for.
        jwks_url: where its key set is: https.
        jwks_file: or in which file.
    """

    issuer: str
    organizations: tuple[str, ...]
    jwks_url: str | None = None
    jwks_file: Path | None = None

    def __post_init__(self) -> None:
        if (self.jwks_url is None) == (self.jwks_file is None):
            raise ConfigurationError(f"issuer {self.issuer}: give either jwks_url or jwks_file")
        if not self.organizations:
            raise ConfigurationError(f"issuer {self.issuer}: name the organizations that it may speak for")

    @property
    def source(self) -> JwksSource:
        """Where the keys come from."""
        if self.jwks_url is not None:
            return JwksUrl(self.jwks_url, self.issuer, self.organizations)
        assert self.jwks_file is not None
        return JwksFile(self.jwks_file, self.issuer, self.organizations)


@dataclass(frozen=True, slots=True)
class OrganizationSettings:
    """A tenant.

    Attributes:
        name: the `org` of its tokens.
        origins: the origins whose pages may connect for it, beside the server's own.
    """

    name: str
    origins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require_origins(f"organization {self.name}", self.origins)


@dataclass(frozen=True, slots=True)
class RelaySettings:
    """What forwards media, and what a visitor sees while it rings.

    Attributes:
        plane: `python` in the loop, `accelerated` by a thread in C, `auto` for the latter where it runs.
        slate: what a visitor gets while the gate is closed: `off`, `audio`, `audio_video`.
        thumbnail_bps: what a device is sent at most while it shows the other side as a thumbnail.
        max_legs: legs at one time.
    """

    plane: PlaneChoice = "auto"
    slate: Literal["off", "audio", "audio_video"] = "audio_video"
    thumbnail_bps: int = 250_000
    max_legs: int = 4000


@dataclass(frozen=True, slots=True)
class OperationsSettings:
    """The listener for those who run the server: metrics, health, the operator's page.

    Attributes:
        host: its address. Who can reach it sees every call: loopback, or a network of one's own.
        port: its TCP port; None: there is none.
        host_names: the names that its requests may use; beside the address itself and `localhost`.
        spans: a span of OpenTelemetry for each call; needs `triortc[otel]`, and its environment says where they go.
    """

    host: str = "127.0.0.1"
    port: int | None = 9464
    host_names: tuple[str, ...] = ()
    spans: bool = False

    def __post_init__(self) -> None:
        if self.port is not None and not 0 <= self.port <= 65535:
            raise ConfigurationError(f"operations.port is {self.port}; choose 0 to 65535")


@dataclass(frozen=True, slots=True)
class Settings:
    """The whole file.

    Attributes:
        server, tls, operations: see each.
        webtransport: the table alone switches it on; it needs `tls`.
        issuers, organizations: arrays of tables.
        webhooks: who is told of calls by HTTP, as [[webhooks.receivers]]; the table alone tells nobody.
        jwks: how long key sets are kept.
        signaling, http, calls, media, relay, workers, quality, recording, store: the numbers of each room.
    """

    server: ServerSettings = field(default_factory=ServerSettings)
    tls: TlsSettings | None = None
    webtransport: WebTransportConfiguration | None = None
    operations: OperationsSettings = field(default_factory=OperationsSettings)
    issuers: tuple[IssuerSettings, ...] = ()
    organizations: tuple[OrganizationSettings, ...] = ()
    webhooks: WebhookConfiguration | None = None
    jwks: JwksCacheConfiguration = field(default_factory=JwksCacheConfiguration)
    signaling: SignalingConfiguration = field(default_factory=SignalingConfiguration)
    http: HttpConfiguration = field(default_factory=HttpConfiguration)
    calls: CallConfiguration = field(default_factory=CallConfiguration)
    media: EndpointConfiguration = field(default_factory=EndpointConfiguration)
    relay: RelaySettings = field(default_factory=RelaySettings)
    workers: WorkerConfiguration = field(default_factory=WorkerConfiguration)
    quality: QualityConfiguration = field(default_factory=QualityConfiguration)
    recording: RecordingConfiguration = field(default_factory=RecordingConfiguration)
    store: StoreConfiguration = field(default_factory=StoreConfiguration)

    def __post_init__(self) -> None:
        if not self.issuers:
            raise ConfigurationError("nobody could come in: name at least one token issuer, as [[issuers]]")
        if self.webtransport is not None and self.tls is None:
            raise ConfigurationError("webtransport needs a certificate: set tls.certificate_file and tls.key_file")
        if self.calls.recording != "off" and self.recording.directory is None:
            raise ConfigurationError("calls.recording is on and nothing says where to: set recording.directory")
        known = {name for issuer in self.issuers for name in issuer.organizations}
        for organization in self.organizations:
            if organization.name not in known:
                raise ConfigurationError(f"organization {organization.name}: no issuer may speak for it")
        for webhook in () if self.webhooks is None else self.webhooks.receivers:
            for name in webhook.organizations or ():
                if name not in known:
                    raise ConfigurationError(f"webhooks: a receiver is told of {name}, and no issuer may speak for it")


def load_settings(path: Path, environment: Mapping[str, str]) -> Settings:
    """Read a file, with the environment over it: `TRIORTC_SERVER__PORT=8443` is `server.port = 8443`.

    Relative paths are looked for beside the file.

    Raises:
        ConfigurationError: a name or a value makes no sense; the message says which.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        text = file.read(_MAX_FILE_BYTES + 1)
    if len(text) > _MAX_FILE_BYTES:
        raise ConfigurationError(f"{path} is larger than {_MAX_FILE_BYTES} bytes: that is no configuration")
    try:
        values = tomllib.loads(text.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: {error}") from None
    try:
        _override(values, environment)
        beside = path.resolve().parent
        _read_secrets(values, beside)
        _check_names("", values, Settings)
        return msgspec.convert(values, Settings, dec_hook=lambda kind, value: _path(kind, value, beside))
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"{path}: {_in_words(error)}") from None
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from None


def _read_secrets(values: dict[str, Any], beside: Path) -> None:
    """A receiver's `secret_file` holds its secret, so that the configuration can be read by more people than that."""
    webhooks = values.get("webhooks")
    receivers = webhooks.get("receivers") if isinstance(webhooks, dict) else None
    for receiver in receivers if isinstance(receivers, list) else ():
        if not isinstance(receiver, dict) or "secret_file" not in receiver:
            continue
        if "secret" in receiver:
            raise ConfigurationError("webhooks: give a receiver either secret or secret_file")
        path = beside / str(receiver.pop("secret_file"))
        try:
            receiver["secret"] = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"webhooks: the secret in {path} cannot be read: {error}") from None


def _in_words(error: msgspec.ValidationError) -> str:
    """`Expected int, got str - at $.server.port` with the place first."""
    what, _, where = str(error).rpartition(" - at `$.")
    return f"{where.rstrip('`')}: {what}" if what else str(error)


def _override(values: dict[str, Any], environment: Mapping[str, str]) -> None:
    for name in sorted(environment):
        if not name.startswith(_PREFIX):
            continue
        table, separator, key = name.removeprefix(_PREFIX).lower().partition("__")
        if not separator:
            _require_no_table(name, table)
            continue
        into = values.setdefault(table, {})
        if not isinstance(into, dict):
            raise ConfigurationError(f"{name}: {table} is a list of tables; set it in the file")
        into[key] = _environment_value(environment[name])


def _require_no_table(variable: str, name: str) -> None:
    """`TRIORTC_SERVER_PORT` was meant to be a setting, and would change nothing."""
    for item in fields(Settings):
        table, separator, key = name.partition("_")
        if separator and table == item.name:
            raise ConfigurationError(
                f"{variable}: two underscores part a table from its setting: {_PREFIX}{table.upper()}__{key.upper()}"
            )


def _environment_value(text: str) -> Any:
    """A value as TOML has it; what is none is text, so that names and paths need no quotes."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _check_names(prefix: str, table: Mapping[str, Any], kind: type) -> None:
    """A name that nothing bears is a mistake that would otherwise go unnoticed."""
    hints = get_type_hints(kind)
    known = {item.name for item in fields(kind)}
    for name, value in table.items():
        if name not in known:
            raise ConfigurationError(f"there is no setting {prefix}{name}")
        inner = _dataclass_of(hints[name])
        if inner is None:
            continue
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, dict):
                _check_names(f"{prefix}{name}.", one, inner)


def _dataclass_of(kind: Any) -> type | None:
    """The dataclass that a field holds, alone, in a tuple, or beside None."""
    if isinstance(kind, type) and is_dataclass(kind):
        return kind
    if get_origin(kind) is tuple or isinstance(kind, UnionType):
        return next((found for one in get_args(kind) if (found := _dataclass_of(one)) is not None), None)
    return None


def _path(kind: type, value: Any, beside: Path) -> Any:
    if kind is Path and isinstance(value, str):
        return beside / value
    raise NotImplementedError
