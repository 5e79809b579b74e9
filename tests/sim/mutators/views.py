"""Lies in VIEW-CHANGE and NEW-VIEW: certificates hidden, forged or relabelled, evidence cut, invented or ignored."""

from __future__ import annotations

from common.consensus.messages import ConsensusMessage, NewView, PreparedCertificate, Proposal, Stage, ViewChange
from tests.sim.mutators.catalogue import MUTATORS, Workshop, mutator, signatures_of
from tests.support.changed import replace


@mutator("view-change")
def view_change_hides_its_certificate(workshop: Workshop, change: ViewChange) -> ConsensusMessage | None:
    """Says that nothing was prepared, to some peers or to all (attack C3)."""
    return workshop.signed(replace(change, prepared=None)) if change.prepared is not None else None


@mutator("view-change")
def view_change_forges_a_certificate(workshop: Workshop, change: ViewChange) -> ConsensusMessage:
    """A quorum's PREPAREs for a block that nobody has, none of them real but the liar's own (attack C4)."""
    return _reporting(workshop, change, change.view - 1, workshop.another_id(), None)


@mutator("view-change")
def view_change_certificate_of_one(workshop: Workshop, change: ViewChange) -> ConsensusMessage:
    """A certificate with the liar's signature alone (attack C4)."""
    block_id = workshop.another_id()
    own = workshop.vote(Stage.PREPARE, change.height, change.view - 1, block_id)
    return _reporting(workshop, change, change.view - 1, block_id, signatures_of([own]))


@mutator("view-change")
def view_change_certificate_relabelled(workshop: Workshop, change: ViewChange) -> ConsensusMessage | None:
    """A real certificate of a low view is passed off as one of a higher view (attack C4)."""
    held = _any_certificate(workshop, change)
    if held is None:
        return None
    return workshop.signed(replace(change, prepared=replace(held, view=change.view - 1)))


@mutator("view-change")
def view_change_certificate_of_another_block(workshop: Workshop, change: ViewChange) -> ConsensusMessage | None:
    """A real certificate's signatures under another block's id (attack C4)."""
    held = _any_certificate(workshop, change)
    if held is None:
        return None
    return workshop.signed(replace(change, prepared=replace(held, block_id=workshop.another_id())))


@mutator("view-change")
def view_change_certificate_with_a_foreigner(workshop: Workshop, change: ViewChange) -> ConsensusMessage | None:
    """A real certificate in which one signer is no member (attack C4)."""
    held = _any_certificate(workshop, change)
    if held is None:
        return None
    signatures = (*held.signatures[:-1], (workshop.members + 1, held.signatures[-1][1]))
    return workshop.signed(replace(change, prepared=replace(held, signatures=signatures)))


@mutator("view-change")
def view_change_certificate_with_a_signer_twice(workshop: Workshop, change: ViewChange) -> ConsensusMessage | None:
    """One signer fills two places of a certificate (attack C4)."""
    held = _any_certificate(workshop, change)
    if held is None:
        return None
    signatures = tuple(sorted((*held.signatures[:-1], held.signatures[0])))
    return workshop.signed(replace(change, prepared=replace(held, signatures=signatures)))


@mutator("view-change")
def view_change_reports_a_stale_certificate(workshop: Workshop, change: ViewChange) -> ConsensusMessage | None:
    """The lowest certificate that is known, instead of the highest (attack C3)."""
    known = _certificates(workshop, change)
    if not known:
        return None
    return workshop.signed(replace(change, prepared=min(known, key=lambda held: held.view)))


@mutator("view-change")
def view_change_to_a_far_view(workshop: Workshop, change: ViewChange) -> ConsensusMessage:
    """Asks for a view that would take for ever to reach: one voice must move nobody (attack C13)."""
    return workshop.signed(replace(change, view=change.view + workshop.random.choice((1, 5, 2**40))))


@mutator("view-change")
def view_change_in_anothers_name(workshop: Workshop, change: ViewChange) -> ConsensusMessage:
    """The liar's signature under another member's VIEW-CHANGE (attack C8)."""
    return replace(workshop.signed(replace(change, prepared=None)), signer=workshop.another_member())


@mutator("view-change")
def view_change_with_a_broken_signature(workshop: Workshop, change: ViewChange) -> ConsensusMessage:
    """One bit of the signature is wrong; it must hide nobody else's (attack C5)."""
    return replace(change, signature=workshop.flip(change.signature))


@mutator("view-change")
def view_change_of_another_height(workshop: Workshop, change: ViewChange) -> ConsensusMessage:
    """Asks for a view of another height (attack C10)."""
    return workshop.signed(replace(change, height=change.height + workshop.random.choice((1, 3)), prepared=None))


def _certificates(workshop: Workshop, change: ViewChange) -> list[PreparedCertificate]:
    known = [held.prepared for held in workshop.heard_of(ViewChange, change.height) if held.prepared is not None]
    if change.prepared is not None:
        known.append(change.prepared)
    return [held for held in known if held.view < change.view]


def _any_certificate(workshop: Workshop, change: ViewChange) -> PreparedCertificate | None:
    known = _certificates(workshop, change)
    return workshop.random.choice(known) if known else None


def _reporting(
    workshop: Workshop,
    change: ViewChange,
    view: int,
    block_id: bytes,
    signatures: tuple[tuple[int, bytes], ...] | None,
) -> ConsensusMessage:
    """A VIEW-CHANGE that reports a certificate; without signatures, the liar signs for all."""
    if signatures is None:
        own = workshop.vote(Stage.PREPARE, change.height, view, block_id)
        signatures = tuple((at, own.signature) for at in range(workshop.members))
    return workshop.signed(replace(change, prepared=PreparedCertificate(change.height, view, block_id, signatures)))


