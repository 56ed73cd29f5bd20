"""What the people of the demo send and what they see and hear: test cards that tell who shows them, and when.

Every device has a range of picture numbers and a pitch of its own, so a receiver can tell from the content alone whose
picture it shows and whose beep it plays: the promise that nobody is seen before "Go" is tested by what is seen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, cast

import av
import numpy as np
import trio
from numpy.typing import NDArray

from triortc.codecs.configuration import SlateConfiguration
from triortc.codecs.frames import EncodedFrame
from triortc.codecs.slate import slate_picture
from triortc.codecs.testcard import TestCard, Tone, read_frame_number
from triortc.engine.peer.sender import RtpSender

__all__ = [
    "DESKTOP",
    "FRAME_RATE",
    "MOBILE",
    "PERFORMERS",
    "VISITOR",
    "HeardSound",
    "Performer",
    "ReceivedLog",
    "SeenPicture",
    "SentLog",
    "SlateEye",
    "beep_levels",
    "count_beeps",
    "performer_of",
    "timed_sender",
]

FRAME_RATE: Final = 30
#: Numbers of one performer's pictures; a multiple of the hand's turn and of the flash's second.
_RANGE: Final = 1_200_000
_SAMPLE_RATE: Final = 48_000
#: Below the beep's amplitude of 0.5, above whatever the quiet tone, the ringback and the codec leave at its pitch.
_BEEP_THRESHOLD: Final = 0.2
#: Mean difference of brightness, of 255, up to which a decoded picture counts as the slate.
_SLATE_TOLERANCE: Final = 8.0


class _NumberedCard(TestCard):
    """A test card whose pictures are numbered from somewhere else than 0."""

    __test__ = False

    def __init__(self, first_number: int) -> None:
        super().__init__(640, 480, FRAME_RATE)
        self._first_number = first_number

    def picture(self, number: int) -> av.VideoFrame:
        """Picture `number` of this card's own range."""
        return super().picture(self._first_number + number)


@dataclass(frozen=True, slots=True)
class Performer:
    """Who can be told by what is seen and heard.

    Attributes:
        name: of the device, for people.
        index: which range of picture numbers is his.
        beep_hz: the pitch of his beep.
        tone_hz: that of the quiet tone under it.
    """

    name: str
    index: int
    beep_hz: float
    tone_hz: float

    def card(self) -> TestCard:
        """His pictures."""
        return _NumberedCard(self.index * _RANGE)

    def tone(self) -> Tone:
        """His sound: a beep of 67 ms each second over a quiet tone."""
        return Tone(beep_hz=self.beep_hz, tone_hz=self.tone_hz)


# The pitches are whole multiples of 50 Hz: they do not leak into one another over a packet of 20 ms.
VISITOR: Final = Performer("visitor", 1, 800.0, 200.0)
DESKTOP: Final = Performer("desktop", 2, 1000.0, 250.0)
MOBILE: Final = Performer("mobile", 3, 1300.0, 300.0)
PERFORMERS: Final = (VISITOR, DESKTOP, MOBILE)


