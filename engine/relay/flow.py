"""A flow: one stream of one validated source on its way to one outgoing stream, while nothing unusual happens.

The reference implementation of what docs/architecture.md calls a flow. It is opened by the outlet behind the slow path
and takes runs of packets from then on, also over gaps; the first packet that is anything but *newer, and looking like
those before it* is left to the slow path, which closes the flow before it changes what the flow stands on. State that
others look at (statistics, numbering, signs of life) is written back by :meth:`Flow.settle`.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from cryptography.exceptions import InvalidTag

from triortc.engine.address import Address
from triortc.engine.congestion.sent_history import SENT, SENT_BYTES
from triortc.engine.datagrams import MAX_DATAGRAM_BYTES, DatagramBatch
from triortc.engine.relay.gate import Gate, GateState
from triortc.engine.relay.header_shape import BLOCK_BYTES, HeaderShape
from triortc.engine.relay.payloads import renumber_pictures
from triortc.engine.relay.rewriter import StreamRewriter
from triortc.engine.rtp.extensions import ONE_BYTE_PROFILE
from triortc.engine.rtp.sequence import MAXIMUM_DROPOUT, timestamp_difference
from triortc.engine.session.inbound import InboundStream
from triortc.engine.session.outbound import OutboundStream
from triortc.engine.session.outbox import CHUNK_BYTES as OUTBOX_BYTES
from triortc.engine.session.session import Session
from triortc.engine.srtp.stream import MAX_RTP_INDEX
from triortc.engine.srtp.transform import AesGcmTransform
from triortc.engine.streams.receive_statistics import DISCONTINUITY_S
from triortc.engine.streams.retransmission_history import CHUNK_BYTES, RECORD, RECORD_BYTES

__all__ = ["Flow"]

#: A record of the history and, right behind it, the fixed RTP header that goes out.
_RECORD_AND_HEADER: Final = Struct(RECORD.format + "HHII")
_pack_record = _RECORD_AND_HEADER.pack_into
#: The same with an extension behind it that holds nothing but a transport-wide number.
_pack_record_numbered = Struct(_RECORD_AND_HEADER.format + "Q").pack_into
#: Both headers alone.
_pack_header = Struct("!HHII").pack_into
_pack_numbered = Struct("!HHIIQ").pack_into
_pack_sent = SENT.pack_into
#: Profile and length of a header extension, and the first eight bytes of its block.
_EXTENSION: Final = Struct("!IQ")
_unpack_extension = _EXTENSION.unpack_from
_LONGER_THAN_BLOCK: Final = ONE_BYTE_PROFILE << 16 | BLOCK_BYTES >> 2
_FIXED: Final = 12
_HAS_EXTENSION: Final = 0x1000
#: Behind this position of the outbox there may be no room for one more packet, extensions and tag included.
_LAST_POSITION: Final = OUTBOX_BYTES - MAX_DATAGRAM_BYTES - 512
_MAX_RUN: Final = 64
#: Written back at the latest after so many packets, so that numbers stay within half their range.
_SETTLE_PACKETS: Final = 4096
#: What is left of a jitter after so many packets that came with the one before.
_DECAY: Final = [(15 / 16) ** n for n in range(_MAX_RUN + 1)]
#: Half of what feedback tells apart: packets of one run that have come within it have come at one time.
_AT_ONCE_S: Final = 125e-6
_OPEN: Final = GateState.OPEN  # an enumeration's member is found by a call each time
_SCRATCH: Final = memoryview(bytearray(CHUNK_BYTES))


class Flow:
    """See the module. Opened by :meth:`Outlet.forward`'s end; every method is for one thread.

    Arguments:
        session: whose stream it is; it hands its packets in.
        source: the address that packets must come from.
        gate, stream: where they come from.
        rewriter, target: where they go.
        payload_types: payload type there for each here, of this stream's codec.
        codec_name: the codec, in lower case.
        shape: which header extensions are read and passed on.
    """

    __slots__ = (
        "_at",
        "_bytes",
        "_clock_rate",
        "_constants",
        "_decrypt_into",
        "_encrypt_into",
        "_gate",
        "_jitter",
        "_keyframes",
        "_last_timestamp",
        "_missing",
        "_nack",
        "_packets",
        "_rewriter",
        "_sent",
        "_srtp_in",
        "_srtp_out",
        "_stream",
        "_target",
        "_timestamp_shift",
        "_unnoted",
        "session",
        "source",
    )

    def __init__(
        self,
        session: Session,
        source: Address,
        gate: Gate,
        stream: InboundStream,
        rewriter: StreamRewriter,
        target: OutboundStream,
        payload_types: dict[int, int],
        codec_name: str,
        shape: HeaderShape,
    ) -> None:
        srtp_in, srtp_out = session.media.srtp_in, target.srtp
        assert srtp_in is not None
        assert srtp_out is not None
        inbound, outbound = srtp_in.rtp_stream(stream.ssrc), srtp_out.rtp_stream(target.ssrc)
        assert inbound is not None
        assert outbound is not None
        self.session = session
        self.source = source
        self._gate, self._stream, self._rewriter, self._target = gate, stream, rewriter, target
        self._keyframes = stream.keyframes
        self._nack = stream.nack
        self._srtp_in, self._srtp_out = srtp_in.transform, srtp_out.transform
        is_gcm = False
        if isinstance(self._srtp_in, AesGcmTransform) and isinstance(self._srtp_out, AesGcmTransform):
            is_gcm = True
            self._decrypt_into, self._encrypt_into = self._srtp_in.decrypt_into, self._srtp_out.encrypt_into
        estimator = target.sender.estimator
        self._sent = estimator.sent if estimator is not None and shape.numbered else None
        self._timestamp_shift = rewriter.timestamp_shift
        self._clock_rate = stream.statistics.clock_rate
        # By a header's first 16 bits, those of the packet that goes out: version, no padding, no CSRC, marker, type.
        heads = {
            (extended | marker | theirs): (0x8000 | marker | ours)
            for theirs, ours in payload_types.items()
            for marker in (0, 0x80)
            for extended in (0x8000, 0x9000)
        }
        self._packets = self._bytes = self._missing = self._unnoted = 0
        _, self._jitter, self._last_timestamp, self._at = stream.statistics.run
        #: What stays as it is while the flow is open, taken from here in one go for each run.
        self._constants = (
            *(inbound, outbound, target, target.sender),
            # With RTX plain packets are kept, without it what was sent is.
            *((target.history, None) if target.has_rtx else (None, target.history)),
            *(shape, stream.ssrc, target.ssrc, heads.get, rewriter.timestamp_shift, is_gcm, codec_name == "vp8"),
            *(inbound.iv, outbound.iv, inbound.seen, inbound.mask, outbound.seen, outbound.mask),
            *(srtp_in.profile.rtp_tag_bytes, srtp_out.profile.rtp_tag_bytes),
            *(shape.numbered, shape.stamped, shape.number_prefix),
        )
        session.flows[stream.ssrc] = stream.flow = target.flow = self

    @staticmethod
    def may_open(session: Session, stream: InboundStream, rewriter: StreamRewriter, target: OutboundStream) -> bool:
        """Whether every number that a flow goes on from stands at the stream's newest packet."""
        srtp_in, srtp_out, nack = session.media.srtp_in, target.srtp, stream.nack
        inbound = None if srtp_in is None else srtp_in.rtp_stream(stream.ssrc)
        outbound = None if srtp_out is None else srtp_out.rtp_stream(target.ssrc)
        if inbound is None or outbound is None or max(inbound.highest, outbound.highest) > MAX_RTP_INDEX - 0x10000:
            return False
        newest_in, newest_out, _ = rewriter.newest
        number = inbound.highest & 0xFFFF
        counted = stream.statistics.run[0]
        asked = counted if nack is None else nack.newest
        return (
            counted >= 0
            and asked >= 0
            and number == counted & 0xFFFF == asked & 0xFFFF == stream.newest & 0xFFFF == newest_in
            and outbound.highest & 0xFFFF == newest_out
            and not stream.superseded
            and (stream.keyframes is None or not stream.keyframes.waiting)
        )

    # One loop on purpose: what a packet costs is function calls and memory touched.
    def forward(  # noqa: C901, PLR0915  # see above
        self, batch: DatagramBatch, first: int, end: int, now: float
    ) -> int:
        """Take what is this stream's of the datagrams `first` to `end` of a batch, all from its source.

        Returns:
            The first one that was not taken; `end` if all were.
        """
        keyframes = self._keyframes
        if self._gate.state is not _OPEN or (keyframes is not None and keyframes.waiting):
            self.close()
            return first
        end = min(end, first + _MAX_RUN)
        (
            inbound, outbound, target, sender, kept, resent, shape, ssrc, ssrc_out, get_head, shift, is_gcm, is_vp8,
            iv_in, iv_out, seen_in, mask_in, seen_out, mask_out, tag_in, tag_out, numbered, stamped, number_prefix,
        ) = self._constants  # fmt: skip
        outbox = sender.outbox
        if outbox.position > _LAST_POSITION and not outbox.make_room(OUTBOX_BYTES):
            return first
        lengths, heads, slots, fixed = batch.lengths, batch.heads, batch.slots, batch.fixed
        last, out_index, out, position = inbound.highest, outbound.highest, outbox.view, outbox.position
        chunk, place, number_of_chunk = _SCRATCH, 0, 0
        if kept is not None:
            positions, mask = kept.positions, kept.mask
            chunk, place, number_of_chunk = kept.chunk, kept.position, kept.number << 16
        # Packets from `began` to `position` are alike and follow each other, the first of them has this number.
        segment = size_bytes = plain_bytes = first_number = 0
        run_began = began = position
        sent = self._sent
        if sent is not None:
            sent_ring, sent_mask = sent.ring, sent.mask
        numbers: list[int] = []
        places: list[int] = []
        if is_gcm:
            decrypt_into, encrypt_into = self._decrypt_into, self._encrypt_into
        extension, extension_length = b"", 0
        adds = numbered or stamped
        next_number = sender.transport_sequence_number
        n = first
        try:
            for n in range(first, end):
                word = 4 * n
                first_word = heads[word]
                head = get_head(first_word)
                if head is None or heads[word + 3] != ssrc or position > _LAST_POSITION:
                    break
                ahead = (heads[word + 1] - last) & 0xFFFF
                if ahead != 1 and not 0 < ahead <= MAXIMUM_DROPOUT:
                    break
                index = last + ahead
                slot, length, header_length = slots[n], lengths[n], _FIXED
                if first_word & _HAS_EXTENSION:
                    lead, block = _unpack_extension(slot, _FIXED)
                    if lead > _LONGER_THAN_BLOCK:
                        block = int.from_bytes(slot[16 : 16 + 4 * (lead & 0xFFFF)], "big")
                    if lead == shape.lead and block & shape.mask == shape.value:
                        header_length = shape.length
                    else:
                        header_length = 16 + 4 * (lead & 0xFFFF)
                        if lead >> 16 != ONE_BYTE_PROFILE or header_length + tag_in >= length:
                            break
                        shape.learn(slot, header_length)
                    if shape.passes_on:
                        extension = shape.pass_on(slot)
                size = length - header_length - tag_in
                if size < 1:
                    break
                if adds or extension:
                    if extension:
                        extension = shape.surround(extension, next_number, now)
                        extension_length = len(extension)
                    elif numbered:
                        extension_length = BLOCK_BYTES
                    else:
                        extension = shape.stamp(now)
                        extension_length = len(extension)
                if kept is not None:
                    header_at = place + RECORD_BYTES
                    payload_at = header_at + _FIXED + extension_length
                    if payload_at + size > CHUNK_BYTES:
                        kept.position = place
                        kept.next_chunk(now)
                        chunk, place, number_of_chunk = kept.chunk, 0, kept.number << 16
                        header_at, payload_at = RECORD_BYTES, RECORD_BYTES + _FIXED + extension_length
                    plain = chunk[payload_at : payload_at + size]
                elif size != plain_bytes:
                    plain, plain_bytes = chunk[:size], size
                if is_gcm:
                    header = fixed[n] if header_length == _FIXED else slot[:header_length]
                    decrypt_into((iv_in ^ index).to_bytes(12, "big"), slot[header_length:length], header, plain)
                elif not self._srtp_in.open_rtp(slot[:length], header_length, iv_in, index, plain):
                    break
                if is_vp8 and plain[0] & 0x80:
                    renumber_pictures("vp8", plain, self._rewriter)
                out_index += ahead
                last = index
                number = out_index & 0xFFFF
                timestamp = (heads[word + 2] + shift) & 0xFFFFFFFF
                head_bytes = _FIXED + extension_length
                whole, body = head_bytes + size, position + head_bytes
                length = whole + tag_out
                if length != segment or ahead != 1:
                    if position > began:
                        outbox.commit_run(position, segment)
                        if resent is not None:
                            resent.store_run(first_number, out[began:position], segment, now)
                    segment, began, first_number = length, position, number
                sealed = position + length
                if extension_length and not extension:
                    head |= _HAS_EXTENSION
                    own = number_prefix | next_number << 8
                    if kept is not None:
                        _pack_record_numbered(
                            chunk, place, now, number, 1, head_bytes, whole, head, number, timestamp, ssrc_out, own
                        )  # fmt: skip
                    else:
                        _pack_numbered(out, position, head, number, timestamp, ssrc_out, own)
                elif kept is not None:
                    _pack_record(chunk, place, now, number, 1, head_bytes, whole, head, number, timestamp, ssrc_out)
                    if extension:
                        chunk[header_at] = 0x90
                        chunk[header_at + _FIXED : payload_at] = extension
                else:
                    _pack_header(out, position, head, number, timestamp, ssrc_out)
                    if extension:
                        out[position] = 0x90
                        out[position + _FIXED : body] = extension
                if kept is not None:
                    header = out[position:body] = chunk[header_at:payload_at]
                else:
                    header = out[position:body]
                if is_gcm:
                    encrypt_into((iv_out ^ out_index).to_bytes(12, "big"), plain, header, out[body:sealed])
                else:
                    self._srtp_out.seal_rtp(bytes(header), plain, iv_out, out_index, out[position:sealed])
                seen_in[index & mask_in] = index
                seen_out[out_index & mask_out] = out_index
                if kept is not None:
                    positions[number & mask] = number_of_chunk | place
                    place = payload_at + size
                position = sealed
                size_bytes += size
                if numbered:
                    if sent is not None:
                        _pack_sent(sent_ring, (next_number & sent_mask) * SENT_BYTES, next_number, length, now)
                    next_number = (next_number + 1) & 0xFFFF
                if extension_length:
                    extension, extension_length = b"", 0
                if first_word & _HAS_EXTENSION and shape.number_shift >= 0:
                    numbers.append(block >> shape.number_shift & 0xFFFF)
                    places.append(n)
            else:
                n = end
        except InvalidTag:
            pass  # the slow path counts it
        if n == first:
            return n
        packets = n - first
        advance = last - inbound.highest
        inbound.highest, outbound.highest = last, out_index
        if position > began:
            outbox.commit_run(position, segment)
            if kept is not None:
                kept.position = place
            elif resent is not None:
                resent.store_run(first_number, out[began:position], segment, now)
        self._note(heads, first, n, size_bytes, now)
        nack = self._nack
        if advance != packets or (nack is not None and nack.must_note):
            self._note_missing(advance, heads[4 * first + 1 : 4 * n : 4], now)
        else:
            self._unnoted += packets
        if numbers:
            times = batch.arrivals(places, _AT_ONCE_S)
            self.session.media.note_transport_sequence_numbers(numbers, times, ssrc)
        target.sent_run(position - run_began, next_number, now)
        if self._packets >= _SETTLE_PACKETS:
            self.settle()
        return n

    def _note(self, heads: tuple[int, ...], first: int, end: int, size_bytes: int, now: float) -> None:
        """Count a run, and its jitter packet by packet as RFC 3550 section 6.4.1 says."""
        clock_rate, packets, jitter = self._clock_rate, end - first, self._jitter
        timestamp, newest = heads[4 * first + 2], heads[4 * end - 2]
        ahead = ((timestamp - self._last_timestamp + 0x80000000) & 0xFFFFFFFF) - 0x80000000
        difference = (now - self._at) * clock_rate - ahead
        if difference < 0:
            difference = -difference
        if difference < DISCONTINUITY_S * clock_rate:
            jitter += (difference - jitter) / 16
        if newest == timestamp:
            if packets > 1:
                jitter *= _DECAY[packets - 1]  # they have come together: no difference
        else:
            for n in range(first + 1, end):
                difference = abs(timestamp_difference(heads[4 * n + 2], heads[4 * n - 2]))
                if difference < DISCONTINUITY_S * clock_rate:
                    jitter += (difference - jitter) / 16
        self._jitter, self._last_timestamp, self._at = jitter, newest, now
        self._bytes += size_bytes
        self._packets += packets

    def _note_missing(self, advance: int, numbers: tuple[int, ...], now: float) -> None:
        """Packets are missing before or between these: they are asked for as on the slow path."""
        self._missing += advance - len(numbers)
        nack = self._nack
        if nack is not None:
            nack.note_run(self._unnoted)
            self._unnoted = 0
            for number in numbers:
                nack.note(number, now)
            self.session.media.note_due(nack.deadline)

    def settle(self) -> None:
        """Write back what others look at: statistics, numbering, signs of life."""
        packets = self._packets
        if not packets:
            return
        stream, at, timestamp = self._stream, self._at, (self._last_timestamp + self._timestamp_shift) & 0xFFFFFFFF
        missing = self._missing
        stream.statistics.note_run(packets, self._bytes, self._jitter, self._last_timestamp, at, missing=missing)
        stream.newest += packets + missing
        if self._nack is not None:
            self._nack.note_run(self._unnoted)
        self._rewriter.advance(packets + missing, timestamp, at)
        self._gate.statistics.forwarded += packets
        self._target.statistics.note_run(packets, self._bytes, timestamp, at)
        self._packets = self._bytes = self._missing = self._unnoted = 0
        self.session.note_media(at)

    def settle_numbers(self) -> None:
        """Nothing to do: transport-wide numbers are written down packet by packet."""

    def close(self) -> None:
        """Settle, and leave the stream's packets to the slow path. Safe to call twice."""
        stream = self._stream
        if stream.flow is not self:
            return
        stream.flow = self._target.flow = None
        del self.session.flows[stream.ssrc]
        self.settle()
