"""Units: the price of a transaction follows from its bytes, and a block's count from the prices, on both tiers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.chain import metering
from common.chain.metering import UNIT_PRICES, UnitPrices, UsedUnits, price_units
from common.core.transaction import SignedTransaction, parse_envelope, sign_envelope
from crosslink.lightclient.delivery import Delivery
from tests.support.chains import ChainBuilder
from tests.support.custody import entry_of
from tests.support.custody_node import CustodyNode
from tests.unit.business.stored_market import StoredMarket
from tests.unit.node.solo import Solo
from tests.unit.node.toy import SUITE, key_of, make_genesis, seed_of, transfer

GENESIS = make_genesis(["node-0"])
KINDS = st.text("abcdefgh.", min_size=1, max_size=20)
OPERATIONS = st.builds(lambda kind, memo: {"type": kind, "memo": memo}, KINDS, st.text(max_size=40))
LISTS = st.lists(OPERATIONS, min_size=1, max_size=6)


def envelope(operations: list[dict[str, Any]], signers: int = 1) -> bytes:
    names = [f"client-{number}" for number in range(signers)]
    transaction = {
        "network": GENESIS.network,
        "genesis": GENESIS.id.hex(),
        "signers": [SUITE.format_key(key_of(name)) for name in names],
        "nonce": "n",
        "expires_at_height": 9,
        "operations": operations,
    }
    return sign_envelope(transaction, [seed_of(name) for name in names], SUITE)


def parsed(operations: list[dict[str, Any]], signers: int = 1) -> SignedTransaction:
    return parse_envelope(envelope(operations, signers), SUITE)


def test_every_thing_in_the_table_costs_something() -> None:
    assert all(getattr(UNIT_PRICES, name) >= 1 for name in UnitPrices.__struct_fields__)


@given(LISTS, OPERATIONS)
def test_the_price_grows_with_every_operation_signature_and_byte(
    operations: list[dict[str, Any]], another: dict[str, Any]
) -> None:
    price = price_units(parsed(operations))
    assert price_units(parsed([*operations, another])) > price + UNIT_PRICES.operation
    assert price_units(parsed(operations, signers=2)) > price + UNIT_PRICES.signature
    longer = [operations[0] | {"memo": operations[0]["memo"] + "x"}, *operations[1:]]
    assert price_units(parsed(longer)) == price + UNIT_PRICES.envelope_byte


@given(LISTS, LISTS)
def test_operations_add_up_in_one_transaction_as_they_do_in_two(
    first: list[dict[str, Any]], second: list[dict[str, Any]]
) -> None:
    """What two cost more than one with the operations of both is the second's own frame and signature, whatever the
    operations are.
    """
    apart = price_units(parsed(first)) + price_units(parsed(second))
    frame = len(envelope([{"type": "a"}])) - len('{"type":"a"}') - len(",")
    assert apart - price_units(parsed(first + second)) == frame * UNIT_PRICES.envelope_byte + UNIT_PRICES.signature


@given(LISTS)
def test_however_a_client_spells_an_envelope_its_price_is_that_of_the_canonical_bytes(
    operations: list[dict[str, Any]],
) -> None:
    canonical = envelope(operations)
    spelt = json.dumps(json.loads(canonical), indent=2, ensure_ascii=True).encode()
    assert spelt != canonical
    assert price_units(parse_envelope(spelt, SUITE)) == price_units(parse_envelope(canonical, SUITE))


def test_an_executed_block_has_used_the_sum_of_its_transactions_prices_rejected_ones_included() -> None:
    solo = Solo(GENESIS)
    envelopes = [transfer(GENESIS, "a"), transfer(GENESIS, "b", 2_000_000), transfer(GENESIS, "c", target="someone")]
    execution = solo.execute(envelopes)
    prices = [price_units(tx) for tx in execution.transactions]
    assert [receipt.status for receipt in execution.receipts] == ["applied", "rejected", "applied"]
    assert execution.used == UsedUnits(priced=sum(prices), rejected=prices[1])
    solo.extend(envelopes)
    assert solo.execute([]).used == UsedUnits(0, 0)


def test_what_was_used_is_in_nothing_that_validators_vote_on(monkeypatch: pytest.MonkeyPatch) -> None:
    envelopes = [transfer(GENESIS, "a"), transfer(GENESIS, "b", 2_000_000)]
    here = Solo(GENESIS)
    ours = here.execute(envelopes)
    monkeypatch.setattr(metering, "UNIT_PRICES", UnitPrices(envelope_byte=7, signature=1, operation=2))
    there = Solo(GENESIS)
    theirs = there.execute(envelopes)
    assert theirs.used != ours.used
    assert there.executor.header(theirs, 0) == here.executor.header(ours, 0)


def test_a_market_counts_what_its_transactions_cost() -> None:
    market = StoredMarket()
    good, refused = market.envelope(*market.foundations(700)), market.envelope(market.op("no.such"))
    transactions = [parse_envelope(each, SUITE) for each in (good, refused)]
    execution = market.executor.execute(market.chain.tip().time_ms + 10_000, transactions)
    assert [receipt.status for receipt in execution.receipts] == ["applied", "rejected"]
    prices = [price_units(tx) for tx in transactions]
    assert execution.used == UsedUnits(sum(prices), prices[1])


def test_custody_counts_what_its_transactions_cost() -> None:
    chain = ChainBuilder()
    node = CustodyNode([chain])
    delivery = Delivery(chain.network, (entry_of(chain.extend([])),))
    transactions = [node.sign([delivery.to_operation()], ["relay"]), node.sign([{"type": "no.such"}], ["relay"])]
    execution = node.executor.execute(node.time_ms + 1_000, transactions)
    assert [receipt.status for receipt in execution.receipts] == ["applied", "rejected"]
    prices = [price_units(tx) for tx in transactions]
    assert execution.used == UsedUnits(sum(prices), prices[1])
