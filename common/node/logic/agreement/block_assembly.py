"""Gets blocks executed for the replica: builds them as the leader, validates proposals as a replica.

The replica asks (`BuildBlock`, `ValidateBlock`, `FetchBlock`) and is answered through `answer`, at once or when
bodies have come, the least interval is over, or there is work.

Invariants
  A1  A non-empty block is built only `min_block_interval_ms` after the previous one was started, and later if this
      node lags behind and less than a full block waits; an empty one only when the heartbeat is due by the leader's
      clock (protocol rules 4 and 14).
  A2  The block's time is `max(parent + 1, leader's clock)`, fixed before execution (protocol rule 5).
  A3  A proposal is refused only for what is wrong with it for everybody; a body that is merely missing is looked for
      until the view or the height moves on (attack C22).
  A4  Blocks are kept by id only after their content was executed or checked against the id (attack E7).

Left out: agreement (`common.consensus`), execution (`executor`), commit (`committer`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from common.consensus.effects import BuildBlock, FetchBlock, ValidateBlock
from common.consensus.events import BlockBuilt, BlockFetched, BlockRefused, BlockValidated, Event
from common.consensus.vote_records import decode_record
from common.core.block import Block
from common.core.certificate import Certificate
from common.core.errors import InvariantBroken, Rejected
from common.core.genesis import Genesis
from common.core.transaction import SignedTransaction
from common.node.logic.agreement.pacing import BlockBudget, BlockInterval
from common.node.logic.catchup.block_fetch import BlockFetch
from common.node.logic.execution.executor import BlockInvalid, Execution, ExecutionFailed, Executor
from common.node.logic.node_effects import Channel, Warned
from common.node.logic.node_events import PeerKey, Timer
from common.node.logic.node_outbox import NodeOutbox
from common.node.logic.node_status import NodeLimits
from common.node.logic.pool.body_fetch import BodyFetch
from common.node.logic.pool.gossip import Gossip
from common.node.logic.pool.mempool import Mempool
from common.node.logic.step_clock import StepClock
from common.node.logic.wire.peer_messages import MAX_HASHES, BlockDraft
from common.node.store.chain_store import ChainStore

KEPT_BLOCKS = 8
"""Candidate blocks of the open height that peers may ask for: those of the last few views."""
DRAFT_FROM_BYTES = 16 * 1024
"""A block of smaller envelopes executes faster than a draft message is worth. Bytes tell: one `crosslink.submit` costs
as much as hundreds of registrations.
"""


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A leader's choice, drafted to the peers and about to be executed."""

    height: int
    view: int
    time_ms: int
    transactions: tuple[SignedTransaction, ...]


