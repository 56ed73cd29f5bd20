"""The same packets through libsrtp: both directions, any order, any damage."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pylibsrtp import Error, Policy, Session

from triortc.engine.srtp import PROFILES, PROFILES_BY_NAME, SrtpConfiguration, SrtpInbound, SrtpOutbound, SrtpProfile

LIBSRTP = {
    "AEAD_AES_128_GCM": Policy.SRTP_PROFILE_AEAD_AES_128_GCM,
    "AEAD_AES_256_GCM": Policy.SRTP_PROFILE_AEAD_AES_256_GCM,
    "AES128_CM_HMAC_SHA1_80": Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
    "AES128_CM_HMAC_SHA1_32": Policy.SRTP_PROFILE_AES128_CM_SHA1_32,
}
WINDOW = 128
profiles = st.sampled_from(PROFILES)
steps = st.lists(st.tuples(st.integers(-40, 200), st.integers(0, 2), st.binary(max_size=60)), min_size=1, max_size=40)


def _keys(profile: SrtpProfile) -> tuple[SrtpProfile, bytes, bytes]:
    return profile, bytes(range(profile.key_bytes)), bytes(range(50, 50 + profile.salt_bytes))


def _libsrtp(profile: SrtpProfile, direction: int) -> Session:
    _, key, salt = _keys(profile)
    policy = Policy(key=key + salt, ssrc_type=direction, srtp_profile=LIBSRTP[profile.name])
    policy.window_size = WINDOW
    return Session(policy)


def _header(sequence_number: int, ssrc: int) -> bytes:
    csrcs = ssrc % 3
    return (
        bytes([0x80 | csrcs, 96])
        + sequence_number.to_bytes(2, "big")
        + bytes(4)
        + ssrc.to_bytes(4, "big")
        + bytes(4 * csrcs)
    )


@settings(max_examples=150, deadline=None)
@given(profile=profiles, start=st.integers(0, 0x7FFF), steps=steps)
def test_what_we_protect_libsrtp_accepts_and_would_write_itself(
    profile: SrtpProfile, start: int, steps: list[tuple[int, int, bytes]]
) -> None:
    ours = SrtpOutbound(*_keys(profile), SrtpConfiguration(send_window_packets=WINDOW))
    theirs, receiver = _libsrtp(profile, Policy.SSRC_ANY_OUTBOUND), _libsrtp(profile, Policy.SSRC_ANY_INBOUND)
    out = memoryview(bytearray(200))
    index = start
    for step, ssrc, payload in steps:
        index = max(index + step, start)
        header = _header(index & 0xFFFF, ssrc)
        length = ours.protect_rtp(header, index & 0xFFFF, ssrc, payload, out)
        try:
            expected = theirs.protect(header + payload)
        except Error:
            assert length == -1
            continue
        assert bytes(out[:length]) == expected
        assert receiver.unprotect(expected) == header + payload
        report = b"\x80\xc9\0\x01" + (ssrc + 100).to_bytes(4, "big") + payload[: len(payload) & ~3]
        assert receiver.unprotect_rtcp(ours.protect_rtcp(report)) == report


@settings(max_examples=150, deadline=None)
@given(profile=profiles, start=st.integers(0, 0x7FFF), steps=steps, data=st.data())
def test_we_accept_what_libsrtp_accepts_and_drop_what_it_drops(
    profile: SrtpProfile, start: int, steps: list[tuple[int, int, bytes]], data: st.DataObject
) -> None:
    ours = SrtpInbound(*_keys(profile), SrtpConfiguration(replay_window_packets=WINDOW))
    theirs, sender = _libsrtp(profile, Policy.SSRC_ANY_INBOUND), _libsrtp(profile, Policy.SSRC_ANY_OUTBOUND)
    packets: list[bytes] = []
    index = start
    for step, ssrc, payload in steps:
        index += abs(step)
        try:
            packets.append(sender.protect(_header(index & 0xFFFF, ssrc) + payload))
        except Error:
            continue
    out = memoryview(bytearray(200))
    for packet in data.draw(st.permutations(packets)) + packets[:3]:
        if data.draw(st.integers(0, 5)) == 0:
            at = data.draw(st.integers(12, len(packet) - 1))
            packet = packet[:at] + bytes([packet[at] ^ 0x10]) + packet[at + 1 :]
        sequence_number, ssrc = int.from_bytes(packet[2:4], "big"), int.from_bytes(packet[8:12], "big")
        header_length = 12 + 4 * (packet[0] & 15)
        length = ours.unprotect_rtp(memoryview(packet), header_length, sequence_number, ssrc, out)
        try:
            expected = theirs.unprotect(packet)
        except Error:
            assert length == -1
        else:
            assert packet[:header_length] + out[:length] == expected


@pytest.mark.parametrize("name", LIBSRTP)
def test_rtcp_of_libsrtp_is_read_and_no_replay_of_it(name: str) -> None:
    profile = PROFILES_BY_NAME[name]
    ours, sender = SrtpInbound(*_keys(profile)), _libsrtp(profile, Policy.SSRC_ANY_OUTBOUND)
    for size in range(0, 64, 4):
        report = b"\x80\xc9\0\x01\0\0\0\x09" + bytes(size)
        packet = sender.protect_rtcp(report)
        assert ours.unprotect_rtcp(packet) == report
        assert ours.unprotect_rtcp(packet) is None
