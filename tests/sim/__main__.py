"""Show one simulated network: its trace, its plan, its verdict. Exit code 1 if a rule is broken."""

from __future__ import annotations

import argparse
import sys

from common.core.errors import InvariantBroken
from tests.sim.checkers import Violation
from tests.sim.node_simulation import NodeSimulation
from tests.sim.simulation import Simulation

LAYERS = {"replica": Simulation, "node": NodeSimulation}


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="what decides everything (default 1)")
    parser.add_argument("--nodes", type=int, default=None, help="number of validators (default: drawn from the seed)")
    parser.add_argument(
        "--layer", choices=sorted(LAYERS), default="node", help="whole nodes with clients (default), or bare replicas"
    )
    parser.add_argument("--count", type=int, default=1, help="run this many seeds from --seed on, without traces")
    arguments = parser.parse_args()
    failures = 0
    for seed in range(arguments.seed, arguments.seed + arguments.count):
        failures += _show(arguments.layer, seed, arguments.nodes, trace=arguments.count == 1)
    if arguments.count > 1:
        print(f"{arguments.count} seeds, {failures} broken")
    return 1 if failures else 0


def _show(layer: str, seed: int, nodes: int | None, *, trace: bool) -> int:
    simulation = LAYERS[layer](seed, size=nodes, trace=trace)
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
        print(f"seed {seed}, layer {layer}: {verdict}")
        print(f"trace {simulation.world.trace_digest}, {simulation.world.now_ms} ms simulated")
    return failed


if __name__ == "__main__":
    sys.exit(main())
