"""Simulated networks that are as hostile as the fault model allows, with every checker there is.

The plans are drawn like all others, but a faulty member is nearly always among them, it lies more, and clients send
bursts. What is checked besides agreement, conduct, progress and storms: durability and justification of every vote
(`conduct`), the whole chain against a naive model (`chain_model`), and what nodes keep in memory (`memory`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random

from common.core.block import Block
from common.core.certificate import Certificate
from common.core.transaction import parse_envelope, sign_envelope
from common.node.logic.node_status import NodeLimits
from tests.sim.byzantine import TwinNode
from tests.sim.chain_node import ChainNode, TwinChainNode
from tests.sim.faults import Outcome
from tests.sim.mutators import MUTATORS
from tests.sim.mutators.catalogue import named
from tests.sim.mutators.liar import SPOKEN, Liar
from tests.sim.network import LinkQuality
from tests.sim.node_simulation import CLIENT_SEED, NodeSimulation
from tests.sim.plan import FaultPlan, Outage, draw_plan
from tests.sim.planted.bodies import AskingNode
from tests.sim.planted.chain_model import check_chains
from tests.sim.planted.conduct import StrictConduct, durable_of_node, durable_of_replica
from tests.sim.planted.memory import MOST_OBJECTS_OF_A_NODE, MOST_OBJECTS_OF_A_REPLICA, check_memory
from tests.sim.planted.violation import Caught
from tests.sim.replica_node import ReplicaNode
from tests.sim.simulation import Simulation
from tests.sim.toys import CHEAP, GENESIS_TIME_MS, seed_of

SIZES = (4, 4, 4, 5, 7)
BURST = 40
"""Transactions of one burst: more than a leader needs to send a draft."""
INSISTENCE = 0.8
FLOOD = 600
"""Messages of one flood to each peer."""
LARGEST_SKEW_MS = 2_000
"""Of a correct machine's clock."""


