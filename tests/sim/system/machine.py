"""One validator's machine: the product's runtime, node and service over simulated disks, channels and time.

What `common.node.main.NodeProcess` wires, with the simulator's parts in the place of sockets, threads and clocks. The
runtime is the real one, so the order of effects, group commit and drained view timers are the product's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, cast

from common.chain.schedule import check_supported
from common.core.errors import InvariantBroken, Unavailable
from common.node.logic.execution.genesis_state import initialise_chain
from common.node.logic.node import Node
from common.node.logic.node_effects import Accusation, BlockCommitted, Warned
from common.node.peer.transport import PeerTransport
from common.node.runtime import Runtime
from common.node.service import NodeService
from common.node.startup import Opened, members, open_votes
from common.node.store.chain_store import ChainStore
from common.node.store.committed_state import CommittedState
from common.node.store.store_errors import DamagedStore, StoreFailed
from tests.sim.system.channels import SimulatedChannels
from tests.sim.system.disk import SimulatedDirectory, SimulatedStore
from tests.sim.system.founding import GENESIS_MS, NEW_VERSIONS, SUITE, ChainSpec, seed_of
from tests.sim.system.loop import SimulatedDiskWorker, SimulatedLoop
from tests.sim.system.network import SystemNetwork
from tests.sim.world import World

if TYPE_CHECKING:
    from tests.sim.system.http import Exchange

RESTART_MS = 400
"""How soon a supervisor starts a process again that ended."""


class Mischief(Protocol):
    """What a Byzantine validator does differently. Hooks get the machine, whose `seed` signs whatever they like."""

    def heard(self, machine: NodeMachine, payload: bytes) -> None:
        """A frame has arrived; it goes on to the node."""
        ...

    def says(self, machine: NodeMachine, peer: NodeMachine, payload: bytes) -> list[bytes]:
        """What is sent to `peer` in the place of `payload`."""
        ...

    def answers(self, machine: NodeMachine, method: str, path: str, body: bytes) -> tuple[int, bytes] | None:
        """(status, body) that an HTTP client gets in the place of `body`; None: nothing at all."""
        ...

    def swallows(self, machine: NodeMachine, path: str) -> bool:
        """Whether a submission is dropped instead of taken."""
        ...


class Observer(Protocol):
    """Who watches a machine from outside."""

    def said(self, machine: NodeMachine, peer: NodeMachine, payload: bytes) -> None:
        """A frame leaves the node, before anything is lost or changed."""
        ...

    def committed(self, machine: NodeMachine, committed: BlockCommitted) -> None:
        """A block is durable and announced."""
        ...

    def accused(self, machine: NodeMachine, accusation: Accusation) -> None:
        """A node holds proof against somebody."""
        ...

    def warned(self, machine: NodeMachine, warning: Warned) -> None:
        """A node tells its operator something."""
        ...

    def cut_off(self, machine: NodeMachine, peer: NodeMachine, reason: str) -> None:
        """A node closes a channel for cause."""
        ...

    def broke(self, machine: NodeMachine, reason: str) -> None:
        """A node stopped itself and no injected fault explains it."""
        ...


class _Service(NodeService):
    """The product's service, which also tells the observer."""

    def __init__(self, machine: NodeMachine, chain: ChainStore) -> None:
        super().__init__(chain, machine.application)
        self._machine = machine

    def block_committed(self, committed: BlockCommitted) -> None:
        self._machine.observer.committed(self._machine, committed)
        super().block_committed(committed)

    def accused(self, accusation: Accusation) -> None:
        self._machine.observer.accused(self._machine, accusation)
        super().accused(accusation)

    def warned(self, warning: Warned) -> None:
        self._machine.world.note(f"{self._machine.name} warns {warning.code}")
        self._machine.observer.warned(self._machine, warning)
        super().warned(warning)


