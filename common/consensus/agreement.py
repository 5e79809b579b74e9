"""Agreement at one height: pre-prepare, prepare, commit.

Pure; works on the effects of the replica's step and signs through `voice`.
Reference: Castro & Liskov, "Practical Byzantine Fault Tolerance" (OSDI '99), section 4.2.

  I1  At most one own vote per (view, height, stage), and only in the current view (`voice`, rule O1).
  I2  A vote is durable before it is sent, and so is what it rests on: the body before PREPARE, the prepared certificate
      before COMMIT (protocol rule 1).
  I3  Prepared means: validated here, and q members signed PREPARE for it in one view, the leader among the candidates
      like everybody (protocol rule 2). There are no locks: what the slot of a view accepts is decided by that view's
      evidence alone (attack C12).
  I4  A quorum of COMMITs of any one view decides, whatever view we are in (protocol rule 3). One decision a height.
  I5  What members make us keep is bounded by members times `MAX_VOTED_VIEWS_PER_MEMBER` (attack C13), and the votes of
      views in which a quorum agreed, of which nothing is dropped: they make the certificate.
  I6  A vote against the view's proposal is passed on, so that who signed twice, once for each of two audiences, is
      proven faulty by whoever comes to hold both halves (attack C1); at most `MAX_SHOWN_DISSENTS` a view.

Left out: which proposal a view may carry (`verification`, `view_change`), timers (`replica`).
"""

from __future__ import annotations

from enum import Enum

from common.consensus.effects import Accuse, Broadcast, Decide, DecideById, Send, ValidateBlock
from common.consensus.messages import (
    VOTE_STAGES,
    ConsensusMessage,
    Mark,
    NewView,
    PreparedCertificate,
    Proposal,
    Stage,
    Vote,
)
from common.consensus.params import MAX_ACCUSATIONS, MAX_SHOWN_DISSENTS, MAX_VOTED_VIEWS_PER_MEMBER
from common.consensus.step_effects import StepEffects
from common.consensus.verification import Verifier
from common.consensus.voice import Voice
from common.consensus.vote_records import Record
from common.core.block import Block
from common.core.certificate import Certificate
from common.core.errors import InvariantBroken
from common.core.suite import Suite


class Tally:
    """The votes of one stage and view."""

    def __init__(self) -> None:
        self.votes: dict[int, Vote] = {}
        self.counts: dict[bytes, int] = {}
        self.decided: bytes | None = None
        """The block with a quorum. A second one would need more than f faulty members."""


class VoteBook:
    """Verified votes of one height, at most one for each member, stage and view (attack C8)."""

    def __init__(self, quorum: int) -> None:
        self._quorum = quorum
        self._tallies: dict[tuple[Stage, int], Tally] = {}
        self._views: dict[tuple[Stage, int], list[int]] = {}

    def find(self, stage: Stage, view: int, voter: int) -> Vote | None:
        """The member's vote, if it is kept."""
        tally = self._tallies.get((stage, view))
        return None if tally is None else tally.votes.get(voter)

    def quorum_of(self, stage: Stage, view: int) -> bytes | None:
        """The block that a quorum voted for."""
        tally = self._tallies.get((stage, view))
        return None if tally is None else tally.decided

    def add(self, vote: Vote) -> None:
        """Count a verified vote of a member who has none yet in this stage and view."""
        tally = self._tallies.get((vote.stage, vote.view))
        if tally is None:
            tally = self._tallies[vote.stage, vote.view] = Tally()
        if vote.signer in tally.votes:
            raise InvariantBroken("a vote would be counted twice")
        tally.votes[vote.signer] = vote
        count = tally.counts[vote.block_id] = tally.counts.get(vote.block_id, 0) + 1
        if count >= self._quorum and tally.decided is None:
            tally.decided = vote.block_id
        views = self._views.setdefault((vote.stage, vote.signer), [])
        views.append(vote.view)
        if len(views) > MAX_VOTED_VIEWS_PER_MEMBER:
            self._forget(vote.stage, vote.signer, views)

    def _forget(self, stage: Stage, voter: int, views: list[int]) -> None:
        """Drop the vote of the lowest view that has no quorum: where there is one, the vote belongs to the proof."""
        open_views = [view for view in views if self._tallies[stage, view].decided is None]
        if not open_views:
            return
        lowest = min(open_views)
        views.remove(lowest)
        tally = self._tallies[stage, lowest]
        tally.counts[tally.votes.pop(voter).block_id] -= 1
        if not tally.votes:
            del self._tallies[stage, lowest]

    def against(self, view: int, block_id: bytes) -> list[Vote]:
        """The votes of a view for other blocks, PREPAREs first."""
        tallies = [self._tallies.get((stage, view)) for stage in VOTE_STAGES]
        votes = [vote for tally in tallies if tally is not None for vote in tally.votes.values()]
        return [vote for vote in votes if vote.block_id != block_id]

    def signatures(self, stage: Stage, view: int, block_id: bytes) -> tuple[tuple[int, bytes], ...]:
        """(member, signature) of all votes for this block, ascending."""
        votes = self._tallies[stage, view].votes
        return tuple([(at, votes[at].signature) for at in sorted(votes) if votes[at].block_id == block_id])


