"""Changing views at one height: VIEW-CHANGE, NEW-VIEW, and who leads whom where.

Pure; works on the effects of the replica's step and signs through `voice`.
Reference: Castro & Liskov, "Practical Byzantine Fault Tolerance" (OSDI '99), sections 4.4 and 4.5.2.

  W1  A view above 0 is entered only with a NEW-VIEW whose evidence was checked in full, and obeyed whatever was
      prepared before in lower views (protocol rule 2, attacks C2, C3, C12).
  W2  A view change is verified before it is kept, alone: a bad one is dropped and hides no other (attack C5).
  W3  f+1 members asking for higher views move us to the smallest of these, since one of them is correct (rule 3).
  W4  The latest view change of each member is kept, no more (attack C13).
  W5  A new leader repeats the block of the highest certificate in its evidence, byte for byte, fetching the body if
      need be; only without any certificate does it build (protocol rule 2, attacks C6, C21).

Left out: timers (`replica`), which evidence justifies which proposal (`verification`).
"""

from __future__ import annotations

from common.consensus.agreement import Agreement
from common.consensus.effects import Broadcast, BuildBlock, FetchBlock
from common.consensus.messages import NewView, ViewChange
from common.consensus.step_effects import StepEffects
from common.consensus.verification import Verifier, highest_prepared
from common.consensus.voice import Voice
from common.consensus.vote_records import CurrentView
from common.core.block import Block
from common.core.errors import Rejected
from common.core.suite import Suite
from common.core.validators import ValidatorSet


class ViewChangeBook:
    """Verified view changes of one height: the latest of each member."""

    def __init__(self) -> None:
        self._latest: dict[int, ViewChange] = {}

    def find(self, voter: int) -> ViewChange | None:
        """The member's latest."""
        return self._latest.get(voter)

    def add(self, change: ViewChange) -> None:
        """Keep a verified view change, later than what the member sent before."""
        self._latest[change.signer] = change

    def view_to_join(self, current: int, fault_bound: int) -> int | None:
        """The smallest view above `current`, if f+1 members ask for views above it (protocol rule 3)."""
        higher = [change.view for change in self._latest.values() if change.view > current]
        return min(higher) if len(higher) > fault_bound else None

    def supporters(self, view: int) -> int:
        """How many members ask for this view or a higher one."""
        return sum(change.view >= view for change in self._latest.values())

    def evidence(self, view: int) -> tuple[ViewChange, ...]:
        """The view changes for exactly this view, by ascending member."""
        return tuple([self._latest[at] for at in sorted(self._latest) if self._latest[at].view == view])


