"""The shape that the payload formats share, and which codec has which."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from triortc.codecs.payload.g711 import G711Depacketizer, G711Packetizer
from triortc.codecs.payload.h264 import H264Depacketizer, H264Packetizer
from triortc.codecs.payload.opus import OpusDepacketizer, OpusPacketizer
from triortc.codecs.payload.vp8 import Vp8Depacketizer, Vp8Packetizer
from triortc.errors import ConfigurationError

__all__ = ["Depacketizer", "Packetizer", "depacketizer_for", "packetizer_for"]


class Packetizer(Protocol):
    """Cuts the encoded frames of one stream into RTP payloads."""

    def packetize(self, frame: bytes, max_payload_bytes: int) -> list[bytes]:
        """The payloads of ``frame``, each of at most ``max_payload_bytes``."""
        ...


class Depacketizer(Protocol):
    """Reads RTP payloads of one codec. Nothing here raises for what a peer sent."""

    def is_frame_start(self, payload: bytes | bytearray | memoryview) -> bool:
        """Whether the payload begins a frame."""
        ...

    def is_keyframe(self, payload: bytes | bytearray | memoryview) -> bool:
        """Whether the payload begins a frame that a decoder can start from."""
        ...

    def depacketize(self, payloads: Sequence[bytes | memoryview]) -> bytes | None:
        """The frame whose payloads are given in sequence; ``None`` when they do not make one."""
        ...


_DEPACKETIZERS: dict[str, Depacketizer] = {
    "vp8": Vp8Depacketizer(),
    "h264": H264Depacketizer(),
    "opus": OpusDepacketizer(),
    "pcmu": G711Depacketizer(),
    "pcma": G711Depacketizer(),
}
_PACKETIZERS: dict[str, Callable[[], Packetizer]] = {
    "h264": H264Packetizer,
    "opus": OpusPacketizer,
    "pcmu": G711Packetizer,
    "pcma": G711Packetizer,
}


def depacketizer_for(codec_name: str) -> Depacketizer:
    """The depacketizer of a codec, by its SDP name in any case. It keeps no state and is shared.

    Raises:
        ConfigurationError: there is no such payload format here.
    """
    try:
        return _DEPACKETIZERS[codec_name.lower()]
    except KeyError:
        raise ConfigurationError(_unknown(codec_name)) from None


def packetizer_for(codec_name: str, *, picture_id: int = 0) -> Packetizer:
    """A new packetizer for one stream of a codec, by its SDP name in any case.

    Args:
        codec_name: such as ``"VP8"``.
        picture_id: the first PictureID of VP8, to be drawn at random (RFC 7741 section 4.2).

    Raises:
        ConfigurationError: there is no such payload format here.
    """
    name = codec_name.lower()
    if name == "vp8":
        return Vp8Packetizer(picture_id=picture_id)
    try:
        return _PACKETIZERS[name]()
    except KeyError:
        raise ConfigurationError(_unknown(codec_name)) from None


def _unknown(codec_name: str) -> str:
    return f"no payload format for {codec_name!r}: use one of {', '.join(sorted(_DEPACKETIZERS))}"
