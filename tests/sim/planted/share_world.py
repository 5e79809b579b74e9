"""A market's register under random business, against a naive model: nothing comes from nothing, nothing gets lost.

Transfers, pledges and freezes of one product among a few accounts, many of them refused. After each transaction the
register must be the model's, and the product's total and holder count must be the register's own sums.
"""

from __future__ import annotations

from random import Random

from common.core.errors import Rejected
from tests.sim.planted.violation import Caught
from tests.unit.business.market import Market

ACCOUNTS = 4
STEPS = 25
OPENING = 200


class ShareWorld:
    """One run; `run` raises `Violation`."""

    def __init__(self, seed: int) -> None:
        self.random = Random(f"shares {seed}")
        self.market = Market().open_for_business(*[OPENING] * ACCOUNTS)
        self.balances = {at: [OPENING, 0, 0] for at in range(1, ACCOUNTS + 1)}

    def run(self) -> None:
        """Do business."""
        for _ in range(STEPS):
            self._act()
            self._judge()

    def _act(self) -> None:
        random, market = self.random, self.market
        seller, buyer = random.randint(1, ACCOUNTS), random.randint(1, ACCOUNTS)
        quantity = random.choice((1, 50, 200, 300))
        available = self.balances[seller][0]
        match random.randrange(4):
            case 0 | 1:
                operation, place = market.transfer(seller, buyer, quantity), None
                may = seller != buyer and quantity <= available
            case 2:
                pledgee = "P2" if seller != 2 else "P3"
                operation, place, may = market.pledge(seller, quantity, pledgee), 1, quantity <= available
            case _:
                operation, place, may = market.freeze(seller, quantity), 2, quantity <= available
        try:
            market.apply(operation)
        except Rejected as refusal:
            if may:
                raise Caught("share model", f"{operation['type']} is refused: {refusal.code}") from refusal
            return
        if not may:
            raise Caught("share model", f"{operation['type']} of {quantity} is applied, {available} are available")
        self.balances[seller][0] -= quantity
        if place is None:
            self.balances[buyer][0] += quantity
        else:
            self.balances[seller][place] += quantity

    def _judge(self) -> None:
        register, product = self.market.register(), self.market.state_product()
        held = {name: [item.available, item.pledged, item.frozen] for name, item in register.items()}
        expected = {f"A{at}": list(balance) for at, balance in self.balances.items() if sum(balance)}
        if held != expected:
            raise Caught("share model", f"the register holds {held}, not {expected}")
        total = sum(sum(balance) for balance in held.values())
        if (product.total, product.holders) != (total, len(held)):
            raise Caught("share model", f"the product counts {product.total} shares, its register {total}")
        if total != ACCOUNTS * OPENING:
            raise Caught("share model", f"{total} shares of {ACCOUNTS * OPENING}")
