"""Every mutator is at work in the simulations, and correct nodes bear it: agreement, progress, memory, no crash."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.sim.mutators import EXERCISED, MUTATORS
from tests.sim.mutators.catalogue import TARGETS, mutator, named
from tests.sim.planted.hostile import hostile_plan
from tests.sim.planted.hunt import outcome_of

SEEDS = {"leader of replicas": 25, "catch-up": 50, "packets": 24, "replica": 50, "node": 15}
"""Seeds of each layer that are run by default, from 1 on."""
MOST_SEEDS = {"replica": 200, "node": 80}
"""How far these go on while the table still has an empty line: what a seed draws shifts with the product."""
LEAST_OF_EACH = 8


def test_correct_nodes_bear_every_mutator() -> None:
    """No fork, no stall, no crash, bounded memory; and the table has no empty line."""
    before = Counter(EXERCISED)

    def unused() -> list[str]:
        return [name for name in MUTATORS if EXERCISED[name] == before[name]]

    for layer, count in SEEDS.items():
        for seed in range(1, MOST_SEEDS.get(layer, count) + 1):
            if seed > count and not [
                name for name in unused() if (MUTATORS[name].target == "sync") == (layer == "node")
            ]:
                break
            error = outcome_of(layer, seed)
            assert error is None, f"{layer} seed {seed}: {error!r}"
    assert unused() == []


def test_there_are_enough_mutators_for_everything_that_is_said() -> None:
    counts = Counter(found.target for found in MUTATORS.values())
    assert set(counts) == set(TARGETS)
    assert min(counts.values()) >= LEAST_OF_EACH
    assert all(found.meaning.endswith((".", ").")) for found in MUTATORS.values())


def test_a_mutator_needs_a_target_a_meaning_and_a_name() -> None:
    def silent(workshop: object, truth: object) -> None:
        return None

    with pytest.raises(ValueError, match="silent"):
        mutator("packet")(silent)
    with pytest.raises(ValueError, match="needs a known target"):
        mutator("gossip")(named("packet")[0].change)


def test_hostile_plans_stay_within_the_fault_model() -> None:
    for layer in ("replica", "node"):
        plans = [hostile_plan(seed, layer) for seed in range(1, 201)]
        assert all(len(plan.faulty) <= (plan.size - 1) // 3 for plan in plans)
        assert sum(bool(plan.twins) for plan in plans) > 80
