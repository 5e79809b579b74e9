"""One simulated network from its seed to its verdict: faults first, then healing, then progress is owed."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from common.consensus import effects as fx
from common.consensus.messages import ConsensusMessage, Phase, Vote
from common.core.block import Block
from common.core.certificate import Certificate
from tests.sim.bench import kind_of
from tests.sim.byzantine import TwinNode
from tests.sim.checkers import AgreementChecker, ConductChecker, Violation
from tests.sim.network import Address, LinkQuality, Network
from tests.sim.plan import FaultPlan, Outage, Partition, draw_plan
from tests.sim.replica_node import ReplicaNode
from tests.sim.toys import CHEAP, NETWORK
from tests.sim.world import World

BLOCKS_AFTER_HEALING = 2
PATIENCE_MS = 120_000
"""Simulated time after healing in which every correct node must commit again. The longest time-out is 6 s; with two
faulty members of seven, three views in a row may fail, after the views that were under way.
"""


MOST_HAPPENINGS = 60_000
"""Far above any healthy run (seven validators: about 5,000). More is a storm (attacks C13, C22)."""


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


class Simulation:
    """A chain of simulated validators under one fault plan."""

    def __init__(self, seed: int, *, size: int | None = None, plan: FaultPlan | None = None, trace: bool = False):
        self.seed = seed
        self.plan = plan or draw_plan(Random(seed), size)
        self.world = World(seed, keep_trace=trace)
        self.network = Network(self.world)
        self.network.quality = self.plan.quality
        self.agreement = AgreementChecker()
        self.conduct = ConductChecker()
        self.has_work = True
        self.accusations: list[tuple[ReplicaNode, fx.Accuse]] = []
        self.highest_view = 0
        self.population = self.plan.size + (1 if self.plan.set_changes else 0)
        self._sets: dict[int, tuple[int, ...]] = {}
        self._gossip: dict[bytes, Block] = {}
        self.nodes: list[ReplicaNode] = []
        for number in range(self.population):
            halves = "ab" if number in self.plan.twins else ""
            self.nodes += [TwinNode(self, number, half) for half in halves] or [ReplicaNode(self, number)]
        for node in self.nodes:
            self.network.register(node.address, node)

    # What nodes ask of their surroundings

    def members(self, height: int) -> tuple[int, ...]:
        """Numbers of the validators that sign a height, in voting order."""
        known = self._sets.get(height)
        if known is None:
            changes = [at for at in self.plan.set_changes if at < height]
            known = self.plan.set_changes[max(changes)] if changes else tuple(range(self.plan.size))
            self._sets[height] = known
        return known

    def gossip(self, block: Block) -> None:
        """A body spreads before the proposal."""
        self._gossip[block.header.id(CHEAP)] = block

    def gossiped(self, block_id: bytes) -> Block | None:
        """The body, if gossip brought it."""
        missing = self.plan.missing_bodies
        if missing and self.world.random.random() < missing:
            return None
        return self._gossip.get(block_id)

    def committed(self, node: ReplicaNode, block: Block, certificate: Certificate) -> None:
        """A node committed a block."""
        self.highest_view = max(self.highest_view, certificate.view)
        self._spring_ambush(node.number, block.header.height)
        if node.is_correct:
            self.agreement.committed(node.number, block, certificate, self.members(block.header.height))

    def accused(self, node: ReplicaNode, effect: fx.Accuse) -> None:
        """A correct node holds proof against somebody: never against a correct one."""
        number = self.members(effect.first.height)[effect.first.signer]
        self.world.note(f"{node.name} accuses {number}")
        if node.is_correct:
            self.accusations.append((node, effect))
            if number not in self.plan.twins:
                raise Violation(f"correct node {number} is accused")

    # Faults

    def is_starved(self, source: int, target: int, message: ConsensusMessage) -> bool:
        """Whether the plan loses this message because of what it is."""
        plan = self.plan
        if plan.starved:
            chance = plan.starved.get(kind_of(message), 0.0)
            return chance > 0 and self.world.random.random() < chance
        ambush = plan.ambush
        if ambush is None or message.height < ambush.height or self.world.now_ms >= ambush.end_ms:
            return False
        return target != ambush.victim and isinstance(message, Vote) and message.phase is Phase.COMMIT

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
        return any(node.number == number and node.tip.height >= ambush.height for node in self.nodes)

    def _schedule(self) -> None:
        for partition in self.plan.partitions:
            self.world.after(partition.start_ms, lambda item=partition: self._part(item))
            self.world.after(partition.end_ms, self._rejoin)
        for outage in self.plan.outages:
            self.world.after(outage.start_ms, lambda item=outage: self._fail(item))
            self.world.after(outage.end_ms, lambda item=outage: self._recover(item.nodes))
        if self.plan.idle:
            self.world.after(self.world.random.randrange(1000), self._toggle_work)
        self.world.after(self.plan.heal_ms, self._heal)

    def _part(self, partition: Partition) -> None:
        self.world.note(f"partition {partition.groups}")
        groups = [[Address(NETWORK, number) for number in group] for group in partition.groups]
        if partition.one_way:
            for source in groups[0]:
                for target in (address for group in groups[1:] for address in group):
                    self.network.cut(source, target)
        else:
            self.network.partition(groups)

    def _rejoin(self) -> None:
        self.world.note("partitions end")
        self.network.heal()
        if self.world.random.random() < 0.5:
            self._connect_all()

    def _fail(self, outage: Outage) -> None:
        for node in self.nodes:
            if node.number in outage.nodes and node.alive:
                node.crash()

    def _recover(self, numbers: tuple[int, ...]) -> None:
        for node in self.nodes:
            if node.number in numbers and not node.alive:
                node.start()
                self._connect(node)

    def _connect(self, node: ReplicaNode) -> None:
        for other in self.nodes:
            if other.number != node.number and not self.network.is_cut(node.address, other.address):
                self.world.after(self.world.random.randrange(1, 30), lambda a=node, b=other.number: a.connected(b))
                self.world.after(self.world.random.randrange(1, 30), lambda a=other, b=node.number: a.connected(b))

    def _connect_all(self) -> None:
        for node in self.nodes:
            self._connect(node)

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
        self._recover(tuple(range(self.population)))
        for node in self.nodes:
            node.set_work(True)
        if self.world.random.random() < 0.7:
            self._connect_all()

    # A run

    def start(self) -> None:
        """Boot every node, and let the plan take its course."""
        for node in self.nodes:
            node.start()
        self._connect_all()
        self._schedule()

    def run(self) -> Outcome:
        """Run to the end. Raises `Violation` if agreement, conduct or progress is broken."""
        self.start()
        self.world.run(self.plan.heal_ms, self._is_storming)
        target = max(node.tip.height for node in self.nodes) + BLOCKS_AFTER_HEALING
        correct = [node for node in self.nodes if node.is_correct]
        done = self.world.run(
            self.plan.heal_ms + PATIENCE_MS,
            lambda: self._is_storming() or all(node.tip.height >= target for node in correct),
        )
        if not done:
            heights = {node.name: (node.tip.height, node.replica.view) for node in self.nodes}
            raise Violation(f"no progress to height {target} after healing: (height, view) by node {heights}")
        return self.outcome()

    def _is_storming(self) -> bool:
        if self.world.happened > MOST_HAPPENINGS:
            raise Violation(f"a storm: {self.world.happened} happenings in {self.world.now_ms} ms")
        return False

    def outcome(self) -> Outcome:
        """Where the run is."""
        return Outcome(
            self.seed,
            self.world.trace_digest,
            tuple(node.tip.height for node in self.nodes),
            self.highest_view,
            len(self.accusations),
            self.world.happened,
            self.world.now_ms,
        )
