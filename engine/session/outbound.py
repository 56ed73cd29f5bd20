"""One stream that we send: header, extensions, protection, history for retransmission."""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Final

from triortc.codecs.registry import MediaKind
from triortc.engine.congestion.send_side import SendSideEstimator
from triortc.engine.rtcp.packets import ReportBlock
from triortc.engine.rtp.extensions import ABS_SEND_TIME_URI, ONE_BYTE_PROFILE, TRANSPORT_WIDE_CC_URI
from triortc.engine.sdp.negotiated import NegotiatedMedia
from triortc.engine.session.inbound import InboundStream, OpenFlow
from triortc.engine.session.outbox import Outbox
from triortc.engine.srtp.outbound import SrtpOutbound
from triortc.engine.streams.configuration import RetransmissionConfiguration
from triortc.engine.streams.retransmission_history import RetransmissionHistory
from triortc.engine.streams.rtx import RtxSender
from triortc.engine.streams.sender_statistics import SenderStatistics

__all__ = ["OutboundStream", "Sender", "Source"]

_PLAIN: Final = Struct("!BBHII")
_EXTENDED: Final = Struct("!BBHIIHH")
_NUMBERED: Final = Struct("!BBHIIHHBHx")
_PADS: Final = (b"", b"\0\0\0", b"\0\0", b"\0")
#: Where the values of our own extensions lie in a header that begins with them (see OutboundStream.send).
_OWN_VALUE_AT: Final = 17
#: Room for tag and header behind the payload.
_OVERHEAD_BYTES: Final = 128


class Source:
    """The numbers of a stream that we may send: chosen once, before anything is negotiated."""

    __slots__ = ("first_sequence_number", "first_timestamp", "kind", "rtx_first_sequence_number", "rtx_ssrc", "ssrc")

    def __init__(self, kind: MediaKind, random_bytes: Callable[[int], bytes]) -> None:
        self.kind: MediaKind = kind
        self.ssrc = int.from_bytes(random_bytes(4), "big") or 1
        self.rtx_ssrc = (self.ssrc + 1) & 0xFFFFFFFF
        # RFC 3711 section 3.3.1: a first number below 2^15 spares receivers a guess at the roll-over counter.
        self.first_sequence_number = int.from_bytes(random_bytes(2), "big") & 0x3FFF
        self.rtx_first_sequence_number = int.from_bytes(random_bytes(2), "big") & 0x3FFF
        self.first_timestamp = int.from_bytes(random_bytes(4), "big")


class Sender:
    """What all outgoing streams of one session share: keys, outbox, transport-wide numbering, estimate."""

    __slots__ = ("estimator", "flow", "outbox", "srtp", "transport_sequence_number", "wake_media")

    def __init__(self, outbox: Outbox, wake_media: Callable[[], None]) -> None:
        self.outbox = outbox
        #: Called when something is in the outbox: nothing else has changed by that.
        self.wake_media = wake_media
        self.srtp: SrtpOutbound | None = None
        self.estimator: SendSideEstimator | None = None
        self.transport_sequence_number = 0
        #: Gives transport-wide numbers beside us; to be closed before we give the next one.
        self.flow: OpenFlow | None = None


