"""The protocol as an AsyncAPI 3.0 document: one channel, an operation for each command and each event."""

from __future__ import annotations

from typing import Any

from triortc.signaling.http import SIGNAL_PATH
from triortc.signaling.schema import SIGNALS_FROM_SERVER, protocol_schema
from triortc.signaling.wire import COMMANDS, EVENTS, MAX_MESSAGE_BYTES, PROTOCOL, SIGNALS_FROM_CLIENT
from triortc.signaling.wire_replies import roles_of

__all__ = ["asyncapi_document"]

_VERSION = "1.0.0"
_CHANNEL = {"$ref": "#/channels/signal"}


def asyncapi_document() -> dict[str, Any]:
    """The document, from the server's side: it receives commands, replies, and sends events."""
    definitions = protocol_schema()["$defs"]
    messages = {_message_id(name): _message(name) for name in definitions if name.startswith(("client:", "server:"))}
    schemas = {
        _message_id(name): _moved(schema) for name, schema in definitions.items() if name not in ("client", "server")
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": f"Signaling of triortc ({PROTOCOL})",
            "version": _VERSION,
            "description": (
                "Visitors and agents set up one-to-one video calls. Every message is one JSON object; commands are "
                "answered by one reply, events are numbered and acknowledged. docs/protocol.md tells the rules."
            ),
        },
        "defaultContentType": "application/json",
        "servers": {
            "websocket": {"host": "signal.example", "pathname": "/", "protocol": "wss"},
            "webtransport": {
                "host": "signal.example",
                "pathname": "/",
                "protocol": "https",
                "protocolVersion": "3",
                "description": "WebTransport over HTTP/3, found by GET /v1/transports",
            },
        },
        "channels": {
            "signal": {
                "address": SIGNAL_PATH,
                "title": "One device's connection",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
                "bindings": {"ws": {"method": "GET", "bindingVersion": "0.1.0"}},
                "x-framing": {
                    "websocket": {"subprotocol": PROTOCOL, "message": "one text frame"},
                    "webtransport": {
                        "query": f"p={PROTOCOL}",
                        "message": "on the one bidirectional stream: length, 32 bits big endian, and the JSON",
                    },
                    "max_message_bytes": MAX_MESSAGE_BYTES,
                },
            }
        },
        "operations": {
            **{f"receive.{t}": _command(t) for t in COMMANDS},
            **{f"receive.{t}": _operation("receive", t, f"client.{t}") for t in SIGNALS_FROM_CLIENT},
            **{f"send.{t}": _operation("send", t, f"server.{t}") for t in (*EVENTS, *SIGNALS_FROM_SERVER)},
        },
        "components": {"messages": messages, "schemas": schemas},
    }


def _message_id(name: str) -> str:
    return name.replace(":", ".")


def _message(name: str) -> dict[str, Any]:
    side, _, rest = name.partition(":")
    message: dict[str, Any] = {
        "name": rest.partition(":")[0],
        "title": rest.replace(":", " to "),
        "payload": {"$ref": f"#/components/schemas/{_message_id(name)}"},
    }
    if side == "client" and rest in COMMANDS:
        message["correlationId"] = {"location": "$message.payload#/id"}
    elif rest.partition(":")[0] in ("ok", "err"):
        message["correlationId"] = {"location": "$message.payload#/re"}
    return message


def _operation(action: str, t: str, message: str) -> dict[str, Any]:
    return {
        "action": action,
        "channel": _CHANNEL,
        "messages": [{"$ref": f"#/channels/signal/messages/{message}"}],
        "tags": [{"name": role} for role in roles_of(t)],
    }


def _command(t: str) -> dict[str, Any]:
    answers = (f"server.ok.{t}", _message_id("server:err"))
    messages = [{"$ref": f"#/channels/signal/messages/{answer}"} for answer in answers]
    return {**_operation("receive", t, f"client.{t}"), "reply": {"channel": _CHANNEL, "messages": messages}}


def _moved(schema: Any) -> Any:
    """References into `$defs` as references into the document's components."""
    if isinstance(schema, dict):
        return {
            key: f"#/components/schemas/{_message_id(str(value).removeprefix('#/$defs/'))}"
            if key == "$ref"
            else _moved(value)
            for key, value in schema.items()
        }
    return [_moved(value) for value in schema] if isinstance(schema, list) else schema


def _moved_reference(reference: str) -> str:
    return "#/components/schemas/" + _message_id(reference.removeprefix("#/$defs/"))
