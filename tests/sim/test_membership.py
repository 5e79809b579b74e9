"""Whole nodes whose validators come and go while messages are lost, nodes lose power and views change.

Six machines, four of which begin as validators. A council submits changes all the time: members join, leave, change
places, come back, each at a later height. The transport's part is played too: what is not for observers does not reach
them, and channels whose standing changes are closed and opened again (attacks C9, C18).

`run(seed)` is the whole story of a seed.
"""

from __future__ import annotations

from itertools import count
from random import Random

import pytest

from common.chain.schedule import scheduled_set
from common.consensus.messages import ConsensusMessage
from common.core.transaction import parse_envelope, sign_envelope
from common.core.validators import ValidatorSet
from common.node.logic.node_effects import BlockCommitted
from common.node.logic.wire.peer_messages import Status
from common.node.runtime import OBSERVER_KINDS
from tests.sim.chain_node import ChainNode
from tests.sim.node_simulation import NodeSimulation, cheap_genesis
from tests.sim.plan import FaultPlan, draw_plan
from tests.sim.toys import CHEAP, NETWORK, seed_of, validator_set
from tests.unit.node.toy import ToyApplication

MACHINES = 6
FOUNDERS = 4
LEAST_MEMBERS = 2
GOVERNOR = 901
CHANGE_MS = 350
SEEDS = 60
CHUNK = 15


class MembershipApplication(ToyApplication):
    """The toy chain whose validators have cheap keys."""

    def set_of(self, names: list[str]) -> ValidatorSet:
        return validator_set(tuple(int(name.removeprefix("node-")) for name in names))


class MemberNode(ChainNode):
    """A machine with the transport's rules about observers."""

    make_application = MembershipApplication

    def start(self) -> None:
        super().start()
        self.known_keys = self.node.peer_keys()

    def transmit(self, target: int, payload: bytes, message: ConsensusMessage | None) -> None:
        """A frame leaves and arrives only where both ends' sets allow it."""
        peer = self.simulation.nodes[target]
        if payload[0] not in OBSERVER_KINDS:
            if peer.key not in self.node.peer_keys():
                return
            if peer.alive and self.key not in peer.node.peer_keys():
                return
        super().transmit(target, payload, message)


class MembershipSimulation(NodeSimulation):
    """A chain of whole nodes that changes its validators."""

    def __init__(self, seed: int, plan: FaultPlan | None = None, *, trace: bool = False) -> None:
        plan = plan or draw_plan(Random(seed), MACHINES)
        plan.twins, plan.fast_clock, plan.ambush, plan.rollback = (), None, None, None
        self.changes: list[tuple[int, tuple[int, ...]]] = []
        self._sessions = count()
        super().__init__(seed, plan=plan, trace=trace)
        self.genesis = cheap_genesis(FOUNDERS)
        self.agreement.genesis_id = self.genesis.id

    def make_node(self, number: int, half: str) -> ChainNode:
        """Every machine may be a member or an observer."""
        node = MemberNode(self, number)
        self._numbers[node.key] = number
        return node

    def start(self) -> None:
        """The council meets from the beginning."""
        super().start()
        self.world.after(CHANGE_MS, self._govern)

    def _govern(self) -> None:
        if self.world.now_ms >= self.plan.heal_ms:
            return
        self.world.after(self.world.random.randrange(CHANGE_MS * 2), self._govern)
        best = max(self.nodes, key=lambda node: node.height)
        height = best.height
        present = [self._numbers[member.public_key] for member in best.chain.validators(height + 1).members]
        operation = {
            "type": "toy.validators",
            "names": [f"node-{number}" for number in self._next_members(present)],
            "effective_height": height + self.world.random.choice((2, 2, 3, 5)),
        }
        pending = scheduled_set(best.node._state, CHEAP)
        if pending is not None and self.world.random.random() < 0.5:
            operation["replaces"] = pending.effective_height
        transaction = {
            "network": NETWORK,
            "genesis": self.genesis.id.hex(),
            "signers": [CHEAP.format_key(CHEAP.public_key(seed_of(GOVERNOR)))],
            "nonce": f"council-{next(self._sessions)}",
            "expires_at_height": 90_000,
            "operations": [operation],
        }
        envelope = sign_envelope(transaction, [seed_of(GOVERNOR)], CHEAP)
        self._open[parse_envelope(envelope, CHEAP).id] = envelope
        self._hand_over(envelope)

    def _next_members(self, present: list[int]) -> list[int]:
        random = self.world.random
        outside = [number for number in range(MACHINES) if number not in present]
        members = list(present)
        step = random.choice(("join", "leave", "exchange", "shuffle"))
        if step in ("leave", "exchange") and len(members) > LEAST_MEMBERS:
            members.remove(random.choice(members))
        if step in ("join", "exchange") and outside:
            members.append(random.choice(outside))
        if step == "shuffle":
            random.shuffle(members)
        return members

    def block_committed(self, node: ChainNode, effect: BlockCommitted) -> None:
        """What the runtime does besides: standing changes, observers are told."""
        super().block_committed(node, effect)
        if not isinstance(node, MemberNode):
            return
        header = effect.header
        if header.next_validators_hash != header.validators_hash:
            members = node.chain.validators(header.height + 1).members
            entry = (header.height + 1, tuple(self._numbers[member.public_key] for member in members))
            if entry not in self.changes:
                self.changes.append(entry)
        keys, before = node.node.peer_keys(), node.known_keys
        node.known_keys = keys
        for peer, _ in list(node.channels.values()):
            if (peer.key in keys) != (peer.key in before):
                self.world.after(0, lambda at=node, other=peer: at.hang_up(other))
            elif peer.key not in keys:
                node.transmit(peer.number, Status(header.height, effect.block_id).encode(), None)


def run(seed: int, plan: FaultPlan | None = None, *, trace: bool = False) -> MembershipSimulation:
    """One seed to its end. Raises `Violation`."""
    simulation = MembershipSimulation(seed, plan, trace=trace)
    simulation.run()
    return simulation


def decided_late(simulation: MembershipSimulation) -> int:
    """First blocks of a new set that a later view decided."""
    chain = simulation.nodes[0].chain
    heights = [height for height, _ in simulation.changes if height <= chain.tip().height]
    return sum(chain.certificate(height).view > 0 for height in heights)


def returned(simulation: MembershipSimulation) -> int:
    """Machines that signed, were removed, and came back."""
    chain = simulation.nodes[0].chain
    found = 0
    for number in range(MACHINES):
        key = CHEAP.public_key(seed_of(number))
        story = [chain.validators(height).index_of(key) is not None for height in range(1, chain.tip().height + 1)]
        found += any(story[at] and not story[at - 1] and any(story[: at - 1]) for at in range(1, len(story)))
    return found


@pytest.mark.parametrize("first", range(1, SEEDS + 1, CHUNK))
def test_c9_c18_members_come_and_go_while_everything_fails(first: int) -> None:
    """Agreement, progress, and nothing that clients were told is lost, whoever signs; and what makes it hard happens:
    sets that change at the height of a view change, members that come back.
    """
    changes = late = back = 0
    for seed in range(first, first + CHUNK):
        try:
            simulation = run(seed)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        assert not simulation.accusations
        changes += len(simulation.changes)
        late += decided_late(simulation)
        back += returned(simulation)
    assert changes > CHUNK
    assert late > 0
    assert back > 0


def test_one_seed_is_one_trace_with_changing_members() -> None:
    assert run(3).outcome().digest == run(3, trace=True).outcome().digest
