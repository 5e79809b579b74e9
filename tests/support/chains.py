"""Small valid chains for tests: validators with known seeds, blocks with snapshots, certificates, validator-set
changes.

Everything is deterministic: the same calls give the same bytes. Blocks hold no transactions; what light client, relay
and custody chain read of a block (header, certificate, next set, snapshots) is complete and valid, and every method
has a parameter to make it invalid.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from common.core import merkle
from common.core.certificate import Certificate, commit_payload
from common.core.genesis import Genesis, build_genesis
from common.core.header import Header
from common.core.snapshot import snapshot_root
from common.core.suite import ED25519_SHA256, Suite
from common.core.validators import Validator, ValidatorSet
from common.model.object_header import build_snapshot
from crosslink.lightclient.client_state import ClientState
from crosslink.lightclient.pbft.messages import BareHeader, HeaderMessage
from crosslink.lightclient.pbft.trust import PBFT_CLIENT_TYPE, checkpoint_document, root_document
from crosslink.lightclient.trust_root import Checkpoint, TrustRoot

START_MS = 1_700_000_000_000
"""Genesis time of every test chain."""

BLOCK_MS = 1_000
"""Distance of two blocks unless a test says otherwise."""


def seed_of(name: str) -> bytes:
    """The secret key of a test validator or signer, derived from its name."""
    return hashlib.sha256(b"test seed " + name.encode()).digest()


def validator_set(names: Iterable[str], *, organisation: str = "test", suite: Suite = ED25519_SHA256) -> ValidatorSet:
    """A set whose members' keys are `seed_of(name)`."""
    return ValidatorSet(
        members=tuple(
            Validator(name=name, organisation=organisation, public_key=suite.public_key(seed_of(name)))
            for name in names
        )
    )


def member_names(network: str, count: int = 4, first: int = 1) -> list[str]:
    """`beijing-1`, `beijing-2`, …"""
    return [f"{network}-{number}" for number in range(first, first + count)]


def sample_snapshot(object_id: str, *, version: int = 0, note: str = "", kind: str = "registration") -> bytes:
    """A well-formed snapshot; `note` makes it longer."""
    return build_snapshot(
        kind=kind,
        object_id=object_id,
        version=version,
        operation="create" if version == 0 else "update",
        timestamp_s=START_MS // 1000,
        body={"note": note},
    )


@dataclass(frozen=True)
class BuiltBlock:
    """One block as a node would serve it. `next_validators` only when the set changes after it."""

    header: Header
    certificate: Certificate
    snapshots: tuple[bytes, ...]
    id: bytes
    next_validators: ValidatorSet | None = None
    suite: Suite = ED25519_SHA256

    @property
    def height(self) -> int:
        """The header's height."""
        return self.header.height

    @property
    def message(self) -> HeaderMessage:
        """What a light client is given."""
        return HeaderMessage(
            suite=self.suite,
            header=self.header,
            certificate=self.certificate,
            next_validators=self.next_validators,
        )

    @property
    def signed(self) -> bytes:
        """The same, as the opaque header that everybody else carries."""
        return self.message.encode()

    @property
    def bare(self) -> bytes:
        """The opaque header without the certificate, as in evidence files."""
        return BareHeader(self.suite, self.header).encode()

    def evidence(self, governing: ValidatorSet) -> bytes:
        """The opaque header with the set that signed it, for evidence after that set was replaced."""
        return replace(self.message, governing=governing).encode()

    def proof(self, index: int) -> bytes:
        """Inclusion proof of one snapshot."""
        return b"".join(merkle.prove(self.suite.hash, self.snapshots, index))

    def served(self) -> dict[str, Any]:
        """The entry of `GET /v1/networks/{network}/blocks` with snapshots and validators."""
        entry: dict[str, Any] = {
            "height": self.height,
            "id": self.id.hex(),
            "header": self.header.encode().hex(),
            "certificate": self.certificate.encode().hex(),
            "snapshots": [snapshot.decode() for snapshot in self.snapshots],
        }
        if self.next_validators is not None:
            entry["validators"] = self.next_validators.encode().hex()
        return entry


def sign_header(
    header: Header,
    validators: ValidatorSet,
    *,
    view: int = 0,
    signers: Sequence[int] | None = None,
    suite: Suite = ED25519_SHA256,
) -> Certificate:
    """A certificate by a quorum of `validators` (the first members unless `signers` says which)."""
    block_id = header.id(suite)
    payload = commit_payload(suite, header.genesis_id, header.network, header.height, view, block_id)
    chosen = range(validators.quorum) if signers is None else signers
    return Certificate(
        height=header.height,
        view=view,
        block_id=block_id,
        signatures=tuple((index, suite.sign(seed_of(validators.members[index].name), payload)) for index in chosen),
    )


