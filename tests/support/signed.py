"""What validators signed, as their peers heard it: did anybody contradict himself?"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from common.consensus.messages import NewView, Proposal, ViewChange, Vote
from common.consensus.vote_records import decode_record
from common.node.store.vote_frames import read_file
from tests.unit.node.toy import SUITE

Place = tuple[str, int, int, int]
"""(kind, signer, height, view)."""


def described(message: object) -> list[object] | None:
    """[kind, signer, height, view, what] of a consensus message; None for anything else."""
    match message:
        case Vote():
            return [message.stage.name, message.signer, message.height, message.view, message.block_id.hex()]
        case Proposal():
            return ["PROPOSAL", message.leader, message.height, message.view, message.header.id(SUITE).hex()]
        case NewView():
            block_id = message.proposal.header.id(SUITE).hex()
            return ["PROPOSAL", message.leader, message.height, message.view, block_id]
        case ViewChange():
            prepared = None if message.prepared is None else message.prepared.view
            return ["VIEW_CHANGE", message.signer, message.height, message.view, prepared]
    return None


def recorded(vote_log: bytes, genesis_id: bytes) -> tuple[int, set[Place]]:
    """(height up to which it may forget, what its owner has signed above) of a vote log's file."""
    scan = read_file(vote_log, genesis_id, None)
    lines = [described(decode_record(record)) for record in (*scan.records_before_tip, *scan.records)]
    return scan.tip[0], {tuple(line[:4]) for line in lines if line is not None}


class Heard:
    """All consensus messages that the nodes of a chain got, by what must be unique."""

    def __init__(self, files: Iterable[Path]) -> None:
        self.what: dict[Place, set[str]] = {}
        self.reported: dict[Place, set[int | None]] = {}
        for path in files:
            for line in path.read_bytes().splitlines(keepends=True):
                if line.endswith(b"\n"):
                    self._take(*json.loads(line))

    def _take(self, kind: str, signer: int, height: int, view: int, what: str | int | None) -> None:
        place = (kind, signer, height, view)
        if kind == "VIEW_CHANGE":
            self.reported.setdefault(place, set()).add(what if isinstance(what, int) else None)
        else:
            self.what.setdefault(place, set()).add(str(what))

    def contradictions(self) -> list[str]:
        """Two blocks in one stage of a view, votes of two views that forget what was prepared (protocol rule 1)."""
        found = [f"{place}: {sorted(blocks)}" for place, blocks in self.what.items() if len(blocks) > 1]
        commits = [place for place in self.what if place[0] == "COMMIT"]
        for (_, signer, height, view), reports in self.reported.items():
            if len(reports) > 1:
                found.append(f"view change of {signer} at {height}/{view} reports {reports}")
            prepared = [at for _, who, where, at in commits if (who, where) == (signer, height) and at < view]
            lowest = min((-1 if report is None else report for report in reports), default=-1)
            if prepared and lowest < max(prepared):
                found.append(f"view change of {signer} at {height}/{view} forgets its COMMIT in view {max(prepared)}")
        return found

    def not_recorded(self, signer: int, vote_log: bytes, genesis_id: bytes) -> list[Place]:
        """What was heard of a validator although its vote log, as it is on its disk, does not hold it: it was sent
        before it was durable (protocol rule 1, attack S1)."""
        tip, held = recorded(vote_log, genesis_id)
        places = [*self.what, *self.reported]
        return [place for place in places if place[1] == signer and place[2] > tip and place not in held]

    def votes_of(self, signer: int) -> int:
        """How many votes of a validator were heard."""
        return sum(kind in ("PREPARE", "COMMIT") and who == signer for kind, who, _, _ in self.what)
