"""Show one simulated network: its plan, its trace, its verdict. Exit code 1 if a rule is broken."""

from __future__ import annotations

import argparse
import sys

from common.core.errors import InvariantBroken
from tests.sim.checkers import Violation
from tests.sim.simulation import Simulation


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="what decides everything (default 1)")
    parser.add_argument("--nodes", type=int, default=None, help="number of validators (default: drawn from the seed)")
    parser.add_argument("--count", type=int, default=1, help="run this many seeds from --seed on, without traces")
    arguments = parser.parse_args()
    failures = 0
    for seed in range(arguments.seed, arguments.seed + arguments.count):
        failures += _show(seed, arguments.nodes, trace=arguments.count == 1)
    return 1 if failures else 0


def _show(seed: int, nodes: int | None, *, trace: bool) -> int:
    simulation = Simulation(seed, size=nodes, trace=trace)
    plan = simulation.plan.describe()
    try:
        outcome = simulation.run()
        verdict, failed = f"agreed; heights {outcome.heights}, highest view {outcome.highest_view}", 0
    except (Violation, InvariantBroken) as error:
        verdict, failed = f"BROKEN: {error}", 1
    if trace:
        print("\n".join(simulation.world.lines))
        print("\n".join(plan))
    if trace or failed:
        print(f"seed {seed}: {verdict}")
        print(f"trace {simulation.world.trace_digest}, {simulation.world.now_ms} ms simulated")
    return failed


if __name__ == "__main__":
    sys.exit(main())
