"""Hostile bytes into SRTP: dropped and counted, never raised, and no stream changes."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from triortc.engine.srtp import PROFILES, SrtpInbound, SrtpOutbound, SrtpProfile

profiles = st.sampled_from(PROFILES)


def _keys(profile: SrtpProfile) -> tuple[SrtpProfile, bytes, bytes]:
    return profile, bytes(profile.key_bytes), bytes(profile.salt_bytes)


def _dropped(inbound: SrtpInbound) -> int:
    return inbound.dropped_authentication + inbound.dropped_malformed + inbound.dropped_replay


@settings(max_examples=300, deadline=None)
@given(
    profile=profiles,
    packet=st.binary(max_size=120),
    header_length=st.integers(12, 200),
    sequence_number=st.integers(0, 0xFFFF),
    ssrc=st.integers(0, 0xFFFFFFFF),
    room=st.integers(0, 120),
)
def test_random_rtp_is_dropped(
    profile: SrtpProfile, packet: bytes, header_length: int, sequence_number: int, ssrc: int, room: int
) -> None:
    inbound = SrtpInbound(*_keys(profile))
    out = memoryview(bytearray(room))
    assert inbound.unprotect_rtp(memoryview(packet), header_length, sequence_number, ssrc, out) == -1
    assert _dropped(inbound) == 1
    assert not inbound._rtp_streams


@settings(max_examples=300, deadline=None)
@given(profile=profiles, packet=st.binary(max_size=120))
def test_random_rtcp_is_dropped(profile: SrtpProfile, packet: bytes) -> None:
    inbound = SrtpInbound(*_keys(profile))
    assert inbound.unprotect_rtcp(packet) is None
    assert _dropped(inbound) == 1
    assert not inbound._rtcp_streams


@settings(max_examples=300, deadline=None)
@given(profile=profiles, bit=st.integers(0, 8 * 200), size=st.integers(0, 60), known=st.booleans())
def test_any_flipped_bit_of_rtp_is_noticed(profile: SrtpProfile, bit: int, size: int, known: bool) -> None:
    inbound, outbound = SrtpInbound(*_keys(profile)), SrtpOutbound(*_keys(profile))
    out = memoryview(bytearray(200))

    def unprotect(packet: bytes) -> int:
        sequence_number, ssrc = int.from_bytes(packet[2:4], "big"), int.from_bytes(packet[8:12], "big")
        return inbound.unprotect_rtp(memoryview(packet), 12, sequence_number, ssrc, out)

    def protect(sequence_number: int) -> bytes:
        header = b"\x80\x60" + sequence_number.to_bytes(2, "big") + b"\0\0\0\1\0\0\0\2"
        return bytes(out[: outbound.protect_rtp(header, sequence_number, 2, bytes(size), out)])

    if known:
        assert unprotect(protect(999)) == size
    packet = protect(1000)
    flipped = bytearray(packet)
    flipped[bit // 8 % len(packet)] ^= 1 << bit % 8
    assert unprotect(bytes(flipped)) == -1
    assert unprotect(packet) == size


@settings(max_examples=300, deadline=None)
@given(profile=profiles, bit=st.integers(0, 8 * 200), size=st.integers(0, 60), known=st.booleans())
def test_any_flipped_bit_of_rtcp_is_noticed(profile: SrtpProfile, bit: int, size: int, known: bool) -> None:
    inbound, outbound = SrtpInbound(*_keys(profile)), SrtpOutbound(*_keys(profile))
    report = b"\x80\xc9\0\1\0\0\0\2" + bytes(size)
    if known:
        assert inbound.unprotect_rtcp(outbound.protect_rtcp(report)) == report
    packet = outbound.protect_rtcp(report)
    flipped = bytearray(packet)
    flipped[bit // 8 % len(packet)] ^= 1 << bit % 8
    assert inbound.unprotect_rtcp(bytes(flipped)) is None
    assert inbound.unprotect_rtcp(packet) == report
