"""The demo's files, opened again and looked at: nobody has to believe that they can be played."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from statistics import median

import av

from triortc.bench.demo_media import PERFORMERS, HeardSound, Performer, beep_levels, count_beeps, performer_of
from triortc.codecs.testcard import read_flash, read_frame_number
from triortc.errors import CodecError

__all__ = ["TrackContent", "read_recording", "read_snapshot", "sound_behind_pictures_ms"]


@dataclass(slots=True)
class TrackContent:
    """What one track of a recording holds.

    Attributes:
        kind: `audio` or `video`.
        first_s, last_s: times of the first and the last picture or packet of sound.
        performers: whose pictures there are, in order of appearance.
        foreign: pictures that are nobody's.
        pictures: how many there are.
        sounds: the sound, in pieces as encoded.
        onsets_s: when the flashes or the beeps begin, whoever's they are.
    """

    kind: str
    first_s: float = inf
    last_s: float = 0.0
    performers: list[Performer] = field(default_factory=list)
    foreign: int = 0
    pictures: int = 0
    sounds: list[HeardSound] = field(default_factory=list)
    onsets_s: list[float] = field(default_factory=list)
    _signals: bool = False

    def add(self, frame: av.VideoFrame | av.AudioFrame) -> None:
        """The next frame of the track."""
        time_s = frame.time or 0.0
        self.first_s, self.last_s = min(self.first_s, time_s), max(self.last_s, time_s)
        if isinstance(frame, av.AudioFrame):
            sound = HeardSound(time_s, beep_levels(frame), lost=False)
            self.sounds.append(sound)
            self._mark(any(sound.beeps(performer) for performer in PERFORMERS), time_s)
            return
        self.pictures += 1
        self._mark(read_flash(frame), time_s)
        performer = performer_of(read_frame_number(frame))
        if performer is None:
            self.foreign += 1
        elif performer not in self.performers:
            self.performers.append(performer)

    def _mark(self, signals: bool, time_s: float) -> None:
        if signals and not self._signals:
            self.onsets_s.append(time_s)
        self._signals = signals

    def beeps(self, *performers: Performer) -> int:
        """How many beeps of these performers are on a track of sound."""
        return sum(count_beeps(self.sounds, performer) for performer in performers)


def sound_behind_pictures_ms(pictures: TrackContent, sound: TrackContent) -> float:
    """How far the beeps are behind the flashes, as a median in milliseconds; negative: ahead; infinite: unknown."""
    found = [
        nearest - flash
        for flash in pictures.onsets_s
        if abs((nearest := min(sound.onsets_s, key=lambda beep: abs(beep - flash), default=inf)) - flash) < 0.5
    ]
    return median(found) * 1000 if found else inf


def read_recording(path: Path) -> dict[str, TrackContent]:
    """Decode a whole recording. Blocks: it belongs into a codec thread.

    Returns:
        What each track holds, by the track's name.

    Raises:
        CodecError: the file cannot be played to its end.
    """
    try:
        with av.open(str(path)) as container:
            tracks: dict[int, TrackContent] = {}
            names: dict[str, TrackContent] = {}
            for stream in container.streams:
                content = tracks[stream.index] = TrackContent(stream.type)
                names[stream.metadata.get("title", str(stream.index))] = content
            for packet in container.demux():
                for frame in packet.decode():
                    if isinstance(frame, av.VideoFrame | av.AudioFrame):
                        tracks[packet.stream_index].add(frame)
    except (av.FFmpegError, OSError) as error:
        raise CodecError(f"cannot play {path}: {error}") from error
    return names


def read_snapshot(path: Path) -> Performer | None:
    """Whose picture a still shows; None: nobody's. Blocks.

    Raises:
        CodecError: it is no picture.
    """
    try:
        with av.open(str(path)) as container:
            return performer_of(read_frame_number(next(container.decode(video=0))))
    except (av.FFmpegError, OSError, StopIteration) as error:
        raise CodecError(f"cannot read {path}: {error}") from error
