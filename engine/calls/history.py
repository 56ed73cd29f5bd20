"""History in memory: the last so many sessions and invitations, each exactly once."""

from __future__ import annotations

from collections.abc import Sequence

from triortc.engine.calls.history_records import InvitationRecord, SessionRecord

__all__ = ["MemoryHistory"]


class MemoryHistory:
    """Keeps the last `capacity` records of sessions, and as many of invitations."""

    def __init__(self, capacity: int = 10_000) -> None:
        self._records: dict[str, SessionRecord] = {}
        self._invitations: dict[str, InvitationRecord] = {}
        self._capacity = capacity

    def append(self, record: SessionRecord) -> bool:
        """Keep a record; False if the session is recorded already. The oldest goes when there are too many."""
        if record.session in self._records:
            return False
        self._records[record.session] = record
        if len(self._records) > self._capacity:
            del self._records[next(iter(self._records))]
        return True

    def find(
        self, org: str, *, session: str | None = None, conversation: str | None = None, agent: str | None = None
    ) -> Sequence[SessionRecord]:
        """Records of a tenant, oldest first, that match every argument which is not None."""
        return [
            record
            for record in self._records.values()
            if record.org == org
            and session in (None, record.session)
            and conversation in (None, record.conversation)
            and agent in (None, record.agent)
        ]

    def append_invitation(self, record: InvitationRecord) -> bool:
        """Keep the record of an invitation; False if it is recorded already."""
        if record.invitation in self._invitations:
            return False
        self._invitations[record.invitation] = record
        if len(self._invitations) > self._capacity:
            del self._invitations[next(iter(self._invitations))]
        return True

    def find_invitations(
        self, org: str, *, conversation: str | None = None, agent: str | None = None
    ) -> Sequence[InvitationRecord]:
        """A tenant's invitations that are over, oldest first, that match every argument which is not None."""
        return [
            record
            for record in self._invitations.values()
            if record.org == org and conversation in (None, record.conversation) and agent in (None, record.agent)
        ]
