"""Replies that wait for the media side's answer, and what their devices are told only behind them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from triortc.engine.calls.actor import DeviceAddress
from triortc.engine.calls.notifications import Notification
from triortc.engine.calls.replies import (
    AcceptedPayload,
    CallFault,
    CallRequestedPayload,
    EmptyPayload,
    HandoffPayload,
    JoinedPayload,
    Ok,
    Reply,
    SdpAnswerPayload,
)

__all__ = ["HeldReplies", "with_answer"]

_WITH_ANSWER: Final = (CallRequestedPayload, AcceptedPayload, JoinedPayload, HandoffPayload)


def with_answer(reply: Reply, answer: Reply | None) -> Reply:
    """Put the answer to the command's offer into its reply; an offer that cannot be answered makes it a fault."""
    if answer is None or isinstance(reply, CallFault):
        return reply
    if isinstance(answer, CallFault) or isinstance(reply.payload, EmptyPayload):
        return answer
    payload = reply.payload
    if isinstance(payload, _WITH_ANSWER) and isinstance(answer.payload, SdpAnswerPayload):
        return Ok(msgspec.structs.replace(payload, answer=answer.payload.answer))
    return reply


@dataclass(slots=True, eq=False)
class _Held:
    """A reply without its answer."""

    reply: Reply
    on_reply: Callable[[Reply], None] | None
    answer: Reply | None = None


class HeldReplies:
    """Keeps a device's replies and notifications in their order while the media side works on an answer elsewhere.

    Whoever holds a reply sees to it that `answered` is called in bounded time: the media port has deadlines.

    Arguments:
        tell: hands a notification over to the device's connection.
    """

    def __init__(self, tell: Callable[[DeviceAddress, Notification], None]) -> None:
        self._tell = tell
        self._queues: dict[DeviceAddress | None, deque[_Held | Notification]] = {}
        self._waiting: dict[tuple[str, int], tuple[DeviceAddress | None, _Held]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def hold(
        self,
        address: DeviceAddress | None,
        leg: str,
        neg: int,
        reply: Reply,
        on_reply: Callable[[Reply], None] | None,
    ) -> None:
        """Keep a reply until offer `neg` of the leg is answered.

        Arguments:
            address: the device that gets the reply; what it is told meanwhile waits behind it.
            leg, neg: which offer.
            reply: what call control has decided.
            on_reply: gets the whole reply.
        """
        held = _Held(reply, on_reply)
        self._waiting[leg, neg] = (address, held)
        self._queues.setdefault(address, deque()).append(held)

    def notify(self, address: DeviceAddress, notification: Notification) -> None:
        """Tell a device something, behind the replies that it waits for."""
        queue = self._queues.get(address)
        if queue is None:
            self._tell(address, notification)
        else:
            queue.append(notification)

    def answered(self, leg: str, neg: int, answer: Reply) -> bool:
        """The media side has answered, or will not: let go what waited for it.

        Returns:
            False when no reply waits for this offer.
        """
        address, held = self._waiting.pop((leg, neg), (None, None))
        if held is None:
            return False
        held.answer = answer
        queue = self._queues[address]
        while queue:
            first = queue[0]
            if isinstance(first, _Held) and first.answer is None:
                return True
            queue.popleft()
            if not isinstance(first, _Held):
                assert address is not None  # only a device is notified
                self._tell(address, first)
            elif first.on_reply is not None:
                first.on_reply(with_answer(first.reply, first.answer))
        del self._queues[address]
        return True
