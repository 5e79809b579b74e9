"""The measurements, each a function that runs what it needs and returns figures with units in their names."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

from cli.client import Api
from cli.localnet.layout import CUSTODY, LocalNetwork
from cli.localnet.markets import PILOTS
from cli.localnet.readiness import node_api
from common.core.header import Header
from tests.bench.load import Connection, Outcome, flood, percentile, steady
from tests.bench.network import cpu_seconds, disk_bytes, local_network, resident_mebibytes
from tests.bench.registrations import foundations, transfers
from tests.support.market import Market

ACCOUNTS = 200
CONNECTIONS = 24
DRAIN_PAUSE_S = 6.0
"""Three view time-outs: what a full leader had no room for waits with one follower until it has another view.
"""
Figures = dict[str, Any]


def prepare(network: LocalNetwork, region: str, accounts: int = ACCOUNTS) -> Market:
    """Register the benchmark's company and accounts in a region."""
    market = Market(network, region)
    with Api([node.api for node in market.chain.nodes], market.token, network.ca_file) as api:
        for batch in foundations(region, accounts):
            answer = api.submit(market.sign(batch))
            if answer["status"] != "applied":
                raise RuntimeError(f"the foundations were refused: {answer}")
    return market


async def _connect(market: Market, count: int) -> list[Connection]:
    nodes = market.chain.nodes
    connections = [
        Connection(nodes[index % len(nodes)].api, market.token, market.network.ca_file) for index in range(count)
    ]
    await asyncio.gather(*(connection.open() for connection in connections))
    return connections


def committed_transactions(market: Market, from_height: int) -> Iterator[tuple[int, int, int]]:
    """(height, time in ms, transactions) of every block from a height on."""
    with node_api(market.network, market.chain) as api:
        height = from_height
        while True:
            blocks = api.get(f"/v1/networks/{market.region}/blocks", **{"from": height, "limit": 500})["blocks"]
            if not blocks:
                return
            for block in blocks:
                header = Header.decode(bytes.fromhex(block["header"]))
                yield header.height, header.time_ms, header.tx_count
                height = header.height + 1


def drain(market: Market) -> None:
    """Return once nothing is left of what was submitted before: the chain stands still."""
    height = -1
    while height != (height := market.height()):
        time.sleep(DRAIN_PAUSE_S)


def throughput(market: Market, *, operations: int, seconds: float) -> Figures:
    """Sustained committed transactions a second, by the blocks' own times, until all that was accepted is committed."""
    envelopes = transfers(market, ACCOUNTS, operations=operations, prefix=f"t{operations}-{time.time_ns()}")
    # Signed before the clock starts: signing is the clients' work and would take the nodes' processor.
    ready = iter(list(islice(envelopes, int(seconds * (2400 if operations == 1 else 60)))))
    outcome = Outcome()
    drain(market)
    first = market.height() + 1
    cpu_before = cpu_seconds(market.network)

    async def run() -> float:
        connections = await _connect(market, CONNECTIONS)
        begin = time.monotonic()
        await flood(connections, ready, until_s=begin + seconds, outcome=outcome)
        taken = time.monotonic() - begin
        for connection in connections:
            connection.close()
        return taken

    taken_s = asyncio.run(run())
    drain(market)
    cpu = cpu_seconds(market.network) - cpu_before
    blocks = [block for block in committed_transactions(market, first) if block[2]]
    total = sum(count for _, _, count in blocks)
    # From the first block of the load to its last, the backlog at its end included: what a market would see sustained.
    span_s = max((blocks[-1][1] - blocks[0][1]) / 1000, 0.001)
    return {
        "operations_per_transaction": operations,
        "seconds_of_load": round(taken_s, 1),
        "seconds_until_drained": round(span_s, 1),
        "accepted": outcome.statuses.get(202, 0),
        "statuses": outcome.statuses,
        "committed": total,
        "committed_tx_per_s": round(total / span_s, 1),
        "committed_operations_per_s": round(total * operations / span_s, 1),
        "blocks": len(blocks),
        "node_cpu_ms_per_tx": round(1000 * cpu / max(total, 1) / len(market.chain.nodes), 3),
    }


