"""The data plane whose flows run in a media thread of their own; everything else is the Python plane's."""

from __future__ import annotations

from collections.abc import Hashable
from functools import partial
from itertools import islice
from typing import Final

from triortc.engine.address import Address
from triortc.engine.relay.accelerated_flow import AcceleratedFlow, AcceleratedHistory, Link
from triortc.engine.relay.core import Core, Direction, Forwarder
from triortc.engine.relay.core_arrivals import CoreArrivals
from triortc.engine.relay.core_cipher import Cipher
from triortc.engine.relay.core_layout import COUNTERS, pack_address, unpack_address
from triortc.engine.relay.gate import Gate
from triortc.engine.relay.outlet import Outlet
from triortc.engine.relay.python_plane import PythonPlane
from triortc.engine.sdp.negotiated import NegotiatedMedia
from triortc.engine.session.inbound import InboundStream
from triortc.engine.session.outbound import OutboundStream
from triortc.engine.session.session import Session

__all__ = ["AcceleratedPlane"]

#: Datagrams that may wait for Python; what comes on top of them is lost, as at a full socket buffer.
HAND_UPS: Final = 1024
#: Sources of handed up datagrams whose address is known; emptied when strangers fill it.
_MAX_KNOWN: Final = 4096


class AcceleratedPlane(PythonPlane):
    """See the module.

    The shell makes its sockets known by :meth:`listen`, runs the thread by :meth:`start` and :meth:`stop`, brings what
    :meth:`take` gives to its sessions, and calls :meth:`open_flows` after that.

    Arguments:
        core: see :func:`triortc.engine.relay.acceleration.acceleration`.
    """

    def __init__(self, core: Core) -> None:
        super().__init__()
        self._forwarder = Forwarder(core, HAND_UPS)
        self._core = core
        #: File descriptors by the address that each is bound to, and the other way round.
        self._sockets: dict[Address, int] = {}
        self._bound: dict[int, Address] = {}
        #: Flows that the slow path would open: they are when all that was handed up has been looked at.
        self._wanted: dict[InboundStream, tuple[Session, Outlet, Gate, str]] = {}
        self._links: dict[tuple[Session, Session], Link] = {}
        #: By the packed source address.
        self._links_from: dict[bytes, Link] = {}
        self._known: dict[Hashable, tuple[Address, Address]] = {}

    # -- for the shell

    def listen(self, address: Address, file_descriptor: int) -> None:
        """Receive from this socket, bound to `address`; before :meth:`start`."""
        self._sockets[address] = file_descriptor
        self._bound[file_descriptor] = address

    def start(self, clock_offset_s: float) -> None:
        """Run the media thread. `clock_offset_s` is what makes CLOCK_MONOTONIC the `now` of every method here."""
        self._forwarder.start(list(self._bound), clock_offset_s)

    def stop(self) -> None:
        """Close every flow and join the thread, which ends after the batch that it is at."""
        for link in self._links.values():
            link.close()
        self._links.clear()
        self._links_from.clear()
        self._forwarder.stop()

    def fileno(self) -> int:
        """Readable when something was handed up."""
        return self._forwarder.fileno()

    def take(self) -> list[tuple[bytes, bytes, float]]:
        """What was handed up, 64 datagrams at most: (source for :meth:`address_of`, datagram, arrived at).

        Flows that have told of a gap are settled: missing packets are asked for.
        """
        handed_up, sources = self._forwarder.take()
        for source in sources:
            link = self._links_from.get(source)
            if link is not None:
                link.settle()
        return handed_up

    def address_of(self, source: Hashable) -> tuple[Address, Address]:
        """(address that our socket is bound to, address) of a source; the same object every time."""
        found = self._known.get(source)
        if found is None:
            if not isinstance(source, bytes):
                raise TypeError("a source is what take() has given")
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            file_descriptor, address = unpack_address(source)
            found = self._known[source] = self._bound[file_descriptor], address
        return found

    def process(
        self, datagram: bytes, local: Address, remote: Address, now: float
    ) -> list[tuple[bytes, Address, Address]] | None:
        """Without a thread, for simulations: what the core sends for a datagram as (data, local, remote).

        None when it hands it up.
        """
        sent = self._forwarder.process(pack_address(self._sockets[local], remote), datagram, now)
        if sent is None:
            return None
        self.take()
        return [(data, *self.address_of(to)) for to, data in sent]

    def counters(self) -> dict[str, int]:
        """What the media thread has done, by the names of triortc.engine.relay.core_layout.COUNTERS."""
        return dict(zip(COUNTERS, self._forwarder.counters(), strict=True))

    @property
    def open_flow_count(self) -> int:
        """Flows that run in the core now."""
        return sum(len(link.flows) for link in self._links.values())

    def open_flows(self, now: float, at_most: int | None = None) -> bool:
        """Everything that was handed up has been looked at: what is ordinary now goes to the core.

        Arguments:
            at_most: so many flows; the others wait until the next call, the first first. None: all.

        Returns:
            whether others wait.
        """
        for stream in list(islice(self._wanted, at_most)):
            receiver, outlet, gate, codec_name = self._wanted.pop(stream)
            if not outlet.is_ordinary(gate, stream):
                continue
            link = self._link(gate.session, receiver, outlet.stream)
            rewriter, types, passed = outlet.mapping(codec_name)
            if link is None:
                continue
            flow = AcceleratedFlow.open(
                link, gate, stream, rewriter, outlet.stream, types, codec_name == "vp8", passed, now
            )
            if flow is not None:
                flow.want_again = partial(self._want_flow, receiver, outlet, gate, stream, codec_name)
                gate.session.media.settle_in_time(now)
        return bool(self._wanted)

    # -- inside

    def _make_outlet(self, session: Session, stream: OutboundStream, negotiated: NegotiatedMedia) -> Outlet:
        if stream.history is not None and not isinstance(stream.history, AcceleratedHistory):
            configuration = session.configuration.streams.retransmission
            stream.history = AcceleratedHistory(self._forwarder, configuration)
        if session.media.estimator is not None:
            session.media.estimator.compute_by(partial(CoreArrivals, self._core))
        return Outlet(stream, negotiated, partial(self._want_flow, session))

    def _want_flow(self, receiver: Session, outlet: Outlet, gate: Gate, stream: InboundStream, codec_name: str) -> None:
        self._wanted[stream] = receiver, outlet, gate, codec_name

    def _link(self, source: Session, receiver: Session, target: OutboundStream) -> Link | None:
        """The way from one session to one other; made anew when its addresses or keys have changed."""
        srtp_in, srtp_out, path_in, path_out = source.media.srtp_in, target.srtp, source.path, receiver.path
        if srtp_in is None or srtp_out is None or path_in is None or path_out is None:
            return None
        if path_in[0] not in self._sockets or path_out[0] not in self._sockets:
            return None
        estimator = target.sender.estimator
        key = path_in, path_out, srtp_in, srtp_out, estimator
        link = self._links.get((source, receiver))
        if link is not None and link.key == key:
            return link
        if link is not None:
            link.close()
        source_address = pack_address(self._sockets[path_in[0]], path_in[1])
        direction = Direction(
            self._forwarder,
            source_address,
            pack_address(self._sockets[path_out[0]], path_out[1]),
            Cipher(self._core.crypto, srtp_in.profile, srtp_in.keys, sending=False),
            Cipher(self._core.crypto, srtp_out.profile, srtp_out.keys, sending=True),
            sent=None if estimator is None else estimator.sent.ring,
        )
        link = self._links[source, receiver] = self._links_from[source_address] = Link(direction, source, target, key)
        return link

    def remove_leg(self, leg: str) -> None:
        """See :class:`DataPlane`."""
        removed = self._legs.get(leg)
        super().remove_leg(leg)
        if removed is not None:
            for pair in [pair for pair in self._links if removed.session in pair]:
                self._links.pop(pair).close()
            self._links_from = {
                source: link for source, link in self._links_from.items() if link in self._links.values()
            }
