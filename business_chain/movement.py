"""What one operation moves: quantity of one product, between accounts or from its issue.

Left out: writing it (`ledger`), the rules (operations).
"""

from __future__ import annotations

import msgspec

from business_chain.balances import Holding
from business_chain.state import Account, Product


class AffectedHolder(msgspec.Struct, frozen=True):
    """An account, and what it held of the product of a movement before."""

    account_id: str
    account: Account
    subject_ref: str
    key: bytes
    """Of its holding."""
    before: Holding


class Movement(msgspec.Struct):
    """What an operation has done to a product so far; settled once by `Ledger.settle`."""

    code: str
    product: Product
    product_ref: str
    authorised_quantity: int | None = None
    holders_change: int = 0
    issue_price_e4: int | None = None
    shareholders_change: int = 0
    registrations: int = 0
    totals_change: dict[int, int] = {}
    """Share nature -> what is registered newly."""

    def issue(self, share_nature: int, quantity: int) -> None:
        """Count what is registered newly; else the product's totals stay as they are."""
        self.totals_change[share_nature] = self.totals_change.get(share_nature, 0) + quantity

    def totals(self) -> tuple[tuple[int, int], ...]:
        """The product's totals after this operation."""
        if not self.totals_change:
            return self.product.totals
        totals = dict(self.product.totals)
        for share_nature, change in self.totals_change.items():
            totals[share_nature] = totals.get(share_nature, 0) + change
        return tuple(sorted(totals.items()))
