"""Feedback, ordinary and hostile, of one stream of packets, into the estimate's arithmetic in Python and in C."""

from __future__ import annotations

import random
from math import inf, isnan
from struct import pack

from triortc.engine.congestion.arrivals import ArrivalsInPython
from triortc.engine.congestion.sent_history import SentHistory
from triortc.engine.relay.acceleration import acceleration
from triortc.engine.relay.core_arrivals import CoreArrivals

__all__ = ["ArrivalsFuzz"]

_SLOTS, _GROUPS = 32, 20


class ArrivalsFuzz:
    """Both are told the same.

    Attributes:
        seed: gives the whole history.
        fed: so many feedback packets were told.
        known: so many packets they knew.
        judged: what was ever said of the path.
    """

    def __init__(self, seed: int) -> None:
        core = acceleration().core
        assert core is not None
        self.seed, self.fed, self.known = seed, 0, 0
        self.judged: set[str] = set()
        self.random = random.Random(seed)
        size = self.random.choice((64, 256, 4096))
        numbers = self.random.choice((0.5, 0.2)), self.random.choice((12.5, 6.0, 50.0))
        self.histories = SentHistory(size), SentHistory(size)
        self.python = ArrivalsInPython(self.histories[0], *numbers)
        self.core = CoreArrivals(core, self.histories[1], *numbers)
        self._number = self.random.choice((0, 65500, 30000))
        self._now = self.random.choice((0.0, 1000.0, 1e6))
        self._queue_s = 0.0
        self._skew_s = 0.0

    def run(self, feedback: int) -> None:
        """Tell so many more; raises AssertionError where the two differ in a bit."""
        for _ in range(feedback):
            base, sent_at = self._number, self._send()
            self._tell(base, sent_at)
            self.fed += 1
            self._compare()

    def _send(self) -> list[float]:
        choose, times = self.random, []
        for _ in range(choose.randint(1, choose.choice((3, 12, 40)))):
            self._now += choose.choice((0.0, 0.0, 0.0001, 0.004, 0.005, 0.0051, 0.014, 0.02))
            times.append(self._now + choose.choice((0.0, 0.0, 0.0, -0.001)))
            size = choose.choice((0, 40, 1200, 1200, 1200, 0xFFFF))
            for history in self.histories:
                history.store(self._number & 0xFFFF, size, times[-1])
            self._number = (self._number + 1) & 0xFFFF
        if choose.random() < 0.01:
            self._now += choose.choice((0.3, 2.9, 3.1, 11.0))
        return times

    def _tell(self, base: int, sent_at: list[float]) -> None:
        choose = self.random
        if choose.random() < 0.02:
            self._skew_s += choose.choice((-4.0, 4.0, 500.0))  # the peer's clock jumps
        trend = choose.choice((0.0, 0.0, 0.001, 0.004, -0.002))
        ticks = []
        for at in sent_at:
            self._queue_s = max(0.0, self._queue_s + trend + choose.uniform(-0.0005, 0.0005))
            ticks.append(int((at + self._queue_s + self._skew_s + 0.02) * 4000))
        reference = ticks[0] // 256
        deltas = [after - before for before, after in zip([reference * 256, *ticks], ticks, strict=False)]
        began_s = reference * 0.064
        shape = choose.random()
        if shape < 0.7 and all(0 <= delta <= 255 for delta in deltas):
            told: bytes | tuple[tuple[int, int], ...] = bytes(deltas)
        elif shape < 0.95:
            told = tuple((offset, delta) for offset, delta in enumerate(deltas) if choose.random() < 0.9)
        else:
            base = choose.choice((base, choose.randint(0, 0xFFFF)))
            offsets = sorted(choose.sample(range(choose.choice((60, 0xFFFF))), 50))
            told = tuple((offset, choose.randint(-0x8000, 0x7FFF)) for offset in offsets)
        if choose.random() < 0.02:
            told = choose.choice((b"", (), bytes(choose.randrange(256) for _ in range(choose.choice((300, 5000))))))
        for _ in range(choose.choice((1, 1, 1, 2))):  # what is told again says nothing
            known, rate_bps = self.python.take(base, told, began_s)
            assert self.core.take(base, told, began_s) == (known, rate_bps), f"seed {self.seed} feedback {self.fed}"
            self.known += known
        self.judged.add(self.python.usage.name)

    def _compare(self) -> None:
        where = f"seed {self.seed} feedback {self.fed}"
        assert self.core.usage is self.python.usage, where
        assert bytes(self.histories[0].ring) == bytes(self.histories[1].ring), where
        assert self._of_core() == self._of_python(), where

    def _of_python(self) -> list[bytes]:
        """Every number of the trend, and of the rate what is left of its window, bit by bit."""
        trend, rate = self.python._trend, self.python._rate
        slots = [*rate._slots, *([(rate._newest_at, rate._newest_bytes)] if rate._newest_ends_at > -inf else [])]
        values = [
            *(trend._threshold_ms, trend._group_sent_first, trend._group_sent_last, trend._group_arrival),
            *(trend._accumulated_ms, trend._smoothed_ms, *trend._sums),
            *(trend._over_since, trend._trend_before, trend._updated_at, trend._groups),
            *(number for entry in trend._window for number in entry),
            *(rate._started_at, rate._total + rate._newest_bytes),
            *(number for slot in slots for number in slot),
        ]
        return [_bits(value) for value in values]

    def _of_core(self) -> list[bytes]:
        state = self.core.state()[1:]
        rate, trend = state[: 6 + 2 * _SLOTS], state[6 + 2 * _SLOTS :]
        oldest, end, held, newest = rate[4], rate[5], trend[18], trend[19]
        slots = [rate[6 + 2 * (i % _SLOTS) + n] for i in range(int(oldest), int(end)) for n in (0, 1)]
        window = [trend[20 + 2 * (i % _SLOTS) + n] for i in range(int(newest - held), int(newest)) for n in (0, 1)]
        values = [*trend[:4], *trend[6:8], *trend[9:17], *window, rate[2], rate[3], *slots]
        return [_bits(value) for value in values]


def _bits(value: float | None) -> bytes:
    return b"" if value is None or isnan(value) else pack("d", value)
