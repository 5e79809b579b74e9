"""What validators signed, as their peers heard it: did anybody contradict himself?"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

Place = tuple[str, int, int, int]
"""(kind, signer, height, view)."""


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
        """Two blocks in one phase of a view, votes of two views that forget what was prepared (protocol rule 1)."""
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

    def votes_of(self, signer: int) -> int:
        """How many votes of a validator were heard."""
        return sum(kind in ("PREPARE", "COMMIT") and who == signer for kind, who, _, _ in self.what)
