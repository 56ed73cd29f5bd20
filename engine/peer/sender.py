"""The sending half of a transceiver: encoded frames go out at once, and the peer's wishes come back."""

from __future__ import annotations

import secrets
from collections.abc import Callable

import trio

from triortc.codecs.frames import EncodedFrame
from triortc.codecs.payload.formats import Packetizer, packetizer_for
from triortc.codecs.registry import Codec, MediaKind
from triortc.engine.congestion.rate_meter import RateMeter
from triortc.engine.sdp.negotiated import Direction, NegotiatedMedia
from triortc.engine.session.outbound import OutboundStream
from triortc.engine.session.session import Session
from triortc.errors import ConfigurationError

__all__ = ["RtpSender"]

_METER_WINDOW_S = 2.0


class RtpSender:
    """What we send of one kind. Made by the connection.

    Arguments:
        kind: ``"audio"`` or ``"video"``.
        max_payload_bytes: of one packet.
        flush: hands what was put out to the socket.
    """

    def __init__(self, kind: MediaKind, *, max_payload_bytes: int, flush: Callable[[float], None]) -> None:
        self.kind: MediaKind = kind
        self.frames_sent = 0
        self.keyframes_sent = 0
        #: Frames that were not sent: not connected, not agreed on, no keyframe before them, or no room.
        self.frames_dropped = 0
        self.keyframe_requests = 0
        self.keyframe_requested = False
        self._max_payload_bytes = max_payload_bytes
        self._flush = flush
        self._session: Session | None = None
        self._section: NegotiatedMedia | None = None
        self._packetizer: Packetizer | None = None
        self._packetizes = ""
        self._payload_type = 0
        self._sequence_number: int | None = None
        self._needs_keyframe = kind == "video"
        #: Timestamp and duration of the last frame, and when it was sent.
        self._last: tuple[int, int, float] | None = None
        self._meter = RateMeter(_METER_WINDOW_S)
        self._asked = trio.Event()
        self._siblings: tuple[RtpSender, ...] = ()
        self._closed = False

    # -- for the owner of the connection

    @property
    def codec(self) -> Codec | None:
        """What to send, with the parameters that the peer wants to receive; ``None`` before it is agreed on."""
        stream = self._stream()
        return None if stream is None else stream.section.codecs[0].remote

    @property
    def ssrc(self) -> int | None:
        """Our source; ``None`` before it is agreed on."""
        stream = self._stream()
        return None if stream is None else stream.ssrc

    @property
    def mid(self) -> str | None:
        """Of the media section; ``None`` before it is agreed on."""
        stream = self._stream()
        return None if stream is None else stream.section.mid

    @property
    def current_direction(self) -> Direction | None:
        """Of the media section, seen from here; ``None`` before it is agreed on."""
        stream = self._stream()
        return None if stream is None else stream.section.direction

    @property
    def ready(self) -> bool:
        """Whether a frame would be sent now: connected, and the peer wants to receive."""
        session, stream = self._session, self._stream()
        return (
            not self._closed
            and session is not None
            and session.media.secured
            and session.path is not None
            and stream is not None
            and stream.section.send
        )

    @property
    def closed(self) -> bool:
        """Whether nothing will ever be sent again."""
        return self._closed

    @property
    def target_bitrate_bps(self) -> int | None:
        """What this stream may use, in bits per second; ``None`` while there is nothing to estimate from.

        The estimate is of the whole connection; pictures get what the sound leaves. The peer's own limit
        (``b=TIAS``, ``b=AS``) caps it.
        """
        session, stream = self._session, self._stream()
        if session is None or stream is None:
            return None
        limit_bps = stream.section.remote_max_bitrate_bps
        estimator = session.media.estimator
        if estimator is None:
            return limit_bps
        target_bps = estimator.target_bps
        if self.kind == "video":
            now = trio.current_time()
            others_bps = sum(other._meter.rate_bps(now) or 0.0 for other in self._siblings)
            target_bps = max(int(target_bps - others_bps), target_bps // 2)
        return target_bps if limit_bps is None else min(target_bps, limit_bps)

    def send_frame(self, frame: EncodedFrame) -> int:
        """Cut a frame into packets and send them.

        The RTP timestamps are those of the frame plus a random number that stays the same (RFC 3550 section 5.1).
        Video begins with a keyframe, and a frame that found no room is followed by one: others are dropped until then,
        and ``keyframe_requested`` is set.

        Returns:
            The packets that were sent; 0 if the frame was dropped, which ``frames_dropped`` counts.

        Raises:
            ConfigurationError: it is no encoded frame; ``send_source`` encodes.
        """
        if not isinstance(frame, EncodedFrame):
            raise ConfigurationError(
                f"send_frame takes an EncodedFrame, not {type(frame).__name__}: triortc.engine.peer.tracks.send_source "
                "encodes and sends"
            )
        stream = self._stream() if self.ready else None
        if stream is None:
            self._drop()
            return 0
        if self._needs_keyframe and not frame.keyframe:
            self._drop()
            return 0
        if stream.section is not self._section:
            self._configure(stream)
        if self._packetizer is None:
            self._drop()
            return 0
        now = trio.current_time()
        self._last = (frame.timestamp, frame.duration, now)
        sent = self._send(stream, self._packetizer.packetize(frame.data, self._max_payload_bytes), frame, now)
        self._flush(now)
        return sent

    def reached_timestamp(self, clock_rate: int, now: float) -> int | None:
        """The timestamp that a frame of now has, where time goes on from the last one; ``None``: nothing was sent yet.

        For another source in the place of one: receivers take pictures that seem older than the last one for late.

        Arguments:
            clock_rate: ticks a second of the timestamps.
            now: seconds, monotonic, by the connection's clock.
        """
        if self._last is None:
            return None
        timestamp, duration, at = self._last
        return (timestamp + max(duration, 1, round((now - at) * clock_rate))) & 0xFFFFFFFF

    def take_keyframe_request(self) -> bool:
        """Whether the peer has asked for a keyframe since the last call."""
        requested, self.keyframe_requested = self.keyframe_requested, False
        return requested

    async def wait_keyframe_request(self) -> bool:
        """Wait until the peer asks for a keyframe, and take the request; False when the connection is closed."""
        while not self.keyframe_requested and not self._closed:
            if self._asked.is_set():
                self._asked = trio.Event()
            await self._asked.wait()
        return self.take_keyframe_request() and not self._closed

    # -- for the connection

    def attach(self, session: Session) -> None:
        """The session that this sends by."""
        self._session = session

    def share_with(self, *siblings: RtpSender) -> None:
        """The `siblings` are the connection's other senders, which use the same estimate."""
        self._siblings = siblings

    def note_keyframe_request(self) -> None:
        """The peer needs a keyframe (PLI or FIR)."""
        self.keyframe_requests += 1
        self.want_keyframe()

    def want_keyframe(self) -> None:
        """Tell the encoder that the next picture must be a keyframe."""
        if self.kind == "video":
            self.keyframe_requested = True
            self._asked.set()

    def close(self) -> None:
        """Nothing will be sent any more."""
        self._closed = True
        self._asked.set()

    def _stream(self) -> OutboundStream | None:
        return None if self._session is None else self._session.media.outbound(self.kind)

    def _configure(self, stream: OutboundStream) -> None:
        entry = stream.section.codecs[0]
        name = entry.codec.name.lower()
        if name != self._packetizes:
            self._packetizer = packetizer_for(name, picture_id=secrets.randbits(15))
            self._packetizes = name
        if self._sequence_number is None:
            self._sequence_number = stream.first_sequence_number
        self._payload_type = entry.payload_type
        self._section = stream.section

    def _drop(self) -> None:
        self.frames_dropped += 1
        if self.kind == "video":
            self._needs_keyframe = True
            if self.ready:
                self.want_keyframe()

    def _send(self, stream: OutboundStream, payloads: list[bytes], frame: EncodedFrame, now: float) -> int:
        number = self._sequence_number or 0
        timestamp = (frame.timestamp + stream.first_timestamp) & 0xFFFFFFFF
        refused, last = stream.unprotected, len(payloads) - 1
        for index, payload in enumerate(payloads):
            marker = self.kind == "video" and index == last
            stream.send(marker, self._payload_type, number, timestamp, b"", payload, now)
            number = (number + 1) & 0xFFFF
            self._meter.add(len(payload), now)
        self._sequence_number = number
        refused = stream.unprotected - refused
        if refused or not payloads:
            self._drop()
        else:
            self._needs_keyframe = False
            self.frames_sent += 1
            self.keyframes_sent += frame.keyframe and self.kind == "video"
        return len(payloads) - refused
