"""A visitor without a browser: calls a contact centre, shows a test card or a file, and says what it sees.

    triortc serve --dev                             # in another terminal; then open the agent's page that it prints
    python examples/robot_visitor.py URL [FILE]     # URL: http://127.0.0.1:8080/

Press *Go* on the agent's page. It ends when the call does.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

import httpx
import trio

import triortc
from triortc.signaling.client import ClientDevice, SignalClient, connect_websocket, open_signal_client


async def token_of_a_visitor(url: str, conversation: str) -> str:
    """A development server gives tokens to whoever asks; in a product your own server signs them."""
    claims = {"role": "visitor", "sub": "robot", "did": "robot-1", "name": "Robot", "cv": [conversation]}
    try:
        async with httpx.AsyncClient() as http:
            response = await http.post(f"{url}/dev/token", json=claims)
            return str(response.raise_for_status().json()["token"])
    except httpx.HTTPError as error:
        raise SystemExit(f"no token from {url}: {error}; does `triortc serve --dev` run there?") from None


@asynccontextmanager
async def hanging_up(client: SignalClient, session: str) -> AsyncGenerator[None]:
    """Say that the call is over, whatever ends the block: a server waits half a minute for whoever just disappears."""
    try:
        yield
    finally:
        with trio.move_on_after(2, shield=True):
            await client.command("call.hangup", session=session)  # of a call that has ended it says so, too


async def watch(receiver: triortc.RtpReceiver) -> None:
    """Say how many pictures came, each second of them."""
    count = 0
    async for decoded in triortc.decode_frames(receiver):
        count += 1
        if count % 30 == 1:
            print(f"sees picture {count}: {decoded.picture.width}x{decoded.picture.height}", flush=True)


async def main(url: str, source: triortc.MediaSource) -> None:
    """Call, and stay until the call is over."""
    conversation = f"cv_{secrets.token_hex(4)}"
    token = await token_of_a_visitor(url, conversation)
    channel = partial(connect_websocket, url.replace("http", "ws", 1) + "/v1/signal")
    async with (
        open_signal_client(channel, token=token, device=ClientDevice("robot-1", "web")) as client,
        triortc.open_peer_connection(triortc.PeerConfiguration(triortc.EndpointConfiguration(loopback=True))) as leg,
        trio.open_nursery() as nursery,
    ):
        audio, video = leg.add_transceiver("audio"), leg.add_transceiver("video")
        offer = leg.set_local_description().sdp
        media = {"audio": True, "video": True}
        call = await client.command("call.request", conversation=conversation, media=media, offer=offer)
        if call["state"] == "ended":
            print(f"nobody to ring: {call['reason']}")
            return
        print("rings for 30 seconds" if call["state"] == "ringing" else f"is {call['state']}", flush=True)
        async with hanging_up(client, call["session"]):
            leg.set_remote_description(triortc.RtcSessionDescription("answer", call["answer"]))
            with trio.fail_after(10):
                await leg.connected()
            nursery.start_soon(watch, video.receiver)
            nursery.start_soon(triortc.send_source, source, audio.sender, video.sender)
            while (event := await client.event()).t != "call.ended":
                if event.t in ("call.state", "call.active"):
                    print(event.t, event.p.get("state", ""), flush=True)
            print(f"over: {event.p['outcome']}, {event.p['reason']}", flush=True)
            nursery.cancel_scope.cancel()


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    played = triortc.MediaFileSource(sys.argv[2], loop=True) if len(sys.argv) > 2 else triortc.TestCardSource()
    try:
        trio.run(main, sys.argv[1].rstrip("/"), played)
    except* KeyboardInterrupt:
        pass  # Ctrl-C: it has hung up
