"""What must hold while a chain runs, judged from outside: from the frames that leave nodes and the blocks they commit.

Ids, signed bytes, quorums and certificates are worked out again from docs/protocol-consensus.md with another library's
signatures; of the product only decoders are used.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from common.consensus.messages import ConsensusMessage, Proposal, decode_message
from common.core.certificate import Certificate
from common.node.logic.wire.peer_messages import KIND_CONSENSUS
from tests.sim.checkers import ConductChecker, Violation, least_quorum
from tests.sim.system.founding import SUITE, ChainSpec, seed_of


def tagged(tag: str, data: bytes) -> bytes:
    """The tagged hash of docs/protocol.md."""
    digest = hashlib.sha256(tag.encode()).digest()
    return hashlib.sha256(digest + digest + data).digest()


def signature_holds(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Ed25519, by OpenSSL instead of libsodium."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except InvalidSignature:
        return False
    return True


@dataclass
class ChainWatch:
    """One chain: agreement, certificates, order of commits, one signature a slot."""

    spec: ChainSpec
    decided: dict[int, bytes] = field(default_factory=dict)
    """Height -> block id, once any correct node announced it."""
    headers: dict[int, bytes] = field(default_factory=dict)
    _conduct: ConductChecker = field(default_factory=ConductChecker)
    _proposals: dict[tuple[int, int, int], bytes] = field(default_factory=dict)
    _tips: dict[str, int] = field(default_factory=dict)
    _certificates: set[bytes] = field(default_factory=set)
    _last: dict[int, bytes] = field(default_factory=dict)

    def said(self, number: int, payload: bytes) -> None:
        """A correct node sends a frame. Raises `Violation` if it contradicts anything it ever sent."""
        if payload[0] != KIND_CONSENSUS or self._last.get(number) is payload:
            return
        self._last[number] = payload
        message = decode_message(payload[1:])
        if message.signer == number:
            self._conduct.sent(number, message)
            self._one_proposal(number, message)

    def _one_proposal(self, number: int, message: ConsensusMessage) -> None:
        if isinstance(message, Proposal):
            block_id = tagged("tongjian/header/v1", message.header.encode())
            slot = (number, message.height, message.view)
            if self._proposals.setdefault(slot, block_id) != block_id:
                raise Violation(f"validator {number} proposes two blocks at {slot[1:]}")

    def committed(self, name: str, height: int, header: bytes, certificate: Certificate) -> None:
        """A correct node announces a block. Raises `Violation`."""
        block_id = tagged("tongjian/header/v1", header)
        if height <= self._tips.get(name, 0):  # a block that was written just before a crash is not announced
            raise Violation(f"{name} announces height {height} after {self._tips[name]}")
        self._tips[name] = height
        first = self.decided.setdefault(height, block_id)
        self.headers.setdefault(height, header)
        if first != block_id:
            raise Violation(f"fork of {self.spec.network} at {height}: {first.hex()[:8]} and {block_id.hex()[:8]}")
        if certificate.block_id != block_id or certificate.height != height:
            raise Violation(f"{name} commits height {height} with another block's certificate")
        if not self._holds(certificate):
            raise Violation(f"{name} commits height {height} with a certificate that does not hold")

    def _holds(self, certificate: Certificate) -> bool:
        encoded = certificate.encode()
        if encoded in self._certificates:
            return True
        network = self.spec.network.encode()
        place = struct.pack(">QQ", certificate.height, certificate.view)
        data = self.spec.genesis.id + bytes((len(network),)) + network + place + certificate.block_id
        payload = tagged("tongjian/vote/commit/v1", data)
        names = self.spec.names
        signers = {
            index
            for index, signature in certificate.signatures
            if index < len(names) and signature_holds(SUITE.public_key(seed_of(names[index])), payload, signature)
        }
        if not len(signers) == len(certificate.signatures) >= least_quorum(len(names)):
            return False
        self._certificates.add(encoded)
        return True
