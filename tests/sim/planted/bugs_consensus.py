"""Planted bugs of the agreement: votes, quorums, views, durability, time-outs."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable
from typing import Any

from common.consensus.agreement import SlotState, Tally
from common.consensus.effects import Broadcast, Persist
from common.consensus.messages import Mark, NewView, PreparedCertificate, Stage, ViewChange, Vote
from common.consensus.params import MAX_HEIGHTS_AHEAD
from common.consensus.verification import highest_prepared
from common.consensus.vote_records import Record, encode_record
from tests.sim.planted.bug import bug
from tests.sim.planted.substitutes import answering, doing_nothing, ignoring

Original = Callable[..., Any]


# Quorums and signers


@bug("safety", "replica", "common.core.validators:ValidatorSet.quorum")
def quorum_one_too_low(original: property) -> Any:
    """q - 1 votes decide (attack C7)."""
    return property(lambda self: max(1, original.fget(self) - 1))


@bug("liveness", "replica", "common.core.validators:ValidatorSet.quorum")
def quorum_one_too_high(original: property) -> Any:
    """q + 1 votes are wanted: a single dead member stops the chain (attack C7)."""
    return property(lambda self: min(self.size, original.fget(self) + 1))


@bug("safety", "replica", "common.consensus.agreement:VoteBook.find", "common.consensus.agreement:VoteBook.add")
def duplicate_vote_counted(original: Original) -> Any:
    """A vote that comes twice counts twice (attack C8)."""

    def find(self: Any, stage: Any, view: Any, voter: Any) -> None:
        return None

    def add(self: Any, vote: Any) -> None:
        tally = self._tallies.setdefault((vote.stage, vote.view), Tally())
        tally.votes[vote.signer] = vote
        tally.counts[vote.block_id] += 1
        if tally.counts[vote.block_id] >= self._quorum and tally.decided is None:
            tally.decided = vote.block_id

    return find if original.__name__ == "find" else add


@bug("safety", "replica", "common.consensus.verification:Verifier._check_signature")
def foreign_signer_counted(original: Original) -> Any:
    """A signer outside the set is believed (attack C9)."""
    return ignoring(original, "consensus_unknown_signer")


@bug("safety", "replica", "common.consensus.verification:Verifier._check_signature")
def signature_unchecked(original: Original) -> Any:
    """A message is believed whoever signed it (attack C8)."""
    return ignoring(original, "consensus_bad_signature")


@bug("safety", "replica", "common.consensus.agreement:VoteBook.add")
def votes_of_other_views_counted(original: Original) -> Any:
    """A quorum may be put together from the votes of several views."""

    @functools.wraps(original)
    def add(self: Any, vote: Any) -> None:
        original(self, vote)
        tallies = [tally for (stage, _), tally in self._tallies.items() if stage == vote.stage]
        if sum(tally.counts[vote.block_id] for tally in tallies) >= self._quorum:
            tally = self._tallies[vote.stage, vote.view]
            tally.decided = tally.decided or vote.block_id

    return add


@bug("safety", "replica", "common.consensus.agreement:Agreement.advance")
def commit_without_prepares(original: Original) -> Any:
    """COMMIT follows validation, not a quorum of PREPAREs."""

    @functools.wraps(original)
    def advance(self: Any) -> None:
        if self.state is SlotState.VALID and not self._is_prepared and self._voice.can_sign:
            self._is_prepared = True
            vote = self._voice.vote(Stage.COMMIT, self.view, self.block_id)
            self._outbox.persist(vote)
            self._outbox.emit(Broadcast(vote))
            self.book.add(vote)
            self._decide_if_certain(self.view)

    return advance


# View changes


@bug("safety", "replica", "common.consensus.voice:Voice.view_change")
def prepared_certificate_dropped(original: Original) -> Any:
    """A VIEW-CHANGE never reports what was prepared (attack C3)."""

    @functools.wraps(original)
    def view_change(self: Any, view: int, prepared: Any) -> Any:
        return original(self, view, None)

    return view_change


@bug("safety", "replica", "common.consensus.verification:Verifier.check_new_view")
def new_view_evidence_unchecked(original: Original) -> Any:
    """The view changes in a NEW-VIEW are not looked at (attacks C3, C4, C6)."""

    @functools.wraps(original)
    def check_new_view(self: Any, new_view: NewView) -> Any:
        self.check_leader(new_view)
        self.check_header(new_view.proposal, fresh=False)
        self.check_signature(new_view)
        self.check_signature(new_view.proposal)

    return check_new_view


@bug("safety", "replica", "common.consensus.verification:Verifier.check_new_view")
def new_view_may_propose_anything(original: Original) -> Any:
    """The evidence is checked, and then another block than the one it demands is taken (attack C6)."""
    return ignoring(original, "new_view_wrong_block")


@bug("safety", "replica", "common.consensus.verification:Verifier.check_new_view")
def new_view_with_too_few_changes(original: Original) -> Any:
    """Fewer view changes than a quorum justify a view (attack C4)."""

    @functools.wraps(original)
    def check_new_view(self: Any, new_view: NewView) -> Any:
        self.check_leader(new_view)
        due = highest_prepared(new_view.view_changes)
        if due is not None and due.block_id != new_view.proposal.header.id(self._suite):
            return original(self, new_view)
        self.check_header(new_view.proposal, fresh=due is None)
        self.check_signature(new_view)
        self.check_signature(new_view.proposal)
        for change in new_view.view_changes:
            self.check_view_change(change)
        return due

    return check_new_view


@bug("safety", "replica", "common.consensus.verification:Verifier.check_view_change")
def view_change_signature_unchecked(original: Original) -> Any:
    """Anybody can ask for a view in anybody's name (attack C8)."""

    @functools.wraps(original)
    def check_view_change(self: Any, change: ViewChange) -> None:
        if change.prepared is not None:
            self.check_prepared(change.prepared)

    return check_view_change