class OutboundStream:
    """A stream that we send, as negotiated.

    Arguments:
        sender: what it shares with the session's other streams.
        source: its numbers.
        section: the media section it belongs to.
        retransmission: the numbers of its history.
    """

    __slots__ = (
        "_abs_send_time_id",
        "_follows",
        "_payload_type",
        "_rtx",
        "_rtx_sequence_number",
        "_rtx_ssrc",
        "_sender",
        "_source_offset",
        "_timestamp_shift",
        "_transport_cc_id",
        "clock_rate",
        "first_sequence_number",
        "first_timestamp",
        "flow",
        "history",
        "kind",
        "nacks_received",
        "report",
        "section",
        "ssrc",
        "statistics",
        "unprotected",
    )

    def __init__(
        self, sender: Sender, source: Source, section: NegotiatedMedia, retransmission: RetransmissionConfiguration
    ) -> None:
        self.kind: MediaKind = section.kind
        self.ssrc = source.ssrc
        self.first_sequence_number = source.first_sequence_number
        self.first_timestamp = source.first_timestamp
        self.clock_rate = section.codecs[0].codec.clock_rate
        self.statistics = SenderStatistics(self.ssrc, self.clock_rate)
        #: Packets that could not be sent: no keys yet, outbox full, or a number that was used before.
        self.unprotected = 0
        #: What the peer has said of it last, and how often it has asked for lost packets.
        self.report: ReportBlock | None = None
        self.nacks_received = 0
        self._sender = sender
        self._transport_cc_id = self._abs_send_time_id = 0
        self._payload_type = -1
        self._follows: InboundStream | None = None
        self._timestamp_shift = 0
        self._source_offset: Callable[[], float | None] | None = None
        #: Sends packets of the stream that is passed on here; to be closed before anything that it stands on changes.
        self.flow: OpenFlow | None = None
        repairs = any("nack" in codec.feedback for codec in section.codecs)
        self.history = RetransmissionHistory(retransmission) if repairs else None
        self._rtx: RtxSender | None = None
        self._rtx_ssrc, self._rtx_sequence_number = source.rtx_ssrc, source.rtx_first_sequence_number
        self.configure(section)

    def configure(self, section: NegotiatedMedia) -> None:
        """Take over what was negotiated again."""
        self.close_flow()
        self.section = section
        before = self._transport_cc_id, self._abs_send_time_id, self.has_rtx
        transport_cc = section.sendable_id(TRANSPORT_WIDE_CC_URI)
        abs_send_time = section.sendable_id(ABS_SEND_TIME_URI)
        self._transport_cc_id = transport_cc if 0 < transport_cc < 15 else 0
        # The receiver estimates from abs-send-time only where it does not report arrivals, so one of them is enough.
        self._abs_send_time_id = abs_send_time if 0 < abs_send_time < 15 and not self._transport_cc_id else 0
        if self._rtx is not None:
            self._rtx_sequence_number = self._rtx.sequence_number
        types = _rtx_payload_types(section)
        is_wanted = bool(types) and section.local_rtx_ssrc is not None
        self._rtx = RtxSender(self._rtx_ssrc, types, self._rtx_sequence_number) if is_wanted else None
        if self.history is not None and before != (self._transport_cc_id, self._abs_send_time_id, self.has_rtx):
            self.history.clear()  # its headers have their values elsewhere, or it holds what was protected

    @property
    def sender(self) -> Sender:
        """What it shares with the session's other streams."""
        return self._sender

    @property
    def srtp(self) -> SrtpOutbound | None:
        """Our keys, once there are any."""
        return self._sender.srtp

    @property
    def outbox(self) -> Outbox:
        """Where packets leave."""
        return self._sender.outbox

    @property
    def has_rtx(self) -> bool:
        """Whether the history holds plain packets, to be sent again as RTX; else protected ones."""
        return self._rtx is not None

    @property
    def transport_sequence_number(self) -> int:
        """The next packet's transport-wide number."""
        return self._sender.transport_sequence_number

    @property
    def own_extension_ids(self) -> tuple[int, int]:
        """Ids of the transport-wide number and of abs-send-time in what we send; 0 for one that is not sent."""
        return self._transport_cc_id, self._abs_send_time_id

    def close_flow(self) -> None:
        """From the next packet on, everything takes the slow path, until a flow is opened again."""
        if self.flow is not None:
            self.flow.close()

    def sent_run(self, size_bytes: int, transport_sequence_number: int, now: float) -> None:
        """A flow has put packets into the outbox, and written those with transport-wide numbers down as sent.

        Arguments:
            transport_sequence_number: of the next packet.
        """
        sender = self._sender
        sender.transport_sequence_number = transport_sequence_number
        if sender.estimator is not None:
            sender.estimator.note_sent(size_bytes, now)
        sender.wake_media()

    def send(
        self,
        marker: bool,
        payload_type: int,
        sequence_number: int,
        timestamp: int,
        elements: bytes,
        payload: bytes | memoryview,
        now: float,
    ) -> None:
        """Send one packet.

        Arguments:
            elements: further header extension elements in the one-byte form (RFC 8285 section 4.2), without padding.
            payload: at most 1200 bytes or so; it is copied.
        """
        if self._sender.flow is not None:
            self._sender.flow.close()
        if payload_type != self._payload_type:
            self._follow_format(payload_type)
        second = payload_type | 0x80 if marker else payload_type
        if self._transport_cc_id and not elements:
            # What nearly every packet is like, in one go; as what the next branch builds.
            header = _NUMBERED.pack(
                *(0x90, second, sequence_number, timestamp, self.ssrc, ONE_BYTE_PROFILE, 1),
                *(self._transport_cc_id << 4 | 1, self._sender.transport_sequence_number),
            )
        elif self._transport_cc_id or self._abs_send_time_id or elements:
            block = self._own_element(now) + elements
            pad = _PADS[len(block) & 3]
            words = (len(block) + 3) >> 2
            header = (
                _EXTENDED.pack(0x90, second, sequence_number, timestamp, self.ssrc, ONE_BYTE_PROFILE, words)
                + block
                + pad
            )
        else:
            header = _PLAIN.pack(0x80, second, sequence_number, timestamp, self.ssrc)
        protected = self._protect(header, sequence_number, self.ssrc, payload, now)
        if protected is None:
            return
        self.statistics.note(timestamp, len(payload), now)
        if self.history is not None:
            if self._rtx is not None:
                self.history.store(sequence_number, header, payload, now)
            else:
                # Without RTX the same packet goes out again, and SRTP never protects one number twice.
                self.history.store(sequence_number, b"", protected, now)

    def _follow_format(self, payload_type: int) -> None:
        """From this packet on, timestamps are by the clock of its format (RFC 7160 section 4)."""
        entry = self.section.codec_of(payload_type)
        if entry is not None:
            self._payload_type = payload_type
            self.clock_rate = self.statistics.clock_rate = entry.codec.clock_rate

    def _own_element(self, now: float) -> bytes:
        if self._transport_cc_id:
            return bytes((self._transport_cc_id << 4 | 1,)) + self._own_value(now)
        return bytes((self._abs_send_time_id << 4 | 2,)) + self._own_value(now) if self._abs_send_time_id else b""

    def _own_value(self, now: float) -> bytes:
        """The value of our own extension in a packet that leaves now: transport-wide number, or abs-send-time."""
        if self._transport_cc_id:
            return self._sender.transport_sequence_number.to_bytes(2, "big")
        return (int(now * 262144) & 0xFFFFFF).to_bytes(3, "big")

    def _protect(
        self, header: bytes, sequence_number: int, ssrc: int, payload: bytes | memoryview, now: float
    ) -> memoryview | None:
        sender = self._sender
        outbox = sender.outbox
        room = outbox.reserve(len(header) + len(payload) + _OVERHEAD_BYTES) if sender.srtp is not None else None
        if room is None or sender.srtp is None:
            self.unprotected += 1
            return None
        length = sender.srtp.protect_rtp(header, sequence_number, ssrc, payload, room)
        if length <= 0:
            self.unprotected += 1
            return None
        outbox.commit(length)
        number = None
        if self._transport_cc_id:
            number = sender.transport_sequence_number
            sender.transport_sequence_number = (number + 1) & 0xFFFF
        if sender.estimator is not None:
            sender.estimator.on_sent(number, length, now)
        sender.wake_media()
        return room[:length]

    def retransmit(self, sequence_numbers: tuple[int, ...], now: float) -> int:
        """Send lost packets again (RFC 4585 section 6.2.1); the count of those that were still there and allowed."""
        history, rtx, sent = self.history, self._rtx, 0
        if history is None:
            return sent
        for sequence_number in sequence_numbers:
            found = history.lookup(sequence_number, now)
            if found is None:
                continue
            if rtx is None:
                room = self._sender.outbox.reserve(len(found[1]))
                if room is not None:
                    room[:] = found[1]
                    self._sender.outbox.commit(len(found[1]))
                    self._sender.wake_media()
                    sent += 1
                continue
            if self._sender.flow is not None:
                self._sender.flow.close()
            header = found[0]
            if self._transport_cc_id or self._abs_send_time_id:
                value = self._own_value(now)
                header = header[:_OWN_VALUE_AT] + value + header[_OWN_VALUE_AT + len(value) :]
            wrapped = rtx.wrap(header, found[1])
            if wrapped is not None:
                sent += self._protect(wrapped[0], wrapped[2], rtx.ssrc, wrapped[1], now) is not None
        return sent

    def set_rtt(self, rtt_s: float) -> None:
        """Keep the history's round-trip time up to date."""
        if self.history is not None:
            self.history.rtt_s = rtt_s

    def follow(
        self,
        stream: InboundStream | None,
        timestamp_shift: int,
        source_offset: Callable[[], float | None] | None = None,
    ) -> None:
        """Timestamps now are those of `stream` plus a shift, so reports can use its sender's clock; None: our own.

        Arguments:
            source_offset: gives our Unix time less that of the stream's sender in seconds, None while unknown.
        """
        self._follows = stream
        self._timestamp_shift = timestamp_shift
        self._source_offset = source_offset

    def source_timestamp(self, unix_time_s: float) -> int | None:
        """The RTP time of a moment by the clock of the source that is relayed here; None when it has no reports.

        Sound and picture of one source then keep their true distance, whatever jitter they had on the way in.
        """
        if self._follows is None or self._source_offset is None:
            return None
        offset_s = self._source_offset()
        timestamp = None if offset_s is None else self._follows.clock.rtp_timestamp(unix_time_s - offset_s)
        return None if timestamp is None else (timestamp + self._timestamp_shift) & 0xFFFFFFFF


def _rtx_payload_types(section: NegotiatedMedia) -> dict[int, int]:
    """The retransmission payload type of each media payload type (RFC 4588 section 8.1)."""
    return {
        codec.payload_type: codec.rtx_payload_type for codec in section.codecs if codec.rtx_payload_type is not None
    }
