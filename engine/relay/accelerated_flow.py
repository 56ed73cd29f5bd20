"""Flows that run in the core in C: how their state goes there and comes back.

The same seam as :class:`triortc.engine.relay.flow.Flow`: opened behind the slow path, settled before somebody looks,
closed before anything that it stands on changes. While one is open, its packets do not come to Python at all; the first
that does come closes it.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from typing import Final

from triortc.engine.address import Address
from triortc.engine.datagrams import DatagramBatch
from triortc.engine.relay.core import Direction, Forwarder, History, Journal, Settled
from triortc.engine.relay.core_layout import (
    CLOSE,
    GAP_BEHIND,
    GO_ON,
    NUMBERS,
    QUIET,
    RECEIVED,
    SENT_BYTES,
    STATE,
)
from triortc.engine.relay.gate import Gate
from triortc.engine.relay.rewriter import StreamRewriter
from triortc.engine.rtp.header import Buffer
from triortc.engine.session.inbound import InboundStream
from triortc.engine.session.outbound import OutboundStream
from triortc.engine.session.session import Session
from triortc.engine.srtp.stream import StreamState
from triortc.engine.streams.configuration import RetransmissionConfiguration
from triortc.engine.streams.retransmission_history import RetransmissionHistory

__all__ = ["AcceleratedFlow", "AcceleratedHistory", "Link"]

_GOES_UP: Final = b"\xff"


class Link:
    """Everything one session sends to one other: the flows that share its transport-wide numbering.

    Arguments:
        direction: of the core.
        source: whose packets they are.
        target: any stream of the session that they go to.
        key: what the link stands on; another one takes another link.
    """

    __slots__ = ("closing", "direction", "flows", "key", "source", "target")

    def __init__(self, direction: Direction, source: Session, target: OutboundStream, key: object) -> None:
        self.direction = direction
        self.source = source
        self.target = target
        self.key = key
        self.flows: list[AcceleratedFlow] = []
        #: The flow whose state is being taken back for good.
        self.closing: AcceleratedFlow | None = None

    def settle(self) -> None:
        """Write back what the flows have counted."""
        for flow in self.flows:
            flow.settle()

    def settle_numbers(self) -> None:
        """Write back which transport-wide numbers came and went, of all flows."""
        if self.flows:
            self.flows[0].settle_numbers()

    def close(self) -> None:
        """Close every flow: the next transport-wide number is Python's to give. They are opened again when it has."""
        for flow in list(self.flows):
            flow.close()
            flow.want_again()

    def note(self, journal: Journal, ssrc: int) -> None:
        """What came and what went: for the estimates of both sides, and for NACK."""
        number, arrivals, notes = journal
        sender = self.target.sender
        if notes:
            values, kinds, times = notes[::3], notes[1::3], notes[2::3]
            sent = tuple(zip(values, times, strict=True))
            if any(kinds):  # gaps are told of, too
                for value, kind, at in zip(values, kinds, times, strict=True):
                    if kind != SENT_BYTES:
                        self._note_gap(kind, value, at)
                sent = tuple(one for one, kind in zip(sent, kinds, strict=True) if kind == SENT_BYTES)
            if sent and sender.estimator is not None:
                sender.estimator.note_sent_run(sent)
        sender.transport_sequence_number = number
        if arrivals:
            numbers, ticks, times = arrivals[::3], arrivals[1::3], arrivals[2::3]
            self.source.media.note_transport_sequence_numbers(numbers, times, ssrc, ticks)

    def _note_gap(self, kind: int, sequence_number: int, at: float) -> None:
        """A flow has told of the last packet before a gap, or of one since."""
        slot = kind - (GAP_BEHIND if kind < RECEIVED else RECEIVED)
        flow = next((flow for flow in self.flows if flow.slot == slot), self.closing)
        if flow is not None and flow.slot == slot:
            flow.note_gap(kind < RECEIVED, sequence_number, at)


def _nothing() -> None:
    """Nobody wants the flow again."""


