"""Two whole sessions over a simulated network: what is lost between them comes again (RFC 4585, RFC 4588)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from support.session_host import collect, connect, connected, send_video, two
from support.virtual_network import Conditions, VirtualNetwork
from triortc.engine.rtp.extensions import ABS_SEND_TIME_URI, TRANSPORT_WIDE_CC_URI, find_element
from triortc.engine.rtp.header import RtpHeader
from triortc.engine.session.inbound import InboundStream
from triortc.engine.session.outbound import OutboundStream


def test_rfc_4588_a_renegotiation_may_give_rtx_up_and_take_it_up_again_and_losses_are_repaired_all_along() -> None:
    network, client, server = connected()
    received = collect(server.session)
    with_rtx = client.session.media.sections, server.session.media.sections
    without = [
        tuple(
            replace(
                section,
                codecs=tuple(replace(entry, rtx_payload_type=None) for entry in section.codecs),
                local_rtx_ssrc=None,
            )
            for section in sections
        )
        for sections in with_rtx
    ]
    restored: list[int] = []
    for agreed in (with_rtx, without, with_rtx):
        for host, sections in zip((client, server), agreed, strict=True):
            host.session.media.configure(sections)
        first = 7 * len(restored)
        send_video(client, 3, network.now, first=first)
        network.run_for(0.05)
        network.block("10.0.0.1", "10.0.0.2", both_ways=False)
        send_video(client, 1, network.now, first=first + 3)
        network.run_for(0.001)
        network.unblock("10.0.0.1", "10.0.0.2")
        send_video(client, 3, network.now, first=first + 4)
        network.run_for(0.3)
        [stream] = server.session.media.inbound.values()
        restored.append(stream.retransmissions.restored)
    assert restored == [1, 0, 1]  # by RTX, of each negotiation
    assert sorted({payload[2:4] for _, _, payload in received}) == [n.to_bytes(2, "big") for n in range(21)]


def test_rfc_4585_a_packet_that_was_lost_comes_again_as_rtx() -> None:
    network, client, server = connected()
    received = collect(server.session)
    send_video(client, 3, network.now)
    network.run_for(0.05)
    network.block("10.0.0.1", "10.0.0.2", both_ways=False)
    send_video(client, 1, network.now, first=3)
    network.run_for(0.001)
    network.unblock("10.0.0.1", "10.0.0.2")
    send_video(client, 3, network.now, first=4)
    network.run_for(0.3)
    assert sorted({payload[2:4] for _, _, payload in received}) == [n.to_bytes(2, "big") for n in range(7)]
    stream = next(iter(server.session.media.inbound.values()))
    assert stream.retransmissions.restored == 1
    asked = client.session.media.outbound("video")
    assert asked is not None
    assert asked.history is not None
    assert (stream.nacks_sent, asked.nacks_received, asked.history.packets_resent) == (1, 1, 1)


def test_rfc_4585_every_packet_of_a_long_loss_is_asked_for_in_the_first_round(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, ...]] = []

    def retransmit(stream: OutboundStream, sequence_numbers: tuple[int, ...], now: float) -> int:
        asked.append(sequence_numbers)
        return 0

    monkeypatch.setattr(OutboundStream, "retransmit", retransmit)
    network, client, server = connected(Conditions(delay_s=0.02))
    collect(server.session)
    send_video(client, 3, network.now)
    network.run_for(0.1)
    network.block("10.0.0.1", "10.0.0.2", both_ways=False)
    send_video(client, 450, network.now, first=3, size=50)
    network.run_for(0.001)
    network.unblock("10.0.0.1", "10.0.0.2")
    send_video(client, 3, network.now, first=453)
    network.run_for(0.05)
    stream = client.session.media.outbound("video")
    assert stream is not None
    lost = [(stream.first_sequence_number + n) & 0xFFFF for n in range(3, 453)]
    assert [number for numbers in asked for number in numbers] == lost
    assert all(len(numbers) <= 200 for numbers in asked)  # apart, 200 are 812 bytes: none is larger than the path's MTU


def test_rfc_4588_a_retransmission_carries_the_time_at_which_it_is_sent() -> None:
    network = VirtualNetwork()
    client, server = two(network)
    times: list[int] = []

    def deliver(stream: InboundStream, header: RtpHeader, packet: memoryview, payload: memoryview, now: float) -> None:
        found = find_element(packet, header, section.extensions[ABS_SEND_TIME_URI])
        assert found is not None
        times.append(int.from_bytes(packet[found[0] : found[0] + 3], "big"))

    def on_stream(stream: InboundStream) -> None:
        stream.deliver = deliver

    server.session.media.on_stream = on_stream
    assert connect(network, client, server)
    stream = client.session.media.outbound("video")
    assert stream is not None
    section = replace(
        stream.section,
        extensions={uri: n for uri, n in stream.section.extensions.items() if uri != TRANSPORT_WIDE_CC_URI},
    )
    stream.configure(section)
    send_video(client, 1, network.now)
    network.run_for(0.5)
    stream.retransmit((stream.first_sequence_number,), network.now)
    network.run_for(0.1)
    assert len(times) == 2
    assert (times[1] - times[0]) & 0xFFFFFF == pytest.approx(0.5 * 262144, abs=2)
