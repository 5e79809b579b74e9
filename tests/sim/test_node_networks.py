"""Thousands of simulated networks of whole nodes: vote logs, chain stores, mempools, gossip, catch-up, clients.

`python -m tests.sim --layer node --seed N` shows the run of a seed that fails here.
"""

from __future__ import annotations

import pytest

from tests.sim.chain_node import ChainNode
from tests.sim.checkers import Violation
from tests.sim.network import LinkQuality
from tests.sim.node_simulation import NodeSimulation
from tests.sim.plan import Ambush, FaultPlan, Outage, Rollback

SEEDS = 2_000
CHUNK = 50


@pytest.mark.parametrize("first", range(1, SEEDS + 1, CHUNK))
def test_agreement_progress_and_nothing_lost_for_every_seed(first: int) -> None:
    """What clients were told is final stays in every chain; every transaction becomes final (S1, S2, S4, C15)."""
    for seed in range(first, first + CHUNK):
        try:
            NodeSimulation(seed).run()
        except AssertionError as error:
            raise AssertionError(f"python -m tests.sim --layer node --seed {seed}: {error}") from error


@pytest.mark.parametrize("seed", range(1, 9))
def test_one_seed_is_one_trace_of_whole_nodes(seed: int) -> None:
    assert NodeSimulation(seed).run() == NodeSimulation(seed, trace=True).run()


@pytest.mark.parametrize("blackout", ["nobody", "victim", "others"])
def test_c3_a_block_that_one_node_alone_saw_decided_stays_decided(blackout: str) -> None:
    for victim in range(4):
        plan = FaultPlan(4, heal_ms=2500, ambush=Ambush(1, victim, 2000, blackout), sync_ms=3)
        NodeSimulation(victim, plan=plan).run()


def test_s1_power_cuts_of_everybody_at_any_instant() -> None:
    for seed in range(4):
        outages = [Outage(at, at + 90, (0, 1, 2, 3)) for at in range(100 + seed, 3000, 307)]
        NodeSimulation(seed, plan=FaultPlan(4, outages=outages, sync_ms=5)).run()


def test_c16_a_machine_set_back_to_an_old_image_does_not_vote_twice() -> None:
    """Vote log and database went back together; only the peers' hellos can tell (protocol rule 7)."""
    abstained = 0
    for seed in range(12):
        rollback = Rollback(seed % 4, 400 + 150 * seed, 2500 + 50 * seed)
        plan = FaultPlan(4, rollback=rollback, quality=LinkQuality(mean_delay_ms=60))
        simulation = NodeSimulation(seed, plan=plan, trace=True)
        simulation.run()
        assert not simulation.accusations
        abstained += any("warns abstaining" in line for line in simulation.world.lines)
    assert abstained


def test_c16_nodes_that_lose_their_vote_logs_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The checker can fail: without synced votes, a power cut makes nodes abstain, or worse."""
    monkeypatch.setattr(ChainNode, "persist", lambda self, records, durable: durable())
    outages = [Outage(at, at + 90, (0, 1, 2)) for at in range(100, 3900, 97)]
    broken = 0
    for seed in range(6):
        try:
            NodeSimulation(seed, plan=FaultPlan(4, outages=list(outages), sync_ms=5)).run()
        except Violation:
            broken += 1
    assert broken
