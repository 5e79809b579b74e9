"""What one chain costs in processor time: for a transaction of one operation, for an operation in hundreds, and for a
block with one transaction, with the latency at that low rate.

Processor time varies less than rates on a machine that does other work, and not at all with the length of queues.
`paired.py` runs this file as a script with another checkout's interpreter, so it imports only what both have."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

from tests.bench.measures import anchoring, drain, latency, prepare, throughput
from tests.bench.network import cpu_seconds, local_network

REGION = "beijing"
LOW_RATE_PER_S = 10.0
"""Every transaction is a block of its own, and the chain is never idle for long."""
OPERATIONS = 100


def processor(seconds: float = 10.0) -> dict[str, Any]:
    """Milliseconds and microseconds of one node's processor time, user and system together."""
    with local_network([REGION], only=[REGION]) as network:
        market = prepare(network, REGION)
        nodes = len(market.chain.nodes)
        drain(market)
        height, before_s = market.height(), cpu_seconds(network)
        waited = latency(market, rate_per_s=LOW_RATE_PER_S, seconds=seconds)
        blocks, spent_s = market.height() - height, cpu_seconds(network) - before_s
        single = throughput(market, operations=1, seconds=seconds)
        hundred = throughput(market, operations=OPERATIONS, seconds=seconds)
    return {
        "block_of_one_ms": round(1000 * spent_s / max(blocks, 1) / nodes, 3),
        "single_transaction_us": round(1000 * single["node_cpu_ms_per_tx"], 1),
        "operation_in_hundreds_us": round(1000 * hundred["node_cpu_ms_per_tx"] / OPERATIONS, 1),
        "latency_p50_ms": waited["p50_ms"],
        "latency_p95_ms": waited["p95_ms"],
        "blocks_of_one": blocks,
        "single_transactions": single["committed"],
        "transactions_of_hundred": hundred["committed"],
    }


SCRIPTED: dict[str, Callable[[], dict[str, Any]]] = {"processor": processor, "anchoring": anchoring}


def main() -> None:
    """Run one measurement in the checkout whose interpreter this is; its figures are the last line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=SCRIPTED)
    print(json.dumps(SCRIPTED[parser.parse_args().name]()))


if __name__ == "__main__":
    main()
