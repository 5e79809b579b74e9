"""`python -m tests.bench.bursts DIRECTORY [--rounds 5]`: a node's processor time in this checkout and in another one,
in short bursts in turn while both networks are up.

Pairs of whole measurements (`paired.py`) lie minutes apart, in which the speed of a shared machine changes by half.
`--serve` is the part that runs with another checkout's interpreter, so it imports only what both have."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench.measures import drain, latency, prepare, throughput
from tests.bench.network import cpu_seconds, local_network

REGION = "beijing"
LOW_RATE_PER_S = 10.0
BURSTS = {"block_of_one_ms": 6.0, "single_transaction_us": 4.0, "operation_in_hundreds_us": 3.0}
"""Figure -> seconds of load."""
OPERATIONS = {"single_transaction_us": 1, "operation_in_hundreds_us": 100}


def serve() -> None:
    """Keep a network up; answer each line of standard input, the name of a figure, with that figure of one burst."""
    with local_network([REGION], only=[REGION]) as network:
        market = prepare(network, REGION)
        drain(market)
        print("ready", flush=True)
        for line in sys.stdin:
            name = line.strip()
            if name in OPERATIONS:
                burst = throughput(market, operations=OPERATIONS[name], seconds=BURSTS[name])
                figure = 1000 * burst["node_cpu_ms_per_tx"] / OPERATIONS[name]
            else:
                height, before_s = market.height(), cpu_seconds(network)
                latency(market, rate_per_s=LOW_RATE_PER_S, seconds=BURSTS[name])
                blocks = max(market.height() - height, 1)
                figure = 1000 * (cpu_seconds(network) - before_s) / blocks / len(market.chain.nodes)
            print(json.dumps(round(figure, 2)), flush=True)


class Checkout:
    """A checkout whose network is up, in a process of its own."""

    def __init__(self, directory: Path) -> None:
        self._process = subprocess.Popen(
            [str(directory / ".venv/bin/python"), __file__, "--serve"],
            cwd=directory,
            env={**os.environ, "PYTHONPATH": str(directory)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        if self._answer().strip() != "ready":
            raise RuntimeError(f"the network of {directory} did not start")

    def measure(self, name: str) -> float:
        """The figure of one burst."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{name}\n")
        self._process.stdin.flush()
        return float(json.loads(self._answer()))

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def close(self) -> None:
        """End its network."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def compare(directory: Path, rounds: int, names: list[str]) -> dict[str, Any]:
    """Figures of both checkouts by name, in the order of the rounds, and the median of the rounds' changes."""
    theirs = Checkout(directory)
    ours = Checkout(Path.cwd())
    figures: dict[str, dict[str, list[float]]] = {name: {"theirs": [], "ours": []} for name in names}
    for number in range(rounds):
        for name in names:
            sides = [("theirs", theirs), ("ours", ours)]
            for side, checkout in sides if number % 2 == 0 else sides[::-1]:
                figures[name][side].append(checkout.measure(name))
            print(name, {side: found[-1] for side, found in figures[name].items()}, file=sys.stderr, flush=True)
    theirs.close()
    ours.close()
    return {
        name: found
        | {"change": round(median([b / a - 1 for a, b in zip(found["theirs"], found["ours"], strict=True)]), 3)}
        for name, found in figures.items()
    }


def main() -> None:
    """Compare this checkout with another one; print the figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bursts", description=__doc__)
    parser.add_argument("directory", type=Path, nargs="?", help="another checkout, with its own .venv")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=BURSTS, action="append", help="figures; all if absent")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve()
    elif options.directory is None:
        parser.error("name the other checkout")
    else:
        print(json.dumps(compare(options.directory.resolve(), options.rounds, options.only or list(BURSTS)), indent=2))


if __name__ == "__main__":
    main()
