"""Faulty validators: two processes with one key ("twins"), which also lie in the ways that published attacks lie.

Twins alone equivocate in every way that correct code can (Bano et al., "Twins: BFT Systems Made Robust", 2020): each
half builds other blocks, hears other messages, and reaches other peers. A `Liar` adds what correct code never says.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random
from typing import TYPE_CHECKING

from common.consensus.messages import (
    ConsensusMessage,
    NewView,
    Phase,
    PreparedCertificate,
    Proposal,
    ViewChange,
    Vote,
)
from common.core.errors import InvariantBroken
from tests.sim.network import Address, Payload
from tests.sim.replica_node import ReplicaNode
from tests.sim.toys import CHEAP, GENESIS_ID, NETWORK, seed_of

if TYPE_CHECKING:
    from tests.sim.simulation import Simulation

MOST_REMEMBERED = 200


@dataclass
class Liar:
    """Turns a message into lies, signed with the liar's own key; remembers what it heard, for replays."""

    random: Random
    number: int
    genesis_id: bytes
    network: str
    heard: list[ConsensusMessage] = field(default_factory=list)

    def remember(self, message: ConsensusMessage) -> None:
        """Keep it for a replay."""
        if len(self.heard) < MOST_REMEMBERED:
            self.heard.append(message)

    def spoil(self, message: ConsensusMessage, members: int) -> ConsensusMessage | bytes:
        """What is said instead of `message`."""
        random = self.random
        match random.randrange(8):
            case 0:
                data = bytearray(message.encode())
                data[random.randrange(len(data))] ^= 1 << random.randrange(8)
                return bytes(data)
            case 1 if self.heard:
                return random.choice(self.heard)
            case 2:
                return self.sign(replace(message, view=random.choice((message.view + 1, 2**40))))
            case 3:
                return self.sign(replace(message, height=message.height + random.choice((1, 3, 2**40))))
            case 4:
                phase = random.choice((Phase.PREPARE, Phase.COMMIT))
                block_id = CHEAP.hash(b"another block")
                return self.sign(Vote(phase, message.height, message.view, block_id, message.signer, b""))
            case 5 if isinstance(message, ViewChange):
                return self.sign(replace(message, prepared=None))
            case 6 if isinstance(message, NewView):
                fewer = message.view_changes[: random.randrange(len(message.view_changes) + 1)]
                return self.sign(replace(message, view_changes=fewer))
            case 7 if isinstance(message, ViewChange):
                return self.sign(replace(message, prepared=self._forged_certificate(message, members)))
            case _:
                return message

    def sign(self, message: ConsensusMessage) -> ConsensusMessage:
        """The same message with the liar's signature, whatever it says."""
        signature = CHEAP.sign(seed_of(self.number), message.payload(CHEAP, self.genesis_id, self.network))
        return replace(message, signature=signature)

    def _forged_certificate(self, message: ViewChange, members: int) -> PreparedCertificate:
        """A quorum's PREPAREs for a block that nobody has, none of them real but our own."""
        block_id = CHEAP.hash(b"a block that nobody has")
        view = message.view - 1
        own = self.sign(Vote(Phase.PREPARE, message.height, view, block_id, message.voter, b""))
        return PreparedCertificate(message.height, view, block_id, tuple((at, own.signature) for at in range(members)))


class TwinNode(ReplicaNode):
    """Half of a faulty validator."""

    is_correct = False

    def __init__(self, simulation: Simulation, number: int, half: str) -> None:
        super().__init__(simulation, number)
        self.name = f"{number}{half}"
        self.camp = None if self.plan.camps is None else half
        self._liar = Liar(self.world.random, number, GENESIS_ID, NETWORK)

    def receive(self, source: Address, payload: Payload) -> None:
        """Like a correct node, but deaf to what shows that the other half exists."""
        message = payload[1]
        if payload[0] == "consensus" and isinstance(message, Proposal | Vote | ViewChange | NewView):
            if self.alive and message.signer == self.replica.own_index:
                return
            self._liar.remember(message)
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
        elif random.random() < 0.3:
            return
        elif random.random() < 0.15:
            self.world.note(f"{self.name} lies to {target}")
            self._send(target, ("consensus", self._liar.spoil(message, self.replica.validators.size)))
        else:
            super()._transmit(target, message)
