"""What must hold whatever happens, judged from outside: from what nodes commit and what they say.

Nothing here uses the code under test for its judgement: quorum, signed bytes and certificates are worked out again
from docs/protocol-consensus.md.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field

from common.consensus.messages import ConsensusMessage, Stage, ViewChange, Vote
from common.core.block import Block
from common.core.certificate import Certificate
from tests.sim.toys import GENESIS_ID, NETWORK, seed_of


class Violation(AssertionError):
    """Safety or liveness is broken."""


def least_quorum(size: int) -> int:
    """Smallest q such that any two sets of q out of `size` share more than floor((size-1)/3) members."""
    faults = (size - 1) // 3
    return next(q for q in range(1, size + 1) if 2 * q - size > faults)


def _tagged(tag: str, data: bytes) -> bytes:
    digest = hashlib.sha256(tag.encode()).digest()
    return hashlib.sha256(digest + digest + data).digest()


def _cheap_signature(number: int, payload: bytes) -> bytes:
    key = hashlib.sha256(b"key of " + seed_of(number)).digest()
    return hashlib.sha256(key + payload).digest()[:16]


def _vote_payload(genesis_id: bytes, stage: str, height: int, view: int, block_id: bytes) -> bytes:
    network = NETWORK.encode()
    data = genesis_id + bytes((len(network),)) + network + struct.pack(">QQ", height, view) + block_id
    return _tagged(f"tongjian/vote/{stage}/v1", data)


def certificate_holds(certificate: Certificate, members: tuple[int, ...], genesis_id: bytes = GENESIS_ID) -> bool:
    """Whether it has a quorum of distinct members' cheap COMMIT signatures."""
    payload = _vote_payload(genesis_id, "commit", certificate.height, certificate.view, certificate.block_id)
    signers = {
        index
        for index, signature in certificate.signatures
        if index < len(members) and signature == _cheap_signature(members[index], payload)
    }
    return len(signers) == len(certificate.signatures) >= least_quorum(len(members))


def vote_holds(vote: Vote, members: tuple[int, ...]) -> bool:
    """Whether the named member signed this vote."""
    payload = _vote_payload(GENESIS_ID, vote.stage.name.lower(), vote.height, vote.view, vote.block_id)
    return vote.signer < len(members) and vote.signature == _cheap_signature(members[vote.signer], payload)


@dataclass
class AgreementChecker:
    """No two correct nodes commit different blocks at one height; every commit is certified and extends the chain."""

    genesis_id: bytes = GENESIS_ID
    decided: dict[int, tuple[bytes, Certificate]] = field(default_factory=dict)
    forks: list[tuple[Certificate, Certificate]] = field(default_factory=list)
    raise_on_fork: bool = True

    def committed(self, node: int, block: Block, certificate: Certificate, members: tuple[int, ...]) -> None:
        """A correct node commits. Raises `Violation`."""
        header = block.header
        block_id = _tagged("tongjian/header/v1", header.encode())
        if certificate.block_id != block_id or certificate.height != header.height:
            raise Violation(f"node {node} commits height {header.height} with another block's certificate")
        if not certificate_holds(certificate, members, self.genesis_id):
            raise Violation(f"node {node} commits height {header.height} with a certificate that does not hold")
        first = self.decided.setdefault(header.height, (block_id, certificate))
        if first[0] != block_id:
            self.forks.append((first[1], certificate))
            if self.raise_on_fork:
                raise Violation(f"fork at height {header.height}: {first[0].hex()[:8]} and {block_id.hex()[:8]}")


@dataclass
class ConductChecker:
    """A correct node signs at most one block for each (height, view, stage), and nothing in a view that it left.

    A COMMIT may come to light after its view was left, if a crash kept it back: it was signed before, and the proof is
    that the VIEW-CHANGE reported the certificate that it rests on. That is all that safety needs of it.
    """

    _votes: dict[tuple[int, int, int, int], bytes] = field(default_factory=dict)
    _left: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)
    """(node, height) -> (highest view asked for, view of the certificate that was reported then)."""

    def sent(self, node: int, message: ConsensusMessage) -> None:
        """A correct node sends its own message. Raises `Violation`."""
        match message:
            case Vote():
                key = (node, message.height, message.view, message.stage)
                before = self._votes.setdefault(key, message.block_id)
                if before != message.block_id:
                    raise Violation(f"node {node} votes twice in {key[1:]}")
                view, reported = self._left.get((node, message.height), (0, -1))
                if message.view < view and (message.stage is Stage.PREPARE or reported < message.view):
                    raise Violation(f"node {node} votes in view {message.view}, which it left")
            case ViewChange():
                at = (node, message.height)
                reported = -1 if message.prepared is None else message.prepared.view
                self._left[at] = max(self._left.get(at, (0, -1)), (message.view, reported))
            case _:
                pass


def culprits(messages: Iterable[ConsensusMessage], members: tuple[int, ...]) -> dict[int, tuple[Vote, Vote]]:
    """Who signed two different blocks in one (height, view, stage), with the two votes that prove it (attack C20).

    Two certificates in different views accuse nobody: correct replicas may commit in both (protocol rule 20).
    """
    first: dict[tuple[int, int, int, Stage], Vote] = {}
    found: dict[int, tuple[Vote, Vote]] = {}
    for message in messages:
        if not isinstance(message, Vote) or not vote_holds(message, members):
            continue
        kept = first.setdefault((message.signer, message.height, message.view, message.stage), message)
        if kept.block_id != message.block_id:
            found.setdefault(message.signer, (kept, message))
    return found
