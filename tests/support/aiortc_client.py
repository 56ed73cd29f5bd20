"""A client of another stack, as a program of its own: aiortc runs on asyncio, our tests on trio.

It prints its offer as a line of JSON and reads the answer as a line, or, with the second argument `answer`, the other
way round. A third argument names the codecs that it takes ("H264,PCMU"); empty or absent: all that it has. With a
fourth one, `channel`, it offers a data channel, too. Then it prints a line of statistics every 200 ms until its
standard input ends. It sends a picture of one colour (the first argument) and a tone.
"""

from __future__ import annotations

import asyncio
import fractions
import json
import sys
from typing import Any

import numpy as np
from aiortc import RTCPeerConnection, RTCRtpSender, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack, VideoStreamTrack
from av import AudioFrame, VideoFrame


class ColourTrack(VideoStreamTrack):
    """A picture of one luminance with a line that moves."""

    def __init__(self, luminance: int) -> None:
        super().__init__()
        self._luminance = luminance
        self._count = 0

    async def recv(self) -> VideoFrame:
        pts, time_base = await self.next_timestamp()
        picture = np.full((480 * 3 // 2, 640), 128, np.uint8)
        picture[:480] = self._luminance
        picture[self._count % 480] = 255 - self._luminance
        self._count += 1
        frame = VideoFrame.from_ndarray(picture, format="yuv420p")
        frame.pts, frame.time_base = pts, time_base
        return frame


class ToneTrack(MediaStreamTrack):
    """440 Hz in packets of 20 ms."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._samples = 0

    async def recv(self) -> AudioFrame:
        if self._samples:
            await asyncio.sleep(0.02)
        at = np.arange(self._samples, self._samples + 960)
        wave = (8000 * np.sin(2 * np.pi * 440 * at / 48000)).astype(np.int16)
        frame = AudioFrame.from_ndarray(wave.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48000, self._samples, fractions.Fraction(1, 48000)
        self._samples += 960
        return frame


class Viewer:
    """Counts and measures what arrives."""

    def __init__(self) -> None:
        self.pictures = 0
        self.luminance = 0.0
        self.sounds = 0
        self.loudness = 0.0

    async def watch(self, track: Any) -> None:
        """Read a track to its end."""
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            if track.kind == "video":
                self.pictures += 1
                self.luminance = float(np.median(frame.to_ndarray(format="gray")))
            else:
                self.sounds += 1
                self.loudness = float(np.abs(frame.to_ndarray().astype(np.int32)).mean())


def description_line(connection: RTCPeerConnection) -> str:
    """Its description as a line of JSON."""
    return json.dumps({"sdp": connection.localDescription.sdp})


def take_only(connection: RTCPeerConnection, names: set[str]) -> None:
    """Offer these codecs and no others."""
    for transceiver in connection.getTransceivers():
        codecs = RTCRtpSender.getCapabilities(transceiver.kind).codecs
        transceiver.setCodecPreferences([codec for codec in codecs if codec.mimeType.split("/")[1] in names])


async def main(luminance: int, role: str, codecs: str = "", further: str = "") -> None:
    """Exchange descriptions, report until standard input ends."""
    connection, viewer = RTCPeerConnection(), Viewer()
    tasks: list[asyncio.Task[None]] = []
    connection.on("track", lambda track: tasks.append(asyncio.ensure_future(viewer.watch(track))))
    loop = asyncio.get_running_loop()
    if role == "answer":
        offer = json.loads(await loop.run_in_executor(None, sys.stdin.readline))
        await connection.setRemoteDescription(RTCSessionDescription(offer["sdp"], "offer"))
    if further == "channel":
        connection.createDataChannel("chat")
    connection.addTrack(ToneTrack())
    connection.addTrack(ColourTrack(luminance))
    if further == "video":
        connection.addTrack(ColourTrack(luminance))
    if codecs:
        take_only(connection, set(codecs.split(",")))
    if role == "answer":
        await connection.setLocalDescription(await connection.createAnswer())
        print(description_line(connection), flush=True)
    else:
        await connection.setLocalDescription(await connection.createOffer())
        print(description_line(connection), flush=True)
        answer = json.loads(await loop.run_in_executor(None, sys.stdin.readline))
        await connection.setRemoteDescription(RTCSessionDescription(answer["sdp"], "answer"))
    ended = loop.run_in_executor(None, sys.stdin.readline)
    while not ended.done():
        print(json.dumps({"state": connection.connectionState, **vars(viewer)}), flush=True)
        await asyncio.wait([ended], timeout=0.2)
    await connection.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), *sys.argv[2:]))
