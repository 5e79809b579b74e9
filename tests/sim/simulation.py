"""A simulated network of bare replicas, with toy blocks: consensus alone, thousands of seeds a minute."""

from __future__ import annotations

from common.core.block import Block
from tests.sim.byzantine import TwinNode
from tests.sim.faults import FaultyNetwork
from tests.sim.plan import FaultPlan
from tests.sim.replica_node import ReplicaNode
from tests.sim.toys import CHEAP


class Simulation(FaultyNetwork[ReplicaNode]):
    """A chain of simulated replicas under one fault plan."""

    def __init__(
        self, seed: int, *, size: int | None = None, plan: FaultPlan | None = None, trace: bool = False
    ) -> None:
        self._sets: dict[int, tuple[int, ...]] = {}
        self._gossip: dict[bytes, Block] = {}
        super().__init__(seed, plan, size, trace=trace, ordered=False)

    def make_node(self, number: int, half: str) -> ReplicaNode:
        """A replica with its disk."""
        return TwinNode(self, number, half) if half else ReplicaNode(self, number)

    def connect(self, node: ReplicaNode, other: ReplicaNode) -> None:
        """Each end hears of the channel in its own time."""
        self.world.after(self.world.random.randrange(1, 30), lambda: node.connected(other.number))
        self.world.after(self.world.random.randrange(1, 30), lambda: other.connected(node.number))

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