def latency(market: Market, *, rate_per_s: float, seconds: float) -> Figures:
    """Submission to final receipt at a steady rate."""
    outcome = Outcome()
    envelopes = transfers(market, ACCOUNTS, operations=1, prefix=f"l{time.time_ns()}")

    async def run() -> None:
        connections = await _connect(market, 64)
        await steady(connections, envelopes, rate_per_s=rate_per_s, seconds=seconds, outcome=outcome)
        for connection in connections:
            connection.close()

    asyncio.run(run())
    return {
        "rate_per_s": rate_per_s,
        "count": len(outcome.latencies_ms),
        "statuses": outcome.statuses,
        "p50_ms": round(percentile(outcome.latencies_ms, 0.5), 1),
        "p95_ms": round(percentile(outcome.latencies_ms, 0.95), 1),
        "max_ms": round(percentile(outcome.latencies_ms, 1.0), 1),
    }


def one_chain(seconds: float = 60.0) -> Figures:
    """Throughput, latency, memory and disk of one business chain of four validators."""
    figures: Figures = {}
    with local_network(["beijing"], only=["beijing"]) as network:
        market = prepare(network, "beijing")
        figures["latency_at_10_tx_per_s"] = latency(market, rate_per_s=10, seconds=min(seconds, 30))
        figures["single_operation"] = throughput(market, operations=1, seconds=seconds)
        figures["hundred_operations"] = throughput(market, operations=100, seconds=seconds)
        registrations = 2 * (
            figures["single_operation"]["committed"] + 100 * figures["hundred_operations"]["committed"]
        )
        node = market.chain.nodes[0]
        figures["disk_bytes_per_million_registrations"] = int(disk_bytes(node) / max(registrations, 1) * 1_000_000)
        figures["resident_mebibytes_after_load"] = round(resident_mebibytes(node), 1)
    return figures


def memory() -> Figures:
    """Resident memory of a node with 10,000 state entries."""
    with local_network(["beijing"], only=["beijing"]) as network:
        market = prepare(network, "beijing", accounts=5_000)  # an account and a holding each
        time.sleep(2)
        return {"resident_mebibytes_a_node": [round(resident_mebibytes(node), 1) for node in market.chain.nodes]}


def idle(seconds: float = 60.0) -> Figures:
    """Processor share of the whole six-chain network with nothing to do."""
    with local_network(PILOTS) as network:
        time.sleep(20)
        before, begin = cpu_seconds(network), time.monotonic()
        time.sleep(seconds)
        share = (cpu_seconds(network) - before) / (time.monotonic() - begin)
        memory_now = [resident_mebibytes(process) for process in network.processes()]
        return {
            "processes": len(network.processes()),
            "percent_of_one_core": round(100 * share, 1),
            "resident_mebibytes_max": round(max(memory_now), 1),
            "resident_mebibytes_total": round(sum(memory_now), 1),
        }


def anchoring(rate_per_s: float = 10.0, seconds: float = 40.0) -> Figures:
    """Receipt to anchored on the custody chain, at a steady rate in each region at once."""
    with local_network(PILOTS) as network:
        with ThreadPoolExecutor(len(PILOTS)) as pool:
            markets = list(pool.map(lambda region: prepare(network, region), PILOTS))
        finals: dict[str, list[tuple[int, float]]] = {region: [] for region in PILOTS}
        anchored: dict[str, list[tuple[int, float]]] = {region: [] for region in PILOTS}

        async def run() -> None:
            watch = asyncio.create_task(_watch(network, anchored))
            await asyncio.gather(*(_steady(market, rate_per_s, seconds, finals[market.region]) for market in markets))
            await asyncio.sleep(8)
            watch.cancel()

        asyncio.run(run())
        figures: Figures = {"rate_per_s_each_region": rate_per_s}
        whole: list[float] = []
        for region in PILOTS:
            delays = []
            for height, begin in finals[region]:
                seen = next((at for reached, at in anchored[region] if reached >= height), None)
                delays.append((seen - begin) * 1000 if seen is not None else float("inf"))
            whole += delays
            figures[region] = {
                "count": len(delays),
                "p50_ms": round(percentile(delays, 0.5)),
                "p95_ms": round(percentile(delays, 0.95)),
            }
        figures["submitted_to_anchored_p50_ms"] = round(percentile(whole, 0.5))
        figures["submitted_to_anchored_p95_ms"] = round(percentile(whole, 0.95))
        return figures


