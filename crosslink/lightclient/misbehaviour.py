"""Has the other chain contradicted itself? The second of the three functions, and evidence brought by anybody.

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

from dataclasses import dataclass
from typing import Any

from common.core.validators import ValidatorSet
from crosslink.lightclient.client_state import ClientState
from crosslink.lightclient.messages import HeaderMessage, HeaderRefused
from crosslink.lightclient.verify import Verdict, VerifiedHeader, check_chain, check_signed_by, check_usable

SAME_HEIGHT = "same_height"
WRONG_PARENT = "wrong_parent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Misbehaviour:
    """Proven contradiction: `kind` is `same_height` or `wrong_parent`.

    `first_id` is the id held before (for `wrong_parent` the trusted tip), `second_id` the one that contradicts it.
    `culprits` are the names of the members that signed both in one view, sorted; empty when that cannot be said
    beyond doubt.
    """

    kind: str
    network: str
    height: int
    first_id: bytes
    second_id: bytes
    culprits: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """For state, logs and receipts."""
        return {
            "kind": self.kind,
            "network": self.network,
            "height": self.height,
            "first_id": self.first_id.hex(),
            "second_id": self.second_id.hex(),
            "culprits": list(self.culprits),
        }


def check_misbehaviour(state: ClientState, verified: VerifiedHeader) -> Misbehaviour | None:
    """The contradiction that a verified header proves against `state`, or None."""
    if verified.verdict is not Verdict.CONFLICTING or verified.trusted_id is None:
        return None
    header = verified.header
    return Misbehaviour(
        kind=WRONG_PARENT if header.height == state.height + 1 else SAME_HEIGHT,
        network=state.network,
        height=header.height,
        first_id=verified.trusted_id,
        second_id=verified.block_id,
    )


def verify_misbehaviour(
    state: ClientState,
    first: HeaderMessage,
    second: HeaderMessage,
    *,
    now_ms: int,
    validators: ValidatorSet | None = None,
) -> Misbehaviour:
    """Judge a pair of headers that anybody brought as evidence: of one height, or the second above the first.

    `validators` is the set of their height when it is no longer the current one; it is believed by its hash alone.
    Headers of two heights must have the same set.
    Raises `HeaderRefused` (`misbehaviour_unproven`, `header_gap`, `stale_header`, `wrong_set`, `frozen`, `expired` …)
    or `CertificateInvalid`.
    """
    check_usable(state, now_ms)
    suite = state.algorithms
    height = second.header.height
    for message in (first, second):
        check_chain(state, message.header)
    first_id, second_id = first.header.id(suite), second.header.id(suite)
    kind = SAME_HEIGHT if first.header.height == height else WRONG_PARENT
    if kind is WRONG_PARENT and first.header.height + 1 != height:
        raise HeaderRefused("misbehaviour_unproven", "The two headers contradict each other in nothing.", height=height)
    if first_id == (second_id if kind is SAME_HEIGHT else second.header.parent_id):
        raise HeaderRefused("misbehaviour_unproven", "The two headers agree.", height=height)
    if height > state.height + 1:
        raise HeaderRefused("header_gap", "The set of this height is not known yet.", height=height, tip=state.height)
    governing = state.validators if validators is None else validators
    governing_hash = governing.hash(suite)
    if any(state.validators_hash_at(message.header.height) != governing_hash for message in (first, second)):
        raise HeaderRefused(
            "stale_header", "The set that governed this height was not delivered or is forgotten.", height=height
        )
    for message in (first, second):
        check_signed_by(suite, governing, governing_hash, message)
    return Misbehaviour(
        kind=kind,
        network=state.network,
        height=height,
        first_id=first_id,
        second_id=second_id,
        culprits=_double_voters(governing, first, second) if kind is SAME_HEIGHT else (),
    )


def _double_voters(validators: ValidatorSet, first: HeaderMessage, second: HeaderMessage) -> tuple[str, ...]:
    """Members with COMMIT votes for both ids in one view; both certificates are verified already."""
    if first.certificate.view != second.certificate.view:
        return ()
    both = {index for index, _ in first.certificate.signatures} & {index for index, _ in second.certificate.signatures}
    return tuple(sorted(validators.members[index].name for index in both))
