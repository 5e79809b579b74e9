"""Lies in commit certificates: too few signers, the wrong ones, votes of another kind, view or block."""

from __future__ import annotations

from common.consensus.messages import Stage, Vote
from common.core.certificate import Certificate, commit_payload
from tests.sim.mutators.catalogue import Workshop, mutator, signatures_of
from tests.sim.toys import CHEAP
from tests.support.changed import replace


@mutator("certificate")
def certificate_with_too_few(workshop: Workshop, certificate: Certificate) -> Certificate:
    """One signature less than it had (attack C4)."""
    return replace(certificate, signatures=certificate.signatures[:-1])


@mutator("certificate")
def certificate_without_signatures(workshop: Workshop, certificate: Certificate) -> Certificate:
    """No signature at all."""
    return replace(certificate, signatures=())


@mutator("certificate")
def certificate_with_a_signer_twice(workshop: Workshop, certificate: Certificate) -> Certificate | None:
    """One signature stands in the place of two (attack C4)."""
    if len(certificate.signatures) < 2:
        return None
    return replace(certificate, signatures=(certificate.signatures[0], *certificate.signatures[:-1]))


@mutator("certificate")
def certificate_with_a_foreigner(workshop: Workshop, certificate: Certificate) -> Certificate:
    """The last signer is no member of the set (attack C9)."""
    own = (workshop.members + 3, certificate.signatures[-1][1])
    return replace(certificate, signatures=(*certificate.signatures[:-1], own))


@mutator("certificate")
def certificate_with_a_forged_signature(workshop: Workshop, certificate: Certificate) -> Certificate:
    """One signature is the liar's, in another member's name (attack C8)."""
    payload = commit_payload(
        CHEAP, workshop.genesis_id, workshop.network, certificate.height, certificate.view, certificate.block_id
    )
    places = [at for at, (index, _) in enumerate(certificate.signatures) if index != workshop.number]
    place = workshop.random.choice(places or [0])
    signatures = list(certificate.signatures)
    signatures[place] = (signatures[place][0], workshop.sign(payload + b"*"))
    return replace(certificate, signatures=tuple(signatures))


@mutator("certificate")
def certificate_signed_by_the_liar_alone(workshop: Workshop, certificate: Certificate) -> Certificate:
    """A quorum of names, every signature the liar's (attack C4)."""
    payload = commit_payload(
        CHEAP, workshop.genesis_id, workshop.network, certificate.height, certificate.view, certificate.block_id
    )
    own = workshop.sign(payload)
    return replace(certificate, signatures=tuple((index, own) for index, _ in certificate.signatures))


@mutator("certificate")
def certificate_of_another_view(workshop: Workshop, certificate: Certificate) -> Certificate:
    """The signatures of one view under the number of another (attack C10)."""
    return replace(certificate, view=certificate.view + 1)


@mutator("certificate")
def certificate_of_another_height(workshop: Workshop, certificate: Certificate) -> Certificate:
    """The signatures of one height under the number of another (attack C10)."""
    return replace(certificate, height=certificate.height + 1)


@mutator("certificate")
def certificate_of_another_block(workshop: Workshop, certificate: Certificate) -> Certificate:
    """The signatures of one block under another's id."""
    return replace(certificate, block_id=workshop.another_id())


@mutator("certificate")
def certificate_of_prepares(workshop: Workshop, certificate: Certificate) -> Certificate | None:
    """PREPARE signatures instead of COMMITs: prepared is not decided (attack C10)."""
    prepares = [
        vote
        for vote in workshop.heard_of(Vote, certificate.height)
        if vote.stage is Stage.PREPARE and (vote.view, vote.block_id) == (certificate.view, certificate.block_id)
    ]
    if not prepares:
        return None
    return replace(certificate, signatures=signatures_of(prepares))


@mutator("certificate")
def certificate_in_another_order(workshop: Workshop, certificate: Certificate) -> Certificate:
    """The same signatures, descending: a list of votes has one encoding (attack C8)."""
    return replace(certificate, signatures=tuple(reversed(certificate.signatures)))


@mutator("certificate")
def certificate_with_a_bit_flipped(workshop: Workshop, certificate: Certificate) -> bytes:
    """Any one bit of it is wrong (attack R5)."""
    return workshop.flip(certificate.encode())