@bug("safety", "replica", "common.consensus.verification:Verifier.check_prepared")
def prepared_certificate_unchecked(original: Original) -> Any:
    """A certificate in a VIEW-CHANGE is believed if it has enough signers (attack C4)."""

    @functools.wraps(original)
    def check_prepared(self: Any, prepared: PreparedCertificate) -> None:
        if len(prepared.signers) < self._validators.quorum:
            original(self, prepared)

    return check_prepared


@bug("safety", "replica", "common.consensus.verification:Verifier.check_prepared")
def prepared_certificate_too_small(original: Original) -> Any:
    """A certificate below the quorum is believed (attack C4)."""
    return ignoring(original, "prepared_too_few")


@bug(
    "safety",
    "lone certificates",
    "common.consensus.verification:highest_prepared",
    "common.consensus.view_change:highest_prepared",
)
def highest_prepared_not_chosen(original: Original) -> Any:
    """The lowest certificate of the evidence is repeated, not the highest (attack C3)."""

    @functools.wraps(original)
    def lowest(changes: Any) -> Any:
        held = [change.prepared for change in changes if change.prepared is not None]
        return min(held, key=lambda found: (found.view, found.block_id), default=None)

    return lowest


@bug("safety", "replica", "common.consensus.view_change:ViewChangeBook.view_to_join")
def view_joined_on_the_word_of_f(original: Original) -> Any:
    """f members that ask for a view move everybody (protocol rule 3)."""

    @functools.wraps(original)
    def view_to_join(self: Any, current: int, fault_bound: int) -> int | None:
        higher = [change.view for change in self._latest.values() if change.view > current]
        return min(higher) if len(higher) >= max(1, fault_bound) else None

    return view_to_join


@bug("safety", "leader of replicas", "common.consensus.verification:Verifier.check_leader")
def proposal_of_anybody_accepted(original: Original) -> Any:
    """Whoever proposes is heard, whether it leads or not."""
    return doing_nothing(original)


