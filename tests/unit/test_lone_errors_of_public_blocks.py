"""What a block raises leaves the engine's context managers as it is: their nurseries are nobody's business."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
import trio

import triortc
from support.peers import LOOPBACK
from triortc.codecs.recording import open_recording
from triortc.codecs.recording_track import RecorderTrack
from triortc.codecs.threads import CodecThreads
from triortc.engine.endpoint import open_endpoint


def engine(path: Path, port: int = 0) -> AbstractAsyncContextManager[Any]:
    server = triortc.ServerConfiguration(host="127.0.0.1", port=port, development=True)
    return triortc.open_engine(triortc.EngineConfiguration(server, triortc.MediaConfiguration(LOOPBACK.endpoint)))


def recording(path: Path) -> AbstractAsyncContextManager[Any]:
    track = RecorderTrack("sound", "opus")
    return open_recording(path / "r.mkv", [track], started_at_s=trio.current_time(), threads=CodecThreads(1))


OPENERS: dict[str, Callable[[Path], AbstractAsyncContextManager[Any]]] = {
    "engine": engine,
    "peer connection": lambda _: triortc.open_peer_connection(LOOPBACK),
    "endpoint": lambda _: open_endpoint(LOOPBACK.endpoint),
    "recording": recording,
}


@pytest.mark.parametrize("opener", OPENERS.values(), ids=OPENERS)
async def test_an_error_of_the_block_comes_out_by_itself(
    opener: Callable[[Path], AbstractAsyncContextManager[Any]], tmp_path: Path
) -> None:
    async def use() -> None:
        async with opener(tmp_path):
            with trio.fail_after(0):
                await trio.sleep_forever()

    with pytest.raises(trio.TooSlowError):
        await use()


@pytest.mark.parametrize("opener", OPENERS.values(), ids=OPENERS)
async def test_a_group_of_the_block_stays_a_group(
    opener: Callable[[Path], AbstractAsyncContextManager[Any]], tmp_path: Path
) -> None:
    with pytest.raises(ExceptionGroup):
        async with opener(tmp_path):
            raise ExceptionGroup("of the block", [ValueError("a")])


@pytest.mark.parametrize("opener", OPENERS.values(), ids=OPENERS)
async def test_a_cancelled_block_is_cancelled(
    opener: Callable[[Path], AbstractAsyncContextManager[Any]], tmp_path: Path
) -> None:
    with trio.CancelScope() as scope:
        async with opener(tmp_path):
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught


async def test_an_engine_whose_port_is_taken_says_so_in_no_group(tmp_path: Path) -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        with pytest.raises(OSError, match="in use"):
            async with engine(tmp_path, listener.socket.getsockname()[1]):
                pytest.fail("the port is taken")
