"""The server's end of the stream to a media process that is slow, silent, mad or dead. Virtual time."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from support.media_ports import MEDIA
from support.sdp import make_offer
from triortc.engine.calls.media_events import (
    MediaCrashed,
    MediaEvent,
    MediaLost,
    OfferAnswered,
    OfferRefused,
)
from triortc.engine.endpoint_configuration import EndpointConfiguration
from triortc.engine.relay.gate import GateState
from triortc.engine.udp import UdpSocket
from triortc.engine.workers.configuration import WorkerConfiguration
from triortc.engine.workers.framing import frame
from triortc.engine.workers.media_server import serve_media
from triortc.engine.workers.message_stream import MessageStream
from triortc.engine.workers.messages import (
    CloseLeg,
    Configure,
    OpenLeg,
    Ready,
    Status,
    decode_request,
    encode,
    happened,
)
from triortc.engine.workers.remote_legs import RemoteLegs
from triortc.errors import CallError, ConfigurationError, ProtocolError

SETTINGS = WorkerConfiguration(count=1)


@dataclass
class Far:
    """The far end as the test plays it."""

    remote: RemoteLegs
    stream: trio.StapledStream[trio.testing.MemorySendStream, trio.testing.MemoryReceiveStream]
    events: list[MediaEvent]
    reasons: list[str]
    over: trio.Event

    async def say(self, *messages: bytes) -> None:
        for message in messages:
            await self.stream.send_all(frame(message, 1 << 24))
        await trio.testing.wait_all_tasks_blocked()


@asynccontextmanager
async def far_end(settings: WorkerConfiguration = SETTINGS) -> AsyncGenerator[Far]:
    near, far = trio.testing.memory_stream_pair()
    events: list[MediaEvent] = []
    remote = RemoteLegs("media worker 0", MEDIA, settings, events.append)
    played = Far(remote, far, events, [], trio.Event())

    async def run() -> None:
        played.reasons.append(await remote.run(near, trio.Event()))
        played.over.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(remote.keep_deadlines)
        nursery.start_soon(run)
        yield played
        nursery.cancel_scope.cancel()


READY = encode(Ready(7, (("127.0.0.1", 4000),), {}))


async def test_an_offer_that_is_never_answered_is_refused_in_words_and_a_late_answer_dropped(
    autojump_clock: MockClock,
) -> None:
    async with far_end() as far:
        far.remote.open_leg("s", "l", "agent")
        far.remote.answer("l", 1, "v=0")
        await trio.sleep(1.0)
        far.remote.answer("l", 2, "v=0")
        await trio.sleep(4.1)
        words = "media worker 0 has not answered within 5 s"
        assert far.events == [OfferRefused("l", 1, "failed", words)]
        await far.say(READY, encode(happened(OfferAnswered("l", 1, "too late"))))
        await far.say(encode(happened(OfferAnswered("l", 2, "in time"))))
        assert far.events[1:] == [OfferAnswered("l", 2, "in time")]


async def test_a_process_that_falls_silent_is_given_up(autojump_clock: MockClock) -> None:
    async with far_end() as far:
        await far.say(READY)
        for _ in range(20):
            await trio.sleep(9.0)
            await far.say(encode(Status({}, {})))
        assert not far.over.is_set()
        with trio.fail_after(11.5):
            await far.over.wait()
        assert far.reasons == ["media worker 0 has said nothing for 10 s"]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\xff\xff\xff\xff", "announced"),
        (bytes(4), "announced"),
        (frame(b"\xc1", 9), "cannot be read"),
        (frame(encode(OpenLeg("s", "l", "agent")), 99), "cannot be read"),
    ],
    ids=["too long", "empty", "no MessagePack", "a request for a report"],
)
async def test_a_process_that_talks_nonsense_is_given_up(data: bytes, words: str) -> None:
    async with far_end() as far:
        await far.stream.send_all(data)
        with trio.fail_after(5.0):
            await far.over.wait()
        assert words in far.reasons[0]


async def test_a_stream_that_ends_inside_a_message_is_no_end_that_was_meant() -> None:
    async with far_end() as far:
        await far.stream.send_all(b"\x00\x00")
        await far.stream.send_eof()
        with trio.fail_after(5.0):
            await far.over.wait()
        assert "inside a message" in far.reasons[0]


async def test_what_was_lost_is_told_offers_first_and_nothing_is_sent_any_more() -> None:
    async with far_end() as far:
        far.remote.open_leg("s1", "a", "agent")
        far.remote.open_leg("s2", "b", "agent")
        far.remote.answer("a", 1, "v=0")
        stills: list[str] = []

        async def still() -> None:
            try:
                await far.remote.snapshot("s1", "agent")
            except CallError as error:
                stills.append(str(error))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(still)
            await trio.testing.wait_all_tasks_blocked()
            far.remote.lost("it died")
        assert stills == ["it died"]
        assert far.events == [
            OfferRefused("a", 1, "failed", "it died; offer again"),
            MediaLost("s1", "it died"),
            MediaLost("s2", "it died"),
        ]
        assert far.remote.legs == 0


async def test_a_process_that_does_not_read_is_given_up_and_memory_stays_bounded() -> None:
    settings = replace(SETTINGS, max_waiting_bytes=20_000)
    near, _ = trio.testing.lockstep_stream_pair()
    remote = RemoteLegs("media worker 0", MEDIA, settings, lambda event: None)
    reasons: list[str] = []

    async def run() -> None:
        reasons.append(await remote.run(near, trio.Event()))

    with trio.fail_after(5.0):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            await trio.testing.wait_all_tasks_blocked()
            remote.open_leg("s", "l", "agent")
            for neg in range(1, 10):
                remote.answer("l", neg, "v=0" * 1000)
            nursery.start_soon(near.receive_stream.aclose)
    assert reasons


# --- the far end, for real


@asynccontextmanager
async def served() -> AsyncGenerator[tuple[trio.abc.Stream, list[BaseException]]]:
    near, far = trio.testing.memory_stream_pair()
    errors: list[BaseException] = []

    async def serve() -> None:
        try:
            await serve_media(far)
        except* ProtocolError as found:
            errors.extend(found.exceptions)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        yield near, errors
        await near.aclose()


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xff\xff\xff",
        frame(b"\xc1", 9),
        frame(encode(CloseLeg("l")), 99),
        frame(encode(Configure(MEDIA)), 1 << 20) + b"\x7f\xff\xff\xff",
        frame(encode(Configure(MEDIA)), 1 << 20) + frame(b"\x80", 9),
    ],
    ids=["too long", "no MessagePack", "not configured", "too long later", "no request later"],
)
async def test_a_server_that_talks_nonsense_is_left_and_nothing_stays_behind(data: bytes) -> None:
    async with served() as (near, errors):
        await near.send_all(data)
        with trio.fail_after(5.0):
            while await near.receive_some():
                pass
        await trio.testing.wait_all_tasks_blocked()
        assert errors, "it is told to who started the process"


async def test_a_server_that_ends_before_it_says_anything_is_no_error() -> None:
    async with served() as (near, errors):
        await near.aclose()
    assert errors == []


async def test_a_port_that_is_taken_is_told_as_an_os_error_with_the_worker_s_name() -> None:
    taken = UdpSocket("127.0.0.1", 0, buffer_bytes=4096)
    try:
        media = replace(MEDIA, endpoint=EndpointConfiguration(media_host=("127.0.0.1",), media_port=taken.address[1]))
        near, far = trio.testing.memory_stream_pair()
        remote = RemoteLegs("media worker 3", media, SETTINGS, lambda event: None)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve_media, far)
            with pytest.raises(OSError, match="media worker 3"):
                await remote.run(near, trio.Event())
            await near.aclose()
    finally:
        taken.close()


async def test_a_configuration_that_cannot_be_is_told_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("triortc.engine.endpoint.local_addresses", lambda *, loopback: [])
    media = replace(MEDIA, endpoint=EndpointConfiguration())
    near, far = trio.testing.memory_stream_pair()
    remote = RemoteLegs("media worker 3", media, SETTINGS, lambda event: None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_media, far)
        with pytest.raises(ConfigurationError, match="media worker 3"):
            await remote.run(near, trio.Event())
        await near.aclose()


async def test_V44_a_request_that_fails_in_the_process_is_told_with_its_session_and_the_others_go_on(  # noqa: N802
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("it is broken, as the test wants it")

    monkeypatch.setattr("triortc.engine.calls.legs.LegManager.set_gate", broken)
    near, far = trio.testing.memory_stream_pair()
    events: list[MediaEvent] = []
    remote = RemoteLegs("media worker 0", MEDIA, SETTINGS, events.append)
    started = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_media, far)
        nursery.start_soon(remote.run, near, started)
        await started.wait()
        remote.open_leg("s", "l", "agent")
        remote.set_gate("s", "l", "video", GateState.OPEN, 1)
        remote.answer("l", 1, str(make_offer("audio", "video")))
        with trio.fail_after(5.0):
            while len(events) < 2:
                await trio.testing.wait_all_tasks_blocked(0.01)
        assert isinstance(events[0], MediaCrashed)
        assert events[0].session == "s"
        assert "SetGate failed" in events[0].reason
        assert isinstance(events[1], OfferAnswered)
        nursery.cancel_scope.cancel()


async def test_requests_wait_in_order_behind_the_configuration_until_there_is_a_stream() -> None:
    near, far = trio.testing.memory_stream_pair()
    remote = RemoteLegs("media worker 0", MEDIA, SETTINGS, lambda event: None)
    remote.open_leg("s", "l", "agent")
    remote.close_leg("l")
    messages = MessageStream(1 << 20, 1 << 20)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(remote.run, near, trio.Event())
        async with aclosing(messages.read(far)) as requests:
            found = [decode_request(await anext(requests)) for _ in range(3)]
        assert isinstance(found[0], Configure)
        assert found[1:] == [OpenLeg("s", "l", "agent"), CloseLeg("l")]
        nursery.cancel_scope.cancel()
