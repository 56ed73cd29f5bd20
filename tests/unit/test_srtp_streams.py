"""SRTP contexts: roll-over, replay, limits, and what must not change a stream."""

from __future__ import annotations

import hmac
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triortc.engine.srtp import PROFILES, SrtpConfiguration, SrtpInbound, SrtpOutbound, SrtpProfile, create_srtp
from triortc.engine.srtp.key_derivation import derive_session_keys
from triortc.engine.srtp.stream import MAX_RTCP_INDEX, MAX_RTP_INDEX, estimate_index, ring_size
from triortc.errors import ConfigurationError, SrtpError

SSRC = 0x01020304
ALL = pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)


def _keys(profile: SrtpProfile) -> tuple[SrtpProfile, bytes, bytes]:
    return profile, bytes(range(profile.key_bytes)), bytes(range(100, 100 + profile.salt_bytes))


def _header(sequence_number: int, ssrc: int = SSRC) -> bytes:
    return b"\x80\x60" + sequence_number.to_bytes(2, "big") + bytes(4) + ssrc.to_bytes(4, "big")


class Line:
    """A sender and a receiver with the same keys."""

    def __init__(self, profile: SrtpProfile = PROFILES[0], configuration: SrtpConfiguration | None = None) -> None:
        self.outbound = SrtpOutbound(*_keys(profile), configuration)
        self.inbound = SrtpInbound(*_keys(profile), configuration)
        self.out = memoryview(bytearray(1500))

    def protect(self, sequence_number: int, payload: bytes = b"payload", ssrc: int = SSRC) -> bytes:
        header = _header(sequence_number, ssrc)
        length = self.outbound.protect_rtp(header, sequence_number, ssrc, payload, self.out)
        assert length == len(header) + len(payload) + self.outbound.profile.rtp_tag_bytes
        return bytes(self.out[:length])

    def unprotect(self, packet: bytes) -> bytes | None:
        sequence_number, ssrc = int.from_bytes(packet[2:4], "big"), int.from_bytes(packet[8:12], "big")
        length = self.inbound.unprotect_rtp(memoryview(packet), 12, sequence_number, ssrc, self.out)
        return None if length < 0 else bytes(self.out[:length])


@ALL
def test_three_roll_overs_with_losses_and_disorder_rfc3711_3_3_1(profile: SrtpProfile) -> None:
    line = Line(profile)
    indices = range(64000, 64000 + 3 * 65536, 51)
    packets = [line.protect(index & 0xFFFF, index.to_bytes(4, "big")) for index in indices]
    assert line.unprotect(packets[0]) is not None
    for at in range(1, len(packets) - 1, 2):
        # Every pair arrives the other way round, every eighth packet never.
        for number in (at + 1, at):
            if number % 8:
                assert line.unprotect(packets[number]) == indices[number].to_bytes(4, "big")


@ALL
def test_disorder_around_a_roll_over_rfc3711_3_3_1(profile: SrtpProfile) -> None:
    line = Line(profile)
    packets = {n: line.protect(n & 0xFFFF, str(n).encode()) for n in range(65530, 65546)}
    for n in (65530, 65537, 65531, 65536, 65535, 65545, 65544, 65534):
        assert line.unprotect(packets[n]) == str(n).encode()


@ALL
def test_a_stream_whose_packets_before_its_first_roll_over_are_all_lost_is_heard_rfc3711_3_3_1(
    profile: SrtpProfile,
) -> None:
    line = Line(profile)
    packets = {n: line.protect(n & 0xFFFF, str(n).encode()) for n in range(65530, 65546)}
    for n in (65537, 65538, 65536, 65535, 65539):
        assert line.unprotect(packets[n]) == str(n).encode()
    assert line.unprotect(packets[65537]) is None
    assert line.inbound.dropped_authentication == 0
    forged = packets[65540][:-1] + bytes((packets[65540][-1] ^ 1,))
    assert Line(profile).unprotect(forged) is None


@ALL
@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 1200])
def test_payloads_of_every_size_survive(profile: SrtpProfile, size: int) -> None:
    line = Line(profile)
    payload = bytes(n & 255 for n in range(size))
    assert line.unprotect(line.protect(7, payload)) == payload


@ALL
def test_a_replayed_packet_is_dropped_rfc3711_3_3_2(profile: SrtpProfile) -> None:
    line = Line(profile)
    packets = [line.protect(n) for n in range(20)]
    for packet in packets:
        assert line.unprotect(packet) is not None
    for packet in packets:
        assert line.unprotect(packet) is None
    assert line.inbound.dropped_replay == 20


@pytest.mark.parametrize("window", [64, 100, 128, 1000])
def test_packets_are_taken_up_to_the_window_and_no_further_rfc3711_3_3_2(window: int) -> None:
    line = Line(configuration=SrtpConfiguration(replay_window_packets=window))
    packets = [line.protect(n) for n in range(window + 1)]
    assert line.unprotect(packets[window]) is not None
    assert line.unprotect(packets[0]) is None
    assert line.inbound.dropped_replay == 1
    assert line.unprotect(packets[1]) is not None
    assert line.unprotect(packets[1]) is None


