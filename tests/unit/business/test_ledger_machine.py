"""Random business against a naive twin: totals conserved, counts right, nothing negative, every refusal foreseen.

The twin is a handful of dicts that recompute everything from scratch; the chain must agree with it after every step,
and the registrations that it emits must chain: after(n) = before(n + 1) for every account.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from business_chain.state import read_standing
from common.core.errors import Rejected
from tests.unit.business.market import ISSUER, PRODUCT, Market

ACCOUNTS = 5
OWNERS = {1: "P1", 2: "P2", 3: "P3", 4: "P1", 5: "P2"}
"""Five accounts of three persons."""
AUTHORISED = 1000
account_numbers = st.integers(1, ACCOUNTS)
quantities = st.integers(1, 200)


@dataclass
class Balance:
    """The twin's idea of one account."""

    available: int = 0
    pledged: int = 0
    frozen: int = 0

    @property
    def held(self) -> int:
        return self.available + self.pledged + self.frozen


@dataclass
class Twin:
    """The twin."""

    balances: dict[int, Balance] = field(default_factory=lambda: defaultdict(Balance))
    pledges: dict[str, tuple[int, int]] = field(default_factory=dict)
    freezes: dict[str, tuple[int, int]] = field(default_factory=dict)
    closed: set[int] = field(default_factory=set)

    @property
    def total(self) -> int:
        return sum(balance.held for balance in self.balances.values())


