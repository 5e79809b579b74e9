"""What a correct validator may sign, judged from the wire and the disk alone.

Besides the rules of `checkers.ConductChecker`: a message is durable before it is sent, and so is what it rests on
(protocol rule 1); a PREPARE in a view above 0 is justified by a NEW-VIEW that was on the wire, whose evidence is
worked out again here (protocol rule 2, attacks C2-C6); a COMMIT is justified by a quorum of PREPAREs; a VIEW-CHANGE
reports the highest certificate that the voter's own COMMITs show (attack C3); views are not joined on the word of f
(protocol rule 3). None of the code under test is used but its encodings.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

from common.consensus.messages import (
    ConsensusMessage,
    NewView,
    PreparedCertificate,
    Proposal,
    Stage,
    ViewChange,
    Vote,
    decode_message,
)
from common.consensus.vote_records import encode_record
from common.core.block import Block
from common.core.certificate import Certificate
from common.core.errors import Rejected
from common.node.logic.wire.peer_messages import KIND_CONSENSUS
from tests.sim.checkers import ConductChecker, _cheap_signature, _tagged, _vote_payload, least_quorum
from tests.sim.network import Address, Payload
from tests.sim.planted.violation import Caught
from tests.sim.toys import CHEAP, GENESIS_ID, NETWORK

if TYPE_CHECKING:
    from tests.sim.chain_node import ChainNode
    from tests.sim.faults import FaultyNetwork, SimulatedNode
    from tests.sim.replica_node import ReplicaNode

AnyNode = TypeVar("AnyNode", bound="SimulatedNode")


def durable_of_replica(node: ReplicaNode, message: ConsensusMessage) -> bool:
    """Whether a bare replica's disk holds the message."""
    return encode_record(message) in node.disk


def durable_of_node(node: ChainNode, message: ConsensusMessage) -> bool:
    """Whether the synced part of a node's vote log holds the message."""
    durable = node.votes_file._durable
    return durable is not None and message.encode() in durable


