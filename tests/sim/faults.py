"""A network under a fault plan, from its seed to its verdict: faults first, then healing, then progress is owed.

What a node is made of is left to subclasses: a bare replica (`simulation`) or a whole node (`node_simulation`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Generic, Protocol, TypeVar

from common.consensus.messages import ConsensusMessage, Stage, Vote
from common.core.block import Block
from common.core.certificate import Certificate
from tests.sim.bench import kind_of
from tests.sim.checkers import AgreementChecker, ConductChecker, Violation
from tests.sim.network import Actor, Address, LinkQuality, Network
from tests.sim.plan import FaultPlan, Outage, Partition, draw_plan
from tests.sim.world import World

BLOCKS_AFTER_HEALING = 2
PATIENCE_MS = 120_000
"""Simulated time after healing in which every correct node must commit again. The longest time-out is 6 s; with two
faulty members of seven, three views in a row may fail, after the views that were under way.
"""
MOST_HAPPENINGS = 60_000
"""Far above any healthy run (seven validators: about 5,000). More is a storm (attacks C13, C22)."""


class SimulatedNode(Actor, Protocol):
    """What a fault plan needs to know of a node."""

    is_correct: bool
    number: int
    name: str
    address: Address
    alive: bool

    @property
    def height(self) -> int:
        """Tip height on disk."""

    @property
    def view(self) -> int:
        """View of the open height."""

    def start(self) -> None:
        """Boot from disk."""

    def crash(self) -> None:
        """Lose power."""

    def set_work(self, pending: bool) -> None:
        """Clients have something for this node, or nothing."""

    def take_image(self) -> None:
        """Copy the disks as they are."""

    def restore_image(self) -> None:
        """Put the copy back; the node is down."""


AnyNode = TypeVar("AnyNode", bound=SimulatedNode)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to."""

    seed: int
    digest: str
    heights: tuple[int, ...]
    highest_view: int
    accusations: int
    happened: int
    simulated_ms: int


