"""Moves encoded frames from one container to another without decoding them."""

from __future__ import annotations

from pathlib import Path

import av

from triortc.errors import CodecError

__all__ = ["remux_to_mp4"]


def remux_to_mp4(source: Path, target: Path) -> None:
    """Copy every track of ``source`` into a new MP4 file ``target``, which appears only when it is whole.

    Raises:
        CodecError: FFmpeg cannot read the one or write the other.
        OSError: the file cannot be renamed.
    """
    unfinished = target.with_name(target.name + ".mux")
    try:
        with av.open(str(source)) as inside, av.open(str(unfinished), "w", format="mp4") as outside:
            streams = {}
            for stream in inside.streams:
                if isinstance(stream, (av.VideoStream, av.AudioStream)):
                    copy = outside.add_stream_from_template(stream)
                    copy.metadata.update(stream.metadata)
                    # MP4 keeps a track's name as its handler.
                    copy.metadata["handler_name"] = stream.metadata.get("title", "")
                    streams[stream.index] = copy
            for packet in inside.demux():
                if packet.dts is None:  # the demuxer's mark of the end
                    continue
                packet.stream = streams[packet.stream_index]
                outside.mux(packet)
    except (av.FFmpegError, ValueError) as error:
        unfinished.unlink(missing_ok=True)
        raise CodecError(f"cannot make an MP4 of the recording: {error}") from error
    unfinished.replace(target)
