"""A QUIC connection that pushes back: credit is given for what the application has taken (RFC 9000 section 4).

aioquic doubles a limit as soon as half of it has arrived, whoever reads; a sender that is not read would be let on
without end. Here a window moves on only as its stream is read. These are the few places that reach into aioquic; its
version is bounded in pyproject.toml, and tests/unit/test_webtransport_session.py sees a window that does not hold.
"""

from __future__ import annotations

from typing import Any

from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import (
    CONNECTION_LIMIT_FRAME_CAPACITY,
    END_STATES,
    MAX_STREAM_DATA_FRAME_CAPACITY,
    QuicConnection,
)
from aioquic.quic.packet import QuicFrameType
from aioquic.quic.packet_builder import QuicPacketBuilder
from aioquic.quic.recovery import QuicPacketSpace
from aioquic.quic.stream import QuicStream

__all__ = ["ReadPacedQuicConnection"]


class ReadPacedQuicConnection(QuicConnection):
    """A connection whose peer may send a window more than has been read.

    Args:
        configuration: `max_stream_data` and `max_data` are the windows of a stream and of the connection.
        max_streams: streams that the peer may open, of each kind.
        arguments: those of aioquic's connection.
    """

    def __init__(self, *, configuration: QuicConfiguration, max_streams: int, **arguments: Any) -> None:
        super().__init__(configuration=configuration, **arguments)
        self._read_bytes: dict[int, int] = {}
        self._all_read_bytes = 0
        for limit in (self._local_max_streams_bidi, self._local_max_streams_uni):
            limit.value = limit.sent = max_streams

    @property
    def started(self) -> bool:
        """Whether the first datagram was one that begins a connection; before it there is nobody to send to."""
        return bool(self._network_paths)

    @property
    def ended(self) -> bool:
        """Whether the connection was closed: our close is on its way, or the peer's has come, or it was silent."""
        return self._state in END_STATES

    @property
    def end_reason(self) -> str:
        """What was said at the end, by either side."""
        return "" if self._close_event is None else self._close_event.reason_phrase

    @property
    def address_is_validated(self) -> bool:
        """Whether the peer has shown that it receives at its address (RFC 9000 section 8)."""
        return bool(self._network_paths) and self._network_paths[0].is_validated

    def release(self) -> None:
        """Let go of everything: the connection is over, and not to be used any more.

        aioquic keeps methods of the connection in the connection, its handlers of frames, of keys and of what is lost,
        and with each sent packet the space it is kept in. Without this only the garbage collector, which servers let
        run seldom, would find out that it can go.
        """
        for space in self._spaces.values():
            space.sent_packets.clear()
        self.__dict__.clear()

    def read(self, stream_id: int, size: int) -> None:
        """The application has taken `size` bytes of a stream: the peer may send as many more."""
        self._read_bytes[stream_id] = self._read_bytes.get(stream_id, 0) + size
        self._all_read_bytes += size

    def unacknowledged_bytes(self, stream_id: int) -> int:
        """What was written to a stream and is not known to have arrived."""
        stream = self._streams.get(stream_id)
        return 0 if stream is None else stream.sender._buffer_stop - stream.sender._buffer_start

    def can_write(self, stream_id: int) -> bool:
        """Whether a stream takes data: it was opened, and neither ended nor reset nor stopped by the peer."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return False
        sender = stream.sender
        return not sender.is_finished and sender._buffer_fin is None and sender._reset_error_code is None

    def refuse_stream(self, stream_id: int, error_code: int) -> None:
        """Neither read nor write a stream that the peer has opened, and tell it so."""
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.receiver.stop(error_code)
            stream.sender.reset(error_code)

    def _write_connection_limits(self, builder: QuicPacketBuilder, space: QuicPacketSpace) -> None:
        limit = self._local_max_data
        window = self.configuration.max_data
        wanted = self._all_read_bytes + window
        if wanted - limit.value >= window // 2:
            limit.value = wanted
        if limit.value != limit.sent:
            frame = builder.start_frame(
                limit.frame_type,
                capacity=CONNECTION_LIMIT_FRAME_CAPACITY,
                handler=self._on_connection_limit_delivery,
                handler_args=(limit,),
            )
            frame.push_uint_var(limit.value)
            limit.sent = limit.value

    def _write_stream_limits(self, builder: QuicPacketBuilder, space: QuicPacketSpace, stream: QuicStream) -> None:
        if not stream.max_stream_data_local or stream.stream_id is None:
            return  # ours to write to only, or the handshake
        window = self.configuration.max_stream_data
        wanted = self._read_bytes.get(stream.stream_id, 0) + window
        if wanted - stream.max_stream_data_local >= window // 2:
            stream.max_stream_data_local = wanted
        if stream.max_stream_data_local_sent != stream.max_stream_data_local:
            frame = builder.start_frame(
                QuicFrameType.MAX_STREAM_DATA,
                capacity=MAX_STREAM_DATA_FRAME_CAPACITY,
                handler=self._on_max_stream_data_delivery,
                handler_args=(stream,),
            )
            frame.push_uint_var(stream.stream_id)
            frame.push_uint_var(stream.max_stream_data_local)
            stream.max_stream_data_local_sent = stream.max_stream_data_local
