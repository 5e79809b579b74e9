"""Whole systems from a seed: safety under faults, progress after healing, the same trace for the same seed.

`python -m tests.sim --layer system --seed N` shows the run of a seed that fails here.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.sim.system.options import KINDS, SIZES, draw_options
from tests.sim.system.simulation import SystemSimulation

SEEDS = 200
CHUNK = 10


@pytest.mark.parametrize("first", range(1, SEEDS + 1, CHUNK))
def test_s4_every_seed_keeps_the_rules_and_comes_back_to_work(first: int) -> None:
    for seed in range(first, first + CHUNK):
        try:
            SystemSimulation(seed).run()
        except AssertionError as error:
            raise AssertionError(f"python -m tests.sim --layer system --seed {seed}: {error}") from error


@pytest.mark.parametrize("seed", [7, 12, 21])
def test_r3_a_region_of_another_make_is_attached_anchored_frozen_and_recovered(seed: int) -> None:
    """In the end the custody chain has named who signed two blocks, and has the whole chain."""
    SystemSimulation(seed, options=replace(draw_options(seed), foreign=True, kinds=())).run()


def test_r3_a_region_that_its_lost_branch_freezes_again_is_recovered_again() -> None:
    """The relay still read on where the branch went on when governance had recovered the region."""
    SystemSimulation(920_017, options=replace(draw_options(920_017), foreign=True)).run()


def test_what_a_liar_was_first_to_tell_truly_is_waited_for() -> None:
    """A faulty node had block 6, and told its client, before any correct one: these are owed time to get it."""
    SystemSimulation(1_000_126).run()


def test_the_seeds_draw_every_size_and_every_kind_of_fault() -> None:
    scenarios = [draw_options(seed) for seed in range(1, SEEDS + 1)]
    assert {kind for scenario in scenarios for kind in scenario.kinds} == set(KINDS)
    assert {size for scenario in scenarios for _, size in scenario.markets} == set(SIZES)
    assert {scenario.custody for scenario in scenarios} == set(SIZES)
    assert {len(scenario.markets) for scenario in scenarios} == {1, 2}
    assert {scenario.relays for scenario in scenarios} == {1, 2}
    assert {scenario.foreign for scenario in scenarios} == {False, True}


@pytest.mark.parametrize("seed", [3, 9, 31])
def test_one_seed_is_one_trace_in_every_process(seed: int) -> None:
    """Neither the hash of strings nor what ran before may have a say."""
    here = SystemSimulation(seed).run().digest
    assert SystemSimulation(seed, trace=True).run().digest == here
    again = subprocess.run(
        [sys.executable, "-m", "tests.sim", "--layer", "system", "--seed", str(seed)],
        cwd=Path(__file__).parents[3],
        env={**os.environ, "PYTHONHASHSEED": str(seed)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"trace {here}" in again.stdout
