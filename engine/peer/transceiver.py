"""A sender and a receiver of one kind that share a media section."""

from __future__ import annotations

from collections.abc import Sequence

from triortc.codecs.payload.formats import depacketizer_for
from triortc.codecs.registry import Codec, MediaKind
from triortc.engine.peer.receiver import RtpReceiver
from triortc.engine.peer.sender import RtpSender
from triortc.engine.sdp.negotiated import Direction
from triortc.errors import ConfigurationError

__all__ = ["RtpTransceiver"]

_DIRECTIONS = ("sendrecv", "sendonly", "recvonly", "inactive")


class RtpTransceiver:
    """One kind of media of a connection. Made by ``add_transceiver`` or by an offer of the peer.

    Arguments:
        kind: ``"audio"`` or ``"video"``.
        direction: what our next description asks for.
        codecs: the most preferred first.
        sender, receiver: of this kind.

    Attributes:
        refusal: why its section was refused in the last exchange, in words; ``None`` where it was not.

    Raises:
        ConfigurationError: the direction is unknown, or a codec has no payload format here.
    """

    def __init__(
        self, kind: MediaKind, direction: Direction, codecs: Sequence[Codec], sender: RtpSender, receiver: RtpReceiver
    ) -> None:
        if not codecs:
            raise ConfigurationError(f"the {kind} transceiver needs at least one codec, or None for the usual ones")
        for codec in codecs:
            if not isinstance(codec, Codec):
                raise ConfigurationError(
                    f"{codec!r} is no codec: choose among triortc.codecs.registry.DEFAULT_CODECS[{kind!r}]"
                )
            depacketizer_for(codec.name)
            if codec.kind != kind:
                raise ConfigurationError(f"{codec.name} is no codec for {kind}")
        self.kind: MediaKind = kind
        self.codecs = tuple(codecs)
        self.sender = sender
        self.receiver = receiver
        self.direction = direction
        self.refusal: str | None = None

    @property
    def mid(self) -> str | None:
        """Of the media section that was agreed on; ``None`` before that, and when the section was refused."""
        return self.sender.mid

    @property
    def current_direction(self) -> Direction | None:
        """What was agreed on last, seen from here; ``None`` before that, and when the section was refused."""
        return self.sender.current_direction

    @property
    def direction(self) -> Direction:
        """What our next description asks for; the peer may narrow it to `current_direction`."""
        return self._direction

    @direction.setter
    def direction(self, direction: Direction) -> None:
        if direction not in _DIRECTIONS:
            raise ConfigurationError(f"{direction!r} is no direction: use one of {', '.join(_DIRECTIONS)}")
        self._direction: Direction = direction
