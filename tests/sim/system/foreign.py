"""A region of another make (`tests.foreign`) beside the markets: attached, anchored, misbehaving, recovered.

Its three nodes serve one chain that grows by itself; how its validators agree is not simulated. Once the custody chain
has some of its blocks, its validators sign a second block at the tip's slot, and two of the nodes show that branch. The
custody chain must freeze the region and name who signed both; governance recovers it at the anchored block, the nodes
go back to their chain, and everything of it must be anchored (attacks R3, R6, R9; protocol rules 20 to 22).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

from crosslink.lightclient.delivery import MisbehaviourDelivery
from custody_chain.tables.regions import MISBEHAVIOURS, Region
from tests.foreign.blocks import Block, Islet
from tests.foreign.client import checkpoint_of, root_of
from tests.sim.checkers import Violation
from tests.sim.system import audit
from tests.sim.system.clients import Acknowledged, Client
from tests.sim.system.founding import CUSTODY, GENESIS_MS
from tests.sim.system.islet_node import ISLET, IsletNode
from tests.sim.world import World
from tests.support.custody import account, person

if TYPE_CHECKING:
    from tests.sim.system.simulation import SystemSimulation

NODES = ("islet-1", "islet-2", "islet-3")
START_S = GENESIS_MS // 1000 + 10
"""What the machines' clocks show when a run begins."""
BLOCKS_BEFORE_THE_FORK = 3
POLL_S = 0.3


class IsletWorld:
    """The chain, its nodes, and its branch while the validators contradict themselves."""

    def __init__(self, world: World, random: Random) -> None:
        self.world, self.random = world, random
        self.chain = Islet(ISLET, start_s=START_S)
        self.root = root_of(self.chain)
        self.branch: Islet | None = None
        self.nodes = [IsletNode(world, name, lambda at=at: self._seen_by(at)) for at, name in enumerate(NODES)]
        self._people = 0

    def start(self) -> None:
        """Grow from now on; one node may be down for a while."""
        if self.random.random() < 0.5:
            idle = self.random.choice(self.nodes)
            idle.alive = False
            self.world.after(self.random.randrange(1_000, 6_000), lambda: setattr(idle, "alive", True))
        self._grow()

    def _seen_by(self, at: int) -> list[Block]:
        forked = self.branch is not None and at > 0
        return self.branch.blocks if forked and self.branch is not None else self.chain.blocks

    def _grow(self) -> None:
        """A block every second or so, in the slot of its second; none while the validators are at odds."""
        slot = self.world.now_ms // 1000 + 1
        if self.branch is None and slot > self.chain.tip_slot:
            if self.random.random() < 0.1:
                self.chain.hand_over({name: self.random.randint(1, 9) for name in ("amber", "birch", "dogwood")})
            self.chain.grow(self._objects(), skip=slot - self.chain.tip_slot - 1)
        self.world.after(self.random.randrange(700, 2_500), self._grow)

    def _objects(self) -> list[bytes]:
        """Nothing, people with accounts, or bytes that no standard knows."""
        objects: list[bytes] = []
        for _ in range(self.random.choice((0, 0, 1, 2))):
            self._people += 1
            objects.append(person(f"I{self._people}", f"Q{500 + self._people:09d}"))
            objects.append(account(f"IA{self._people}", f"I{self._people}"))
        if self.random.random() < 0.2:
            objects.append(self.random.choice((b"\xff\xfe", b'{"quantity":1.50}', b"")))
        return objects

    def fork(self) -> None:
        """The validators sign another block at the tip's slot, and one on top of it."""
        branch = Islet(ISLET, self.chain.weights, START_S)
        branch.origin, branch.epoch, branch.blocks = self.chain.origin, self.chain.epoch, [*self.chain.blocks[:-1]]
        branch.append(self.chain.rival(-1))
        branch.grow([b"rival"])
        self.branch = branch
        self.pair = self.chain.blocks[-1].signed, branch.blocks[len(self.chain.blocks) - 1].signed
        self.world.note("the islet forks")

    def evidence(self) -> dict[str, Any]:
        """The two signed blocks of one slot, for the custody chain."""
        first, second = self.pair
        return MisbehaviourDelivery(region=ISLET, first=first, second=second).to_operation()

    def unite(self) -> None:
        """The nodes go back to the chain that governance trusts."""
        self.branch = None
        self.world.note("the islet unites")


