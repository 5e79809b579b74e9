"""Faulty validators: two processes with one key ("twins"), which also lie in the ways that published attacks lie.

Twins alone equivocate in every way that correct code can (Bano et al., "Twins: BFT Systems Made Robust", 2020): each
half builds other blocks, hears other messages, and reaches other peers. A `Liar` adds what correct code never says;
what it knows to say is drawn from the mutators in `tests.sim.mutators`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.consensus.messages import ConsensusMessage, NewView, Proposal, Stage, ViewChange, Vote, decode_message
from common.core.block import Block
from common.core.errors import InvariantBroken, Rejected
from tests.sim.mutators.liar import Liar, proposal_in
from tests.sim.network import Address, Payload
from tests.sim.replica_node import ReplicaNode
from tests.sim.toys import CHEAP, GENESIS_ID, NETWORK

if TYPE_CHECKING:
    from tests.sim.simulation import Simulation

__all__ = ["Liar", "TwinNode"]

LIES_OF_PEERS = 0.6
"""Chance that an answer, a claim or gossip is a lie."""
LIES = 0.3
"""Chance that a message which one of its mutators fits is a lie."""


class TwinNode(ReplicaNode):
    """Half of a faulty validator."""

    is_correct = False

    def __init__(self, simulation: Simulation, number: int, half: str) -> None:
        super().__init__(simulation, number)
        self.name = f"{number}{half}"
        self.camp = None if self.plan.camps is None else half
        self.liar = Liar(self.world.random, number, GENESIS_ID, NETWORK)

    def receive(self, source: Address, payload: Payload) -> None:
        """Like a correct node, but deaf to what shows that the other half exists."""
        if payload[0] == "consensus":
            message = payload[1]
            if isinstance(message, bytes):
                try:
                    message = decode_message(message)
                except Rejected:
                    return
            assert isinstance(message, Proposal | Vote | ViewChange | NewView)
            if self.alive and message.signer == self.replica.own_index:
                return
            self.liar.remember(message)
        try:
            super().receive(source, payload)
        except InvariantBroken:
            # Lies can confuse the liar. It plays on from what it had.
            self.crash()
            self.start()

    def _transmit(self, target: int, message: ConsensusMessage) -> None:
        random, size = self.world.random, self.replica.validators.size
        if self.camp is not None:
            super()._transmit(target, message)
            return
        lie = self.liar.stand_by(message, size)
        if lie is None and random.random() < self.liar.silence:
            return
        if lie is None and random.random() < LIES:
            lie = self.liar.spoil(message, size)
        if lie is None:
            super()._transmit(target, message)
            return
        self.world.note(f"{self.name} lies to {target}")
        self._publish_body(message, lie)
        for data in (lie, *self.liar.votes_for(lie)):
            self._send(target, ("consensus", data))

    def _publish_body(self, truth: ConsensusMessage, lie: bytes) -> None:
        """A block that the liar invents has a body too: that of the block in whose place it stands, or on top of it."""
        told = proposal_in(lie)
        real = truth.proposal if isinstance(truth, NewView) else truth
        if told is None or isinstance(real, ViewChange):
            return
        block = self._find(real.block_id if isinstance(real, Vote) else real.header.id(CHEAP))
        if block is not None:
            self.simulation.gossip(Block(told.header, block.envelopes))

    def flood(self, count: int) -> None:
        """Send everybody votes of far views and heights, all different: what is kept of them must be bounded (C13)."""
        if not self.alive:
            return
        height, numbers = self.replica.height, self.simulation.members(self.replica.height)
        for at in range(count):
            stage = (Stage.PREPARE, Stage.COMMIT)[at % 2]
            where = (height, 10 + at) if at % 4 < 2 else (height + 1 + at, 0)
            vote = self.liar.workshop.vote(stage, *where, CHEAP.hash(b"flood %d" % at))
            for target in numbers:
                if target != self.number:
                    self._send(target, ("consensus", vote.encode()))
