"""Faults of agreement, of what it signs, and of the values below it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from common.core.merkle import NODE_PREFIX
from tests.attacks.fault import fault, with_bound
from tests.sim.planted.substitutes import ignoring

Original = Callable[..., Any]
ENDLESS = 1 << 40


# Votes and quorums


@fault("common.core.validators:ValidatorSet.quorum")
def a_quorum_is_one_vote_less(original: Original) -> Any:
    """Fewer votes than any two quorums need to share an honest member."""
    return lambda self: max(original(self) - 1, 1)


@fault("common.core.validators:ValidatorSet.quorum")
def a_quorum_is_one_vote_more(original: Original) -> Any:
    """More votes than honest members alone give."""
    return lambda self: original(self) + 1


@fault("common.core.validators:ValidatorSet.quorum")
def two_votes_are_a_quorum(original: Original) -> Any:
    """However large the set is."""
    return lambda self: 2


@fault("common.consensus.agreement:VoteBook.add")
def a_vote_too_few_decides(original: Original) -> Any:
    """Votes count as a quorum before the last one has come."""

    def add(self: Any, vote: Any) -> None:
        self._quorum -= 1
        original(self, vote)
        self._quorum += 1

    return add


@fault("common.consensus.agreement:VoteBook.add")
def two_votes_decide(original: Original) -> Any:
    """Two votes count as a quorum."""

    def add(self: Any, vote: Any) -> None:
        self._quorum, quorum = 2, self._quorum
        original(self, vote)
        self._quorum = quorum

    return add


# Views


@fault("common.consensus.replica:Replica._on_proposal")
def later_views_need_no_new_view(original: Original) -> Any:
    """A proposal alone opens a view."""

    def on_proposal(self: Any, message: Any) -> bool:
        self._verifier.check_header(message, fresh=True)
        self._agreement.accept(message, fresh=True, senders=(message.leader,))
        return True

    return on_proposal


@fault("common.consensus.verification:highest_prepared")
def the_lowest_certificate_counts(original: Original) -> Any:
    """Of several prepared certificates the oldest is due."""

    def lowest_prepared(changes: Any) -> Any:
        held = [change.prepared for change in changes if change.prepared is not None]
        return min(held, key=lambda certificate: certificate.view, default=None)

    return lowest_prepared


@fault("common.consensus.view_change:ViewChanger.on_new_view")
def who_prepared_stands_by_its_block(original: Original) -> Any:
    """A lock: no justified new view is obeyed for another block."""

    def on_new_view(self: Any, message: Any) -> bool:
        locked = self._agreement.prepared
        if locked is not None and locked.block_id != message.proposal.header.id(self._suite):
            return False
        return bool(original(self, message))

    return on_new_view


@fault("common.consensus.agreement:Agreement.accept")
def repeated_blocks_are_judged_as_fresh(original: Original) -> Any:
    """Wall clock and proposer count for a re-proposal too."""
    return lambda self, proposal, *, fresh, senders: original(self, proposal, fresh=True, senders=senders)


@fault("common.consensus.verification:Verifier.check_header")
def a_repeated_block_needs_its_own_proposer(original: Original) -> Any:
    """The leader of a later view may not repeat another's block."""
    return lambda self, proposal, *, fresh: original(self, proposal, fresh=True)


@fault("common.consensus.view_change:ViewChanger.on_new_view")
def unjustified_new_views_are_judged_again(original: Original) -> Any:
    """Who has sent one may make us verify any number of them."""

    def on_new_view(self: Any, message: Any) -> bool:
        self._refused.clear()
        return bool(original(self, message))

    return on_new_view


@fault("common.consensus.voice:Voice.to_resend")
def everything_is_sent_again(original: Original) -> Any:
    """Whoever changes the view also repeats its votes of the view."""

    def to_resend(self: Any, view: int, *, changing: bool) -> list[Any]:
        messages = list(original(self, view, changing=True))
        return messages + [item for item in original(self, view, changing=False) if item not in messages]

    return to_resend


