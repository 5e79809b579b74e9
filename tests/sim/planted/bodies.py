"""Whether correct nodes ask for the bodies that a proposal names and they lack (docs/protocol-peers.md, "Get and answer
transactions"): seen on the wire, since what was not asked for mostly comes all the same, some view later.

Judged is only what must lead to a question: a correct leader's fresh proposal, heard by a correct member in its first
view of that height, with envelopes that never reached the member in any of its lives, on a channel that lasts. If
`ASK_MS` later it is in the same view of the same height and still lacks some, it must have asked somebody: for one of
them, or for a whole block of that height.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from common.consensus.messages import ConsensusMessage, Proposal, decode_message
from common.core.block import Block
from common.core.errors import Rejected
from common.core.transaction import envelope_hash
from common.node.logic.wire import peer_messages as pm
from tests.sim.chain_node import ChainNode
from tests.sim.planted.violation import Caught
from tests.sim.toys import CHEAP

if TYPE_CHECKING:
    from tests.sim.node_simulation import NodeSimulation

ASK_MS: Final = 200
"""Twenty times what a member may wait for gossip (10 ms), and half of the shortest time-out."""


class AskingNode(ChainNode):
    """A correct machine that is watched."""

    def __init__(self, simulation: NodeSimulation, number: int) -> None:
        super().__init__(simulation, number)
        self._heard: set[bytes] = set()
        """Hashes of envelopes that have reached this machine, whatever became of them."""
        self._asked: set[bytes | int] = set()
        """Hashes of bodies, and heights of blocks, that it has asked for in this life."""

    def start(self) -> None:
        """Questions of an earlier life are forgotten."""
        self._asked = set()
        super().start()

    def submit(self, envelope: bytes) -> None:
        """A client's transaction."""
        self._heard.add(envelope_hash(CHEAP, envelope))
        super().submit(envelope)

    def hear(self, peer: ChainNode, data: bytes) -> None:
        """Also: note what it brings; if it is a proposal, look again later."""
        message: object = None
        try:
            message = pm.decode_payload(data)
            self._heard.update(envelope_hash(CHEAP, envelope) for envelope in _envelopes(message))
            if isinstance(message, pm.Consensus):
                message = decode_message(message.message)
        except Rejected:
            pass
        if isinstance(message, Proposal) and self._must_take(peer, message):
            missing = set(message.envelope_hashes) - self._heard
            channel = self.channels.get(peer.number)
            if missing:
                self._later(ASK_MS, lambda: self._judge(message, missing, channel))
        super().hear(peer, data)

    def transmit(self, target: int, payload: bytes, message: ConsensusMessage | None) -> None:
        """Also: note questions."""
        if message is None:
            match pm.decode_payload(payload):
                case pm.GetTransactions() as asked:
                    self._asked.update(asked.envelope_hashes)
                case pm.GetBody() as wanted:
                    self._asked.add(wanted.height)
                case _:
                    pass
        super().transmit(target, payload, message)

    def _must_take(self, peer: ChainNode, proposal: Proposal) -> bool:
        plan = self.simulation.plan
        trusted = {self.number, peer.number}.isdisjoint({*plan.forgetful, *plan.twins, plan.fast_clock})
        fresh = proposal.view == 0 and proposal.leader == peer.number == proposal.height % plan.size
        return trusted and fresh and self._is_in(proposal)

    def _is_in(self, proposal: Proposal) -> bool:
        status = self.node.status()
        return (status.height + 1, status.view) == (proposal.height, proposal.view) and status.voting

    def _judge(self, proposal: Proposal, missing: set[bytes], channel: tuple[ChainNode, int] | None) -> None:
        if self.channels.get(proposal.leader) != channel or not self._is_in(proposal):
            return
        if not missing <= self._heard and self._asked.isdisjoint({*missing, proposal.height}):
            raise Caught("bodies", f"node {self.number} asks nobody for bodies of the proposal at {proposal.height}")


def _envelopes(message: object) -> tuple[bytes, ...]:
    """Those that a payload brings; raises `Rejected` for a block that does not decode."""
    match message:
        case pm.Transactions() | pm.AnswerTransactions():
            return message.envelopes
        case pm.AnswerBody() if message.block:
            return Block.decode(message.block).envelopes
        case pm.AnswerBlocks():
            return tuple(envelope for block, _ in message.blocks for envelope in Block.decode(block).envelopes)
    return ()
