"""What business blocks make by themselves travels like everything else: through faults, relay and custody, and every
replay gives the same.
"""

from __future__ import annotations

from typing import Any

import pytest

from business_chain import block_work
from business_chain.block_work import LANE, MAX_UNITS, BlockWork
from common.chain import work
from common.chain.application import BlockContext, Outcome, StateView
from tests.sim.system.audit import best, region_record
from tests.sim.system.options import SystemOptions
from tests.sim.system.simulation import SystemSimulation
from tests.support.custody import account

ACCOUNTS = 300
QUEUED_AT = 1


def open_accounts(block: BlockWork, item: work.Item, progress: Any, budget: work.Budget) -> Any:
    """A unit opens one account."""
    opened = int(progress)
    while opened < ACCOUNTS and budget.take():
        block.made(f"made-{opened}", 0, account(f"made-{opened}", "person-1"))
        opened += 1
    return work.DONE if opened == ACCOUNTS and budget.units else opened


@pytest.mark.parametrize("kinds", [("power",), ("byzantine", "starve")])
def test_objects_that_blocks_make_reach_custody_whole(monkeypatch: pytest.MonkeyPatch, kinds: tuple[str, ...]) -> None:
    take_up = block_work.take_up

    def queueing(context: BlockContext, state: StateView) -> Outcome:
        outcome = take_up(context, state)
        if context.height == QUEUED_AT:
            work.queue(state, work.Item(LANE, "accounts", "made"), 0)
        return outcome

    monkeypatch.setattr(block_work, "KINDS", {"accounts": open_accounts})
    monkeypatch.setattr(block_work, "take_up", queueing)
    options = SystemOptions(
        seed=3, markets=(("beijing", 4),), custody=4, kinds=kinds, transactions=4, heal_ms=2_500, relays=1
    )
    simulation = SystemSimulation(3, options=options)
    simulation.run()
    region = best(simulation.correct("beijing")).chain
    made = [region.block_receipt(QUEUED_AT + at) for at in (1, 2)]
    assert [len(receipt.objects) for receipt in made if receipt] == [MAX_UNITS, ACCOUNTS - MAX_UNITS]
    custody = best(simulation.correct("custody")).chain.moment()
    assert len(custody.state_scan(b"account/beijing/made-", None, 2 * ACCOUNTS)) == ACCOUNTS
    assert region_record(simulation, "beijing").anomalies == 0
