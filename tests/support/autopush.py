"""A push service for a real Firefox: subscriptions and messages over the browser's own WebSocket protocol."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, serve_websocket

__all__ = ["Autopush", "open_autopush"]


class Autopush:
    """Takes subscriptions, whose endpoints are below `endpoint`, and passes encrypted messages on.

    Attributes:
        port: of the WebSocket, on loopback.
        keys: the application server keys that pages subscribed with.
        subscribed: set by the first of them.
    """

    def __init__(self, endpoint: str) -> None:
        self.port = 0
        self.keys: list[str] = []
        self.subscribed = trio.Event()
        self._endpoint = endpoint
        self._connection: WebSocketConnection | None = None

    async def pass_on(self, path: str, body: bytes) -> None:
        """Give the body of a push, as it came to the endpoint with this path, to the browser."""
        assert self._connection is not None, "no browser is connected"
        message = {
            "messageType": "notification",
            "channelID": path.rpartition("/")[2],
            "version": str(uuid.uuid4()),
            "data": base64.urlsafe_b64encode(body).rstrip(b"=").decode(),
            "headers": {"encoding": "aes128gcm"},
        }
        await self._connection.send_message(json.dumps(message))

    async def serve(self, request: WebSocketRequest) -> None:
        protocol = "push-notification" if "push-notification" in request.proposed_subprotocols else None
        connection = await request.accept(subprotocol=protocol)
        try:
            while True:
                asked = json.loads(await connection.get_message())
                answer = self._answer(asked, connection)
                if answer is not None:
                    await connection.send_message(json.dumps(answer))
        except ConnectionClosed:
            pass

    def _answer(self, asked: dict[str, Any], connection: WebSocketConnection) -> dict[str, Any] | None:
        match asked.get("messageType"):
            case "hello":
                self._connection = connection
                uaid = asked.get("uaid") or uuid.uuid4().hex
                return {"messageType": "hello", "status": 200, "uaid": uaid, "use_webpush": True, "broadcasts": {}}
            case "register":
                self.keys.append(asked.get("key", "").rstrip("="))
                self.subscribed.set()
                channel = asked["channelID"]
                endpoint = f"{self._endpoint}/{channel}"
                return {"messageType": "register", "channelID": channel, "status": 200, "pushEndpoint": endpoint}
            case "unregister":
                return {"messageType": "unregister", "channelID": asked["channelID"], "status": 200}
            case None:
                return {}  # a ping is an empty object
        return None


@asynccontextmanager
async def open_autopush(endpoint: str) -> AsyncGenerator[Autopush]:
    """Run the service until the block is left."""
    service = Autopush(endpoint)
    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve_websocket, service.serve, "127.0.0.1", 0, None)
        service.port = server.port
        yield service
        nursery.cancel_scope.cancel()
