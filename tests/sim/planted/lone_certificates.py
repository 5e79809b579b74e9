"""Three views in which each certificate is known to few: where a new leader must choose the highest, or fork.

View 0: a block is prepared at one process alone. View 1: without that process, another block is prepared at the rest,
and decided by one that then falls silent. View 2: the first process, another of the second view's and the
same half of the twin go on. They hold certificates of two blocks, and must decide the second (attack C3).
"""

from __future__ import annotations

from itertools import permutations, product

from tests.sim.checkers import Violation
from tests.sim.twins.schedules import CORRECT, HALVES, SIZE, member_of
from tests.sim.twins.world import Round, TwinsWorld

SCENARIOS = list(product(permutations(CORRECT), HALVES, (0, 1)))
"""Who is who, which half takes part, and which of the last two correct processes leads view 2."""


def run_scenario(seed: int) -> None:
    """One of them, in turn. Raises `Violation`."""
    (first, second, silent), half, leads = SCENARIOS[seed % len(SCENARIOS)]
    schedule = (
        Round(member_of(first), (tuple(sorted((half, *CORRECT))),), commits_to=(), prepares_to=(first,)),
        Round(member_of(second), (tuple(sorted((half, second, silent))),), commits_to=(silent,)),
        Round(member_of((first, second)[leads]), (tuple(sorted((half, first, second))),)),
    )
    world = TwinsWorld(SIZE, 1, schedule)
    world.run_schedule()
    world.check()
    if not world.processes[silent].committed:
        raise Violation("no progress: the scenario does not come about")
    world.heal()
    world.check()
