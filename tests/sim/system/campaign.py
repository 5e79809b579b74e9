"""Run thousands of seeds in several processes; progress on standard error, figures as JSON, resumable.

The report is written after every batch. A campaign that is started again with the same report and commit goes on
behind the last batch; with another commit it begins anew.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from common.core.errors import InvariantBroken
from tests.sim.checkers import Violation
from tests.sim.node_simulation import NodeSimulation
from tests.sim.simulation import Simulation
from tests.sim.system.options import draw_options
from tests.sim.system.simulation import SystemSimulation

BATCH = 50
_ROOT = Path(__file__).parents[3]


def run_seed(layer: str, seed: int) -> dict[str, Any]:
    """One run's figures; `broken` says what rule it breaks, if any."""
    began = time.process_time()
    figures: dict[str, Any] = {"seed": seed, "broken": None}
    try:
        if layer == "system":
            options = draw_options(seed)
            figures["kinds"] = [*options.kinds, *(["foreign"] if options.foreign else [])]
            figures["sizes"] = [*(size for _, size in options.markets), options.custody]
            outcome = SystemSimulation(seed, options=options).run()
            figures["resumed_ms"], figures["settled_ms"] = outcome.resumed_ms, outcome.settled_ms
            figures["blocks"] = sum(outcome.heights.values())
        else:
            (Simulation if layer == "replica" else NodeSimulation)(seed).run()
    except (Violation, InvariantBroken) as error:
        figures["broken"] = str(error)[:1_000]
    except Exception as error:  # whatever a run raises is that seed's finding; the other seeds still run
        figures["broken"] = f"crash: {error!r}"[:1_000]
    figures["cpu_s"] = round(time.process_time() - began, 3)
    return figures


def _run_seed(task: tuple[str, int]) -> dict[str, Any]:
    return run_seed(*task)


def commit() -> str:
    """What is being tested; a tree with changes says so. `SIMULATED_COMMIT` names it where there is no repository."""
    if "SIMULATED_COMMIT" in os.environ:
        return os.environ["SIMULATED_COMMIT"]
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude", "*"],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return described.stdout.strip() or "unknown"


def run(layer: str, first: int, seeds: int, jobs: int, report: Path | None) -> int:
    """Run the campaign; exit code 1 if any seed breaks a rule."""
    figures = _begin(layer, first, seeds, report)
    pool = ProcessPoolExecutor(jobs)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        while figures["done"] < seeds:
            began = time.monotonic()
            start = first + figures["done"]
            batch = range(start, min(start + BATCH, first + seeds))
            results = list(pool.map(_run_seed, [(layer, seed) for seed in batch], chunksize=4))
            _add(figures, results, time.monotonic() - began)
            if report is not None:
                temporary = report.with_suffix(".partial")
                temporary.write_text(json.dumps(figures, indent=1) + "\n")
                temporary.replace(report)
            print(
                f"{figures['done']}/{seeds} seeds, {len(figures['broken'])} broken, {figures['wall_s']:.0f} s",
                file=sys.stderr,
                flush=True,
            )
    finally:
        pool.shutdown(cancel_futures=True)
    for broken in figures["broken"]:
        print(f"python -m tests.sim --layer {layer} --seed {broken['seed']}: {broken['broken']}")
    print(f"{figures['done']} seeds from {first}, {len(figures['broken'])} broken, commit {figures['commit']}")
    return 1 if figures["broken"] else 0


def _begin(layer: str, first: int, seeds: int, report: Path | None) -> dict[str, Any]:
    """Figures of a new campaign, or those that an interrupted one has left."""
    identity = {"layer": layer, "first": first, "seeds": seeds, "commit": commit()}
    if report is not None and report.exists():
        before: dict[str, Any] = json.loads(report.read_text())
        if {name: before.get(name) for name in identity} == identity:
            return before
    return {
        **identity,
        "done": 0,
        "wall_s": 0.0,
        "cpu_s": 0.0,
        "broken": [],
        "faults": {},
        "sizes": {},
        "blocks": 0,
        "longest_resumed_ms": 0,
        "longest_settled_ms": 0,
    }


def _add(figures: dict[str, Any], results: list[dict[str, Any]], wall_s: float) -> None:
    figures["done"] += len(results)
    figures["wall_s"] = round(figures["wall_s"] + wall_s, 1)
    figures["cpu_s"] = round(figures["cpu_s"] + sum(result["cpu_s"] for result in results), 1)
    kinds, sizes = Counter(figures["faults"]), Counter(figures["sizes"])
    for result in results:
        if result["broken"] is not None:
            figures["broken"].append({"seed": result["seed"], "broken": result["broken"]})
        kinds.update(result.get("kinds", ()))
        sizes.update(str(size) for size in result.get("sizes", ()))
        figures["blocks"] += result.get("blocks", 0)
        for name in ("resumed_ms", "settled_ms"):
            figures[f"longest_{name}"] = max(figures[f"longest_{name}"], result.get(name, 0))
    figures["faults"] = dict(sorted(kinds.items()))
    figures["sizes"] = dict(sorted(sizes.items(), key=lambda item: int(item[0])))
