"""What a market's register must hold after the operations that were applied: counted by hand, with nothing of the
product's own code.

A line of the register is, for each share nature, (nature, held, pledged, frozen, bound). A pledge sets shares aside,
and a freeze of pledged shares lies on them: docs/adr/0081.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

Row = tuple[int, int, int, int, int]
"""Share nature, held, pledged, frozen, bound."""


@dataclass
class Pledged:
    """A pledge: what is left of it, and what is frozen of its shares."""

    account: str
    nature: int
    quantity: int
    covered: int = 0


class RegisterModel:
    """One product's register."""

    def __init__(self) -> None:
        self.held: dict[tuple[str, int], int] = defaultdict(int)
        self.pledges: dict[str, Pledged] = {}

    def apply(self, operations: Iterable[dict[str, Any]]) -> None:
        """Follow operations that the chain applied."""
        for operation in operations:
            nature = operation.get("share_nature", 0)
            match operation["type"]:
                case "registration.initial":
                    self.held[operation["account"], nature] += operation["quantity"]
                case "registration.transfer":
                    self.held[operation["from_account"], nature] -= operation["quantity"]
                    self.held[operation["to_account"], nature] += operation["quantity"]
                case "registration.pledge":
                    made = Pledged(operation["account"], nature, operation["quantity"])
                    self.pledges[operation["business_id"]] = made
                case "registration.freeze":
                    for part in operation["parts"]:
                        self.pledges[part["pledge"]].covered += part["quantity"]
                case "registration.release":
                    self.pledges[operation["pledge"]].quantity -= operation["quantity"]

    @property
    def issued(self) -> int:
        """All shares."""
        return sum(self.held.values())

    def register(self) -> dict[str, list[Row]]:
        """The lines of all who hold something, by account."""
        lines: dict[str, list[Row]] = defaultdict(list)
        for (account, nature), held in sorted(self.held.items()):
            if not held:
                continue
            lying = [p for p in self.pledges.values() if (p.account, p.nature) == (account, nature)]
            bound = sum(max(pledge.quantity, pledge.covered) for pledge in lying)
            pledged, frozen = sum(p.quantity for p in lying), sum(p.covered for p in lying)
            lines[account].append((nature, held, pledged, frozen, bound))
        return dict(lines)
