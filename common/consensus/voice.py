"""The own validator's signature: what it has signed at the open height, and whether it may sign more.

Invariants
  O1  Marks (height, view, stage) of what is signed ascend strictly, so at most one message is signed for each, and no
      PREPARE or COMMIT in a view that was left (protocol rule 3, attack C11).
  O2  Nothing is signed at or below a height in which we are known to have signed more than our records say (protocol
      rule 7, attacks C8 and C16). Not even a VIEW-CHANGE: it would deny a certificate that we once reported.
  O3  The latest message of each stage is kept, to be sent again as it was.

Left out: durability; callers put what they get here behind a `Persist`.
"""

from __future__ import annotations

from msgspec.structs import replace

from common.consensus.messages import (
    ConsensusMessage,
    Mark,
    NewView,
    PreparedCertificate,
    Proposal,
    Stage,
    ViewChange,
    Vote,
)
from common.consensus.payloads import Payloads
from common.core.errors import InvariantBroken
from common.core.header import Header


class Voice:
    """Signs for one validator. Without a seed, or without a place in the set, it is silent."""

    def __init__(self, payloads: Payloads, seed: bytes | None) -> None:
        self._payloads = payloads
        self._suite = payloads.suite
        self._seed = seed
        self.public_key = None if seed is None else self._suite.public_key(seed)
        self.index: int | None = None
        self.height = 0
        self.can_sign = False
        """Whether we vote at the open height at all."""
        self._may_vote = True
        self._abstain_through = 0
        self.highest: Mark | None = None
        self._latest: dict[Stage, ConsensusMessage] = {}

    def open_height(self, height: int, index: int | None) -> None:
        """Go on to `height`, in whose set we have the given place (None: none)."""
        self.height = height
        self.index = index
        self._latest.clear()
        self._refresh()

    def let_vote(self, may_vote: bool) -> None:
        """Say whether we may sign at all."""
        self._may_vote = may_vote
        self._refresh()

    def abstain(self, height: int) -> bool:
        """Sign nothing up to this height; whether that is more than before."""
        if height <= self._abstain_through:
            return False
        self._abstain_through = height
        self._refresh()
        return True

    def _refresh(self) -> None:
        has_place = self._seed is not None and self.index is not None
        self.can_sign = has_place and self._may_vote and self.height > self._abstain_through

    def _sign(self, mark: Mark, *payloads: bytes) -> list[bytes]:
        """Signatures of the payloads that make up one act, the act being later than every one before."""
        if self._seed is None or not self.can_sign or mark.height != self.height:
            raise InvariantBroken(f"asked to sign {mark}, which this replica must not")
        if self.highest is not None and mark <= self.highest:
            raise InvariantBroken(f"asked to sign {mark} after {self.highest}")
        self.highest = mark
        return [self._suite.sign(self._seed, payload) for payload in payloads]

    def _own_index(self) -> int:
        if self.index is None:
            raise InvariantBroken("a replica without a place in the set signs nothing")
        return self.index

    def vote(self, stage: Stage, view: int, block_id: bytes) -> Vote:
        """Sign PREPARE or COMMIT."""
        payload = self._payloads.of_vote(stage, self.height, view, block_id)
        (signature,) = self._sign(Mark(self.height, view, stage), payload)
        vote = Vote(stage, self.height, view, block_id, self._own_index(), signature)
        self._latest[stage] = vote
        return vote

    def proposal(self, view: int, header: Header, envelope_hashes: tuple[bytes, ...]) -> Proposal:
        """Sign PRE-PREPARE."""
        unsigned = Proposal(self.height, view, header, envelope_hashes, self._own_index(), b"")
        (signature,) = self._sign(unsigned.mark, self._payloads.of(unsigned))
        proposal = replace(unsigned, signature=signature)
        self._latest[Stage.PROPOSAL] = proposal
        return proposal

    def new_view(
        self, view: int, changes: tuple[ViewChange, ...], header: Header, envelope_hashes: tuple[bytes, ...]
    ) -> NewView:
        """Sign NEW-VIEW and the proposal in it, as one act."""
        proposal = Proposal(self.height, view, header, envelope_hashes, self._own_index(), b"")
        unsigned = NewView(self.height, view, changes, proposal, proposal.leader, b"")
        payloads = [self._payloads.of(part) for part in (proposal, unsigned)]
        of_proposal, of_new_view = self._sign(unsigned.mark, *payloads)
        new_view = replace(unsigned, proposal=replace(proposal, signature=of_proposal), signature=of_new_view)
        self._latest[Stage.PROPOSAL] = new_view
        return new_view

    def view_change(self, view: int, prepared: PreparedCertificate | None) -> ViewChange:
        """Sign VIEW-CHANGE to `view`, reporting the highest prepared certificate."""
        unsigned = ViewChange(self.height, view, prepared, self._own_index(), b"")
        (signature,) = self._sign(unsigned.mark, self._payloads.of(unsigned))
        change = replace(unsigned, signature=signature)
        self._latest[Stage.VIEW_CHANGE] = change
        return change

    def remember(self, message: ConsensusMessage) -> None:
        """Take back an own message from the records."""
        self._latest[message.mark.stage] = message
        if self.highest is None or message.mark > self.highest:
            self.highest = message.mark

    def latest(self, stage: Stage) -> ConsensusMessage | None:
        """The own message of this stage and height with the highest view."""
        return self._latest.get(stage)

    def to_resend(self, view: int, *, changing: bool) -> list[ConsensusMessage]:
        """Own messages that still help others, in the order of their stages.

        While we are `changing` to `view`, the VIEW-CHANGE; once in it, what we signed in it, and no VIEW-CHANGE: to a
        peer in the same view that would look like somebody behind, whom it answers in kind, without end. The last
        COMMIT of any view in either case, because a certificate of any view decides (protocol rule 3).
        """
        stages = (Stage.VIEW_CHANGE,) if changing else (Stage.PROPOSAL, Stage.PREPARE)
        current = [message for stage in stages if (message := self._latest.get(stage)) and message.view == view]
        commit = self._latest.get(Stage.COMMIT)
        return current if commit is None else [*current, commit]

    def judge_shown(self, message: ConsensusMessage) -> str | None:
        """What it means that somebody holds `message` as ours: None if nothing, else a reason to abstain.

        `own_messages_forgotten`: validly signed by our key, and beyond all that we know to have signed.
        `own_key_used_elsewhere`: validly signed, and different from what we signed for the same mark.
        """
        if self.public_key is None or message.height < self.height:
            return None
        known = self._latest.get(message.mark.stage)
        if isinstance(known, NewView) and isinstance(message, Proposal):
            known = known.proposal  # signed as one act; anybody may take it out and show it alone
        if known == message:
            return None
        payload = self._payloads.of(message)
        if not self._suite.verify(self.public_key, payload, message.signature):
            return None
        if self.highest is None or message.mark > self.highest:
            return "own_messages_forgotten"
        if known is not None and known.mark == message.mark and self._payloads.of(known) != payload:
            return "own_key_used_elsewhere"
        return None
