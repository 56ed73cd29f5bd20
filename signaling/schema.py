"""The protocol as JSON Schema 2020-12, made from the types that decode it and that are encoded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from triortc.signaling.wire import COMMANDS, EVENTS, PROTOCOL, SIGNALS_FROM_CLIENT, Error, Welcome
from triortc.signaling.wire_replies import reply_payload

__all__ = ["SIGNALS_FROM_SERVER", "message_schema", "protocol_schema"]

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_IDENTIFIER: Final = {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"}
_SEQUENCE: Final = {"type": "integer", "minimum": 1}
_WALL_MS: Final = {"type": "integer", "description": "the server's wall clock, unix milliseconds"}
SIGNALS_FROM_SERVER: Final = {
    "welcome": Welcome,
    **{t: SIGNALS_FROM_CLIENT[t] for t in ("ping", "pong", "bye")},
}


def protocol_schema() -> dict[str, Any]:
    """One schema with every message under `$defs`.

    `client:TYPE` is what a client sends, `server:TYPE` what it receives, `server:ok:TYPE` the reply to that command;
    each is the envelope with its payload. `client` and `server` are any message of that side.
    """
    payloads = {*COMMANDS.values(), *EVENTS.values(), *SIGNALS_FROM_CLIENT.values(), Welcome, Error}
    reference, definitions = _components(sorted(payloads, key=lambda payload: payload.__name__), "")
    replies = {reply_payload(t) for t in COMMANDS}
    replied, reply_definitions = _components(sorted(replies, key=lambda payload: payload.__name__), "ok.")
    messages = {
        **{f"client:{t}": _message(t, reference[payload], id=_IDENTIFIER) for t, payload in COMMANDS.items()},
        **{f"client:{t}": _message(t, reference[payload]) for t, payload in SIGNALS_FROM_CLIENT.items()},
        **{f"server:{t}": _message(t, reference[payload], seq=_SEQUENCE, at=_WALL_MS) for t, payload in EVENTS.items()},
        **{f"server:{t}": _message(t, reference[payload], at=_WALL_MS) for t, payload in SIGNALS_FROM_SERVER.items()},
        **{f"server:ok:{t}": _message("ok", replied[reply_payload(t)], re=_IDENTIFIER, at=_WALL_MS) for t in COMMANDS},
        "server:err": _message("err", reference[Error], at=_WALL_MS),
    }
    messages["server:err"]["properties"]["re"] = {
        **_IDENTIFIER,
        "description": "absent where the id of what is refused could not be read",
    }
    either = {
        side: {"anyOf": [{"$ref": f"#/$defs/{name}"} for name in sorted(messages) if name.startswith(f"{side}:")]}
        for side in ("client", "server")
    }
    return {
        "$schema": _DIALECT,
        "title": PROTOCOL,
        "$defs": {
            **dict(sorted({**definitions, **reply_definitions}.items())),
            **dict(sorted(messages.items())),
            **either,
        },
    }


def message_schema(name: str) -> dict[str, Any]:
    """The schema of one message by itself, with the definitions that it needs.

    Args:
        name: a name under `$defs` of the whole: `client:call.request`, `server:ring.offer`, `server:ok:call.accept`.

    Raises:
        KeyError: there is no such message.
    """
    whole = protocol_schema()["$defs"]
    needed: dict[str, Any] = {}
    waiting = _references(whole[name])
    while waiting:
        one = waiting.pop()
        if one not in needed:
            needed[one] = whole[one]
            waiting += _references(whole[one])
    alone: dict[str, Any] = {"$schema": _DIALECT, **whole[name]}
    if needed:
        alone["$defs"] = dict(sorted(needed.items()))
    return alone


def _components(payloads: Sequence[type], prefix: str) -> tuple[dict[type, dict[str, Any]], dict[str, Any]]:
    references, definitions = msgspec.json.schema_components(payloads, ref_template=f"#/$defs/{prefix}{{name}}")
    return (
        dict(zip(payloads, references, strict=True)),
        {f"{prefix}{name}": definition for name, definition in definitions.items()},
    )


def _message(t: str, payload: dict[str, Any], **fields: dict[str, Any]) -> dict[str, Any]:
    return {
        "title": t,
        "type": "object",
        "properties": {"t": {"const": t}, **fields, "p": payload},
        "required": ["t", *fields, "p"],
    }


def _references(schema: object) -> list[str]:
    if isinstance(schema, dict):
        own = [str(schema["$ref"]).removeprefix("#/$defs/")] if "$ref" in schema else []
        return own + [name for value in schema.values() for name in _references(value)]
    if isinstance(schema, list):
        return [name for value in schema for name in _references(value)]
    return []
