"""One validator that always lies over HTTP, in one manner, cannot hold the relay up for long (attack R10)."""

from __future__ import annotations

from random import Random

import pytest

from tests.sim.system.founding import CUSTODY
from tests.sim.system.liar import MANNERS, SystemLiar
from tests.sim.system.options import SystemOptions
from tests.sim.system.simulation import SystemSimulation


@pytest.mark.parametrize("manner", MANNERS)
@pytest.mark.parametrize("network", [CUSTODY, "beijing"])
def test_r10_a_node_that_always_lies_to_the_relay_does_not_stop_it(network: str, manner: str) -> None:
    """The node that the relay asks first is the liar: whoever believes or waits for it alone never gets on."""
    options = SystemOptions(
        seed=1, markets=(("beijing", 4),), custody=4, kinds=(), transactions=2, heal_ms=1_000, relays=1
    )
    simulation = SystemSimulation(1, options=options)
    victim = simulation.chains[network][0]
    victim.mischief = SystemLiar(Random(manner), victim, frozenset({"http"}), manner)
    simulation.run()
