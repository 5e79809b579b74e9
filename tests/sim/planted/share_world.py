"""A market's register under random business, against a naive model: nothing comes from nothing, nothing gets lost.

Transfers, pledges, freezes and releases of one product among a few accounts, many of them refused; some freezes lie
on a pledge. After each transaction the register must be the model's, and the product's total and holder count must be
the register's own sums.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from common.core.errors import Rejected
from tests.sim.planted.violation import Caught
from tests.unit.business.market import Market

ACCOUNTS = 4
STEPS = 25
OPENING = 200


@dataclass
class Pledged:
    """A pledge: what is left of it, and what freezes cover of its shares."""

    account: int
    quantity: int
    covered: int = 0

    @property
    def bound(self) -> int:
        return max(self.quantity, self.covered)


class ShareWorld:
    """One run; `run` raises `Violation`."""

    def __init__(self, seed: int) -> None:
        self.random = Random(f"shares {seed}")
        self.market = Market().open_for_business(*[OPENING] * ACCOUNTS)
        self.held = dict.fromkeys(range(1, ACCOUNTS + 1), OPENING)
        self.pledges: dict[str, Pledged] = {}
        self.frozen = dict.fromkeys(range(1, ACCOUNTS + 1), 0)
        """What is frozen of shares that are not pledged."""

    def run(self) -> None:
        """Do business."""
        for _ in range(STEPS):
            self._act()
            self._judge()

    def _figures(self, account: int) -> tuple[int, int, int]:
        """Available, pledged, frozen."""
        pledges = [pledge for pledge in self.pledges.values() if pledge.account == account]
        bound = sum(pledge.bound for pledge in pledges) + self.frozen[account]
        frozen = sum(pledge.covered for pledge in pledges) + self.frozen[account]
        return self.held[account] - bound, sum(pledge.quantity for pledge in pledges), frozen

    def _act(self) -> None:
        random, market = self.random, self.market
        account, buyer = random.randint(1, ACCOUNTS), random.randint(1, ACCOUNTS)
        quantity = random.choice((1, 50, 200, 300))
        available = self._figures(account)[0]
        name = random.choice([*self.pledges, "none"])
        pledge = self.pledges.get(name, Pledged(account, 0))
        match random.randrange(6):
            case 0 | 1:
                self._submit(
                    market.transfer(account, buyer, quantity),
                    account != buyer and quantity <= available,
                    lambda: self._move(account, buyer, quantity),
                )
            case 2:
                operation = market.pledge(account, quantity, "P2" if account != 2 else "P3")
                made = Pledged(account, quantity)
                self._submit(
                    operation, quantity <= available, lambda: self.pledges.update({operation["business_id"]: made})
                )
            case 3:
                self._submit(
                    market.freeze(account, quantity),
                    quantity <= available,
                    lambda: self.frozen.update({account: self.frozen[account] + quantity}),
                )
            case 4:
                operation = market.freeze(pledge.account, quantity, parts=[{"quantity": quantity, "pledge": name}])
                self._submit(
                    operation,
                    quantity <= pledge.quantity - pledge.covered,
                    lambda: setattr(pledge, "covered", pledge.covered + quantity),
                )
            case _:
                operation = market.op("registration.release", pledge=name, quantity=quantity)
                self._submit(
                    operation,
                    quantity <= pledge.quantity,
                    lambda: setattr(pledge, "quantity", pledge.quantity - quantity),
                )

    def _move(self, seller: int, buyer: int, quantity: int) -> None:
        self.held[seller] -= quantity
        self.held[buyer] += quantity

    def _submit(self, operation: dict[str, Any], may: bool, follow: Callable[[], None]) -> None:
        try:
            self.market.apply(operation)
        except Rejected as refusal:
            if may:
                raise Caught("share model", f"{operation['type']} is refused: {refusal.code}") from refusal
            return
        if not may:
            raise Caught("share model", f"{operation['type']} of {operation['quantity']} is applied")
        follow()

    def _judge(self) -> None:
        register, product = self.market.register(), self.market.state_product()
        figures = {name: holding.figures for name, holding in register.items()}
        stated = {name: (item.available, item.pledged, item.frozen) for name, item in figures.items()}
        expected = {f"A{account}": self._figures(account) for account, held in self.held.items() if held}
        if stated != expected:
            raise Caught("share model", f"the register holds {stated}, not {expected}")
        total = sum(item.held for item in figures.values())
        if (product.total, product.holders) != (total, len(figures)):
            raise Caught("share model", f"the product counts {product.total} shares, its register {total}")
        if total != ACCOUNTS * OPENING:
            raise Caught("share model", f"{total} shares of {ACCOUNTS * OPENING}")
