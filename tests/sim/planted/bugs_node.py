"""Planted bugs of a whole node: execution, blocks' contents, catch-up, transactions; and of a market's register."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from common.core.block import Block
from common.core.certificate import Certificate, verify_certificate
from common.core.codec import Reader
from tests.sim.planted.bug import bug
from tests.sim.planted.substitutes import doing_nothing, ignoring, lenient_certificate

Original = Callable[..., Any]


@bug(
    "safety",
    "catch-up",
    "common.core.block:Block.check_body",
    "common.node.logic.execution.executor:Executor.check_header",
)
def body_not_checked_against_hashes(original: Original) -> Any:
    """A header's block may have any body (attack E7)."""
    return ignoring(original, "block_body_mismatch")


@bug("safety", "leader of nodes", "common.node.logic.execution.executor:Executor.check_fresh")
def time_of_fresh_blocks_unchecked(original: Original) -> Any:
    """A fresh block may come from the future (attack C15)."""
    return ignoring(original, "block_time_ahead")


@bug("safety", "leader of nodes", "common.node.logic.execution.executor:Executor.check_header")
def empty_blocks_at_any_time(original: Original) -> Any:
    """An empty block need not wait for the heartbeat (protocol rule 4)."""
    return ignoring(original, "block_empty_too_early")


@bug("safety", "node", "common.node.store.chain_reader:ChainReader.used_nonce")
def nonce_replay_accepted(original: Original) -> Any:
    """No nonce counts as used (attack N4)."""
    return doing_nothing(original)


@bug(
    "safety", "node", "common.node.logic.execution.executor:check_expiry", "common.node.logic.pool.mempool:check_expiry"
)
def expiry_ignored(original: Original) -> Any:
    """A transaction is valid for ever (protocol rule 12)."""
    return doing_nothing(original)


@bug("safety", "node", "common.node.logic.pool.mempool:verify_signatures")
def transaction_signature_unchecked(original: Original) -> Any:
    """Anybody can send anything in anybody's name."""
    return doing_nothing(original)


@bug("safety", "node", "common.chain.application:OverlayView.rollback")
def rejected_transaction_keeps_its_writes(original: Original) -> Any:
    """What a refused transaction wrote stays (protocol rule 11)."""

    @functools.wraps(original)
    def rollback(self: Any) -> None:
        self._journal.clear()

    return rollback


def _not_comparing(original: Original, field: str) -> Any:
    return ignoring(original, f"block_{field}", "block_header_mismatch")


@bug("safety", "leader of nodes", "common.node.logic.execution.executor:Executor.check_results")
def state_root_not_compared(original: Original) -> Any:
    """A block whose state root is not what it executes to gets votes."""
    return _not_comparing(original, "state_root")


@bug("safety", "leader of nodes", "common.node.logic.execution.executor:Executor.check_results")
def receipt_root_not_compared(original: Original) -> Any:
    """A block whose receipt root is not what it executes to gets votes."""
    return _not_comparing(original, "receipt_root")


@bug("safety", "leader of nodes", "common.node.logic.execution.executor:Executor.check_results")
def snapshot_root_not_compared(original: Original) -> Any:
    """A block whose snapshot root is not what it executes to gets votes."""
    return _not_comparing(original, "snapshot_root")


@bug("safety", "leader of nodes", "common.node.logic.execution.executor:Executor.check_results")
def snapshot_count_not_compared(original: Original) -> Any:
    """A block that promises other snapshots than it makes gets votes."""
    return _not_comparing(original, "snapshot_count")


@bug("safety", "leader of nodes", "common.node.logic.execution.executor:Executor.check_results")
def next_set_not_compared(original: Original) -> Any:
    """A leader may name the next set as it likes."""
    return _not_comparing(original, "next_validators_hash")


@bug(
    "safety",
    "leader of nodes",
    "common.node.logic.execution.executor:Executor.check_header",
    "common.node.logic.execution.executor:Executor.check_results",
)
def protocol_version_unchecked(original: Original) -> Any:
    """A block of rules that are not in force gets votes (protocol rule 8). Two checks see it: both are taken out."""
    return ignoring(original, "block_protocol_version", "block_header_mismatch")


@bug("safety", "catch-up", "common.node.logic.catchup.sync:verify_certificate")
def blocks_taken_without_certificate(original: Original) -> Any:
    """Catch-up believes its peers (attack C17)."""
    return doing_nothing(original)


@bug("safety", "catch-up", "common.node.logic.catchup.sync:verify_certificate")
def catch_up_takes_too_few_signatures(original: Original) -> Any:
    """A certificate below the quorum is good enough for catch-up (attack C4)."""
    return lenient_certificate(original, too_few=True)


@bug("safety", "catch-up", "common.node.logic.catchup.sync:verify_certificate")
def catch_up_takes_stale_certificates(original: Original) -> Any:
    """A valid certificate of any block is good for every block (attack C17)."""
    return lenient_certificate(original, block=True)


