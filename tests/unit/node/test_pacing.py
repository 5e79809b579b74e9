"""Timers' tokens, and how many operations a leader takes."""

from __future__ import annotations

from itertools import count

from common.node.logic.agreement.pacing import MIN_OPERATIONS, BlockBudget
from common.node.logic.node_effects import CancelTimer, SetTimer
from common.node.logic.node_events import Timer
from common.node.logic.node_outbox import NodeOutbox
from tests.unit.node.bus import Bus, names_of
from tests.unit.node.toy import make_genesis, transfer


def test_c11_expiry_of_a_replaced_or_cancelled_timer_is_void() -> None:
    outbox = NodeOutbox()
    first = outbox.set_timer(Timer.VIEW, 10)
    second = outbox.set_timer(Timer.VIEW, 20)
    assert not outbox.expired(Timer.VIEW, first)
    assert outbox.runs(Timer.VIEW)
    assert outbox.expired(Timer.VIEW, second)
    assert not outbox.expired(Timer.VIEW, second)
    third = outbox.set_timer(Timer.VIEW, 30)
    outbox.cancel_timer(Timer.VIEW)
    assert not outbox.expired(Timer.VIEW, third)
    outbox.cancel_timer(Timer.VIEW)
    assert [type(effect) for effect in outbox.take()] == [SetTimer, SetTimer, SetTimer, CancelTimer]
    assert outbox.take() == []


def test_budget_follows_what_operations_took() -> None:
    budget = BlockBudget(50, 2_000)
    assert budget.operations == 2_000
    budget.took(1_000, 0)
    budget.took(5, 10**12)
    assert budget.operations == 2_000, "no stopwatch, or too few operations: nothing learned"
    budget.took(1_000, 100_000_000)
    assert budget.operations == 500
    for _ in range(30):
        budget.took(100, 1_000_000)
    assert budget.operations == 2_000
    for _ in range(30):
        budget.took(100, 10**12)
    assert budget.operations == MIN_OPERATIONS


def test_rule_14_slow_leaders_make_smaller_blocks() -> None:
    genesis = make_genesis(names_of(1))
    bus = Bus(genesis, names_of(1))
    ticks = count(step=250_000_000)
    bus.machines["node-0"].stopwatch = lambda: next(ticks)
    bus.start()
    for at in range(301):
        bus.submit("node-0", transfer(genesis, f"n{at}"))
    bus.run(lambda: not bus.machines["node-0"].running.status().mempool_transactions)
    chain = bus.machines["node-0"].chain
    sizes = [chain.header(height).tx_count for height in range(1, chain.tip().height + 1)]
    assert sizes[0] == 1, "an idle leader does not wait"
    assert sizes[1] == 300
    for at in range(300):
        bus.submit("node-0", transfer(genesis, f"m{at}"))
    bus.run(lambda: not bus.machines["node-0"].running.status().mempool_transactions)
    later = [chain.header(height).tx_count for height in range(4, chain.tip().height + 1)]
    assert max(later) <= 60, "300 operations took 250 ms, so 60 take 50"
