"""One run of the whole system: faults first, then healing, then progress is owed; every rule is watched throughout.

To drive it from outside: pass `options`; give `mischief(machine)` to make Byzantine validators of your own; or set a
machine's `mischief` before `run`. Product functions may be patched around `run` as one likes.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from random import Random
from unittest.mock import patch

from common.core.protocol import rehearse_next_version
from common.core.suite import Ed25519Sha256
from common.node.logic.node_effects import Accusation, BlockCommitted, Warned
from tests.sim.checkers import Violation
from tests.sim.system import audit, faults, foreign
from tests.sim.system.channels import open_line
from tests.sim.system.clients import MarketClient
from tests.sim.system.founding import CUSTODY, NEW_VERSIONS, PARAMETERS, ChainSpec, business_chain, custody_chain
from tests.sim.system.http import Web
from tests.sim.system.machine import Mischief, NodeMachine
from tests.sim.system.network import Quality, SystemNetwork
from tests.sim.system.options import SystemOptions, draw_options
from tests.sim.system.relay import RelayMachine
from tests.sim.system.release import Governor, install, obeys_newest
from tests.sim.system.watch import ChainWatch
from tests.sim.world import World

RECONNECT_MS = 250
VIEW_TIMEOUTS_TO_RESUME = 10
RESUME_MS = VIEW_TIMEOUTS_TO_RESUME * PARAMETERS.max_view_timeout_ms
"""After healing, every correct node commits again within ten of the longest view time-outs."""
SETTLE_MS = 180_000
"""After healing, clients have all receipts, and the custody chain has everything, within this time. What holds it up is
that the relay leaves a node that lied or was down alone for up to a minute, doubling."""
MOST_HAPPENINGS = 400_000
"""Far above any healthy run (a few ten thousand). More is a storm (attacks C13, C22)."""

MakeMischief = Callable[[NodeMachine], Mischief]


@dataclass(frozen=True, slots=True)
class SystemOutcome:
    """What a run came to. Times are simulated milliseconds; `resumed_ms` and `settled_ms` count from healing."""

    seed: int
    digest: str
    heights: dict[str, int]
    happened: int
    simulated_ms: int
    resumed_ms: int
    settled_ms: int


class SystemSimulation:
    """See the module docstring."""

    def __init__(
        self,
        seed: int,
        *,
        options: SystemOptions | None = None,
        mischief: MakeMischief | None = None,
        trace: bool = False,
    ) -> None:
        self.seed = seed
        self.options = options or draw_options(seed)
        self.world = World(seed, keep_trace=trace)
        self.network = SystemNetwork(self.world)
        self.web = Web(self.world, self.network)
        self.make_mischief = mischief
        custody = custody_chain(self.options.custody, self.options.markets)
        markets = [business_chain(network, size) for network, size in self.options.markets]
        self.specs: dict[str, ChainSpec] = {spec.network: spec for spec in (*markets, custody)}
        self.watches = {name: ChainWatch(spec) for name, spec in self.specs.items()}
        self.chains: dict[str, list[NodeMachine]] = {
            name: [NodeMachine(self.world, self.network, self, spec, number) for number in range(len(spec.names))]
            for name, spec in self.specs.items()
        }
        self.machines = [machine for chain in self.chains.values() for machine in chain]
        self.web.machines |= {machine.name: machine for machine in self.machines}
        pause_ms = self.options.heal_ms // (self.options.transactions + 1)
        self.clients = [
            MarketClient(self.world, self.web, spec, self.options.transactions, pause_ms) for spec in markets
        ]
        regions = {spec.network: tuple(spec.names) for spec in markets}
        self.islet = foreign.IsletWorld(self.world, self.random_for("islet")) if self.options.foreign else None
        self.attachers: list[foreign.Attacher] = []
        if self.islet is not None:
            regions[foreign.ISLET] = foreign.NODES
            self.web.machines |= {node.name: node for node in self.islet.nodes}
            self.attachers = [foreign.Attacher(self, self.islet)]
        self.relays = [
            RelayMachine(self.world, self.web, custody, regions, f"relay-{number}")
            for number in range(self.options.relays)
        ]
        self.governors = []
        if "upgrade" in self.options.kinds:
            self.governors = [
                Governor(self, spec, self.random_for(f"governor {name}")) for name, spec in self.specs.items()
            ]
        self.healed = False
        self.accusations = 0
        self._lines = count(1)
        self._broken: Violation | None = None

    def random_for(self, kind: str) -> Random:
        """The generator of one kind of fault."""
        return Random(f"{kind} {self.seed}")

    # What machines report (`machine.Observer`).

    def said(self, machine: NodeMachine, peer: NodeMachine, payload: bytes) -> None:
        """A frame leaves a node."""
        self.world.note(f"{machine.name}>{peer.name} {payload[0]} {len(payload)}")
        if machine.is_correct:
            self._judge(lambda: self.watches[machine.spec.network].said(machine.number, payload))

    def committed(self, machine: NodeMachine, committed: BlockCommitted) -> None:
        """A node announces a block."""
        height = committed.header.height
        self.world.note(f"{machine.name} commits {height} {committed.block_id.hex()[:8]}")
        if machine.is_correct:
            header, certificate = machine.chain.header(height).encode(), machine.chain.certificate(height)
            self._judge(lambda: self.watches[machine.spec.network].committed(machine.name, height, header, certificate))
            if committed.header.protocol_version not in machine.versions:
                self.violated(f"{machine.name} commits {height} under rules that its release does not know")

    def accused(self, machine: NodeMachine, accusation: Accusation) -> None:
        """Proof against somebody: never against a correct validator."""
        culprit = next(item for item in self.chains[machine.spec.network] if item.key == accusation.culprit)
        self.world.note(f"{machine.name} accuses {culprit.name}")
        self.accusations += 1
        if machine.is_correct and culprit.is_correct:
            self.violated(f"{machine.name} accuses correct {culprit.name}")

    def warned(self, machine: NodeMachine, warning: Warned) -> None:
        """Nobody who kept its memory abstains."""
        if warning.code == "abstaining" and machine.is_correct:
            self.violated(f"correct {machine.name} warns abstaining: {warning.detail}")

    def cut_off(self, machine: NodeMachine, peer: NodeMachine, reason: str) -> None:
        """A channel is closed for cause: never to a correct peer."""
        if machine.is_correct and peer.is_correct:
            self.violated(f"{machine.name} cuts off correct {peer.name}: {reason}")

    def broke(self, machine: NodeMachine, reason: str) -> None:
        """A node stops, and no injected fault explains it."""
        if machine.mischief is None:
            self.violated(f"{machine.name} breaks: {reason}")

    def violated(self, what: str) -> None:
        """A rule is broken: the run ends at the next happening."""
        if self._broken is None:
            self.world.note(f"VIOLATION {what}")
            self._broken = Violation(what)

    def _judge(self, judge: Callable[[], None]) -> None:
        try:
            judge()
        except Violation as violation:
            self.violated(str(violation))

    # A run.

    def run(self) -> SystemOutcome:
        """Run to the end. Raises `Violation`."""
        with rehearse_next_version(), _quiet(), _remembered_verdicts(), _uncollected():
            self.start()
            self._go_on(self.options.heal_ms, lambda: False)
            self.heal()
            resumed_ms = self._demand_commits()
            settled_ms = self._demand_receipts_and_anchors()
            audit.audit(self)
            if self.islet is not None:
                foreign.judge(self, self.islet)
            self._raise_troubles()
        heights = {name: max(machine.height for machine in chain) for name, chain in self.chains.items()}
        return SystemOutcome(
            self.seed,
            self.world.trace_digest,
            heights,
            self.world.happened,
            self.world.now_ms,
            resumed_ms,
            settled_ms,
        )

    def start(self) -> None:
        """Boot everything and let the faults take their course."""
        self.world.note(self.options.describe())
        faults.schedule(self)
        for machine in self.machines:
            machine.start()
        self._connect()
        for relay in self.relays:
            relay.start()
        for client in (*self.clients, *self.governors, *self.attachers):
            client.start()
        if self.islet is not None:
            self.islet.start()

    def _connect(self) -> None:
        """Everybody dials whom he lacks, for ever."""
        for chain in self.chains.values():
            pairs = [(one, two) for at, one in enumerate(chain) for two in chain[at + 1 :]]
            self.world.random.shuffle(pairs)
            for one, two in pairs:
                open_line(next(self._lines), one, two)
        self.world.after(RECONNECT_MS, self._connect)

    def heal(self) -> None:
        """Every injected fault ends; what was lost stays lost, and liars go on lying."""
        self.world.note("heal")
        self.healed = True
        self.network.heal()
        self.network.quality, self.network.starve = Quality(), None
        for machine in self.machines:
            machine.accept_writes()
            machine.set_clock(0, 0.0)
            machine.wanted = True
            if machine.versions != NEW_VERSIONS:
                install(machine)
            if machine.loop.frozen:
                machine.loop.thaw()
            machine.start()
        for relay in self.relays:
            relay.set_clock(0, 0.0)
            relay.start()

    def correct(self, network: str) -> list[NodeMachine]:
        """Machines that follow the protocol with the memory they are owed."""
        return [machine for machine in self.chains[network] if machine.is_correct]

    def _demand_commits(self) -> int:
        targets = {name: max(machine.height for machine in chain) + 1 for name, chain in self.chains.items()}
        began_ms = self.world.now_ms

        def resumed() -> bool:
            return all(machine.height >= targets[name] for name in self.chains for machine in self.correct(name))

        if not self._go_on(began_ms + RESUME_MS, resumed):
            where = {machine.name: self._where(machine) for machine in self.machines}
            raise Violation(f"no commits within {RESUME_MS} ms after healing; wanted {targets}, got {where}")
        return self.world.now_ms - began_ms

    @staticmethod
    def _where(machine: NodeMachine) -> tuple[int, int] | str:
        if not machine.alive:
            return "down"
        return machine.height, machine.node.status().view

    def _demand_receipts_and_anchors(self) -> int:
        began_ms = self.world.now_ms
        goals: dict[str, int] = {}

        def settled() -> bool:
            if not all(client.finished for client in (*self.clients, *self.governors)):
                return False
            if self.governors and not all(
                obeys_newest(machine) for name in self.specs for machine in self.correct(name)
            ):
                return False
            for name in self.specs:
                if name != CUSTODY and name not in goals:
                    goals[name] = self._goal(name)
            if not audit.anchored_everywhere(self, goals):
                return False
            return all(foreign.is_whole(self, attacher) for attacher in self.attachers)

        if not self._go_on(began_ms + SETTLE_MS, settled):
            everybody = (*self.clients, *self.governors, *self.attachers)
            missing = [client.name for client in everybody if not client.finished]
            state = {name: audit.region_states(self, name) for name in self.specs if name != CUSTODY}
            errors = [progress.last_error for relay in self.relays for progress in relay.board.regions.values()]
            raise Violation(
                f"not settled {SETTLE_MS} ms after healing: clients without receipts {missing}, goals {goals}, "
                f"regions {state}, relay errors {errors}"
            )
        return self.world.now_ms - began_ms

    def _goal(self, network: str) -> int:
        """What must be anchored: what correct nodes have, and what a liar was first to tell its client truly."""
        told = [
            told.height for client in self.clients if client.network == network for told in client.receipts.values()
        ]
        return max([machine.height for machine in self.correct(network)] + told)

    def _go_on(self, until_ms: int, finished: Callable[[], bool]) -> bool:
        """Let things happen; look at `finished` now and then, at violations always."""
        checked_ms = -1

        def over() -> bool:
            nonlocal checked_ms
            if self._broken is not None:
                raise self._broken
            if self.world.happened > MOST_HAPPENINGS:
                raise Violation(f"a storm: {self.world.happened} happenings in {self.world.now_ms} ms")
            if self.world.now_ms - checked_ms < 20:
                return False
            checked_ms = self.world.now_ms
            self._raise_troubles()
            return finished()

        return self.world.run(until_ms, over)

    def _raise_troubles(self) -> None:
        """What a callback raised ends the run: nothing may be swallowed."""
        islet = () if self.islet is None else self.islet.nodes
        for process in (*self.machines, *self.relays, *self.clients, *self.governors, *self.attachers, *islet):
            for trouble in process.loop.troubles:
                error = trouble.get("exception")
                raise Violation(f"{process.name}: {trouble.get('message')}: {error!r}") from error
        for relay in self.relays:
            for progress in relay.board.regions.values():
                error = progress.last_error
                if error is not None and error["code"] == "internal":
                    raise Violation(f"a defect in the relay: {error['detail']}")


@contextmanager
def _remembered_verdicts() -> Iterator[None]:
    """Every signature is really verified, but once: a network of ten sees each a dozen times."""
    remembered = lru_cache(maxsize=100_000)(Ed25519Sha256.verify)

    def verify(self: Ed25519Sha256, public_key: bytes, message: bytes, signature: bytes) -> bool:
        return remembered(self, public_key, message, signature)

    with patch.object(Ed25519Sha256, "verify", verify):
        yield


@contextmanager
def _uncollected() -> Iterator[None]:
    """No cycle is collected: that would close coroutines of killed processes, some of which plan something as they end,
    at a moment that the interpreter chooses and no seed decides.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the product's log lines about injected faults to itself."""
    logger = logging.getLogger("tongjian")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)
