"""The one place that commits blocks, and the chain's face to everybody who reads it.

Invariants
  W1  A block is one synced batch: header, certificate, body, receipts, snapshots, indexes, state, history, changes,
      tree nodes, superseded nodes, validator set, vote-log mark and tip. A crash leaves all of it or nothing (attack
      S1).
  W2  Blocks come in order: height tip + 1, on the tip's id, with roots and counts that fit (attack C14). What does not
      fit is our own bug here (`InvariantBroken`): blocks were judged before.
  W3  `prepare_commit` changes nothing; what it returns may be written in another thread while reads go on. Reads
      answer from a snapshot of the tip until `committed` moves on, so a write in flight is invisible.
  W4  The state tree always belongs to the tip that `tip()` returns.

Reads: `chain_reader.py` (this class is a reader of the newest moment; `moment()` gives one that stands still).
Checks at start: `chain_check.py`. Left out: judging blocks (executor, certificates).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from common.core.block import Block
from common.core.certificate import Certificate
from common.core.errors import InvariantBroken
from common.core.genesis import Genesis
from common.core.receipt import Receipt
from common.core.state_proof import StateProof
from common.core.transaction import SignedTransaction
from common.core.validators import ValidatorSet
from common.node.store import schema
from common.node.store.block_writes import Writes, put_index, put_rest, put_snapshots, put_transactions
from common.node.store.chain_check import check_chain
from common.node.store.chain_reader import SINCE_BYTES, ChainReader, TransactionLocation
from common.node.store.key_records import Floors, Tip, floor_records, read_floors, read_tip
from common.node.store.pages import write_pages
from common.node.store.past_tree import superseded
from common.node.store.state_cache import StateCache
from common.node.store.state_tree import StateTree, TreeUpdate
from common.node.store.storage import KeyValueStore
from common.node.store.store_errors import VotingUnsafe, WrongDatabase
from common.node.store.vote_log import VoteLog, check_vote_log

__all__ = ["ChainReader", "ChainStore", "ProvenState", "Tip", "TransactionLocation", "WrongDatabase"]

STATE_CACHE_BYTES: Final = 4 * 1024 * 1024
ABSENT_KEYS: Final = 32_768
"""New business ids and nonces that wait for their blocks; 6 MB. When there are more, all are forgotten."""
MAX_EMPTY_PREFIXES: Final = 64
_KEPT_SETS: Final = 64


@dataclass(frozen=True, slots=True)
class ProvenState:
    """A value of the tip (None if absent) with its proof against `tip.state_root`."""

    tip: Tip
    value: bytes | None
    proof: StateProof


@dataclass(frozen=True, slots=True)
class _Pending:
    """A prepared commit that is not finished."""

    tip: Tip
    tree_update: TreeUpdate
    state_entries: Mapping[bytes, bytes | None]
    """State key -> stored form, for the cache."""
    next_validators: ValidatorSet
    written: Sequence[bytes] = ()
    """Keys of the batch that `look_up` may have found absent."""


class ChainStore(ChainReader):
    """The chain in a key-value store. Commits come from one thread; reads may come from any."""

    def __init__(self, store: KeyValueStore, genesis: Genesis) -> None:
        """Open what the store holds of this chain; an empty store wants `initialise` next.

        Raises WrongDatabase or DamagedStore.
        """
        tip = read_tip(store, genesis)
        floors = Floors() if tip is None else read_floors(store)
        super().__init__(store.snapshot(), genesis, tip or _no_tip(genesis), floors)
        self.store = store
        self.tree = StateTree(self._view, genesis.suite, None if tip is None else tip.state_root)
        self._initialised = tip is not None
        self._lock = threading.RLock()
        """Guards what moves with the tip: view, tip, tree, caches."""
        self._pending: _Pending | None = None
        self._state_cache = StateCache(STATE_CACHE_BYTES, self._read_state)
        self._absent: set[bytes] = set()
        """Keys of the database that the tip does not have. New business ids and nonces are looked up because they
        should be absent, at admission and in execution, and the database takes longest to say so.
        """
        self._empty: set[bytes] = set()
        """Prefixes under which the tip's state has no key; few are asked for (`common.chain.work`)."""
        self._sets: dict[int, ValidatorSet] = {}
        self._vote_log: VoteLog | None = None
        self._rejoined = store.get(schema.REJOINED) is not None
        self._votes_above: int | None = None

    @property
    def initialised(self) -> bool:
        """Whether height 0 has been written."""
        return self._initialised

    def tip(self) -> Tip:
        """The last committed block. Raises InvariantBroken before `initialise`."""
        if not self._initialised:
            raise InvariantBroken("the chain store was read before it was initialised")
        return self._tip

    def moment(self) -> ChainReader:
        """A reader that stays at the present tip, for answers that take several reads."""
        with self._lock:
            return ChainReader(self._view, self._genesis, self.tip(), self._floors)

    def initialise(
        self,
        genesis: Genesis,
        state_changes: Mapping[bytes, bytes | None],
        index_changes: Mapping[bytes, bytes | None],
    ) -> None:
        """Write height 0: genesis and the application's initial state. Raises InvariantBroken if it is there."""
        if self._initialised or genesis.id != self._genesis.id:
            raise InvariantBroken("a chain store is initialised once, with the genesis that it was opened for")
        update = self.tree.apply(state_changes)
        tip = Tip(0, None, genesis.id, None, genesis.time_ms, update.root)
        writes: Writes = [
            (schema.VERSION, schema.version_value()),
            (schema.GENESIS, genesis.id),
            (schema.PROOF_FLOOR, schema.u64(0)),
            (schema.validators(0), genesis.validators.encode()),
        ]
        entries = self._put_state(writes, 0, state_changes)
        put_index(writes, index_changes)
        put_rest(writes, tip, update)
        self.store.write(writes, sync=True)
        self._pending = _Pending(tip, update, entries, genesis.validators, [key for key, _ in writes])
        self._initialised = True
        self.committed(0)

    def prepare_commit(
        self,
        block: Block,
        certificate: Certificate,
        transactions: Sequence[SignedTransaction],
        receipts: Sequence[Receipt],
        snapshots: Sequence[bytes],
        state_changes: Mapping[bytes, bytes | None],
        index_changes: Mapping[bytes, bytes | None],
        tree_update: TreeUpdate,
        validators_next: ValidatorSet | None = None,
        vote_log_mark: bytes | None = None,
    ) -> Writes:
        """The batch that commits a block; write it synced to `store`, then call `committed(height)`.

        `validators_next` is None if the set stays. Without `vote_log_mark`, the log of `check_consistency` is asked.
        Raises InvariantBroken if anything does not fit (W2).
        """
        header = block.header
        tip = Tip(header.height, header, certificate.block_id, certificate, header.time_ms, tree_update.root)
        next_set = validators_next or self.validators(header.height)
        self._check_fits(block, certificate, tree_update, next_set)
        if vote_log_mark is None:
            vote_log_mark = self._vote_log.mark() if self._vote_log is not None else b""
        writes: Writes = [
            (schema.header(header.height), header.encode()),
            (schema.certificate(header.height), certificate.encode()),
        ]
        put_transactions(writes, block, transactions, receipts)
        put_index(writes, index_changes)
        looked_up = [key for key, _ in writes]
        put_snapshots(writes, block, receipts, snapshots)
        if header.next_validators_hash != header.validators_hash:
            writes.append((schema.validators(header.height + 1), next_set.encode()))
        if vote_log_mark:
            writes.append((schema.VOTE_LOG, vote_log_mark))
        if self._rejoined and self._votes_above is not None and header.height >= self._votes_above:
            writes.append((schema.REJOINED, None))
            self._rejoined = False
        entries = self._put_state(writes, header.height, state_changes)
        if header.change_count != len(entries):
            raise InvariantBroken(f"block {header.height} was committed with the changes of another block")
        if self._floors.proofs is not None:
            writes.extend(superseded(tree_update, header.height))
        put_rest(writes, tip, tree_update)
        self._pending = _Pending(tip, tree_update, entries, next_set, looked_up)
        return writes

    def committed(self, height: int) -> None:
        """The prepared batch of this height is durable: the tip moves, reads see the block."""
        pending = self._pending
        if pending is None or pending.tip.height != height:
            raise InvariantBroken(f"block {height} was reported as written, but it was not prepared")
        view = self.store.snapshot()
        with self._lock:
            self.tree.advance(pending.tree_update, view)
            self._view = view
            self._tip = pending.tip
            self._state_cache.store(pending.state_entries)
            self._absent.difference_update(pending.written)
            empty = tuple(self._empty)
            if any(key.startswith(empty) for key in pending.state_entries):
                self._empty.clear()
            self._keep_set(height + 1, pending.next_validators)
            self._pending = None

    def commit(
        self,
        block: Block,
        certificate: Certificate,
        transactions: Sequence[SignedTransaction],
        receipts: Sequence[Receipt],
        snapshots: Sequence[bytes],
        state_changes: Mapping[bytes, bytes | None],
        index_changes: Mapping[bytes, bytes | None],
        tree_update: TreeUpdate,
        validators_next: ValidatorSet | None = None,
        vote_log_mark: bytes | None = None,
    ) -> Writes:
        """`prepare_commit`, the synced write and `committed` in one; returns what was written."""
        writes = self.prepare_commit(
            block,
            certificate,
            transactions,
            receipts,
            snapshots,
            state_changes,
            index_changes,
            tree_update,
            validators_next,
            vote_log_mark,
        )
        self.store.write(writes, sync=True)
        self.committed(block.header.height)
        return writes

    def state_get(self, key: bytes) -> bytes | None:
        """See `ChainReader`; values of the tip are cached."""
        entry = self._state_cache[key]
        return None if entry is None else entry[SINCE_BYTES:]

    def state_entry(self, key: bytes) -> bytes | None:
        """See `ChainReader`; values of the tip are cached."""
        return self._state_cache[key]

    def _read_state(self, key: bytes) -> bytes | None:
        view = self._view
        entry = view.get(schema.state(key))
        with self._lock:
            if view is self._view:
                self._state_cache.store({key: entry})
        return entry

    def look_up(self, key: bytes) -> bytes | None:
        """See `ChainReader`; what the tip lacks is remembered."""
        if key in self._absent:
            return None
        view = self._view
        value = view.get(key)
        if value is None:
            with self._lock:
                if view is self._view:
                    if len(self._absent) >= ABSENT_KEYS:
                        self._absent.clear()
                    self._absent.add(key)
        return value

    def nothing_below(self, prefix: bytes) -> bool:
        """Whether the tip's state has no key with this prefix; remembered until one is written."""
        if prefix in self._empty:
            return True
        view = self._view
        empty = not self.state_scan(prefix, None, 1)
        if empty and len(self._empty) < MAX_EMPTY_PREFIXES:
            with self._lock:
                if view is self._view:
                    self._empty.add(prefix)
        return empty

    def validators(self, height: int) -> ValidatorSet:
        """See `ChainReader`; the latest sets are cached."""
        known = self._sets.get(height)
        if known is None:
            known = super().validators(height)
            with self._lock:
                self._keep_set(height, known)
        return known

    def _keep_set(self, height: int, validators: ValidatorSet) -> None:
        if len(self._sets) > _KEPT_SETS:
            self._sets.clear()
        self._sets[height] = validators

    def state_proof(self, key: bytes) -> StateProof:
        """The proof of a key's value, or absence, against the tip's state root. Raises DamagedStore."""
        with self._lock:
            return self.tree.prove(key)

    def prove_in(self, moment: ChainReader, key: bytes, height: int) -> StateProof:
        """As `moment.prove_at`, from this store's caches while the moment's tip is still the tip. Raises as it does."""
        with self._lock:
            if height == self._tip.height and moment.tip() == self._tip:
                return self.tree.prove(key)
        return moment.prove_at(key, height)

    def proven_state(self, key: bytes) -> ProvenState:
        """Value and proof that belong to one tip. Raises DamagedStore."""
        with self._lock:
            return ProvenState(self.tip(), self.state_get(key), self.tree.prove(key))

    @property
    def floors(self) -> Floors:
        """From which height on this node keeps what."""
        return self._floors

    def move_floors(self, floors: Floors) -> None:
        """Note durably from where on things are kept; what belongs to heights below alone is removed afterwards
        (`chain_prune.py`). Call it from the thread that commits.
        """
        if floors != self._floors:
            self.store.write(floor_records(floors), sync=True)
        with self._lock:
            self._floors = floors

    def vote_log_mark(self) -> bytes | None:
        """What the database remembers of the vote log: give it to `VoteLog.open`."""
        return self.store.get(schema.VOTE_LOG)

    @property
    def rejoined(self) -> bool:
        """Whether the data came from a checkpoint or a backup, so that this node's earlier votes are not known here
        (attack C16).
        """
        return self._rejoined

    def votes_again_above(self, height: int) -> None:
        """The node signs nothing at or below `height`; the first block from there on ends being `rejoined`."""
        self._votes_above = height

    def check_consistency(self, vote_log: VoteLog | None = None, *, headers: int = 64, deep: bool = False) -> None:
        """Check what is stored, and that the vote log belongs to it; call it before the node votes.

        The vote log is remembered: later commits store its mark. Raises DamagedStore, or VotingUnsafe if the chain is
        sound but voting is not (attacks C16, S2). One with a `safe_above_height` leaves the log remembered as well: the
        node may catch up with it and vote above that height.
        """
        check_chain(self, headers=headers, deep=deep)
        if vote_log is None:
            return
        mark = self.vote_log_mark()
        unsafe: VotingUnsafe | None = None
        try:
            check_vote_log(vote_log, tip_height=self.tip().height, block_id_at=self.block_id, mark=mark)
        except VotingUnsafe as error:
            if error.safe_above_height is None:
                raise
            unsafe = error
        if mark is None:
            self.store.write([(schema.VOTE_LOG, vote_log.mark())], sync=True)
        self._vote_log = vote_log
        if unsafe is not None:
            raise unsafe

    def _put_state(
        self, writes: Writes, height: int, changes: Mapping[bytes, bytes | None]
    ) -> dict[bytes, bytes | None]:
        """Add values, history, deletions (Q3) and the list of what changed; returns the stored form of what changed."""
        since = schema.u64(height)
        entries: dict[bytes, bytes | None] = {}
        for key, value in changes.items():
            if b"\0" in key:
                raise InvariantBroken("a state key holds a NUL")
            old = self.state_entry(key)
            if value == (None if old is None else old[len(since) :]):
                continue
            if old is not None:
                writes.append((schema.history(key, height), old))
            elif self._view.get(schema.deleted(key)) is not None:
                writes.append((schema.deleted(key), None))
            if value is None:
                writes.append((schema.deleted(key), since))
                entries[key] = None
            else:
                entries[key] = since + value
            writes.append((schema.state(key), entries[key]))
        writes.extend([(schema.change(height, first), page) for first, page in write_pages(sorted(entries))])
        return entries

    def _check_fits(self, block: Block, certificate: Certificate, update: TreeUpdate, next_set: ValidatorSet) -> None:
        """W2: the cheap part of what makes a block the tip's child; the rest was judged before."""
        header, tip = block.header, self.tip()
        suite = self._genesis.suite
        if (header.height, header.parent_id) != (tip.height + 1, tip.block_id):
            raise InvariantBroken(f"block {header.height} was committed out of order, on tip {tip.height}")
        if (certificate.height, certificate.block_id) != (header.height, header.id(suite)):
            raise InvariantBroken(f"block {header.height} was committed with a certificate of another block")
        if (update.base_root, update.root) != (self.tree.root, header.state_root):
            raise InvariantBroken(f"block {header.height} was committed with a state tree update of another block")
        if header.next_validators_hash != next_set.hash(suite):
            raise InvariantBroken(f"block {header.height} was committed with a validator set of another block")


def _no_tip(genesis: Genesis) -> Tip:
    """What stands for the tip until height 0 is written; `ChainStore.tip` does not give it out."""
    return Tip(0, None, genesis.id, None, genesis.time_ms, b"")
