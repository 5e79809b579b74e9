"""Transactions that wait for a block, and bodies that proposals name.

Invariants
  M1  Every transaction in here has the right network and genesis and verified signatures: a signature is verified
      once a node (protocol rule 15), and whoever resolves an envelope hash here need not verify again.
  M2  At most one pending transaction for each (first signer, nonce), which is what duplicates are judged by (protocol
      rule 9).
  M3  Everything pending is valid on committed state: neither expired nor with a used nonce (protocol rules 4 and 12).
      `committed` restores that after each block.
  M4  Transactions, the memory they take, and each first signer's share are bounded (attack N3). These bounds are local
      and never a reason to vote against a block (protocol rule 11).
  M5  Selection takes one transaction of each first signer in turn, each signer's in order of arrival: whoever floods
      waits behind itself, not the others behind it (attack N3). Who was served goes to the end of the row.
  M6  Gossiped envelopes may be held unverified until their turn comes, in bounded bytes; they count for nothing until
      then, unless a proposal names them: then their turn is now.

Bodies that a proposal names and this node had to fetch are kept beside the pending ones, bounded in bytes, oldest out
first: they may conflict with a pending transaction, and the block decides which of the two comes in.

Left out: gossip, and what operations mean (`Application.check`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from common.chain.application import Application, BlockContext
from common.core.errors import Conflict, QuotaExceeded, Rejected, Unavailable
from common.core.genesis import Genesis
from common.core.transaction import SignedTransaction, envelope_hash, parse_envelope, verify_signatures
from common.node.logic.execution.next_block import NextBlock
from common.node.logic.execution.transaction_rules import check_belongs, check_expiry, check_fits_a_block
from common.node.logic.node_status import NodeLimits
from common.node.store.chain_store import ChainStore
from common.node.store.committed_state import CommittedState
from common.node.store.store_errors import DamagedStore, StoreFailed

OVERHEAD_BYTES = 1024
"""What any transaction takes besides its envelope: places in the tables, the record itself, roughly."""
PARSED_FACTOR = 7
"""A parsed transaction takes up to seven times its envelope: field names, numbers and strings become objects."""
FETCHED_BLOCKS = 3
"""Fetched bodies that are kept, in full blocks of the chain: those of the proposals of a few views. Less than one block
would leave its validation without an end."""
MAX_HELD_BYTES = 8 * 1024 * 1024
"""Several seconds of gossip at the highest rate that is verified; what finds no room is fetched if a block has it."""
REMEMBERED_EXPIRED = 10_000


def _held_bytes(tx: SignedTransaction) -> int:
    """What a parsed transaction takes in memory, roughly and rather too much."""
    return PARSED_FACTOR * len(tx.envelope) + OVERHEAD_BYTES


def _check_limits(tx: SignedTransaction, context: BlockContext) -> None:
    """What the next block's height and parameters demand of it."""
    check_expiry(tx, context.height, context.parameters)
    check_fits_a_block(tx, context.parameters)


class Admission(msgspec.Struct, frozen=True):
    """Outcome of `admit`: `fresh` is False for a transaction that was pending before or has been committed."""

    tx: SignedTransaction
    fresh: bool
    committed: bool = False


