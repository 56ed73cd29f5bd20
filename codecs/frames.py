"""The unit that encoders give, payload formats carry and decoders and recorders take."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["EncodedFrame"]


@dataclass(frozen=True, slots=True)
class EncodedFrame:
    """One encoded picture or one packet of sound.

    Attributes:
        data: the codec's bytes; Annex B for H.264.
        timestamp: RTP timestamp of the first sample, in ticks of the codec's clock, modulo 2**32.
        duration: how long it lasts, in the same ticks; 0 when it is not known (a picture lasts until the next one).
        keyframe: decoding can start here. Always true for sound.
    """

    data: bytes
    timestamp: int
    duration: int = 0
    keyframe: bool = True