@dataclass
class ChainBuilder:
    """A chain that grows block by block. `names` are the genesis validators (four by default)."""

    network: str = "beijing"
    tier: str = "business"
    names: Sequence[str] = ()
    application: dict[str, Any] = field(default_factory=dict)
    suite: Suite = ED25519_SHA256

    def __post_init__(self) -> None:
        self.names = list(self.names) or member_names(self.network)
        self.validators = validator_set(self.names, suite=self.suite)
        self.genesis: Genesis = build_genesis(
            network=self.network,
            tier="custody" if self.tier == "custody" else "business",
            suite=self.suite,
            time_ms=START_MS,
            validators=self.validators,
            application=self.application,
        )
        self.genesis_validators = self.validators
        self.blocks: list[BuiltBlock] = []

    @property
    def height(self) -> int:
        """Height of the tip; 0 before the first block."""
        return len(self.blocks)

    @property
    def tip_id(self) -> bytes:
        """Id of the tip; the genesis id before the first block."""
        return self.blocks[-1].id if self.blocks else self.genesis.id

    def block(self, height: int) -> BuiltBlock:
        """The block of that height, from 1."""
        return self.blocks[height - 1]

    def id_at(self, height: int) -> bytes:
        """Block id at a height; the genesis id at 0."""
        return self.blocks[height - 1].id if height else self.genesis.id

    def draft(
        self,
        snapshots: Sequence[bytes] = (),
        *,
        next_validators: ValidatorSet | None = None,
        time_ms: int | None = None,
        state_root: bytes | None = None,
        **changes: Any,
    ) -> BuiltBlock:
        """The next block without appending it; `changes` overwrite header fields before it is signed."""
        following = next_validators or self.validators
        header = Header(
            protocol_version=1,
            network=self.network,
            genesis_id=self.genesis.id,
            height=self.height + 1,
            time_ms=START_MS + (self.height + 1) * BLOCK_MS if time_ms is None else time_ms,
            parent_id=self.tip_id,
            proposer=self.validators.leader(self.height + 1, 0),
            tx_root=merkle.root(self.suite.hash, ()),
            tx_count=0,
            receipt_root=merkle.root(self.suite.hash, ()),
            receipt_count=0,
            snapshot_root=snapshot_root(self.suite, snapshots),
            snapshot_count=len(snapshots),
            change_root=merkle.root(self.suite.hash, ()),
            change_count=0,
            state_root=state_root or self.suite.hash(b"state"),
            validators_hash=self.validators.hash(self.suite),
            next_validators_hash=following.hash(self.suite),
        )
        return self.seal(replace(header, **changes), snapshots, next_validators=next_validators)

    def seal(
        self,
        header: Header,
        snapshots: Sequence[bytes] = (),
        *,
        next_validators: ValidatorSet | None = None,
        signing: ValidatorSet | None = None,
        view: int = 0,
        signers: Sequence[int] | None = None,
    ) -> BuiltBlock:
        """Any header with a certificate, by the current set or another."""
        certificate = sign_header(header, signing or self.validators, view=view, signers=signers, suite=self.suite)
        changes = next_validators is not None and header.next_validators_hash != header.validators_hash
        return BuiltBlock(
            header=header,
            certificate=certificate,
            snapshots=tuple(snapshots),
            id=header.id(self.suite),
            next_validators=next_validators if changes else None,
            suite=self.suite,
        )

    def append(self, block: BuiltBlock) -> BuiltBlock:
        """Make a drafted block the tip."""
        self.blocks.append(block)
        if block.next_validators is not None:
            self.validators = block.next_validators
        return block

    def extend(self, snapshots: Sequence[bytes] = (), **options: Any) -> BuiltBlock:
        """Draft and append one block."""
        return self.append(self.draft(snapshots, **options))

    def grow(self, count: int, *, snapshots_each: int = 0) -> list[BuiltBlock]:
        """Append `count` blocks with sample snapshots."""
        grown = []
        for _ in range(count):
            height = self.height + 1
            grown.append(self.extend([sample_snapshot(f"{self.network}:{height}:{n}") for n in range(snapshots_each)]))
        return grown

    def trust_root(self, **changes: Any) -> TrustRoot:
        """The root that a verifier of this chain would hold."""
        root = TrustRoot(
            network=self.network,
            client_type=PBFT_CLIENT_TYPE,
            genesis_id=self.genesis.id,
            trust=root_document(self.suite, self.genesis_validators),
            tier=self.tier,
        )
        return replace(root, **changes)

    def client_state(self, *, established_ms: int = START_MS) -> ClientState:
        """A light client's state right after genesis."""
        return ClientState.from_root(self.trust_root(), established_ms=established_ms)


def checkpoint(
    *, height: int, id: bytes, time_ms: int, validators: ValidatorSet, suite: Suite = ED25519_SHA256
) -> Checkpoint:
    """A checkpoint of a chain of ours; `validators` sign the block after it."""
    return Checkpoint(height=height, id=id, time_ms=time_ms, trust=checkpoint_document(suite, validators))
