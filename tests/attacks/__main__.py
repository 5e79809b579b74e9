"""`python -m tests.attacks [--only ID …] [--jobs 2]`: prove for every entry of the table that its test passes, and
fails once the check is taken out. Exit code 0 only if all do."""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from tests.attacks.fault import FAULTS
from tests.attacks.table import ATTACKS, ROOT, Entry, read_coverage
from tests.attacks.taking_out import take_out

TIMEOUT_S = 240.0
"""For one test; all of them together have ten times as much."""
OPTIONS = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
PASSED, FAILED = 0, 1
OUR_FAULT = re.compile(
    r"^E +(NameError|UnboundLocalError|SyntaxError|ImportError)\b|^tests/attacks/faults_\w+\.py:\d+: \w+Error$", re.M
)
"""What a badly written change fails with: no proof of anything."""


@dataclass(frozen=True)
class Verdict:
    """What became of one entry. `trouble` is empty if the test needs the check."""

    entry: Entry
    trouble: str = ""


def run_tests(tests: Sequence[str], without: Entry | None = None, timeout_s: float = TIMEOUT_S) -> tuple[int, str]:
    """Exit code and output of pytest on these tests, with one check taken out if one is given. A test that does not end
    counts as failed.

    They run in a forked process, so that the product is imported once for all entries.
    """
    with tempfile.TemporaryFile("w+b") as output:
        process = multiprocessing.get_context("fork").Process(target=_run, args=(tests, without, output.fileno()))
        process.start()
        process.join(timeout_s)
        if process.exitcode is None:
            process.kill()
            process.join()
            return FAILED, "the test did not end"
        output.seek(0)
        return process.exitcode, output.read().decode(errors="replace")


def _run(tests: Sequence[str], without: Entry | None, output: int) -> None:
    for stream in (1, 2):
        os.dup2(output, stream)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
    sys.dont_write_bytecode = True
    os.chdir(ROOT)
    if without is not None:
        take_out(without.change)
    code = int(pytest.main([*OPTIONS, *tests]))
    sys.stdout.flush()
    os._exit(code)


def _import_product(entries: Sequence[Entry]) -> None:
    for entry in entries:
        for target in [target for target, _ in FAULTS[entry.fault]] if entry.fault else [entry.check]:
            importlib.import_module(target.partition(":")[0])


def prove(entry: Entry) -> Verdict:
    """The test must fail without the check, and fail as a test does."""
    code, output = run_tests([entry.test], entry)
    tail = " | ".join(output.strip().splitlines()[-3:])[-400:]
    if code == PASSED:
        return Verdict(entry, "the test passes without the check")
    if code != FAILED:
        return Verdict(entry, f"pytest ended with {code}: {tail}")
    if OUR_FAULT.search(output):
        return Verdict(entry, f"the change itself is wrong: {tail}")
    return Verdict(entry)


def prove_all(entries: Sequence[Entry], jobs: int) -> list[Verdict]:
    """All tests as they are, then each without its check."""
    _import_product(entries)
    tests = sorted({entry.test for entry in entries})
    code, output = run_tests(tests, timeout_s=10 * TIMEOUT_S)
    if code != PASSED:
        print(output[-3000:])
        return [Verdict(entry, "the tests do not pass as they are") for entry in entries]
    verdicts = []
    with ThreadPoolExecutor(jobs) as pool:
        for verdict in pool.map(prove, entries):
            print(f"{'ok  ' if not verdict.trouble else 'FAIL'} {verdict.entry.label} {verdict.trouble}", flush=True)
            verdicts.append(verdict)
    return verdicts


def main() -> int:
    """Prove the whole table, or the attacks that are named."""
    parser = argparse.ArgumentParser(prog="python -m tests.attacks", description=__doc__)
    parser.add_argument("--only", nargs="+", default=[], metavar="ID", help="attacks, such as C4 N1")
    parser.add_argument("--jobs", type=int, default=2, help="tests at once")
    arguments = parser.parse_args()
    coverage = read_coverage()
    covered = [name for name, attack in ATTACKS.items() if attack.state == "covered"]
    unknown = sorted(set(arguments.only) - set(covered))
    if unknown:
        parser.error(f"no covered attack is called {', '.join(unknown)}")
    entries = [entry for entry in coverage.entry if not arguments.only or entry.id in arguments.only]
    verdicts = prove_all(entries, arguments.jobs)
    proven = {verdict.entry.id for verdict in verdicts} - {v.entry.id for v in verdicts if v.trouble}
    wanted = arguments.only or covered
    missing = [attack for attack in wanted if attack not in proven]
    print(f"{len(proven)} of {len(wanted)} attacks proven by {len(verdicts)} tests without their checks")
    if missing:
        print(f"not proven: {', '.join(missing)}")
    return 1 if missing else 0


if __name__ == "__main__":
    raise SystemExit(main())
