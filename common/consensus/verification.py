"""Whether a message of the open height holds: signatures, evidence, and the header's place in the chain.

Invariants
  V1  Nothing is counted, kept or answered for its content before it passed here; every check raises `Rejected` with a
      stable code (attacks C1-C6, C9, C10, C14).
  V2  Cheap checks come before signatures, and a signature that held once is not verified again within a height
      (protocol rule 15). What fails is never remembered.
  V3  Signers are members of exactly this height's set (attacks C9, C18).

Reference: Castro & Liskov (OSDI '99) section 4.4; QBFT's formal specification for justified new views. Left out: the
block's body, execution, wall clock (the node validates those).
"""

from __future__ import annotations

from collections.abc import Iterable

from common.consensus.events import ChainTip
from common.consensus.messages import ConsensusMessage, NewView, PreparedCertificate, Proposal, Stage, ViewChange
from common.consensus.params import MAX_VERIFIED_SIGNATURES
from common.consensus.payloads import Payloads
from common.core.errors import RuleBroken, Unauthorised
from common.core.validators import ValidatorSet


def highest_prepared(changes: Iterable[ViewChange]) -> PreparedCertificate | None:
    """The certificate of the highest view, which a new leader must repeat; None leaves it free.

    Two of one view differ only if more than f members are faulty; then the larger id counts, everywhere alike.
    """
    certificates = [change.prepared for change in changes if change.prepared is not None]
    return max(certificates, key=lambda held: (held.view, held.block_id), default=None)


class Verifier:
    """Checks under one height's validator set, on top of one parent."""

    def __init__(self, payloads: Payloads, validators: ValidatorSet, parent: ChainTip) -> None:
        self._payloads = payloads
        self._suite = payloads.suite
        self._validators = validators
        self._parent = parent
        self._verified: set[tuple[int, bytes, bytes]] = set()

    def check_signature(self, message: ConsensusMessage) -> None:
        """Raise `Unauthorised` unless the named member signed exactly this message (attacks C4, C9, C10)."""
        self._check_signature(message.signer, self._payloads.of(message), message.signature)

    def _check_signature(self, index: int, payload: bytes, signature: bytes) -> None:
        if index >= self._validators.size:
            raise Unauthorised("consensus_unknown_signer", "The signer is not in this height's set.", index=index)
        known = (index, payload, signature)
        if known in self._verified:
            return
        if not self._suite.verify(self._validators.members[index].public_key, payload, signature):
            raise Unauthorised("consensus_bad_signature", "A signature does not hold.", index=index)
        if len(self._verified) < MAX_VERIFIED_SIGNATURES:
            self._verified.add(known)

    def check_leader(self, message: Proposal | NewView) -> None:
        """Raise `RuleBroken` unless the signer leads its view."""
        if message.leader != self._validators.leader(message.height, message.view):
            raise RuleBroken("consensus_wrong_leader", "The sender does not lead this view.", view=message.view)

    def check_header(self, proposal: Proposal, *, fresh: bool) -> None:
        """Raise `RuleBroken` unless the header continues the chain (attacks C1, C14, C15).

        A fresh proposal names its leader as proposer; a re-proposal keeps the first one's (protocol rule 2, C21).
        """
        header = proposal.header
        if (header.genesis_id, header.network) != (self._payloads.genesis_id, self._payloads.network):
            raise RuleBroken("proposal_wrong_chain", "The block belongs to another chain.")
        if header.height != proposal.height or header.height != self._parent.height + 1:
            raise RuleBroken("proposal_wrong_height", "The block is of another height.", height=header.height)
        if header.parent_id != self._parent.block_id:
            raise RuleBroken("proposal_wrong_parent", "The block continues another parent.", height=header.height)
        if header.time_ms <= self._parent.time_ms:
            raise RuleBroken("proposal_time_not_increasing", "The block is not later than its parent.")
        if header.validators_hash != self._validators.hash(self._suite):
            raise RuleBroken("proposal_wrong_set", "The block names another validator set.", height=header.height)
        if header.proposer >= self._validators.size or (fresh and header.proposer != proposal.leader):
            raise RuleBroken("proposal_wrong_proposer", "The block names another proposer.", index=header.proposer)

    def check_prepared(self, prepared: PreparedCertificate) -> None:
        """Raise unless a quorum of distinct members signed PREPARE in that view (attacks C4, C6, C7)."""
        signers = prepared.signers
        if len(signers) < self._validators.quorum:
            raise RuleBroken("prepared_too_few", "Fewer PREPARE signatures than a quorum.", count=len(signers))
        if len(set(signers)) != len(signers):
            raise RuleBroken("prepared_duplicate_signer", "A member is counted twice.")
        payload = self._payloads.of_vote(Stage.PREPARE, prepared.height, prepared.view, prepared.block_id)
        for index, signature in prepared.signatures:
            self._check_signature(index, payload, signature)

    def check_view_change(self, change: ViewChange) -> None:
        """Raise unless the voter signed it and its certificate, if any, is of this height, earlier, and holds."""
        prepared = change.prepared
        if prepared is not None and (prepared.height != change.height or prepared.view >= change.view):
            raise RuleBroken("view_change_prepared", "The certificate is not of an earlier view of this height.")
        self.check_signature(change)
        if prepared is not None:
            self.check_prepared(prepared)

    def check_new_view(self, new_view: NewView) -> PreparedCertificate | None:
        """Raise unless its evidence justifies its proposal; return the certificate that the proposal repeats.

        The evidence is a quorum of view changes of distinct members for exactly this view. If any of them carries a
        prepared certificate, the proposal must be the block of the highest; otherwise it is the leader's own, fresh
        (protocol rule 2; attacks C2-C6).
        """
        changes, proposal = new_view.view_changes, new_view.proposal
        self.check_leader(new_view)
        if (proposal.height, proposal.view, proposal.leader) != (new_view.height, new_view.view, new_view.leader):
            raise RuleBroken("new_view_proposal", "The proposal is not this view's.", view=proposal.view)
        if any((change.height, change.view) != (new_view.height, new_view.view) for change in changes):
            raise RuleBroken("new_view_wrong_evidence", "A view change asks for another view.")
        if len({change.signer for change in changes}) != len(changes):
            raise RuleBroken("new_view_duplicate_voter", "A member's view change is counted twice.")
        if len(changes) < self._validators.quorum:
            raise RuleBroken("new_view_too_few", "Fewer view changes than a quorum.", count=len(changes))
        due = highest_prepared(changes)
        if due is not None and due.block_id != proposal.header.id(self._suite):
            raise RuleBroken("new_view_wrong_block", "The evidence demands another block.", view=due.view)
        self.check_header(proposal, fresh=due is None)
        self.check_signature(new_view)
        self.check_signature(proposal)
        for change in changes:
            self.check_view_change(change)
        return due
