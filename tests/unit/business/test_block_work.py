"""Queued work of a business chain: a kind of the test's own makes data objects, and custody takes them in."""

from __future__ import annotations

from typing import Any

import pytest

from business_chain import block_work
from business_chain.block_work import LANE, MAX_UNITS, BlockWork
from common.chain import work
from common.chain.application import BlockContext, Outcome, StateView
from common.core.receipt import receipt_root
from common.core.suite import ED25519_SHA256
from tests.support.chains import ChainBuilder
from tests.support.custody import Custody, account
from tests.unit.business.stored_market import StoredMarket

ACCOUNTS = 600
"""More than two blocks may open."""


def open_accounts(block: BlockWork, item: work.Item, progress: Any, budget: work.Budget) -> Any:
    """A unit opens one account."""
    opened = int(progress)
    while opened < ACCOUNTS and budget.take():
        object_id = f"{item.key}-{opened}"
        block.made(object_id, 0, account(object_id, "person-1"))
        opened += 1
    return work.DONE if opened == ACCOUNTS and budget.units else opened


@pytest.fixture
def market(monkeypatch: pytest.MonkeyPatch) -> StoredMarket:
    """A market whose first block leaves work, as an operation would."""
    take_up = block_work.take_up

    def queueing(context: BlockContext, state: StateView) -> Outcome:
        outcome = take_up(context, state)
        if context.height == 1:
            work.queue(state, work.Item(LANE, "accounts", "made"), 0)
        return outcome

    monkeypatch.setattr(block_work, "KINDS", {"accounts": open_accounts})
    monkeypatch.setattr(block_work, "take_up", queueing)
    return StoredMarket()


def test_what_blocks_make_is_in_block_and_receipt_and_reaches_custody(market: StoredMarket) -> None:
    for _ in range(5):
        market.commit_envelopes()
    chain, region = market.chain, ChainBuilder()
    custody = Custody([region])
    made = [receipt.objects if receipt else () for receipt in map(chain.block_receipt, range(1, 6))]
    assert [len(objects) for objects in made] == [0, MAX_UNITS, MAX_UNITS, ACCOUNTS - 2 * MAX_UNITS, 0]
    assert [name for objects in made for name, _ in objects] == [f"made-{number}" for number in range(ACCOUNTS)]
    for height in range(1, 6):
        header = chain.header(height)
        assert header.receipt_root == receipt_root(ED25519_SHA256, chain.all_receipts(height))
        assert header.snapshot_count == len(made[height - 1])
        custody.deliver(region, *chain.snapshots(height))
    assert not chain.moment().state_scan(work.PREFIX, None, 1)
    assert len(custody.scan("account/beijing/made-")) == ACCOUNTS
    assert custody.region()["anomalies"] == 0
