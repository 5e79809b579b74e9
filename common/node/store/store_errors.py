"""What goes wrong below the node: damaged local data, a disk that refuses, a vote log that does not fit.

All three are ours (`InvariantBroken`), never a client's. They are kept apart because the answer differs: damaged data
needs a backup or a new copy from peers, a refusing disk needs space and a restart, an unsafe vote log forbids voting
but not serving.
"""

from __future__ import annotations

from typing import Final

from common.core.errors import InvariantBroken

REMEDY_RESYNC: Final = (
    "stop the node; `tongjian node check` says what is damaged, `tongjian node repair` builds the database again from "
    "its blocks and the peers, keeps the damaged one beside it, and lets the node vote no earlier than is safe"
)


class DamagedStore(InvariantBroken):
    """Stored data is damaged, missing or contradicts itself; it is not served (attack S2).

    `key` is the database key concerned (None if a whole file is), `remedy` says what the operator can do, `code` is
    stable.
    """

    code = "database_damaged"

    def __init__(self, what: str, *, key: bytes | None = None, remedy: str) -> None:
        where = "" if key is None else f" (key {key[:96]!r})"
        super().__init__(f"{what}{where}. Remedy: {remedy}.")
        self.what = what
        self.key = key
        self.remedy = remedy


class VotingUnsafe(DamagedStore):
    """Vote log and database do not belong together: one was lost, replaced or set back (attack C16).

    A node that votes now may contradict a vote that it has forgotten. It may still catch up and serve reads.
    `safe_above_height` is the height above which nothing can have been forgotten (the database was set back, the vote
    log is whole), or None if there is no such height.
    """

    def __init__(self, what: str, *, remedy: str, safe_above_height: int | None = None) -> None:
        super().__init__(what, key=None, remedy=remedy)
        self.safe_above_height = safe_above_height


class StoreFailed(InvariantBroken):
    """The disk refused (full, read-only, input/output error). Nothing was acknowledged (attacks S2, S5)."""

    code = "disk_refuses"


class StoreInUse(StoreFailed):
    """Another process has the files open."""

    code = "database_in_use"


class WrongDatabase(StoreFailed):
    """The database is sound, but another chain's or of another layout version; it is left alone."""

    code = "database_wrong"
