"""The exclusive right of a session to an agent: table C of docs/calls.md, fenced by an epoch that only grows."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from triortc.engine.calls.actor import Principal
from triortc.engine.calls.machine import SAME, Machine, Row
from triortc.engine.calls.value import ValueStruct

__all__ = ["CLAIMS", "Busy", "Claim", "ClaimFacts", "ClaimRegistry", "Fenced"]

_HELD: Final = ("ringing", "waiting", "in_call")


class ClaimFacts(NamedTuple):
    """What guards look at: what the claim is for; may a routed call start now; is the caller's epoch up to date?"""

    assignable: bool = False
    current: bool = True
    origin: str = ""
    phase: str = ""


CLAIMS: Final[Machine[ClaimFacts]] = Machine(
    "claim",
    (
        Row("C1", ("free",), "acquire", "routed_and_assignable", "ringing"),
        Row("C2", ("free",), "acquire", "invited_rings", "ringing"),
        Row("C2", ("free",), "acquire", "invited_waits", "waiting"),
        Row("C8", ("free", *_HELD), "commit", "stale", "(fenced)"),
        Row("C8", ("free", *_HELD), "release", "stale", "(fenced)"),
        Row("C3", ("ringing", "waiting"), "commit", "", "in_call"),
        Row("C5", _HELD, "release", "", "free"),
        Row("C6", _HELD, "adopt", "", SAME),
    ),
    {
        "routed_and_assignable": lambda facts: facts.origin == "routed" and facts.assignable,
        "invited_rings": lambda facts: facts.origin == "invited" and facts.phase == "ringing",
        "invited_waits": lambda facts: facts.origin == "invited" and facts.phase == "waiting",
        "stale": lambda facts: not facts.current,
    },
)


class Claim(ValueStruct, frozen=True):
    session: str
    origin: Literal["routed", "invited"]
    phase: str
    epoch: int


class Busy(ValueStruct, frozen=True):
    """The agent is claimed by this session, or not assignable at all (None)."""

    session: str | None


class Fenced(ValueStruct, frozen=True):
    """The caller's epoch is out of date: nothing was done."""


class ClaimRegistry:
    """Claims by agent. Every method either takes a row of the table or changes nothing."""

    def __init__(self) -> None:
        self._claims: dict[Principal, Claim] = {}
        self._epochs: dict[Principal, int] = {}
        self.rows_taken: dict[str, int] = {}

    def get(self, agent: Principal) -> Claim | None:
        return self._claims.get(agent)

    def __len__(self) -> int:
        return len(self._claims)

    def acquire(
        self,
        agent: Principal,
        session: str,
        origin: Literal["routed", "invited"],
        *,
        phase: Literal["ringing", "waiting"] = "ringing",
        assignable: bool = False,
    ) -> int | Busy:
        """Claim a free agent: the new epoch, or who has it.

        Arguments:
            agent: who is claimed.
            session: for which session.
            origin: `invited` ignores what else the agent does; the agent has decided.
            phase: `waiting` if the agent joins first.
            assignable: for `routed`: no ongoing chat or call, and video declared available; asked in the same step.
        """
        claim = self._claims.get(agent)
        row = self._select(agent, "acquire", ClaimFacts(assignable, True, origin, phase))
        if row is None:
            return Busy(None if claim is None else claim.session)
        epoch = self._epochs.get(agent, 0) + 1
        self._epochs[agent] = epoch
        self._claims[agent] = Claim(session, origin, row.next, epoch)
        return epoch

    def holds(self, agent: Principal, session: str, epoch: int) -> bool:
        """Whether the claim is this session's, by this epoch: what `commit` and `release` are fenced by."""
        return self._current(agent, session, epoch)

    def commit(self, agent: Principal, session: str, epoch: int) -> Fenced | None:
        """The agent is in the call now."""
        row = self._select(agent, "commit", ClaimFacts(current=self._current(agent, session, epoch)))
        if row is None or row.next == "(fenced)":
            return Fenced()
        claim = self._claims[agent]
        self._claims[agent] = Claim(claim.session, claim.origin, row.next, claim.epoch)
        return None

    def adopt(self, agent: Principal, claim: Claim) -> int:
        """Take over a claim of a process that is no more, with a new epoch: whoever still has the old one is fenced."""
        self._claims[agent] = claim
        self._epochs[agent] = max(self._epochs.get(agent, 0), claim.epoch) + 1
        self._select(agent, "adopt", ClaimFacts(False, True))
        self._claims[agent] = Claim(claim.session, claim.origin, claim.phase, self._epochs[agent])
        return self._epochs[agent]

    def epoch(self, agent: Principal) -> int:
        """The newest epoch that was given out for an agent; 0: none was."""
        return self._epochs.get(agent, 0)

    def restore_epoch(self, agent: Principal, epoch: int) -> None:
        """Epochs go on from here."""
        self._epochs[agent] = max(self._epochs.get(agent, 0), epoch)

    def drop(self, agent: Principal, session: str) -> None:
        """Forget a claim that another node has taken over; its epoch is not ours to count on."""
        claim = self._claims.get(agent)
        if claim is not None and claim.session == session:
            del self._claims[agent]

    def release(self, agent: Principal, session: str, epoch: int) -> Fenced | None:
        """The agent is free again."""
        row = self._select(agent, "release", ClaimFacts(current=self._current(agent, session, epoch)))
        if row is None or row.next == "(fenced)":
            return Fenced()
        del self._claims[agent]
        return None

    def _current(self, agent: Principal, session: str, epoch: int) -> bool:
        claim = self._claims.get(agent)
        return claim is not None and (claim.session, claim.epoch) == (session, epoch)

    def _select(self, agent: Principal, event: str, facts: ClaimFacts) -> Row | None:
        claim = self._claims.get(agent)
        row = CLAIMS.select("free" if claim is None else claim.phase, event, facts)
        if row is not None:
            self.rows_taken[row.number] = self.rows_taken.get(row.number, 0) + 1
        return row
