"""Timers' tokens, and how many operations a leader takes."""

from __future__ import annotations

from itertools import count

from common.node.logic.agreement.pacing import MIN_OPERATIONS, MOST_INTERVAL_MS, BlockBudget, LoopLag
from common.node.logic.node_effects import CancelTimer, SetTimer
from common.node.logic.node_events import Timer
from common.node.logic.node_outbox import NodeOutbox
from common.node.logic.node_status import NodeLimits
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
    budget = BlockBudget(50)
    assert budget.operations(2_000) == 2_000
    budget.took(1_000, 0)
    budget.took(5, 10**12)
    assert budget.operations(2_000) == 2_000, "no stopwatch, or too few operations: nothing learned"
    budget.took(1_000, 100_000_000)
    assert budget.operations(2_000) == 500
    for _ in range(30):
        budget.took(100, 1_000_000)
    assert budget.operations(2_000) == 2_000
    for _ in range(30):
        budget.took(100, 10**12)
    assert budget.operations(2_000) == MIN_OPERATIONS


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


def test_the_interval_follows_the_lag_within_its_bounds() -> None:
    lag = LoopLag()
    for _ in range(50):
        lag.came_late(Timer.VIEW, 10**6)
    assert lag.interval_ms(25) == 25, "it waits for messages, not for the processor"
    for _ in range(50):
        lag.came_late(Timer.BUILD, 1_500)
    assert lag.interval_ms(25) == 25, "a timer's own resolution is no lag"
    for _ in range(50):
        lag.came_late(Timer.BUILD, 4_500)
    assert 90 <= lag.interval_ms(25) <= 96
    lag.came_late(Timer.BUILD, 10**9)
    assert lag.interval_ms(25) <= MOST_INTERVAL_MS
    for _ in range(50):
        lag.came_late(Timer.BUILD, 10**9)
    assert lag.interval_ms(25) == MOST_INTERVAL_MS
    assert lag.interval_ms(500) == 500
    for _ in range(100):
        lag.came_late(Timer.BUILD, 0)
    assert lag.interval_ms(25) == 25


def _times_of_blocks(late_us: int, transactions: int, every_ms: int) -> list[int]:
    """Block times of a network whose timers are late, and that is given a transaction every so often."""
    genesis = make_genesis(names_of(4))
    bus = Bus(genesis, names_of(4))
    for machine in bus.machines.values():
        machine.late_us = late_us
    bus.start()
    bus.pass_time(2_000)
    first = bus.machines["node-0"]
    for number in range(transactions):
        bus.submit("node-0", transfer(genesis, f"t{number}"))
        bus.pass_time(every_ms)
    bus.run(lambda: first.node is not None and len(first.node._mempool) == 0)
    return [block.header.time_ms for block in first.committed if block.header.tx_count]


def test_blocks_keep_their_distance_while_timers_come_late_and_not_otherwise() -> None:
    prompt = _times_of_blocks(0, 40, 30)
    late = _times_of_blocks(100_000, 40, 30)
    assert len(prompt) > 2 * len(late)
    gaps = [after - before for before, after in zip(late[-4:], late[-3:], strict=False)]
    assert all(MOST_INTERVAL_MS <= gap <= MOST_INTERVAL_MS + 100 for gap in gaps), gaps


def test_a_full_block_does_not_wait_for_a_lag() -> None:
    genesis = make_genesis(names_of(1))
    bus = Bus(genesis, names_of(1), limits=NodeLimits(block_execution_ms=1))
    machine = bus.machines["node-0"]
    machine.late_us = 100_000
    machine.stopwatch = count(0, 10**8).__next__
    bus.start()
    for batch in ("one", "two"):  # the first teaches how much a full block is
        for number in range(12 * MIN_OPERATIONS):
            bus.submit("node-0", transfer(genesis, f"{batch}-{number}"))
        bus.run(lambda: machine.node is not None and len(machine.node._mempool) == 0)
    times = [block.header.time_ms for block in machine.committed if block.header.tx_count == MIN_OPERATIONS]
    assert len(times) >= 5
    assert times[-1] - times[-5] < MOST_INTERVAL_MS
