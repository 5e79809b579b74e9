"""What clients together may make a node hold: bytes of bodies, bytes of answers, event streams; each with shares.

A request holds an amount in the name of its holders: its token's organisation and the token, or, without a token, its
address. What it holds comes back when it ends, however it ends.

Invariants:
  B1  No more than `total` is held, no more than half of it by one organisation or address, a quarter by one token: one
      token does not shut out its organisation, one organisation does not shut out the others (attacks N2, N3).
  B2  An amount is held before the memory is taken, so that a refusal costs nothing.
  B3  Who holds nothing is forgotten.

Left out: what each total is and why (`settings`), and when amounts are known (`edge`, `answer`, the routes).
"""

from __future__ import annotations

from typing import Final

from starlette.types import Scope

from common.core.errors import QuotaExceeded, Unavailable
from common.node.access import Identity

Holders = tuple[str, str]
"""Organisation and token, or twice the address."""

HOLDS: Final = "tongjian.holds"
"""Where a request's scope has its `Holds`."""
RETRY_AFTER_S: Final = 5
"""What is held is mostly held by slow clients, which are cut off after half a minute."""


class SharedBudget:
    """`total` of something; `what` names it in refusals."""

    def __init__(self, what: str, total: int) -> None:
        self._what = what
        self.total = total
        self.shares = (max(1, total // 2), max(1, total // 4))
        self.held = 0
        self._held_by: tuple[dict[str, int], dict[str, int]] = ({}, {})

    def take(self, holders: Holders, amount: int) -> None:
        """Raises `QuotaExceeded('share_exhausted')` or `Unavailable('node_exhausted')`, and takes nothing then."""
        organisation, token = holders
        of_organisations, of_tokens = self._held_by
        most_of_organisation, most_of_token = self.shares
        by_organisation = of_organisations.get(organisation, 0) + amount
        by_token = of_tokens.get(token, 0) + amount
        if by_organisation > most_of_organisation or by_token > most_of_token:
            raise QuotaExceeded(
                "share_exhausted",
                f"Your requests under way hold as much of this node's {self._what} as one client may; wait for "
                "them to end.",
                retry_after_s=RETRY_AFTER_S,
            )
        if self.held + amount > self.total:
            raise Unavailable(
                "node_exhausted",
                f"Requests under way hold all of this node's {self._what}; come back later, or ask another node.",
                retry_after_s=RETRY_AFTER_S,
            )
        self.held += amount
        of_organisations[organisation], of_tokens[token] = by_organisation, by_token

    def give(self, holders: Holders, amount: int) -> None:
        """Take back what `take` gave out."""
        self.held -= amount
        for holder, held_by in zip(holders, self._held_by, strict=True):
            left = held_by[holder] - amount
            if left:
                held_by[holder] = left
            else:
                del held_by[holder]


class Holds:
    """What one request holds."""

    __slots__ = ("_amounts", "_holders")

    def __init__(self, identity: Identity | None, scope: Scope) -> None:
        if identity is not None:
            self._holders = (identity.organisation, identity.id)
        else:
            client = scope.get("client")
            address = f"address {client[0] if client else ''}"
            self._holders = (address, address)
        self._amounts: dict[SharedBudget, int] = {}

    def hold(self, budget: SharedBudget, amount: int) -> None:
        """Hold at least so much of a budget from now on. Raises as `SharedBudget.take` does."""
        more = amount - self._amounts.get(budget, 0)
        if more > 0:
            budget.take(self._holders, more)
            self._amounts[budget] = amount

    def release(self) -> None:
        """Give everything back."""
        for budget, amount in self._amounts.items():
            budget.give(self._holders, amount)
        self._amounts.clear()
