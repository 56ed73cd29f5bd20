"""ICE restarts between two whole sessions (RFC 8445 section 9), in virtual time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest

from support.session_host import SessionHost, negotiate
from support.virtual_network import Address, Conditions, VirtualNetwork
from triortc.engine.ice.events import IceState
from triortc.engine.rtp.header import RtpHeader
from triortc.engine.sdp.negotiated import Negotiated
from triortc.engine.session.events import ConnectionState, ConnectionStateChanged
from triortc.engine.session.inbound import InboundStream
from triortc.engine.session.session import Session
from triortc.errors import ConfigurationError

HOME: Address = ("10.0.0.1", 5000)
ABROAD: Address = ("10.0.7.1", 5007)
SERVER: Address = ("10.0.0.2", 6000)
FRAME_S = 0.02


class Call:
    """A client that sends video all the time, and a server that counts what it receives."""

    def __init__(self, *, seed: int = 1, loss: float = 0.0) -> None:
        self.network = VirtualNetwork(seed=seed, conditions=Conditions(delay_s=0.02, loss=loss))
        self.client = SessionHost(2 * seed, HOME, controlling=True)
        self.server = SessionHost(2 * seed + 1, SERVER, controlling=False)
        self.network.attach(self.client, HOME, ABROAD)
        self.network.attach(self.server, SERVER)
        self.received: list[float] = []
        self.sent = 0
        self.server.session.media.on_stream = self._on_stream
        self.agreed: tuple[Negotiated, Negotiated] = negotiate(
            self.client.session, self.server.session, self.network.now
        )
        assert self.network.run_until(lambda: all(session.media.secured for session in self.sessions), timeout_s=10)

    @property
    def sessions(self) -> tuple[Session, Session]:
        return (self.client.session, self.server.session)

    def _on_stream(self, stream: InboundStream) -> None:
        def deliver(
            stream: InboundStream, header: RtpHeader, packet: memoryview, payload: memoryview, now: float
        ) -> None:
            self.received.append(now)

        stream.deliver = deliver

    def talk(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        stream = self.client.session.media.outbound("video")
        assert stream is not None
        end = self.network.now + seconds
        while self.network.now < end and not until():
            number = (stream.first_sequence_number + self.sent) & 0xFFFF
            stream.send(True, 96, number, 3000 * self.sent, b"", b"\x10\x01" + bytes(200), self.network.now)
            self.sent += 1
            self.network.run_for(FRAME_S)

    def restart(self) -> None:
        self.agreed = negotiate(self.client.session, self.server.session, self.network.now, previous=self.agreed)

    def longest_gap_s(self, since: float) -> float:
        return max(after - before for before, after in pairwise(time for time in self.received if time >= since))


def states(host: SessionHost) -> list[ConnectionState]:
    return [event.state for event in host.events if isinstance(event, ConnectionStateChanged)]


@pytest.mark.parametrize("seed", range(6))
def test_rfc_8445_9_media_goes_on_over_the_old_pair_until_the_new_one_is_nominated(seed: int) -> None:
    call = Call(seed=seed)
    call.talk(1)
    before = [session.local_credentials() for session in call.sessions]
    agents, handshakes = [session.ice for session in call.sessions], [session.dtls for session in call.sessions]
    call.client.session.add_host_candidate(ABROAD)
    began = call.network.now
    call.restart()
    assert [session.ice for session in call.sessions] == agents, "nothing is better yet"
    call.talk(2)
    assert len(call.received) >= call.sent - 2, "no more is missing than is under way"
    assert call.longest_gap_s(began) < 2 * FRAME_S
    for session, agent, handshake, credentials in zip(call.sessions, agents, handshakes, before, strict=True):
        assert session.ice is not agent
        assert (session.ice.nominated, agent.state, session.dtls) == (True, IceState.CLOSED, handshake)
        assert session.local_credentials() != credentials
    assert states(call.client)[-1] is states(call.server)[-1] is ConnectionState.CONNECTED


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("loss", [0.0, 0.15])
def test_a_device_in_another_network_is_back_after_some_round_trips(seed: int, loss: float) -> None:
    """Without a handshake: the keys are those of before (RFC 8842 section 4)."""
    call = Call(seed=seed, loss=loss)
    call.client.session.add_host_candidate(ABROAD)
    call.talk(1)
    call.network.block(HOME[0], SERVER[0])
    call.talk(1)
    lost_at = call.network.now
    call.restart()
    heard = len(call.received)
    call.talk(5, until=lambda: len(call.received) > heard)
    assert call.network.now - lost_at <= (0.5 if loss == 0 else 3.0)
    call.talk(2)
    assert call.server.session.path == (SERVER, ABROAD)
    assert [session.state for session in call.sessions] == [ConnectionState.CONNECTED] * 2


def test_a_restart_that_finds_no_way_changes_nothing_and_the_next_one_may() -> None:
    call = Call()
    server = call.server.session
    agent = server.ice
    mine, theirs = call.agreed
    server.prepare_ice_restart()
    elsewhere = tuple(replace(candidate, address="10.9.9.9") for candidate in theirs.remote_candidates)
    refused = replace(
        theirs, remote_ufrag="other", remote_password="o" * 22, remote_candidates=elsewhere, ice_restart=True
    )
    server.set_remote(refused, call.network.now)
    described = server.local_credentials()
    call.talk(60)
    assert server.ice is agent
    assert server.local_credentials() == described, "what was agreed on is what a later description repeats"
    assert states(call.server)[-1] is ConnectionState.CONNECTED
    assert len(call.received) >= call.sent - 2
    call.agreed = (mine, refused)
    call.restart()
    call.talk(2)
    assert server.ice is not agent
    assert (server.ice.nominated, len(call.received) >= call.sent - 2) == (True, True)


def test_rfc_7675_5_1_nothing_is_sent_without_consent_while_a_restart_looks_for_a_way() -> None:
    """The restart begins as the old pair dies, and its way opens long after the consent of the old one has ended."""
    call = Call()
    server = call.server.session
    call.talk(1)
    call.network.block(HOME[0], SERVER[0])
    call.network.block(ABROAD[0], SERVER[0])
    call.client.session.add_host_candidate(ABROAD)
    call.talk(22)  # of the 30 s that consent lasts
    call.restart()
    call.talk(9)
    assert (server.path, server.state, server.ice.selected) == (None, ConnectionState.DISCONNECTED, None)
    call.network.unblock(ABROAD[0], SERVER[0])
    call.talk(15)  # a check that has had no answer is repeated more and more seldom
    assert server.path == (SERVER, ABROAD)
    assert states(call.server)[-2:] == [ConnectionState.DISCONNECTED, ConnectionState.CONNECTED]


def test_where_neither_generation_has_a_way_the_connection_has_failed() -> None:
    call = Call()
    call.network.block(HOME[0], SERVER[0])
    call.talk(20)
    call.restart()
    call.talk(60)
    assert [session.state for session in call.sessions] == [ConnectionState.FAILED] * 2
    with pytest.raises(ConfigurationError, match="open a new one"):
        call.server.session.prepare_ice_restart()


def test_a_restart_that_is_overtaken_by_another_leaves_two_agents() -> None:
    call = Call()
    call.network.block(HOME[0], SERVER[0])
    for _ in range(20):
        call.restart()
        assert [len(session.local_ufrags) for session in call.sessions] == [2, 2]
    call.network.unblock(HOME[0], SERVER[0])
    call.talk(2)
    assert [len(session.local_ufrags) for session in call.sessions] == [1, 1]
    assert [session.state for session in call.sessions] == [ConnectionState.CONNECTED] * 2


def test_checks_of_the_new_generation_may_come_before_its_answer() -> None:
    call = Call()
    client, server = call.client.session, call.server.session
    client.prepare_ice_restart()
    server.prepare_ice_restart()
    mine, theirs = call.agreed
    coming, password = client.local_credentials(restart=True)
    server.set_remote(
        replace(theirs, remote_ufrag=coming, remote_password=password, ice_restart=True), call.network.now
    )
    call.talk(0.2)
    assert client.ice.local_ufrag != coming
    ufrag, password = server.local_credentials()
    client.set_remote(replace(mine, remote_ufrag=ufrag, remote_password=password, ice_restart=True), call.network.now)
    call.talk(0.5)
    assert (client.ice.local_ufrag, client.ice.nominated, server.ice.local_ufrag) == (coming, True, ufrag)
    assert len(call.received) >= call.sent - 2


def test_new_credentials_that_nobody_has_prepared_for_are_an_embedder_s_mistake() -> None:
    call = Call()
    _, theirs = call.agreed
    with pytest.raises(ConfigurationError, match="prepare_ice_restart"):
        call.server.session.set_remote(replace(theirs, remote_ufrag="other", ice_restart=True), call.network.now)
    call.talk(1)
    assert call.server.session.state is ConnectionState.CONNECTED
