"""Push credentials from a TOML file: keys stay in files of their own, named by it, beside it."""

from __future__ import annotations

import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from triortc.errors import ConfigurationError
from triortc.signaling.push.configuration import (
    ApnsConfiguration,
    FcmConfiguration,
    PushConfiguration,
    WebPushConfiguration,
)

__all__ = ["load_push_configuration", "new_web_push_key"]

_MAX_FILE_BYTES: Final = 64 * 1024
_TABLES: Final = {"apns": ApnsConfiguration, "fcm": FcmConfiguration, "web_push": WebPushConfiguration}


def load_push_configuration(path: Path) -> PushConfiguration:
    """Read a file with the tables `apns`, `fcm`, `web_push` and the numbers of `PushConfiguration`.

    Instead of `private_key_pem` the tables name a file: `key_file` (APNs and Web Push), `service_account_file` (FCM);
    relative names are looked for beside the file.

    Raises:
        ConfigurationError: a table or a value makes no sense; the message says which.
        OSError: a file cannot be read.
    """
    try:
        values = tomllib.loads(_text(path))
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path}: {error}") from None
    beside = path.resolve().parent
    for name in ("apns", "web_push"):
        if isinstance(values.get(name), dict):
            values[name] = _with_key(values[name], beside, f"{path}: {name}.key_file")
    if isinstance(values.get("fcm"), dict):
        values["fcm"] = _with_account(values["fcm"], beside, path)
    if isinstance(values.get("authorities_file"), str):
        values["authorities_file"] = str(beside / values["authorities_file"])
    _check_names(path, "", values, PushConfiguration)
    for name, kind in _TABLES.items():
        if isinstance(values.get(name), dict):
            _check_names(path, f"{name}.", values[name], kind)
    try:
        return msgspec.convert(values, PushConfiguration, dec_hook=_path)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"{path}: {error}") from None


def _check_names(path: Path, prefix: str, table: dict[str, Any], kind: type) -> None:
    """A name that nothing bears is a mistake that would otherwise go unnoticed."""
    unknown = set(table) - {field.name for field in fields(kind)}
    if unknown:
        names = ", ".join(f"{prefix}{name}" for name in sorted(unknown))
        raise ConfigurationError(f"{path}: there is no setting {names}")


def _text(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(_MAX_FILE_BYTES + 1)
    if len(data) > _MAX_FILE_BYTES:
        raise ConfigurationError(f"{path} is larger than {_MAX_FILE_BYTES} bytes: that is no configuration and no key")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} is not text") from None


def _path(kind: type, value: Any) -> Any:
    if kind is Path:
        return Path(value)
    raise NotImplementedError


def _with_key(table: dict[str, Any], beside: Path, name: str) -> dict[str, Any]:
    file = table.pop("key_file", None)
    if not isinstance(file, str):
        raise ConfigurationError(f"{name} is missing: name the file that holds the private key")
    return {**table, "private_key_pem": _text(beside / file)}


def _with_account(table: dict[str, Any], beside: Path, path: Path) -> dict[str, Any]:
    file = table.pop("service_account_file", None)
    if not isinstance(file, str):
        raise ConfigurationError(f"{path}: fcm.service_account_file is missing: name the service account's JSON file")
    account = FcmConfiguration.from_service_account(beside / file)
    read = {
        "project": account.project,
        "client_email": account.client_email,
        "private_key_pem": account.private_key_pem,
        "token_uri": account.token_uri,
    }
    return {**read, **table}


def new_web_push_key() -> str:
    """A fresh P-256 key for `WebPushConfiguration`, in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
