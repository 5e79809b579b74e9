"""The command line of the system layer: show one run, run a few, reduce one that fails."""

from __future__ import annotations

import argparse
from typing import Any

from tests.sim.checkers import Violation
from tests.sim.system.options import KINDS, SystemOptions, draw_options, with_overrides
from tests.sim.system.shrink import shrink
from tests.sim.system.simulation import SystemSimulation

LAST_EVENTS = 40
"""Lines of the trace that a failing run prints."""
_OVERRIDES = ("markets", "custody", "faults", "transactions", "heal_ms", "relays", "foreign")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that override what a seed draws (`--layer system` only)."""
    group = parser.add_argument_group("--layer system: overrides of what the seed draws")
    group.add_argument("--markets", metavar="N,M", help="sizes of the business chains, one or two")
    group.add_argument("--custody", type=int, metavar="N", help="size of the custody chain")
    group.add_argument("--faults", metavar="A,B", help=f"kinds of fault, `all` or `none`: {', '.join(KINDS)}")
    group.add_argument("--transactions", type=int, help="transactions of each market")
    group.add_argument("--heal-ms", type=int, help="how long faults may go on")
    group.add_argument("--relays", type=int, help="number of relays")
    group.add_argument("--foreign", type=int, choices=(0, 1), help="whether a region of another make is attached")
    group.add_argument("--trace", action="store_true", help="print the whole trace")
    group.add_argument("--shrink", action="store_true", help="reduce a failing scenario and print its command")


def options_of(arguments: argparse.Namespace, seed: int) -> SystemOptions:
    """The scenario that a command line asks for."""
    changes: dict[str, Any] = {name: getattr(arguments, name) for name in _OVERRIDES}
    return with_overrides(draw_options(seed), changes)


def show(arguments: argparse.Namespace) -> int:
    """Run what was asked for; the exit code."""
    failures = 0
    for seed in range(arguments.seed, arguments.seed + arguments.count):
        options = options_of(arguments, seed)
        if arguments.shrink:
            failures += _shrink(options)
        else:
            failures += _show(options, whole=arguments.trace, quiet=arguments.count > 1)
    if arguments.count > 1:
        print(f"{arguments.count} seeds, {failures} broken")
    return 1 if failures else 0


def _show(options: SystemOptions, *, whole: bool, quiet: bool) -> int:
    simulation = SystemSimulation(options.seed, options=options, trace=True)
    try:
        outcome = simulation.run()
    except Violation as violation:
        print("\n".join(simulation.world.lines[0 if whole else -LAST_EVENTS :]))
        print(options.describe())
        print(f"BROKEN: {violation}")
        print(f"again: {options.command()}")
        print(f"trace {simulation.world.trace_digest}, {simulation.world.now_ms} ms simulated")
        return 1
    if whole:
        print("\n".join(simulation.world.lines))
    if not quiet:
        print(options.describe())
        print(
            f"sound: heights {outcome.heights}; commits {outcome.resumed_ms} ms after healing, "
            f"everything anchored {outcome.settled_ms} ms later"
        )
        print(f"trace {outcome.digest}, {outcome.simulated_ms} ms simulated, {outcome.happened} happenings")
    return 0


def _shrink(options: SystemOptions) -> int:
    def fails(candidate: SystemOptions) -> str | None:
        try:
            SystemSimulation(candidate.seed, options=candidate).run()
        except Violation as violation:
            return str(violation)
        return None

    reduced = shrink(options, fails)
    if reduced is None:
        print(f"{options.describe()}\nis sound: nothing to reduce")
        return 0
    smallest, why = reduced
    print(f"{smallest.describe()}\nBROKEN: {why}\nreduced: {smallest.command()}")
    return 1
