"""Brings double votes that this node has seen onto the chain: an evidence transaction for each, once in the network.

Every validator that saw an act may submit it, signed with its validator key (`evidence`, E3; ADR 0060). The members
take turns, from the one after the culprit on: whoever comes later finds the act on the chain, or on its way, and keeps
quiet.

Invariants
  A1  Only what proves somebody faulty is submitted: the same check as in consensus comes first.
  A2  At most `MAX_WAITING` acts wait, whatever a faulty validator signs (attack C13); what finds no room is still in
      the log and in the counters. An act is dropped once it is on the chain, refused for good, or after `ATTEMPTS`.
  A3  Nothing runs while nothing waits.

Left out: seeing (`agreement`), judging (`evidence`), acts seen before a restart (others saw them too).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from common.chain import evidence
from common.chain.application import Application
from common.consensus.contradiction import Statement, check_double_statement
from common.consensus.messages import ConsensusMessage
from common.core.errors import QuotaExceeded, Rejected, Unavailable
from common.core.genesis import Genesis
from common.core.transaction import sign_envelope
from common.node.logic.execution.next_block import NextBlock
from common.node.logic.node_events import Timer
from common.node.logic.node_outbox import NodeOutbox
from common.node.logic.pool.mempool import Mempool
from common.node.store.chain_store import ChainStore
from common.node.store.committed_state import CommittedState

MAX_WAITING: Final = 64
TURN_MS: Final = 400
"""Head start of each member before the next: some blocks of a busy chain, so that its transaction is final by then."""
RETRY_MS: Final = 5_000
ATTEMPTS: Final = 120
"""Ten minutes without a quorum; after that the act is in the log only."""
LIFE_BLOCKS: Final = 1_000
"""Blocks until a submitted transaction expires."""


@dataclass(slots=True)
class _Act:
    first: Statement
    second: Statement
    culprit: str
    attempts: int = 0


class Accuser:
    """See the module docstring. `submit` admits and gossips an envelope; raises `Rejected`."""

    def __init__(
        self,
        *,
        genesis: Genesis,
        application: Application,
        chain: ChainStore,
        next_block: NextBlock,
        mempool: Mempool,
        outbox: NodeOutbox,
        seed: bytes | None,
        submit: Callable[[bytes], None],
    ) -> None:
        self._genesis = genesis
        self._chain = chain
        self._next = next_block
        self._state = CommittedState(chain)
        self._mempool = mempool
        self._outbox = outbox
        self._seed = seed
        self._key = None if seed is None else genesis.suite.public_key(seed)
        self._submit = submit
        self._application = application
        self._waiting: dict[tuple[str, int, int, int], _Act] = {}

    def _takes_evidence(self) -> bool:
        return evidence.ACCUSE in self._application.operation_types(self._next.context().protocol_version)

    def saw(self, first: ConsensusMessage, second: ConsensusMessage) -> None:
        """Two verified messages of one member contradict each other; at most one act for each place waits."""
        if self._key is None or not self._takes_evidence() or len(self._waiting) >= MAX_WAITING:
            return
        genesis = self._genesis
        one, two = (Statement.of(message, genesis.suite, genesis.id, genesis.network) for message in (first, second))
        tip = self._chain.tip()
        validators = self._chain.validators(min(one.height, tip.height + 1))
        own_index = self._chain.validators(tip.height + 1).index_of(self._key)
        if own_index is None or one.height > tip.height + 1:
            return
        try:
            culprit = check_double_statement(one, two, validators, genesis.suite, genesis.id, genesis.network)
        except Rejected:
            return
        key = genesis.suite.format_key(culprit.public_key)
        if culprit.public_key == self._key or one.place in self._waiting:
            return
        if evidence.is_known(self._state, evidence.act_key(key, one), key):
            return
        self._waiting[one.place] = _Act(one, two, key)
        if not self._outbox.runs(Timer.ACCUSE):
            turn = (own_index - one.signer - 1) % validators.size
            self._outbox.set_timer(Timer.ACCUSE, turn * TURN_MS)

    def timer_expired(self) -> None:
        """Submit what is still news; look again later, in case it gets lost."""
        pending = {tuple(self._place(operation)) for operation in self._mempool.pending_operations(evidence.ACCUSE)}
        for place, act in list(self._waiting.items()):
            act.attempts += 1
            known = evidence.is_known(self._state, evidence.act_key(act.culprit, act.first), act.culprit)
            if known or act.attempts > ATTEMPTS or (place not in pending and not self._try(act)):
                del self._waiting[place]
        if self._waiting:
            self._outbox.set_timer(Timer.ACCUSE, RETRY_MS)

    @staticmethod
    def _place(operation: dict[str, object]) -> tuple[object, ...]:
        first = operation["first"]
        return tuple(first[name] for name in ("kind", "height", "view", "signer")) if isinstance(first, dict) else ()

    def _try(self, act: _Act) -> bool:
        """Submit once; False if trying again is of no use."""
        try:
            self._submit(self._envelope(act))
        except (Unavailable, QuotaExceeded):
            return True
        except Rejected:
            return False
        return True

    def _envelope(self, act: _Act) -> bytes:
        suite, seed, key = self._genesis.suite, self._seed, self._key
        if seed is None or key is None:
            raise Unavailable("accuser_silent", "a node without a validator key accuses nobody")
        height = self._chain.tip().height
        operation = {"type": evidence.ACCUSE, "first": act.first.to_json(), "second": act.second.to_json()}
        kind, at, view, signer = act.first.place
        transaction = {
            "network": self._genesis.network,
            "genesis": self._genesis.id.hex(),
            "signers": [suite.format_key(key)],
            "nonce": f"accuse-{at:x}-{view:x}-{kind}-{signer}-{height // LIFE_BLOCKS:x}",
            "expires_at_height": min(
                (height // LIFE_BLOCKS + 1) * LIFE_BLOCKS, height + self._next.parameters.max_expiry_blocks
            ),
            "operations": [operation],
        }
        return sign_envelope(transaction, [seed], suite)
