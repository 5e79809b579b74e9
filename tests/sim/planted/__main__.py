"""Plant every bug in turn and see which checker catches it. Exit code 1 if too many escape, or any safety bug does."""

from __future__ import annotations

import argparse
import sys

from tests.sim.planted.bug import BUGS
from tests.sim.planted.hunt import Finding, control_all, hunt_all

LEAST_CAUGHT = 0.95


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim.planted", description=__doc__)
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time (default 2)")
    parser.add_argument("--only", action="append", metavar="NAME", help="hunt this bug only; may be repeated")
    parser.add_argument("--list", action="store_true", help="say what there is, and stop")
    parser.add_argument("--no-control", action="store_true", help="skip the run without bugs")
    arguments = parser.parse_args()
    if arguments.list:
        for found in BUGS.values():
            print(f"{found.name:44} {found.kind:9} {found.layer:18} {found.meaning}")
        return 0
    unknown = set(arguments.only or ()) - BUGS.keys()
    if unknown:
        parser.error(f"no such bug: {', '.join(sorted(unknown))}")
    findings = hunt_all(arguments.only or list(BUGS), arguments.jobs, _report)
    failed = _judge(findings)
    if not arguments.no_control:
        shown = control_all(findings, arguments.jobs)
        print(
            "\n".join(["control: VIOLATIONS WITHOUT ANY BUG", *shown])
            if shown
            else "control: no violation without a bug"
        )
        failed = failed or bool(shown)
    return 1 if failed else 0


def _report(finding: Finding) -> None:
    verdict = "ESCAPED" if finding.seed is None else f"{finding.checker} at seed {finding.seed}"
    print(f"{finding.bug:44} {finding.kind:9} {finding.layer:18} {verdict:32} {finding.seconds:6.1f} s", flush=True)


def _judge(findings: list[Finding]) -> bool:
    caught = [found for found in findings if found.seed is not None]
    escaped = [found.bug for found in findings if found.seed is None and found.kind == "safety"]
    share = len(caught) / len(findings)
    seconds = sum(found.seconds for found in findings)
    print(f"{len(caught)} of {len(findings)} caught ({share:.1%}), {seconds:.0f} s of work")
    if escaped:
        print(f"safety bugs escaped: {', '.join(escaped)}")
    return share < LEAST_CAUGHT or bool(escaped)


if __name__ == "__main__":
    sys.exit(main())
