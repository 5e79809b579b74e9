"""The course of a security: issue, first registration, transfer, increase, pledge, freeze, and what each leaves."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from business_chain.balances import Balance, Holding
from business_chain.state import account_holding_prefix, read_standing
from common.core.errors import Rejected
from tests.unit.business.market import ISSUER, PRODUCT, Market


def ids(snapshots: list[dict[str, Any]]) -> list[tuple[str, str, int, str]]:
    """(kind, object id, version, operation) of each snapshot."""
    contents = [snapshot["header"]["content"] for snapshot in snapshots]
    return [(item["type"], item["object_id"], item["version"], item["operation"]) for item in contents]


def balances(snapshot: dict[str, Any]) -> Any:
    """All balances of a registration."""
    rights = snapshot["body"]["registration_information"]["registration_rights"]["basic_information_rights"]
    return rights["available_registration"] | rights["pledge_registration"] | rights["freezing_registration"]


def holding(held: int, *, pledged: int = 0, frozen: int = 0, bound: int = 0) -> Holding:
    """A holding of tradable shares alone."""
    return Holding((Balance(0, held, pledged, frozen, bound),))


def test_first_reference_to_the_market_creates_its_subject() -> None:
    market = Market()
    market.apply(market.issuer(), market.person(1))
    first = ids(market.apply(market.account(1)))
    assert first == [("subject", "market-BJ", 0, "create"), ("account", "A1", 0, "create")]
    assert ids(market.apply(market.product())) == [("product", PRODUCT, 0, "create")]


def test_initial_registration_moves_total_holders_and_shareholders() -> None:
    market = Market().open_for_business(700)
    snapshots = market.apply(market.initial(2, 300, business_id="first"))
    assert ids(snapshots) == [
        ("registration", "first:1", 0, "create"),
        ("product", PRODUCT, 2, "update"),
        ("subject", ISSUER, 2, "update"),
    ]
    assert market.state_product().total == 1000
    assert market.state_product().holders == 2
    assert read_standing(market.store, ISSUER).shareholders == 2
    description = snapshots[2]["body"]["subject_information"]["organization_subject_information"]
    assert (
        description["basic_information_of_enterprise"]["basic_information_description"]["subject_shareholders_number"]
        == 2
    )


def test_transfer_to_a_new_holder_makes_report_registrations_product_and_issuer() -> None:
    market = Market().open_for_business(700, 300)
    snapshots = market.apply(market.transfer(1, 3, 100, business_id="sale", price_e4=125_000))
    assert ids(snapshots) == [
        ("transactionreport", "sale:0", 0, "create"),
        ("registration", "sale:1", 0, "create"),
        ("registration", "sale:2", 0, "create"),
        ("product", PRODUCT, 3, "update"),
        ("subject", ISSUER, 3, "update"),
    ]
    assert market.last_objects == [(kind_id[1], kind_id[2]) for kind_id in ids(snapshots)]
    report = snapshots[0]["body"]["transaction_report_information"]["transaction_information"]
    assert report["transaction_content_information"]["transaction_settlement_price"] == Decimal("12.5")
    assert report["transaction_party_information"] == {
        "transaction_investor_original_ref": "P1/0",
        "transaction_investor_counterparty_ref": "P3/0",
    }
    assert balances(snapshots[1])["register_asset_balance_change"] == -100
    assert balances(snapshots[2])["register_asset_balance_after"] == 100


def test_a_transfer_between_holders_touches_two_keys_besides_the_bucket() -> None:
    """Protocol rule 13."""
    market = Market().open_for_business(700, 300)
    snapshots = market.apply(market.transfer(1, 2, 100))
    keys = [key for key in market.last_changes if not key.startswith(b"business/")]
    assert sorted(keys) == [f"holding/{PRODUCT}/A{number}".encode() for number in (1, 2)]
    assert len(snapshots) == 3


def test_emptying_an_account_lowers_the_holder_count_and_removes_the_leaf() -> None:
    market = Market().open_for_business(700, 300)
    market.apply(market.transfer(2, 1, 300))
    assert market.holding(2) is None
    assert market.state_product().holders == 1
    assert market.store.scan_index(account_holding_prefix("A2"), 10) == []
    assert read_standing(market.store, ISSUER).shareholders == 1


def test_a_whole_holding_that_moves_to_a_new_account_changes_no_count() -> None:
    market = Market().open_for_business(1000)
    before = market.state_product()
    snapshots = market.apply(market.transfer(1, 2, 1000))
    assert [item[0] for item in ids(snapshots)] == ["transactionreport", "registration", "registration"]
    assert market.state_product() == before


def test_two_accounts_of_one_person_are_two_holders_and_one_shareholder() -> None:
    market = Market().open_for_business(700)
    market.apply(market.account(9, subject="P1"), market.transfer(1, 9, 100))
    assert market.state_product().holders == 2
    assert read_standing(market.store, ISSUER).shareholders == 1


def test_bond_holders_are_no_shareholders() -> None:
    market = Market().open_for_business(700)
    bond = "BJ000001.DCFGFR2601"
    market.apply(market.product(product=bond, product_type=3, unit="bond"))
    market.apply(market.initial(2, 10, product=bond))
    assert market.state_product(bond).holders == 1
    assert read_standing(market.store, ISSUER).shareholders == 1


def test_increase_raises_total_and_authorised_quantity() -> None:
    market = Market().open_for_business(700, 300)
    entries = [{"account": "A1", "quantity": 50}, {"account": "A3", "quantity": 150}]
    operation = market.op(
        "registration.increase", "more", product=PRODUCT, entries=entries, price_e4=20_000, authorised_quantity=1200
    )
    snapshots = market.apply(operation)
    assert [item[:2] for item in ids(snapshots)] == [
        ("transactionreport", "more:0"),
        ("registration", "more:1"),
        ("registration", "more:2"),
        ("product", PRODUCT),
        ("subject", ISSUER),
    ]
    product = market.state_product()
    assert (product.total, product.authorised_quantity, product.holders) == (1200, 1200, 3)


def test_pledge_and_release_in_parts() -> None:
    market = Market().open_for_business(700, 300)
    snapshots = market.apply(market.pledge(1, 400, business_id="loan"))
    assert ids(snapshots) == [("registration", "loan:1", 0, "create")]
    assert snapshots[0]["header"]["metadata"]["contract_number"] == "质押〔2026〕1号"
    assert market.holding(1) == holding(700, pledged=400, bound=400)
    market.apply(market.op("registration.release", pledge="loan", quantity=150))
    assert market.holding(1) == holding(700, pledged=250, bound=250)
    market.apply(market.op("registration.release", pledge="loan"))
    assert market.holding(1) == holding(700)
    assert b"binding/loan" not in market.store.values


def test_freeze_and_unfreeze_in_parts() -> None:
    market = Market().open_for_business(700, 300)
    snapshots = market.apply(market.freeze(1, 400, business_id="order"))
    assert balances(snapshots[0])["register_frozen_balance_after"] == 400
    assert balances(snapshots[0])["register_thaw_description"] == "样例人民法院 (2026)京01执1号"
    market.apply(market.op("registration.unfreeze", freeze="order", quantity=100))
    assert market.holding(1) == holding(700, frozen=300, bound=300)
    market.apply(market.op("registration.unfreeze", freeze="order"))
    assert b"binding/order" not in market.store.values


def test_references_name_the_version_before_the_business() -> None:
    market = Market().open_for_business(700)
    snapshots = market.apply(market.initial(2, 100))
    rights = snapshots[0]["body"]["registration_information"]["registration_rights"]["basic_information_rights"]
    assert rights["basic_information_description"]["register_product_ref"] == f"{PRODUCT}/1"
    assert snapshots[1]["header"]["content"]["version"] == 2


def test_a_frozen_account_can_be_released_and_a_closed_one_stays_closed() -> None:
    market = Market().open_for_business(700, 300)
    market.apply(market.op("account.freeze", account="A3", authority="样例人民法院", order_number="1"))
    market.apply(market.op("account.unfreeze", account="A3"))
    snapshots = market.apply(market.op("account.close", account="A3"))
    basic = snapshots[0]["body"]["account_information"]["basic_account_information"]
    assert (basic["account_status"], snapshots[0]["header"]["content"]["version"]) == (2, 3)


def test_a_products_own_holder_limit_counts_accounts_and_not_investors() -> None:
    """As docs/api-operations.md says; the custody chain's alert counts investors."""
    market = Market()
    second_account = market.account(9, subject="P1")
    market.apply(market.issuer(), market.person(1), market.account(1), second_account, market.product(holder_limit=1))
    market.apply(market.initial(1, 600))
    with pytest.raises(Rejected, match="holder_limit_exceeded"):
        market.apply(market.transfer(1, 9, 100))
    market.apply(market.transfer(1, 9, 600))
    assert market.state_product().holders == 1
