"""Executes blocks: transactions in, receipts, snapshots, state changes and their roots out.

Execution comes before voting: a header carries its own block's roots (architecture decision 5), so a leader executes
before it proposes and a replica before it prepares. What either did is an `Execution`, kept under the transactions it
ran, and used again at commit: no block is executed twice.

Invariants
  X1  An `Execution` is a function of the committed tip, the block's time and its transactions. Nothing local enters:
      no clock, quota, order of arrival or cache (protocol rule 11).
  X2  A bad network, genesis, nonce, expiry or limit makes the *block* invalid; a rule failure is included, burns the
      nonce and changes nothing else (protocol rule 11).
  X3  Executions are kept by content, never by a claimed block id, so a rejected block cannot stand in for a valid one
      with the same id (attack E7).
  X4  Nothing is written: the state tree's update and all changes are values until the chain store commits them.
  X5  Every transaction is priced before any work on it, and counted whatever becomes of it (protocol rule 27). The
      count is local: no root commits to it.

Left out: signatures (verified once, in the mempool), certificates, wall-clock bounds (`check_fresh` is for fresh
proposals alone).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import msgspec

from common.chain import work
from common.chain.application import Application, BlockContext, Outcome, OverlayView
from common.chain.metering import Meter, UsedUnits
from common.chain.schedule import take_due_set
from common.core import merkle
from common.core.block import Block, tx_root
from common.core.changes import change_root
from common.core.codec import check_signed_keys
from common.core.errors import InvariantBroken, Malformed, Rejected
from common.core.genesis import Genesis
from common.core.header import Header, build_header
from common.core.receipt import APPLIED, REJECTED, Receipt
from common.core.snapshot import MAX_SNAPSHOT_BYTES, snapshot_root
from common.core.transaction import SignedTransaction
from common.core.validators import ValidatorSet
from common.node.logic.execution.next_block import NextBlock
from common.node.logic.execution.transaction_rules import check_belongs, check_expiry
from common.node.logic.execution.used_nonces import NonceBuckets, nonce_key
from common.node.store.chain_store import ChainStore
from common.node.store.committed_state import CommittedState
from common.node.store.state_tree import TreeUpdate
from common.node.store.store_errors import DamagedStore, StoreFailed

COMPARED_RESULTS = (
    *("receipt_root", "receipt_count", "snapshot_root", "snapshot_count", "change_root", "change_count", "state_root"),
    "next_validators_hash",
)
"""What a header says that only execution tells, in the order in which a difference is named."""
KEPT_EXECUTIONS = 4
"""Blocks of one height whose executions are kept: own draft, a proposal, and re-proposals of later views."""


class BlockInvalid(Malformed):
    """A block breaks a rule on which all validators agree; the code says which."""


class ExecutionFailed(InvariantBroken):
    """An application raised something else than `Rejected`: a bug there. `tx` is the transaction that shows it, if
    one did.
    """

    def __init__(self, message: str, tx: SignedTransaction | None) -> None:
        super().__init__(message)
        self.tx = tx


class Execution(msgspec.Struct, frozen=True, kw_only=True):
    """What executing `transactions` at `time_ms` on top of `parent_id` gives."""

    protocol_version: int
    height: int
    time_ms: int
    parent_id: bytes
    transactions: tuple[SignedTransaction, ...]
    tx_root: bytes
    block_receipt: Receipt | None
    """What the block made by itself, if anything."""
    receipts: tuple[Receipt, ...]
    """Of the transactions."""
    receipt_root: bytes
    snapshots: tuple[bytes, ...]
    snapshot_root: bytes
    state_changes: dict[bytes, bytes | None]
    """What differs from the tip's state; None is a value that is removed."""
    change_root: bytes
    index_changes: dict[bytes, bytes | None]
    tree_update: TreeUpdate
    validators_hash: bytes
    next_validators: ValidatorSet
    next_validators_hash: bytes
    used: UsedUnits
    """What the transactions cost; no header says it."""

    @property
    def all_receipts(self) -> tuple[Receipt, ...]:
        """The leaves of the receipt root."""
        return self.receipts if self.block_receipt is None else (self.block_receipt, *self.receipts)

    @property
    def changes_validators(self) -> bool:
        """Whether another set signs the next height."""
        return self.next_validators_hash != self.validators_hash