async def _steady(market: Market, rate_per_s: float, seconds: float, finals: list[tuple[int, float]]) -> None:
    connections = await _connect(market, 64)
    envelopes = transfers(market, ACCOUNTS, operations=1, prefix=f"s{time.time_ns()}")
    outcome = Outcome()

    def final(body: bytes, begin: float) -> None:
        finals.append((int(json.loads(body)["height"]), begin))

    await steady(connections, envelopes, rate_per_s=rate_per_s, seconds=seconds, outcome=outcome, on_final=final)
    for connection in connections:
        connection.close()


async def _watch(network: LocalNetwork, anchored: dict[str, list[tuple[int, float]]]) -> None:
    """Note when each anchored height was first seen."""
    custody = network.chain(CUSTODY)
    with Api([node.api for node in custody.nodes], network.token("supervisor"), network.ca_file) as api:
        while True:
            data = await asyncio.to_thread(api.get, "/v1/regions")
            rows = data["data"]["regions"] if isinstance(data["data"], dict) else data["data"]
            now = time.monotonic()
            for row in rows:
                seen = anchored[row["region"]]
                if not seen or seen[-1][0] < row["anchored_height"]:
                    seen.append((row["anchored_height"], now))
            await asyncio.sleep(0.1)


def anchoring_rate(seconds: float = 40.0) -> Figures:
    """The highest sustained rate at which the custody chain anchors: all regions flooded with batches, then drained."""
    with local_network(PILOTS) as network:
        with ThreadPoolExecutor(len(PILOTS)) as pool:
            markets = list(pool.map(lambda region: prepare(network, region), PILOTS))
        batches = [
            iter(list(islice(transfers(market, ACCOUNTS, operations=20, prefix="r"), int(seconds * 12))))
            for market in markets
        ]

        async def run() -> None:
            until_s = time.monotonic() + seconds
            connections = [await _connect(market, 4) for market in markets]
            await asyncio.gather(
                *(
                    flood(links, envelopes, until_s=until_s, outcome=Outcome())
                    for links, envelopes in zip(connections, batches, strict=True)
                )
            )

        before = _anchored_objects(network)
        begin = time.monotonic()
        asyncio.run(run())
        flooded_s = time.monotonic() - begin
        during = _anchored_objects(network) - before
        targets = {market.region: market.height() for market in markets}
        while any(row["anchored_height"] < targets[row["region"]] for row in _regions(network)):
            if time.monotonic() - begin > 10 * seconds:
                raise RuntimeError("the custody chain did not catch up")
            time.sleep(0.25)
        drained_s = time.monotonic() - begin
        total = _anchored_objects(network) - before
        return {
            "seconds_of_load": round(flooded_s, 1),
            "snapshots_anchored_per_s_under_load": round(during / flooded_s, 1),
            "seconds_until_level": round(drained_s, 1),
            "snapshots_anchored": total,
            "snapshots_anchored_per_s": round(total / drained_s, 1),
        }


def _regions(network: LocalNetwork) -> list[dict[str, Any]]:
    custody = network.chain(CUSTODY)
    with Api([node.api for node in custody.nodes], network.token("supervisor"), network.ca_file) as api:
        data = api.get("/v1/regions")["data"]
        return list(data["regions"] if isinstance(data, dict) else data)


def _anchored_objects(network: LocalNetwork) -> int:
    return sum(int(row["counts"]["snapshots"]) for row in _regions(network))
