"""Lies of a leader: PRE-PREPAREs that no correct leader makes."""

from __future__ import annotations

from common.consensus.messages import ConsensusMessage, Proposal
from common.core import merkle
from tests.sim.mutators.catalogue import Workshop, mutator, with_header
from tests.sim.toys import CHEAP
from tests.support.changed import replace

HOUR_MS = 3_600_000


@mutator("pre-prepare")
def proposal_with_another_parent(workshop: Workshop, proposal: Proposal) -> ConsensusMessage:
    """The block continues a parent that is not the tip (attack C14)."""
    return with_header(workshop, proposal, parent_id=workshop.another_id())


@mutator("pre-prepare")
def proposal_of_another_height(workshop: Workshop, proposal: Proposal) -> ConsensusMessage:
    """The same content at the next height (attack C1)."""
    return with_header(workshop, proposal, height=proposal.height + 1)


@mutator("pre-prepare")
def proposal_header_and_message_differ(workshop: Workshop, proposal: Proposal) -> ConsensusMessage:
    """The message is of this height, its header of another (attack C1)."""
    header = replace(proposal.header, height=proposal.height + 1)
    return workshop.signed(replace(proposal, header=header))


@mutator("pre-prepare")
def proposal_from_the_future(workshop: Workshop, proposal: Proposal) -> ConsensusMessage:
    """The block's time is an hour ahead (attack C15)."""
    return with_header(workshop, proposal, time_ms=proposal.header.time_ms + HOUR_MS)


@mutator("pre-prepare")
def proposal_from_the_past(workshop: Workshop, proposal: Proposal) -> ConsensusMessage:
    """The block is older than its parent (attack C15)."""
    return with_header(workshop, proposal, time_ms=max(1, proposal.header.time_ms - HOUR_MS))


@mutator("pre-prepare")
def proposal_a_little_later(workshop: Workshop, proposal: Proposal) -> ConsensusMessage:
    """Another valid-looking time: an equivocation in one field (attack C1)."""
    return with_header(workshop, proposal, time_ms=proposal.header.time_ms + 1 + workshop.random.randrange(3))


@mutator("pre-prepare")
def proposal_with_another_state_root(workshop: Workshop, proposal: Proposal) -> ConsensusMessage:
    """The state root is not what execution gives."""
    return with_header(workshop, proposal, state_root=workshop.flip(proposal.header.state_root))


@mutator("pre-prepare")
def proposal_with_another_receipt_root(workshop: Workshop, proposal: Proposal) -> ConsensusMessage:
    """The receipt root is not what execution gives."""
    return with_header(workshop, proposal, receipt_root=workshop.flip(proposal.header.receipt_root))


@mutator("pre-prepare")
def proposal_with_another_snapshot_root(workshop: Workshop, proposal: Proposal) -> ConsensusMessage:
    """The snapshot root is not what execution gives."""
    return with_header(workshop, proposal, snapshot_root=workshop.flip(proposal.header.snapshot_root))


@mutator("pre-prepare")
def proposal_with_another_snapshot_count(workshop: Workshop, proposal: Proposal) -> ConsensusMessage:
    """The header promises one snapshot more."""
    return with_header(workshop, proposal, snapshot_count=proposal.header.snapshot_count + 1)


@mutator("pre-prepare")
def proposal_with_another_change_root(workshop: Workshop, proposal: Proposal) -> ConsensusMessage:
    """The change root is not what execution gives: a follower could not be told the truth."""
    return with_header(workshop, proposal, change_root=workshop.flip(proposal.header.change_root))


@mutator("pre-prepare")
def proposal_with_another_transaction_root(workshop: Workshop, proposal: Proposal) -> ConsensusMessage:
    """The transaction root is not that of the envelopes."""
    return with_header(workshop, proposal, tx_root=workshop.flip(proposal.header.tx_root))


@mutator("pre-prepare")
def proposal_names_other_envelopes(workshop: Workshop, proposal: Proposal) -> ConsensusMessage | None:
    """The header is right, but the envelopes named beside it are others: the body does not lead to the root."""
    if not proposal.envelope_hashes:
        return None
    hashes = (workshop.another_id(), *proposal.envelope_hashes[1:])
    return workshop.signed(replace(proposal, envelope_hashes=hashes))


