"""`python -m tests.bench [NAME …]`: run measurements, print their figures, write bench/results/<time>.json with
machine and commit. `--against DIRECTORY` measures another checkout in turn with this one."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from tests.bench import growth, measures, paired, processor, slow_sync

RESULTS = Path("bench/results")
MEASURES: dict[str, Callable[[], measures.Figures]] = {
    "one_chain": measures.one_chain,
    "processor": processor.processor,
    "memory": measures.memory,
    "idle": measures.idle,
    "anchoring": measures.anchoring,
    "anchoring_rate": measures.anchoring_rate,
    "catch_up": growth.catch_up,
    "slow_sync": slow_sync.slow_sync,
    "checkpoint_join": growth.checkpoint_join,
}


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
    model = models[0].split(":", 1)[1].strip() if models else platform.machine()
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": model,
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "python": platform.python_version(),
        "system": platform.platform(),
        "load_average_before": os.getloadavg()[0],
    }


def commit() -> str:
    """What is checked out."""
    result = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return result.stdout.strip()


def apart(measure: Callable[[], measures.Figures]) -> measures.Figures:
    """Run a measurement in a process of its own: nodes are forked from it, and must not inherit what others left."""
    with ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measure).result()


def main() -> int:
    """Run the measurements that are named, or all; or compare two checkouts."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(MEASURES))
    parser.add_argument("--against", type=Path, metavar="DIRECTORY", help="another checkout, with its own .venv")
    parser.add_argument("--pairs", type=int, default=3, help="how often each checkout is measured")
    options = parser.parse_args()
    known = paired.NAMES if options.against else tuple(MEASURES)
    names = options.names or (known[:1] if options.against else known)
    unknown = [name for name in names if name not in known]
    if unknown:
        parser.error(f"no measurement is called {', '.join(unknown)}; there are {', '.join(known)}")
    result: dict[str, Any] = {"commit": commit(), "machine": machine(), "figures": (figures := {})}
    for name in names:
        print(f"{name} …", file=sys.stderr, flush=True)
        if options.against:
            figures[name] = paired.compare(options.against.resolve(), name, options.pairs)
        else:
            figures[name] = apart(MEASURES[name])
        print(json.dumps({name: figures[name]}, indent=2), flush=True)
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(path, file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