class BlockAssembly:
    """See the module docstring for the invariants A1-A4."""

    def __init__(
        self,
        *,
        genesis: Genesis,
        chain: ChainStore,
        executor: Executor,
        mempool: Mempool,
        gossip: Gossip,
        outbox: NodeOutbox,
        bodies: BodyFetch,
        block_fetch: BlockFetch,
        limits: NodeLimits,
        clock: StepClock,
        stopwatch: Callable[[], int],
        own_key: PeerKey | None,
        executed: Callable[[Block, Execution], None],
        commit: Callable[[Block, Certificate], None],
        answer: Callable[[Event], bool],
    ) -> None:
        self._genesis = genesis
        self._chain = chain
        self._next = executor.next_block
        self._executor = executor
        self._mempool = mempool
        self._gossip = gossip
        self._outbox = outbox
        self._bodies = bodies
        self._block_fetch = block_fetch
        self._budget = BlockBudget(limits.block_execution_ms)
        self.interval = BlockInterval(outbox)
        self._limits = limits
        self._clock = clock
        self._stopwatch = stopwatch
        self._own_key = own_key
        self._executed = executed
        self._commit = commit
        self._answer = answer
        self._building: BuildBlock | None = None
        self._prepared: _Prepared | None = None
        self._validating: ValidateBlock | None = None
        self._draft: BlockDraft | None = None
        self._drafted_view: tuple[int, int] | None = None
        self._fetching: FetchBlock | None = None
        self._certified: Certificate | None = None
        """Of a decided block that is not here."""
        self._candidates: OrderedDict[bytes, Block] = OrderedDict()

    # -- the leader ----------------------------------------------------------------------------------------------------

    def build(self, request: BuildBlock) -> None:
        """The replica leads and wants a block."""
        self._building = request
        self._prepared = None
        self.try_build()

    def try_build(self) -> None:
        """Build if a block is wanted, allowed by now, and there is something to put in or an empty one is due (A1)."""
        request = self._building
        if request is None or self._prepared is not None or self._interval_runs():
            return
        tip = self._chain.tip()
        if request.height != tip.height + 1:
            self._building = None
            return
        time_ms = max(tip.time_ms + 1, self._clock.now_ms)
        parameters = self._next.parameters
        chosen = self._mempool.select(
            self._budget.operations(parameters.max_block_operations), parameters.max_block_bytes
        )
        if not chosen and time_ms < tip.time_ms + self._executor.empty_after_ms():
            return
        self._prepared = _Prepared(request.height, request.view, time_ms, tuple(chosen))
        self._gossip.flush(Channel.CONSENSUS)
        if len(chosen) <= MAX_HASHES and sum([len(tx.envelope) for tx in chosen]) >= DRAFT_FROM_BYTES:
            hashes = tuple([tx.envelope_hash for tx in chosen])
            self._outbox.broadcast(
                BlockDraft(request.height, request.view, time_ms, tip.block_id, hashes), Channel.CONSENSUS
            )
            self._outbox.set_timer(Timer.EXECUTE, 0)
        else:
            self.execute_prepared()

    def execute_prepared(self) -> None:
        """Execute the leader's choice and answer the replica."""
        prepared, self._prepared = self._prepared, None
        request = self._building
        if prepared is None or request is None or (request.height, request.view) != (prepared.height, prepared.view):
            return
        execution = self._execute_what_works(prepared)
        if execution is None:
            return
        proposer = self._chain.validators(prepared.height).leader(prepared.height, prepared.view)
        block = self._executor.block(self._executor.header(execution, proposer), execution)
        self._building = None
        self._executed(block, execution)
        self._keep(block)
        self._start_interval(block)
        self._answer(BlockBuilt(prepared.height, prepared.view, block))

    def _execute_what_works(self, prepared: _Prepared) -> Execution | None:
        """Execute; leave out a transaction that the application fails on, so that one bug does not stop the chain."""
        transactions = prepared.transactions
        while True:
            started_ns = self._stopwatch()
            try:
                execution = self._executor.execute(prepared.time_ms, transactions)
            except BlockInvalid as refusal:
                raise InvariantBroken(f"the mempool holds what no block may contain: {refusal}") from refusal
            except ExecutionFailed as failure:
                self._outbox.add(Warned("execution_failed", str(failure)))
                if failure.tx is None:
                    return None
                self._mempool.drop(failure.tx)
                transactions = tuple([tx for tx in transactions if tx is not failure.tx])
                if not transactions:
                    return None
                continue
            operations = sum([len(tx.operations) for tx in transactions])
            self._budget.took(operations, self._stopwatch() - started_ns)
            return execution

    def _start_interval(self, block: Block) -> None:
        """If we lead next, our block may not be started before the interval is over (A1)."""
        height = block.header.height
        if not block.envelopes or self._own_key is None:
            return
        validators = self._chain.validators(height)
        if validators.leader(height + 1, 0) == validators.index_of(self._own_key):
            self.interval.start(height, self._next.parameters.min_block_interval_ms)

    def _interval_runs(self) -> bool:
        full = self._budget.operations(self._next.parameters.max_block_operations)
        return self.interval.runs(self._mempool.operations, full)

    # -- replicas ------------------------------------------------------------------------------------------------------

    def drafted(self, peer: PeerKey, draft: BlockDraft, view: int) -> None:
        """A leader's hint: execute now what it will probably propose (protocol rule 14). One for a view."""
        tip = self._chain.tip()
        validators = self._chain.validators(tip.height + 1)
        leader = validators.members[validators.leader(draft.height, draft.view)].public_key
        if (draft.height, draft.view) != (tip.height + 1, view) or draft.parent_id != tip.block_id or peer != leader:
            return
        if self._validating is not None or self._drafted_view == (draft.height, draft.view):
            return
        self._drafted_view = (draft.height, draft.view)
        self._draft = draft
        found, missing = self._mempool.resolve_all(draft.envelope_hashes)
        if missing:
            self._bodies.want(missing, [peer], self._room_bytes(found))
        else:
            self._execute_draft(found)

    def _execute_draft(self, transactions: Sequence[SignedTransaction]) -> None:
        draft, self._draft = self._draft, None
        if draft is None or draft.time_ms <= self._chain.tip().time_ms:
            return
        try:
            self._executor.execute(draft.time_ms, transactions)
        except (BlockInvalid, ExecutionFailed):
            return  # only a hint: what is wrong with it is said about the proposal

    def validate(self, request: ValidateBlock, senders: Sequence[PeerKey]) -> None:
        """The replica wants a proposal's block; `senders` should have its bodies."""
        self._validating = request
        self._draft = None
        header, hashes = request.proposal.header, request.proposal.envelope_hashes
        try:
            self._executor.check_header(header, hashes)
            if request.fresh:
                leader = self._chain.validators(request.height).leader(request.height, request.view)
                self._executor.check_fresh(header, leader, self._clock.now_ms)
        except BlockInvalid as refusal:
            self._refuse(request, refusal.code)
            return
        found, missing = self._mempool.resolve_all(hashes)
        if missing:
            self._bodies.want(missing, senders, self._room_bytes(found))
        else:
            self._bodies.cancel()
            self._finish_validation(request, found)

    def _room_bytes(self, found: Sequence[SignedTransaction]) -> int:
        """How much the missing bodies of a block may take besides those that are here (protocol rule 14)."""
        return self._next.parameters.max_block_bytes - sum([len(tx.envelope) for tx in found])

    def bodies_too_large(self) -> None:
        """The bodies of the proposal are more than a block may hold."""
        request = self._validating
        if request is not None:
            self._refuse(request, "block_too_large")

    def bodies_complete(self) -> None:
        """All bodies that were missing are here."""
        request, draft = self._validating, self._draft
        if request is not None:
            found, missing = self._mempool.resolve_all(request.proposal.envelope_hashes)
            if not missing:
                self._finish_validation(request, found)
        elif draft is not None:
            found, missing = self._mempool.resolve_all(draft.envelope_hashes)
            if not missing:
                self._execute_draft(found)

    def _finish_validation(self, request: ValidateBlock, transactions: Sequence[SignedTransaction]) -> None:
        header = request.proposal.header
        try:
            execution = self._executor.execute(header.time_ms, transactions)
            self._executor.check_results(header, execution)
        except BlockInvalid as refusal:
            self._refuse(request, refusal.code)
            return
        except ExecutionFailed as failure:
            self._outbox.add(Warned("execution_failed", str(failure)))
            self._refuse(request, "block_execution_failed")
            return
        block = self._executor.block(header, execution)
        self._validating = None
        self._executed(block, execution)
        self._keep(block)
        self._start_interval(block)
        self._answer(BlockValidated(request.height, request.view, block))

    def _refuse(self, request: ValidateBlock, code: str) -> None:
        self._validating = None
        self._bodies.cancel()
        block_id = request.proposal.header.id(self._genesis.suite)
        self._outbox.add(Warned("block_refused", f"height {request.height} view {request.view}: {code}"))
        self._answer(BlockRefused(request.height, request.view, block_id, code))

    # -- whole blocks --------------------------------------------------------------------------------------------------

    def fetch(self, request: FetchBlock, senders: Sequence[PeerKey]) -> None:
        """This node leads a new view and must repeat a prepared block that it lacks."""
        known = self._candidates.get(request.block_id)
        if known is not None:
            self._answer(BlockFetched(request.height, request.view, known))
            return
        self._fetching = request
        self._block_fetch.want(request.height, request.block_id, senders)

    def decided_by_id(self, height: int, block_id: bytes, certificate: Certificate, senders: Sequence[PeerKey]) -> None:
        """The replica knows what was decided, but not the block itself; `senders` signed it."""
        known = self._candidates.get(block_id)
        if known is not None:
            self._commit(known, certificate)
            return
        self._certified = certificate
        request = self._validating
        if request is not None and request.proposal.header.id(self._genesis.suite) == block_id:
            # A few bodies are cheaper than the whole block; when they are here, the replica decides once more.
            self._bodies.hurry()
            self._block_fetch.want(height, block_id, senders, self._limits.fetch_timeout_ms)
        else:
            self._block_fetch.want(height, block_id, senders)

    def block_fetched(self, block: Block) -> None:
        """A whole block came: commit it if it is the decided one, else it is for a new view."""
        certificate = self._certified
        if certificate is not None and certificate.block_id == block.header.id(self._genesis.suite):
            self._commit(block, certificate)
        else:
            self._repeat(block)

    def _repeat(self, block: Block) -> None:
        """A block that was fetched for a new view: its transactions are verified and kept, then the replica goes on."""
        request, self._fetching = self._fetching, None
        if request is None:
            return
        for envelope in block.envelopes:
            try:
                self._mempool.add_body(envelope)
            except Rejected as refusal:
                self._outbox.add(Warned("prepared_block_invalid", refusal.code))
                return
        self._keep(block)
        self._answer(BlockFetched(request.height, request.view, block))

    def restore(self, recovered: Sequence[bytes]) -> None:
        """Take blocks of the open height from the vote log's records: after a power cut of all nodes their bodies
        exist nowhere else (protocol rule 1).
        """
        height = self._chain.tip().height + 1
        for data in recovered:
            record = decode_record(data)
            if isinstance(record, Block) and record.header.height == height:
                try:
                    for envelope in record.envelopes:
                        self._mempool.add_body(envelope)
                except Rejected as refusal:
                    raise InvariantBroken(f"a block in the vote log is invalid: {refusal}") from refusal
                self._keep(record)

    def candidate(self, block_id: bytes) -> Block | None:
        """A block of the open height that was built, validated, fetched or restored here."""
        return self._candidates.get(block_id)

    def _keep(self, block: Block) -> None:
        self._candidates[block.header.id(self._genesis.suite)] = block
        if len(self._candidates) > KEPT_BLOCKS:
            self._candidates.popitem(last=False)

    def committed(self) -> None:
        """The height is over: nothing that was wanted for it is wanted any more."""
        self._building = None
        self._prepared = None
        self._validating = None
        self._draft = None
        self._fetching = None
        self._certified = None
        self._block_fetch.cancel()
        self._bodies.cancel()
        self._candidates.clear()
        self._outbox.cancel_timer(Timer.EXECUTE)