@mutator("new-view")
def new_view_with_too_little_evidence(workshop: Workshop, message: NewView) -> ConsensusMessage:
    """Fewer view changes than a quorum (attack C4)."""
    fewer = message.view_changes[: workshop.random.randrange(len(message.view_changes))]
    return workshop.signed(replace(message, view_changes=fewer))


@mutator("new-view")
def new_view_without_evidence(workshop: Workshop, message: NewView) -> ConsensusMessage:
    """No view change at all (attack C6)."""
    return workshop.signed(replace(message, view_changes=()))


@mutator("new-view")
def new_view_with_a_voter_twice(workshop: Workshop, message: NewView) -> ConsensusMessage | None:
    """One member's view change stands for two (attack C4)."""
    if len(message.view_changes) < 2:
        return None
    changes = (message.view_changes[0], *message.view_changes[:-1])
    return workshop.signed(replace(message, view_changes=changes))


@mutator("new-view")
def new_view_with_invented_evidence(workshop: Workshop, message: NewView) -> ConsensusMessage:
    """View changes of a whole quorum, all signed by the liar, none of which has prepared anything (attack C4)."""
    own = workshop.signed(ViewChange(message.height, message.view, None, message.leader, b""))
    changes = tuple(
        replace(own, signer=change.signer) if isinstance(own, ViewChange) else change for change in message.view_changes
    )
    return workshop.signed(replace(message, view_changes=changes))


@mutator("new-view")
def new_view_that_hides_certificates(workshop: Workshop, message: NewView) -> ConsensusMessage | None:
    """Certificates are cut out of others' view changes, and a block of the liar's own is proposed (attack C3)."""
    if all(change.prepared is None for change in message.view_changes):
        return None
    bare = tuple(replace(change, prepared=None) for change in message.view_changes)
    return _with_own_block(workshop, replace(message, view_changes=bare))


@mutator("new-view")
def new_view_with_another_block(workshop: Workshop, message: NewView) -> ConsensusMessage | None:
    """The evidence demands a block; the liar proposes its own (attack C6)."""
    if all(change.prepared is None for change in message.view_changes):
        return None
    return _with_own_block(workshop, message)


@mutator("new-view")
def new_view_with_an_older_block(workshop: Workshop, message: NewView) -> ConsensusMessage | None:
    """The evidence demands the block of its highest certificate; an earlier proposal's is repeated (attack C3)."""
    if all(change.prepared is None for change in message.view_changes):
        return None
    heard = workshop.heard_of(Proposal, message.height)
    heard += [held.proposal for held in workshop.heard_of(NewView, message.height)]
    others = [held for held in heard if held.header != message.proposal.header]
    if not others:
        return None
    chosen = others[0]
    proposal = replace(message.proposal, header=chosen.header, envelope_hashes=chosen.envelope_hashes)
    return _renewed(workshop, message, proposal)


@mutator("new-view")
def new_view_with_evidence_of_another_view(workshop: Workshop, message: NewView) -> ConsensusMessage | None:
    """View changes for another view than the one that is announced (attack C4)."""
    others = {
        held.signer: held
        for held in workshop.heard_of(ViewChange, message.height)
        if held.view != message.view and held.signer != message.leader
    }
    if not others:
        return None
    changes = tuple(others.get(change.signer, change) for change in message.view_changes)
    return workshop.signed(replace(message, view_changes=changes))


@mutator("new-view")
def new_view_of_another_view(workshop: Workshop, message: NewView) -> ConsensusMessage:
    """The evidence is old, the view that is announced a later one that the liar leads as well (attack C4)."""
    view = message.view + workshop.members
    proposal = replace(message.proposal, view=view)
    return _renewed(workshop, replace(message, view=view), proposal)


@mutator("new-view")
def new_view_with_an_unsigned_proposal(workshop: Workshop, message: NewView) -> ConsensusMessage:
    """The proposal inside carries a wrong signature."""
    proposal = replace(message.proposal, signature=workshop.flip(message.proposal.signature))
    return workshop.signed(replace(message, proposal=proposal))


@mutator("new-view")
def new_view_with_a_spoilt_proposal(workshop: Workshop, message: NewView) -> ConsensusMessage | None:
    """The evidence is right; the block is spoilt in one of the ways of PRE-PREPAREs (attack C22)."""
    choices = [found for found in MUTATORS.values() if found.target == "pre-prepare"]
    lie = workshop.random.choice(choices).change(workshop, message.proposal)
    if not isinstance(lie, Proposal) or lie.header.height != message.height:
        return None
    return _renewed(workshop, message, replace(lie, view=message.view, leader=message.leader))


@mutator("new-view")
def new_view_with_a_broken_signature(workshop: Workshop, message: NewView) -> ConsensusMessage:
    """One bit of the signature is wrong."""
    return replace(message, signature=workshop.flip(message.signature))


def _with_own_block(workshop: Workshop, message: NewView) -> ConsensusMessage:
    """The same NEW-VIEW around a block that differs from the demanded one in its time, and names the liar."""
    header = replace(
        message.proposal.header,
        proposer=message.leader,
        time_ms=message.proposal.header.time_ms + 1 + workshop.random.randrange(5),
    )
    return _renewed(workshop, message, replace(message.proposal, header=header))


def _renewed(workshop: Workshop, message: NewView, proposal: Proposal) -> ConsensusMessage:
    signed = workshop.signed(proposal)
    assert isinstance(signed, Proposal)
    return workshop.signed(replace(message, proposal=signed))
