"""Sending SRTP and SRTCP (RFC 3711 section 3.3 and 3.4, RFC 7714)."""

from __future__ import annotations

from triortc.engine.srtp.configuration import SrtpConfiguration
from triortc.engine.srtp.key_derivation import derive_session_keys
from triortc.engine.srtp.profile import SrtpProfile
from triortc.engine.srtp.stream import MAX_RTCP_INDEX, MAX_RTP_INDEX, StreamState, estimate_index, ring_size
from triortc.engine.srtp.transform import RTCP_HEADER_BYTES, make_transform
from triortc.errors import ConfigurationError, SrtpError

__all__ = ["SrtpOutbound"]


class SrtpOutbound:
    """Our packets: encrypted and authenticated.

    An index is used once. Two packets under one index would give their plain texts away, and with AES-GCM the
    authentication key too (RFC 7714 section 8.4); the second one is refused and counted. To send a packet again without
    RTX, keep the protected bytes and send those.

    Arguments:
        profile: the negotiated profile.
        master_key: our write key.
        master_salt: our write salt.
        configuration: the window of indices that may still be sent.

    Raises:
        ConfigurationError: key or salt have another length than the profile's.
    """

    __slots__ = (
        "_next_rtcp_index",
        "_ring_mask",
        "_rtp_streams",
        "_rtp_tag_bytes",
        "_seal_rtp",
        "_window",
        "keys",
        "profile",
        "refused_repeated",
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
        #: Packets not protected because their index was used before, or is older than the window.
        self.refused_repeated = 0
        #: For a data plane with cipher contexts of its own.
        self.keys = derive_session_keys(profile, master_key, master_salt)
        self.transform = make_transform(profile, self.keys)
        self._seal_rtp = self.transform.seal_rtp
        self._rtp_tag_bytes = profile.rtp_tag_bytes
        self._window = configuration.send_window_packets
        self._ring_mask = ring_size(self._window) - 1
        self._rtp_streams: dict[int, StreamState] = {}
        self._next_rtcp_index: dict[int, int] = {}

    def rtp_stream(self, ssrc: int) -> StreamState | None:
        """The state of a stream that we have sent a packet of, for the data plane."""
        return self._rtp_streams.get(ssrc)

    def protect_rtp(
        self, header: bytes, sequence_number: int, ssrc: int, payload: bytes | memoryview, out: memoryview
    ) -> int:
        """Encrypt one RTP packet (RFC 3711 section 3.3).

        Arguments:
            header: the RTP header with CSRCs and extension.
            sequence_number: what the header says.
            ssrc: what the header says.
            payload: the plain payload; must not lie in ``out``.
            out: where header, ciphertext and tag go; at least :attr:`SrtpProfile.rtp_tag_bytes` longer than the packet.

        Returns:
            The packet's length in bytes; -1 if this index was used before (see :attr:`refused_repeated`).

        Raises:
            ConfigurationError: ``out`` is too small.
            SrtpError: 2^48 packets were sent under this key; the session needs a new one.
        """
        stream = self._rtp_streams.get(ssrc)
        if stream is None:
            # One before the first index, so that the first packet lies ahead like all others.
            stream = StreamState(self.transform.rtp_iv(ssrc), sequence_number - 1, self._ring_mask + 1)
            self._rtp_streams[ssrc] = stream
        highest = stream.highest
        distance = (sequence_number - highest) & 0xFFFF
        if 0 < distance < 0x8000:
            index = highest + distance
        else:
            index = estimate_index(highest, sequence_number)
        if index <= highest:
            if index <= highest - self._window or stream.seen[index & self._ring_mask] == index:
                self.refused_repeated += 1
                return -1
        elif index > MAX_RTP_INDEX:
            raise SrtpError("2^48 SRTP packets were sent under one key (RFC 3711 section 9.2); open a new session")
        length = len(header) + len(payload) + self._rtp_tag_bytes
        try:
            self._seal_rtp(header, payload, stream.iv, index, out[:length])
        except ValueError as error:
            raise ConfigurationError(f"out has {len(out)} bytes; the protected packet needs {length}") from error
        if index > highest:
            stream.highest = index
        stream.seen[index & self._ring_mask] = index
        return length

    def protect_rtcp(self, packet: bytes) -> bytes:
        """Encrypt one compound RTCP packet (RFC 3711 section 3.4). The index counts per SSRC, from 0.

        Arguments:
            packet: the compound packet; its first SSRC says which stream sends.

        Raises:
            ConfigurationError: the packet is shorter than an RTCP header with its SSRC.
            SrtpError: 2^31 packets were sent under this key; the session needs a new one.
        """
        if len(packet) < RTCP_HEADER_BYTES:
            raise ConfigurationError(f"an RTCP packet has at least {RTCP_HEADER_BYTES} bytes, not {len(packet)}")
        ssrc = int.from_bytes(packet[4:8], "big")
        index = self._next_rtcp_index.get(ssrc, 0)
        if index > MAX_RTCP_INDEX:
            raise SrtpError("2^31 SRTCP packets were sent under one key (RFC 3711 section 9.2); open a new session")
        self._next_rtcp_index[ssrc] = index + 1
        transform = self.transform
        return transform.seal_rtcp(packet, transform.rtcp_iv(ssrc), index)
