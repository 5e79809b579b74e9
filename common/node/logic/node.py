"""One node of a chain: takes events, returns effects, does nothing itself (protocol rule 23).

The node joins the replica (agreement), the mempool, the executor, the chain store, gossip, body fetch and catch-up.
It is driven by the asyncio runtime or by the simulator under the contracts in `node_events` and `node_effects`, from
one thread.

Invariants
  N1  A step never raises for input: what a peer or client did wrong ends as a refusal, a warning or a closed channel.
      `InvariantBroken` means a bug or damaged local data, and the node must stop.
  N2  The replica is told that work is pending only while this node is level with the network and holds a transaction
      that is valid on committed state, or a heartbeat is overdue (protocol rule 4).
  N3  The wall clock decides block times only; waiting is done with timers.
  N4  A height of a protocol version that this software does not know is not entered: the node halts (attack C19).

Left out: sockets, files, clocks, tasks (`runtime`), HTTP (`service`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from common.chain.application import Application
from common.chain.schedule import check_supported
from common.consensus.events import WorkPending
from common.core.errors import Rejected, Unavailable
from common.core.genesis import Genesis
from common.core.protocol import supported_versions as versions_of_software
from common.core.validators import ValidatorSet
from common.node.logic.agreement.accuser import Accuser
from common.node.logic.agreement.block_assembly import BlockAssembly
from common.node.logic.agreement.committer import Committer
from common.node.logic.agreement.consensus_driver import ConsensusDriver
from common.node.logic.agreement.liveness import Heartbeat, QuietStatus
from common.node.logic.catchup.block_fetch import BlockFetch
from common.node.logic.catchup.checkpoint_format import CheckpointSource, NoCheckpoints
from common.node.logic.catchup.peer_table import PeerTable
from common.node.logic.catchup.serving import Serving
from common.node.logic.catchup.sync import CatchUp
from common.node.logic.execution.executor import Executor
from common.node.logic.node_effects import Disconnect, Halt, MakeCheckpoint, NodeEffect, Warned
from common.node.logic.node_events import (
    BlockWritten,
    NodeEvent,
    PeerConnected,
    PeerDisconnected,
    PeerKey,
    PeerMessage,
    Started,
    Timer,
    TimerExpired,
)
from common.node.logic.node_outbox import NodeOutbox
from common.node.logic.node_questions import NodeQuestions
from common.node.logic.node_status import NodeLimits, TransactionState
from common.node.logic.pool.body_fetch import BodyFetch, FetchProgress
from common.node.logic.pool.gossip import Gossip
from common.node.logic.pool.mempool import Mempool
from common.node.logic.pool.transaction_intake import TransactionIntake
from common.node.logic.step_clock import StepClock
from common.node.logic.wire.checkpoint_messages import GetCheckpoints, GetHeaders, GetPart, Pruned
from common.node.logic.wire.peer_messages import (
    AnswerBlocks,
    AnswerBody,
    AnswerTransactions,
    BlockDraft,
    Consensus,
    GetBlocks,
    GetBody,
    GetTransactions,
    Hello,
    PeerPayload,
    Status,
    Transactions,
    decode_payload,
)
from common.node.store.chain_store import ChainStore
from common.node.store.committed_state import CommittedState

UNKNOWN_KINDS = frozenset({"peer_message_kind", "consensus_version", "consensus_type"})
"""What a newer version may send during a rolling upgrade: skipped, not punished (attack C19)."""


class Node(NodeQuestions):
    """See the module docstring. `submit`, `hello_for` and the queries are called from the thread that calls `step`."""

    def __init__(
        self,
        *,
        genesis: Genesis,
        application: Application,
        chain: ChainStore,
        seed: bytes | None,
        recovered: Sequence[bytes] = (),
        limits: NodeLimits | None = None,
        stopwatch: Callable[[], int] = lambda: 0,
        may_vote: bool = True,
        abstain_through_height: int = 0,
        supported_versions: Sequence[int] | None = None,
        checkpoints: CheckpointSource | None = None,
    ) -> None:
        """A node over an initialised chain store.

        `seed` is the validator key, None for an observer. `recovered` are the vote log's records. `may_vote` is False
        if the log or the database went backwards (attack C16); `abstain_through_height` forbids votes up to a height
        instead. `supported_versions`: protocol versions to know instead of those of this software. `stopwatch` gives
        nanoseconds of processor time, for sizing blocks only.
        """
        self._genesis = genesis
        self._chain = chain
        self._limits = limits = limits or NodeLimits()
        self._own_key = None if seed is None else genesis.suite.public_key(seed)
        self._state = CommittedState(chain)
        self._supported_versions = versions_of_software() if supported_versions is None else tuple(supported_versions)
        self._halted = self._work_pending = False
        self._view_told = (0, 0)
        self._clock = StepClock()
        executor = Executor(genesis, application, chain)
        self._next = executor.next_block
        self._outbox = NodeOutbox()
        self._peers = PeerTable()
        self._mempool = Mempool(genesis, application, chain, self._next, limits, failed=self._check_failed)
        self._gossip = Gossip(self._outbox, limits)
        self._bodies = BodyFetch(genesis.suite, self._mempool, self._outbox, limits, self._members)
        self._intake = TransactionIntake(genesis.suite, self._mempool, self._bodies, self._outbox)
        self._block_fetch = BlockFetch(genesis.suite, self._outbox, limits, self._members)
        self._heartbeat = Heartbeat(chain, self._outbox, executor.empty_after_ms)
        self._quiet = QuietStatus(chain, self._outbox)
        self._committer = Committer(chain, executor, self._mempool, self._outbox)
        self._assembly = self._make_assembly(executor, stopwatch)
        self._serving = Serving(
            chain, self._mempool, self._outbox, self._assembly.candidate, checkpoints or NoCheckpoints()
        )
        self._sync = CatchUp(
            genesis=genesis,
            chain=chain,
            peers=self._peers,
            outbox=self._outbox,
            limits=limits,
            commit=self._committer.commit,
            busy=lambda: self._committer.busy,
        )
        self._accuser = Accuser(
            genesis=genesis,
            application=application,
            chain=chain,
            next_block=self._next,
            mempool=self._mempool,
            outbox=self._outbox,
            seed=seed,
            submit=self._submit_own,
        )
        self._driver = self._make_driver(seed, tuple(recovered), may_vote, abstain_through_height)
        self._assembly.restore(recovered)

    def _make_assembly(self, executor: Executor, stopwatch: Callable[[], int]) -> BlockAssembly:
        return BlockAssembly(
            genesis=self._genesis,
            chain=self._chain,
            executor=executor,
            mempool=self._mempool,
            gossip=self._gossip,
            outbox=self._outbox,
            bodies=self._bodies,
            block_fetch=self._block_fetch,
            limits=self._limits,
            clock=self._clock,
            stopwatch=stopwatch,
            own_key=self._own_key,
            executed=self._committer.executed,
            commit=self._committer.commit,
            answer=lambda event: self._driver.deliver(event),
        )

    def _make_driver(
        self, seed: bytes | None, recovered: tuple[bytes, ...], may_vote: bool, abstain_through_height: int
    ) -> ConsensusDriver:
        return ConsensusDriver(
            genesis=self._genesis,
            chain=self._chain,
            next_block=self._next,
            seed=seed,
            recovered=recovered,
            may_vote=may_vote,
            abstain_through_height=abstain_through_height,
            outbox=self._outbox,
            clock=self._clock,
            peers=self._peers,
            assembly=self._assembly,
            committer=self._committer,
            serving=self._serving,
            sync=self._sync,
            accused=self._accuser.saw,
        )

    @property
    def _validators(self) -> ValidatorSet:
        return self._chain.validators(self._chain.tip().height + 1)

    def _members(self) -> Sequence[PeerKey]:
        """Keys of connected members: observers have no bodies of open heights."""
        validators = self._validators
        return [validators.members[index].public_key for index in self._peers.members(validators)]

    def _check_failed(self, what: str) -> None:
        self._outbox.add(Warned("check_failed", what))

    def _submit_own(self, envelope: bytes) -> None:
        """A transaction that this node makes itself. Raises `Rejected`."""
        if self._mempool.admit(envelope).fresh:
            self._gossip.add(envelope)

    # -- events --------------------------------------------------------------------------------------------------------

    def step(self, event: NodeEvent, now_ms: int) -> list[NodeEffect]:
        """Absorb one event; return what must be done, in order. Raises `InvariantBroken` only (N1)."""
        self._clock.now_ms = now_ms
        if self._halted:
            return []
        match event:
            case PeerMessage():
                if not self._on_message(event.peer, event.payload):
                    return []
            case TimerExpired():
                if self._outbox.expired(event.timer, event.token):
                    self._assembly.interval.came_late(event.timer, event.late_us)
                    self._on_timer(event.timer)
            case BlockWritten():
                self._on_written(event.height)
            case PeerConnected():
                self._on_connected(event)
            case PeerDisconnected():
                self._on_disconnected(event.peer)
            case Started():
                self._driver.start_if_ready()
                self._heartbeat.arm(self._clock.now_ms, just_committed=False)
        return self._finish()

    def submit(self, envelope: bytes, now_ms: int) -> tuple[TransactionState, list[NodeEffect]]:
        """Take a client's transaction, or say what became of it (protocol rule 25). Raises `Rejected`; an observer
        refuses with `Unavailable('not_a_validator')`, since nobody takes transactions from it (attack C9).
        """
        if self._validators.index_of(self._own_key) is None:
            raise Unavailable("not_a_validator", "this node observes; send the transaction to a validator of its chain")
        self._clock.now_ms = now_ms
        admission = self._mempool.admit(envelope)
        tx = admission.tx
        if admission.committed:
            return self.transaction_state(tx.id), []
        if admission.fresh:
            self._gossip.add(tx.envelope)
            if self._bodies.arrived([tx.envelope_hash]):
                self._assembly.bodies_complete()
        return TransactionState(tx.id, "pending"), self._finish()

    def _finish(self) -> list[NodeEffect]:
        """What follows from every event: tell the replica about work, start what has become possible."""
        if self._halted:
            return self._outbox.take()
        self._update_work()
        self._assembly.try_build()
        if view := self._driver.view:
            self._tell_leader(view)
        return self._outbox.take()

    def _update_work(self) -> None:
        """N2."""
        due = self._mempool.size_bytes > 0 or self._heartbeat.due
        pending = due and self._driver.started and not self._sync.syncing
        if pending != self._work_pending:
            self._work_pending = pending
            self._driver.deliver(WorkPending(pending))

    def _tell_leader(self, view: int) -> None:
        """On entering a view, pending transactions go to its leader: it cannot censor longer than a view (rule 4)."""
        entered = (self._chain.tip().height + 1, view)
        if entered == self._view_told:
            return
        self._view_told, validators = entered, self._validators
        leader = validators.members[validators.leader(*entered)].public_key
        if leader in self._peers.keys:
            self._gossip.tell(leader, self._mempool.oldest(self._mempool.max_block_bytes))

    # -- peers ---------------------------------------------------------------------------------------------------------

    def _on_connected(self, event: PeerConnected) -> None:
        peer = event.peer
        try:
            hello = Hello.decode(event.hello)
            self._peers.connect(peer, hello.tip_height)
            self._driver.greet(peer, hello.evidence)
        except Rejected as refusal:
            self._punish(peer, refusal.code)
            return
        self._bodies.peer_connected(peer)
        self._block_fetch.peer_connected(peer)
        if self._validators.index_of(peer) is not None:
            self._gossip.tell(peer, self._mempool.oldest(self._mempool.max_block_bytes))
        self._sync.consider()

    def _on_disconnected(self, peer: PeerKey) -> None:
        self._peers.disconnect(peer)
        self._bodies.peer_disconnected(peer)
        self._block_fetch.peer_disconnected(peer)
        self._sync.peer_disconnected(peer)
        self._driver.disconnected(peer)

    def _punish(self, peer: PeerKey, code: str) -> None:
        """Close the channel to a peer that broke the protocol, and forget it as if it had gone."""
        self._outbox.add(Warned("peer_broke_protocol", code, peer))
        self._outbox.add(Disconnect(peer, code, self._limits.misbehaviour_pause_ms))
        self._on_disconnected(peer)

    def _on_message(self, peer: PeerKey, payload: bytes) -> bool:
        """Whether anything may follow: nothing does from most votes, those before a quorum and those after it."""
        if peer not in self._peers.keys:
            return False
        try:
            message = decode_payload(payload)
            if isinstance(message, Consensus):
                return self._driver.received(peer, message.message)
            self._dispatch(peer, message)
        except Rejected as refusal:
            if refusal.code in UNKNOWN_KINDS:
                self._outbox.add(Warned("peer_message_skipped", refusal.code, peer))
            else:
                self._punish(peer, refusal.code)
        return True

    def _dispatch(self, peer: PeerKey, message: PeerPayload) -> None:
        """Raises `Rejected` if the peer must have known better."""
        match message:
            case Transactions():
                if self._intake.gossiped(peer, message.envelopes):
                    self._assembly.bodies_complete()
            case BlockDraft():
                self._assembly.drafted(peer, message, self._driver.view)
            case GetTransactions():
                self._serving.transactions(peer, message, self._clock.now_ms)
            case AnswerTransactions():
                self._on_bodies(self._bodies.answered(peer, message))
            case GetBlocks():
                self._serving.blocks(peer, message, self._clock.now_ms)
            case AnswerBlocks():
                self._sync.answered(peer, message)
            case GetBody():
                self._serving.body(peer, message, self._clock.now_ms)
            case AnswerBody():
                block = self._block_fetch.answered(peer, message)
                if block is not None:
                    self._assembly.block_fetched(block)
            case GetHeaders():
                self._serving.headers(peer, message, self._clock.now_ms)
            case GetCheckpoints():
                self._serving.checkpoints(peer, message)
            case GetPart():
                self._serving.part(peer, message, self._clock.now_ms)
            case Pruned():
                self._sync.pruned(peer, message)
            case Status():
                self._peers.set_claim(peer, message.tip_height)
                self._driver.start_if_ready()
                self._driver.level(peer, message.tip_height)
                self._sync.consider()

    def _on_bodies(self, progress: FetchProgress) -> None:
        if progress is FetchProgress.COMPLETE:
            self._assembly.bodies_complete()
        elif progress is FetchProgress.TOO_LARGE:
            self._assembly.bodies_too_large()

    # -- timers --------------------------------------------------------------------------------------------------------

    def _on_timer(self, timer: Timer) -> None:
        match timer:
            case Timer.VIEW:
                self._driver.timer_expired()
            case Timer.BUILD:
                self._assembly.interval.expired()  # `_finish` builds
            case Timer.EXECUTE:
                self._assembly.execute_prepared()
            case Timer.HEARTBEAT:
                self._heartbeat.timer_expired(self._clock.now_ms)
            case Timer.INTAKE:
                for peer, code in self._intake.take_turn():
                    self._punish(peer, code)
            case Timer.GOSSIP:
                self._gossip.timer_expired()
            case Timer.FETCH:
                self._bodies.timed_out()
            case Timer.BODY:
                self._block_fetch.timed_out()
            case Timer.SYNC:
                self._sync.timed_out()
            case Timer.STATUS:
                self._quiet.timer_expired()
            case Timer.ACCUSE:
                self._accuser.timer_expired()

    def _on_written(self, height: int) -> None:
        done = self._committer.written(height)
        if self._halts_before(height + 1):
            return
        self._assembly.committed()
        self._heartbeat.arm(self._clock.now_ms, just_committed=True)
        self._quiet.committed()
        if self._limits.checkpoint_blocks and height % self._limits.checkpoint_blocks == 0:
            self._outbox.add(MakeCheckpoint(self._chain.moment()))
        self._update_work()
        self._driver.committed(done.block.header, done.execution.next_validators)
        self._sync.committed()

    def _halts_before(self, height: int) -> bool:
        """N4."""
        try:
            check_supported(self._state, self._genesis, height, self._supported_versions)
        except Unavailable as unsupported:
            self._halted = True
            self._outbox.add(Halt(unsupported.code, unsupported.detail))
        return self._halted
