"""Random business against a naive twin: totals conserved, counts right, nothing negative, every refusal foreseen.

The twin keeps what is held and the records of pledges and freezes, and counts single shares from scratch; the chain
must agree with it after every step, and the registrations that it emits must chain: after(n) = before(n + 1) for every
account.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from business_chain.bindings import decode_binding
from business_chain.state import read_standing
from common.core.errors import Rejected
from tests.support.refusals import refused
from tests.unit.business.market import ISSUER, PRODUCT, Market

ACCOUNTS = 5
OWNERS = {1: "P1", 2: "P2", 3: "P3", 4: "P1", 5: "P2"}
"""Five accounts of three persons."""
AUTHORISED = 1000
NATURES = (0, 24)
account_numbers = st.integers(1, ACCOUNTS)
quantities = st.integers(1, 200)
natures = st.sampled_from(NATURES)


@dataclass
class Lien:
    """The twin's idea of a pledge or a freeze: quantities by place, (share nature, pledge that it lies on)."""

    number: int
    places: dict[tuple[int, str], int]

    @property
    def quantity(self) -> int:
        return sum(self.places.values())

    def give_back(self, quantity: int, nature: int | None) -> None:
        """In the order of the places."""
        for place in sorted(self.places):
            if nature in (None, place[0]):
                taken = min(quantity, self.places[place])
                self.places[place] -= taken
                quantity -= taken


