"""Show one simulated network: its trace, its plan, its verdict; or run many seeds. Exit code 1 if a rule is broken."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from common.core.errors import InvariantBroken
from tests.sim.checkers import Violation
from tests.sim.node_simulation import NodeSimulation
from tests.sim.simulation import Simulation
from tests.sim.system import campaign, commands

LAYERS: dict[str, Any] = {"replica": Simulation, "node": NodeSimulation}


def main() -> int:
    """Run from the command line."""
    arguments = _parser().parse_args()
    if arguments.campaign is not None:
        return campaign.run(arguments.layer, arguments.seed, arguments.campaign, arguments.jobs, arguments.report)
    if arguments.layer == "system":
        return commands.show(arguments)
    failures = 0
    for seed in range(arguments.seed, arguments.seed + arguments.count):
        failures += _show(arguments.layer, seed, arguments.nodes, trace=arguments.count == 1)
    if arguments.count > 1:
        print(f"{arguments.count} seeds, {failures} broken")
    return 1 if failures else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="what decides everything (default 1)")
    parser.add_argument("--nodes", type=int, default=None, help="number of validators (default: drawn from the seed)")
    parser.add_argument(
        "--layer",
        choices=[*sorted(LAYERS), "system"],
        default="node",
        help="the whole system with relay and custody chain, whole nodes of one chain (default), or bare replicas",
    )
    parser.add_argument("--count", type=int, default=1, help="run this many seeds from --seed on, without traces")
    parser.add_argument("--campaign", type=int, metavar="SEEDS", help="run so many seeds from --seed on; resumable")
    parser.add_argument("--jobs", type=int, default=1, help="processes of a campaign (default 1)")
    parser.add_argument("--report", type=Path, default=None, help="where a campaign writes its figures (JSON)")
    commands.add_arguments(parser)
    return parser


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
