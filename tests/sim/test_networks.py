"""Thousands of simulated networks: agreement always, progress after healing, the same trace for the same seed.

`python -m tests.sim --layer replica --seed N` shows the run of a seed that fails here.
"""

from __future__ import annotations

import pytest

from common.consensus.messages import ConsensusMessage, NewView, Proposal, ViewChange, Vote
from tests.sim.checkers import culprits, least_quorum
from tests.sim.network import LinkQuality
from tests.sim.plan import SIZES, Ambush, FaultPlan, Outage, Partition, collusion_plan
from tests.sim.simulation import Simulation

SEEDS = 2000
CHUNK = 100


@pytest.mark.parametrize("first", range(1, SEEDS + 1, CHUNK))
def test_agreement_and_progress_for_every_seed(first: int) -> None:
    """Drops, duplicates, delays, partitions, power cuts, twins, set changes: whatever the seeds draw (S1, S4)."""
    for seed in range(first, first + CHUNK):
        try:
            Simulation(seed).run()
        except AssertionError as error:
            raise AssertionError(f"python -m tests.sim --layer replica --seed {seed}: {error}") from error


@pytest.mark.parametrize("size", [2, 3, 6, 10])
def test_agreement_and_progress_in_networks_of_other_sizes(size: int) -> None:
    for seed in range(10_301, 10_401):
        try:
            Simulation(seed, size=size).run()
        except AssertionError as error:
            raise AssertionError(f"--layer replica --seed {seed} --nodes {size}: {error}") from error


def test_the_seeds_draw_what_they_should() -> None:
    """The suite exercises every size and every kind of fault, view changes, re-proposals and accusations."""
    simulations = [Simulation(seed) for seed in range(1, 301)]
    plans = [simulation.plan for simulation in simulations]
    assert {plan.size for plan in plans} == set(SIZES)
    for kind in ("partitions", "outages", "twins", "set_changes", "starved", "idle", "on_the_wire"):
        assert any(getattr(plan, kind) for plan in plans), kind
    assert any(plan.fast_clock is not None for plan in plans)
    assert {plan.ambush.blackout for plan in plans if plan.ambush} == {"nobody", "victim", "others"}
    outcomes = [simulation.run() for simulation in simulations[:100]]
    assert max(outcome.highest_view for outcome in outcomes) >= 3
    assert any(outcome.accusations for outcome in outcomes)


@pytest.mark.parametrize("seed", range(1, 21))
def test_one_seed_is_one_trace(seed: int) -> None:
    assert Simulation(seed).run() == Simulation(seed, trace=True).run()


def test_different_seeds_are_different_traces() -> None:
    assert len({Simulation(seed, size=4).run().digest for seed in range(1, 21)}) == 20


@pytest.mark.parametrize("size", [4, 5, 7])
@pytest.mark.parametrize("seed", range(1, 6))
def test_c3_a_block_that_one_node_alone_saw_decided_stays_decided(size: int, seed: int) -> None:
    """COMMITs reach one victim only, which then falls silent; the rest may change views as they like."""
    for blackout in ("nobody", "victim", "others"):
        for victim in range(size):
            plan = FaultPlan(size, heal_ms=2500, ambush=Ambush(1, victim, 2000, blackout), sync_ms=3)
            simulation = Simulation(seed, plan=plan)
            simulation.run()
            assert simulation.agreement.decided[1]


@pytest.mark.parametrize("seed", range(1, 6))
def test_s1_power_cuts_of_everybody_at_any_instant(seed: int) -> None:
    outages = [Outage(at, at + 90, (0, 1, 2, 3)) for at in range(100 + seed, 3000, 307)]
    Simulation(seed, plan=FaultPlan(4, outages=outages, sync_ms=5)).run()


@pytest.mark.parametrize("seed", range(1, 6))
def test_s4_halves_and_a_ring_make_no_progress_and_no_harm(seed: int) -> None:
    halves = Partition(0, 3900, ((0, 1), (2, 3)))
    simulation = Simulation(seed, plan=FaultPlan(4, partitions=[halves]))
    simulation.start()
    simulation.world.run(3800, lambda: False)
    assert not simulation.agreement.decided, "neither half is a quorum"
    alone = [Partition(0, 3900, ((0,), (1,), (2,), (3,)))]
    Simulation(seed, plan=FaultPlan(4, partitions=alone, quality=LinkQuality(loss=0.3))).run()


@pytest.mark.parametrize("seed", range(1, 6))
def test_c15_a_member_whose_clock_is_an_hour_ahead_is_passed_over(seed: int) -> None:
    simulation = Simulation(seed, plan=FaultPlan(4, fast_clock=2))
    outcome = simulation.run()
    assert min(outcome.heights) > 3
    proposers = {block.header.proposer for block, _ in simulation.nodes[0].chain}
    assert 2 not in proposers


def run_collusion(size: int, twins: int, seed: int) -> tuple[Simulation, list[ConsensusMessage]]:
    """Let twins collude for four simulated seconds; return the network and all that was said in it."""
    simulation = Simulation(seed, plan=collusion_plan(size, twins))
    simulation.agreement.raise_on_fork = False
    heard: list[ConsensusMessage] = []

    def tap(_source: object, _target: object, payload: tuple[object, ...]) -> None:
        message = payload[-1]
        if isinstance(message, Proposal | Vote | ViewChange | NewView):
            heard.append(message)

    simulation.network.taps.append(tap)
    simulation.start()
    simulation.world.run(3900, lambda: False)
    return simulation, heard


@pytest.mark.parametrize("size", [4, 5, 6, 7, 10])
def test_c20_enough_colluding_twins_fork_the_network_and_are_named(size: int) -> None:
    """2q-n twins: what any two quorums must share. The checker sees the fork; the evidence names the twins alone."""
    twins = 2 * least_quorum(size) - size
    simulation, heard = run_collusion(size, twins, seed=size)
    assert simulation.agreement.forks, "the checker cannot fail, so it proves nothing"
    first, second = simulation.agreement.forks[0]
    assert first.height == second.height
    assert first.block_id != second.block_id
    evidence = culprits(heard, tuple(range(size)))
    assert set(evidence) == set(range(twins))
    for number, (one, two) in evidence.items():
        assert one.signer == two.signer == number
        assert (one.stage, one.height, one.view) == (two.stage, two.height, two.view)
        assert one.block_id != two.block_id


@pytest.mark.parametrize("size", [4, 5, 6, 7, 10])
def test_c20_one_twin_less_cannot_fork(size: int) -> None:
    twins = 2 * least_quorum(size) - size - 1
    for seed in range(1, 4):
        simulation, _ = run_collusion(size, twins, seed)
        assert not simulation.agreement.forks


def test_c20_correct_members_are_never_culprits() -> None:
    """They may commit one block in two views, which accuses nobody (protocol rule 20)."""
    for seed in range(1, 60):
        simulation = Simulation(seed)
        votes: list[ConsensusMessage] = []
        simulation.network.taps.append(
            lambda _s, _t, payload, kept=votes: kept.append(payload[-1]) if isinstance(payload[-1], Vote) else None
        )
        simulation.run()
        if not simulation.plan.set_changes:
            assert set(culprits(votes, simulation.members(1))) <= set(simulation.plan.twins)
