"""Pledges and freezes that overlap: what is free, what each record keeps, and what the registrations say of it."""

from __future__ import annotations

from typing import Any

import pytest

from business_chain.balances import Balance, Holding, decode_holding, encode_holding
from business_chain.bindings import MAX_PARTS, Binding, decode_binding
from business_chain.state import binding_key, encode_value
from common.core.codec import canonical_json
from common.core.errors import InvariantBroken, Rejected
from tests.unit.business.market import PRODUCT, Market


def market_with_a_loan() -> Market:
    """A1 holds 700 and has pledged 400 of them under `loan`."""
    market = Market().open_for_business(700, 300)
    market.apply(market.pledge(1, 400, business_id="loan"))
    return market


def freeze_the_loan(market: Market, on_loan: int, free: int = 0, **fields: Any) -> list[dict[str, Any]]:
    """A freeze of A1 that lies on the loan, and on free shares."""
    return market.apply(market.freeze(1, on_loan + free, parts=[{"quantity": on_loan, "pledge": "loan"}], **fields))


def release(market: Market, quantity: int) -> None:
    market.apply(market.op("registration.release", pledge="loan", quantity=quantity))


def unfreeze(market: Market, freeze: str, quantity: int) -> None:
    market.apply(market.op("registration.unfreeze", freeze=freeze, quantity=quantity))


def figures(market: Market) -> tuple[int, int, int, int]:
    """Held, available, pledged, frozen of A1."""
    holding = market.holding(1)
    stated = holding.figures
    return stated.held, stated.available, stated.pledged, stated.frozen


def binding(market: Market, name: str) -> Binding | None:
    data = market.store.values.get(binding_key(name))
    return None if data is None else decode_binding(data)


def test_a_freeze_of_pledged_shares_takes_nothing_free_and_leaves_the_pledge() -> None:
    market = market_with_a_loan()
    snapshots = freeze_the_loan(market, 150, free=50, business_id="order")
    assert figures(market) == (700, 250, 400, 200)
    loan, order = binding(market, "loan"), binding(market, "order")
    assert (loan.quantity, loan.part(0).covered) == (400, 150)
    assert [(part.pledge, part.quantity) for part in order.parts] == [(None, 50), ("loan", 150)]
    metadata = snapshots[0]["header"]["metadata"]
    assert metadata["parts"] == [
        {"quantity": 50, "share_nature": 0},
        {"pledge": "loan", "quantity": 150, "share_nature": 0},
    ]
    assert (metadata["held_before"], metadata["held_after"]) == (700, 700)


def test_releasing_a_pledge_below_a_freeze_frees_nothing_that_is_frozen() -> None:
    market = market_with_a_loan()
    freeze_the_loan(market, 150, business_id="order")
    release(market, 400)
    assert figures(market) == (700, 550, 0, 150)
    assert binding(market, "loan") is not None  # what it set aside is frozen still
    with pytest.raises(Rejected, match="insufficient_available"):
        market.apply(market.transfer(1, 2, 551))
    with pytest.raises(Rejected, match="pledge_unknown"):
        release(market, 1)
    unfreeze(market, "order", 150)
    assert figures(market) == (700, 700, 0, 0)
    assert binding(market, "loan") is None
    assert binding(market, "order") is None


def test_an_unfreeze_frees_what_is_no_longer_pledged_and_keeps_the_pledge() -> None:
    market = market_with_a_loan()
    freeze_the_loan(market, 300, business_id="order")
    release(market, 200)
    assert figures(market) == (700, 400, 200, 300)
    unfreeze(market, "order", 120)
    assert figures(market) == (700, 500, 200, 180)
    unfreeze(market, "order", 180)
    assert figures(market) == (700, 500, 200, 0)


def test_two_orders_share_a_pledge_and_a_third_finds_no_room() -> None:
    market = market_with_a_loan()
    freeze_the_loan(market, 250)
    freeze_the_loan(market, 150)
    with pytest.raises(Rejected, match="insufficient_pledged") as caught:
        freeze_the_loan(market, 1)
    assert caught.value.parameters["frozen"] == 400
    assert figures(market) == (700, 300, 400, 400)