@dataclass
class Twin:
    """The twin: what is held, and the records of what binds it; figures are counted over single shares."""

    held: dict[tuple[int, int], int] = field(default_factory=lambda: defaultdict(int))
    pledges: dict[str, Lien] = field(default_factory=dict)
    freezes: dict[str, Lien] = field(default_factory=dict)
    closed: set[int] = field(default_factory=set)

    @property
    def total(self) -> int:
        return sum(self.held.values())

    def holds(self, number: int) -> int:
        return sum(self.held[number, nature] for nature in NATURES)

    def covered(self, pledge: str, nature: int) -> int:
        return sum(freeze.places.get((nature, pledge), 0) for freeze in self.freezes.values())

    def figures(self, number: int, nature: int) -> tuple[int, int, int, int]:
        """Held, available, pledged, frozen: every share on the account is told apart and marked by what binds it."""
        pledged: set[tuple[str, int]] = set()
        frozen: set[tuple[str, int]] = set()
        for name, pledge in self.pledges.items():
            if pledge.number == number:
                pledged |= {(name, share) for share in range(pledge.places.get((nature, ""), 0))}
                frozen |= {(name, share) for share in range(self.covered(name, nature))}
        for name, freeze in self.freezes.items():
            if freeze.number == number:
                frozen |= {(name, share) for share in range(freeze.places.get((nature, ""), 0))}
        held = self.held[number, nature]
        return held, held - len(pledged | frozen), len(pledged), len(frozen)

    def available(self, number: int, nature: int) -> int:
        return self.figures(number, nature)[1]


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
            before = dict(self.market.store.values)
            with refused(refusal):
                self.market.apply(operation)
            assert self.market.store.values == before
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

    @rule(number=account_numbers, quantity=quantities, nature=natures)
    def initial(self, number: int, quantity: int, nature: int) -> None:
        refusal = self.standing(number)
        if refusal is None and self.twin.total + quantity > AUTHORISED:
            refusal = "authorised_exceeded"
        if self.submit(self.market.initial(number, quantity, share_nature=nature), refusal):
            self.twin.held[number, nature] += quantity

    @rule(numbers=st.lists(account_numbers, min_size=1, max_size=3, unique=True), quantity=quantities, nature=natures)
    def increase(self, numbers: list[int], quantity: int, nature: int) -> None:
        total = self.twin.total + quantity * len(numbers)
        refusal = "authorised_exceeded" if total > AUTHORISED else self.standing(*numbers)
        entries = [{"account": f"A{number}", "quantity": quantity, "share_nature": nature} for number in numbers]
        if self.submit(self.market.op("registration.increase", product=PRODUCT, entries=entries), refusal):
            for number in numbers:
                self.twin.held[number, nature] += quantity

    @rule(seller=account_numbers, buyer=account_numbers, quantity=quantities, nature=natures)
    def transfer(self, seller: int, buyer: int, quantity: int, nature: int) -> None:
        refusal = "transfer_same_account" if seller == buyer else self.standing(seller, buyer)
        if refusal is None and quantity > self.twin.available(seller, nature):
            refusal = "insufficient_available"
        self.move(seller, buyer, quantity, nature, refusal)

    @rule(seller=account_numbers, buyer=account_numbers, nature=natures)
    def transfer_everything_free(self, seller: int, buyer: int, nature: int) -> None:
        quantity = self.twin.available(seller, nature)
        if quantity and seller != buyer and self.standing(seller, buyer) is None:
            self.move(seller, buyer, quantity, nature, None)

    def move(self, seller: int, buyer: int, quantity: int, nature: int, refusal: str | None) -> None:
        if self.submit(self.market.transfer(seller, buyer, quantity, share_nature=nature), refusal):
            self.twin.held[seller, nature] -= quantity
            self.twin.held[buyer, nature] += quantity

    @rule(number=account_numbers, tradable=quantities, other=st.integers(0, 50))
    def pledge(self, number: int, tradable: int, other: int) -> None:
        refusal = self.standing(number)
        short = tradable > self.twin.available(number, 0) or other > self.twin.available(number, 24)
        if refusal is None and short:
            refusal = "insufficient_available"
        pledgee = "P3" if OWNERS[number] != "P3" else "P1"
        parts = {"parts": [{"quantity": other, "share_nature": 24}]} if other else {}
        operation = self.market.pledge(number, tradable + other, pledgee=pledgee, **parts)
        if self.submit(operation, refusal):
            self.twin.pledges[operation["business_id"]] = Lien(number, {(0, ""): tradable, (24, ""): other})

    @rule(data=st.data(), quantity=quantities, nature=st.none() | natures)
    def release(self, data: st.DataObject, quantity: int, nature: int | None) -> None:
        name = data.draw(st.sampled_from(sorted(self.twin.pledges) or ["none"]))
        pledge = self.twin.pledges.get(name, Lien(0, {}))
        left = sum(amount for place, amount in pledge.places.items() if nature in (None, place[0]))
        refusal = "pledge_unknown" if not pledge.quantity else "insufficient_pledged" if quantity > left else None
        chosen: dict[str, Any] = {} if nature is None else {"share_nature": nature}
        if self.submit(self.market.op("registration.release", pledge=name, quantity=quantity, **chosen), refusal):
            pledge.give_back(quantity, nature)

    @rule(number=account_numbers, quantity=quantities, nature=natures)
    def freeze(self, number: int, quantity: int, nature: int) -> None:
        refusal = self.standing(number)
        if refusal is None and quantity > self.twin.available(number, nature):
            refusal = "insufficient_available"
        operation = self.market.freeze(number, quantity, share_nature=nature)
        if self.submit(operation, refusal):
            self.twin.freezes[operation["business_id"]] = Lien(number, {(nature, ""): quantity})

    @rule(data=st.data(), on_pledge=quantities, free=st.integers(0, 20), nature=natures)
    def freeze_what_is_pledged(self, data: st.DataObject, on_pledge: int, free: int, nature: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.twin.pledges) or ["none"]))
        pledge = self.twin.pledges.get(name, Lien(1, {}))
        number = pledge.number
        refusal = self.standing(number)
        if refusal is None and free > self.twin.available(number, nature):
            refusal = "insufficient_available"
        if refusal is None and not pledge.quantity:
            refusal = "pledge_unknown"
        if refusal is None and on_pledge > pledge.places.get((nature, ""), 0) - self.twin.covered(name, nature):
            refusal = "insufficient_pledged"
        parts = [{"quantity": on_pledge, "pledge": name}]
        operation = self.market.freeze(number, on_pledge + free, share_nature=nature, parts=parts)
        if self.submit(operation, refusal):
            self.twin.freezes[operation["business_id"]] = Lien(number, {(nature, name): on_pledge, (nature, ""): free})

    @rule(data=st.data(), quantity=st.none() | quantities)
    def unfreeze(self, data: st.DataObject, quantity: int | None) -> None:
        name = data.draw(st.sampled_from(sorted(self.twin.freezes) or ["none"]))
        freeze = self.twin.freezes.get(name, Lien(0, {}))
        wanted = freeze.quantity if quantity is None else quantity
        refusal = "insufficient_frozen" if wanted > freeze.quantity else None
        amount: dict[str, Any] = {} if quantity is None else {"quantity": quantity}
        if not freeze.quantity:
            refusal = "freeze_unknown"
        if self.submit(self.market.op("registration.unfreeze", freeze=name, **amount), refusal):
            freeze.give_back(wanted, None)

    @rule(number=account_numbers)
    def close(self, number: int) -> None:
        refusal = self.standing(number)
        if refusal is None and (self.twin.holds(number) or number == 1):
            refusal = "account_not_empty"  # A1 also holds one share of the other product
        if self.submit(self.market.op("account.close", account=f"A{number}"), refusal):
            self.twin.closed.add(number)

    @rule(seller=account_numbers, buyer=account_numbers, quantity=quantities)
    def batch_that_fails_at_its_end(self, seller: int, buyer: int, quantity: int) -> None:
        before = dict(self.market.store.values), dict(self.market.store.index)
        with pytest.raises(Rejected):
            self.market.apply(
                self.market.transfer(seller, buyer, quantity), self.market.op("registration.release", pledge="none")
            )
        assert (self.market.store.values, self.market.store.index) == before

    @invariant()
    def agrees_with_the_twin(self) -> None:
        if not hasattr(self, "twin"):
            return
        product = self.market.state_product()
        register = self.market.register()
        expected = {f"A{number}": number for number in OWNERS if self.twin.holds(number)}
        assert register.keys() == expected.keys()
        for account, number in expected.items():
            for nature in NATURES:
                balance = register[account].balance(nature)
                held, available, pledged, frozen = self.twin.figures(number, nature)
                assert (balance.held, balance.available) == (held, available)
                assert (balance.pledged, balance.frozen) == (pledged, frozen)
                assert available >= 0
                assert max(pledged, frozen) <= held
        assert product.total == self.twin.total <= product.authorised_quantity
        totals = {nature: sum(self.twin.held[number, nature] for number in OWNERS) for nature in NATURES}
        assert dict(product.totals) == {nature: total for nature, total in totals.items() if total}
        assert product.holders == len(expected)
        self.agrees_with_the_records()
        holders = {OWNERS[int(account[1:])] for account in expected} | {"P1"}
        assert read_standing(self.market.store, ISSUER).shareholders == len(holders)

    def agrees_with_the_records(self) -> None:
        """What is bound is a function of the stored bindings alone, and none is kept of which nothing is left."""
        bound: dict[tuple[str, int], int] = defaultdict(int)
        for key, data in self.market.store.scan(b"binding/", 10**6):
            binding = decode_binding(data)
            name = key.removeprefix(b"binding/").decode()
            for part in binding.parts:
                if part.pledge is None:
                    bound[binding.account, part.share_nature] += max(part.quantity, part.covered)
                if binding.kind == "pledge":
                    assert part.covered == self.twin.covered(name, part.share_nature)
                assert max(part.quantity, part.covered) > 0
        for account, holding in self.market.register().items():
            for balance in holding.balances:
                assert balance.bound == bound.pop((account, balance.share_nature), 0)
        assert not bound


Registry.TestCase.settings = settings(max_examples=60, stateful_step_count=25, suppress_health_check=list(HealthCheck))
TestRegistry = Registry.TestCase
