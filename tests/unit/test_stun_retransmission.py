"""RFC 8489 section 6.2.1: the retransmission timer."""

from __future__ import annotations

from triortc.engine.stun.retransmission import RetransmissionTimer


def test_rfc8489_6_2_1_example_of_500_ms() -> None:
    timer = RetransmissionTimer(0.0, rto_s=0.5)
    times = [0.0]
    while True:
        now = timer.deadline
        if not timer.expire(now):
            break
        times.append(now)
    assert times == [0.0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
    assert now == 39.5


def test_one_transmission_waits_for_the_last_wait_only() -> None:
    timer = RetransmissionTimer(10.0, rto_s=2.0, transmissions=1, last_wait_factor=3)
    assert timer.deadline == 16.0
    assert not timer.expire(16.0)


def test_a_cancelled_transaction_waits_without_sending() -> None:
    timer = RetransmissionTimer(0.0, rto_s=0.5)
    timer.stop_retransmitting()
    assert timer.deadline == 8.5
    timer.stop_retransmitting()
    assert timer.deadline == 8.5
    assert not timer.expire(8.5)
