"""What every push service is to the sender: a maker of requests and a judge of answers."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final, Protocol, TypeVar

import msgspec

from triortc.engine.calls.actor import PushEndpoint
from triortc.engine.calls.push_values import Push
from triortc.errors import SignalingError
from triortc.signaling.https_client import HttpsAnswer, HttpsRequest

__all__ = ["WITHDRAW_LIFETIME_S", "Provider", "UnusableEndpointError", "Verdict", "decoded"]

#: How long a withdrawal waits for a device that is off. After that, what it would take away has ended by itself.
WITHDRAW_LIFETIME_S: Final = 60
ValueT = TypeVar("ValueT")


class Verdict(Enum):
    """What an answer means."""

    DELIVERED = "delivered"
    GONE = "gone"
    RETRY = "retry"
    REFUSED = "refused"
    GARBAGE = "garbage"


class UnusableEndpointError(SignalingError):
    """What the client gave as its endpoint cannot be pushed to. The message names the rule, not the value."""


class Provider(Protocol):
    """One push service."""

    def origin(self, endpoint: PushEndpoint) -> str:
        """Where pushes to an endpoint go; the sender counts requests by it.

        Raises:
            UnusableEndpointError: nothing is ever sent there.
        """

    async def request(self, push: Push, remaining_s: float) -> HttpsRequest:
        """Encode a push.

        Args:
            push: what to send.
            remaining_s: what is left of a ring now.

        Raises:
            UnusableEndpointError: it cannot be sent to this endpoint.
            HttpsError: the service gives no credentials.
        """

    def judge(self, answer: HttpsAnswer) -> Verdict:
        """Tell what an answer means. Credentials that it refuses are made anew for the next request."""


def decoded(answer: HttpsAnswer, shape: type[ValueT], *, otherwise: Callable[[], ValueT]) -> ValueT:
    """The JSON body of an answer; `otherwise` when it is none of that shape."""
    try:
        return msgspec.json.decode(answer.body, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return otherwise()