class ViewChanger:
    """The current view of the open height, and the way into it."""

    def __init__(
        self,
        suite: Suite,
        height: int,
        validators: ValidatorSet,
        verifier: Verifier,
        voice: Voice,
        agreement: Agreement,
        outbox: StepEffects,
    ) -> None:
        self._suite = suite
        self._height = height
        self._validators = validators
        self._verifier = verifier
        self._voice = voice
        self._agreement = agreement
        self._outbox = outbox
        self._asked: bytes | None = None
        self._refused: dict[int, int] = {}
        self.book = ViewChangeBook()
        self.view = 0
        self.changing = False
        """We left the view below and wait for this view's NEW-VIEW."""
        self.new_view: NewView | None = None
        """The NEW-VIEW that brought us here, for peers that missed it."""

    def restore(self, view: int, changing: bool, own: ViewChange | None, new_view: NewView | None) -> None:
        """Resume in `view`."""
        self.view, self.changing, self.new_view = view, changing, new_view
        if own is not None:
            self.book.add(own)

    @property
    def leads(self) -> bool:
        """Whether we lead the current view and may sign."""
        return self._voice.can_sign and self._validators.leader(self._height, self.view) == self._voice.index

    @property
    def has_quorum(self) -> bool:
        """Whether a quorum left the views below the current one, so that its leader can be expected to act.

        Only then does the time-out of the view run. Without this rule a lone replica would climb views for ever, and
        others never catch up with it (Castro & Liskov, section 4.5.2).
        """
        return self.book.supporters(self.view) >= self._validators.quorum

    def start(self, view: int) -> None:
        """Leave the current view for `view` (rule W3 or a time-out), and lead it if it is ours."""
        self._enter(view, changing=True)
        change = self._voice.view_change(view, self._agreement.prepared)
        self._outbox.persist(change)
        self._outbox.emit(Broadcast(change))
        self.book.add(change)
        self.lead()

    def _enter(self, view: int, *, changing: bool) -> None:
        self.view, self.changing = view, changing
        self.new_view = None
        self._asked = None
        self._agreement.enter(view)

    def on_view_change(self, change: ViewChange) -> bool:
        """Judge and keep a member's view change; True if it was verified and is news."""
        earlier = self.book.find(change.signer)
        if earlier is not None and change.view <= earlier.view:
            if change.view == earlier.view and change != earlier:
                self._verifier.check_view_change(change)
                if change.prepared != earlier.prepared:
                    self._agreement.accuse(earlier, change)
            return False
        self._verifier.check_view_change(change)
        self.book.add(change)
        if change.prepared is not None:
            self._agreement.cross_examine(change.prepared)
        if self._voice.can_sign:
            while (target := self.book.view_to_join(self.view, self._validators.fault_bound)) is not None:
                self.start(target)
            self.lead()
        return True

    def on_new_view(self, message: NewView) -> bool:
        """Obey a justified NEW-VIEW of this or a higher view; True if it was verified and obeyed."""
        if message.view < self.view or message.view <= self._refused.get(message.leader, 0):
            return False
        if message.view == self.view and not self.changing:
            current = self._agreement.proposal
            if current is not None and current.header != message.proposal.header:
                self._verifier.check_leader(message)
                self._verifier.check_signature(message.proposal)
                self._agreement.accuse(current, message.proposal)
            return False
        try:
            due = self._verifier.check_new_view(message)
        except Rejected:
            # Judge what a leader signed for a view once (attack C22). Only what it signed: the signature inside the
            # proposal is the one part that another peer could have spoiled on the way.
            self._verifier.check_signature(message)
            self._verifier.check_signature(message.proposal)
            self._refused[message.leader] = message.view
            raise
        for change in message.view_changes:
            earlier = self.book.find(change.signer)
            if earlier is None or earlier.view < change.view:
                self.book.add(change)
        self._enter(message.view, changing=False)
        self.new_view = message
        if self._voice.can_sign:
            self._outbox.persist(CurrentView(self._height, message.view))
        holders = () if due is None else due.signers
        senders = tuple(dict.fromkeys((message.leader, *holders)))
        self._agreement.accept(message.proposal, fresh=due is None, senders=senders)
        return True

    def lead(self) -> None:
        """Lead the view that a quorum asked for: repeat what the evidence demands, or ask for a fresh block."""
        if not self.changing or not self.leads:
            return
        evidence = self.book.evidence(self.view)
        if len(evidence) < self._validators.quorum:
            return
        due = highest_prepared(evidence)
        if due is None:
            self._ask(b"", BuildBlock(self._height, self.view))
            return
        block = self._agreement.bodies.get(due.block_id)
        if block is not None:
            self._announce(evidence, block, validated=True)
            return
        senders = tuple([index for index in due.signers if index != self._voice.index])
        self._ask(due.block_id, FetchBlock(self._height, self.view, due.block_id, senders))

    def _ask(self, block_id: bytes, effect: BuildBlock | FetchBlock) -> None:
        if self._asked != block_id:
            self._asked = block_id
            self._outbox.emit(effect)

    def on_block(self, view: int, block: Block, *, built: bool) -> None:
        """An answer to `BuildBlock` or `FetchBlock`: announce the view with it, if it is still what is due."""
        if view != self.view or not self.changing or not self.leads:
            return
        evidence = self.book.evidence(view)
        if len(evidence) < self._validators.quorum:
            return
        due = highest_prepared(evidence)
        if due is None and built:
            self._announce(evidence, block, validated=True)
        elif due is not None and due.block_id == block.header.id(self._suite):
            self._announce(evidence, block, validated=due.block_id in self._agreement.bodies)

    def _announce(self, evidence: tuple[ViewChange, ...], block: Block, *, validated: bool) -> None:
        hashes = tuple(block.envelope_hashes(self._suite))
        message = self._voice.new_view(self.view, evidence, block.header, hashes)
        self._enter(self.view, changing=False)
        self.new_view = message
        self._agreement.lead(message, block, validated=validated)

    def ask_again(self) -> None:
        """Work came up: ask again for a block that was asked for before there was any."""
        if self._asked == b"":
            self._asked = None
        self.lead()
