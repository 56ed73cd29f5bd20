"""What goes wrong alone inside a public block is caught by its own name, whatever nurseries the block has."""

from __future__ import annotations

import gc
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio

import triortc
from support.peers import LOOPBACK
from triortc.lone_errors import raises_lone_errors


@raises_lone_errors
@asynccontextmanager
async def block(*, background: type[Exception] | None = None, opening: bool = False) -> AsyncGenerator[str]:
    """Two nurseries deep."""

    async def fail() -> None:
        try:
            await trio.sleep_forever()
        finally:
            if background is not None:
                raise background("in the background")

    async with trio.open_nursery(), trio.open_nursery() as nursery:
        nursery.start_soon(fail)
        if opening:
            raise OSError("while it was opened")
        await trio.lowlevel.checkpoint()
        yield "opened"
        nursery.cancel_scope.cancel()


async def test_an_error_of_the_block_comes_as_it_was_raised() -> None:
    raised = KeyError("mine")
    with pytest.raises(KeyError) as caught:
        async with block():
            raise raised
    assert caught.value is raised


async def test_an_error_while_opening_comes_alone() -> None:
    with pytest.raises(OSError, match="while it was opened"):
        async with block(opening=True):
            pass


async def test_an_error_in_the_background_comes_alone_and_several_stay_a_group() -> None:
    with pytest.raises(ZeroDivisionError):
        async with block(background=ZeroDivisionError):
            pass
    with pytest.RaisesGroup(KeyError, ZeroDivisionError):
        async with block(background=ZeroDivisionError):
            raise KeyError


async def test_a_group_that_the_block_raised_itself_stays_one() -> None:
    mine = ExceptionGroup("mine", [KeyError()])
    with pytest.raises(ExceptionGroup) as caught:
        async with block():
            raise mine
    assert caught.value.message == "mine"
    assert [type(error) for error in caught.value.exceptions] == [KeyError]


async def test_cancellation_passes() -> None:
    with trio.move_on_after(0) as scope:
        async with block():
            await trio.sleep_forever()
    assert scope.cancelled_caught


async def test_an_error_does_not_keep_the_block_alive() -> None:
    class Thing:
        alive = 0

        def __init__(self) -> None:
            Thing.alive += 1

        def __del__(self) -> None:
            Thing.alive -= 1

    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            thing = Thing()
            with pytest.raises(KeyError):
                async with block():
                    raise KeyError(thing)
            del thing
        gc.collect()
        assert Thing.alive == 0
    finally:
        gc.enable()


async def test_who_awaits_a_connection_in_its_block_catches_the_error_outside() -> None:
    async def forget_to_negotiate() -> None:
        async with triortc.open_peer_connection(LOOPBACK) as connection:
            connection.close()
            await connection.connected()

    with pytest.raises(triortc.ConnectionClosedError):
        await forget_to_negotiate()


async def test_an_error_in_an_engines_block_comes_as_it_was_raised() -> None:
    configuration = triortc.EngineConfiguration(
        triortc.ServerConfiguration(port=0, development=True),
        triortc.MediaConfiguration(endpoint=triortc.EndpointConfiguration(media_host=("127.0.0.1",))),
    )
    with pytest.raises(KeyError, match="mine"):
        async with triortc.open_engine(configuration):
            raise KeyError("mine")
