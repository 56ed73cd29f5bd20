"""Audio over a jittery, lossy network in virtual time: what is heard, what is concealed, and how late it is."""

from __future__ import annotations

import pytest

from support.virtual_link import VirtualLink
from triortc.engine.jitter.audio import AudioJitterBuffer
from triortc.engine.rtp.header import build_header, parse_header
from triortc.engine.streams.nack_generator import NackGenerator
from triortc.engine.streams.retransmission_history import RetransmissionHistory

FRAME_S = 0.02
TICK_S = 0.001


def listen(
    *, loss: float, jitter_s: float, duration_s: float = 40.0, repair: bool = False, seed: int = 7
) -> tuple[int, int, float]:
    """Return (frames heard, frames concealed, mean delay until they play in seconds) after five seconds to settle."""
    forward: VirtualLink[bytes] = VirtualLink(loss=loss, jitter_s=jitter_s, seed=seed)
    back: VirtualLink[int] = VirtualLink(seed=seed)
    buffer = AudioJitterBuffer(48000)
    history = RetransmissionHistory()
    nack = NackGenerator()
    nack.rtt_s = 0.045
    heard = concealed = 0
    delay_s = 0.0
    now = start = 10.0
    sent = 0
    while now < start + duration_s:
        now += TICK_S
        if now >= start + sent * FRAME_S:
            header = build_header(payload_type=111, sequence_number=65000 + sent, timestamp=sent * 960, ssrc=1)
            history.store((65000 + sent) & 0xFFFF, header, b"sound", now)
            forward.send(header + b"sound", 100, now)
            sent += 1
        for at, packet in forward.receive(now):
            parsed = parse_header(packet)
            assert parsed is not None
            nack.note(parsed[2], at)
            buffer.insert(parsed[2], parsed[3], packet[12:], at)
        if repair:
            for number in nack.due(now):
                back.send(number, 20, now)
            for _, number in back.receive(now):
                found = history.lookup(number, now)
                if found is not None:
                    forward.send(b"".join(found), 100, now)
        while (frame := buffer.pop(now)) is not None:
            if now < start + 5:
                continue
            heard += frame[1] is not None
            concealed += frame[1] is None
            delay_s += now - (start + frame[0] / 48000)
    return heard, concealed, delay_s / (heard + concealed)


def test_a_clean_network_adds_little_delay() -> None:
    heard, concealed, delay_s = listen(loss=0.0, jitter_s=0.002)
    assert concealed == 0
    assert heard >= 35 * 50 - 5
    assert delay_s < 0.05


@pytest.mark.parametrize("jitter_s", [0.03, 0.08, 0.2])
def test_jitter_is_absorbed_by_a_delay_of_its_own_size(jitter_s: float) -> None:
    _, concealed, delay_s = listen(loss=0.0, jitter_s=jitter_s)
    assert concealed <= 0.05 * 35 * 50
    assert 0.02 + 0.7 * jitter_s <= delay_s <= 0.02 + 1.15 * jitter_s + 0.03


def test_lost_packets_are_concealed_one_for_one() -> None:
    heard, concealed, _ = listen(loss=0.1, jitter_s=0.005)
    assert heard + concealed == pytest.approx(35 * 50, abs=5)
    assert concealed == pytest.approx(0.1 * 35 * 50, rel=0.25)


def test_retransmissions_that_come_in_time_are_heard() -> None:
    """The late ones raise the target delay until they are in time."""
    _, without, _ = listen(loss=0.1, jitter_s=0.005)
    _, repaired, delay_s = listen(loss=0.1, jitter_s=0.005, repair=True)
    assert repaired < without / 2
    assert delay_s < 0.2
