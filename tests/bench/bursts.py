"""`python -m tests.bench.bursts DIRECTORY [--rounds 15]`: a node's processor time in this checkout and in another one,
in short bursts of equal work in turn while both networks are up.

Pairs of whole measurements (`paired.py`) lie minutes apart, in which the speed of a shared machine changes by half.
`--serve` is the part that runs with another checkout's interpreter, so it imports only what both have."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench.load import Connection, Outcome, flood
from tests.bench.measures import ACCOUNTS, CONNECTIONS, committed_transactions, drain, latency, prepare
from tests.bench.network import cpu_seconds, local_network
from tests.bench.registrations import transfers
from tests.support.market import Market

REGION = "beijing"
LOW_RATE_PER_S = 10.0
LOW_RATE_S = 5.0
PATIENCE_S = 60.0
POLL_S = 0.2


def block_of_one_ms(market: Market) -> float:
    """Milliseconds of a block with one transaction: a low rate for some seconds."""
    height, before_s = market.height(), cpu_seconds(market.network)
    latency(market, rate_per_s=LOW_RATE_PER_S, seconds=LOW_RATE_S)
    blocks = max(market.height() - height, 1)
    return 1000 * (cpu_seconds(market.network) - before_s) / blocks / len(market.chain.nodes)


def operation_us(market: Market, *, transactions: int, operations: int) -> float:
    """Microseconds of an operation: so many transactions of so many operations, as fast as they are taken, until the
    last of them is committed. Raises RuntimeError if one is not."""
    signed = transfers(market, ACCOUNTS, operations=operations, prefix=f"b{time.time_ns()}")
    # Signed before the clock starts: signing is the clients' work and would take the nodes' processor.
    envelopes = list(islice(signed, transactions))
    first, before_s, deadline_s = market.height() + 1, cpu_seconds(market.network), time.monotonic() + PATIENCE_S
    asyncio.run(_submit(market, envelopes, deadline_s))
    while sum(count for _, _, count in committed_transactions(market, first)) < transactions:
        if time.monotonic() > deadline_s:
            raise RuntimeError("not all of a burst was committed")
        time.sleep(POLL_S)
    return 1e6 * (cpu_seconds(market.network) - before_s) / transactions / operations / len(market.chain.nodes)


async def _submit(market: Market, envelopes: list[bytes], deadline_s: float) -> None:
    nodes, ca_file = market.chain.nodes, market.network.ca_file
    connections = [Connection(nodes[index % len(nodes)].api, market.token, ca_file) for index in range(CONNECTIONS)]
    await asyncio.gather(*(connection.open() for connection in connections))
    await flood(connections, iter(envelopes), until_s=deadline_s, outcome=Outcome())
    for connection in connections:
        connection.close()


FIGURES: dict[str, Callable[[Market], float]] = {
    "block_of_one_ms": block_of_one_ms,
    "single_transaction_us": partial(operation_us, transactions=2_000, operations=1),
    "operation_in_hundreds_us": partial(operation_us, transactions=60, operations=100),
}


def serve() -> None:
    """Keep a network up; answer each line of standard input, the name of a figure, with that figure of one burst."""
    with local_network([REGION], only=[REGION]) as network:
        market = prepare(network, REGION)
        drain(market)
        print("ready", flush=True)
        for line in sys.stdin:
            print(json.dumps(round(FIGURES[line.strip()](market), 2)), flush=True)


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
    """Figures of both checkouts by name, in the order of the rounds; their medians, and the median of the rounds'
    changes."""
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
    return {name: _summary(found["theirs"], found["ours"]) for name, found in figures.items()}


def _summary(theirs: list[float], ours: list[float]) -> dict[str, Any]:
    return {
        "theirs": theirs,
        "ours": ours,
        "medians": [median(theirs), median(ours)],
        "change_of_medians": round(median(ours) / median(theirs) - 1, 3),
        "median_change": round(median([b / a - 1 for a, b in zip(theirs, ours, strict=True)]), 3),
    }


def main() -> None:
    """Compare this checkout with another one; print the figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bursts", description=__doc__)
    parser.add_argument("directory", type=Path, nargs="?", help="another checkout, with its own .venv")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", choices=FIGURES, action="append", help="figures; all if absent")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve()
    elif options.directory is None:
        parser.error("name the other checkout")
    else:
        print(json.dumps(compare(options.directory.resolve(), options.rounds, options.only or list(FIGURES)), indent=2))


if __name__ == "__main__":
    main()