class SlotState(Enum):
    """How far the current view's proposal has come."""

    EMPTY = 0
    VALIDATING = 1
    VALID = 2
    REFUSED = 3


class Agreement:
    """One height: the votes of all views, and the slot of the current one."""

    def __init__(
        self, suite: Suite, height: int, quorum: int, verifier: Verifier, voice: Voice, outbox: StepEffects
    ) -> None:
        self._suite = suite
        self._height = height
        self._verifier = verifier
        self._voice = voice
        self._outbox = outbox
        self.book = VoteBook(quorum)
        self.bodies: dict[bytes, Block] = {}
        """Valid blocks of this height. Never more than one a view; a view lasts a time-out, doubling (protocol rule 4).

        All are kept until the height is decided: a certificate for any of them may yet turn up in a VIEW-CHANGE.
        """
        self._durable: set[bytes] = set()
        self.prepared: PreparedCertificate | None = None
        """The highest prepared certificate, which a VIEW-CHANGE reports."""
        self.decision: Certificate | None = None
        self._announced = False
        self._accused: set[tuple[int, Mark]] = set()
        self.enter(0)

    def enter(self, view: int) -> None:
        """Leave the current view: an empty slot, in which nothing can be voted for until a proposal is accepted."""
        self.view = view
        self._dissents_shown = 0
        self.state = SlotState.EMPTY
        self.proposal: Proposal | None = None
        self.block_id = b""
        self._is_prepared = False

    @property
    def has_pending_proposal(self) -> bool:
        """Whether a proposal waits for its decision (protocol rule 4)."""
        return self.state in (SlotState.VALIDATING, SlotState.VALID)

    def restore(self, view: int, bodies: dict[bytes, Block], prepared: PreparedCertificate | None) -> None:
        """Resume in `view` with what the records hold; own votes follow through `resume_vote`."""
        self.enter(view)
        self.bodies = dict(bodies)
        self._durable = set(bodies)
        self.prepared = prepared
        if prepared is None:
            return
        for index, signature in prepared.signatures:
            if index != self._voice.index:
                vote = Vote(Stage.PREPARE, self._height, prepared.view, prepared.block_id, index, signature)
                self.book.add(vote)

    def resume_vote(self, vote: Vote, proposal: Proposal | None) -> None:
        """Take up an own vote from the records: in the current view it tells which block the slot holds."""
        self.book.add(vote)
        if vote.view == self.view:
            self.state, self.block_id, self.proposal = SlotState.VALID, vote.block_id, proposal
            self._is_prepared = self._is_prepared or vote.stage is Stage.COMMIT

    def resume(self) -> None:
        """Do what the resumed votes call for: COMMIT if prepared, decide if a quorum committed."""
        self.advance()
        self._decide_if_certain(self.view)

    def lead(self, message: Proposal | NewView, block: Block, *, validated: bool) -> None:
        """Send our own proposal and vote for it; both durable first, and the body with them (protocol rule 1)."""
        proposal = message.proposal if isinstance(message, NewView) else message
        block_id = proposal.header.id(self._suite)
        if validated or block_id in self.bodies:
            self._fill(proposal, block_id, SlotState.VALID)
            self.bodies[block_id] = block
            self._prepare(message)
            return
        self._outbox.persist(message)
        self._outbox.emit(Broadcast(message))
        self.accept(proposal, fresh=False, senders=())

    def accept(self, proposal: Proposal, *, fresh: bool, senders: tuple[int, ...]) -> None:
        """Take the verified proposal of the current view; vote as soon as the block is known to be valid."""
        block_id = proposal.header.id(self._suite)
        if block_id in self.bodies:
            self._fill(proposal, block_id, SlotState.VALID)
            self._prepare(None)
            return
        self._fill(proposal, block_id, SlotState.VALIDATING)
        self._outbox.emit(ValidateBlock(self._height, self.view, proposal, fresh, senders))

    def _fill(self, proposal: Proposal, block_id: bytes, state: SlotState) -> None:
        if self.state is not SlotState.EMPTY:
            raise InvariantBroken("a view has one proposal")
        self.proposal, self.block_id, self.state = proposal, block_id, state
        for vote in self.book.against(self.view, block_id):
            self._confront(vote)

    def refuse(self, proposal: Proposal, block_id: bytes) -> None:
        """Remember a proposal that its leader signed but that is invalid: it is judged once, and never voted for.

        The timer, not the refusal, leads to the next view, so that bad proposals cannot drive a storm (attack C22).
        """
        self._fill(proposal, block_id, SlotState.REFUSED)

    def on_validated(self, block: Block) -> None:
        """The node has the body and executed it to the header's roots."""
        block_id = block.header.id(self._suite)
        if block.header.height != self._height:
            return
        if self.decision is not None:
            if self.decision.block_id == block_id and not self._announced:
                self._announced = True
                self._outbox.emit(Decide(block, self.decision))
            return
        if self.state is SlotState.VALIDATING and self.block_id == block_id:
            self.bodies[block_id] = block
            self.state = SlotState.VALID
            self._prepare(None)

    def on_refused(self, view: int, block_id: bytes) -> None:
        """The node found the block invalid: no vote for it in this view. Its id is not held against it later (E7)."""
        if self.state is SlotState.VALIDATING and (self.view, self.block_id) == (view, block_id):
            self.state = SlotState.REFUSED

    def _prepare(self, announcement: Proposal | NewView | None) -> None:
        if self._voice.can_sign:
            records: list[Record] = []
            if self.block_id not in self._durable:
                self._durable.add(self.block_id)
                records.append(self.bodies[self.block_id])
            if announcement is not None:
                records.append(announcement)
            vote = self._voice.vote(Stage.PREPARE, self.view, self.block_id)
            self._outbox.persist(*records, vote)
            if announcement is not None:
                self._outbox.emit(Broadcast(announcement))
            self._outbox.emit(Broadcast(vote))
            self.book.add(vote)
        self.advance()

    def on_vote(self, vote: Vote) -> bool:
        """Count a vote of another member; True if it was verified.

        A repeated vote is dropped unread; so is one that agrees with a quorum already reached (protocol rule 15). One
        that contradicts the member's earlier vote is proof against it (attack C1).
        """
        earlier = self.book.find(vote.stage, vote.view, vote.signer)
        if earlier is not None:
            if earlier.block_id != vote.block_id and (vote.signer, vote.mark) not in self._accused:
                self._verifier.check_signature(vote)
                self.accuse(earlier, vote)
            return False
        if vote.stage is Stage.PREPARE and vote.view < self.view:
            return False
        if self.book.quorum_of(vote.stage, vote.view) == vote.block_id:
            return False
        self._verifier.check_signature(vote)
        self.book.add(vote)
        self._confront(vote)
        if vote.stage is Stage.COMMIT:
            self._decide_if_certain(vote.view)
        elif vote.view == self.view:
            self.advance()
        return True

    def _confront(self, vote: Vote) -> None:
        """A member votes for another block than this view's proposal (I6): the voter, or the leader, says two things.

        Whoever signed twice showed one half to us and the other to others. So the vote is passed on, and its voter gets
        the proposal that we have; unless it is our own, which everybody gets behind its record (I2).
        """
        if self.proposal is None or vote.view != self.view or vote.block_id == self.block_id:
            return
        if self._dissents_shown < MAX_SHOWN_DISSENTS:
            self._dissents_shown += 1
            self._outbox.emit(Broadcast(vote))
            if vote.stage is Stage.PREPARE and self.proposal.leader not in (vote.signer, self._voice.index):
                self._outbox.emit(Send(vote.signer, self.proposal))

    def compare(self, message: ConsensusMessage) -> None:
        """Hold a message that can change nothing any more against what its signer said in the same place.

        Raises `Rejected` if it contradicts that and its signature does not hold.
        """
        known: Vote | Proposal | None = None
        if isinstance(message, Vote):
            known = self.book.find(message.stage, message.view, message.signer)
        elif isinstance(message, Proposal) and self.proposal is not None and self.proposal.mark == message.mark:
            known = self.proposal
        if known is None or known.signer != message.signer or (message.signer, message.mark) in self._accused:
            return
        if self._value(known) != self._value(message):
            self._verifier.check_signature(message)
            self.accuse(known, message)

    def _value(self, message: ConsensusMessage) -> bytes:
        """The block that a vote or proposal is about."""
        match message:
            case Vote():
                return message.block_id
            case Proposal():
                return message.header.id(self._suite)
        return b""

    def cross_examine(self, prepared: PreparedCertificate) -> None:
        """Hold the votes in somebody's certificate against those that we got from the same members."""
        for index, signature in prepared.signatures:
            ours = self.book.find(Stage.PREPARE, prepared.view, index)
            if ours is not None and ours.block_id != prepared.block_id:
                theirs = Vote(Stage.PREPARE, prepared.height, prepared.view, prepared.block_id, index, signature)
                self.accuse(ours, theirs)

    def accuse(self, first: ConsensusMessage, second: ConsensusMessage) -> None:
        """Report two verified messages that contradict each other: once for each member, view and kind."""
        act = (second.signer, second.mark)
        if act not in self._accused and len(self._accused) < MAX_ACCUSATIONS:
            self._accused.add(act)
            self._outbox.emit(Accuse(first, second))

    def advance(self) -> None:
        """Become prepared if a quorum has prepared the current view's valid block; then COMMIT."""
        if self.state is not SlotState.VALID or self._is_prepared:
            return
        if self.book.quorum_of(Stage.PREPARE, self.view) != self.block_id:
            return
        self._is_prepared = True
        signatures = self.book.signatures(Stage.PREPARE, self.view, self.block_id)
        self.prepared = PreparedCertificate(self._height, self.view, self.block_id, signatures)
        if self._voice.can_sign:
            vote = self._voice.vote(Stage.COMMIT, self.view, self.block_id)
            self._outbox.persist(self.prepared, vote)
            self._outbox.emit(Broadcast(vote))
            self.book.add(vote)
            self._decide_if_certain(self.view)

    def _decide_if_certain(self, view: int) -> None:
        block_id = self.book.quorum_of(Stage.COMMIT, view)
        if block_id is None or self.decision is not None:
            return
        signatures = self.book.signatures(Stage.COMMIT, view, block_id)
        self.decision = Certificate(self._height, view, block_id, signatures)
        block = self.bodies.get(block_id)
        if block is not None:
            self._announced = True
            self._outbox.emit(Decide(block, self.decision))
        else:
            self._outbox.emit(DecideById(self._height, block_id, self.decision))
