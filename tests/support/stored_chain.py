"""A chain with real transactions in a chain store, block by block, without running a node.

Every block is complete and valid for the store: signed envelopes, receipts, snapshots, state roots, a certificate by a
quorum. `TwinChain` keeps beside it, in plain dicts, what every read must answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from common.core import merkle
from common.core.block import Block
from common.core.certificate import Certificate, commit_payload
from common.core.changes import change_root
from common.core.codec import canonical_json
from common.core.genesis import Genesis, build_genesis
from common.core.header import Header
from common.core.parameters import ChainParameters
from common.core.receipt import Receipt, receipt_root
from common.core.snapshot import snapshot_root
from common.core.suite import ED25519_SHA256
from common.core.transaction import SignedTransaction, parse_envelope, sign_envelope
from common.core.validators import Validator, ValidatorSet
from common.model.object_header import build_snapshot
from common.node.store.chain_store import ChainStore
from common.node.store.storage import KeyValueStore

SUITE = ED25519_SHA256
START_MS = 1_700_000_000_000
BLOCK_MS = 1_000
CLIENT_SEED = bytes(31) + b"\x63"


def seed_of(number: int) -> bytes:
    """The secret key of validator `number`."""
    return bytes(31) + bytes((number,))


def validator_set(*numbers: int) -> ValidatorSet:
    """Validators whose keys are `seed_of(number)`."""
    return ValidatorSet(tuple(Validator(f"node-{n}", f"market-{n}", SUITE.public_key(seed_of(n))) for n in numbers))


def make_genesis(network: str = "beijing", *numbers: int) -> Genesis:
    """A genesis of the given validators, or of one to four."""
    return build_genesis(
        network=network,
        tier="business",
        suite=SUITE,
        time_ms=START_MS,
        validators=validator_set(*(numbers or (1, 2, 3, 4))),
        parameters=ChainParameters(),
        application={},
    )


@dataclass
class TwinChain:
    """A chain store, and the naive record of what it was given."""

    chain: ChainStore
    genesis: Genesis
    states: list[dict[bytes, bytes]] = field(default_factory=list)
    """The whole state after each height."""
    blocks: list[Block | None] = field(default_factory=list)
    receipts: list[list[Receipt]] = field(default_factory=list)
    snapshots: list[list[bytes]] = field(default_factory=list)
    sets: dict[int, ValidatorSet] = field(default_factory=dict)
    members: tuple[int, ...] = (1, 2, 3, 4)

    @classmethod
    def start(cls, store: KeyValueStore, state: Mapping[bytes, bytes] | None = None) -> TwinChain:
        """A new chain at height 0."""
        genesis = make_genesis()
        chain = ChainStore(store, genesis)
        chain.initialise(genesis, dict(state or {}), {})
        twin = cls(chain, genesis)
        twin.states.append(dict(state or {}))
        twin.blocks.append(None)
        twin.receipts.append([])
        twin.snapshots.append([])
        twin.sets[0] = twin.sets[1] = genesis.validators
        return twin

    def reopen(self, store: KeyValueStore) -> None:
        """Go on with a new chain store over `store`, as after a restart."""
        self.chain = ChainStore(store, self.genesis)

    def envelope(self, nonce: str) -> bytes:
        """One signed transaction of the client."""
        operation = {"type": "test.note", "business_id": f"b-{nonce}", "occurred_at_ms": START_MS}
        transaction = {
            "network": self.genesis.network,
            "genesis": self.genesis.id.hex(),
            "signers": [SUITE.format_key(SUITE.public_key(CLIENT_SEED))],
            "nonce": nonce,
            "expires_at_height": 1_000,
            "operations": [operation],
        }
        return sign_envelope(transaction, [CLIENT_SEED], SUITE)

    def next_block(
        self,
        changes: Mapping[bytes, bytes | None],
        *,
        transactions: int = 1,
        next_members: tuple[int, ...] | None = None,
    ) -> Prepared:
        """The next block with everything that a commit wants; nothing is written."""
        chain, genesis = self.chain, self.genesis
        tip = chain.tip()
        height = tip.height + 1
        envelopes = tuple(self.envelope(f"{height}-{number}") for number in range(transactions))
        signed = [parse_envelope(envelope, SUITE) for envelope in envelopes]
        receipts, snapshots = [], []
        for number, tx in enumerate(signed):
            if number % 3 == 2:
                receipts.append(Receipt(tx.id, "rejected", "balance_too_low", 0, {"available": number}))
                continue
            object_id = f"object-{number}"
            receipts.append(Receipt(tx.id, "applied", objects=((object_id, height),)))
            snapshots.append(
                build_snapshot(
                    kind="registration",
                    object_id=object_id,
                    version=height,
                    operation="update",
                    timestamp_s=START_MS // 1000 + height,
                    body={"note": f"{height}-{number}"},
                )
            )
        changes = {key: value for key, value in changes.items() if chain.state_get(key) != value}
        update = chain.tree.apply(changes)
        signing = chain.validators(height)
        next_set = signing if next_members is None else validator_set(*next_members)
        header = Header(
            protocol_version=1,
            network=genesis.network,
            genesis_id=genesis.id,
            height=height,
            time_ms=tip.time_ms + BLOCK_MS,
            parent_id=tip.block_id,
            proposer=height % signing.size,
            tx_root=merkle.root(SUITE.hash, [tx.envelope_hash for tx in signed]),
            tx_count=len(envelopes),
            receipt_root=receipt_root(SUITE, receipts),
            receipt_count=len(receipts),
            snapshot_root=snapshot_root(SUITE, snapshots),
            snapshot_count=len(snapshots),
            change_root=change_root(SUITE, update.value_hashes),
            change_count=len(update.value_hashes),
            state_root=update.root,
            validators_hash=signing.hash(SUITE),
            next_validators_hash=next_set.hash(SUITE),
        )
        block = Block(header, envelopes)
        index_changes: dict[bytes, bytes | None] = {b"latest": canonical_json(height), b"at/%06d" % height: b"x"}
        return Prepared(
            block=block,
            certificate=self.certificate(header),
            transactions=signed,
            receipts=receipts,
            snapshots=snapshots,
            state_changes=dict(changes),
            index_changes=index_changes,
            tree_update=update,
            validators_next=None if next_members is None else next_set,
        )

    def certificate(self, header: Header, members: tuple[int, ...] | None = None) -> Certificate:
        """Commit signatures of a quorum of the current members."""
        block_id = header.id(SUITE)
        payload = commit_payload(SUITE, self.genesis.id, self.genesis.network, header.height, 0, block_id)
        quorum = self.chain.validators(header.height).quorum
        signers = (members or self.members)[:quorum]
        signatures = tuple((at, SUITE.sign(seed_of(number), payload)) for at, number in enumerate(signers))
        return Certificate(header.height, 0, block_id, signatures)

    def record(self, prepared: Prepared, next_members: tuple[int, ...] | None = None) -> None:
        """Take a committed block into the naive record."""
        state = dict(self.states[-1])
        for key, value in prepared.state_changes.items():
            if value is None:
                state.pop(key, None)
            else:
                state[key] = value
        self.states.append(state)
        self.blocks.append(prepared.block)
        self.receipts.append(list(prepared.receipts))
        self.snapshots.append(list(prepared.snapshots))
        self.sets[len(self.blocks)] = prepared.validators_next or self.sets[len(self.blocks) - 1]
        self.members = next_members or self.members

    def commit(
        self,
        changes: Mapping[bytes, bytes | None],
        *,
        transactions: int = 1,
        next_members: tuple[int, ...] | None = None,
    ) -> Prepared:
        """Make, commit and record the next block."""
        prepared = self.next_block(changes, transactions=transactions, next_members=next_members)
        self.chain.commit(**prepared.arguments())
        self.record(prepared, next_members)
        return prepared


@dataclass
class Prepared:
    """The arguments of a commit."""

    block: Block
    certificate: Certificate
    transactions: list[SignedTransaction]
    receipts: list[Receipt]
    snapshots: list[bytes]
    state_changes: dict[bytes, bytes | None]
    index_changes: dict[bytes, bytes | None]
    tree_update: object
    validators_next: ValidatorSet | None

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of `ChainStore.prepare_commit` and `commit`."""
        return dict(self.__dict__)
