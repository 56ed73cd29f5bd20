"""Token buckets, signs of life, the memory of replies and the book of sessions, by hand-turned clocks."""

from __future__ import annotations

import random
import weakref
from typing import Any

import pytest

from triortc.engine.calls.actor import Actor, DeviceAddress
from triortc.errors import ConfigurationError
from triortc.signaling.book import SessionBook
from triortc.signaling.configuration import SignalingConfiguration
from triortc.signaling.limits import Liveness, TokenBucket
from triortc.signaling.link import Link
from triortc.signaling.replies import ReplyCache
from triortc.signaling.session import SignalingSession
from triortc.signaling.wire import Resume, decode_message

CONFIGURATION = SignalingConfiguration()


def address(device: str = "d1", sub: str = "ana") -> DeviceAddress:
    return DeviceAddress("dev", "agent", sub, device)


def book(**limits: Any) -> SessionBook:
    return SessionBook(SignalingConfiguration(**limits), random_bytes=random.Random(3).randbytes, wall_ms=lambda: 0)


def create(sessions: SessionBook, device: str = "d1", now: float = 0.0, sub: str = "ana") -> SignalingSession:
    return sessions.create(Actor(sub, "agent", "dev", device), address(device, sub), now)


def test_devices_that_said_goodbye_are_forgotten_with_their_replies() -> None:
    sessions = book(reply_lifetime_s=300.0)
    for number in range(1000):
        sub, now = f"v{number}", 10.0 * number
        session = create(sessions, sub=sub, now=now)
        sessions.remember(session.address, "c1", b"digest", b"reply", stored_at=now)
        assert sessions.remove(session)  # `bye`: nothing is left to expire
    assert len(sessions._replies) <= 1.5 * 300 / 10 + 1


def test_a_bucket_lets_its_burst_through_and_then_its_rate() -> None:
    bucket = TokenBucket(3, 10, now=0.0)
    assert [bucket.take(0.0) for _ in range(4)] == [True, True, True, False]
    assert bucket.wait_s() == pytest.approx(0.1)
    assert bucket.take(0.1)
    assert not bucket.take(0.15)
    assert [bucket.take(10.0) for _ in range(4)] == [True, True, True, False]


def test_a_clock_that_stands_still_gives_no_tokens() -> None:
    bucket = TokenBucket(1, 10, now=5.0)
    assert bucket.take(5.0)
    assert not bucket.take(4.0)


def test_a_ping_is_due_each_interval_of_silence_and_death_after_the_last() -> None:
    liveness = Liveness(15.0, 35.0, now=0.0)
    assert liveness.next_deadline() == 15.0
    assert not liveness.ping_due(14.9)
    assert liveness.ping_due(15.0)
    assert not liveness.ping_due(15.1)
    assert liveness.next_deadline() == 30.0
    assert liveness.ping_due(30.0)
    assert liveness.next_deadline() == 35.0
    assert not liveness.dead(34.9)
    assert liveness.dead(35.0)


def test_a_sign_of_life_starts_the_silence_again() -> None:
    liveness = Liveness(15.0, 35.0, now=0.0)
    liveness.heard(20.0)
    liveness.heard(10.0)
    assert liveness.heard_at == 20.0
    assert liveness.next_deadline() == 35.0
    assert not liveness.dead(50.0)


def test_quicker_heartbeats_do_not_kill_a_peer_for_silence_that_was_allowed() -> None:
    liveness = Liveness(15.0, 35.0, now=0.0)
    liveness.change(5.0, 12.0, 14.0)
    assert liveness.next_deadline() == 19.0
    assert not liveness.dead(25.0)
    assert liveness.dead(26.0)


def test_the_memory_of_replies_is_bounded_in_number_bytes_and_age() -> None:
    cache = ReplyCache(lifetime_s=10, max_replies=3, max_bytes=100)
    for number in range(5):
        cache.begin(f"c{number}", b"x", float(number))
        cache.finish(f"c{number}", b"r" * 10)
    assert cache.find("c1", b"x", 5.0) == (None, False)
    known, same = cache.find("c2", b"x", 5.0)
    assert known is not None
    assert (known.reply, same) == (b"r" * 10, True)
    assert cache.find("c2", b"y", 5.0)[1] is False
    cache.begin("big", b"x", 5.0)
    cache.finish("big", b"r" * 95)
    assert len(cache) == 1
    assert cache.expires_at == 15.0
    assert cache.find("big", b"x", 15.0) == (None, False)
    assert cache.expires_at is None


def test_a_forgotten_command_can_be_tried_again() -> None:
    cache = ReplyCache(lifetime_s=10, max_replies=3, max_bytes=100)
    cache.begin("a", b"x", 0.0)
    cache.forget("a")
    cache.forget("a")
    assert cache.find("a", b"x", 0.0) == (None, False)


def test_a_reply_larger_than_the_whole_memory_is_not_kept() -> None:
    cache = ReplyCache(lifetime_s=10, max_replies=3, max_bytes=10)
    cache.begin("a", b"x", 0.0)
    cache.finish("a", b"r" * 11)
    assert len(cache) == 0


def test_a_session_without_a_connection_is_given_up_in_time() -> None:
    sessions = book()
    session = create(sessions)
    session.attach(Link(CONFIGURATION, 0.0, lambda: 0))
    assert sessions.next_deadline() == float("inf")
    session.detach(10.0)
    sessions.lost(session)
    assert sessions.next_deadline() == 130.0
    assert sessions.expire(129.9) == []
    assert sessions.expire(130.0) == [session]
    assert len(sessions) == 0
    assert sessions.next_deadline() == float("inf")