class StrictConduct(ConductChecker, Generic[AnyNode]):
    """One network's watcher. Members are named by number, which is their index unless sets change."""

    def __init__(
        self,
        simulation: FaultyNetwork[AnyNode],
        is_durable: Callable[[AnyNode, ConsensusMessage], bool],
        genesis_id: bytes = GENESIS_ID,
    ) -> None:
        super().__init__()
        self._simulation = simulation
        self._is_durable = is_durable
        self._genesis_id = genesis_id
        self._size = simulation.plan.size
        self._prepares: dict[tuple[int, int, bytes], set[int]] = defaultdict(set)
        """(height, view, block) -> members whose valid PREPARE was on the wire."""
        self._justified: set[tuple[int, int, bytes]] = set()
        """(height, view, block) that a valid NEW-VIEW on the wire announced."""
        self._asked: dict[int, dict[int, set[int]]] = defaultdict(lambda: defaultdict(set))
        """height -> voter -> views that it asked for in valid VIEW-CHANGEs on the wire."""
        self._committed: dict[tuple[int, int], int] = {}
        """(node, height) -> the highest view in which it sent a COMMIT."""
        self._tips: dict[int, tuple[int, bytes, int]] = {}

    @property
    def _judges_members(self) -> bool:
        """Numbers are indexes only while no set changes."""
        return not self._simulation.plan.set_changes

    # What is on the wire

    def overhear(self, source: Address, target: Address, payload: Payload) -> None:
        """Anything that anybody sends."""
        message = payload[-1]
        if isinstance(message, bytes):
            data = message[1:] if len(payload) == 3 else message
            if len(payload) == 3 and message[:1] != bytes((KIND_CONSENSUS,)):
                return
            try:
                message = decode_message(data)
            except Rejected:
                return
        if isinstance(message, Proposal | Vote | ViewChange | NewView) and self._judges_members:
            self._note(message)

    def _note(self, message: ConsensusMessage) -> None:
        if not self._signed(message, message.signer):
            return
        match message:
            case Vote(stage=Stage.PREPARE):
                self._prepares[message.height, message.view, message.block_id].add(message.signer)
            case ViewChange():
                self._note_change(message)
            case NewView():
                for change in message.view_changes:
                    if self._signed(change, change.signer):
                        self._note_change(change)
                if self._justifies(message):
                    block_id = _tagged("tongjian/header/v1", message.proposal.header.encode())
                    self._justified.add((message.height, message.view, block_id))
            case _:
                pass

    def _note_change(self, change: ViewChange) -> None:
        self._asked[change.height][change.signer].add(change.view)
        if change.prepared is not None and self._prepared_holds(change.prepared, change.view):
            held = change.prepared
            for index, _ in held.signatures:
                self._prepares[held.height, held.view, held.block_id].add(index)

    def _signed(self, message: ConsensusMessage, member: int) -> bool:
        payload = message.payload(CHEAP, self._genesis_id, NETWORK)
        return member < self._size and message.signature == _cheap_signature(member, payload)

    def _prepared_holds(self, held: PreparedCertificate, below: int) -> bool:
        payload = _vote_payload(self._genesis_id, "prepare", held.height, held.view, held.block_id)
        signers = {
            index
            for index, signature in held.signatures
            if index < self._size and signature == _cheap_signature(index, payload)
        }
        return held.view < below and len(signers) == len(held.signatures) >= least_quorum(self._size)

    def _justifies(self, message: NewView) -> bool:
        """Whether a NEW-VIEW's evidence demands, or leaves free, the block that it proposes."""
        changes = message.view_changes
        if message.leader != (message.height + message.view) % self._size:
            return False
        if len({change.signer for change in changes}) < max(len(changes), least_quorum(self._size)):
            return False
        highest: tuple[int, bytes] | None = None
        for change in changes:
            if (change.height, change.view) != (message.height, message.view) or not self._signed(
                change, change.signer
            ):
                return False
            held = change.prepared
            if held is not None:
                if held.height != message.height or not self._prepared_holds(held, message.view):
                    return False
                highest = max(highest or (-1, b""), (held.view, held.block_id))
        block_id = _tagged("tongjian/header/v1", message.proposal.header.encode())
        return highest is None or highest[1] == block_id

    # What a correct node says

    def sent(self, node: int, message: ConsensusMessage) -> None:
        """A correct node sends its own message. Raises `Violation`."""
        super().sent(node, message)
        self._check_durable(node, message)
        if not self._judges_members:
            return
        match message:
            case Vote(stage=Stage.PREPARE):
                self._prepares[message.height, message.view, message.block_id].add(node)
                key = (message.height, message.view, message.block_id)
                if message.view > 0 and key not in self._justified:
                    raise Caught("justification", f"node {node} prepares a block that no NEW-VIEW justifies: {key[:2]}")
            case Vote():
                voters = self._prepares[message.height, message.view, message.block_id]
                if len(voters) < least_quorum(self._size):
                    raise Caught("justification", f"node {node} commits after PREPAREs of {sorted(voters)} alone")
                at = (node, message.height)
                self._committed[at] = max(self._committed.get(at, -1), message.view)
            case ViewChange():
                self._check_change(node, message)
            case NewView():
                if not self._justifies(message):
                    raise Caught("justification", f"node {node} announces view {message.view} without evidence")
                self._note(message)
            case _:
                pass

    def _check_change(self, node: int, change: ViewChange) -> None:
        reported = -1 if change.prepared is None else change.prepared.view
        if reported < self._committed.get((node, change.height), -1):
            raise Caught("justification", f"node {node} hides a certificate of height {change.height}")
        asked = self._asked[change.height]
        before = max(asked[node], default=0)
        others = sum(1 for other, views in asked.items() if other != node and max(views, default=0) > before)
        if change.view > before + 1 and others <= (self._size - 1) // 3 and not self._entered(change):
            raise Caught("justification", f"node {node} jumps from view {before} to {change.view} on the word of few")
        asked[node].add(change.view)

    def _entered(self, change: ViewChange) -> bool:
        """Whether a NEW-VIEW may have brought the node to the view below the one that it asks for."""
        return any(height == change.height and view >= change.view - 1 for height, view, _ in self._justified)

    def _check_durable(self, number: int, message: ConsensusMessage) -> None:
        node = next(node for node in self._simulation.nodes if node.number == number)
        if message.height > node.height and not self._is_durable(node, message):
            raise Caught("durability", f"node {number} sends what its disk does not hold: {message.mark}")

    # What is committed

    def committed(self, node: AnyNode, block: Block, certificate: Certificate) -> None:
        """A correct node commits: heights ascend by one, each block on the one before, later than it (attack C14).

        Its proposer led a view up to that of the certificate.
        """
        if not node.is_correct:
            return
        header = block.header
        height, block_id, time_ms = self._tips.get(node.number, (0, self._genesis_id, 0))
        own_id = _tagged("tongjian/header/v1", header.encode())
        self._tips[node.number] = (header.height, own_id, header.time_ms)
        if node.number in self._simulation.plan.faulty:
            return
        if (header.height, header.parent_id) != (height + 1, block_id) or header.time_ms <= time_ms:
            raise Caught("chain", f"node {node.number} puts block {header.height} on top of {height}")
        leaders = {(header.height + view) % self._size for view in range(min(certificate.view, 100) + 1)}
        if self._judges_members and header.proposer not in leaders:
            raise Caught("chain", f"block {header.height} of proposer {header.proposer}, who did not lead")
