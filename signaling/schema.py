"""The protocol as JSON Schema 2020-12, made from the structs that decode it."""

from __future__ import annotations

from typing import Any

import msgspec

from triortc.signaling.wire import COMMANDS, EVENTS, PROTOCOL, SIGNALS_FROM_CLIENT, Error, Welcome

__all__ = ["protocol_schema"]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def protocol_schema() -> dict[str, Any]:
    """One schema with every message under `$defs`.

    `client` is any message that a client sends, `server` any that it receives; each message is the envelope with its
    payload. Payloads of `ok` depend on the command and are not described here (docs/protocol.md does).
    """
    payloads = {*COMMANDS.values(), *EVENTS.values(), *SIGNALS_FROM_CLIENT.values(), Welcome, Error}
    ordered = sorted(payloads, key=lambda payload: payload.__name__)
    references, definitions = msgspec.json.schema_components(ordered, ref_template="#/$defs/{name}")
    reference = dict(zip(ordered, references, strict=True))
    identifier = {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"}
    sequence = {"type": "integer", "minimum": 1}
    wall_ms = {"type": "integer"}
    client = [_message(t, reference[payload], id=identifier) for t, payload in COMMANDS.items()]
    client += [_message(t, reference[payload]) for t, payload in SIGNALS_FROM_CLIENT.items()]
    server = [_message(t, reference[payload], seq=sequence, at=wall_ms) for t, payload in EVENTS.items()]
    server += [
        _message("welcome", reference[Welcome], at=wall_ms),
        _message("ok", {}, re=identifier, at=wall_ms),
        _message("err", reference[Error], at=wall_ms),
        *(_message(t, reference[SIGNALS_FROM_CLIENT[t]], at=wall_ms) for t in ("ping", "pong", "bye")),
    ]
    return {
        "$schema": _DIALECT,
        "title": PROTOCOL,
        "$defs": {**definitions, "client": {"oneOf": client}, "server": {"oneOf": server}},
    }


def _message(t: str, payload: dict[str, Any], **fields: dict[str, Any]) -> dict[str, Any]:
    return {
        "title": t,
        "type": "object",
        "properties": {"t": {"const": t}, **fields, "p": payload},
        "required": ["t", *fields, "p"],
    }