@fault("common.consensus.view_change:ViewChangeBook.view_to_join")
def one_member_moves_the_others(original: Original) -> Any:
    """A single VIEW-CHANGE for a higher view is joined."""
    return lambda self, current, fault_bound: original(self, current, 0)


@fault("common.consensus.replica:Replica._on_timer")
def any_expiry_counts(original: Original) -> Any:
    """Also that of a timer that was stopped or replaced."""

    def on_timer(self: Any, event: Any) -> None:
        self._timer = (event.height, event.view, 0)
        original(self, event)

    return on_timer


@fault("common.consensus.replica:Replica._receive")
def messages_count_after_the_decision(original: Original) -> Any:
    """A height goes on although it is decided."""

    def receive(self: Any, message: Any, sender: Any) -> None:
        agreement = self._agreement
        decision, agreement.decision = agreement.decision, None
        original(self, message, sender)
        agreement.decision = agreement.decision or decision

    return receive


@fault("common.consensus.agreement:Agreement.on_refused")
def a_refused_body_condemns_the_block(original: Original) -> Any:
    """What was wrong with one body is held against the id."""

    def on_refused(self: Any, view: int, block_id: bytes) -> None:
        original(self, view, block_id)
        self.decision = self.decision or False
        self._durable.add(block_id)

    return on_refused


# Members


@fault("common.consensus.voice:Voice.open_height")
def a_member_keeps_its_first_seat(original: Original) -> Any:
    """Changes of the set do not reach the replica's own place."""
    first: dict[int, Any] = {}
    return lambda self, height, index: original(self, height, first.setdefault(id(self), index))


@fault("common.consensus.replica:Replica.restore")
def nothing_is_abstained_from(original: Original) -> Any:
    """What peers have shown us before we started does not count."""
    return lambda self, *given, **named: original(self, *given, **{**named, "floor": None})


# Bounds


@fault("common.consensus.future:FutureMessages.keep")
def messages_of_the_future_without_number(original: Original) -> Any:
    """A peer may have any number of them kept."""
    return with_bound(original, "common.consensus.future:MAX_KEPT_MESSAGES_PER_PEER", ENDLESS)


@fault("common.consensus.future:FutureMessages.keep")
def messages_of_the_future_without_size(original: Original) -> Any:
    """A peer may have any number of bytes kept."""
    return with_bound(original, "common.consensus.future:MAX_KEPT_BYTES_PER_PEER", ENDLESS)


@fault("common.consensus.past:PastMessages.saw")
def past_messages_without_number(original: Original) -> Any:
    """Every message of the open height is remembered."""
    return with_bound(original, "common.consensus.past:_MAX_REMEMBERED", ENDLESS)


@fault("common.consensus.params:ConsensusParameters.timeout_ms")
def time_outs_grow_for_ever(original: Original) -> Any:
    """They double without their cap."""
    return lambda self, view: self.view_timeout_ms << min(view, 32)


# What is durable


@fault("common.consensus.step_effects:StepEffects.persist")
def a_vote_is_durable_without_what_it_rests_on(original: Original) -> Any:
    """Of several records the last one alone is kept."""
    return lambda self, *records: original(self, records[-1])


@fault("common.consensus.recovery:recover")
def own_messages_are_not_recovered(original: Original) -> Any:
    """A restarted replica does not know what it has signed."""

    def recover(*given: Any) -> Any:
        recovered = original(*given)
        recovered.own.clear()
        return recovered

    return recover


# What is signed and hashed


@fault("common.core.certificate:commit_payload")
def commits_name_no_view(original: Original) -> Any:
    """The signed bytes of a COMMIT are the same in all views."""
    return lambda suite, genesis_id, network, height, view, block_id: original(
        suite, genesis_id, network, height, 0, block_id
    )


@fault("common.core.certificate:commit_payload")
def commits_name_no_genesis(original: Original) -> Any:
    """The signed bytes of a COMMIT are the same on all chains of a name."""
    return lambda suite, genesis_id, *others: original(suite, bytes(32), *others)