def performer_of(number: int | None) -> Performer | None:
    """Whose picture carries this number; None: nobody's, such as the slate."""
    if number is None:
        return None
    return next((performer for performer in PERFORMERS if performer.index == number // _RANGE), None)


@dataclass(frozen=True, slots=True)
class SeenPicture:
    """A picture that a device has decoded.

    Attributes:
        at: when, in seconds of trio's clock.
        number: what the test card says; None: no test card.
        slate: it looks like the engine's slate.
    """

    at: float
    number: int | None
    slate: bool

    @property
    def performer(self) -> Performer | None:
        """Whose it is."""
        return performer_of(self.number)


@dataclass(frozen=True, slots=True)
class HeardSound:
    """A packet of sound that a device has decoded, or concealed.

    Attributes:
        at: when, in seconds of trio's clock.
        levels: the amplitude at each performer's pitch, in their order.
        lost: nothing came in time for this one.
    """

    at: float
    levels: tuple[float, ...]
    lost: bool

    def beeps(self, performer: Performer) -> bool:
        """Whether this is a part of the performer's beep."""
        return self.levels[PERFORMERS.index(performer)] > _BEEP_THRESHOLD


def beep_levels(sound: av.AudioFrame) -> tuple[float, ...]:
    """The amplitude of one channel at each performer's pitch, 1.0 being full scale."""
    samples: NDArray[Any] = sound.to_ndarray().reshape(-1)
    scale = 32768.0 if samples.dtype.kind == "i" else 1.0
    found = (samples / scale) @ _waves(len(samples))
    return tuple((2 * np.abs(found) / max(1, len(samples))).tolist())


@lru_cache(maxsize=8)
def _waves(samples: int) -> NDArray[np.complex128]:
    """One column for each performer's pitch."""
    phase = np.arange(samples) * (2j * np.pi / _SAMPLE_RATE)
    return np.exp(np.outer(phase, [performer.beep_hz for performer in PERFORMERS]))


def count_beeps(sounds: Sequence[HeardSound], performer: Performer) -> int:
    """How many beeps of a performer are in sounds that follow one another."""
    count, beeping = 0, False
    for sound in sounds:
        starts = sound.beeps(performer)
        count += starts and not beeping
        beeping = starts
    return count


class SlateEye:
    """Tells the engine's slate from every other picture, by its brightness.

    Args:
        look: of the slate that the server shows.
    """

    def __init__(self, look: SlateConfiguration) -> None:
        self._shape = (look.height, look.width)
        self._luma = slate_picture(look, 0).to_ndarray()[: look.height].astype(np.float32)

    def look(self, picture: av.VideoFrame, at: float) -> SeenPicture:
        """What a decoded picture shows."""
        number = read_frame_number(picture)
        slate = number is None and (picture.height, picture.width) == self._shape
        if slate:
            luma = picture.to_ndarray(format="yuv420p")[: picture.height]
            slate = float(np.abs(luma - self._luma).mean()) < _SLATE_TOLERANCE
        return SeenPicture(at, number, slate)


@dataclass(slots=True)
class SentLog:
    """When each encoded frame of one stream left its sender; the bytes themselves tell which one it is."""

    frames: list[tuple[float, int]] = field(default_factory=list)

    def add(self, frame: EncodedFrame, at: float) -> None:
        """A frame leaves now."""
        self.frames.append((at, hash(frame.data)))


@dataclass(slots=True)
class ReceivedLog:
    """When the last packet of each frame came to a receiver."""

    frames: list[tuple[float, int]] = field(default_factory=list)

    def add(self, frame: EncodedFrame, arrived_at: float) -> None:
        """A frame is whole since `arrived_at`."""
        self.frames.append((arrived_at, hash(frame.data)))

    def latencies_s(self, senders: Sequence[SentLog], start: float, end: float) -> list[float]:
        """How long the frames took that came between two moments, in seconds.

        Args:
            senders: who feeds this receiver, one after the other.
            start, end: the moments.
        """
        left: dict[int, float] = {}
        sent = deque(sorted(frame for log in senders for frame in log.frames))
        found: list[float] = []
        for arrived_at, key in self.frames:
            # Sound repeats itself now and then: of equal frames the one that was sent last is meant.
            while sent and sent[0][0] <= arrived_at:
                sent_at, sent_key = sent.popleft()
                left[sent_key] = sent_at
            if start <= arrived_at <= end and key in left:
                found.append(arrived_at - left[key])
        return found

    def count(self, sent: SentLog) -> tuple[int, int]:
        """How many frames were sent from the first to the last one that came, and how many of them came."""
        arrived = {key for _, key in self.frames}
        came = [key in arrived for _, key in sent.frames]
        if not any(came):
            return 0, 0
        span = came[came.index(True) : len(came) - came[::-1].index(True)]
        return len(span), sum(span)


class _TimedSender:
    """An `RtpSender` that notes when each frame leaves; all else is the sender's."""

    def __init__(self, sender: RtpSender, log: SentLog) -> None:
        self._sender = sender
        self._log = log

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sender, name)

    def send_frame(self, frame: EncodedFrame) -> int:
        at = trio.current_time()
        packets = self._sender.send_frame(frame)
        if packets:
            self._log.add(frame, at)
        return packets


def timed_sender(sender: RtpSender, log: SentLog) -> RtpSender:
    """The same sender for `send_source`, with every frame it sends noted in `log`."""
    # send_source asks for the class; only the methods matter to it.
    return cast(RtpSender, _TimedSender(sender, log))
