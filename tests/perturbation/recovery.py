"""`python -m tests.perturbation.recovery [--kills 30]`: how long a chain of four takes over crashes, on real processes.

One chain under a light load. A validator is killed (SIGKILL), stays away, and is started as a service manager would:

- `next_commit_s`: from the kill to the next block at a survivor. With an idle height open, the leader's own death is
  what must be overcome; if its block was on its way already, that one counts.
- `longest_gap_s`: the longest time without a block in the seconds after the kill: what a client notices of the change
  of leader. Leaders take turns, so a dead follower's turn comes as well.
- `serves_s`, `level_s`: from the start of the process to its first answer, and until it has the chain's tip of that
  moment and says that it is ready.
- `catch_up`: blocks that a node missed under heavier load, and how many of them it takes in a second.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from tests.bench.__main__ import commit, machine
from tests.bench.load import percentile
from tests.perturbation.fleet import Fleet
from tests.perturbation.load import Load
from tests.perturbation.view import Reader, until
from tests.support.market import Market

CHAIN = "beijing"
AWAY_S = 5.0
LOAD_PER_S = 20.0
HEAVY_PER_S = 150.0
HEAVY_S = 20.0


class Commits:
    """When each block came up at one node, as its long poll shows."""

    def __init__(self, fleet: Fleet, node: str, above: int) -> None:
        self.times: list[float] = []
        self._reader, self._node, self._height = Reader(fleet.network), node, above
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Commits:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(15)
        self._reader.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            query = {"from": self._height + 1, "limit": 500, "wait": 1}
            answer = self._reader.get(self._node, f"/v1/networks/{CHAIN}/blocks", **query)  # type: ignore[arg-type]
            if answer and answer["blocks"]:
                self._height += len(answer["blocks"])
                self.times.append(time.monotonic())


def tip_of(reader: Reader, name: str) -> int:
    """A node's height."""
    status = reader.status(name)
    return int(status["height"]) if status else 0


def one_kill(fleet: Fleet, reader: Reader, *, leader: bool, chance: random.Random) -> dict[str, float]:
    """Kill one validator and bring it back; seconds, as the module describes."""
    names = fleet.names(CHAIN)
    status = until(lambda: reader.status(chance.choice(names)), 10)
    leading = (status["height"] + 1 + status["view"]) % len(names)
    victim = status["validators"][leading if leader else (leading + 2) % len(names)]
    witness = next(name for name in names if name != victim)
    above = tip_of(reader, witness)
    with Commits(fleet, witness, above) as commits:
        killed = time.monotonic()
        fleet.signal(victim, 9)
        time.sleep(AWAY_S)
        times = [at for at in commits.times if at >= killed]
    if not times:
        raise AssertionError(f"no block within {AWAY_S} s after {victim} was killed")
    gaps = [after - before for before, after in zip([killed, *times], times, strict=False)]
    until(lambda: not fleet.running(victim), 5)
    return {"next_commit_s": times[0] - killed, "longest_gap_s": max(gaps)} | bring_back(fleet, reader, victim, witness)


def bring_back(fleet: Fleet, reader: Reader, victim: str, witness: str) -> dict[str, float]:
    """Start a dead validator; how long until it serves, is level and ready, and how many blocks it had missed."""
    goal = tip_of(reader, witness)
    began = time.monotonic()
    fleet.start(victim)
    first = until(lambda: reader.status(victim), 60, 0.02)
    served = time.monotonic()
    level = until(lambda: (s := reader.status(victim)) and s["height"] >= goal and s["ready"], 60, 0.02)
    if not first or not level:
        raise AssertionError(f"{victim} did not come back within a minute")
    now = time.monotonic()
    missed = max(0, goal - int(first["height"]))
    return {"serves_s": served - began, "level_s": now - began, "missed_blocks": missed, "level_after_s": now - served}


def spread(kills: list[dict[str, float]]) -> dict[str, Any]:
    """p50, p99 and the worst of each figure."""
    figures: dict[str, Any] = {"kills": len(kills)}
    for name in kills[0]:
        values = [kill[name] for kill in kills]
        shares = {"p50": percentile(values, 0.5), "p99": percentile(values, 0.99), "max": max(values)}
        figures[name] = {share: round(value, 2) for share, value in shares.items()}
    return figures


def catch_up(fleet: Fleet, reader: Reader, market: Market) -> dict[str, Any]:
    """A node is away under a heavier load, comes back once that is over, and takes in what it missed."""
    names = fleet.names(CHAIN)
    victim, witness = names[-1], names[0]
    with Load(market, HEAVY_PER_S, 2, founded=True) as load:
        before = tip_of(reader, victim)
        fleet.kill(victim)
        time.sleep(HEAVY_S)
        load.stop(30)
    behind, receipts = tip_of(reader, witness) - before, len(load.journal.final)
    times = bring_back(fleet, reader, victim, witness)
    rate = times["missed_blocks"] / times["level_after_s"]
    return {"blocks_behind": behind, "transactions_behind": receipts, "blocks_per_s": round(rate)} | {
        name: round(value, 2) for name, value in times.items()
    }


def measure(kills: int) -> dict[str, Any]:
    """Everything, on one chain."""
    chance = random.Random(1)
    with (
        tempfile.TemporaryDirectory(prefix="tongjian-recovery-") as folder,
        Fleet.found(Path(folder) / "network", (CHAIN,), forwarder=None, only_chain=CHAIN) as fleet,
    ):
        reader = Reader(fleet.network)
        for name in fleet.names(CHAIN):
            if not until(lambda name=name: (s := reader.status(name)) and s["ready"], 60):
                raise AssertionError(f"{name} did not start")
        figures: dict[str, Any] = {}
        market = Market(fleet.network, CHAIN)
        with Load(market, LOAD_PER_S, 1) as load:
            for kind in ("leader", "follower"):
                done = []
                for number in range(kills):
                    done.append(one_kill(fleet, reader, leader=kind == "leader", chance=chance))
                    print(f"{kind} {number + 1}: {done[-1]}", flush=True)
                figures[f"{kind}_killed"] = spread(done)
            load.stop(60)
            figures["transactions"] = {"receipts": len(load.journal.final), "without_receipt": len(load.open())}
        figures["catch_up"] = catch_up(fleet, reader, market)
    return figures


def main() -> int:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(prog="python -m tests.perturbation.recovery", description=__doc__)
    parser.add_argument("--kills", type=int, default=30, help="of leaders, and again of followers")
    parser.add_argument("--report", type=Path, default=Path("bench/results/recovery.json"))
    arguments = parser.parse_args()
    document = {"commit": commit(), "machine": machine(), "figures": measure(arguments.kills)}
    print(json.dumps(document["figures"], indent=2))
    arguments.report.parent.mkdir(parents=True, exist_ok=True)
    arguments.report.write_text(json.dumps(document, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