class NodeMachine:
    """See the module docstring. `number` is the validator's index."""

    def __init__(self, world: World, network: SystemNetwork, observer: Observer, spec: ChainSpec, number: int) -> None:
        self.world, self.network, self.observer, self.spec, self.number = world, network, observer, spec, number
        self.name = spec.names[number]
        self.seed = seed_of(self.name)
        self.key = SUITE.public_key(self.seed)
        self.store = SimulatedStore()
        self.directory = SimulatedDirectory()
        self.alive = False
        self.wanted = True
        """Whether the supervisor keeps the process running."""
        self.versions: tuple[int, ...] = NEW_VERSIONS
        """Protocol versions that the installed release knows."""
        self.life = 0
        self.skew_ms = 0
        self.drift = 0.0
        self._drift_since_ms = 0
        self.disk_ms = 2
        """Longest time that a synced write takes."""
        self.mischief: Mischief | None = None
        self.damaged = False
        """Whether a bit was flipped, or a disk image put back: it counts as faulty."""
        self.exchanges: set[Exchange] = set()
        self.loop = SimulatedLoop(world)  # type: ignore[abstract]
        self.loop.kill()

    @property
    def is_correct(self) -> bool:
        """Whether it follows the protocol with the memory it is owed."""
        return self.mischief is None and not self.damaged

    @property
    def height(self) -> int:
        """Tip height; 0 while it is down."""
        return self.chain.tip().height if self.alive else 0

    def wall_clock_ms(self) -> int:
        """What this machine thinks the time is."""
        drifted = int((self.world.now_ms - self._drift_since_ms) * self.drift)
        return GENESIS_MS + 10_000 + self.world.now_ms + self.skew_ms + drifted

    def set_clock(self, skew_ms: int, drift: float) -> None:
        """Set the wall clock wrong, and let both clocks drift."""
        self.skew_ms, self.drift, self._drift_since_ms = skew_ms, drift, self.world.now_ms
        self.loop.set_rate(1.0 + drift)

    # Life

    def start(self) -> None:
        """Boot from disk. A disk that refuses, or damage, leaves it down; the supervisor tries again."""
        if self.alive:
            return
        self.life += 1
        self.loop = SimulatedLoop(self.world, rate=1.0 + self.drift)  # type: ignore[abstract]
        self.loop.work_delay_ms = self._disk_delays_ms
        try:
            with self.loop.entered():
                self._boot()
        except Unavailable as unsupported:
            self.world.note(f"{self.name} does not start: {unsupported.code}")
            self.loop.kill()
            self.world.after(RESTART_MS, self._supervise)
        except (StoreFailed, DamagedStore) as error:
            self.loop.kill()
            self._cannot_start(error)

    def _boot(self) -> None:
        genesis = self.spec.genesis
        self.application = self.spec.application(genesis)
        self.chain = ChainStore(self.store, genesis)
        initialise_chain(self.chain, genesis, self.application)
        opened = open_votes(self.directory, self.store, self.chain, draw_log_id=self.world.random.randbytes)
        self._votes = opened.votes
        self._check_release()
        self.alive = True
        voting = "" if opened.may_vote and not opened.abstain_through_height else ", not voting yet"
        self.world.note(f"{self.name} starts at height {self.chain.tip().height}{voting}")
        self.service = _Service(self, self.chain)
        self.node = self._node(opened)
        chain = self.chain
        self.runtime = Runtime(
            self.node,
            self.store,
            opened.votes,
            self.service,
            self.wall_clock_ms,
            lambda: members(chain),
            disk_worker=SimulatedDiskWorker,
        )
        self.channels = SimulatedChannels(self)
        self.service.attach(self.node, self.runtime, cast(PeerTransport, self.channels))
        life = self.life
        self.runtime.failed.add_done_callback(lambda failed: self._failed(life, failed.result()))
        self.runtime.start(self.channels)

    def _check_release(self) -> None:
        """Raises `Unavailable` if the next block obeys a version that the installed release does not know."""
        tip = self.chain.tip()
        check_supported(CommittedState(self.chain), self.spec.genesis, tip.height + 1, self.versions)

    @property
    def _is_outdated(self) -> bool:
        try:
            self._check_release()
        except Unavailable:
            return True
        return False

    def _node(self, opened: Opened) -> Node:
        return Node(
            genesis=self.spec.genesis,
            application=self.application,
            chain=self.chain,
            seed=self.seed,
            recovered=opened.votes.recovered,
            may_vote=opened.may_vote,
            abstain_through_height=opened.abstain_through_height,
            supported_versions=self.versions,
        )

    def _disk_delays_ms(self) -> tuple[int, int]:
        random = self.world.random
        return random.randint(0, self.disk_ms), random.randint(0, self.disk_ms)

    def _cannot_start(self, error: InvariantBroken) -> None:
        self.world.note(f"{self.name} cannot start: {type(error).__name__}")
        if isinstance(error, DamagedStore):
            if not self.damaged:
                self.observer.broke(self, f"it finds damage where there is none: {error}")
            self._repair()
        elif not self.disk_refuses:
            self.observer.broke(self, f"it cannot start: {error}")
        self.world.after(RESTART_MS, self._supervise)

    def _repair(self) -> None:
        """What the operator's guide says: a damaged database goes, a damaged vote log means a new key one day."""
        if self.store.rotten:
            self.store = SimulatedStore()
        else:
            self.directory.overwrite(None)

    @property
    def disk_refuses(self) -> bool:
        """Whether one of the disks fails at present."""
        return bool(self.store.write_error or self.directory.write_error)

    def _failed(self, life: int, reason: str) -> None:
        if life != self.life or not self.alive:
            return
        self.world.note(f"{self.name} stops itself")
        explained = self.disk_refuses or self.store.rotten or self._recently_refused or self._is_outdated
        if not self.disk_refuses:
            self._recently_refused = False
        self.crash(power=False)
        if not explained:
            self.observer.broke(self, reason)
        elif self.store.rotten:
            self._repair()

    _recently_refused = False
    """Whether a write may still be on its way that was refused before the disks worked again: one stop is explained."""

    def refuse_writes(self, why: str) -> None:
        """The disks fail (EIO, ENOSPC) until `accept_writes`."""
        self.store.write_error = self.directory.write_error = why
        self._recently_refused = True

    def accept_writes(self) -> None:
        """The disks work again."""
        self.store.write_error = self.directory.write_error = ""

    def crash(self, *, power: bool) -> None:
        """End at once. Without power, what was not synced is lost, or a torn part of it survives."""
        if not self.alive:
            return
        self.world.note(f"{self.name} {'loses power' if power else 'is killed'}")
        self.alive = False
        self.loop.kill()
        self.channels.close_all()
        if power:
            self._lose_unsynced()
        for exchange in sorted(self.exchanges, key=lambda exchange: exchange.number):
            exchange.reset()
        self.exchanges.clear()
        self.world.after(RESTART_MS + self.world.random.randrange(400), self._supervise)

    def _lose_unsynced(self) -> None:
        random = self.world.random
        refusing, self.directory.write_error = self.directory.write_error, ""
        self.directory.fail_syncs = True
        try:
            self._votes.sync()
        except StoreFailed:
            self.directory.crash(random.choice((0, random.randrange(4000))))
        self.directory.fail_syncs = False
        self.directory.write_error = refusing
        self.store.crash()

    def _supervise(self) -> None:
        if self.wanted and not self.alive:
            self.start()

    def take_image(self) -> None:
        """Copy the disks as they are."""
        self._image = (list(self.store.scan(b"")), self.directory.read())

    def restore_image(self) -> None:
        """Put the copy back: votes that were cast since are forgotten (attack C16)."""
        self.crash(power=False)
        self.damaged = True
        entries, votes = self._image
        self.store, self.directory = SimulatedStore(), SimulatedDirectory()
        self.store.write(entries, sync=True)
        self.directory.overwrite(votes)
