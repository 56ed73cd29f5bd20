"""One peer plays a file or a test card, another one records what comes: real UDP, ICE, DTLS-SRTP and jitter buffers.

    python examples/play_and_record.py OUT.mkv [SECONDS [FILE]]

What is recorded is what was sent, as it was encoded; nothing is decoded on the way.
"""

from __future__ import annotations

import sys
from pathlib import Path

import trio

import triortc
from triortc.codecs.registry import OPUS, VP8

#: Loopback is left out of descriptions unless it is asked for: a peer elsewhere could not use it.
HERE = triortc.PeerConfiguration(endpoint=triortc.EndpointConfiguration(media_host=("127.0.0.1",), loopback=True))


def negotiate(player: triortc.PeerConnection, listener: triortc.PeerConnection) -> None:
    """Offer and answer. In a product these two texts travel over your own signaling."""
    listener.set_remote_description(player.set_local_description())
    player.set_remote_description(listener.set_local_description())


async def record(receiver: triortc.RtpReceiver, track: str, recorder: triortc.Recorder) -> None:
    """Write what a receiver gets, until the connection is closed."""
    async for received in receiver.frames():
        if not received.lost:
            recorder.write(track, received.frame, received.arrived_at)


async def main(target: Path, seconds: float, file: str | None) -> None:
    """Play and record for so long, then say what came."""
    threads = triortc.CodecThreads()
    source: triortc.MediaSource = triortc.MediaFileSource(file, loop=True) if file else triortc.TestCardSource()
    tracks = [triortc.RecorderTrack("sound", "opus"), triortc.RecorderTrack("pictures", "VP8")]
    async with (
        triortc.open_peer_connection(HERE) as player,
        triortc.open_peer_connection(HERE) as listener,
    ):
        audio = player.add_transceiver("audio", direction="sendonly", codecs=[OPUS])
        video = player.add_transceiver("video", direction="sendonly", codecs=[VP8])
        negotiate(player, listener)
        with trio.fail_after(10):
            await player.connected()
            await listener.connected()
        started_at = trio.current_time()
        async with triortc.open_recording(target, tracks, started_at_s=started_at, threads=threads) as recorder:
            with trio.move_on_after(seconds):
                async with trio.open_nursery() as nursery:
                    for each, track in zip(listener.transceivers, ("sound", "pictures"), strict=True):
                        nursery.start_soon(record, each.receiver, track, recorder)
                    await triortc.send_source(source, audio.sender, video.sender, threads=threads)
        statistics = listener.get_stats()["inbound_rtp_video"]
    result = recorder.finish()
    if result.error is not None:
        raise result.error
    print(f"{result.path}: {result.duration_s:.1f} s, {result.frames_written} frames, {result.file_bytes} bytes")
    print(f"pictures received: {statistics['frames_received']}, packets lost: {statistics['packets_lost']}")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    file, seconds, played = [*sys.argv[1:], "", ""][:3]
    try:
        trio.run(main, Path(file), float(seconds or 3.0), played or None)
    except* KeyboardInterrupt:
        sys.exit("interrupted")
    except* triortc.TriortcError as failed:  # a file that cannot be read, or a name that no recording can have
        sys.exit(str(failed.exceptions[0]))
