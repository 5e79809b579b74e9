"""One business chain whose every sync of the vote log takes 5 ms longer, as on disks slower than this one (protocol
rule 1), beside the same chain without the delay."""

from __future__ import annotations

import os

from common.node.store.fault_points import VARIABLE
from tests.bench.measures import Figures, latency, prepare, throughput
from tests.bench.network import local_network

REGION = "beijing"
DELAY_MS = 5


def slow_sync(seconds: float = 25.0) -> Figures:
    """Latency at 10 tx/s, and throughput, with and without the delay; nodes read the variable when they start."""
    figures: Figures = {"injected_ms": DELAY_MS}
    for name, fault in (("as_it_is", None), ("delayed", f"vote_log.sync:before:every:delay-{DELAY_MS}")):
        if fault is not None:
            os.environ[VARIABLE] = fault
        try:
            with local_network([REGION], only=[REGION]) as network:
                market = prepare(network, REGION)
                figures[name] = {
                    "latency_at_10_tx_per_s": latency(market, rate_per_s=10, seconds=seconds),
                    "throughput": throughput(market, operations=1, seconds=seconds),
                }
        finally:
            os.environ.pop(VARIABLE, None)
    return figures