class Mempool:
    """See the module docstring for the invariants M1-M5."""

    def __init__(
        self,
        genesis: Genesis,
        application: Application,
        chain: ChainStore,
        next_block: NextBlock,
        limits: NodeLimits,
        failed: Callable[[str], None] = lambda what: None,
    ) -> None:
        """`failed` is told of bugs of the application."""
        self._genesis = genesis
        self._application = application
        self._chain = chain
        self._state = CommittedState(chain)
        self._limits = limits
        self._failed = failed
        self._pending: dict[bytes, SignedTransaction] = {}
        self._by_nonce: dict[tuple[str, str], bytes] = {}
        self._by_id: dict[bytes, bytes] = {}
        self._by_expiry: dict[int, dict[bytes, None]] = {}
        self._swept_height = chain.tip().height
        self._by_signer: dict[str, dict[bytes, SignedTransaction]] = {}
        self._fetched: OrderedDict[bytes, SignedTransaction] = OrderedDict()
        self._fetched_bytes = 0
        self._next = next_block
        parameters = self._parameters = self._next.parameters
        self._fetched_limit_bytes = FETCHED_BLOCKS * (
            PARSED_FACTOR * parameters.max_block_bytes + OVERHEAD_BYTES * parameters.max_block_operations
        )
        self._held: dict[bytes, bytes] = {}
        self._held_bytes = 0
        self._recent: dict[bytes, SignedTransaction] = {}
        self._expired: OrderedDict[bytes, None] = OrderedDict()
        self.size_bytes = 0
        self.operations = 0
        """Of all pending transactions."""

    @property
    def max_block_bytes(self) -> int:
        """Envelope bytes of the next block."""
        return self._next.parameters.max_block_bytes

    def __len__(self) -> int:
        return len(self._pending)

    def admit(self, envelope: bytes) -> Admission:
        """Take a transaction in, or say that it is known. Raises `Rejected` with the reason; cheap checks come
        first. A known transaction under other signatures is judged by those: the answer is for who signed it.
        """
        admission = self.admit_parsed(parse_envelope(envelope, self._genesis.suite))
        if not admission.fresh and self.resolve(admission.tx.envelope_hash) is None:
            verify_signatures(admission.tx, self._genesis.suite)
        return admission

    def admit_parsed(self, tx: SignedTransaction) -> Admission:
        """`admit` for an envelope that has been parsed."""
        if tx.id in self._by_id:
            return Admission(tx, fresh=False)
        check_belongs(tx, self._genesis)
        if self._chain.used_nonce(tx.signers[0], tx.nonce) is not None:
            # Only a used nonce can belong to a committed transaction, so the common case costs one look.
            if self._chain.transaction(tx.id) is not None:
                return Admission(tx, fresh=False, committed=True)
            raise Conflict("nonce_used", "this signer has used the nonce before", nonce=tx.nonce)
        context = self._next.context()
        _check_limits(tx, context)
        if (tx.signers[0], tx.nonce) in self._by_nonce:  # attack N4
            raise Conflict("nonce_pending", "another transaction with this signer and nonce is pending", nonce=tx.nonce)
        self._check_quota(tx)
        if tx.envelope_hash not in self._fetched:
            verify_signatures(tx, self._genesis.suite)
        self._check_application(tx, context)
        self._insert(tx)
        return Admission(tx, fresh=True)

    def _check_application(self, tx: SignedTransaction, context: BlockContext) -> None:
        """What the application says of it. Its bugs keep the transaction out, and nothing else (ADR 0024)."""
        try:
            self._application.check(tx, self._state, context)
        except (Rejected, DamagedStore, StoreFailed):
            raise
        except Exception as error:
            self._failed(f"check raised {type(error).__name__}: {str(error)[:200]!a}")
            raise Unavailable("check_failed", "this node cannot judge the transaction; try another node") from error

    def _check_quota(self, tx: SignedTransaction) -> None:
        limits = self._limits
        if len(self._pending) >= limits.mempool_transactions or (
            self.size_bytes + _held_bytes(tx) > limits.mempool_bytes
        ):
            raise Unavailable("mempool_full", "too many transactions are pending; try again later or another node")
        if len(self._by_signer.get(tx.signers[0], ())) >= limits.mempool_signer_transactions:
            raise QuotaExceeded("signer_quota", "this signer has too many pending transactions; await receipts")

    def _insert(self, tx: SignedTransaction) -> None:
        signer = tx.signers[0]
        self._pending[tx.envelope_hash] = tx
        self._by_nonce[(signer, tx.nonce)] = tx.envelope_hash
        self._by_id[tx.id] = tx.envelope_hash
        self._by_expiry.setdefault(tx.expires_at_height, {})[tx.envelope_hash] = None
        self._by_signer.setdefault(signer, {})[tx.envelope_hash] = tx
        self.size_bytes += _held_bytes(tx)
        self.operations += len(tx.operations)

    def _remove(self, key: bytes) -> None:
        tx = self._pending.pop(key, None)
        if tx is None:
            return
        signer = tx.signers[0]
        del self._by_nonce[(signer, tx.nonce)]
        del self._by_id[tx.id]
        self.size_bytes -= _held_bytes(tx)
        self.operations -= len(tx.operations)
        expiring = self._by_expiry[tx.expires_at_height]
        del expiring[key]
        if not expiring:
            del self._by_expiry[tx.expires_at_height]
        queue = self._by_signer.pop(signer)
        del queue[key]
        if queue:
            self._by_signer[signer] = queue  # at the end of the row (M5)

    def drop(self, tx: SignedTransaction) -> None:
        """Forget a pending transaction that cannot be executed here (a bug that the executor found)."""
        self._remove(tx.envelope_hash)

    def add_body(self, envelope: bytes) -> SignedTransaction:
        """Keep the body of a proposal's or a block's transaction, its signatures verified. Raises `Rejected`."""
        known = self.resolve(envelope_hash(self._genesis.suite, envelope))
        if known is not None:
            return known
        tx = parse_envelope(envelope, self._genesis.suite)
        known = self.resolve(tx.envelope_hash)
        if known is not None:
            return known
        check_belongs(tx, self._genesis)
        verify_signatures(tx, self._genesis.suite)
        self._fetched[tx.envelope_hash] = tx
        self._fetched_bytes += _held_bytes(tx)
        while self._fetched_bytes > self._fetched_limit_bytes:
            _, oldest = self._fetched.popitem(last=False)
            self._fetched_bytes -= _held_bytes(oldest)
        return tx

    def resolve(self, key: bytes) -> SignedTransaction | None:
        """The verified transaction of that envelope hash, pending or fetched."""
        return self._pending.get(key) or self._fetched.get(key) or self._recent.get(key)

    def hold(self, key: bytes, envelope: bytes) -> bool:
        """Keep a gossiped envelope unverified until `release`. False if it is known, held, or finds no room (M6)."""
        size_bytes = len(envelope) + OVERHEAD_BYTES
        if key in self._held or self._held_bytes + size_bytes > MAX_HELD_BYTES or self.resolve(key) is not None:
            return False
        self._held[key] = envelope
        self._held_bytes += size_bytes
        return True

    def release(self, key: bytes) -> bytes | None:
        """A held envelope, whose turn it is; None if a proposal has had it verified before."""
        envelope = self._held.pop(key, None)
        if envelope is not None:
            self._held_bytes -= len(envelope) + OVERHEAD_BYTES
        return envelope

    def _verify_held(self, key: bytes) -> SignedTransaction | None:
        """A proposal names a held envelope: its turn is now (M6). None if it is not held, or its signature is bad."""
        envelope = self.release(key)
        if envelope is None:
            return None
        with suppress(Rejected):  # not admissible here and now does not make it invalid in a block
            self.admit_parsed(parse_envelope(envelope, self._genesis.suite, key))
        admitted = self.resolve(key)  # not so if another envelope of the same transaction id is pending
        if admitted is not None:
            return admitted
        try:
            return self.add_body(envelope)
        except Rejected:
            return None

    def resolve_all(self, envelope_hashes: Sequence[bytes]) -> tuple[list[SignedTransaction], list[bytes]]:
        """Those that are known, in order, and the hashes of those that are not."""
        found: list[SignedTransaction] = []
        missing: list[bytes] = []
        for key in envelope_hashes:
            tx = self._pending.get(key) or self._fetched.get(key) or self._verify_held(key)
            if tx is None:
                missing.append(key)
            else:
                found.append(tx)
        return found, missing

    def is_pending(self, tx_id: bytes) -> bool:
        """Whether a transaction of this id waits for a block."""
        return tx_id in self._by_id

    def pending_operations(self, operation_type: str) -> Iterator[dict[str, Any]]:
        """The first operation of each pending transaction that begins with this type."""
        for tx in self._pending.values():
            if tx.operations[0]["type"] == operation_type:
                yield tx.operations[0]

    def has_expired(self, tx_id: bytes) -> bool:
        """Whether a transaction of this id was pending here and expired (remembered for a while)."""
        return tx_id in self._expired

    def select(self, operations: int, size_bytes: int) -> list[SignedTransaction]:
        """Pending transactions, the signers in turn, within both bounds; stops at the first that does not fit (M5).

        At least one if there is any: every pending one fits into a block alone.
        """
        chosen: list[SignedTransaction] = []
        queues = [iter(queue.values()) for queue in self._by_signer.values()]
        while queues:
            waiting = []
            for queue in queues:
                tx = next(queue, None)
                if tx is None:
                    continue
                operations -= len(tx.operations)
                size_bytes -= len(tx.envelope)
                if chosen and (operations < 0 or size_bytes < 0):
                    return chosen
                chosen.append(tx)
                waiting.append(queue)
            queues = waiting
        return chosen

    def oldest(self, size_bytes: int) -> Iterator[bytes]:
        """Envelopes in order of arrival until `size_bytes` are exceeded: what a new leader is told (protocol rule
        4).
        """
        for tx in self._pending.values():
            size_bytes -= len(tx.envelope)
            if size_bytes < 0:
                return
            yield tx.envelope

    def committed(self, height: int, transactions: Iterable[SignedTransaction]) -> None:
        """A block is in: drop what it used up, by (first signer, nonce), and what can no longer come in (M3).

        Its transactions can still be resolved until the next block, for peers that are about to validate it.
        """
        transactions = tuple(transactions)
        self._recent = {tx.envelope_hash: tx for tx in transactions}
        for tx in transactions:
            pending = self._by_nonce.get((tx.signers[0], tx.nonce))
            if pending is not None:
                self._remove(pending)
            fetched = self._fetched.pop(tx.envelope_hash, None)
            if fetched is not None:
                self._fetched_bytes -= _held_bytes(fetched)
        for expired_at in range(self._swept_height, height + 1):
            for key in list(self._by_expiry.get(expired_at, ())):
                self._expire(key)
        self._swept_height = height + 1
        if self._next.parameters != self._parameters:
            self._parameters = self._next.parameters
            self._drop_what_new_limits_refuse()

    def _drop_what_new_limits_refuse(self) -> None:
        """Governance has changed the chain's limits (M3)."""
        context = self._next.context()
        for key, tx in list(self._pending.items()):
            try:
                _check_limits(tx, context)
            except Rejected:
                self._remove(key)

    def _expire(self, key: bytes) -> None:
        tx = self._pending[key]
        self._remove(key)
        self._expired[tx.id] = None
        if len(self._expired) > REMEMBERED_EXPIRED:
            self._expired.popitem(last=False)
