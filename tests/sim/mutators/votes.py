"""Lies in PREPARE and COMMIT: for another block, for another view, in another's name, out of another message."""

from __future__ import annotations

from common.consensus.messages import ConsensusMessage, Proposal, Stage, Vote
from tests.sim.mutators.catalogue import Workshop, mutator
from tests.sim.toys import CHEAP
from tests.support.changed import replace


@mutator("prepare")
def prepare_another_block(workshop: Workshop, vote: Vote) -> ConsensusMessage:
    """PREPARE for another block to some peers: equivocation (attack C1)."""
    return workshop.vote(Stage.PREPARE, vote.height, vote.view, workshop.another_id())


@mutator("prepare")
def prepare_a_later_view(workshop: Workshop, vote: Vote) -> ConsensusMessage:
    """PREPARE in a view that has not begun."""
    return workshop.vote(Stage.PREPARE, vote.height, vote.view + workshop.random.choice((1, 2)), vote.block_id)


@mutator("prepare")
def prepare_a_far_view(workshop: Workshop, vote: Vote) -> ConsensusMessage:
    """PREPARE in a view nobody will reach: what is kept of it must be bounded (attack C13)."""
    return workshop.vote(Stage.PREPARE, vote.height, 2**40 + workshop.random.randrange(2**20), vote.block_id)


@mutator("prepare")
def prepare_a_far_height(workshop: Workshop, vote: Vote) -> ConsensusMessage:
    """PREPARE for a height far above the tip (attack C13)."""
    return workshop.vote(Stage.PREPARE, vote.height + workshop.random.choice((3, 2**40)), vote.view, vote.block_id)


@mutator("prepare")
def prepare_in_anothers_name(workshop: Workshop, vote: Vote) -> ConsensusMessage:
    """The liar's signature under another member's name (attack C8)."""
    forged = workshop.vote(Stage.PREPARE, vote.height, vote.view, workshop.another_id())
    return replace(forged, signer=workshop.another_member())


@mutator("prepare")
def prepare_by_a_foreigner(workshop: Workshop, vote: Vote) -> ConsensusMessage:
    """A signer that is no member of the set (attack C9)."""
    return replace(vote, signer=workshop.members + workshop.random.randrange(3))


@mutator("prepare")
def prepare_made_a_commit(workshop: Workshop, vote: Vote) -> ConsensusMessage:
    """The PREPARE's signature under a COMMIT: types are part of what is signed (attack C10)."""
    return replace(vote, stage=Stage.COMMIT)


@mutator("prepare")
def prepare_replayed_as_a_commit(workshop: Workshop, vote: Vote) -> ConsensusMessage | None:
    """Another member's PREPARE is passed on as its COMMIT (attack C10)."""
    heard = [item for item in workshop.heard_of(Vote, vote.height) if item.stage is Stage.PREPARE]
    return replace(workshop.random.choice(heard), stage=Stage.COMMIT) if heard else None


@mutator("prepare")
def prepare_replayed_in_another_view(workshop: Workshop, vote: Vote) -> ConsensusMessage | None:
    """Another member's PREPARE of an earlier view is passed on as one of this view (attack C10)."""
    heard = [item for item in workshop.heard_of(Vote, vote.height) if item.stage is Stage.PREPARE]
    return replace(workshop.random.choice(heard), view=vote.view + workshop.random.randrange(2)) if heard else None


@mutator("prepare")
def prepare_replaced_by_a_proposal(workshop: Workshop, vote: Vote) -> ConsensusMessage | None:
    """A member that does not lead proposes: the leader's block with another time, in the liar's name."""
    heard = workshop.heard_of(Proposal, vote.height)
    if not heard:
        return None
    header = replace(heard[-1].header, proposer=workshop.number, time_ms=heard[-1].header.time_ms + 1)
    return workshop.signed(replace(heard[-1], header=header, leader=workshop.number))


