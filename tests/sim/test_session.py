"""Two whole sessions over a simulated network, in virtual time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest

from support.session_host import SessionHost, collect, connect, connected, negotiate, send_video, two
from support.virtual_network import Conditions, Nat, VirtualNetwork
from triortc.codecs.registry import DEFAULT_CODECS, VP8, VP9, Codec, MediaKind
from triortc.engine.address import Address
from triortc.engine.calls.quality import QualityConfiguration, QualityMeter, observe
from triortc.engine.congestion.send_side import SendSideEstimator
from triortc.engine.rtcp.ntp import unix_to_ntp
from triortc.engine.rtcp.packets import SenderReport, TransportFeedback
from triortc.engine.rtcp.transport_feedback import TICK_US
from triortc.engine.session.events import ConnectionState, ConnectionStateChanged, SessionResumed, SessionSilent
from triortc.errors import ConfigurationError


def test_connects_within_five_round_trips_when_nothing_is_lost() -> None:
    network, client, server = connected(Conditions(delay_s=0.01))
    assert network.now - 1000.0 <= 5 * 0.020 + 1e-6
    assert client.session.state is server.session.state is ConnectionState.CONNECTED


@pytest.mark.parametrize(("loss", "weak"), [(0.0, False), (0.2, True)])
def test_both_ends_see_how_good_the_way_is_from_what_they_count(loss: float, weak: bool) -> None:
    network, client, server = connected(Conditions(delay_s=0.04, loss=loss), seed=7)
    meters = [(host.session, QualityMeter(QualityConfiguration())) for host in (client, server)]
    found = []
    for second in range(7):
        for session, meter in meters:
            found.append(meter.take(observe(session.media, session.ice.rtt_s), network.now))
        for n in range(100):
            send_video(client, 1, network.now, first=100 * second + n)
            network.run_for(0.01)
    told = [quality for quality in found if quality is not None]
    assert len(told) >= 2
    assert all(60 <= quality.rtt_ms <= 120 for quality in told)
    assert (min(quality.score for quality in told) < 40) == weak
    assert (max(quality.loss for quality in told) > 0.1) == weak


@pytest.mark.parametrize("seed", range(12))
def test_connects_and_repairs_video_over_a_network_that_loses_a_fifth(seed: int) -> None:
    network = VirtualNetwork(seed=seed, conditions=Conditions(delay_s=0.015, jitter_s=0.01, loss=0.2))
    client, server = two(network, seed)
    received = collect(server.session)
    assert connect(network, client, server)
    for n in range(120):
        send_video(client, 2, network.now, first=2 * n)
        network.run_for(0.03)
    network.run_for(1.0)
    stream = client.session.media.outbound("video")
    assert stream is not None
    numbers = {number for kind, number, _ in received if kind == "video"}
    sent = {(stream.first_sequence_number + n) & 0xFFFF for n in range(240)}
    # The very first packets and those whose retransmissions were lost ten times may be missing.
    assert len(sent - numbers) <= 12
    assert numbers <= sent


def test_media_that_overtakes_the_handshake_is_counted_and_dropped() -> None:
    network = VirtualNetwork()
    server = two(network)[1]
    network.attach(server, server.address)
    server.receive(bytes((0x80, 96)) + bytes(40), server.address, ("10.0.0.9", 9), network.now)
    assert server.session.counters.media_before_keys == 1
    assert server.events == []


@pytest.mark.parametrize("lite", [False, True])
def test_rfc_8445_the_answerer_controls_only_beside_a_lite_peer(lite: bool) -> None:
    """RFC 8445 section 6.1.1: a lite agent sends no checks, so nobody else could nominate."""
    network = VirtualNetwork()
    client, server = two(network)
    negotiate(client.session, server.session, network.now, lite=lite)
    assert server.session.ice.controlling == lite


def test_a_codec_whose_packets_cannot_be_read_is_refused_at_once_not_with_the_first_packet() -> None:
    network = VirtualNetwork()
    client, server = two(network)
    negotiate(client.session, server.session, network.now)
    [section] = [section for section in server.session.media.sections if section.kind == "video"]
    [entry, *_] = section.codecs
    with pytest.raises(ConfigurationError, match="no payload format for 'VP9'"):
        server.session.media.configure((replace(section, codecs=(replace(entry, codec=VP9),)),))
    assert section in server.session.media.sections


def test_rfc_3550_reports_give_both_sides_the_round_trip_time() -> None:
    network, client, server = connected(Conditions(delay_s=0.03))
    collect(server.session)
    for n in range(100):
        send_video(client, 1, network.now, first=n)
        network.run_for(0.05)
    assert client.session.media.rtt.rtt_s == pytest.approx(0.06, abs=0.005)


def test_rfc_3550_6_4_1_a_report_without_wall_clock_or_a_clock_that_was_set_does_not_stay_in_the_offset() -> None:
    network, client, server = connected()
    media = server.session.media
    send_video(client, 1, network.now)
    network.run_for(0.01)
    [ssrc] = media.inbound

    def hear(ntp_timestamp: int) -> float | None:
        media.note_sender_report(SenderReport(ssrc, ntp_timestamp, 0, 1, 1), network.now)
        return media.source_clock_offset_s

    unix_s = media.unix_time_s(network.now)
    assert hear(0) is None
    assert media.inbound[ssrc].clock.unix_time_s(0) is None
    for ahead_s in (-0.5, -0.1, 3600.0, -0.2):  # on a slow way, on a fast one, clock put forward, and back again
        offset_s = hear(unix_to_ntp(unix_s + ahead_s))
        assert offset_s == pytest.approx(-ahead_s, abs=1e-6)


def test_rfc_7160_4_a_stream_that_goes_on_in_another_format_is_reported_by_its_clock_on_both_sides() -> None:
    network, client, server = connected(Conditions(delay_s=0.03))
    collect(server.session)
    sent = client.session.media.outbound("audio")
    assert sent is not None
    first, at = sent.first_sequence_number, 0.0
    for n in range(400):
        payload_type, clock_rate = (111, 48_000) if n < 20 else (0, 8_000)
        at = network.now
        sent.send(False, payload_type, first + n, clock_rate // 50 * n, b"", bytes(160), at)
        network.run_for(0.02)
    [stream] = server.session.media.inbound.values()
    assert (stream.clock.clock_rate, stream.statistics.clock_rate, sent.statistics.clock_rate) == (8_000,) * 3
    assert stream.statistics.jitter_s < 0.001
    captured_at = stream.clock.unix_time_s(8_000 // 50 * 399)
    assert captured_at == pytest.approx(at, abs=0.001)


def test_a_closed_session_tells_its_peer_by_bye_and_close_notify() -> None:
    network, client, server = connected()
    client.session.close(network.now)
    network.run_for(0.2)
    assert server.session.state is ConnectionState.CLOSED
    assert client.session.state is ConnectionState.CLOSED
    # A deadline that stays in the past would keep the shell's timer busy for ever.
    assert client.session.next_deadline() is server.session.next_deadline() is None
    client.session.close(network.now)
    assert client.session.next_deadline() is None
    assert server.session.next_deadline() is None


def test_a_peer_that_vanishes_is_silent_and_one_that_returns_is_heard_again() -> None:
    network, _, server = connected()
    network.block("10.0.0.1", "10.0.0.2")
    network.run_for(12.0)
    assert SessionSilent() in server.events
    assert server.session.state.value == "disconnected"
    network.unblock("10.0.0.1", "10.0.0.2")
    network.run_for(8.0)
    assert SessionResumed() in server.events
    assert server.session.state is ConnectionState.CONNECTED


def test_rfc_7675_without_consent_for_thirty_seconds_the_session_fails_and_says_why() -> None:
    network, _, server = connected()
    network.block("10.0.0.1", "10.0.0.2")
    network.run_for(60.0)
    changes = [event for event in server.events if isinstance(event, ConnectionStateChanged)]
    assert changes[-1].state is ConnectionState.FAILED
    assert "ICE" in changes[-1].reason


def test_no_key_is_installed_when_the_certificate_is_not_the_signalled_one() -> None:
    network = VirtualNetwork()
    client, server = two(network)
    other = SessionHost(99, ("10.0.0.3", 7000), controlling=False)
    for host in (client, server):
        network.attach(host, host.address)
    # The client is told another certificate than the one that the server will show.
    other.session.certificate = client.session.certificate
    shown, server.session.certificate = server.session.certificate, client.session.certificate
    negotiate(client.session, server.session, network.now)
    assert server.session.dtls is not None
    server.session.dtls._context = shown.context(server.session.configuration.dtls.srtp_profiles)
    network.run_for(5.0)
    assert not client.session.media.secured
    assert client.session.state is ConnectionState.FAILED


def test_a_keyframe_request_reaches_the_sender_once_per_interval() -> None:
    network = VirtualNetwork()
    client, server = two(network)
    asked: list[float] = []
    client.session.media.on_keyframe_request = lambda stream, now: asked.append(now)
    assert connect(network, client, server)
    send_video(client, 1, network.now)
    network.run_for(0.1)
    for _ in range(20):
        server.session.media.request_keyframe(network.now)
        network.run_for(0.01)
    assert len(asked) == 1


def test_transport_feedback_names_a_stream_of_the_sender_or_senders_would_ignore_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = VirtualNetwork()
    client, server = two(network)
    named: set[int] = set()

    def spy(estimator: SendSideEstimator, feedback: TransportFeedback, now: float) -> None:
        named.add(feedback.media_ssrc)

    monkeypatch.setattr(SendSideEstimator, "on_feedback", spy)
    assert connect(network, client, server)
    send_video(client, 5, network.now)
    network.run_for(0.3)
    stream = client.session.media.outbound("video")
    assert stream is not None
    assert named == {stream.ssrc}


def test_transport_feedback_tells_when_packets_arrived_however_late_they_are_taken_in_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A paced burst, as senders probe a path with: its pace must not be lost in a batch."""
    network = VirtualNetwork()
    client, server = two(network)
    arrivals_us: list[int] = []

    def spy(estimator: SendSideEstimator, feedback: TransportFeedback, now: float) -> None:
        arrivals_us.extend(at for _, at in feedback.arrivals_us())

    assert connect(network, client, server)
    send_video(client, 4, network.now)
    burst: list[memoryview] = []

    def keep(run: memoryview, size: int, remote: Address) -> None:
        burst.extend(memoryview(bytearray(run[at : at + size])) for at in range(0, len(run), size))

    client.session.outbox.drain(keep, server.address)
    monkeypatch.setattr(SendSideEstimator, "on_feedback", spy)
    arrived = [network.now + 0.004 * n for n in range(4)]
    batch = [(packet, client.address, at) for packet, at in zip(burst, arrived, strict=True)]
    server.session.receive(batch, server.address, network.now + 0.03)
    network.run_for(0.3)
    assert len(arrivals_us) == 4
    assert all(abs(after - before - 4000) <= TICK_US for before, after in pairwise(arrivals_us))