@fault("common.consensus.messages:signed_prefix")
def messages_name_no_height_and_view(original: Original) -> Any:
    """Signed bytes are the same at all heights and views."""
    return lambda genesis_id, network, height, view: original(genesis_id, network, 0, 0)


@fault("common.core.suite:Ed25519Sha256.tagged_hash")
def hashes_have_no_tag(original: Original) -> Any:
    """Structures of different kinds may hash alike."""
    return lambda self, tag, data: original(self, "", data)


@fault("common.core.codec:Writer.blob")
def byte_strings_have_no_length(original: Original) -> Any:
    """Neighbours run into each other."""

    def blob(self: Any, data: bytes) -> Any:
        self._parts.append(data)
        return self

    return blob


@fault("common.core.suite:Ed25519Sha256.verify")
def large_scalars_are_reduced(original: Original) -> Any:
    """S and S + L sign alike."""
    order = 2**252 + 27742317777372353535851937790883648493

    def verify(self: Any, public_key: bytes, message: bytes, signature: bytes) -> bool:
        scalar = int.from_bytes(signature[32:], "little") % order
        return bool(original(self, public_key, message, signature[:32] + scalar.to_bytes(32, "little")))

    return verify


@fault("common.core.merkle:_above")
def an_odd_leaf_is_doubled(original: Original) -> Any:
    """As in CVE-2012-2459."""

    def above(hash_: Any, level: Any) -> list[Any]:
        below = [*level, *level[-1:]] if len(level) % 2 else level
        return [hash_(NODE_PREFIX + below[at] + below[at + 1]) for at in range(0, len(below), 2)]

    return above


@fault("common.core.merkle:NODE_PREFIX")
def nodes_hash_like_leaves(original: Any) -> Any:
    """An inner node may pass for a leaf."""
    return bytes(1)


@fault("common.core.state_proof:VALUE_TAG")
def values_hash_like_nodes(original: Any) -> Any:
    """A value may pass for a node of the tree."""
    return "tongjian/state/node/v1"


@fault("common.core.state_proof:_find")
def a_short_proof_proves_absence(original: Original) -> Any:
    """Where the proof ends, nothing is."""
    return ignoring(original, "state_proof_short")


@fault("common.core.codec:refuse_repeated_keys")
def the_last_of_two_keys_counts(original: Original) -> Any:
    """Duplicate keys pass."""
    return lambda pairs: dict(pairs)


@fault("common.node.logic.execution.executor:Executor.check_header")
def blocks_at_any_time_after_genesis(original: Original) -> Any:
    """Neither the parent's time nor the heartbeat is awaited."""
    return ignoring(original, "block_time_not_after_parent", "block_empty_too_early")


@fault("common.node.logic.execution.executor:Executor.execute")
def any_kept_execution_will_do(original: Original) -> Any:
    """Executions are not told apart by content and time."""

    def execute(self: Any, time_ms: int, transactions: Any) -> Any:
        return next(iter(self._kept.values()), None) or original(self, time_ms, transactions)

    return execute


@fault("common.node.logic.pool.mempool:Mempool.admit_parsed")
def every_refusal_is_the_peers_fault(original: Original) -> Any:
    """What the application refuses counts as a forged signature."""
    return _as_forged(original)


def _as_forged(original: Original) -> Any:
    def admit_parsed(self: Any, tx: Any) -> Any:
        try:
            return original(self, tx)
        except Exception as refusal:
            if hasattr(refusal, "code"):
                refusal.code = "bad_signature"
            raise

    return admit_parsed


@fault("crosslink.relay.planner:plan_read")
def reading_begins_at_the_first_block(original: Original) -> Any:
    """What the custody chain has does not count."""

    def plan_read(position: Any, buffered: Any, wait_s: int) -> Any:
        read = original(position, buffered, wait_s)
        return read if read is None or buffered else replace(read, **{next(iter(read.__slots__)): 1})

    return plan_read


@fault("crosslink.relay.planner:still_due")
def what_is_buffered_is_due(original: Original) -> Any:
    """Also what is anchored by now, and what is behind a gap."""
    return lambda position, buffered: tuple(buffered)