@mutator("pre-prepare")
def proposal_repeats_a_transaction(workshop: Workshop, proposal: Proposal) -> ConsensusMessage | None:
    """One transaction stands in the block twice, with a root that says so (attack N4)."""
    if not proposal.envelope_hashes:
        return None
    return _with_hashes(workshop, proposal, (*proposal.envelope_hashes, proposal.envelope_hashes[0]))


@mutator("pre-prepare")
def proposal_leaves_transactions_out(workshop: Workshop, proposal: Proposal) -> ConsensusMessage | None:
    """The same roots over fewer transactions."""
    if not proposal.envelope_hashes:
        return None
    return _with_hashes(workshop, proposal, proposal.envelope_hashes[:-1])


@mutator("pre-prepare")
def proposal_of_nothing(workshop: Workshop, proposal: Proposal) -> ConsensusMessage | None:
    """An empty block, right in every root, long before the heartbeat is due (protocol rule 4)."""
    parents = [held for held in workshop.heard_of(Proposal) if held.header.id(CHEAP) == proposal.header.parent_id]
    if not parents or not proposal.envelope_hashes:
        return None
    nothing = merkle.root(CHEAP.hash, ())
    header = replace(
        proposal.header,
        tx_root=nothing,
        tx_count=0,
        receipt_root=nothing,
        receipt_count=0,
        snapshot_root=nothing,
        snapshot_count=0,
        change_root=nothing,
        change_count=0,
        state_root=parents[-1].header.state_root,
    )
    return workshop.signed(replace(proposal, header=header, envelope_hashes=()))


@mutator("pre-prepare")
def proposal_replays_older_transactions(workshop: Workshop, proposal: Proposal) -> ConsensusMessage | None:
    """Transactions of an earlier proposal, committed since, are proposed again (attack N4)."""
    older = [held for held in workshop.heard_of(Proposal) if held.height < proposal.height and held.envelope_hashes]
    if not older:
        return None
    return _with_hashes(workshop, proposal, workshop.random.choice(older).envelope_hashes)


def _with_hashes(workshop: Workshop, proposal: Proposal, hashes: tuple[bytes, ...]) -> ConsensusMessage:
    header = replace(proposal.header, tx_root=merkle.root(CHEAP.hash, hashes), tx_count=len(hashes))
    return workshop.signed(replace(proposal, header=header, envelope_hashes=hashes))


@mutator("pre-prepare")
def proposal_of_another_chain(workshop: Workshop, proposal: Proposal) -> ConsensusMessage:
    """The header names another genesis (attack C10)."""
    return with_header(workshop, proposal, genesis_id=workshop.another_id())


@mutator("pre-prepare")
def proposal_in_the_name_of_another_proposer(workshop: Workshop, proposal: Proposal) -> ConsensusMessage:
    """The header says that somebody else made the block."""
    return with_header(workshop, proposal, proposer=workshop.another_member())


@mutator("pre-prepare")
def proposal_with_the_leaders_name(workshop: Workshop, proposal: Proposal) -> ConsensusMessage:
    """Signed by the liar, sent in the name of another leader."""
    return replace(workshop.signed(proposal), leader=workshop.another_member())


@mutator("pre-prepare")
def proposal_for_a_later_view(workshop: Workshop, proposal: Proposal) -> ConsensusMessage:
    """A proposal for a view above 0 that no NEW-VIEW brings (attack C2)."""
    return workshop.signed(replace(proposal, view=proposal.view + workshop.random.choice((1, 2, workshop.members))))


@mutator("pre-prepare")
def proposal_of_the_next_set(workshop: Workshop, proposal: Proposal) -> ConsensusMessage:
    """The header hands the next height to a set that nobody decided (attack C9)."""
    return with_header(workshop, proposal, next_validators_hash=workshop.another_id())


@mutator("pre-prepare")
def proposal_of_another_set(workshop: Workshop, proposal: Proposal) -> ConsensusMessage:
    """The header names another set for this height."""
    return with_header(workshop, proposal, validators_hash=workshop.another_id())


@mutator("pre-prepare")
def proposal_of_another_version(workshop: Workshop, proposal: Proposal) -> ConsensusMessage:
    """The rules of a protocol version that is not in force (attack C19)."""
    return with_header(workshop, proposal, protocol_version=proposal.header.protocol_version + 1)


@mutator("pre-prepare")
def proposal_with_a_broken_signature(workshop: Workshop, proposal: Proposal) -> ConsensusMessage:
    """One bit of the signature is wrong."""
    return replace(proposal, signature=workshop.flip(proposal.signature))
