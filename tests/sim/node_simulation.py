"""A simulated network of whole nodes, with clients: agreement, execution, gossip, catch-up, disks.

What a client was told is final must be in every node's chain at the end, and every transaction that was submitted
must become final (protocol rule 25).
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

from common.core.errors import Rejected
from common.core.genesis import Genesis, build_genesis
from common.core.parameters import ChainParameters
from common.core.suite import ED25519_SHA256
from common.core.transaction import envelope_hash, parse_envelope, sign_envelope
from common.node.logic.node_effects import BlockCommitted, Disconnect, Warned
from common.node.logic.node_status import NodeLimits
from tests.sim.chain_node import ChainNode, TwinChainNode
from tests.sim.checkers import Violation
from tests.sim.faults import FaultyNetwork
from tests.sim.plan import FaultPlan, draw_plan
from tests.sim.toys import CHEAP, GENESIS_TIME_MS, NETWORK, seed_of, validator_set
from tests.unit.node import toy

SUBMIT_MS = 300
RESUBMIT_MS = 900
CLIENT_SEED = 900
RECONNECT_MS = 500
OUR_FAULT = frozenset({"abstaining"})
"""Warnings that must not come up: nobody lost any records."""


def cheap_genesis(size: int) -> Genesis:
    """A toy chain whose suite is the cheap one, which no genesis document can name."""
    document = build_genesis(
        network=NETWORK,
        tier="business",
        suite=ED25519_SHA256,
        time_ms=GENESIS_TIME_MS,
        validators=toy.validator_set([f"node-{number}" for number in range(size)]),
        application={"bank": 1_000_000, "forbidden_key": "nobody"},
        parameters=ChainParameters(heartbeat_ms=2_000, view_timeout_ms=400, max_view_timeout_ms=6_000),
    )
    return replace(document, suite=CHEAP, validators=validator_set(tuple(range(size))))


class NodeSimulation(FaultyNetwork[ChainNode]):
    """A chain of simulated nodes under one fault plan."""

    limits = NodeLimits()
    """Of every node."""

    def __init__(
        self, seed: int, *, size: int | None = None, plan: FaultPlan | None = None, trace: bool = False
    ) -> None:
        self._numbers: dict[bytes, int] = {}
        self._open: dict[bytes, bytes] = {}
        """Transactions that no correct node has called final: id -> envelope."""
        self._acknowledged: set[bytes] = set()
        self._submitted = 0
        plan = plan or draw_plan(Random(seed), size)
        plan.set_changes = {}
        self.genesis = cheap_genesis(plan.size)
        super().__init__(seed, plan, size, trace=trace, ordered=True)
        self.agreement.genesis_id = self.genesis.id

    def make_node(self, number: int, half: str) -> ChainNode:
        """A node with its disks."""
        node = TwinChainNode(self, number, half) if half else ChainNode(self, number)
        self._numbers[node.key] = number
        return node

    def number_of(self, key: bytes) -> int:
        """Whose key it is."""
        return self._numbers[key]

    # Channels

    def connect(self, node: ChainNode, other: ChainNode) -> None:
        """The dialling takes a moment."""
        self.world.after(self.world.random.randrange(1, 30), lambda: node.open_channel(other))

    def disconnect_unreachable(self) -> None:
        """The transport notices what is cut."""
        for node in self.nodes:
            for peer, _ in list(node.channels.values()):
                if self.network.is_cut(node.address, peer.address):
                    node.hang_up(peer)

    def cut_off(self, node: ChainNode, peer: ChainNode, effect: Disconnect) -> None:
        """A node closes a channel for cause: never to a correct one."""
        if node.is_correct and peer.is_correct:
            raise Violation(f"node {node.number} cuts off correct node {peer.number}: {effect.reason}")

    def _redial(self) -> None:
        """The transport's endless attempts; twins take turns at their key's channels."""
        for node in self.nodes:
            if not node.is_correct and self.world.random.random() < 0.3:
                for peer, _ in list(node.channels.values()):
                    node.hang_up(peer)
        nodes = list(self.nodes)
        self.world.random.shuffle(nodes)
        for at, node in enumerate(nodes):
            for other in nodes[at + 1 :]:
                if other.number != node.number:
                    self.connect(node, other)
        self.world.after(RECONNECT_MS, self._redial)

    def warned(self, node: ChainNode, effect: Warned) -> None:
        """A node has something to say to its operator."""
        if node.number not in self.plan.forgetful and effect.code in OUR_FAULT:
            raise Violation(f"correct node {node.number} warns {effect.code}: {effect.detail}")

    # Clients

    def start(self) -> None:
        """Boot every node, let clients work and the plan take its course."""
        super().start()
        self.world.after(SUBMIT_MS, self._submit_one)
        self.world.after(RESUBMIT_MS, self._submit_again)
        self.world.after(RECONNECT_MS, self._redial)

    def _submit_one(self) -> None:
        if self.has_work:
            self._submitted += 1
            envelope = self._transfer(f"n{self._submitted}", self.world.random.choice((1, 5, 10_000_000)))
            self._open[parse_envelope(envelope, CHEAP).id] = envelope
            self._hand_over(envelope)
        if self.world.now_ms < self.plan.heal_ms + 1000:
            self.world.after(self.world.random.randrange(SUBMIT_MS * 2), self._submit_one)

    def _submit_again(self) -> None:
        for envelope in list(self._open.values()):
            self._hand_over(envelope)
        self.world.after(RESUBMIT_MS, self._submit_again)

    def _hand_over(self, envelope: bytes) -> None:
        node = self.world.random.choice(self.nodes)
        if not node.alive or self.is_ambushed(node.number):
            return
        self.world.note(f"client gives {envelope_hash(CHEAP, envelope).hex()[:8]} to {node.name}")
        try:
            node.submit(envelope)
        except Rejected as refusal:
            self.world.note(f"{node.name} refuses {refusal.code}")

    def _transfer(self, nonce: str, amount: int) -> bytes:
        operation = {"type": "toy.transfer", "source": "bank", "target": "alice", "amount": amount}
        transaction = {
            "network": NETWORK,
            "genesis": self.genesis.id.hex(),
            "signers": [CHEAP.format_key(CHEAP.public_key(seed_of(CLIENT_SEED)))],
            "nonce": nonce,
            "expires_at_height": 90_000,
            "operations": [operation],
        }
        return sign_envelope(transaction, [seed_of(CLIENT_SEED)], CHEAP)

    def block_committed(self, node: ChainNode, effect: BlockCommitted) -> None:
        """A node tells its clients that a block is final."""
        height = effect.header.height
        block = node.chain.block(height)
        members = tuple(self._numbers[member.public_key] for member in node.chain.validators(height).members)
        self.committed(node, block, effect.certificate, members)
        if node.is_correct:
            for receipt in effect.receipts:
                self._acknowledged.add(receipt.tx_id)
                self._open.pop(receipt.tx_id, None)

    def is_satisfied(self) -> bool:
        """Every transaction is final, and none that was called final is missing anywhere (S1)."""
        if self._open:
            return False
        for node in self.nodes:
            if node.is_correct and not all(node.chain.transaction(tx_id) for tx_id in self._acknowledged):
                return False
        return True