class FaultyNetwork(ABC, Generic[AnyNode]):
    """Validators of one chain under one fault plan."""

    def __init__(self, seed: int, plan: FaultPlan | None, size: int | None, *, trace: bool, ordered: bool) -> None:
        self.seed = seed
        self.plan = plan or draw_plan(Random(seed), size)
        self.world = World(seed, keep_trace=trace)
        self.network = Network(self.world, ordered=ordered)
        self.network.quality = self.plan.quality
        self.agreement = AgreementChecker()
        self.conduct = ConductChecker()
        self.has_work = True
        self.accusations: list[tuple[AnyNode, object]] = []
        self.highest_view = 0
        self.population = self.plan.size + (1 if self.plan.set_changes else 0)
        self.nodes: list[AnyNode] = []
        for number in range(self.population):
            halves = ["a", "b"] if number in self.plan.twins else [""]
            self.nodes += [self.make_node(number, half) for half in halves]
        for node in self.nodes:
            self.network.register(node.address, node)

    @abstractmethod
    def make_node(self, number: int, half: str) -> AnyNode:
        """A node; `half` names one of two twins, and is empty for a correct node."""

    @abstractmethod
    def connect(self, node: AnyNode, other: AnyNode) -> None:
        """A channel between two nodes comes up, if they live and can reach each other."""

    def disconnect_unreachable(self) -> None:
        """Channels across a cut may break. By default they only lose what they carry."""

    # What nodes report

    def committed(self, node: AnyNode, block: Block, certificate: Certificate, members: tuple[int, ...]) -> None:
        """A node committed a block."""
        self.highest_view = max(self.highest_view, certificate.view)
        self._spring_ambush(node.number, block.header.height)
        if node.is_correct:
            self.agreement.committed(node.number, block, certificate, members)

    def accused(self, node: AnyNode, culprit: int, evidence: object) -> None:
        """A node holds proof against somebody: never against a correct one."""
        self.world.note(f"{node.name} accuses {culprit}")
        if node.is_correct:
            self.accusations.append((node, evidence))
            if culprit not in self.plan.forgetful:
                raise Violation(f"correct node {culprit} is accused")

    # Faults

    def is_starved(self, target: int, message: ConsensusMessage) -> bool:
        """Whether the plan loses this message because of what it is."""
        plan = self.plan
        if plan.starved:
            chance = plan.starved.get(kind_of(message), 0.0)
            return chance > 0 and self.world.random.random() < chance
        ambush = plan.ambush
        if ambush is None or message.height < ambush.height or self.world.now_ms >= ambush.end_ms:
            return False
        return target != ambush.victim and isinstance(message, Vote) and message.stage is Stage.COMMIT

    def _spring_ambush(self, number: int, height: int) -> None:
        ambush = self.plan.ambush
        if ambush is None or (number, height) != (ambush.victim, ambush.height) or ambush.blackout == "nobody":
            return
        others = tuple(other for other in range(self.population) if other != number)
        dark = (number,) if ambush.blackout == "victim" else others
        self.world.after(0, lambda: self._fail(Outage(0, 0, dark)))
        self.world.after(100, lambda: self._recover(dark))

    def is_ambushed(self, number: int) -> bool:
        """Whether the node cannot make itself heard: it alone may know a decision."""
        ambush = self.plan.ambush
        if ambush is None or number != ambush.victim or self.world.now_ms >= ambush.end_ms:
            return False
        return any(node.number == number and node.height >= ambush.height for node in self.nodes)

    def _schedule(self) -> None:
        for partition in self.plan.partitions:
            self.world.after(partition.start_ms, lambda item=partition: self._part(item))
            self.world.after(partition.end_ms, self._rejoin)
        for outage in self.plan.outages:
            self.world.after(outage.start_ms, lambda item=outage: self._fail(item))
            self.world.after(outage.end_ms, lambda item=outage: self._recover(item.nodes))
        rollback = self.plan.rollback
        if rollback is not None:
            node = next(node for node in self.nodes if node.number == rollback.node)
            self.world.after(rollback.image_ms, node.take_image)
            self.world.after(rollback.restore_ms, lambda: self._roll_back(node))
        if self.plan.idle:
            self.world.after(self.world.random.randrange(1000), self._toggle_work)
        self.world.after(self.plan.heal_ms, self._heal)

    def _part(self, partition: Partition) -> None:
        self.world.note(f"partition {partition.groups}")
        groups = [[self._address(number) for number in group] for group in partition.groups]
        if partition.one_way:
            for source in groups[0]:
                for target in (address for group in groups[1:] for address in group):
                    self.network.cut(source, target)
        else:
            self.network.partition(groups)
        if self.world.random.random() < 0.5:
            self.disconnect_unreachable()

    def _address(self, number: int) -> Address:
        return next(node.address for node in self.nodes if node.number == number)

    def _rejoin(self) -> None:
        self.world.note("partitions end")
        self.network.heal()
        if self.world.random.random() < 0.5:
            self.connect_all()

    def _fail(self, outage: Outage) -> None:
        for node in self.nodes:
            if node.number in outage.nodes and node.alive:
                node.crash()

    def _recover(self, numbers: Sequence[int]) -> None:
        for node in self.nodes:
            if node.number in numbers and not node.alive:
                node.start()
                self._connect_to_all(node)

    def _roll_back(self, node: AnyNode) -> None:
        if node.alive:
            node.crash()
        node.restore_image()
        self.world.note(f"{node.name} is set back to an old image")
        self._recover((node.number,))

    def _connect_to_all(self, node: AnyNode) -> None:
        for other in self.nodes:
            if other.number != node.number and not self.network.is_cut(node.address, other.address):
                self.connect(node, other)

    def connect_all(self) -> None:
        """Channels between all who can reach each other come up."""
        for at, node in enumerate(self.nodes):
            for other in self.nodes[at + 1 :]:
                if other.number != node.number and not self.network.is_cut(node.address, other.address):
                    self.connect(node, other)

    def _toggle_work(self) -> None:
        if self.world.now_ms >= self.plan.heal_ms:
            return
        self.has_work = not self.has_work
        self.world.note(f"work {self.has_work}")
        for node in self.nodes:
            self.world.after(self.world.random.randrange(50), lambda at=node: at.set_work(self.has_work))
        self.world.after(self.world.random.randrange(100, 1500), self._toggle_work)

    def _heal(self) -> None:
        self.world.note("heal")
        self.network.heal()
        self.network.quality = LinkQuality()
        self.has_work = True
        self.plan.starved, self.plan.ambush = {}, None
        self._recover(range(self.population))
        for node in self.nodes:
            node.set_work(True)
        self.reconnect_after_healing()

    def reconnect_after_healing(self) -> None:
        """Channels come up again; or they were never seen to break, and time-outs must do."""
        if self.world.random.random() < 0.7:
            self.connect_all()

    # A run

    def start(self) -> None:
        """Boot every node, and let the plan take its course."""
        for node in self.nodes:
            node.start()
        self.connect_all()
        self._schedule()

    def run(self) -> Outcome:
        """Run to the end. Raises `Violation` if agreement, conduct or progress is broken."""
        self.start()
        self.world.run(self.plan.heal_ms, self._is_storming)
        target = max(node.height for node in self.nodes) + BLOCKS_AFTER_HEALING
        correct = [node for node in self.nodes if node.is_correct]
        done = self.world.run(
            self.plan.heal_ms + PATIENCE_MS,
            lambda: self._is_storming() or (all(node.height >= target for node in correct) and self.is_satisfied()),
        )
        if not done:
            where = {node.name: (node.height, node.view) for node in self.nodes}
            raise Violation(f"no progress to height {target} after healing: (height, view) by node {where}")
        return self.outcome()

    def is_satisfied(self) -> bool:
        """Whether whatever else is owed has come."""
        return True

    def _is_storming(self) -> bool:
        if self.world.happened > MOST_HAPPENINGS:
            raise Violation(f"a storm: {self.world.happened} happenings in {self.world.now_ms} ms")
        return False

    def outcome(self) -> Outcome:
        """Where the run is."""
        return Outcome(
            self.seed,
            self.world.trace_digest,
            tuple(node.height for node in self.nodes),
            self.highest_view,
            len(self.accusations),
            self.world.happened,
            self.world.now_ms,
        )
