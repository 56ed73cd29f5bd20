"""Datagrams that no peer of a call sends: a share of a load, beside what it is made of."""

from __future__ import annotations

import random
import socket
from collections import Counter
from collections.abc import Callable
from typing import Final

from triortc.engine.address import Address

__all__ = ["KINDS", "Hostility"]

_STUN_COOKIE: Final = bytes.fromhex("2112a442")
_RTP_HEADER_BYTES: Final = 12


def _replayed(packet: bytes, chance: random.Random) -> bytes:
    return packet


def _forged(packet: bytes, chance: random.Random) -> bytes:
    damaged = bytearray(packet)
    damaged[chance.randrange(_RTP_HEADER_BYTES, len(damaged))] ^= 1 << chance.randrange(8)
    number = int.from_bytes(damaged[2:4], "big") + 1
    damaged[2:4] = (number & 0xFFFF).to_bytes(2, "big")  # else it is a replay in the first place
    return bytes(damaged)


def _wrong_key(packet: bytes, chance: random.Random) -> bytes:
    number = (int.from_bytes(packet[2:4], "big") + chance.randrange(1, 20)) & 0xFFFF
    return packet[:2] + number.to_bytes(2, "big") + packet[4:12] + chance.randbytes(len(packet) - 12)


def _unknown_source(packet: bytes, chance: random.Random) -> bytes:
    return packet[:8] + chance.randbytes(4) + packet[12:]


def _cut_off(packet: bytes, chance: random.Random) -> bytes:
    return packet[: chance.randrange(1, min(40, len(packet)))]


def _forged_rtcp(packet: bytes, chance: random.Random) -> bytes:
    return bytes((0x80 | chance.randrange(32), chance.randrange(200, 208))) + chance.randbytes(chance.randrange(200))


def _forged_check(packet: bytes, chance: random.Random) -> bytes:
    return bytes((0, 1, 0, chance.randrange(0, 200, 4))) + _STUN_COOKIE + chance.randbytes(chance.randrange(12, 212))


def _handshake(packet: bytes, chance: random.Random) -> bytes:
    return bytes((chance.randrange(20, 64), 0xFE, 0xFD)) + chance.randbytes(chance.randrange(200))


def _noise(packet: bytes, chance: random.Random) -> bytes:
    return chance.randbytes(chance.randrange(1501))


#: What there is, by name: each makes a datagram of a packet that was sent, and chance.
KINDS: Final[dict[str, Callable[[bytes, random.Random], bytes]]] = {
    "replayed": _replayed,
    "forged": _forged,
    "wrong_key": _wrong_key,
    "unknown_source": _unknown_source,
    "cut_off": _cut_off,
    "forged_rtcp": _forged_rtcp,
    "forged_check": _forged_check,
    "handshake": _handshake,
    "noise": _noise,
}


class Hostility:
    """Sends hostile datagrams for a share of the packets it is shown: from the leg's own address, and from another one.

    Arguments:
        share: hostile datagrams for each packet.
        seed: of everything that chance decides.
    """

    def __init__(self, share: float, seed: int = 0) -> None:
        self._share = share
        self._chance = random.Random(seed)
        self._owed = 0.0
        self._turns = 0
        self._stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._stranger.setblocking(False)
        #: How many of each kind were sent; those from the stranger's address are counted as "stranger", too.
        self.sent: Counter[str] = Counter()

    def is_due(self) -> bool:
        """A packet is sent: whether a hostile datagram is to follow it."""
        self._owed += self._share
        return self._owed >= 1

    def send_behind(self, packet: bytes, send: Callable[[bytes, Address], object], relay: Address) -> None:
        """Send to the relay what is due behind a packet.

        Arguments:
            packet: protected, as it was sent; an RTP packet.
            send: sends from the address that the relay knows.
        """
        while self._owed >= 1:
            self._owed -= 1
            self._turns += 1
            name = list(KINDS)[self._turns % len(KINDS)]
            datagram = KINDS[name](packet, self._chance)
            self.sent[name] += 1
            if self._turns // len(KINDS) % 2:
                send(datagram, relay)
                continue
            self.sent["stranger"] += 1
            try:
                self._stranger.sendto(datagram, relay)
            except OSError:
                continue  # the machine has no room for it: it counts as lost

    def close(self) -> None:
        """Close the stranger's socket."""
        self._stranger.close()