def test_a_forged_packet_changes_nothing_rfc3711_3_3() -> None:
    line = Line()
    first, second = line.protect(10), line.protect(11)
    assert line.unprotect(first) is not None
    far = bytearray(second)
    far[2:4] = (30000).to_bytes(2, "big")
    assert line.unprotect(bytes(far)) is None
    forged = second[:-1] + bytes([second[-1] ^ 1])
    assert line.unprotect(forged) is None
    assert line.inbound.dropped_authentication == 2
    assert line.unprotect(second) is not None


def test_strangers_cannot_fill_the_table_of_streams() -> None:
    line = Line(configuration=SrtpConfiguration(max_inbound_ssrcs=2))
    for ssrc in range(1000):
        assert line.unprotect(_header(1, ssrc) + bytes(40)) is None
        assert line.inbound.unprotect_rtcp(b"\x80\xc8\0\x01" + ssrc.to_bytes(4, "big") + bytes(40)) is None
    assert line.inbound.dropped_authentication == 2000
    assert line.unprotect(line.protect(1, ssrc=1)) is not None
    assert line.unprotect(line.protect(1, ssrc=2)) is not None


def test_a_peer_with_more_streams_than_allowed_is_held_to_the_limit() -> None:
    line = Line(configuration=SrtpConfiguration(max_inbound_ssrcs=2))
    assert [line.unprotect(line.protect(1, ssrc=ssrc)) for ssrc in (1, 2, 3)] == [b"payload", b"payload", None]
    assert line.inbound.dropped_ssrc_limit == 1
    reports = [line.outbound.protect_rtcp(b"\x80\xc9\0\x01" + ssrc.to_bytes(4, "big")) for ssrc in (1, 2, 3)]
    assert [line.inbound.unprotect_rtcp(report) is not None for report in reports] == [True, True, False]
    assert line.inbound.dropped_ssrc_limit == 2


@ALL
def test_packets_too_short_or_too_long_are_counted(profile: SrtpProfile) -> None:
    line = Line(profile)
    packet = line.protect(5, bytes(100))
    assert line.unprotect(packet[: 12 + profile.rtp_tag_bytes - 1]) is None
    assert line.inbound.unprotect_rtp(memoryview(packet), 12, 5, SSRC, memoryview(bytearray(99))) == -1
    assert line.inbound.unprotect_rtcp(b"") is None
    assert line.inbound.unprotect_rtcp(bytes(8 + 4 + profile.rtcp_tag_bytes - 1)) is None
    assert line.inbound.dropped_malformed == 4
    assert line.unprotect(packet) == bytes(100)


@ALL
def test_an_index_is_never_used_twice_rfc7714_8_4(profile: SrtpProfile) -> None:
    outbound = SrtpOutbound(*_keys(profile))
    out = memoryview(bytearray(100))
    lengths = [outbound.protect_rtp(_header(n), n, SSRC, b"abc", out) for n in (5, 6, 6, 4, 4, 5, 7)]
    assert [length > 0 for length in lengths] == [True, True, False, True, False, False, True]
    assert outbound.refused_repeated == 3
    assert outbound.protect_rtp(_header(2000), 2000, SSRC, b"abc", out) > 0
    assert outbound.protect_rtp(_header(8), 8, SSRC, b"abc", out) == -1  # older than what we remember
    assert outbound.refused_repeated == 4


@ALL
def test_a_buffer_too_small_is_the_embedder_s_mistake_and_uses_no_index(profile: SrtpProfile) -> None:
    outbound = SrtpOutbound(*_keys(profile))
    needed = 12 + 20 + profile.rtp_tag_bytes
    for size in (0, 11, 12, 20, 32, needed - 1):
        with pytest.raises(ConfigurationError, match=f"needs {needed}"):
            outbound.protect_rtp(_header(3), 3, SSRC, bytes(20), memoryview(bytearray(size)))
    assert outbound.protect_rtp(_header(3), 3, SSRC, bytes(20), memoryview(bytearray(needed))) == needed


def test_no_more_than_2_to_the_48_rtp_packets_under_one_key_rfc3711_9_2() -> None:
    line = Line()
    line.protect(0)
    stream = line.outbound._rtp_streams[SSRC]
    stream.highest = MAX_RTP_INDEX - 1
    last = line.protect(0xFFFF)
    with pytest.raises(SrtpError, match="open a new session"):
        line.protect(0)
    line.inbound.unprotect_rtp(memoryview(Line().protect(0)), 12, 0, SSRC, line.out)
    line.inbound._rtp_streams[SSRC].highest = MAX_RTP_INDEX - 1
    assert line.unprotect(last) is not None
    assert line.unprotect(_header(0) + bytes(40)) is None
    assert line.inbound.dropped_replay == 1


