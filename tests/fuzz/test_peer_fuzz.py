"""Hostile descriptions and packets at a peer connection: errors are SdpError, packets never raise."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from random import Random

import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from support.peers import LOOPBACK, exchange
from triortc import RtcSessionDescription, SdpError, open_peer_connection
from triortc.codecs.registry import H264, OPUS, PCMU, VP8, Codec, MediaKind
from triortc.engine.dtls.certificate import Certificate
from triortc.engine.jitter.configuration import AudioJitterConfiguration, VideoJitterConfiguration
from triortc.engine.peer.playout import AudioPlayout, Playout, VideoPlayout
from triortc.engine.rtp.header import build_header, parse_header
from triortc.engine.sdp.negotiated import NegotiatedCodec, NegotiatedMedia
from triortc.engine.session.inbound import InboundStream
from triortc.engine.streams.configuration import KeyframeConfiguration, NackConfiguration

CONFIGURATION = replace(LOOPBACK, certificate=Certificate.generate(valid_from=datetime(2026, 1, 1, tzinfo=UTC)))
CODECS: dict[MediaKind, tuple[Codec, Codec]] = {"audio": (OPUS, PCMU), "video": (VP8, H264)}


def damage(text: str, seed: int) -> str:
    """Change a few characters, drop, double or swap a few lines."""
    random = Random(seed)
    lines = text.split("\r\n")
    for _ in range(random.randint(1, 4)):
        at = random.randrange(len(lines) - 1)
        match random.randrange(4):
            case 0:
                del lines[at]
            case 1:
                lines.insert(at, random.choice(lines))
            case 2:
                lines[at] = lines[at][: random.randrange(len(lines[at]) + 1)]
            case _:
                line = lines[at]
                where = random.randrange(len(line) + 1)
                lines[at] = line[:where] + chr(random.randrange(32, 127)) + line[where + 1 :]
    return "\r\n".join(lines)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), answers=st.booleans())
def test_a_damaged_description_is_refused_by_an_sdp_error_or_understood(seed: int, answers: bool) -> None:
    async def attempt() -> None:
        async with (
            open_peer_connection(CONFIGURATION) as ours,
            open_peer_connection(CONFIGURATION) as peer,
        ):
            for connection in (ours, peer):
                connection.add_transceiver("audio")
                connection.add_transceiver("video")
            if answers:
                peer.set_remote_description(ours.set_local_description())
                description = peer.set_local_description()
            else:
                description = peer.set_local_description()
            damaged = RtcSessionDescription(description.type, damage(description.sdp, seed))
            with suppress(SdpError):
                ours.set_remote_description(damaged)
                if not answers:
                    ours.set_local_description()
            ours.get_stats()
            await trio.lowlevel.checkpoint()

    trio.run(attempt)


def playout_of(kind: MediaKind) -> Playout:
    codecs = tuple(NegotiatedCodec(codec, codec, 96 + n) for n, codec in enumerate(CODECS[kind]))
    section = NegotiatedMedia(kind, "0", 0, "sendrecv", codecs)
    stream = InboundStream(1, section, 96, NackConfiguration(), KeyframeConfiguration())
    if kind == "audio":
        return AudioPlayout(stream, AudioJitterConfiguration())
    return VideoPlayout(stream, VideoJitterConfiguration())


packets = st.tuples(
    st.integers(94, 98),
    st.one_of(st.integers(0, 30), st.integers(0, 65535)),
    st.one_of(st.integers(0, 30).map(lambda n: 960 * n), st.integers(0, 2**32 - 1)),
    st.booleans(),
    st.binary(max_size=40),
    st.floats(0, 0.1),
)


@settings(max_examples=150, deadline=None)
@given(kind=st.sampled_from(["audio", "video"]), sent=st.lists(packets, max_size=40))
def test_any_packets_give_frames_or_nothing_and_the_timer_always_moves_on(
    kind: MediaKind, sent: list[tuple[int, int, int, bool, bytes, float]]
) -> None:
    playout, now = playout_of(kind), 1000.0
    for payload_type, number, timestamp, marker, payload, wait_s in sent:
        now += wait_s
        header = parse_header(
            build_header(payload_type=payload_type, sequence_number=number, timestamp=timestamp, ssrc=1, marker=marker)
        )
        assert header is not None
        playout.insert(header, memoryview(payload), now)
        turns = 0
        while (deadline := playout.next_deadline()) is not None and deadline <= now:
            playout.handle_timeout(now)
            turns += 1
            assert turns < 3, "a deadline that stays in the past would keep the timer busy for ever"
        playout.poll_keyframe_needed()
        while (received := playout.poll_frame()) is not None:
            assert received.lost == (not received.frame.data)


def test_undamaged_descriptions_connect() -> None:
    async def attempt() -> None:
        async with open_peer_connection(CONFIGURATION) as ours, open_peer_connection(CONFIGURATION) as peer:
            ours.add_transceiver("audio")
            exchange(ours, peer)
            with trio.fail_after(10):
                await ours.connected()

    trio.run(attempt)