def test_media_from_a_new_address_moves_the_path_once_a_check_has_come_through() -> None:
    network = VirtualNetwork()
    client, server = two(network)
    nat = Nat("203.0.113.7")
    network.attach(client, client.address, nat=nat)
    network.attach(server, server.address)
    negotiate(client.session, server.session, network.now)
    assert network.run_until(lambda: server.session.media.secured, timeout_s=5.0)
    send_video(client, 1, network.now)
    network.run_for(6.0)
    before = server.session.path
    nat.rebind()
    began = network.now
    for n in range(1, 60):
        send_video(client, 1, network.now, first=n)
        network.run_for(0.02)
        if server.session.path != before:
            break
    assert server.session.path is not None
    assert server.session.path != before
    assert network.now - began < 1.0


def test_rfc_7675_without_consent_nothing_more_is_sent() -> None:
    network, _, server = connected()
    network.block("10.0.0.1", "10.0.0.2")
    network.run_for(60.0)
    assert server.session.state is ConnectionState.FAILED
    sent = network.sent
    send_video(server, 5, network.now)
    network.run_for(5.0)
    assert server.session.path is None
    assert not server.session.outbox
    assert network.sent == sent


def video_codec(*feedback: str) -> dict[MediaKind, Sequence[Codec]]:
    """Only VP8, with this RTCP feedback."""
    return {"audio": DEFAULT_CODECS["audio"], "video": (replace(VP8, feedback=feedback),)}


