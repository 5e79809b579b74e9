"""From the records of the vote log back to where a replica stood (protocol rule 1).

Invariant: records of heights that are final are ignored (a log may be compacted late); records above the open height
mean that the chain went backwards, which the replica answers by abstaining (attack C16).
Left out: reading the log (the node), the resumption itself (`replica`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from common.consensus.messages import Mark, NewView, PreparedCertificate, Proposal, Stage, ViewChange, Vote
from common.consensus.vote_records import CurrentView, decode_record
from common.core.block import Block
from common.core.suite import Suite


@dataclass(slots=True)
class Recovered:
    """What the records say about one height."""

    height: int
    view: int = 0
    bodies: dict[bytes, Block] = field(default_factory=dict)
    prepared: PreparedCertificate | None = None
    own: list[Proposal | Vote | ViewChange | NewView] = field(default_factory=list)
    """Own messages in the order of their marks."""
    highest_height: int = 0
    """The highest height of any record: above `height` if the chain lost blocks."""

    @property
    def highest(self) -> Mark | None:
        """How far we have signed at this height."""
        return self.own[-1].mark if self.own else None

    @property
    def is_in_view(self) -> bool:
        """Whether the current view was entered for good: view 0, or one in which we led or voted.

        Otherwise its NEW-VIEW is still to come, or to come again.
        """
        return self.view == 0 or any(
            message.view == self.view and message.mark.stage is not Stage.VIEW_CHANGE for message in self.own
        )


def recover(records: Iterable[bytes], height: int, suite: Suite) -> Recovered:
    """Sort out the records for the open height. Raises `InvariantBroken` if one is damaged."""
    recovered = Recovered(height)
    for data in records:
        record = decode_record(data)
        at = record.header.height if isinstance(record, Block) else record.height
        recovered.highest_height = max(recovered.highest_height, at)
        if at != height:
            continue
        match record:
            case Block():
                recovered.bodies[record.header.id(suite)] = record
            case PreparedCertificate():
                if recovered.prepared is None or record.view > recovered.prepared.view:
                    recovered.prepared = record
            case CurrentView():
                recovered.view = max(recovered.view, record.view)
            case _ if record not in recovered.own:
                recovered.own.append(record)
                recovered.view = max(recovered.view, record.view)
    recovered.own.sort(key=lambda message: message.mark)
    return recovered
