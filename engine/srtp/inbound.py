"""Receiving SRTP and SRTCP (RFC 3711 section 3.3 and 3.4, RFC 7714)."""

from __future__ import annotations

from triortc.engine.srtp.configuration import SrtpConfiguration
from triortc.engine.srtp.key_derivation import derive_session_keys
from triortc.engine.srtp.profile import SrtpProfile
from triortc.engine.srtp.stream import MAX_RTCP_INDEX, MAX_RTP_INDEX, StreamState, estimate_index, ring_size
from triortc.engine.srtp.transform import RTCP_HEADER_BYTES, RTCP_INDEX_BYTES, make_transform

__all__ = ["SrtpInbound"]


class SrtpInbound:
    """One peer's packets: authenticated, checked for replay, decrypted.

    A packet that is not acceptable never raises and never changes a stream; it is counted. A stream's state is made by
    its first authentic packet, so strangers cannot fill the table.

    Arguments:
        profile: the negotiated profile.
        master_key: the peer's write key.
        master_salt: the peer's write salt.
        configuration: window and limits.

    Raises:
        ConfigurationError: key or salt have another length than the profile's.
    """

    __slots__ = (
        "_max_ssrcs",
        "_open_rtp",
        "_ring_mask",
        "_rtcp_overhead",
        "_rtcp_streams",
        "_rtp_streams",
        "_rtp_tag_bytes",
        "_window",
        "dropped_authentication",
        "dropped_malformed",
        "dropped_replay",
        "dropped_ssrc_limit",
        "keys",
        "profile",
        "transform",
    )

    def __init__(
        self,
        profile: SrtpProfile,
        master_key: bytes,
        master_salt: bytes,
        configuration: SrtpConfiguration | None = None,
    ) -> None:
        configuration = configuration or SrtpConfiguration()
        self.profile = profile
        #: Packets heard before, or older than the window.
        self.dropped_replay = 0
        #: Packets whose tag is wrong.
        self.dropped_authentication = 0
        #: Packets too short to carry their header and tag, or too long for the caller's buffer.
        self.dropped_malformed = 0
        #: Authentic packets of more SSRCs than allowed.
        self.dropped_ssrc_limit = 0
        #: For a data plane with cipher contexts of its own.
        self.keys = derive_session_keys(profile, master_key, master_salt)
        self.transform = make_transform(profile, self.keys)
        self._open_rtp = self.transform.open_rtp
        self._rtp_tag_bytes = profile.rtp_tag_bytes
        self._rtcp_overhead = profile.rtcp_tag_bytes + RTCP_INDEX_BYTES
        self._window = configuration.replay_window_packets
        self._ring_mask = ring_size(self._window) - 1
        self._max_ssrcs = configuration.max_inbound_ssrcs
        self._rtp_streams: dict[int, StreamState] = {}
        self._rtcp_streams: dict[int, StreamState] = {}

    @property
    def window(self) -> int:
        """How far behind the newest packet of its stream a packet may be."""
        return self._window

    def rtp_stream(self, ssrc: int) -> StreamState | None:
        """The state of a stream that has sent an authentic packet, for the data plane."""
        return self._rtp_streams.get(ssrc)

    def unprotect_rtp(
        self, packet: memoryview, header_length: int, sequence_number: int, ssrc: int, out: memoryview
    ) -> int:
        """Decrypt one SRTP packet (RFC 3711 section 3.3). Its header stays as it is.

        Arguments:
            packet: the whole packet.
            header_length: bytes of the RTP header with CSRCs and extension, from :func:`parse_header`.
            sequence_number: from the header.
            ssrc: from the header.
            out: where the plain payload goes. After a failure its content means nothing.

        Returns:
            The payload's length in bytes; -1 if the packet was dropped, and then one of the counters has grown.
        """
        length = len(packet) - header_length - self._rtp_tag_bytes
        if length < 0 or length > len(out):
            self.dropped_malformed += 1
            return -1
        stream = self._rtp_streams.get(ssrc)
        if stream is None:
            return self._unprotect_first(packet, header_length, sequence_number, ssrc, out[:length])
        highest = stream.highest
        distance = (sequence_number - highest) & 0xFFFF
        if 0 < distance < 0x8000:
            index = highest + distance
        else:
            index = estimate_index(highest, sequence_number)
        if index <= highest:
            if index <= highest - self._window or stream.seen[index & self._ring_mask] == index:
                self.dropped_replay += 1
                return -1
        elif index > MAX_RTP_INDEX:
            self.dropped_replay += 1
            return -1
        if not self._open_rtp(packet, header_length, stream.iv, index, out[:length]):
            self.dropped_authentication += 1
            return -1
        if index > highest:
            stream.highest = index
        stream.seen[index & self._ring_mask] = index
        return length

    def _unprotect_first(
        self, packet: memoryview, header_length: int, sequence_number: int, ssrc: int, out: memoryview
    ) -> int:
        """A packet of an SSRC not known yet: the roll-over counter is zero (RFC 3711 section 3.3.1).

        A sender may begin just below 2^16 and lose all that comes before the roll-over; then the counter is one, and
        whoever takes it for zero hears nothing of the stream for good.
        """
        iv = self.transform.rtp_iv(ssrc)
        index = sequence_number
        is_open = self._open_rtp(packet, header_length, iv, index, out)
        if not is_open and sequence_number < 0x8000:
            index += 0x10000
            is_open = self._open_rtp(packet, header_length, iv, index, out)
        if not is_open:
            self.dropped_authentication += 1
            return -1
        if not self._remember(self._rtp_streams, ssrc, iv, index):
            return -1
        return len(out)

    def unprotect_rtcp(self, packet: bytes | memoryview) -> bytes | None:
        """Decrypt one SRTCP packet (RFC 3711 section 3.4). Unencrypted ones (E flag 0) are accepted if authentic.

        Arguments:
            packet: the whole packet.

        Returns:
            The compound RTCP packet; ``None`` if it was dropped, and then one of the counters has grown.
        """
        packet = bytes(packet)
        end = len(packet) - self._rtcp_overhead
        if end < RTCP_HEADER_BYTES:
            self.dropped_malformed += 1
            return None
        # The trailer stands before an HMAC tag (RFC 3711 section 3.4) but behind an AEAD tag (RFC 7714 section 9).
        offset = len(packet) - RTCP_INDEX_BYTES if self.profile.aead else end
        trailer = int.from_bytes(packet[offset : offset + RTCP_INDEX_BYTES], "big")
        index = trailer & MAX_RTCP_INDEX
        ssrc = int.from_bytes(packet[4:8], "big")
        stream = self._rtcp_streams.get(ssrc)
        if stream is not None:
            behind = stream.highest - index
            if behind >= self._window or (behind >= 0 and stream.seen[index & self._ring_mask] == index):
                self.dropped_replay += 1
                return None
        iv = self.transform.rtcp_iv(ssrc) if stream is None else stream.iv
        plain = self.transform.open_rtcp(packet, iv, trailer)
        if plain is None:
            self.dropped_authentication += 1
            return None
        if stream is None:
            return plain if self._remember(self._rtcp_streams, ssrc, iv, index) else None
        if index > stream.highest:
            stream.highest = index
        stream.seen[index & self._ring_mask] = index
        return plain

    def _remember(self, streams: dict[int, StreamState], ssrc: int, iv: int, index: int) -> bool:
        """Open the state of a stream after its first authentic packet; false if there are too many."""
        if len(streams) >= self._max_ssrcs:
            self.dropped_ssrc_limit += 1
            return False
        stream = StreamState(iv, index, self._ring_mask + 1)
        stream.seen[index & self._ring_mask] = index
        streams[ssrc] = stream
        return True