class _Run(msgspec.Struct):
    """Execution in progress."""

    context: BlockContext
    view: OverlayView
    buckets: NonceBuckets
    meter: Meter = msgspec.field(default_factory=Meter)
    block_receipt: Receipt | None = None
    receipts: list[Receipt] = []
    receipt_leaves: list[bytes] = []
    snapshots: list[bytes] = []
    nonces: set[tuple[str, str]] = set()


class Executor:
    """Executes on top of the chain store's tip."""

    def __init__(self, genesis: Genesis, application: Application, chain: ChainStore) -> None:
        self._genesis = genesis
        self._application = application
        self._chain = chain
        self._state = CommittedState(chain)
        self.next_block = self._next = NextBlock(chain)
        """What holds for the block on the tip: one for all parts of a node, so that it is read once a height."""
        self._kept: OrderedDict[tuple[bytes, int, tuple[bytes, ...]], Execution] = OrderedDict()
        self._empty_after_ms: int | None = None

    def empty_after_ms(self) -> int:
        """How long after the committed tip an empty block is valid, and due: sooner while work is queued (rule 27)."""
        if self._empty_after_ms is None:
            parameters, queued = self._next.parameters, work.is_queued(self._state)
            intervals_ms = (parameters.heartbeat_ms, parameters.work_interval_ms)
            self._empty_after_ms = min(intervals_ms) if queued else parameters.heartbeat_ms
        return self._empty_after_ms

    def forget(self) -> None:
        """Drop what was worked out on the tip: it has moved."""
        self._kept.clear()
        self._empty_after_ms = None

    def execute(self, time_ms: int, transactions: Sequence[SignedTransaction]) -> Execution:
        """Execute a block's transactions on the committed tip, or return the kept result of doing so.

        Their signatures have been verified. Raises `BlockInvalid`, or `ExecutionFailed` for a bug in the application.
        """
        tip = self._chain.tip()
        key = (tip.block_id, time_ms, tuple([tx.envelope_hash for tx in transactions]))
        kept = self._kept.get(key)
        if kept is not None:
            return kept
        run = self._start(time_ms)
        self._check_limits(transactions)
        for tx in transactions:
            run.meter.charge(tx)
            self._check_transaction(tx, run)
            self._run_transaction(tx, run)
        execution = self._finish(run, tip.block_id, key[2], tuple(transactions))
        self._kept[key] = execution
        if len(self._kept) > KEPT_EXECUTIONS:
            self._kept.popitem(last=False)
        return execution

    def header(self, execution: Execution, proposer: int) -> Header:
        """The header of an executed block."""
        genesis = self._genesis
        return build_header(
            protocol_version=execution.protocol_version,
            network=genesis.network,
            genesis_id=genesis.id,
            height=execution.height,
            time_ms=execution.time_ms,
            parent_id=execution.parent_id,
            proposer=proposer,
            tx_root=execution.tx_root,
            tx_count=len(execution.transactions),
            receipt_root=execution.receipt_root,
            receipt_count=len(execution.all_receipts),
            snapshot_root=execution.snapshot_root,
            snapshot_count=len(execution.snapshots),
            change_root=execution.change_root,
            change_count=len(execution.state_changes),
            state_root=execution.tree_update.root,
            validators_hash=execution.validators_hash,
            next_validators_hash=execution.next_validators_hash,
        )

    def check_header(self, header: Header, tx_hashes: Sequence[bytes]) -> None:
        """Everything about a header that needs no execution. Raises `BlockInvalid` (protocol rules 4, 5, 8; attack
        C14).
        """
        genesis, tip = self._genesis, self._chain.tip()
        validators, parameters = self._chain.validators(tip.height + 1), self._next.parameters
        if header.network != genesis.network or header.genesis_id != genesis.id:
            raise BlockInvalid("block_wrong_chain", "The header belongs to another chain.")
        if header.protocol_version != self._next.context().protocol_version:
            raise BlockInvalid("block_protocol_version", "The header is of another protocol version.")
        if header.height != tip.height + 1:
            raise BlockInvalid("block_wrong_height", "The header is not of the next height.", height=header.height)
        if header.parent_id != tip.block_id:
            raise BlockInvalid("block_wrong_parent", "The header has another parent.", height=header.height)
        if header.validators_hash != validators.hash(genesis.suite):
            raise BlockInvalid("block_wrong_validators", "The header names another validator set.")
        if header.proposer >= validators.size:
            raise BlockInvalid("block_unknown_proposer", "The proposer is not in the set.", proposer=header.proposer)
        if header.tx_count > parameters.max_block_operations:
            raise BlockInvalid("block_too_many_operations", "The operations exceed the chain's limit.")
        earliest = tip.time_ms + (1 if header.tx_count else self.empty_after_ms())
        if header.time_ms < earliest:
            code = "block_time_not_after_parent" if header.tx_count else "block_empty_too_early"
            raise BlockInvalid(code, "The block's time is too early.", time_ms=header.time_ms, earliest=earliest)
        if header.tx_count != len(tx_hashes) or header.tx_root != tx_root(genesis.suite.hash, tuple(tx_hashes)):
            raise BlockInvalid("block_body_mismatch", "The envelopes are not those of the header.")

    def check_fresh(self, header: Header, leader: int, now_ms: int) -> None:
        """What only a fresh proposal must meet: wall clock and proposer (protocol rules 2 and 5, attack C15)."""
        if header.proposer != leader:
            raise BlockInvalid(
                "block_wrong_proposer", "The proposer does not lead this view.", proposer=header.proposer
            )
        if header.time_ms > now_ms + self._next.parameters.max_clock_ahead_ms:
            raise BlockInvalid("block_time_ahead", "The block's time lies in the future.", time_ms=header.time_ms)

    def check_results(self, header: Header, execution: Execution) -> None:
        """The header's roots and counts are those of the execution. Raises `BlockInvalid` naming the first that
        differs.
        """
        expected = self.header(execution, header.proposer)
        for name in COMPARED_RESULTS:
            if getattr(header, name) != getattr(expected, name):
                raise BlockInvalid(f"block_{name}", f"The header's {name} is not what execution gives.")
        if header != expected:
            raise BlockInvalid("block_header_mismatch", "The header is not that of the executed block.")

    def block(self, header: Header, execution: Execution) -> Block:
        """Header and body together."""
        return Block(header, tuple([tx.envelope for tx in execution.transactions]))

    def _start(self, time_ms: int) -> _Run:
        context = self._next.context_at(time_ms)
        view = OverlayView(self._state)
        run = _Run(context, view, NonceBuckets(self._genesis.suite, self._state))
        try:
            outcome = self._application.begin_block(context, view)
        except (DamagedStore, StoreFailed):
            raise
        except Exception as error:  # an application's bug must not stop the validator: see _call
            raise ExecutionFailed(f"begin_block raised {_shown(error)}", None) from error
        _check_outcome(outcome, None)
        if outcome.objects:
            receipt = Receipt(b"", APPLIED, objects=tuple(outcome.objects))
            run.block_receipt = receipt
            run.receipt_leaves.append(receipt.encode())
            run.snapshots.extend(outcome.snapshots)
        return run

    def _check_limits(self, transactions: Sequence[SignedTransaction]) -> None:
        """Bytes and operations of a block (protocol rule 14)."""
        parameters = self._next.parameters
        if sum([len(tx.envelope) for tx in transactions]) > parameters.max_block_bytes:
            raise BlockInvalid("block_too_large", "The envelopes exceed the chain's limit in bytes.")
        if sum([len(tx.operations) for tx in transactions]) > parameters.max_block_operations:
            raise BlockInvalid("block_too_many_operations", "The operations exceed the chain's limit.")

    def _check_transaction(self, tx: SignedTransaction, run: _Run) -> None:
        try:
            check_belongs(tx, self._genesis)
            self._check_nonce_and_expiry(tx, run.context, run.nonces)
        except BlockInvalid:
            raise
        except Rejected as refusal:
            raise BlockInvalid(f"block_{refusal.code}", refusal.detail, tx_id=tx.id.hex()) from refusal

    def _check_nonce_and_expiry(
        self, tx: SignedTransaction, context: BlockContext, nonces: set[tuple[str, str]]
    ) -> None:
        """Duplicates are judged by (first signer, nonce), within the block and for ever (rules 9 and 12, attack N4)."""
        check_expiry(tx, context.height, context.parameters)
        key = (tx.signers[0], tx.nonce)
        if key in nonces or self._chain.used_nonce(*key):
            raise BlockInvalid("block_nonce_used", "A transaction's nonce is used.", tx_id=tx.id.hex())
        nonces.add(key)

    def _run_transaction(self, tx: SignedTransaction, run: _Run) -> None:
        run.view.checkpoint()
        run.buckets.add(nonce_key(self._genesis.suite, tx.signers[0], tx.nonce), tx.id)
        try:
            outcome = self._call(tx, run)
        except Rejected as refusal:
            run.view.rollback()
            run.meter.mark_rejected(tx)
            _add_receipt(run, tx, refusal)
            return
        _add_receipt(run, tx, outcome)
        run.snapshots.extend(outcome.snapshots)

    def _call(self, tx: SignedTransaction, run: _Run) -> Outcome:
        """The application's verdict. Raises `Rejected` or `ExecutionFailed`."""
        try:
            outcome = self._application.execute(tx, run.context, run.view)
        except (Rejected, DamagedStore, StoreFailed):
            raise
        except Exception as error:
            # Whatever else an application raises is its bug. It may not stop the validator (a client could then stop
            # the chain by sending one transaction), nor become a receipt (it need not be the same on every node): the
            # leader leaves the transaction out, a replica refuses the block.
            raise ExecutionFailed(f"execute raised {_shown(error)}", tx) from error
        _check_outcome(outcome, tx)
        return outcome

    def _finish(
        self, run: _Run, parent_id: bytes, tx_hashes: tuple[bytes, ...], transactions: tuple[SignedTransaction, ...]
    ) -> Execution:
        suite = self._genesis.suite
        run.buckets.write(run.view)
        next_validators = take_due_set(run.view, run.context)
        changes = run.view.differences()
        tree_update = self._chain.tree.apply(changes)
        return Execution(
            protocol_version=run.context.protocol_version,
            height=run.context.height,
            time_ms=run.context.time_ms,
            parent_id=parent_id,
            transactions=transactions,
            tx_root=tx_root(suite.hash, tx_hashes),
            block_receipt=run.block_receipt,
            receipts=tuple(run.receipts),
            receipt_root=merkle.root(suite.hash, run.receipt_leaves),
            snapshots=tuple(run.snapshots),
            snapshot_root=snapshot_root(suite, run.snapshots),
            state_changes=changes,
            change_root=change_root(suite, tree_update.value_hashes),
            index_changes=run.view.index_changes,
            tree_update=tree_update,
            validators_hash=run.context.validators.hash(suite),
            next_validators=next_validators,
            next_validators_hash=next_validators.hash(suite),
            used=run.meter.used,
        )


