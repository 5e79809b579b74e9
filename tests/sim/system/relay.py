"""The relay's process: the product's workers, sources and custody client on simulated time and network."""

from __future__ import annotations

import asyncio

from common.node.keys import KeyPair
from crosslink.relay.http_custody import HttpCustody
from crosslink.relay.http_source import HttpRegionSource
from crosslink.relay.progress import Board, RelayMetrics
from crosslink.relay.worker import Pace, RegionWorker
from tests.sim.system.founding import CUSTODY, GENESIS_MS, SUITE, ChainSpec, key_text, seed_of
from tests.sim.system.http import SimulatedConnection, Web, url_of
from tests.sim.system.loop import SimulatedLoop
from tests.sim.world import World

PACE = Pace(wait_s=3, linger_ms=100, idle_linger_ms=500, retry_ms=300, max_retry_ms=3_000)


class RelayClock:
    """Implements `ports.Clock`."""

    def __init__(self, machine: RelayMachine) -> None:
        self._machine = machine

    def now_ms(self) -> int:
        """The machine's wall clock."""
        return self._machine.wall_clock_ms()

    def elapsed_ms(self) -> int:
        """The process's own time, which drifts but never jumps."""
        return int(self._machine.loop.time() * 1000)

    async def sleep(self, delay_ms: int) -> None:
        """Wait."""
        await asyncio.sleep(delay_ms / 1000)


class RelayMachine:
    """One relay. It keeps nothing, so a restart is all there is to its disks."""

    def __init__(
        self, world: World, web: Web, custody: ChainSpec, regions: dict[str, tuple[str, ...]], name: str
    ) -> None:
        """`regions`: the names of each region's nodes."""
        self.world, self.web, self.custody, self.regions, self.name = world, web, custody, regions, name
        self.alive = False
        self.skew_ms = 0
        self.drift = 0.0
        self._drift_since_ms = 0
        self.board = Board()
        self.loop = SimulatedLoop(world)  # type: ignore[abstract]
        self.loop.kill()
        self._tasks: list[asyncio.Task[None]] = []

    def wall_clock_ms(self) -> int:
        """What this machine thinks the time is."""
        drifted = int((self.world.now_ms - self._drift_since_ms) * self.drift)
        return GENESIS_MS + 10_000 + self.world.now_ms + self.skew_ms + drifted

    def set_clock(self, skew_ms: int, drift: float) -> None:
        """Set the wall clock wrong, and let both clocks drift."""
        self.skew_ms, self.drift, self._drift_since_ms = skew_ms, drift, self.world.now_ms
        self.loop.set_rate(1.0 + drift)

    def start(self) -> None:
        """Start one worker a region."""
        if self.alive:
            return
        self.alive = True
        self.world.note(f"{self.name} starts")
        self.loop = SimulatedLoop(self.world, rate=1 + self.drift)  # type: ignore[abstract]
        random = self.world.random
        self.board, metrics, clock = Board(), RelayMetrics(), RelayClock(self)
        key = KeyPair(seed_of("relay"), SUITE.public_key(seed_of("relay")), key_text("relay"), SUITE)
        with self.loop.entered():
            custody = HttpCustody(
                CUSTODY,
                [url_of(name) for name in self.custody.names],
                SimulatedConnection(self.web, self.name),
                key,
                clock,
                lambda size: random.randbytes(size).hex(),
            )
            self._tasks = []
            for network, names in self.regions.items():
                connection = SimulatedConnection(self.web, self.name)
                source = HttpRegionSource([url_of(name) for name in names], connection, clock)
                worker = RegionWorker(network, source, custody, clock, self.board, metrics, random.random, PACE)
                self._tasks.append(self.loop.create_task(worker.run()))

    def crash(self) -> None:
        """Kill it at any point (attack R9)."""
        if self.alive:
            self.world.note(f"{self.name} is killed")
            self.alive = False
            self.loop.kill()
