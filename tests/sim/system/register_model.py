"""What a market's register must hold after the operations that were applied: counted by hand, with nothing of the
product's own code.

A line of the register is, for each share nature, (nature, held, pledged, frozen, bound). A pledge sets shares aside,
and a freeze of pledged shares lies on them: docs/adr/0081. A movement takes effect on the day that its operation
states, else on the day on which it happened.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

CHINA = timezone(timedelta(hours=8))
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
        self.frozen: dict[str, Pledged] = {}
        """Freeze -> the pledge that it lies on."""
        self.days: dict[str, str] = {}
        """Account -> the day on which its last movement took effect."""

    def apply(self, operations: Iterable[dict[str, Any]]) -> None:
        """Follow operations that the chain applied."""
        for operation in operations:
            nature = operation.get("share_nature", 0)
            match operation["type"]:
                case "registration.initial":
                    self.held[operation["account"], nature] += operation["quantity"]
                    self._moved(operation, operation["account"])
                case "registration.transfer":
                    self.held[operation["from_account"], nature] -= operation["quantity"]
                    self.held[operation["to_account"], nature] += operation["quantity"]
                    self._moved(operation, operation["from_account"], operation["to_account"])
                case "registration.pledge":
                    made = Pledged(operation["account"], nature, operation["quantity"])
                    self.pledges[operation["business_id"]] = made
                    self._moved(operation, made.account)
                case "registration.freeze":
                    (part,) = operation["parts"]
                    pledge = self.frozen[operation["business_id"]] = self.pledges[part["pledge"]]
                    pledge.covered += part["quantity"]
                    self._moved(operation, pledge.account)
                case "registration.unfreeze":
                    pledge = self.frozen[operation["freeze"]]
                    pledge.covered -= operation["quantity"]
                    self._moved(operation, pledge.account)
                case "registration.release":
                    pledge = self.pledges[operation["pledge"]]
                    pledge.quantity -= operation["quantity"]
                    self._moved(operation, pledge.account)

    def _moved(self, operation: dict[str, Any], *accounts: str) -> None:
        happened = datetime.fromtimestamp(operation["occurred_at_ms"] / 1000, CHINA)
        day = operation.get("effective_date") or happened.date().isoformat()
        self.days |= dict.fromkeys(accounts, day)

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