def _check_outcome(outcome: Outcome, tx: SignedTransaction | None) -> None:
    """An outcome that no block can hold is the application's fault. Raises `ExecutionFailed`."""
    if len(outcome.objects) != len(outcome.snapshots):
        raise ExecutionFailed("an outcome lists other objects than it has snapshots", tx)
    for snapshot in outcome.snapshots:
        if len(snapshot) > MAX_SNAPSHOT_BYTES:
            raise ExecutionFailed("an application made a snapshot above 64 KiB", tx)


def _shown(error: Exception) -> str:
    """An exception for the log: it may quote what a client wrote (attack N6)."""
    return f"{type(error).__name__}: {str(error)[:200]!a}"


def _add_receipt(run: _Run, tx: SignedTransaction, became: Outcome | Rejected) -> None:
    """Keep a receipt and its Merkle leaf. One that cannot be encoded is the application's fault (bad parameters)."""
    try:
        if isinstance(became, Rejected):
            receipt = _rejection(tx, became)
        else:
            receipt = Receipt(tx.id, APPLIED, objects=tuple(became.objects))
        leaf = receipt.encode()
    except (Malformed, InvariantBroken) as error:
        raise ExecutionFailed(f"an outcome makes no valid receipt: {error}", tx) from error
    run.receipts.append(receipt)
    run.receipt_leaves.append(leaf)


def _rejection(tx: SignedTransaction, refusal: Rejected) -> Receipt:
    """The receipt of an included rejection: code and parameters, never prose (protocol rule 11)."""
    parameters = dict(refusal.parameters)
    check_signed_keys(parameters)
    operation_index = parameters.pop("operation_index", None)
    return Receipt(
        tx.id,
        REJECTED,
        refusal.code,
        operation_index if isinstance(operation_index, int) else None,
        parameters,
    )