def test_the_estimate_for_a_peer_with_remb_only_grows_back_after_a_loss() -> None:
    network = VirtualNetwork(conditions=Conditions(delay_s=0.02))
    client, server = two(network)
    assert connect(network, client, server, codecs=video_codec("nack", "goog-remb"))
    stream = server.session.media.outbound("video")
    assert stream is not None
    stream.configure(replace(stream.section, extensions={}))
    estimator = server.session.media.estimator
    assert estimator is not None
    estimator.on_receiver_report(0.5, 0.04, network.now)
    estimator.on_receiver_report(0.0, 0.04, network.now)
    low_bps = estimator.target_bps
    collect(client.session)
    for n in range(300):
        send_video(server, 3, network.now, first=3 * n)
        network.run_for(0.033)
    assert estimator.target_bps > 1.2 * low_bps


def test_a_limit_is_told_at_once_when_it_falls_and_with_a_report_when_it_grows() -> None:
    network, client, server = connected()
    send_video(client, 1, network.now)
    network.run_for(0.1)
    estimator = client.session.media.estimator
    assert estimator is not None
    server.session.media.limit_bitrate(300_000, network.now)
    network.run_for(0.05)
    assert estimator.target_bps == pytest.approx(300_000, rel=0.001)
    sent = network.sent
    for n in range(50):
        server.session.media.limit_bitrate(301_000 + n, network.now)
    network.run_for(0.001)
    assert network.sent - sent < 5
    network.run_for(2.0)
    assert estimator.target_bps == pytest.approx(301_049, rel=0.001)


def test_more_sources_than_allowed_replace_the_oldest_not_the_newest() -> None:
    network, client, server = connected()
    received = collect(server.session)
    stream = client.session.media.outbound("video")
    assert stream is not None
    for n in range(20):
        stream.ssrc = 1000 + n
        send_video(client, 1, network.now, first=n)
        network.run_for(0.02)
    assert len(received) == 20
    assert len(server.session.media.inbound) == 16
    server.session.media.request_keyframe(network.now)
    assert [s.ssrc for s in server.session.media.inbound.values() if s.keyframes and s.keyframes.waiting] == [1019]


def test_a_source_that_another_has_taken_the_place_of_is_asked_for_nothing_more() -> None:
    network, client, server = connected(Conditions(delay_s=0.02))
    collect(server.session)
    stream = client.session.media.outbound("video")
    assert stream is not None
    for n in (0, 1, 5):
        send_video(client, 1, network.now, first=n)
    stream.ssrc = 1000
    send_video(client, 1, network.now, first=6)
    network.run_for(0.05)
    missing = {
        source.ssrc: source.nack.missing_packets for source in server.session.media.inbound.values() if source.nack
    }
    assert set(missing.values()) == {0}
    assert len(missing) == 2
