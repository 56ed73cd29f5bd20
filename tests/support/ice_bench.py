"""An ICE agent with a hand-made peer on the other side, for tests of single rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from support.virtual_network import Address, seeded_random_bytes
from triortc.engine.ice import IceAgent, IceConfiguration, IceState, host_candidate
from triortc.engine.sdp.candidate import Candidate
from triortc.engine.stun import Integrity, MessageClass, StunMessage, build_message, parse_message
from triortc.engine.stun import attributes as fields
from triortc.engine.stun.attributes import RawAttribute

__all__ = ["BASE", "OTHER", "PASSWORD", "REMOTE", "START", "UFRAG", "Bench", "remote_candidate"]

BASE: Address = ("192.0.2.1", 4000)
REMOTE: Address = ("198.51.100.1", 5000)
OTHER: Address = ("198.51.100.1", 5001)
UFRAG, PASSWORD = "peer", "p" * 22
START = 100.0


class Bench:
    """An agent, and what a peer needs to talk to it."""

    def __init__(self, *, controlling: bool = False, start: bool = True, credentials: bool = True, **numbers: Any):
        self.agent = IceAgent(
            controlling=controlling, configuration=IceConfiguration(**numbers), random_bytes=seeded_random_bytes(5)
        )
        self.agent.add_local_candidate(host_candidate(BASE))
        if credentials:
            self.agent.set_remote_credentials(UFRAG, PASSWORD)
        if start:
            self.agent.start(START)
        self._count = 0

    def request(
        self,
        *,
        nominate: bool = False,
        extra: Sequence[RawAttribute] = (),
        priority: int | None = 1862270975,
        username: str | None = None,
        password: str | None = None,
        integrity: Integrity = Integrity.SHA1,
        role: RawAttribute | None = None,
    ) -> bytes:
        self._count += 1
        listed = [fields.username(username or f"{self.agent.local_ufrag}:{UFRAG}")]
        if priority is not None:
            listed.append(fields.priority(priority))
        if role is not None:
            listed.append(role)
        if nominate:
            listed.append(fields.use_candidate())
        key = (password or self.agent.local_password).encode()
        transaction_id = self._count.to_bytes(12, "big")
        return build_message(
            MessageClass.REQUEST, 1, transaction_id, [*listed, *extra], key=key, integrity=(integrity,)
        )

    def check(self, *, remote: Address = REMOTE, now: float = START, **rest: Any) -> bool:
        """Let the peer send a check."""
        return self.agent.receive(self.request(**rest), BASE, remote, now)

    def sent(self) -> list[tuple[StunMessage, Address]]:
        out = []
        while (datagram := self.agent.poll_transmit()) is not None:
            out.append((parse_message(datagram[0]), datagram[2]))
        return out

    def requests(self) -> list[tuple[StunMessage, Address]]:
        return [(m, remote) for m, remote in self.sent() if m.message_class is MessageClass.REQUEST]

    def answer(
        self,
        request: StunMessage,
        remote: Address,
        *,
        now: float,
        source: Address | None = None,
        mapped: Address = BASE,
        error: int | None = None,
        password: str = PASSWORD,
        extra: Sequence[RawAttribute] = (),
    ) -> bool:
        """Answer one of the agent's checks."""
        listed = [
            fields.xor_mapped_address(mapped, request.transaction_id) if error is None else fields.error_code(error)
        ]
        data = build_message(
            MessageClass.SUCCESS if error is None else MessageClass.ERROR,
            1,
            request.transaction_id,
            [*listed, *extra],
            key=password.encode(),
        )
        return self.agent.receive(data, BASE, source or remote, now)

    def answer_all(self, now: float, *, mute: Sequence[Address] = ()) -> None:
        """Answer the checks that wait, except those to some addresses."""
        for request, remote in self.requests():
            if remote not in mute:
                assert self.answer(request, remote, now=now)

    def pass_time(self, now: float, until: float, *, mute: Sequence[Address] = ()) -> None:
        """Serve timers and answer all checks 10 ms later."""
        while (deadline := self.agent.next_deadline()) is not None and deadline <= until:
            now = max(now, deadline)
            self.agent.handle_timeout(now)
            self.answer_all(now + 0.01, mute=mute)

    def state(self) -> IceState:
        """Return the agent's state, read anew each time."""
        return self.agent.state

    def deadline(self) -> float:
        """Return the agent's next deadline, which there is."""
        deadline = self.agent.next_deadline()
        assert deadline is not None
        return deadline

    def dropped(self, reason: str) -> int:
        return self.agent.statistics.dropped[reason]


def remote_candidate(address: Address = REMOTE, **changes: Any) -> Candidate:
    known = {"foundation": "7", "component": 1, "transport": "udp", "priority": 2130706431, "kind": "host"}
    return Candidate(**{**known, "address": address[0], "port": address[1], **changes})
