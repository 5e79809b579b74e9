"""Has one of our chains contradicted itself? The second of the three functions, and evidence brought by anybody.

Misbehaviour is (protocol rule 20, attack R3)
  * two certificates for different ids at one height, both valid under that height's set, or
  * a certified tip + 1 whose parent is not the tip; as a pair, any certified block and one certified on top of another.
Either needs at least 2q - n > f members that signed against the protocol, so the whole chain is frozen, whoever
brings the evidence.

Culprits are named only when both certificates are of one view, from members that signed both: an honest replica never
signs two COMMITs in one (height, view), but may sign one in a view and another in a later view, so across views no
signature by itself accuses anybody.

Left out: what freezing means (the custody chain); recovery (governance, protocol rule 21).
"""

from __future__ import annotations

from common.core.suite import Suite
from common.core.validators import ValidatorSet
from crosslink.lightclient.client_state import ClientState
from crosslink.lightclient.pbft.messages import HeaderMessage
from crosslink.lightclient.pbft.trust import trust_of
from crosslink.lightclient.pbft.verify import block_of, check_chain, check_signed_by
from crosslink.lightclient.port import (
    SAME_HEIGHT,
    WRONG_PARENT,
    Culprit,
    HeaderRefused,
    Held,
    Misbehaviour,
    Verdict,
    Verified,
    VerifiedBlock,
)


def check_misbehaviour(state: ClientState, verified: Verified, held: Held) -> Misbehaviour | None:
    """The contradiction that a verified header proves against `state`, or None."""
    trusted_id, block = verified.trusted_id, verified.block
    if verified.verdict is not Verdict.CONFLICTING or trusted_id is None:
        return None
    below = held(block.height - 1)
    settled = [(trusted_id, block.id)] + ([] if below is None else [(below, block.id)])
    return Misbehaviour(
        kind=WRONG_PARENT if block.height == state.height + 1 else SAME_HEIGHT,
        network=state.network,
        height=block.height,
        first_id=trusted_id,
        second_id=block.id,
        details={"view": None},
        pairs=_pairs(trusted_id, block, above=block.height == state.height + 1),
        settled_by=tuple(settled),
    )


def _pairs(first_id: bytes, second: VerifiedBlock, *, above: bool) -> tuple[tuple[int, bytes, bytes], ...]:
    """What `second` shows: a block on top of another one than `first_id` sets that one against its parent, too."""
    shown = ((second.height, first_id, second.id),)
    return (*shown, (second.height - 1, first_id, second.parent)) if above else shown


def verify_misbehaviour(state: ClientState, first: HeaderMessage, second: HeaderMessage) -> Misbehaviour:
    """Judge a pair of headers that anybody brought as evidence: of one height, or the second above the first.

    The set of their height, when it is no longer the current one, comes with `second` (or `first`); it is believed by
    its hash alone. Headers of two heights must have the same set.
    Raises `HeaderRefused` (`misbehaviour_unproven`, `header_gap`, `stale_header`, `wrong_set` …) or
    `CertificateInvalid`.
    """
    trust = trust_of(state)
    height = second.header.height
    for message in (first, second):
        check_chain(state, message)
    lower, upper = block_of(first), block_of(second)
    kind = SAME_HEIGHT if lower.height == height else WRONG_PARENT
    if kind is WRONG_PARENT and lower.height + 1 != height:
        raise HeaderRefused("misbehaviour_unproven", "The two headers contradict each other in nothing.", height=height)
    if lower.id == (upper.id if kind is SAME_HEIGHT else upper.parent):
        raise HeaderRefused("misbehaviour_unproven", "The two headers agree.", height=height)
    if height > state.height + 1:
        raise HeaderRefused("header_gap", "The set of this height is not known yet.", height=height, tip=state.height)
    governing = second.governing or first.governing or trust.validators
    governing_hash = governing.hash(trust.suite)
    if any(trust.validators_hash_at(message.header.height) != governing_hash for message in (first, second)):
        raise HeaderRefused(
            "stale_header", "The set that governed this height was not delivered or is forgotten.", height=height
        )
    for message in (first, second):
        check_signed_by(trust.suite, governing, governing_hash, message)
    settled = [(lower.id, upper.id)]
    if kind is SAME_HEIGHT:
        settled += [(lower.parent, upper.id), (upper.parent, lower.id)]
    one_view = kind is SAME_HEIGHT and first.certificate.view == second.certificate.view
    return Misbehaviour(
        kind=kind,
        network=state.network,
        height=height,
        first_id=lower.id,
        second_id=upper.id,
        culprits=_double_voters(trust.suite, governing, first, second) if one_view else (),
        details={"view": first.certificate.view if one_view else None},
        pairs=_pairs(lower.id, upper, above=kind is WRONG_PARENT),
        settled_by=tuple(settled),
    )


def _double_voters(
    suite: Suite, validators: ValidatorSet, first: HeaderMessage, second: HeaderMessage
) -> tuple[Culprit, ...]:
    """Members with COMMIT votes for both ids in one view; both certificates are verified already."""
    both = {index for index, _ in first.certificate.signatures} & {index for index, _ in second.certificate.signatures}
    members = sorted((validators.members[index] for index in both), key=lambda member: member.name)
    return tuple(
        Culprit(name=member.name, organisation=member.organisation, public_key=suite.format_key(member.public_key))
        for member in members
    )