@bug("safety", "replica", "common.consensus.voice:Voice.to_resend", "common.consensus.voice:Voice._sign")
def votes_in_a_view_that_was_left(original: Original) -> Any:
    """Marks of what is signed need not ascend, and a PREPARE is made anew whenever it is sent again (attack C11)."""

    @functools.wraps(original)
    def to_resend(self: Any, view: int, *, changing: bool) -> list[Any]:
        again = original(self, view, changing=changing)
        return [
            self.vote(Stage.PREPARE, item.view, self._suite.hash(item.block_id))
            if isinstance(item, Vote) and item.stage is Stage.PREPARE
            else item
            for item in again
        ]

    @functools.wraps(original)
    def _sign(self: Any, mark: Mark, *payloads: bytes) -> list[bytes]:
        self.highest = mark
        return [self._suite.sign(self._seed, payload) for payload in payloads]

    return to_resend if original.__name__ == "to_resend" else _sign


@bug("liveness", "replica", "common.consensus.verification:Verifier.check_header")
def re_proposal_judged_as_fresh(original: Original) -> Any:
    """A prepared block may only be repeated by the member that made it (attack C21)."""

    @functools.wraps(original)
    def check_header(self: Any, proposal: Any, *, fresh: bool) -> None:
        original(self, proposal, fresh=True)

    return check_header


# Durability


@bug(
    "safety",
    "replica",
    "common.consensus.step_effects:StepEffects.persist",
    "common.consensus.step_effects:StepEffects.take",
)
def vote_sent_before_it_is_durable(original: Original) -> Any:
    """Records are written after the messages that rest on them have gone out (protocol rule 1)."""

    def persist(self: Any, *records: Record) -> None:
        self._late = [*getattr(self, "_late", []), *[encode_record(record) for record in records]]

    def take(self: Any) -> list[Any]:
        effects, late = self.effects, getattr(self, "_late", [])
        self.effects, self._late = [], []
        return [*effects, Persist(tuple(late))] if late else list(effects)

    return persist if original.__name__ == "persist" else take


@bug("safety", "replica", "common.consensus.replica:recover")
def vote_log_not_replayed(original: Original) -> Any:
    """A restart forgets what was signed (attack C16)."""

    @functools.wraps(original)
    def recover(records: Any, height: int, suite: Any) -> Any:
        return original((), height, suite)

    return recover


@bug("safety", "replica", "common.consensus.voice:Voice.remember", "common.consensus.agreement:Agreement.resume_vote")
def own_vote_repeated_with_another_value(original: Original) -> Any:
    """The body and the view survive a restart; that this validator has voted does not (attack S1)."""
    return doing_nothing(original)


@bug("safety", "replica", "common.consensus.agreement:Agreement.restore")
def prepared_certificate_lost_in_a_restart(original: Original) -> Any:
    """A restart forgets what was prepared, and the next VIEW-CHANGE denies it (attack C3)."""

    @functools.wraps(original)
    def restore(self: Any, view: int, bodies: Any, prepared: Any) -> None:
        original(self, view, bodies, None)

    return restore


# Signed bytes


@bug(
    "safety",
    "replica",
    "common.consensus.messages:vote_payload",
    "common.consensus.payloads:vote_payload",
)
def type_missing_from_signed_bytes(original: Original) -> Any:
    """PREPARE and COMMIT sign the same bytes (protocol rule 6, attack C10)."""

    @functools.wraps(original)
    def vote_payload(*arguments: Any) -> bytes:
        suite, genesis_id, network, _, height, view, block_id = arguments
        return bytes(original(suite, genesis_id, network, Stage.COMMIT, height, view, block_id))

    return vote_payload


def _payload_without(original: Original, place: int, instead: Any) -> Any:
    @functools.wraps(original)
    def vote_payload(*arguments: Any) -> bytes:
        changed = list(arguments)
        changed[place] = instead
        return bytes(original(*changed))

    return vote_payload


_VOTE_PAYLOADS = (
    "common.consensus.messages:vote_payload",
    "common.consensus.payloads:vote_payload",
)


@bug("safety", "replica", *_VOTE_PAYLOADS)
def height_missing_from_signed_bytes(original: Original) -> Any:
    """A vote of one height is a vote of every height (attack C10)."""
    return _payload_without(original, 4, 1)