class Registry(RuleBasedStateMachine):
    """Business on one product."""

    @initialize()
    def start(self) -> None:
        self.market = Market().open_for_business()
        self.market.apply(self.market.account(4, subject="P1"), self.market.account(5, subject="P2"))
        self.market.apply(self.market.product(product="BJ000001.ESVUFR2602"))
        self.market.apply(
            self.market.op(
                "registration.increase",
                product="BJ000001.ESVUFR2602",
                entries=[{"account": "A1", "quantity": 1}],
            )
        )
        self.twin = Twin()
        self.last: dict[str, dict[str, int]] = {}

    def submit(self, operation: dict[str, Any], refusal: str | None) -> bool:
        """Apply; the twin said beforehand with which code it must be refused, if at all."""
        if refusal is not None:
            before = dict(self.market.store.state)
            with pytest.raises(Rejected) as caught:
                self.market.apply(operation)
            assert caught.value.code == refusal
            assert self.market.store.state == before
            return False
        for snapshot in self.market.apply(operation):
            self.check_chain(snapshot)
        return True

    def check_chain(self, snapshot: dict[str, Any]) -> None:
        if snapshot["header"]["content"]["type"] != "registration":
            return
        rights = snapshot["body"]["registration_information"]["registration_rights"]["basic_information_rights"]
        account = rights["basic_information_description"]["register_subject_account_ref"]
        parts = rights["available_registration"] | rights["pledge_registration"] | rights["freezing_registration"]
        parts["register_frozen_balance_before"] = parts.pop("register_frozen_balance")
        last = self.last.setdefault(account, {})
        for name in ("asset", "pledge", "frozen"):
            before = parts[f"register_{name}_balance_before"]
            after = parts[f"register_{name}_balance_after"]
            assert before == last.get(name, 0)
            assert before + parts[f"register_{name}_balance_change"] == after >= 0
            last[name] = after

    def standing(self, *accounts: int) -> str | None:
        return "account_closed" if any(number in self.twin.closed for number in accounts) else None

    @rule(number=account_numbers, quantity=quantities)
    def initial(self, number: int, quantity: int) -> None:
        refusal = self.standing(number)
        if refusal is None and self.twin.total + quantity > AUTHORISED:
            refusal = "authorised_exceeded"
        if self.submit(self.market.initial(number, quantity), refusal):
            self.twin.balances[number].available += quantity

    @rule(numbers=st.lists(account_numbers, min_size=1, max_size=3, unique=True), quantity=quantities)
    def increase(self, numbers: list[int], quantity: int) -> None:
        total = self.twin.total + quantity * len(numbers)
        refusal = "authorised_exceeded" if total > AUTHORISED else self.standing(*numbers)
        entries = [{"account": f"A{number}", "quantity": quantity} for number in numbers]
        if self.submit(self.market.op("registration.increase", product=PRODUCT, entries=entries), refusal):
            for number in numbers:
                self.twin.balances[number].available += quantity

    @rule(seller=account_numbers, buyer=account_numbers, quantity=quantities)
    def transfer(self, seller: int, buyer: int, quantity: int) -> None:
        refusal = "transfer_same_account" if seller == buyer else self.standing(seller, buyer)
        if refusal is None and quantity > self.twin.balances[seller].available:
            refusal = "insufficient_available"
        self.move(seller, buyer, quantity, refusal)

    @rule(seller=account_numbers, buyer=account_numbers)
    def transfer_everything_free(self, seller: int, buyer: int) -> None:
        quantity = self.twin.balances[seller].available
        if quantity and seller != buyer and self.standing(seller, buyer) is None:
            self.move(seller, buyer, quantity, None)

    def move(self, seller: int, buyer: int, quantity: int, refusal: str | None) -> None:
        if self.submit(self.market.transfer(seller, buyer, quantity), refusal):
            self.twin.balances[seller].available -= quantity
            self.twin.balances[buyer].available += quantity

    @rule(number=account_numbers, quantity=quantities)
    def pledge(self, number: int, quantity: int) -> None:
        balance = self.twin.balances[number]
        refusal = self.standing(number)
        if refusal is None and quantity > balance.available:
            refusal = "insufficient_available"
        operation = self.market.pledge(number, quantity, pledgee="P3" if OWNERS[number] != "P3" else "P1")
        if self.submit(operation, refusal):
            self.twin.pledges[operation["business_id"]] = (number, quantity)
            balance.available -= quantity
            balance.pledged += quantity

    @rule(data=st.data(), quantity=quantities)
    def release(self, data: st.DataObject, quantity: int) -> None:
        pledge = data.draw(st.sampled_from(sorted(self.twin.pledges) or ["none"]))
        number, left = self.twin.pledges.get(pledge, (0, 0))
        refusal = "pledge_unknown" if not left else "insufficient_pledged" if quantity > left else None
        if self.submit(self.market.op("registration.release", pledge=pledge, quantity=quantity), refusal):
            self.twin.pledges[pledge] = (number, left - quantity)
            self.twin.balances[number].pledged -= quantity
            self.twin.balances[number].available += quantity

    @rule(number=account_numbers, quantity=quantities)
    def freeze(self, number: int, quantity: int) -> None:
        balance = self.twin.balances[number]
        refusal = self.standing(number)
        if refusal is None and quantity > balance.available:
            refusal = "insufficient_available"
        operation = self.market.freeze(number, quantity)
        if self.submit(operation, refusal):
            self.twin.freezes[operation["business_id"]] = (number, quantity)
            balance.available -= quantity
            balance.frozen += quantity

    @rule(data=st.data())
    def unfreeze(self, data: st.DataObject) -> None:
        freeze = data.draw(st.sampled_from(sorted(self.twin.freezes) or ["none"]))
        number, left = self.twin.freezes.get(freeze, (0, 0))
        refusal = None if left else "freeze_unknown"
        if self.submit(self.market.op("registration.unfreeze", freeze=freeze), refusal):
            self.twin.freezes[freeze] = (number, 0)
            self.twin.balances[number].frozen -= left
            self.twin.balances[number].available += left

    @rule(number=account_numbers)
    def close(self, number: int) -> None:
        refusal = self.standing(number)
        if refusal is None and (self.twin.balances[number].held or number == 1):
            refusal = "account_not_empty"  # A1 also holds one share of the other product
        if self.submit(self.market.op("account.close", account=f"A{number}"), refusal):
            self.twin.closed.add(number)

    @rule(seller=account_numbers, buyer=account_numbers, quantity=quantities)
    def batch_that_fails_at_its_end(self, seller: int, buyer: int, quantity: int) -> None:
        before = dict(self.market.store.state), dict(self.market.store.index)
        with pytest.raises(Rejected):
            self.market.apply(
                self.market.transfer(seller, buyer, quantity), self.market.op("registration.release", pledge="none")
            )
        assert (self.market.store.state, self.market.store.index) == before

    @invariant()
    def agrees_with_the_twin(self) -> None:
        if not hasattr(self, "twin"):
            return
        product = self.market.state_product()
        register = self.market.register()
        expected = {f"A{number}": balance for number, balance in self.twin.balances.items() if balance.held}
        assert register.keys() == expected.keys()
        for account, balance in expected.items():
            holding = register[account]
            assert (holding.available, holding.pledged, holding.frozen) == (
                balance.available,
                balance.pledged,
                balance.frozen,
            )
            assert min(balance.available, balance.pledged, balance.frozen) >= 0
        assert product.total == self.twin.total <= product.authorised_quantity
        assert product.holders == len(expected)
        holders = {OWNERS[int(account[1:])] for account in expected} | {"P1"}
        assert read_standing(self.market.store, ISSUER).shareholders == len(holders)


Registry.TestCase.settings = settings(max_examples=60, stateful_step_count=25, suppress_health_check=list(HealthCheck))
TestRegistry = Registry.TestCase
