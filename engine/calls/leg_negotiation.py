"""The answer to a device's offer: what follows for it from the leg that is there before it.

Same formats, same picture and sound extensions: so packets pass untouched (docs/calls.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from triortc.codecs.registry import Codec, MediaKind
from triortc.engine.calls.call_legs import Leg
from triortc.engine.sdp.grammar import SessionDescription
from triortc.engine.sdp.local import AnswerConstraints
from triortc.engine.sdp.negotiated import Negotiated
from triortc.engine.sdp.negotiation import create_answer, restarts_ice
from triortc.engine.session.description import (
    CONTENT_EXTENSIONS,
    TRANSPORT_EXTENSIONS,
    describe_media,
    describe_transport,
)
from triortc.engine.session.events import FINAL_STATES
from triortc.engine.session.session import Session

__all__ = ["answer_offer", "constrain"]


def answer_offer(
    leg: Leg,
    transport: Session,
    offer: SessionDescription,
    *,
    previous: Negotiated | None,
    codecs: Mapping[MediaKind, Sequence[Codec]],
    constraints: AnswerConstraints | None,
) -> tuple[SessionDescription, Negotiated]:
    """Answer an offer over a transport, whose ICE is prepared to restart if the offer asks for that.

    Arguments:
        leg: whose device offers.
        transport: the one under the leg.
        offer: the device's.
        previous: what this transport has agreed on before; None for its first offer.
        codecs: what may be agreed on, by kind, the most preferred first.
        constraints: see :func:`constrain`.

    Raises:
        SdpError: the offer contradicts itself, or asks for what cannot be done (SdpUnsupportedError).
    """
    restart = previous is not None and transport.state not in FINAL_STATES and restarts_ice(offer, previous)
    if restart:
        transport.prepare_ice_restart()
    return create_answer(
        offer,
        describe_transport(transport, restart=restart),
        [describe_media(transport, kind, direction="sendrecv", codecs=codecs[kind]) for kind in ("audio", "video")],
        constraints=constraints,
        previous=previous,
        session_id=leg.description_id,
        session_version=leg.description_version,
    )


def constrain(agreed: Negotiated | None, *, may_transcode: bool) -> AnswerConstraints | None:
    """What the other side's leg has agreed on, as what this one may.

    Arguments:
        agreed: None when this leg is the first, which may agree on anything.
        may_transcode: whether legs without a common codec can be helped.
    """
    if agreed is None:
        return None
    return AnswerConstraints(
        codecs={media.kind: [entry.remote for entry in media.codecs] for media in agreed.media},
        extensions={
            media.kind: (
                *TRANSPORT_EXTENSIONS,
                *(uri for uri in CONTENT_EXTENSIONS[media.kind] if uri in media.extensions),
            )
            for media in agreed.media
        },
        else_any=("audio", "video") if may_transcode else (),
    )
