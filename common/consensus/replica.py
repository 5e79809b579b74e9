"""A validator's part in the agreement of one chain: takes events, returns effects, does nothing itself.

The replica works on one open height, the one above the durable tip. It verifies every message itself; the node fetches
and executes bodies, keeps records, and carries messages (contracts: `events`, `effects`).

  R1  Effects are returned in the order in which they must be performed; what a message rests on is persisted in an
      effect before it (protocol rule 1).
  R2  Input never raises: a bad message becomes `Refused`. `InvariantBroken` means a bug of ours or of the node, or
      damaged local data.
  R3  After a decision nothing is signed, and no timer acts, until the next height opens (attack C11).
  R4  The timer runs only while this replica may vote and a block or a view change is due (protocol rule 4).
  R5  What others can make a replica keep is bounded (attack C13): see `params`, `future`, `agreement`, `view_change`.

References: Castro & Liskov (OSDI '99); protocol rules 1-7; docs/protocol-consensus.md. Left out: observers' and
validators' catch-up, gossip, execution (`common.node`).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from common.consensus.agreement import Agreement, SlotState
from common.consensus.effects import (
    Abstaining,
    Broadcast,
    BuildBlock,
    CancelViewTimer,
    Effect,
    MemberAhead,
    Refused,
    Send,
    SendDecided,
    SetViewTimer,
)
from common.consensus.events import (
    BlockBuilt,
    BlockFetched,
    BlockRefused,
    BlockValidated,
    ChainTip,
    Committed,
    Event,
    MemberConnected,
    OwnMessageShown,
    Received,
    ViewTimerExpired,
    WorkPending,
)
from common.consensus.future import FutureMessages
from common.consensus.messages import ConsensusMessage, Mark, NewView, Proposal, Stage, ViewChange, Vote
from common.consensus.params import ConsensusParameters
from common.consensus.past import PastMessages
from common.consensus.payloads import Payloads
from common.consensus.recovery import Recovered, recover
from common.consensus.step_effects import StepEffects
from common.consensus.verification import Verifier
from common.consensus.view_change import ViewChanger
from common.consensus.voice import Voice
from common.consensus.witness import Witness
from common.core.block import Block
from common.core.errors import InvariantBroken, Rejected
from common.core.suite import Suite
from common.core.validators import ValidatorSet


class Replica:
    """One validator, or an observer. Call `restore` once, then `step` for every event."""

    def __init__(
        self,
        parameters: ConsensusParameters,
        suite: Suite,
        genesis_id: bytes,
        network: str,
        own_index: int | None,
        seed: bytes | None,
    ) -> None:
        """`own_index` is our place in the set of the first open height. Without a `seed` we observe for ever."""
        self.parameters = parameters
        """Who runs the replica may exchange them between two events: time-outs are never voted on."""
        self._suite = suite
        self._payloads = Payloads(suite, genesis_id, network)
        self._first_index = own_index
        self._voice = Voice(self._payloads, seed)
        self._outbox = StepEffects()
        self._future = FutureMessages()
        self._past = PastMessages()
        self._witness = Witness()
        self._closed: Agreement | None = None
        """The tip's agreement, against which late messages are held."""
        self._work_pending = False
        self._timer: tuple[int, int, str] | None = None
        self._asked_to_build = False

    # Starting, and going on from height to height

    def restore(
        self,
        tip: ChainTip,
        validators: ValidatorSet,
        records: Sequence[bytes] = (),
        *,
        floor: Mark | None = None,
        may_vote: bool = True,
    ) -> list[Effect]:
        """Take up work above `tip` with `validators`, where the records of the vote log left off.

        `floor` is the furthest mark that anybody is known to hold signed by us; if the records fall short of it,
        nothing is signed up to its height (protocol rule 7, attack C16). `may_vote=False` signs nothing at all, for a
        node whose log or database is known to have gone backwards. Raises `InvariantBroken` on damaged records, and
        if `own_index` is not our place in `validators`.
        """
        self._voice.let_vote(may_vote)
        self._open(tip, validators)
        if self._voice.index != self._first_index:
            raise InvariantBroken(f"own index is {self._voice.index}, not {self._first_index}")
        recovered = recover(records, self.height, self._suite)
        if recovered.highest_height > self.height:
            self._abstain(recovered.highest_height, "own_messages_forgotten")
        if floor is not None and (recovered.highest is None or floor > recovered.highest):
            self._abstain(floor.height, "own_messages_forgotten")
        self._resume(recovered)
        self._refresh_timer()
        return self._outbox.take()

    def _open(self, tip: ChainTip, validators: ValidatorSet) -> None:
        self.tip = tip
        self.height = tip.height + 1
        self.validators = validators
        self._voice.open_height(self.height, validators.index_of(self._voice.public_key))
        self._verifier = Verifier(self._payloads, validators, tip)
        self._agreement = Agreement(
            self._suite, self.height, validators.quorum, self._verifier, self._voice, self._outbox
        )
        self._changer = ViewChanger(
            self._suite, self.height, validators, self._verifier, self._voice, self._agreement, self._outbox
        )
        self._asked_to_build = False

    def _resume(self, recovered: Recovered) -> None:
        if self._voice.index is None:
            # A key that is in no set yet has signed nothing here: these are messages of the key before it.
            recovered = replace(recovered, own=[])
        for message in recovered.own:
            self._voice.remember(message)
        own = self._voice.latest(Stage.PROPOSAL)
        new_view = own if isinstance(own, NewView) and own.view == recovered.view else None
        proposal = new_view.proposal if new_view is not None else own
        if not isinstance(proposal, Proposal) or proposal.view != recovered.view:
            proposal = None
        own = self._voice.latest(Stage.VIEW_CHANGE)
        change = own if isinstance(own, ViewChange) else None
        self._changer.restore(recovered.view, not recovered.is_in_view, change, new_view)
        self._agreement.restore(recovered.view, recovered.bodies, recovered.prepared)
        for message in recovered.own:
            if isinstance(message, Vote):
                self._agreement.resume_vote(message, proposal)
        if proposal is not None and self._agreement.state is SlotState.EMPTY:
            self._agreement.accept(proposal, fresh=False, senders=())
        self._agreement.resume()

    def _on_committed(self, event: Committed) -> None:
        header = event.header
        if header.height < self.height:
            return
        block_id = header.id(self._suite)
        if header.height == self.height:
            decision = self._agreement.decision
            if header.parent_id != self.tip.block_id or (decision is not None and decision.block_id != block_id):
                raise InvariantBroken(f"another block was committed at height {header.height} than decided")
        self._past.close(self.height, header.height)
        self._witness.forget_others(self.validators, event.validators)
        self._closed = self._agreement if header.height == self.height else None
        if event.validators != self.validators:
            self._future.forget_shown_heights()
        self._open(ChainTip(header.height, block_id, header.time_ms), event.validators)
        self._build_if_leading()
        for message, sender in self._future.take(self.height):
            self._receive(message, sender)

    # Events

    def step(self, event: Event) -> list[Effect]:
        """Absorb one event; return what must be done, in order. Raises `InvariantBroken` only."""
        match event:
            case Received():
                self._receive(event.message, event.sender)
                if isinstance(event.message, Vote) and not self._outbox.effects:
                    return []  # it was counted, or dropped: nothing that the timer waits for has changed
            case BlockValidated():
                self._agreement.on_validated(event.block)
            case BlockBuilt():
                self._on_built(event)
            case BlockFetched():
                if self._agreement.decision is None and event.height == self.height:
                    self._changer.on_block(event.view, event.block, built=False)
            case BlockRefused():
                if event.height == self.height:
                    self._agreement.on_refused(event.view, event.block_id)
            case ViewTimerExpired():
                self._on_timer(event)
            case WorkPending():
                self._on_work(event.pending)
            case Committed():
                self._on_committed(event)
            case MemberConnected():
                self._on_connected(event.index)
            case OwnMessageShown():
                self._on_own_message(event.message)
        self._refresh_timer()
        return self._outbox.take()

    def _receive(self, message: ConsensusMessage, sender: int | None) -> None:
        if message.height != self.height:
            self._receive_other_height(message, sender)
            return
        self._past.saw(message)
        if message.signer == self._voice.index:
            self._on_own_message(message)
            return
        try:
            if self._agreement.decision is not None:
                self._agreement.compare(message)
            else:
                self._receive_open_height(message, sender)
        except Rejected as refusal:
            self._outbox.emit(Refused(sender, refusal.code, refusal.detail))

    def _receive_other_height(self, message: ConsensusMessage, sender: int | None) -> None:
        if sender is None or sender >= self.validators.size:
            return
        if message.height > self.height:
            self._future.keep(message, sender, self.height)
            if self._future.is_further(sender, message.height):
                self._outbox.emit(MemberAhead(sender, message.height))
            return
        if self._closed is not None and message.height == self.tip.height:
            with suppress(Rejected):
                self._closed.compare(message)
        if self._past.needs_help(message, sender, self.tip.height):
            self._outbox.emit(SendDecided(sender, message.height))

    def _receive_open_height(self, message: ConsensusMessage, sender: int | None) -> None:
        match message:
            case Vote():
                verified = self._agreement.on_vote(message)
            case Proposal():
                verified = self._on_proposal(message)
            case ViewChange():
                verified = self._on_view_change(message, sender)
            case NewView():
                verified = self._changer.on_new_view(message)
        if verified or sender == message.signer:
            self._witness.saw(message, self.validators)

    def _on_view_change(self, message: ViewChange, sender: int | None) -> bool:
        """Judge it; or, if its voter is behind us, show it the way to our view."""
        if message.view > self.view or (message.view == self.view and self._changer.changing):
            return self._changer.on_view_change(message)
        if sender == message.signer:
            self._send_own(message.signer)
        return False

    def _on_proposal(self, message: Proposal) -> bool:
        agreement = self._agreement
        if message.view == self.view != 0 and agreement.proposal is not None:
            agreement.compare(message)
            return False
        if message.view != 0:
            self._outbox.emit(
                Refused(message.leader, "proposal_without_new_view", "Views above 0 start with a NEW-VIEW.")
            )
            return False
        if self.view != 0:
            return False
        self._verifier.check_leader(message)
        if agreement.state is not SlotState.EMPTY:
            agreement.compare(message)
            return False
        self._verifier.check_signature(message)
        try:
            self._verifier.check_header(message, fresh=True)
        except Rejected:
            agreement.refuse(message, message.header.id(self._suite))
            raise
        agreement.accept(message, fresh=True, senders=(message.leader,))
        return True

    # Leading

    def _build_if_leading(self) -> None:
        if self._changer.changing or self.view != 0 or not self._changer.leads or self._asked_to_build:
            return
        if self._work_pending and self._agreement.state is SlotState.EMPTY and self._agreement.decision is None:
            self._asked_to_build = True
            self._outbox.emit(BuildBlock(self.height, 0))

    def _on_built(self, event: BlockBuilt) -> None:
        if event.height != self.height or event.view != self.view or self._agreement.decision is not None:
            return
        if not self._changer.leads or self._agreement.state is not SlotState.EMPTY:
            return
        self._check_own_block(event.block)
        if self.view != 0:
            self._changer.on_block(event.view, event.block, built=True)
        else:
            hashes = tuple(event.block.envelope_hashes(self._suite))
            self._agreement.lead(self._voice.proposal(0, event.block.header, hashes), event.block, validated=True)

    def _check_own_block(self, block: Block) -> None:
        unsigned = Proposal(self.height, self.view, block.header, (), self._voice.index or 0, b"")
        try:
            self._verifier.check_header(unsigned, fresh=True)
        except Rejected as error:
            raise InvariantBroken(f"the node built a block that nobody will accept: {error}") from error

    def _on_work(self, pending: bool) -> None:
        self._work_pending = pending
        if not pending:
            self._asked_to_build = False
        elif self._agreement.decision is None:
            self._build_if_leading()
            self._changer.ask_again()

    # Time

    def _refresh_timer(self) -> None:
        """Set or cancel the timer if what it waits for has changed (protocol rule 4)."""
        due = self._awaited()
        if due == self._timer:
            return
        self._timer = due
        if due is None:
            self._outbox.emit(CancelViewTimer())
        else:
            self._outbox.emit(SetViewTimer(self.height, self.view, self.parameters.timeout_ms(self.view)))

    def _awaited(self) -> tuple[int, int, str] | None:
        agreement, changer = self._agreement, self._changer
        if agreement.decision is not None or not self._voice.can_sign or self.validators.size == 1:
            return None
        if changer.changing:
            return self.height, changer.view, "new view" if changer.has_quorum else "view changes"
        if self._work_pending or agreement.has_pending_proposal or agreement.prepared is not None:
            return self.height, changer.view, "decision"
        return None

    def _on_timer(self, event: ViewTimerExpired) -> None:
        """Change the view, or repeat what others may have missed. Any but the running timer's expiry is void."""
        if self._timer is None or (event.height, event.view) != self._timer[:2]:
            return
        self._timer = None
        changer, asked = self._changer, self._voice.latest(Stage.VIEW_CHANGE)
        if not changer.changing or changer.has_quorum:
            changer.start(self.view + 1)
            commit = self._voice.latest(Stage.COMMIT)
            if commit is not None:
                self._outbox.emit(Broadcast(commit))
        elif asked is None or asked.view != self.view:
            changer.start(self.view)
        else:
            for message in self._voice.to_resend(self.view, changing=self._changer.changing):
                self._outbox.emit(Broadcast(message))

    # Peers

    def _on_connected(self, index: int) -> None:
        """Send a (re)connected peer what it may have missed, and what we hold signed by it (protocol rules 3 and 7)."""
        if index >= self.validators.size or index == self._voice.index:
            return
        held = self.highest_signed_by(self.validators.members[index].public_key)
        if held is not None and held.height == self.height:
            self._outbox.emit(Send(index, held))
        self._send_own(index)

    def _send_own(self, index: int) -> None:
        if self._agreement.decision is not None:
            return
        own = self._voice.to_resend(self.view, changing=self._changer.changing)
        new_view = self._changer.new_view
        if new_view is not None and new_view not in own:
            self._outbox.emit(Send(index, new_view))
        for message in own:
            self._outbox.emit(Send(index, message))

    def _on_own_message(self, message: ConsensusMessage) -> None:
        code = self._voice.judge_shown(message)
        if code is not None:
            self._abstain(message.height, code)

    def _abstain(self, height: int, code: str) -> None:
        if self._voice.abstain(height):
            self._outbox.emit(Abstaining(height, code))

    # Questions of the node

    @property
    def view(self) -> int:
        """View of the open height that we are in."""
        return self._changer.view

    @property
    def own_index(self) -> int | None:
        """Our place in the set of the open height."""
        return self._voice.index

    @property
    def can_vote(self) -> bool:
        """Whether we sign at the open height: a member, not refusing, not abstaining."""
        return self._voice.can_sign

    def body(self, block_id: bytes) -> Block | None:
        """A block of the open height that we validated: what a peer's fetch is answered with."""
        return self._agreement.bodies.get(block_id)

    def highest_signed_by(self, public_key: bytes) -> ConsensusMessage | None:
        """The furthest message that we hold signed by this member, to be shown to it in a hello (protocol rule 7)."""
        return self._witness.furthest_of(public_key)