@bug("safety", "replica", *_VOTE_PAYLOADS)
def view_missing_from_signed_bytes(original: Original) -> Any:
    """A vote of one view is a vote of every view (attack C10)."""
    return _payload_without(original, 5, 0)


@bug("safety", "replica", *_VOTE_PAYLOADS)
def genesis_missing_from_signed_bytes(original: Original) -> Any:
    """A vote in one deployment is a vote in every deployment (attack C10)."""
    return _payload_without(original, 1, bytes(32))


# The header's place in the chain


@bug("safety", "leader of replicas", "common.consensus.verification:Verifier.check_header")
def parent_unchecked(original: Original) -> Any:
    """A proposal may continue any block (attack C14)."""
    return ignoring(original, "proposal_wrong_parent")


@bug("safety", "leader of replicas", "common.consensus.verification:Verifier.check_header")
def time_may_stand_still(original: Original) -> Any:
    """A proposal may be older than its parent (attack C15)."""
    return ignoring(original, "proposal_time_not_increasing")


@bug("safety", "leader of replicas", "common.consensus.verification:Verifier.check_header")
def proposer_unchecked(original: Original) -> Any:
    """A fresh block may name any proposer."""
    return ignoring(original, "proposal_wrong_proposer")


@bug("safety", "replica", "common.consensus.replica:Replica._on_committed")
def set_change_a_height_too_late(original: Original) -> Any:
    """The old set goes on for one more height (attack C9)."""

    @functools.wraps(original)
    def _on_committed(self: Any, event: Any) -> None:
        original(self, type(event)(event.header, self.validators))

    return _on_committed


# Liveness


@bug("liveness", "replica", "common.consensus.params:ConsensusParameters.timeout_ms")
def timeout_does_not_grow(original: Original) -> Any:
    """On a slow network no view is ever long enough (protocol rule 4)."""

    @functools.wraps(original)
    def timeout_ms(self: Any, view: int) -> int:
        return int(self.view_timeout_ms)

    return timeout_ms


@bug("liveness", "replica", "common.consensus.replica:Replica._on_timer")
def timer_without_effect(original: Original) -> Any:
    """A view whose leader is silent lasts for ever."""
    return doing_nothing(original)


@bug("liveness", "replica", "common.consensus.replica:Replica._on_work")
def pending_work_forgotten(original: Original) -> Any:
    """Nobody builds because of work that came up while nothing was to do."""

    @functools.wraps(original)
    def _on_work(self: Any, pending: bool) -> None:
        self._work_pending = pending and self.height == 1

    return _on_work


@bug("liveness", "replica", "common.core.validators:ValidatorSet.leader")
def leader_never_changes(original: Original) -> Any:
    """Every view of a height has the same leader."""

    @functools.wraps(original)
    def leader(self: Any, height: int, view: int) -> int:
        return int(original(self, height, 0))

    return leader


@bug(
    "liveness",
    "replica",
    "common.consensus.past:PastMessages.needs_help",
    "common.consensus.future:FutureMessages.is_further",
)
def nobody_helps_who_is_behind(original: Original) -> Any:
    """Final heights are neither answered with their block nor asked for (protocol rule 3; one of the two is enough)."""
    return answering(original, False)


@bug("liveness", "replica", "common.consensus.view_change:ViewChanger.lead")
def new_leader_does_nothing(original: Original) -> Any:
    """A quorum asks for a view, and its leader never announces it."""
    return doing_nothing(original)


@bug("liveness", "replica", "common.consensus.voice:Voice.to_resend")
def nothing_is_sent_again(original: Original) -> Any:
    """What a peer missed is never repeated to it, on time-outs or on reconnects (protocol rule 3)."""
    return answering(original, [])


@bug("safety", "replica", "common.consensus.future:FutureMessages.keep")
def early_messages_unbounded(original: Original) -> Any:
    """Messages of heights far ahead are all kept (attack C13)."""

    @functools.wraps(original)
    def keep(self: Any, message: Any, sender: int, open_height: int) -> bool:
        if message.height <= open_height + MAX_HEIGHTS_AHEAD:
            return bool(original(self, message, sender, open_height))
        self._queues.setdefault(sender, deque()).append((0, message))
        return True

    return keep