@mutator("prepare")
def prepare_with_a_broken_signature(workshop: Workshop, vote: Vote) -> ConsensusMessage:
    """One bit of the signature is wrong."""
    return replace(vote, signature=workshop.flip(vote.signature))


@mutator("commit")
def commit_another_block(workshop: Workshop, vote: Vote) -> ConsensusMessage:
    """COMMIT for another block to some peers: equivocation (attack C1)."""
    return workshop.vote(Stage.COMMIT, vote.height, vote.view, workshop.another_id())


@mutator("commit")
def commit_a_later_view(workshop: Workshop, vote: Vote) -> ConsensusMessage:
    """COMMIT in a view that has not begun."""
    return workshop.vote(Stage.COMMIT, vote.height, vote.view + workshop.random.choice((1, 2)), vote.block_id)


@mutator("commit")
def commit_in_anothers_name(workshop: Workshop, vote: Vote) -> ConsensusMessage:
    """The liar's signature under another member's name (attack C8)."""
    return replace(vote, signer=workshop.another_member())


@mutator("commit")
def commit_by_a_foreigner(workshop: Workshop, vote: Vote) -> ConsensusMessage:
    """A signer that is no member of the set (attack C9)."""
    return replace(vote, signer=workshop.members + workshop.random.randrange(3))


@mutator("commit")
def commit_replayed_at_another_height(workshop: Workshop, vote: Vote) -> ConsensusMessage | None:
    """Another member's COMMIT of an earlier height is passed on as one of this height (attack C10)."""
    heard = [item for item in workshop.heard_of(Vote) if item.stage is Stage.COMMIT and item.height < vote.height]
    return replace(workshop.random.choice(heard), height=vote.height) if heard else None


@mutator("commit")
def commit_replayed_in_another_view(workshop: Workshop, vote: Vote) -> ConsensusMessage | None:
    """Another member's COMMIT is passed on as one of another view (attack C10)."""
    heard = [item for item in workshop.heard_of(Vote, vote.height) if item.stage is Stage.COMMIT]
    return replace(workshop.random.choice(heard), view=vote.view + 1) if heard else None


@mutator("commit")
def commit_made_a_prepare(workshop: Workshop, vote: Vote) -> ConsensusMessage:
    """The COMMIT's signature under a PREPARE (attack C10)."""
    return replace(vote, stage=Stage.PREPARE)


@mutator("commit")
def commit_replaced_by_the_next_proposal(workshop: Workshop, vote: Vote) -> ConsensusMessage | None:
    """A member that does not lead the next height proposes its block, before its leader can (a toy block, valid)."""
    heard = [held for held in workshop.heard_of(Proposal, vote.height) if held.header.id(CHEAP) == vote.block_id]
    if not heard:
        return None
    header = replace(
        heard[0].header,
        height=vote.height + 1,
        parent_id=vote.block_id,
        time_ms=heard[0].header.time_ms + 1,
        proposer=workshop.number,
        state_root=CHEAP.hash(vote.block_id + b"".join(heard[0].envelope_hashes)),
    )
    told = replace(heard[0], height=vote.height + 1, view=0, header=header, leader=workshop.number)
    return workshop.signed(told)


@mutator("commit")
def commit_with_a_broken_signature(workshop: Workshop, vote: Vote) -> ConsensusMessage:
    """One bit of the signature is wrong."""
    return replace(vote, signature=workshop.flip(vote.signature))


@mutator("commit")
def commit_with_a_byte_more(workshop: Workshop, vote: Vote) -> bytes:
    """Trailing bytes: one vote has one encoding (attacks C8, E2)."""
    return vote.encode() + b"\x00"


@mutator("commit")
def commit_replayed_message(workshop: Workshop, vote: Vote) -> ConsensusMessage | None:
    """Anything that was heard before is said again, by somebody else."""
    return workshop.random.choice(workshop.heard) if workshop.heard else None