def test_no_more_than_2_to_the_31_rtcp_packets_under_one_key_rfc3711_9_2() -> None:
    line = Line()
    report = b"\x80\xc9\0\x01" + SSRC.to_bytes(4, "big")
    line.outbound._next_rtcp_index[SSRC] = MAX_RTCP_INDEX
    assert line.outbound.protect_rtcp(report)[-4:] == b"\xff\xff\xff\xff"
    with pytest.raises(SrtpError, match="open a new session"):
        line.outbound.protect_rtcp(report)


@ALL
def test_rtcp_is_checked_for_replay_within_its_window_rfc3711_3_4(profile: SrtpProfile) -> None:
    line = Line(profile)
    report = b"\x80\xc9\0\x01" + SSRC.to_bytes(4, "big") + b"more"
    packets = [line.outbound.protect_rtcp(report) for _ in range(130)]
    assert line.inbound.unprotect_rtcp(packets[5]) == report
    assert line.inbound.unprotect_rtcp(memoryview(packets[3])) == report
    assert line.inbound.unprotect_rtcp(packets[5]) is None
    assert line.inbound.unprotect_rtcp(packets[3]) is None
    assert line.inbound.unprotect_rtcp(packets[129]) == report
    assert line.inbound.unprotect_rtcp(packets[1]) is None
    assert line.inbound.dropped_replay == 3
    assert line.inbound.unprotect_rtcp(packets[2]) == report
    tampered = packets[100][:9] + b"\0" + packets[100][10:]
    assert line.inbound.unprotect_rtcp(tampered) is None
    assert line.inbound.dropped_authentication == 1


@ALL
def test_the_e_flag_is_authenticated_rfc3711_3_4(profile: SrtpProfile) -> None:
    line = Line(profile)
    sealed = bytearray(line.outbound.protect_rtcp(b"\x80\xc9\0\x01" + bytes(12)))
    at = len(sealed) - 4 if profile.aead else len(sealed) - 4 - profile.rtcp_tag_bytes
    assert sealed[at] == 0x80
    sealed[at] = 0
    assert line.inbound.unprotect_rtcp(bytes(sealed)) is None
    assert line.inbound.dropped_authentication == 1


def test_authentic_rtcp_without_encryption_is_read_rfc3711_3_4() -> None:
    profile = PROFILES[2]
    line = Line(profile)
    report = b"\x80\xc9\0\x01" + SSRC.to_bytes(4, "big")
    signed = report + (7).to_bytes(4, "big")
    key = derive_session_keys(*_keys(profile)).rtcp_authentication
    packet = signed + hmac.digest(key, signed, "sha1")[:10]
    assert line.inbound.unprotect_rtcp(packet) == report
    assert line.inbound.unprotect_rtcp(packet) is None


def test_an_rtcp_packet_without_ssrc_is_the_embedder_s_mistake() -> None:
    with pytest.raises(ConfigurationError, match="at least 8 bytes"):
        Line().outbound.protect_rtcp(b"\x80\xc9\0\0")


@ALL
def test_keys_of_another_length_are_refused(profile: SrtpProfile) -> None:
    _, key, salt = _keys(profile)
    with pytest.raises(ConfigurationError, match=profile.name):
        SrtpInbound(profile, key + b"x", salt)
    with pytest.raises(ConfigurationError, match=profile.name):
        SrtpOutbound(profile, key, salt[:-1])


def test_a_session_s_contexts_take_each_others_packets() -> None:
    class Keys:
        profile = PROFILES[0]
        local_key, local_salt, remote_key, remote_salt = bytes(16), bytes(12), b"k" * 16, b"s" * 12

    class Mirrored(Keys):
        local_key, local_salt, remote_key, remote_salt = Keys.remote_key, Keys.remote_salt, bytes(16), bytes(12)

    report = b"\x80\xc9\0\x01" + bytes(4)
    (outbound, _), (_, inbound) = create_srtp(Keys()), create_srtp(Mirrored())
    assert inbound.unprotect_rtcp(outbound.protect_rtcp(report)) == report


@given(highest=st.integers(0, MAX_RTP_INDEX), sequence_number=st.integers(0, 0xFFFF))
def test_the_estimate_is_that_of_rfc3711_3_3_1(highest: int, sequence_number: int) -> None:
    roll_over, s_l = highest >> 16, highest & 0xFFFF
    if s_l < 0x8000:
        guess = roll_over - 1 if sequence_number - s_l > 0x8000 else roll_over
    else:
        guess = roll_over + 1 if s_l - 0x8000 > sequence_number else roll_over
    # Before the first roll-over there is no other to go back to.
    assert estimate_index(highest, sequence_number) == (max(guess, 0) << 16 | sequence_number)


def test_rings_are_powers_of_two() -> None:
    assert [ring_size(window) for window in (64, 65, 100, 128, 129)] == [64, 128, 128, 128, 256]


@pytest.mark.parametrize(
    "change",
    [
        {"replay_window_packets": 63},
        {"replay_window_packets": 1 << 15},
        {"send_window_packets": 1},
        {"max_inbound_ssrcs": 0},
    ],
)
def test_numbers_out_of_range_are_refused(change: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError):
        replace(SrtpConfiguration(), **change)
