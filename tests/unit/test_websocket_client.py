"""The WebSocket channel of Python's own clients: what goes wrong comes as it is documented."""

from __future__ import annotations

import socket
from functools import partial

import pytest

from support.signaling_house import open_signaling_house
from triortc.signaling.channel import ChannelClosedError
from triortc.signaling.client import ClientDevice, connect_websocket, open_signal_client


async def connect(url: str) -> None:
    async with connect_websocket(url):
        pytest.fail("nobody is there")


async def test_a_server_that_refuses_or_is_not_there_is_a_closed_channel() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(ChannelClosedError):
            await connect(f"ws://127.0.0.1:{taken.getsockname()[1]}/v1/signal")
    async with open_signaling_house("websocket") as house:
        with pytest.raises(ChannelClosedError):
            await connect(house.server.signal_url + "/nowhere")


async def test_what_a_client_s_block_raises_comes_as_it_was_raised() -> None:
    async with open_signaling_house("websocket") as house:
        assert house.server.issuer is not None
        token = house.server.issuer.issue(role="visitor", sub="lea", did="d")
        channel = partial(connect_websocket, house.server.signal_url)

        async def use() -> None:
            async with open_signal_client(channel, token=token, device=ClientDevice("d", "web")):
                raise KeyError("mine")

        with pytest.raises(KeyError, match="mine"):
            await use()

        async def speak_out_of_turn() -> None:
            async with connect_websocket(house.server.signal_url) as spoken:
                await spoken.send(b"{}")
                while True:
                    await spoken.receive()

        with pytest.raises(ChannelClosedError, match="the first message is hello"):
            await speak_out_of_turn()