class AcceleratedFlow:
    """One open flow in the core.

    Arguments:
        link: where it was opened.
        gate, stream: where packets come from.
        rewriter, target: where they go.
        slot: its number in the link's direction.
        source: the address that packets must come from.
        inbound, outbound: the SRTP state of both streams, whose windows the core uses in place.
    """

    __slots__ = (
        "_gate",
        "_inbound",
        "_is_telling",
        "_link",
        "_outbound",
        "_rewriter",
        "_stream",
        "_target",
        "slot",
        "source",
        "want_again",
    )

    def __init__(
        self,
        link: Link,
        gate: Gate,
        stream: InboundStream,
        rewriter: StreamRewriter,
        target: OutboundStream,
        slot: int,
        source: Address,
        inbound: StreamState,
        outbound: StreamState,
    ) -> None:
        self.source = source
        self._link, self._gate, self._stream, self._rewriter, self._target = link, gate, stream, rewriter, target
        self.slot, self._inbound, self._outbound = slot, inbound, outbound
        #: Called when it was closed for another one's sake only.
        self.want_again: Callable[[], None] = _nothing
        #: Whether the core tells of every packet, since there was a gap.
        self._is_telling = False
        gate.session.flows[stream.ssrc] = stream.flow = target.flow = self
        link.flows.append(self)
        if target.own_extension_ids[0]:
            target.sender.flow = link

    @classmethod
    def open(
        cls,
        link: Link,
        gate: Gate,
        stream: InboundStream,
        rewriter: StreamRewriter,
        target: OutboundStream,
        payload_types: dict[int, int],
        is_vp8: bool,
        passed: Sequence[tuple[int, int]],
        now: float,
    ) -> AcceleratedFlow | None:
        """Hand the stream's state to the core; None while a packet of its source is not looked at yet.

        Arguments:
            payload_types: payload type there for each here, of this stream's codec.
            is_vp8: whether pictures are renumbered.
            passed: (id here, id there) of extensions that are passed on.
        """
        media = gate.session.media
        srtp_in, srtp_out, path = media.srtp_in, target.srtp, gate.session.path
        if srtp_in is None or srtp_out is None or path is None or len(passed) > 2:
            return None
        inbound, outbound = srtp_in.rtp_stream(stream.ssrc), srtp_out.rtp_stream(target.ssrc)
        if inbound is None or outbound is None:
            return None
        types = bytearray(_GOES_UP * 128)
        for theirs, ours in payload_types.items():
            types[theirs] = ours
        first, second, *_ = *passed, (0, 0), (0, 0)
        picture_shift, picture_id, tl0_shift, tl0_index = rewriter.pictures
        numbers = NUMBERS.pack(
            *(stream.ssrc, target.ssrc, srtp_in.window, stream.statistics.clock_rate),
            *(rewriter.timestamp_shift, rewriter.sequence_shift),
            *(media.transport_cc_id if media.feedback_recorder is not None else 0, *target.own_extension_ids),
            *(*first, *second, is_vp8, not target.has_rtx, stream.nack is not None, bytes(types)),
        )
        _, jitter, last_timestamp, last_at = stream.statistics.run
        state = STATE.pack(
            *(inbound.highest, outbound.highest, last_timestamp, rewriter.newest[2]),
            *(picture_id, tl0_index, picture_shift, tl0_shift, jitter, last_at, 0, 0, 0, 0, 0),
        )
        history = target.history.core if isinstance(target.history, AcceleratedHistory) else None
        number = target.transport_sequence_number
        slot = link.direction.open(numbers, state, inbound.seen, outbound.seen, history, number, now)
        if slot is None:
            return None
        return cls(link, gate, stream, rewriter, target, slot, path[1], inbound, outbound)

    def forward(self, batch: DatagramBatch, first: int, end: int, now: float) -> int:
        """The core has handed a packet up: the slow path takes it, and closes the flow if it is authentic."""
        return first

    def settle(self) -> None:
        """Write back what others look at: statistics, numbering, signs of life."""
        self._take_back(self._link.direction.settle(self.slot, GO_ON))
        nack = self._stream.nack
        while self._is_telling and nack is not None and nack.newest >= 0:
            settled = self._link.direction.settle(self.slot, QUIET)
            self._is_telling = bool(settled[3])
            self._take_back(settled)

    def settle_numbers(self) -> None:
        """Write back which transport-wide numbers came and went: any flow brings those of all."""
        link = self._link
        if self is not link.flows[0]:
            return
        if self._is_telling:
            self.settle()
            return
        link.note(link.direction.tell(self.slot), self._stream.ssrc)

    def note_gap(self, is_before: bool, sequence_number: int, at: float) -> None:
        """The last packet before a gap, or one since."""
        nack = self._stream.nack
        self._is_telling = True
        if nack is None:
            return
        if is_before:
            nack.catch_up(sequence_number)
        else:
            nack.note(sequence_number, at)
            self._gate.session.media.note_due(nack.deadline)

    def close(self) -> None:
        """Settle, and leave the stream's packets to the slow path. Safe to call twice."""
        stream, link = self._stream, self._link
        if stream.flow is not self:
            return
        stream.flow = self._target.flow = None
        del self._gate.session.flows[stream.ssrc]
        link.flows.remove(self)
        link.closing = self
        self._take_back(link.direction.settle(self.slot, CLOSE))
        link.closing = None
        if not link.flows:
            if self._target.sender.flow is link:
                self._target.sender.flow = None
        elif self._target.own_extension_ids[0]:
            link.close()  # they share the numbering

    def _take_back(self, settled: Settled) -> None:
        state, number, arrivals, notes = settled
        in_index, out_index, timestamp_in, timestamp_out, picture_id, tl0_index, picture_shift, tl0_shift = state[:8]
        jitter, at, packets, advance, size_bytes, replayed, forged = state[8:]
        stream, rewriter, session = self._stream, self._rewriter, self._gate.session
        srtp_in = session.media.srtp_in
        if srtp_in is not None:
            srtp_in.dropped_replay += replayed
            srtp_in.dropped_authentication += forged
        self._link.note((number, arrivals, notes), stream.ssrc)
        if not packets:
            return
        self._inbound.highest = max(self._inbound.highest, in_index)
        self._outbound.highest = max(self._outbound.highest, out_index)
        stream.statistics.note_run(packets, size_bytes, jitter, timestamp_in, at, missing=advance - packets)
        stream.newest += advance
        if stream.nack is not None and not self._is_telling:
            stream.nack.catch_up(in_index & 0xFFFF)
        rewriter.advance(advance, timestamp_out, at)
        rewriter.pictures = picture_shift, picture_id, tl0_shift, tl0_index
        self._gate.statistics.forwarded += packets
        self._target.statistics.note_run(packets, size_bytes, timestamp_out, at)
        session.note_media(at)


class AcceleratedHistory(RetransmissionHistory):
    """A history whose packets lie where the core can store them; what may go out again is decided here as ever."""

    __slots__ = ("core",)

    def __init__(self, forwarder: Forwarder, configuration: RetransmissionConfiguration) -> None:
        super().__init__(configuration)
        self.positions = array("Q")  # the core has its own
        #: Of the core.
        self.core = History(forwarder, self.mask + 1, configuration.maximum_bytes, configuration.maximum_age_ms / 1000)

    def store(self, sequence_number: int, header: bytes, payload: Buffer, now: float) -> None:
        """See the base class."""
        self.core.store(sequence_number, header, payload, now)

    def _find(self, sequence_number: int, now: float) -> tuple[bytes, bytes] | None:
        found = self.core.find(sequence_number)
        return None if found is None or now - found[0] > self._maximum_age_s else (found[1], found[2])

    def clear(self) -> None:
        """See the base class."""
        self._resent_at.clear()
        self.core.clear()