def test_a_pledge_of_two_natures_is_released_by_nature_and_in_their_order() -> None:
    market = Market().open_for_business(500, 300)
    market.apply(market.initial(1, 200, share_nature=24))
    market.apply(market.pledge(1, 160, business_id="loan", parts=[{"quantity": 60, "share_nature": 24}]))
    assert market.holding(1) == Holding((Balance(0, 500, 100, 0, 100), Balance(24, 200, 60, 0, 60)))
    market.apply(market.op("registration.release", pledge="loan", quantity=10, share_nature=24))
    assert market.holding(1) == Holding((Balance(0, 500, 100, 0, 100), Balance(24, 200, 50, 0, 50)))
    release(market, 120)
    assert market.holding(1) == Holding((Balance(0, 500), Balance(24, 200, 30, 0, 30)))
    with pytest.raises(Rejected, match="insufficient_available") as caught:
        market.apply(market.transfer(1, 2, 171, share_nature=24))
    assert caught.value.parameters["available"] == 170
    market.apply(market.transfer(1, 2, 170, share_nature=24))
    assert market.holding(2) == Holding((Balance(0, 300), Balance(24, 170)))
    assert market.state_product().totals == ((0, 800), (24, 200))


def test_registrations_state_the_balances_by_nature() -> None:
    market = Market().open_for_business(700, 100)
    market.apply(market.initial(1, 200, share_nature=24), market.pledge(1, 400, business_id="loan"))
    metadata = freeze_the_loan(market, 100)[0]["header"]["metadata"]
    assert (metadata["held_before"], metadata["held_after"]) == (900, 900)
    assert metadata["share_natures"] == [
        {"share_nature": 0, "held": 700, "available": 300, "pledged": 400, "frozen": 100},
        {"share_nature": 24, "held": 200, "available": 200, "pledged": 0, "frozen": 0},
    ]


def test_a_binding_of_the_most_parts_touches_one_pledge_each() -> None:
    """B7: the work of one operation has a bound."""
    market = Market().open_for_business(1000)
    names = [f"loan-{number}" for number in range(MAX_PARTS)]
    market.apply(*(market.pledge(1, 2, business_id=name) for name in names))
    parts = [{"quantity": 1, "pledge": name} for name in names]
    market.apply(market.freeze(1, MAX_PARTS, business_id="order", parts=parts))
    keys = [key for key in market.last_changes if not key.startswith(b"business/")]
    assert len(keys) == MAX_PARTS + 2
    assert figures(market) == (1000, 1000 - 2 * MAX_PARTS, 2 * MAX_PARTS, MAX_PARTS)
    market.apply(market.op("registration.unfreeze", freeze="order"))
    assert figures(market) == (1000, 1000 - 2 * MAX_PARTS, 2 * MAX_PARTS, 0)


def test_parts_in_one_place_are_one_part() -> None:
    market = market_with_a_loan()
    parts = [{"quantity": 5, "pledge": "loan"}, {"quantity": 7, "share_nature": 0}, {"quantity": 6, "pledge": "loan"}]
    market.apply(market.freeze(1, 20, business_id="order", parts=parts))
    order = binding(market, "order")
    assert [(part.pledge, part.quantity) for part in order.parts] == [(None, 9), ("loan", 11)]


@pytest.mark.parametrize(
    ("holding", "text"),
    [
        (Holding(()), "[]"),
        (Holding((Balance(0, 700),)), "[[0,700]]"),
        (Holding((Balance(0, 700, 400, 0, 400), Balance(24, 1))), "[[0,700,400,0,400],[24,1]]"),
        (Holding((Balance(99, 10**15, 5, 9, 10),)), "[[99,1000000000000000,5,9,10]]"),
    ],
)
def test_a_holding_has_one_encoding(holding: Holding, text: str) -> None:
    """docs/protocol.md, section 10."""
    assert encode_holding(holding) == text.encode()
    assert decode_holding(text.encode()) == holding


def test_bindings_are_canonical_and_state_no_zeros() -> None:
    market = market_with_a_loan()
    freeze_the_loan(market, 150, business_id="order")
    loan = market.store.values[binding_key("loan")]
    assert loan == canonical_json(
        {
            "account": "A1",
            "contract_number": "质押〔2026〕1号",
            "kind": "pledge",
            "parts": [{"covered": 150, "quantity": 400, "share_nature": 0}],
            "pledgee": "P2",
            "product": PRODUCT,
        }
    )
    assert encode_value(decode_binding(loan)) == loan


def test_a_balance_cannot_be_made_to_contradict_itself() -> None:
    balance = Balance(0, 100, 40, 30, 50)
    for pledged, frozen, bound in ((-41, 0, 0), (0, -31, 0), (11, 0, 0), (0, 0, 21), (0, 0, -11), (60, 0, 51)):
        with pytest.raises(InvariantBroken):
            balance.with_bindings(pledged, frozen, bound)
    with pytest.raises(InvariantBroken):
        balance.with_held(-51)
    assert balance.with_held(-50).available == 0
