"""Run every schedule of twins, up to symmetry. Exit code 1 if correct members fork, stall, or are accused."""

from __future__ import annotations

import argparse
import sys
import time

from tests.sim.checkers import Violation
from tests.sim.twins.enumerate import FAMILIES, enumerate_all
from tests.sim.twins.schedules import Enumeration


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim.twins", description=__doc__)
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time (default 2)")
    arguments = parser.parse_args()
    for family in FAMILIES:
        enumeration = Enumeration(cut_commits=family.cut_commits)
        everything = enumeration.choices**family.length
        print(
            f"{family.name}: {family.length} rounds of {enumeration.choices} kinds, {everything:,} schedules, "
            f"{enumeration.count(family.length):,} up to symmetry",
            flush=True,
        )
        started = time.monotonic()
        try:
            tally = enumerate_all(family, arguments.jobs)
        except Violation as violation:
            print(f"BROKEN: {violation}")
            return 1
        if tally.covered != enumeration.count(family.length):
            print(f"BROKEN: {tally.covered:,} schedules covered: the enumeration is wrong")
            return 1
        seconds = time.monotonic() - started
        print(
            f"  {tally.run:,} scenarios run ({tally.settled_early:,} settled early) for {tally.covered:,} schedules, "
            f"no fork, no stall: {seconds:.0f} s",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
