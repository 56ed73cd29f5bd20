"""A browser as a server's HTTP sees it: requests, and in how many pieces each answer comes."""

from __future__ import annotations

from collections.abc import Mapping

import h11
import trio

from support.signaling_host import SignalingHost

UPGRADE = {
    "upgrade": "websocket",
    "connection": "Upgrade",
    "sec-websocket-version": "13",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    "sec-websocket-protocol": "triortc.v1",
}


class Browser:
    """An HTTP client that notices in how many pieces an answer comes."""

    def __init__(self, stream: trio.SocketStream, authority: str) -> None:
        self.stream = stream
        self.authority = authority
        self.pieces = 0
        self._connection = h11.Connection(h11.CLIENT)

    async def ask(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> tuple[int, dict[str, str], bytes]:
        sent = {"host": self.authority, **(headers or {})}
        if body:
            sent["content-length"] = str(len(body))
        request = h11.Request(method=method, target=path, headers=list(sent.items()))
        data = (self._connection.send(request) or b"") + (self._connection.send(h11.Data(data=body)) or b"")
        await self.stream.send_all(data + (self._connection.send(h11.EndOfMessage()) or b""))
        self.pieces = 0
        response, content = None, b""
        with trio.fail_after(5):
            while True:
                event = self._connection.next_event()
                if event is h11.NEED_DATA:
                    self._connection.receive_data(await self.stream.receive_some(1 << 20))
                    self.pieces += 1
                elif isinstance(event, (h11.Response, h11.InformationalResponse)):
                    response = event
                    if isinstance(event, h11.InformationalResponse):
                        break
                elif isinstance(event, h11.Data):
                    content += event.data
                else:
                    break
        assert response is not None
        if self._connection.our_state is h11.DONE and self._connection.their_state is h11.DONE:
            self._connection.start_next_cycle()
        return response.status_code, {k.decode(): v.decode() for k, v in response.headers}, content


async def open_stream(host: SignalingHost) -> trio.SocketStream:
    assert host.address is not None
    return await trio.open_tcp_stream(*host.address)
