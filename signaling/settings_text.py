"""The defaults of the configuration file as people read it: TOML with what each setting means beside it."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any, get_type_hints

from triortc.signaling.settings import IssuerSettings, OrganizationSettings, Settings, TlsSettings
from triortc.signaling.webhooks import Webhook, WebhookConfiguration
from triortc.signaling.webtransport.configuration import WebTransportConfiguration

__all__ = ["default_settings_text"]

_ATTRIBUTE = re.compile(r"^ {4}(\w+(?:, \w+)*): (.*(?:\n {5,}.*|\n\n {8,}.*)*)", re.MULTILINE)
_HEAD = """\
# The configuration of `triortc serve --config FILE`. What is left out has the value shown here; what has a # before it
# has none. The environment goes over the file: TRIORTC_SERVER__PORT=8443 is server.port. The unit is in the name:
# _s seconds, _ms milliseconds, _bps bits a second, _bytes bytes.
"""
_OFF = {
    "webhooks": WebhookConfiguration,
    "tls": TlsSettings,
    "webtransport": WebTransportConfiguration,
}
_INSIDE = {"webhooks": (("webhooks.receivers", Webhook),)}
_LISTS = {"issuers": IssuerSettings, "organizations": OrganizationSettings}


#: What is an array of tables of its own.
_LISTS_INSIDE = frozenset({"receivers"})


def default_settings_text() -> str:
    """Every table and setting, with its default and what it means."""
    pieces = [_HEAD]
    hints = get_type_hints(Settings)
    for item in fields(Settings):
        if item.name in _LISTS:
            pieces.append("\n".join(_table(f"[[{item.name}]]", _LISTS[item.name], off=True)))
        elif item.name in _OFF:
            pieces.append("\n".join(_table(f"[{item.name}]", _OFF[item.name], off=True)))
            pieces.extend("\n".join(_table(f"[[{name}]]", kind, off=True)) for name, kind in _INSIDE.get(item.name, ()))
        else:
            pieces.append("\n".join(_table(f"[{item.name}]", hints[item.name], off=False)))
    return "\n".join(pieces) + "\n"


def _table(head: str, kind: type, *, off: bool) -> Iterator[str]:
    said = (inspect.getdoc(kind) or "").partition("\n")[0]
    yield f"\n# {said}"
    yield f"# {head}" if off else head
    meanings = _meanings(kind)
    for item in fields(kind):
        if item.name in _LISTS_INSIDE:
            continue
        value = _default(item)
        if item.name in meanings:
            yield f"# {meanings[item.name]}"
        if value is None or isinstance(value, dict) or off or not _writable(value):
            yield f"# {item.name} = {_toml(value) if value is not None and _writable(value) else ''}".rstrip()
        else:
            yield f"{item.name} = {_toml(value)}"


def _meanings(kind: type) -> dict[str, str]:
    """Setting by setting, what the docstring says under `Attributes`; of several together the first has it."""
    found = {}
    for names, meaning in _ATTRIBUTE.findall(inspect.getdoc(kind) or ""):
        found[names.split(", ")[0]] = ("" if ", " not in names else f"{names}: ") + " ".join(meaning.split())
    return found


def _default(item: Field[Any]) -> Any:
    if item.default is not MISSING:
        return item.default
    return item.default_factory() if item.default_factory is not MISSING else None


def _writable(value: Any) -> bool:
    return isinstance(value, (bool, int, float, str, Path)) or (isinstance(value, tuple) and all(map(_writable, value)))


def _toml(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case tuple():
            return f"[{', '.join(map(_toml, value))}]"
        case _:
            return json.dumps(str(value), ensure_ascii=False)