def test_a_session_that_came_back_is_not_given_up_for_its_earlier_loss() -> None:
    sessions = book()
    session = create(sessions)
    token = session.issue_resume_token()
    session.detach(0.0)
    session.lost_at = 0.0
    sessions.lost(session)
    assert sessions.resume(address(), Resume(session=session.id, token=token, last_seq=0), 50.0) is session
    session.attach(Link(CONFIGURATION, 50.0, lambda: 0))
    assert sessions.expire(120.0) == []
    assert sessions.of(address()) is session


def test_a_session_that_is_lost_again_and_again_has_one_entry_and_its_last_time() -> None:
    sessions = book()
    session = create(sessions)
    for moment in range(50):
        session.attach(Link(CONFIGURATION, float(moment), lambda: 0))
        session.detach(float(moment))
        sessions.lost(session)
    assert len(sessions._lost) == 1
    assert sessions.expire(120.0) == []
    assert sessions.next_deadline() == 169.0
    assert sessions.expire(169.0) == [session]


def test_a_device_that_comes_again_and_again_without_a_resume_leaves_no_session_behind() -> None:
    """I41: each holds up to 512 KiB of events, and their time to resume is two minutes."""
    sessions = book()
    former = create(sessions)
    for moment in range(50):
        former.detach(float(moment))
        sessions.lost(former)
        seen, former = weakref.ref(former), create(sessions, now=float(moment))
        assert seen() is None
    assert len(sessions._lost) == 1


def test_sessions_that_end_together_end_a_few_at_a_time() -> None:
    """What their end tells others takes its time, and the loop has media to forward meanwhile."""
    sessions = book()
    for number in range(100):
        session = create(sessions, sub=f"v{number}")
        session.lost_at = 0.0
        sessions.lost(session)
    ended = 0
    while sessions.next_deadline() <= 130.0:
        gone = sessions.expire(130.0)
        assert 0 < len(gone) <= 8
        ended += len(gone)
    assert (ended, len(sessions)) == (100, 0)


def test_replies_outlive_their_session_by_their_own_time_and_too_many_make_room() -> None:
    sessions = book(reply_lifetime_s=300.0, max_sessions=3)
    for number in range(10):
        session = create(sessions, sub=f"v{number}")
        sessions.remember(session.address, "c1", b"digest", b"reply", stored_at=float(number))
        sessions.remove(session)
    assert [known.sub for known in sessions._replies] == ["v4", "v5", "v6", "v7", "v8", "v9"]
    back = create(sessions, sub="v5", now=10.0)
    assert back.kept_reply("c1") is not None
    create(sessions, sub="w", now=306.5)
    assert [known.sub for known in sessions._replies] == ["v5", "v7", "v8", "v9", "w"]
    sessions.remove(back)
    create(sessions, sub="x", now=309.5)
    assert [known.sub for known in sessions._replies] == ["w", "x"]


def test_a_wrong_token_does_not_use_up_the_right_one() -> None:
    session = create(book())
    token = session.issue_resume_token()
    assert not session.accepts_resume("guess", 0, 0.0)
    assert session.accepts_resume(token, 0, 0.0)
    assert not session.accepts_resume(token, 0, 0.0)


def test_no_token_was_issued_and_none_is_accepted() -> None:
    assert not create(book()).accepts_resume("", 0, 0.0)


def test_the_lost_device_of_a_user_makes_room_first_and_else_the_oldest() -> None:
    sessions = book(max_devices=2)
    first, second = create(sessions, "a"), create(sessions, "b")
    first.attach(Link(CONFIGURATION, 0.0, lambda: 0))
    second.attach(Link(CONFIGURATION, 0.0, lambda: 0))
    assert sessions.surplus(address().principal) is first
    second.detach(1.0)
    assert sessions.surplus(address().principal) is second
    assert sessions.surplus(address(sub="ben").principal) is None


def test_the_buffer_keeps_at_most_its_number_of_events_and_bytes() -> None:
    session = create(book(buffered_events=10, buffered_event_bytes=5000))
    for number in range(25):
        session.push_event("x", {"n": number})
    assert session.counters.forgotten_events == 15
    session.push_event("x", {"n": "y" * 4900})
    link = Link(CONFIGURATION, 0.0, lambda: 0)
    session.attach(link)
    data = link.poll_transmit()
    assert data is not None
    assert decode_message(data).seq == 25
    session.push_event("x", {"n": "z" * 6000})
    token = session.issue_resume_token()
    assert not session.accepts_resume(token, 26, 0.0)
    assert session.accepts_resume(token, 27, 0.0)


def test_an_event_that_is_on_its_way_is_not_replaced() -> None:
    session = create(book())
    link = Link(CONFIGURATION, 0.0, lambda: 0)
    session.attach(link)
    session.push_event("x", {"v": 1}, key=("k",))
    assert b'"v":1' in (link.poll_transmit() or b"")
    session.push_event("x", {"v": 2}, key=("k",))
    session.push_event("x", {"v": 3}, key=("k",))
    data = link.poll_transmit()
    assert data is not None
    assert (decode_message(data).seq, decode_message(data).p) == (2, {"v": 3})
    assert link.poll_transmit() is None


@pytest.mark.parametrize(
    "values",
    [{"max_message_bytes": 65_537}, {"heartbeat_ms": 40_000}, {"call_dead_after_s": 4.0}, {"max_inflight": 0}],
    ids=str,
)
def test_a_configuration_that_makes_no_sense_is_refused_at_once(values: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError):
        SignalingConfiguration(**values)  # type: ignore[arg-type]  # int and float fields alike
