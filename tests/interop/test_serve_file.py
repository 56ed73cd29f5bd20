"""`triortc serve --config` as people run it: a process, its certificate, its tokens, its signals."""

from __future__ import annotations

import json
import signal
from functools import partial
from pathlib import Path

import pytest
import trio

from support.served_file import KEY, OTHER_KEY, served, token, write_certificate, write_keys
from triortc.signaling.client import ClientDevice, CommandError, open_signal_client
from triortc.signaling.webtransport.client import connect_webtransport


async def test_a_file_serves_both_transports_and_reads_its_files_again_at_sighup(tmp_path: Path) -> None:
    first = write_certificate(tmp_path)
    async with served(tmp_path) as server, server.client("ana", "d1", first) as ana:
        assert ana.welcome["p"] == "triortc.v1"
        url = f"https://127.0.0.1:{server.port}/v1/signal?p=triortc.v1"
        webtransport = partial(connect_webtransport, url, trusted_pem=first.pem)
        async with open_signal_client(webtransport, token=token("ben", "d2"), device=ClientDevice("d2")) as ben:
            assert ben.welcome["p"] == "triortc.v1"
        with pytest.raises(CommandError) as error:
            async with server.client("eve", "d3", first, kid="b", key=OTHER_KEY):
                pass
        assert error.value.code == "auth.invalid"

        second = write_certificate(tmp_path)
        write_keys(tmp_path, a=KEY, b=OTHER_KEY)
        (tmp_path / "revoked.json").write_text('{"revocations": [{"org": "acme", "sub": "ana"}]}')
        assert server.shown_certificate() == first.pem
        server.process.send_signal(signal.SIGHUP)
        await server.said("were read again")
        assert server.shown_certificate() == second.pem
        await ana.ended()
        assert ana.closed is not None
        assert ana.closed[0] == 4403
        async with server.client("eve", "d3", second, kid="b", key=OTHER_KEY) as eve:
            assert eve.welcome["resumed"] is False
        with pytest.raises(CommandError):
            async with server.client("ana", "d1", second):
                pass

        (tmp_path / "key.pem").write_text("nonsense")
        server.process.send_signal(signal.SIGHUP)
        assert "key.pem" in json.loads(await server.said("not read again"))["message"]
        assert server.shown_certificate() == second.pem


async def test_sigterm_drains_and_a_server_without_calls_is_gone_at_once(tmp_path: Path) -> None:
    certificate = write_certificate(tmp_path)
    async with served(tmp_path, drain_s=60) as server, server.client("ana", "d1", certificate) as ana:
        server.process.send_signal(signal.SIGTERM)
        assert (await ana.event("server.draining")).p == {"deadline_ms": 60_000}
        await ana.ended()
        assert ana.closed is not None
        assert ana.closed[0] == 1012
        with trio.fail_after(10):
            assert await server.process.wait() == 0
        assert json.loads(await server.said("drained"))["level"] == "info"
