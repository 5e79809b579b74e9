"""Makes the parts of a node and joins them. No behaviour of its own.

Left out: which event goes to which part (`node`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from common.chain.application import Application
from common.core.genesis import Genesis
from common.node.logic.agreement.accuser import Accuser
from common.node.logic.agreement.agreement_work import AgreementWork
from common.node.logic.agreement.block_assembly import BlockAssembly
from common.node.logic.agreement.committer import Committer
from common.node.logic.agreement.consensus_driver import ConsensusDriver
from common.node.logic.agreement.liveness import Clock, Heartbeat, QuietStatus
from common.node.logic.agreement.pacing import BlockBudget
from common.node.logic.catchup.block_fetch import BlockFetch
from common.node.logic.catchup.checkpoint import CheckpointSource
from common.node.logic.catchup.serving import Serving
from common.node.logic.catchup.sync import CatchUp
from common.node.logic.execution.executor import Executor
from common.node.logic.node_effects import Warned
from common.node.logic.node_events import PeerKey
from common.node.logic.node_questions import NodeQuestions
from common.node.logic.node_status import NodeLimits
from common.node.logic.outbox import Outbox
from common.node.logic.peers import PeerTable
from common.node.logic.pool.body_fetch import BodyFetch
from common.node.logic.pool.gossip import Gossip
from common.node.logic.pool.mempool import Mempool
from common.node.logic.pool.transaction_intake import TransactionIntake
from common.node.store.chain_store import ChainStore


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSetup:
    """What a node is made of; see `node.Node` for the meaning of each."""

    genesis: Genesis
    application: Application
    chain: ChainStore
    seed: bytes | None
    recovered: tuple[bytes, ...]
    limits: NodeLimits
    stopwatch: Callable[[], int]
    may_vote: bool
    abstain_through_height: int
    checkpoints: CheckpointSource


class NodeParts:
    """The parts, by name."""

    def __init__(self, setup: NodeSetup) -> None:
        genesis, chain, limits = setup.genesis, setup.chain, setup.limits
        self._setup = setup
        self.own_key = None if setup.seed is None else genesis.suite.public_key(setup.seed)
        self.clock = Clock()
        self.outbox = Outbox()
        self.peers = PeerTable()
        self.mempool = Mempool(genesis, setup.application, chain, limits, failed=self._check_failed)
        self.gossip = Gossip(self.outbox, limits)
        self.bodies = BodyFetch(genesis.suite, self.mempool, self.outbox, limits, self._members)
        self.block_fetch = BlockFetch(genesis.suite, self.outbox, limits, self._members)
        self.heartbeat = Heartbeat(chain, self.outbox, genesis.parameters.heartbeat_ms)
        self.quiet = QuietStatus(chain, self.outbox)
        self.intake = TransactionIntake(genesis.suite, self.mempool, self.bodies, self.outbox)
        executor = Executor(genesis, setup.application, chain)
        self.committer = Committer(chain, executor, self.mempool, self.outbox)
        self.assembly = BlockAssembly(
            genesis=genesis,
            chain=chain,
            executor=executor,
            mempool=self.mempool,
            gossip=self.gossip,
            outbox=self.outbox,
            bodies=self.bodies,
            block_fetch=self.block_fetch,
            budget=BlockBudget(limits.block_execution_ms, genesis.parameters.max_block_operations),
            stopwatch=setup.stopwatch,
            own_key=self.own_key,
            answer=lambda event: self.driver.deliver(event),
        )
        self.serving = Serving(chain, self.mempool, self.outbox, self.assembly.candidate, setup.checkpoints)
        self.sync = CatchUp(
            genesis=genesis,
            chain=chain,
            peers=self.peers,
            outbox=self.outbox,
            limits=limits,
            commit=self.committer.commit,
            busy=lambda: self.committer.busy,
        )
        self.accuser = Accuser(
            genesis=genesis,
            application=setup.application,
            chain=chain,
            mempool=self.mempool,
            outbox=self.outbox,
            seed=setup.seed,
            submit=self._submit_own,
        )
        self.work = self._make_work()
        self.driver = self._make_driver()
        self.questions = NodeQuestions(
            network=genesis.network,
            own_key=self.own_key,
            chain=chain,
            peers=self.peers,
            mempool=self.mempool,
            driver=self.driver,
            sync=self.sync,
        )

    def _make_work(self) -> AgreementWork:
        return AgreementWork(
            suite=self._setup.genesis.suite,
            clock=self.clock,
            limits=self._setup.limits,
            peers=self.peers,
            assembly=self.assembly,
            bodies=self.bodies,
            block_fetch=self.block_fetch,
            committer=self.committer,
            serving=self.serving,
            sync=self.sync,
        )

    def _make_driver(self) -> ConsensusDriver:
        setup = self._setup
        return ConsensusDriver(
            genesis=setup.genesis,
            chain=setup.chain,
            seed=setup.seed,
            recovered=setup.recovered,
            may_vote=setup.may_vote,
            abstain_through_height=setup.abstain_through_height,
            outbox=self.outbox,
            work=self.work,
            connected_members=self._connected_members,
            level_members=self._level_members,
            is_connected=self.peers.__contains__,
            accused=self.accuser.saw,
        )

    def _check_failed(self, what: str) -> None:
        self.outbox.add(Warned("check_failed", what))

    def _submit_own(self, envelope: bytes) -> None:
        """A transaction that this node makes itself. Raises `Rejected`."""
        if self.mempool.admit(envelope).fresh:
            self.gossip.add(envelope)

    def _level_members(self) -> int:
        chain, height = self._setup.chain, self._setup.chain.tip().height
        return self.peers.level(chain.validators(height + 1), height)

    def _connected_members(self) -> Sequence[int]:
        chain = self._setup.chain
        return self.peers.members(chain.validators(chain.tip().height + 1))

    def _members(self) -> Sequence[PeerKey]:
        """Keys of connected members: observers have no bodies of open heights."""
        chain = self._setup.chain
        members = chain.validators(chain.tip().height + 1).members
        return [members[index].public_key for index in self._connected_members()]
