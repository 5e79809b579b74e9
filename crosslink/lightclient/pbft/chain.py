"""From a user's root to a block, offline: the set changes on the way, and the block's certificate.

The headers of an evidence file are every block since genesis after which the set changes, ascending, and last the block
that is to be proven.

Invariants:
  C1  Trust comes from the root alone; each set is believed because the set before it signed for its hash (attack R2).
  C2  If the block is above the root's checkpoint, changes at or below the checkpoint count for nothing.

Left out: what the block then proves (`objects`), freshness: there is no clock here.
"""

from __future__ import annotations

from collections.abc import Sequence

from common.core.errors import Malformed
from common.core.protocol import latest_version
from common.core.suite import Suite
from common.core.validators import ValidatorSet
from crosslink.lightclient.pbft.messages import BareHeader, HeaderMessage
from crosslink.lightclient.pbft.trust import checkpoint_set, root_set
from crosslink.lightclient.pbft.verify import block_of, check_names, check_signed_by
from crosslink.lightclient.port import HeaderRefused, VerifiedBlock
from crosslink.lightclient.trust_root import TrustRoot


def verify_chain(root: TrustRoot, headers: Sequence[bytes]) -> VerifiedBlock:
    """The last header's block, verified from the root.

    Raises `Malformed` with `evidence_set_changes_order`, `evidence_checkpoint_conflict`, `next_set_mismatch`,
    `protocol_version_unknown`; `HeaderRefused` with `wrong_network`, `wrong_genesis`, `wrong_suite`, `wrong_set`;
    `CertificateInvalid`.
    """
    suite, signing = root_set(root)
    *changes, tip = [_decode(suite, root, header) for header in headers]
    block, checkpoint, skip_to = block_of(tip), root.checkpoint, 0
    if checkpoint is not None and block.height > checkpoint.height:
        signing, skip_to = checkpoint_set(checkpoint, suite), checkpoint.height
    if checkpoint is not None and block.height == checkpoint.height and block.id != checkpoint.id:
        raise Malformed("evidence_checkpoint_conflict", "The header is not the block of the user's checkpoint.")
    previous = 0
    for change in changes:
        height = change.header.height
        if not previous < height < block.height:
            raise Malformed("evidence_set_changes_order", "Set changes ascend and lie below the header.", height=height)
        previous = height
        if height > skip_to:
            signing = _verify_change(suite, change, signing)
    check_signed_by(suite, signing, signing.hash(suite), tip)
    return block


def _decode(suite: Suite, root: TrustRoot, data: bytes) -> HeaderMessage:
    message = HeaderMessage.decode(data)
    check_names(message.header, root.network, root.genesis_id)
    if message.suite.name != suite.name:
        raise HeaderRefused("wrong_suite", "The header is hashed and signed with another suite than the chain's.")
    check_known_version(message)
    return message


def check_known_version(message: HeaderMessage | BareHeader) -> None:
    """Raise `Malformed('protocol_version_unknown')` for a header that this verifier may read wrongly."""
    version = message.header.protocol_version
    if version > latest_version():
        raise Malformed(
            "protocol_version_unknown",
            "A header obeys a protocol version that this verifier does not know; use a newer one.",
            protocol_version=version,
        )


def _verify_change(suite: Suite, change: HeaderMessage, signing: ValidatorSet) -> ValidatorSet:
    header, following = change.header, change.next_validators
    check_signed_by(suite, signing, signing.hash(suite), change)
    if following is None or following.hash(suite) != header.next_validators_hash:
        raise Malformed(
            "next_set_mismatch", "The delivered next set is not the one that the header commits.", height=header.height
        )
    following.check_keys(suite)
    return following
