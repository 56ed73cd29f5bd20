"""Messages held against the published schemas: a channel that looks at everything that passes."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from triortc.signaling.channel import MessageChannel
from triortc.signaling.schema import protocol_schema


@cache
def validator(name: str) -> Draft202012Validator:
    """The validator of one message; KeyError: there is none of that name."""
    whole = protocol_schema()
    if name not in whole["$defs"]:
        raise KeyError(f"{name} is not in the schema")
    return Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": whole["$defs"]})


def check_message(message: dict[str, Any], *, side: str, command: str | None = None) -> None:
    """Raise where a message is not what its schema says.

    Args:
        message: the decoded JSON.
        side: who has sent it, `client` or `server`.
        command: for `ok`: the type of the command that it answers.
    """
    name = f"server:ok:{command}" if message["t"] == "ok" else f"{side}:{message['t']}"
    validator(name).validate(message)


class CheckedChannel:
    """A channel whose messages are held against the schemas, both ways."""

    def __init__(self, channel: MessageChannel) -> None:
        self._channel = channel
        self._asked: dict[str, str] = {}

    @property
    def heard_at(self) -> float:
        return self._channel.heard_at

    async def send(self, *messages: bytes) -> None:
        for message in map(json.loads, messages):
            check_message(message, side="client")
            if "id" in message:
                self._asked[message["id"]] = message["t"]
        await self._channel.send(*messages)

    async def receive(self) -> bytes:
        data = await self._channel.receive()
        message = json.loads(data)
        check_message(message, side="server", command=self._asked.get(message.get("re", "")))
        return data

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        await self._channel.aclose(code, reason)