class Attacher(Client):
    """Who governs the custody chain: attaches the region, and recovers it."""

    def __init__(self, simulation: SystemSimulation, islet: IsletWorld) -> None:
        super().__init__(simulation.world, simulation.web, simulation.specs[CUSTODY], "attacher", "governance")
        self._simulation, self._islet = simulation, islet
        self.goal = 0
        self.recoveries = 0

    def trusted_nodes(self) -> list[str]:
        """Correct custody nodes."""
        return [machine.name for machine in self._simulation.chains[CUSTODY] if machine.mischief is None]

    async def work(self) -> None:
        """The region's life: attached, frozen, recovered, whole again."""
        document = {**self._islet.root.to_json(), "region_letters": "ZJ"}
        await self._govern("attach", lambda: {"type": "region.register", "region": document, "reason": "it joins"})
        await self._until(lambda record: record.blocks >= BLOCKS_BEFORE_THE_FORK and record.partial is None)
        await self._until(lambda record: record.anchored.id == self._islet.chain.tip_id.hex())
        self._islet.fork()
        await self._until(lambda record: record.frozen is not None)
        await self._name_culprits()
        goes_on = False
        while not goes_on:
            applied = await self._govern(f"recover-{self.recoveries}", self._recovery)
            self.recoveries += 1
            self._islet.unite()
            goes_on = await self._goes_on(applied.height)
        self.goal = self._islet.chain.tip_slot

    async def _goes_on(self, recovered_in: int) -> bool:
        """Whether blocks are anchored after the recovery of that custody height, or the region is frozen again.

        Until the nodes give the branch up a relay may read on there, and a further block of a branch that is lost is
        another act of its validators (ADR 0044).
        """
        recovered_at = self._known().anchored.height

        def frozen_again(record: Region) -> bool:
            return record.frozen is not None and record.frozen.custody_height > recovered_in

        await self._until(lambda record: record.anchored.height > recovered_at or frozen_again(record))
        return not frozen_again(self._known())

    async def _govern(self, name: str, operation: Callable[[], dict[str, Any]]) -> Acknowledged:
        attempt = 0
        while (answer := await self.submit(f"{name}-{attempt}", [operation()])).status != "applied":
            attempt += 1
        return answer

    async def _name_culprits(self) -> None:
        """A relay that could not read both branches froze the region without names; anybody may bring the pair."""
        attempt = 0
        while (frozen := self._known().frozen) is not None and not frozen.culprits:
            await self.submit(f"evidence-{attempt}", [self._islet.evidence()])
            attempt += 1

    async def _until(self, reached: Callable[[Region], bool]) -> None:
        while True:
            record = self._record()
            if record is not None and reached(record):
                return
            await asyncio.sleep(POLL_S)

    def _record(self) -> Region | None:
        correct = [machine for machine in self._simulation.correct(CUSTODY) if machine.alive]
        return audit.record_of(audit.best(correct), ISLET) if correct else None

    def _known(self) -> Region:
        record = self._record()
        if record is None:
            raise Violation(f"{ISLET} is not a region of the custody chain any more")
        return record

    def _recovery(self) -> dict[str, Any]:
        """Trust in the anchored block, whose branch the market stands by."""
        chain, anchored = self._islet.chain, self._known().anchored
        block = next(block for block in chain.blocks if block.id.hex() == anchored.id)
        root = {**self._islet.root.to_json(), "checkpoint": checkpoint_of(chain, block).to_json()}
        return {
            "type": "region.recover",
            "region": ISLET,
            "trust_root": root,
            "from_height": block.slot + 1,
            "previous_anchored_id": anchored.id,
            "reason": "the branch is given up",
        }


def is_whole(simulation: SystemSimulation, attacher: Attacher) -> bool:
    """Whether the region is recovered, active, and anchored to where it was then, on every correct custody node."""
    if not attacher.finished:
        return False
    standing, height = audit.region_states(simulation, ISLET)
    return standing == "active" and height >= attacher.goal


def judge(simulation: SystemSimulation, islet: IsletWorld) -> None:
    """What the custody chain holds of the region against the region's own chain. Raises `Violation`."""
    for machine in simulation.correct(CUSTODY):
        record = audit.record_of(machine, ISLET)
        if record is None:
            raise Violation(f"{machine.name} does not know the islet")
        anchored = [block for block in islet.chain.blocks if block.slot <= record.anchored.height]
        objects = sum(len(block.objects) for block in anchored)
        partial = record.partial
        found = (record.anchored.id, record.blocks, record.recoveries, record.frozen)
        recoveries = sum(attacher.recoveries for attacher in simulation.attachers)
        if found != (anchored[-1].id.hex(), len(anchored), recoveries, None):
            raise Violation(f"{machine.name} holds {found} of the islet's {len(anchored)} blocks")
        if record.snapshots - (0 if partial is None else partial.delivered) != objects:
            raise Violation(f"{machine.name} took in {record.snapshots} of the islet's {objects} objects")
        _judge_evidence(machine.chain.state_scan(MISBEHAVIOURS.prefix(ISLET), None, 10), machine.name)


def _judge_evidence(entries: list[tuple[bytes, bytes]], name: str) -> None:
    """Every freeze, with the names of who signed both blocks, and both headers where somebody is named."""
    held = [json.loads(value) for _, value in entries]
    named = [entry for entry in held if entry["culprits"]]
    if not named or any(entry["client_type"] != "islet/v1" for entry in held):
        raise Violation(f"{name} does not name who signed two blocks of the islet: {held}")
    if any(entry["first"] is None or entry["second"] is None for entry in named):
        raise Violation(f"{name} names culprits without both headers")
