"""The data plane's interface: legs, gates, sources, statistics. Policy stays above it.

The implementation in plain Python (:mod:`triortc.engine.relay.python_plane`) is the readable truth. An accelerated
one has the same methods and takes over below them: it knows five-tuples and SSRCs, and hands everything else up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from triortc.codecs.registry import MediaKind
from triortc.engine.relay.converter import Converter
from triortc.engine.relay.gate import GateState, GateStatistics
from triortc.engine.rtp.header import RtpHeader
from triortc.engine.session.inbound import InboundStream
from triortc.engine.session.session import Session

__all__ = ["DataPlane", "MediaTap"]

#: Gets what a leg sends and a gate lets through: (kind, codec name, header, payload, now). The payload is lent.
MediaTap = Callable[[MediaKind, str, RtpHeader, memoryview, float], None]


class DataPlane(Protocol):
    """Forwards packets between legs. Legs are named by the caller; everything is synchronous.

    A method that names an unknown leg raises CallError: that is a mistake of the caller, never of a peer.
    """

    def add_leg(
        self,
        leg: str,
        session: Session,
        *,
        takes_over: bool = False,
        on_ready: Callable[[str], None],
        on_own_keyframe: Callable[[str], None],
    ) -> None:
        """Take a session in. Its gates are closed.

        Arguments:
            takes_over: another leg is heard and seen until this one replaces it: its newest keyframe and what follows
                is held (bounded) and sent at once when its gate opens, so that the receiver sees no gap. Nothing is
                held of a leg that takes nothing over, nor of a muted one.
            on_ready: called once with the leg's name when it could take over: a packet of sound has come, and a
                keyframe of video is held, or begins where none is held. Kinds that :meth:`expect` takes out do not
                count.
            on_own_keyframe: called with the leg's name when it needs a keyframe of the engine's own packets.
        """

    def remove_leg(self, leg: str) -> None:
        """Forget a leg, its gates and what it feeds. Unknown legs are ignored."""

    def negotiated(self, leg: str, now: float) -> None:
        """The leg's offer and answer are exchanged (again): its formats are known."""

    def expect(self, leg: str, kind: MediaKind, expected: bool) -> None:
        """Whether the leg's readiness waits for this kind: not for one that its sender has muted."""

    def connect(self, source: str, destination: str, now: float) -> None:
        """From the next packet on, `source` and no other leg feeds `destination`; numbers go on without a seam.

        Video begins with a keyframe; a source whose gate is open is asked for one.
        """

    def disconnect(self, destination: str) -> None:
        """Nothing feeds `destination` any more."""

    def set_gate(self, leg: str, kind: MediaKind, state: GateState, now: float) -> None:
        """Set the valve on what a leg sends. Opening forwards from the keyframe that is held, or asks for one."""

    def limit(self, leg: str, at_most_bps: int | None, now: float) -> None:
        """Ask whatever feeds `leg` to send it no more than this in all; None: what its way can carry."""

    def request_keyframe(self, leg: str, now: float) -> None:
        """Ask a leg for a keyframe, throttled."""

    def send_own(
        self,
        leg: str,
        kind: MediaKind,
        codec_name: str,
        payloads: list[tuple[bytes, bool]],
        timestamp: int,
        now: float,
    ) -> bool:
        """Send the engine's own packets (slate, ringback) to a leg while no source reaches it.

        Arguments:
            payloads: (payload, marker) in order.
            timestamp: the sender's own RTP clock.

        Returns:
            False when the leg cannot take them now: no keys yet, or no such format, or an open source.
        """

    def kinds_without_common_format(self, leg: str) -> tuple[MediaKind, ...]:
        """The kinds of which the leg's source sends nothing that the leg has agreed to: they want a converter."""

    def convert(self, leg: str, kind: MediaKind, converter: Converter | None, now: float) -> None:
        """Give what the leg's source sends in such formats to `converter`; None: it is dropped and counted."""

    def send_converted(
        self,
        leg: str,
        kind: MediaKind,
        codec_name: str,
        payloads: list[tuple[bytes, bool]],
        timestamp: int,
        now: float,
        *,
        maker: object,
        source: InboundStream | None,
    ) -> bool:
        """Send what a converter has made of the source's packets.

        Arguments:
            payloads: (payload, marker) in order.
            timestamp: RTP clock of what was made.
            maker: whose clock that is; another maker begins anew, without a seam.
            source: the stream that has the same clock; None: none has.

        Returns:
            False when nothing may be sent: the source's gate is not open any more, or the leg does not take the format.
        """

    def tap(self, leg: str, tap: MediaTap | None) -> None:
        """Show what the leg's gates let through to `tap`; None ends it."""

    def statistics(self, leg: str) -> Mapping[MediaKind, GateStatistics]:
        """The counters of a leg's gates."""
