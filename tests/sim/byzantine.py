"""Faulty validators: two processes with one key ("twins"), which also lie in the ways that published attacks lie.

Twins alone equivocate in every way that correct code can (Bano et al., "Twins: BFT Systems Made Robust", 2020): each
half builds other blocks, hears other messages, and reaches other peers. `spoil` adds what correct code never says.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from common.consensus.messages import ConsensusMessage, NewView, Phase, PreparedCertificate, Proposal, ViewChange, Vote
from common.core.errors import InvariantBroken
from tests.sim.network import Address, Payload
from tests.sim.replica_node import ReplicaNode
from tests.sim.toys import CHEAP, GENESIS_ID, NETWORK, seed_of

if TYPE_CHECKING:
    from tests.sim.simulation import Simulation


def sign_as(number: int, message: ConsensusMessage) -> ConsensusMessage:
    """The same message, signed by validator `number`, whatever it says."""
    signature = CHEAP.sign(seed_of(number), message.payload(CHEAP, GENESIS_ID, NETWORK))
    return replace(message, signature=signature)


class TwinNode(ReplicaNode):
    """Half of a faulty validator."""

    is_correct = False

    def __init__(self, simulation: Simulation, number: int, half: str) -> None:
        super().__init__(simulation, number)
        self.name = f"{number}{half}"
        self.camp = None if self.plan.camps is None else half
        self._heard: list[ConsensusMessage] = []

    def receive(self, source: Address, payload: Payload) -> None:
        """Like a correct node, but deaf to what shows that the other half exists; and remember for replays."""
        message = payload[1]
        if payload[0] == "consensus" and isinstance(message, Proposal | Vote | ViewChange | NewView):
            if self.alive and message.signer == self.replica.own_index:
                return
            if len(self._heard) < 200:
                self._heard.append(message)
        try:
            super().receive(source, payload)
        except InvariantBroken:
            # Lies can confuse the liar. It plays on from what it had.
            self.crash()
            self.start()

    def _transmit(self, target: int, message: ConsensusMessage) -> None:
        random = self.world.random
        if self.camp is not None:
            super()._transmit(target, message)
            return
        if random.random() < 0.3:
            return
        if random.random() < 0.15:
            for lie in self._spoil(message):
                self.world.note(f"{self.name} lies to {target}")
                self._send(target, ("consensus", lie))
            return
        super()._transmit(target, message)

    def _spoil(self, message: ConsensusMessage) -> list[ConsensusMessage | bytes]:
        random = self.world.random
        match random.randrange(8):
            case 0:
                data = bytearray(message.encode())
                data[random.randrange(len(data))] ^= 1 << random.randrange(8)
                return [bytes(data)]
            case 1 if self._heard:
                return [random.choice(self._heard)]
            case 2:
                return [self._signed(replace(message, view=random.choice((message.view + 1, 2**40))))]
            case 3:
                return [self._signed(replace(message, height=message.height + random.choice((1, 3, 2**40))))]
            case 4:
                return [self._double_vote(message)]
            case 5 if isinstance(message, ViewChange):
                return [self._signed(replace(message, prepared=None))]
            case 6 if isinstance(message, NewView):
                fewer = message.view_changes[: random.randrange(len(message.view_changes) + 1)]
                return [self._signed(replace(message, view_changes=fewer))]
            case 7 if isinstance(message, ViewChange):
                return [self._signed(replace(message, prepared=self._forged_certificate(message)))]
            case _:
                return [message, message]

    def _forged_certificate(self, message: ViewChange) -> PreparedCertificate:
        """A quorum's PREPAREs for a block that nobody has, none of them real but our own."""
        block_id = CHEAP.hash(b"a block that nobody has")
        view = message.view - 1
        own = self._signed(Vote(Phase.PREPARE, message.height, view, block_id, message.voter, b""))
        members = range(self.replica.validators.size)
        return PreparedCertificate(message.height, view, block_id, tuple((at, own.signature) for at in members))

    def _double_vote(self, message: ConsensusMessage) -> ConsensusMessage:
        block_id = CHEAP.hash(b"another block")
        phase = self.world.random.choice((Phase.PREPARE, Phase.COMMIT))
        return self._signed(Vote(phase, message.height, message.view, block_id, message.signer, b""))

    def _signed(self, message: ConsensusMessage) -> ConsensusMessage:
        return sign_as(self.number, message)
