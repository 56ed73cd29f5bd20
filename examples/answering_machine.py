"""An agent that is a program: it answers every call, plays a film to the visitor, and records the visitor.

    triortc serve --dev
    python examples/answering_machine.py http://127.0.0.1:8080/ [FILM] [FOLDER]

Then call it from the visitor's page. Without a film it shows a test card; recordings are FOLDER/vs_….webm.
"""

from __future__ import annotations

import sys
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import httpx
import trio

import triortc
from triortc.codecs.registry import OPUS, VP8
from triortc.signaling.client import ClientDevice, SignalClient, connect_websocket, open_signal_client

#: So that a server on the same machine is found, too.
CONFIGURATION = triortc.PeerConfiguration(endpoint=triortc.EndpointConfiguration(loopback=True))


async def record(receiver: triortc.RtpReceiver, track: str, recorder: triortc.Recorder) -> None:
    """Write what comes, as it was encoded."""
    async for received in receiver.frames():
        if not received.lost:
            recorder.write(track, received.frame, received.arrived_at)


async def hang_up(signal: SignalClient, session: str) -> None:
    """Whatever has ended the recording: a server waits half a minute for whoever just disappears."""
    with trio.move_on_after(2, shield=True):
        await signal.command("call.hangup", session=session)


async def take_call(signal: SignalClient, session: str, film: str | None, folder: Path) -> triortc.RecordingResult:
    """Answer, play and record until somebody hangs up."""
    threads = triortc.CodecThreads()
    async with (
        AsyncExitStack() as stack,
        triortc.open_peer_connection(CONFIGURATION) as connection,
        trio.open_nursery() as nursery,
    ):
        sound = connection.add_transceiver("audio", codecs=[OPUS])
        picture = connection.add_transceiver("video", codecs=[VP8])  # what a .webm can hold
        offer = connection.set_local_description()
        accepted = await signal.command("call.accept", session=session, offer=offer.sdp)
        stack.push_async_callback(hang_up, signal, session)
        connection.set_remote_description(triortc.RtcSessionDescription("answer", accepted["answer"]))
        with trio.fail_after(10):
            await connection.connected()
        source: triortc.MediaSource = triortc.MediaFileSource(film, loop=True) if film else triortc.TestCardSource()
        nursery.start_soon(partial(triortc.send_source, source, sound.sender, picture.sender, threads=threads))
        tracks = [triortc.RecorderTrack("sound", "opus"), triortc.RecorderTrack("picture", "vp8")]
        path = folder / f"{session}.webm"
        async with triortc.open_recording(path, tracks, started_at_s=trio.current_time(), threads=threads) as recorder:
            nursery.start_soon(record, sound.receiver, "sound", recorder)
            nursery.start_soon(record, picture.receiver, "picture", recorder)
            await signal.event("call.ended", session=session)
            nursery.cancel_scope.cancel()
    return recorder.finish()


async def answer_calls(signal: SignalClient, film: str | None, folder: Path) -> None:
    """One after the other, for ever."""
    await signal.command("presence.set", channel="video", declared="available")
    print("waiting for calls", flush=True)
    while True:
        ring = await signal.event("ring.offer")
        session = ring.p["session"]
        try:
            result = await take_call(signal, session, film, folder)
            # An agent who has an open conversation is busy: the next visitor may come when this one's is closed.
            await signal.command("conversation.close", conversation=ring.p["conversation"])
            print(f"{session}: {result.duration_s:.1f} s in {result.path}", flush=True)
        except* (triortc.TriortcError, trio.TooSlowError) as failed:  # the visitor hung up first, or has no network
            print(f"{session}: {failed.exceptions}", flush=True)


async def main(url: str, film: str | None, folder: Path) -> None:
    """Sign in as an agent, and stay as long as the server is there."""
    await trio.Path(folder).mkdir(exist_ok=True)
    asked = {"role": "agent", "sub": "machine", "did": "machine-1", "name": "Machine"}
    try:
        async with httpx.AsyncClient() as http:  # a product's agents bring the token of their own login
            token = (await http.post(f"{url}/dev/token", json=asked)).raise_for_status().json()["token"]
    except httpx.HTTPError as error:
        raise SystemExit(f"no token from {url}: {error}; does `triortc serve --dev` run there?") from None
    channel = partial(connect_websocket, url.replace("http", "ws", 1) + "/v1/signal")
    device = ClientDevice("machine-1")
    async with open_signal_client(channel, token=token, device=device) as signal, trio.open_nursery() as nursery:
        nursery.start_soon(answer_calls, signal, film, folder)
        await signal.ended()
        nursery.cancel_scope.cancel()
    print("the server has closed the connection:", *(signal.closed or ()))


if __name__ == "__main__":
    arguments = [*sys.argv[1:], *[""] * 3]
    address = (arguments[0] or "http://127.0.0.1:8080").rstrip("/")
    try:
        trio.run(main, address, arguments[1] or None, Path(arguments[2] or "recordings"))
    except* KeyboardInterrupt:
        pass  # Ctrl-C: what was recorded is whole