def hostile_plan(seed: int, layer: str) -> FaultPlan:
    """A plan within the fault model, with a faulty member unless sets change."""
    random = Random(f"hostile {layer} {seed}")
    if layer == "node" and seed % 3 == 0:
        return _quiet_plan(random)
    plan = draw_plan(random, random.choice(SIZES))
    if layer == "node":
        plan.heal_ms = 6_000
    if layer == "replica" and not plan.set_changes and seed % 5 == 0:
        plan.twins, plan.rollback, plan.fast_clock = (), None, None
        _draw_hand_over(random, plan)
    elif not plan.faulty and not plan.set_changes and random.random() < 0.8:
        plan.twins = tuple(sorted(random.sample(range(plan.size), random.randint(1, (plan.size - 1) // 3))))
    if layer == "node" and random.random() < 0.4:
        plan.ambush, plan.starved = None, {"proposal": 0.7}
    elif layer == "replica" and random.random() < 0.2:
        plan.ambush, plan.starved = None, {"commit": 0.8, "new-view": 0.3}
    if random.random() < (0.7 if layer == "node" else 0.4):
        away = [number for number in range(plan.size) if number not in plan.twins]
        for _ in range(random.randint(1, 2)):
            start = random.randrange(200, 2000)
            plan.outages.append(
                Outage(start, start + random.randrange(1000, plan.heal_ms - 2000), (random.choice(away),))
            )
    return plan


def _quiet_plan(random: Random) -> FaultPlan:
    """Nothing but one member that is away for long, and liars that lie about the past: what catch-up has to bear."""
    size = random.choice(SIZES)
    away, *liars = random.sample(range(size), 1 + (size - 1) // 3)
    plan = FaultPlan(size, heal_ms=6_000, twins=tuple(sorted(liars)))
    plan.outages = [Outage(300, random.randrange(3_000, 5_500), (away,))]
    if random.random() < 0.5:
        plan.starved = {"proposal": 0.6}
    return plan


def _draw_hand_over(random: Random, plan: FaultPlan) -> None:
    """A set change early on, so that members of the old and of the new set vote at neighbouring heights."""
    members = [number for number in range(plan.size + 1) if number != random.randrange(plan.size)]
    plan.set_changes = {random.randint(1, 3): tuple(members[: plan.size])}


class Specialists:
    """Faulty members of most seeds are single processes that insist on one kind of lie when they lead.

    Two halves that each stand by a lie of their own split the votes for it; a single liar with the votes of those who
    believe it is what gets an invalid block decided, if anything does. Where catch-up is the point (`quiet`), liars
    agree like everybody, and lie about the past.
    """

    def __init__(self, nodes: Sequence[TwinNode | TwinChainNode], seed: int, *, quiet: bool) -> None:
        leading, others = named("pre-prepare"), [found.name for found in named(*SPOKEN[1:])]
        self._silent = [node for node in nodes if node.name.endswith("b")] if quiet or seed % 2 == 0 else []
        if not self._silent:
            return
        for node in nodes:
            random, known = Random(f"specialist {seed} {node.number}"), node.liar.workshop
            speciality = leading[(seed // 2 + node.number) % len(leading)].name
            repertoire = (speciality, *random.sample(others, 20))
            if quiet:
                repertoire = tuple(found.name for found in named("sync"))
            node.liar = Liar(known.random, known.number, known.genesis_id, known.network, repertoire, INSISTENCE)
            if quiet:
                node.liar.silence = 0.0

    @classmethod
    def of_one_lie(
        cls, nodes: Sequence[TwinNode | TwinChainNode], name: str, forgeries: tuple[str, ...] = ()
    ) -> Specialists:
        """Single processes that say one thing only, whenever they can, and are correct otherwise."""
        made = cls(nodes, 0, quiet=True)
        for node in nodes:
            known = node.liar.workshop
            node.liar = Liar(known.random, known.number, known.genesis_id, known.network, (name,), 1.0)
            node.liar.workshop.forgeries = forgeries
            node.liar.silence = 0.0
        return made

    def silence(self) -> None:
        """The other halves stay away."""
        for node in self._silent:
            if node.alive:
                node.crash()


class HostileReplicas(Simulation):
    """Bare replicas; in some seeds one of them dies for good, the network stays slow, or a faulty one floods."""

    def __init__(self, seed: int, *, plan: FaultPlan | None = None, trace: bool = False) -> None:
        super().__init__(seed, plan=plan or hostile_plan(seed, "replica"), trace=trace)
        self.conduct: StrictConduct[ReplicaNode] = StrictConduct(self, durable_of_replica)
        self.network.taps.append(self.conduct.overhear)
        liars = [node for node in self.nodes if isinstance(node, TwinNode)]
        self._specialists = Specialists(liars, seed, quiet=False)
        self._dead: int | None = None
        if plan is None and seed % 6 == 1 and not self.plan.faulty and not self.plan.set_changes:
            self._dead = seed // 6 % self.plan.size
            self.nodes[self._dead].is_correct = False
        self._stays_slow = plan is None and seed % 7 == 2 and not self.plan.twins
        self._floods = plan is None and seed % 4 == 3

    def insist(self, name: str) -> None:
        """Let the faulty members know one lie only."""
        liars = [node for node in self.nodes if isinstance(node, TwinNode)]
        self._specialists = Specialists.of_one_lie(liars, name)

    def start(self) -> None:
        """Also: what this seed has in store."""
        super().start()
        self._specialists.silence()
        if self._dead is not None:
            self.world.after(self.world.random.randrange(600), self.nodes[self._dead].crash)
        if self._floods:
            for node in self.nodes:
                if isinstance(node, TwinNode):
                    self.world.after(1000, lambda liar=node: liar.flood(FLOOD))

    def _recover(self, numbers: Sequence[int]) -> None:
        super()._recover([number for number in numbers if number != self._dead])
        self._specialists.silence()

    def _heal(self) -> None:
        super()._heal()
        if self._stays_slow:
            self.network.quality = LinkQuality(least_delay_ms=300, mean_delay_ms=100)

    def committed(self, node: ReplicaNode, block: Block, certificate: Certificate, members: tuple[int, ...]) -> None:
        """Also: blocks follow each other."""
        super().committed(node, block, certificate, members)
        self.conduct.committed(node, block, certificate)

    def run(self) -> Outcome:
        """Also: memory."""
        outcome = super().run()
        for node in self.nodes:
            if node.is_correct:
                check_memory(node.name, MOST_OBJECTS_OF_A_REPLICA, node.replica)
        return outcome


class HostileNodes(NodeSimulation):
    """Whole nodes, and clients that send bursts, repeat themselves, use a nonce twice, and come too late.

    Catch-up asks for few blocks at a time, so that a liar is asked often.
    """

    limits = NodeLimits(sync_blocks=3)

    def __init__(self, seed: int, *, plan: FaultPlan | None = None, trace: bool = False) -> None:
        self._sent: list[bytes] = []
        super().__init__(seed, plan=plan or hostile_plan(seed, "node"), trace=trace)
        liars = [node for node in self.nodes if isinstance(node, TwinChainNode)]
        self._specialists = Specialists(liars, seed, quiet=plan is None and seed % 3 == 0)
        self.conduct: StrictConduct[ChainNode] = StrictConduct(self, durable_of_node, self.genesis.id)
        self.network.taps.append(self.conduct.overhear)

    def make_node(self, number: int, half: str) -> ChainNode:
        """Correct ones are watched."""
        if half:
            return super().make_node(number, half)
        node = AskingNode(self, number)
        self._numbers[node.key] = number
        return node

    def insist(self, name: str, forgeries: tuple[str, ...] = ()) -> None:
        """Let the faulty members know one lie only."""
        liars = [node for node in self.nodes if isinstance(node, TwinChainNode)]
        self._specialists = Specialists.of_one_lie(liars, name, forgeries)

    def start(self) -> None:
        """Also: what clients should not do."""
        super().start()
        self._specialists.silence()
        self.world.after(500, self._pester)

    def _recover(self, numbers: Sequence[int]) -> None:
        super()._recover(numbers)
        self._specialists.silence()

    def _pester(self) -> None:
        random = self.world.random
        if self.world.now_ms < self.plan.heal_ms + 1500:
            match random.randrange(5):
                case 0:
                    for _ in range(BURST if random.random() < 0.4 else 3):
                        self._submit(random.choice((1, 2)))
                case 1 if self._sent:
                    self._hand_over(random.choice(self._sent))
                case 2:
                    self._hand_over(self._transfer(f"twice {random.randrange(6)}", random.choice((3, 4, 5))))
                case 3:
                    tip = max(node.height for node in self.nodes)
                    self._late(max(1, tip + random.choice((-1, 0, 1, 1, 2))))
                case _:
                    self._submit(10_000_000)
            self.world.after(random.randrange(100, 500), self._pester)

    def _submit(self, amount: int) -> None:
        self._submitted += 1
        envelope = self._transfer(f"n{self._submitted}", amount)
        self._open[parse_envelope(envelope, CHEAP).id] = envelope
        self._sent.append(envelope)
        self._hand_over(envelope)

    def _late(self, expires_at_height: int) -> None:
        """A transaction that expires at about the open height: nobody is owed that it becomes final."""
        transaction = json.loads(self._transfer(f"late {self.world.now_ms}", 1))["transaction"]
        transaction["expires_at_height"] = expires_at_height
        envelope = sign_envelope(transaction, [seed_of(CLIENT_SEED)], CHEAP)
        for _ in range(3):
            self._hand_over(envelope)

    def committed(self, node: ChainNode, block: Block, certificate: Certificate, members: tuple[int, ...]) -> None:
        """Also: blocks follow each other, and are not from the future (attack C15)."""
        super().committed(node, block, certificate, members)
        self.conduct.committed(node, block, certificate)
        latest = (
            GENESIS_TIME_MS + 10_000 + self.world.now_ms + LARGEST_SKEW_MS + self.genesis.parameters.max_clock_ahead_ms
        )
        if node.is_correct and block.header.time_ms > latest:
            raise Caught("clock", f"block {block.header.height} is from the future")

    def run(self) -> Outcome:
        """Also: the chain, and memory."""
        outcome = super().run()
        check_chains([node for node in self.nodes if node.is_correct], self.plan)
        for node in self.nodes:
            if node.is_correct:
                check_memory(node.name, MOST_OBJECTS_OF_A_NODE, node.node)
        return outcome


def lying_leader(seed: int, layer: str) -> HostileReplicas | HostileNodes:
    """A calm network of four whose one faulty member tells everybody the same lie, and votes for it, when it leads.

    Seeds go through the ways of PRE-PREPARE in turn. If correct members can be brought to decide an invalid block, this
    is where they do.
    """
    lies = [*named("pre-prepare"), MUTATORS["commit_replaced_by_the_next_proposal"]]
    liar = seed // len(lies) % 4
    plan = FaultPlan(4, heal_ms=2_500, twins=(liar,), quality=LinkQuality(mean_delay_ms=2))
    simulation = (HostileReplicas if layer == "replica" else HostileNodes)(seed, plan=plan)
    simulation.insist(lies[seed % len(lies)].name)
    return simulation


def lying_past(seed: int) -> HostileNodes:
    """A calm network of four in which one is away for long, and the faulty one lies to it about the past in one way.

    Seeds go through the ways of block answers, of certificates in them, and of bodies, which who missed a proposal
    asks for: the lowest signer of the certificate first.
    """
    lies = [(found.name, "") for found in named("sync") if found.name.startswith("bl")]
    lies += [("blocks_with_a_false_certificate", found.name) for found in named("certificate")]
    lies += [("body_of_another_block", ""), ("body_denied", "")]
    name, forgery = lies[seed % len(lies)]
    about_bodies = name.startswith("body")
    liar = 0 if about_bodies else seed // len(lies) % 4
    plan = FaultPlan(4, heal_ms=4_500, twins=(liar,), quality=LinkQuality(mean_delay_ms=2))
    if about_bodies:
        plan.starved = {"proposal": 0.6}
    else:
        plan.outages = [Outage(300, 3_500, ((liar + 1 + seed % 3) % 4,))]
    simulation = HostileNodes(seed, plan=plan)
    simulation.insist(name, (forgery,) if forgery else ())
    return simulation
