"""Numbered requests and replies over a WebSocket: what DevTools and WebDriver BiDi have in common."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, open_websocket_url

__all__ = ["BrowserError", "Wire", "open_wire"]

MAX_MESSAGE_BYTES = 64 << 20  # a screenshot travels as one message


class BrowserError(Exception):
    """The browser refused a request, or its page threw."""


class Wire:
    """One connection to a browser: `call` sends a request and waits for its reply; events go to `on_event`."""

    def __init__(self, socket: WebSocketConnection) -> None:
        self._socket = socket
        self._next_id = 1
        self._waiting: dict[int, tuple[trio.Event, list[dict[str, Any]]]] = {}
        self._listeners: list[Callable[[str, dict[str, Any], str | None], None]] = []
        self._closed = False

    def on_event(self, listener: Callable[[str, dict[str, Any], str | None], None]) -> None:
        """Call `listener(method, params, session)` for every event; it must not block."""
        self._listeners.append(listener)

    async def call(
        self, method: str, params: Mapping[str, object] | None = None, session: str | None = None
    ) -> dict[str, Any]:
        """Send one request and return its result.

        Raises:
            BrowserError: the browser answered with an error, or went away.
        """
        if self._closed:
            raise BrowserError(f"{method}: the browser has gone")
        number = self._next_id
        self._next_id += 1
        message: dict[str, object] = {"id": number, "method": method, "params": dict(params or {})}
        if session is not None:
            message["sessionId"] = session
        arrived, reply = trio.Event(), list[dict[str, Any]]()
        self._waiting[number] = (arrived, reply)
        try:
            await self._socket.send_message(json.dumps(message))
            await arrived.wait()
        except ConnectionClosed as error:
            raise BrowserError(f"{method}: the browser has gone") from error
        finally:
            del self._waiting[number]
        if not reply:
            raise BrowserError(f"{method}: the browser has gone")
        if "error" in reply[0]:
            raise BrowserError(f"{method}: {reply[0]['error']} {reply[0].get('message', '')}")
        result: dict[str, Any] = reply[0].get("result", {})
        return result

    async def read(self) -> None:
        """Hand out replies and events until the connection ends."""
        try:
            while True:
                message = json.loads(await self._socket.get_message())
                waiting = self._waiting.get(message.get("id", -1))
                if waiting is not None:
                    waiting[1].append(message)
                    waiting[0].set()
                elif "method" in message:
                    for listener in self._listeners:
                        listener(message["method"], message.get("params", {}), message.get("sessionId"))
        except ConnectionClosed:
            pass
        finally:
            self._closed = True
            for arrived, _ in list(self._waiting.values()):
                arrived.set()


@asynccontextmanager
async def open_wire(url: str) -> AsyncIterator[Wire]:
    """Connect to a browser's control socket at `url` and read it until the block ends."""
    async with (
        trio.open_nursery() as nursery,
        open_websocket_url(url, max_message_size=MAX_MESSAGE_BYTES) as socket,
    ):
        wire = Wire(socket)
        nursery.start_soon(wire.read)
        yield wire
        nursery.cancel_scope.cancel()
