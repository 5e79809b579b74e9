"""Hunts planted bugs: seed after seed on the layer where each should show, until a checker sees it.

Without a bug, the same seeds must show nothing (`control`): a checker that cries always proves nothing either.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Final

from tests.sim.planted import bugs_consensus, bugs_custody, bugs_node
from tests.sim.planted.bug import BUGS, Bug, planted
from tests.sim.planted.hostile import HostileNodes, HostileReplicas, lying_leader, lying_past
from tests.sim.planted.lone_certificates import run_scenario
from tests.sim.planted.packet_world import PacketWorld
from tests.sim.planted.share_world import ShareWorld
from tests.sim.planted.violation import Caught, checker_of

CATALOGUES: Final = (bugs_consensus, bugs_node, bugs_custody)
"""Imported for the bugs that they enter."""


MOST_SECONDS: Final = 90


@dataclass(frozen=True, slots=True)
class Layer:
    """Where bugs are hunted: one run of a seed, and how many seeds a bug may take."""

    run: Callable[[int], object]
    most_seeds: int


LAYERS: Final[dict[str, Layer]] = {
    "replica": Layer(lambda seed: HostileReplicas(seed).run(), 200),
    "node": Layer(lambda seed: HostileNodes(seed).run(), 80),
    "leader of replicas": Layer(lambda seed: lying_leader(seed, "replica").run(), 75),
    "leader of nodes": Layer(lambda seed: lying_leader(seed, "node").run(), 75),
    "lone certificates": Layer(run_scenario, 24),
    "catch-up": Layer(lambda seed: lying_past(seed).run(), 66),
    "packets": Layer(lambda seed: PacketWorld(seed).run(), 40),
    "shares": Layer(lambda seed: ShareWorld(seed).run(), 20),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """What the hunt for one bug came to."""

    bug: str
    kind: str
    layer: str
    seed: int | None
    """The seed that showed it; None if it escaped."""
    checker: str
    detail: str
    seconds: float


def outcome_of(layer: str, seed: int) -> BaseException | None:
    """What one seed raises. Anything counts: a correct node or application that raises has crashed.

    A run that lasts `MOST_SECONDS` of real time is taken for endless; healthy ones take about one second.
    """
    before = signal.signal(signal.SIGALRM, _endless)
    signal.alarm(MOST_SECONDS)
    try:
        LAYERS[layer].run(seed)
    except Exception as error:  # whatever escapes a run is what the hunt is after
        return error
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    return None


def _endless(_number: int, _frame: object) -> None:
    raise Caught("endless run", f"a run lasts more than {MOST_SECONDS} s")


def hunt(found: Bug, most_seeds: int | None = None) -> Finding:
    """Look for one bug. Raises `Rotten` if it cannot be planted."""
    started = time.monotonic()
    with planted(found):
        for seed in range(1, (most_seeds or LAYERS[found.layer].most_seeds) + 1):
            error = outcome_of(found.layer, seed)
            if error is not None:
                seconds = time.monotonic() - started
                detail = " ".join(str(error).split())[:160]
                return Finding(found.name, found.kind, found.layer, seed, checker_of(error), detail, seconds)
    return Finding(found.name, found.kind, found.layer, None, "", "", time.monotonic() - started)


def control(layer: str, seed: int) -> str | None:
    """What a seed shows without any bug: must be None."""
    error = outcome_of(layer, seed)
    return None if error is None else f"{layer} seed {seed}: {checker_of(error)}: {error}"


def hunt_named(name: str) -> Finding:
    """For another process: by name, since substitutes do not travel."""
    return hunt(BUGS[name])


def control_chunk(task: tuple[str, tuple[int, ...]]) -> list[str]:
    """For another process: some seeds of one layer."""
    layer, seeds = task
    return [shown for seed in seeds if (shown := control(layer, seed)) is not None]


def hunt_all(names: list[str], jobs: int, report: Callable[[Finding], None]) -> list[Finding]:
    """Hunt these bugs, a process for each at a time."""
    findings = []
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for finding in pool.map(hunt_named, names):
            report(finding)
            findings.append(finding)
    return findings


def control_all(findings: list[Finding], jobs: int) -> list[str]:
    """Run without any bug every seed at which a bug was seen, and all below the highest of them."""
    tasks = []
    for layer in LAYERS:
        highest = max([found.seed or LAYERS[layer].most_seeds for found in findings if found.layer == layer], default=0)
        seeds = range(1, highest + 1)
        tasks += [(layer, tuple(seeds[at : at + 10])) for at in range(0, highest, 10)]
    shown: list[str] = []
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for part in pool.map(control_chunk, tasks):
            shown += part
    return shown
