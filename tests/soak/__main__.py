"""`python -m tests.soak [--minutes 60] [--load 0.7] [--chains one|all]`: first measure what the network sustains, then
run it at a share of that for so long, and judge what drifts. A JSON report; exit code 0 only if nothing fails."""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from cli.localnet.layout import CUSTODY, LocalNetwork
from cli.localnet.markets import PILOTS
from tests.bench.__main__ import commit, machine
from tests.bench.load import percentile
from tests.bench.measures import prepare
from tests.bench.network import local_network
from tests.perturbation.view import Reader, until
from tests.soak.fitting import Bounds, drift, judge
from tests.soak.load import SteadyLoad
from tests.soak.sampling import Sampler

CALIBRATION_S = 30.0
UNREACHED_RATE = 5_000.0
"""More transactions a second than a region takes."""
LEVEL_PATIENCE_S = 120.0


def say(text: str) -> None:
    """Progress."""
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


def calibrate(network: LocalNetwork, regions: list[str], seconds: float) -> dict[str, float]:
    """Final receipts a second of each region, all under load at once by clients of whom each waits for its receipt."""
    with ThreadPoolExecutor(len(regions)) as pool:
        list(pool.map(lambda region: prepare(network, region), regions))
    loads = {region: SteadyLoad(network, region, UNREACHED_RATE) for region in regions}
    asyncio.run(_run(loads, seconds))
    return {region: sum(minute.final for minute in load.minutes) / seconds for region, load in loads.items()}


async def _run(loads: dict[str, SteadyLoad], seconds: float) -> None:
    async def tell() -> None:
        while True:
            await asyncio.sleep(60)
            for region, load in loads.items():
                if len(load.minutes) > 1:  # the last one has only begun
                    say(f"{region}: {load.minutes[-2].document()}")

    telling = asyncio.create_task(tell())
    try:
        await asyncio.gather(*(load.run(seconds) for load in loads.values()))
    finally:
        telling.cancel()


def level_at_the_end(network: LocalNetwork, regions: list[str]) -> list[str]:
    """Every node has the same newest block, every region is active and anchored."""
    reader, wrong = Reader(network), []

    def tips(names: list[str]) -> set[tuple[int, str]]:
        answers = [reader.status(name) for name in names]
        return {(answer["height"], answer["block_id"]) if answer else (-1, "") for answer in answers}

    for chain in network.chains:
        names = [node.name for node in chain.nodes]
        if not until(lambda names=names: len(tips(names)) == 1 and (-1, "") not in tips(names), LEVEL_PATIENCE_S):
            wrong.append(f"{chain.network_id}: the nodes are not level: {tips(names)}")
    if any(chain.network_id == CUSTODY for chain in network.chains):
        name = network.chain(CUSTODY).nodes[0].name
        for region in regions:

            def anchored(region: str = region) -> bool:
                data = reader.get(name, f"/v1/regions/{region}", credential="supervisor")["data"]
                return bool(data["state"] == "active" and data["lag_blocks"] <= 2)

            if not until(anchored, LEVEL_PATIENCE_S, 0.5):
                wrong.append(f"{region} is not active and anchored")
    reader.close()
    return wrong


def soak(minutes: float, share: float, regions: list[str], *, whole: bool, rate: float) -> dict[str, Any]:
    """The whole run; the report."""
    with local_network(regions, only=None if whole else regions) as network:
        if rate:
            sustained = dict.fromkeys(regions, rate / share)
            for region in regions:
                prepare(network, region)
        else:
            say(f"measuring what is sustained for {CALIBRATION_S:g} s")
            sustained = calibrate(network, regions, CALIBRATION_S)
        rates = {region: round(share * sustained[region], 1) for region in regions}
        say(f"sustained {sustained} tx/s; {minutes:g} minutes at {rates}")
        with Sampler(network, every_s=10 if minutes >= 5 else 2) as sampler:
            loads = {region: SteadyLoad(network, region, rates[region]) for region in regions}
            asyncio.run(_run(loads, minutes * 60))
        wrong = level_at_the_end(network, regions) + [f"{name} has died" for name in sampler.dead]
    return report(minutes, share, sustained, rates, loads, sampler, wrong)


def report(
    minutes: float,
    share: float,
    sustained: dict[str, float],
    rates: dict[str, float],
    loads: dict[str, SteadyLoad],
    sampler: Sampler,
    wrong: list[str],
) -> dict[str, Any]:
    """Figures, drifts and the verdict."""
    processes = {name: drift(samples) for name, samples in sampler.samples.items()}
    rows = _by_minute(loads)
    p99s = [percentile([value for minute in row for value in minute.latencies_ms], 0.99) for row in rows]
    sent, final = (sum(getattr(minute, name) for row in rows for minute in row) for name in ("sent", "final"))
    fails, open_questions = judge(minutes, processes, p99s, sent, final, Bounds())
    fails = wrong + fails
    return {
        "verdict": "failed" if fails else "passed" if not open_questions else "passed, not everything judged",
        "fails": fails,
        "not_judged": open_questions,
        "minutes": minutes,
        "load": share,
        "sustained_tx_per_s": sustained,
        "rate_tx_per_s": rates,
        "sent": sent,
        "final": final,
        "p99_ms_by_minute": [round(value, 1) for value in p99s],
        "processes": processes,
        "by_minute": {region: [minute.document() for minute in load.minutes] for region, load in loads.items()},
        "samples": sampler.samples,
    }


def _by_minute(loads: dict[str, SteadyLoad]) -> list[list[Any]]:
    length = max(len(load.minutes) for load in loads.values())
    return [[load.minutes[at] for load in loads.values() if at < len(load.minutes)] for at in range(length)]


def main() -> int:
    """Parse, run, write."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--load", type=float, default=0.7, help="share of what is sustained")
    parser.add_argument("--chains", choices=["one", "all"], default="one", help="one chain, or six and the relay")
    parser.add_argument("--rate", type=float, default=0, help="transactions a second and region instead of measuring")
    parser.add_argument("--report", type=Path)
    arguments = parser.parse_args()
    whole = arguments.chains == "all"
    regions = list(PILOTS) if whole else ["beijing"]
    found = soak(arguments.minutes, arguments.load, regions, whole=whole, rate=arguments.rate)
    path = arguments.report or Path("bench/results") / f"soak-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"commit": commit(), "machine": machine(), **found}, indent=1) + "\n")
    for name, figures in found["processes"].items():
        say(f"{name}: {figures}")
    say(f"{found['final']} of {found['sent']} receipts; p99 by minute {found['p99_ms_by_minute']} ms")
    for sentence in [*found["fails"], *found["not_judged"]]:
        say(sentence)
    say(f"{found['verdict']}; {path}")
    return 1 if found["fails"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