@bug("safety", "catch-up", "common.node.logic.catchup.sync:verify_certificate")
def catch_up_takes_forged_signatures(original: Original) -> Any:
    """Signatures in a certificate are counted, not verified (attack C8)."""
    return lenient_certificate(original, signatures=True)


@bug(
    "safety",
    "catch-up",
    "common.node.logic.catchup.sync:verify_certificate",
    "common.core.certificate:Certificate.decode",
)
def catch_up_counts_a_signer_twice(original: Any) -> Any:
    """One signature fills two places of a certificate (attack C4)."""
    if isinstance(original, classmethod):
        return classmethod(_decode_any_order(original.__func__))
    return lenient_certificate(original, duplicates=True)


def _decode_any_order(original: Original) -> Any:
    @functools.wraps(original)
    def decode(cls: Any, data: bytes) -> Any:
        reader = Reader(data)
        reader.u8()
        height, view, block_id, count = reader.u64(), reader.u64(), reader.fixed(32), reader.u16()
        if count > 100:
            return original(cls, data)
        signatures = tuple((reader.u16(), reader.blob(256)) for _ in range(count))
        reader.end()
        return Certificate(height, view, block_id, signatures)

    return decode


@bug(
    "safety",
    "catch-up",
    "common.node.logic.catchup.sync:CatchUp._verify",
    "common.node.logic.agreement.committer:Committer.commit",
)
def catch_up_lowers_the_height(original: Original) -> Any:
    """Any certified block of the past is taken as the next one (attack C17)."""

    @functools.wraps(original)
    def _verify(self: Any, received: Any) -> Any:
        block, certificate = Block.decode(received.block), Certificate.decode(received.certificate)
        verify_certificate(self._genesis.suite, self._chain.validators(block.header.height), block.header, certificate)
        return block, certificate

    @functools.wraps(original)
    def commit(self: Any, block: Block, *rest: Any, **more: Any) -> None:
        if block.header.height <= self._chain.tip().height and not self.busy:
            self._execution(block)
        original(self, block, *rest, **more)

    return _verify if original.__name__ == "_verify" else commit


@bug("safety", "node", "common.node.logic.node_outbox:NodeOutbox.add")
def final_before_it_is_durable(original: Original) -> Any:
    """Records of the vote log are dropped on their way to the disk (protocol rule 1)."""

    @functools.wraps(original)
    def add(self: Any, effect: Any) -> None:
        if type(effect).__name__ != "Persist":
            original(self, effect)

    return add


@bug("liveness", "node", "common.node.logic.catchup.sync:CatchUp._ask")
def catch_up_never_asks(original: Original) -> Any:
    """A node that fell behind stays behind."""
    return doing_nothing(original)


@bug("liveness", "node", "common.node.logic.node:Node._update_work")
def transactions_never_lead_to_a_block(original: Original) -> Any:
    """The replica is told of work once, and never again (protocol rule 4)."""

    @functools.wraps(original)
    def _update_work(self: Any) -> None:
        if self._chain.tip().height < 2:
            original(self)

    return _update_work


@bug("liveness", "node", "common.node.logic.pool.body_fetch:BodyFetch.want")
def missing_bodies_never_fetched(original: Original) -> Any:
    """A replica that lacks a transaction waits for it without asking."""
    return doing_nothing(original)


@bug("liveness", "node", "common.node.logic.pool.mempool:Mempool.committed")
def committed_transactions_stay_pending(original: Original) -> Any:
    """The mempool goes on to offer what is final."""
    return doing_nothing(original)


# A market's register


@bug("safety", "shares", "business_chain.ledger:Ledger.move")
def transfer_credits_without_debit(original: Original) -> Any:
    """The buyer gets shares that the seller keeps."""

    @functools.wraps(original)
    def move(self: Any, movement: Any, holder: Any, after: Any, **rest: Any) -> None:
        if after.figures.held < holder.before.figures.held:
            after = holder.before
        original(self, movement, holder, after, **rest)

    return move


@bug("safety", "shares", "business_chain.ledger:Ledger._count_holder")
def holders_not_counted(original: Original) -> Any:
    """The product's holder count stays what it was, so a register is no longer provably complete (protocol rule 13)."""
    return doing_nothing(original)


@bug("safety", "shares", "business_chain.operations.binding_operations:_cover")
def a_release_frees_what_is_frozen(original: Original) -> Any:
    """A pledge does not know what freezes lie on it, so its release frees the shares that a court has frozen."""
    return lambda *_: 0


@bug("safety", "shares", "business_chain.operations.registrations:check_available")
def more_than_available_may_move(original: Original) -> Any:
    """Pledged and frozen shares can be sold, and shares that nobody has."""
    return doing_nothing(original)
