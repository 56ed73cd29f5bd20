"""What may be said twice: the second time it changes nothing, and is answered as the first (idempotency 2 to 8)."""

from __future__ import annotations

import pytest

from support.calls import House
from triortc.engine.calls.commands import (
    CallAccept,
    CallCancel,
    CallDecline,
    CallHangup,
    ConversationClose,
    DeviceUpdate,
    PresenceSet,
    RingAck,
    RingOpened,
)


@pytest.fixture
def house() -> House:
    return House()


def test_idempotency_2_accept_again_by_the_winner(house: House) -> None:
    desk, vic = house.agent(), house.visitor()
    session = house.request(vic).session
    first = house.ok(desk, CallAccept(session))
    assert house.ok(desk, CallAccept(session)) == first
    assert house.world.rows_taken["V11"] == 1


def test_idempotency_3_ending_what_has_ended(house: House) -> None:
    desk, vic = house.agent(), house.visitor()
    session, _, _ = house.active(vic, desk)
    house.ok(vic, CallHangup(session))
    for actor, command in (
        (vic, CallHangup(session)),
        (vic, CallCancel(session)),
        (desk, CallHangup(session)),
        (desk, CallDecline(session)),
    ):
        reply = house.ok(actor, command)
        assert (reply.already_ended, reply.outcome) == (True, "completed")
    assert house.appended[session] == 1


def test_idempotency_5_6_7_and_8(house: House) -> None:
    desk, vic = house.agent(), house.visitor()
    session = house.request(vic).session
    ring = house.ring(desk)
    house.ok(desk, RingAck(ring))
    house.ok(desk, RingAck(ring))
    assert house.ok(desk, RingOpened(ring)) == house.ok(desk, RingOpened(ring))
    house.ok(desk, CallDecline(session))
    house.ok(desk, ConversationClose("cv_1"))
    house.ok(desk, ConversationClose("cv_1"))
    house.forget_told()
    status = house.ok(desk, PresenceSet("chat", "available"))
    assert status.declared == "available"
    assert house.inbox == {}
    house.ok(desk, DeviceUpdate(name="Desk"))
    house.ok(desk, DeviceUpdate(app_state="background"))
    assert desk.address is not None
    assert house.world.devices[desk.address].information.name == "Desk"
