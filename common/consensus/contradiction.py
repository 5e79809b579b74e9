"""Proof that one validator signed twice: two statements of one kind, height and view with different values.

A correct validator signs at most one message for each mark (`voice`, rule O1), durable before it leaves (protocol rule
1), also over restarts. So two signed statements of one kind in one (height, view) that differ prove its signer faulty,
whatever else happened. Across views nothing is proven: an honest replica may commit in two (protocol rule 20).

A `Statement` is what of a message is under its signature, with hashes in place of what is long, so that a proof of any
kind takes a few hundred bytes. Its `value`, and with it the signed bytes
`tagged_hash(tag, b32 genesis_id | text8 network | u64 height | u64 view | value)`, by kind:

    prepare, commit   b32 block_id
    proposal          b32 block_id | b32 hash(envelope hashes joined)
    view_change       u8 0, or u8 1 | b32 hash(prepared certificate)
    new_view          b32 hash(view change blobs) | b32 proposal's signed bytes

Invariants
  K1  Nothing is accused without two valid signatures of one member of the set that signs that height (attacks C1, C9).
  K2  Signatures are not compared, only values: a signature scheme may give two for one value (attack C8).

Left out: which set signs a height, who is told (the node).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Self

from common.consensus.messages import (
    NEW_VIEW_TAG,
    PREPARE_TAG,
    PROPOSAL_TAG,
    VIEW_CHANGE_TAG,
    ConsensusMessage,
    NewView,
    Proposal,
    Stage,
    ViewChange,
    Vote,
)
from common.core.certificate import COMMIT_TAG, Certificate, commit_payload, signed_prefix
from common.core.codec import MAX_SAFE_INTEGER, Writer
from common.core.errors import Malformed, RuleBroken, Unauthorised
from common.core.suite import HASH_SIZE, MAX_SIGNATURE_BYTES, Suite, parse_hex
from common.core.validators import MAX_VALIDATORS, Validator, ValidatorSet

_TAGS: Final = {
    "prepare": PREPARE_TAG,
    "commit": COMMIT_TAG,
    "proposal": PROPOSAL_TAG,
    "view_change": VIEW_CHANGE_TAG,
    "new_view": NEW_VIEW_TAG,
}
_VALUE_BYTES: Final = {
    "prepare": (HASH_SIZE,),
    "commit": (HASH_SIZE,),
    "proposal": (2 * HASH_SIZE,),
    "view_change": (1, 1 + HASH_SIZE),
    "new_view": (2 * HASH_SIZE,),
}
_FIELDS: Final = frozenset({"height", "kind", "signature", "signer", "value", "view"})


@dataclass(frozen=True, slots=True)
class Statement:
    """One signed message, reduced to what its signature covers. `signer` is the index in its height's set."""

    kind: str
    height: int
    view: int
    signer: int
    value: bytes
    signature: bytes

    @property
    def place(self) -> tuple[str, int, int, int]:
        """A correct validator makes one statement for each: kind, height, view, signer."""
        return self.kind, self.height, self.view, self.signer

    def payload(self, suite: Suite, genesis_id: bytes, network: str) -> bytes:
        """The 32 signed bytes, those of the message that it was made of."""
        prefix = signed_prefix(genesis_id, network, self.height, self.view)
        return suite.tagged_hash(_TAGS[self.kind], prefix + self.value)

    @classmethod
    def of(cls, message: ConsensusMessage, suite: Suite, genesis_id: bytes, network: str) -> Self:
        """What a message says under its signature."""
        match message:
            case Vote():
                kind, value = "prepare" if message.stage is Stage.PREPARE else "commit", message.block_id
            case Proposal():
                kind = "proposal"
                value = message.header.id(suite) + suite.hash(b"".join(message.envelope_hashes))
            case ViewChange():
                prepared = message.prepared
                kind, value = "view_change", b"\0" if prepared is None else b"\1" + suite.hash(prepared.encode())
            case NewView():
                changes = Writer()
                for change in message.view_changes:
                    changes.blob(change.encode())
                kind = "new_view"
                value = suite.hash(changes.bytes()) + message.proposal.payload(suite, genesis_id, network)
        return cls(kind, message.height, message.view, message.signer, value, message.signature)

    def to_json(self) -> dict[str, Any]:
        """As it stands in an operation and in an answer."""
        return {
            "kind": self.kind,
            "height": self.height,
            "view": self.view,
            "signer": self.signer,
            "value": self.value.hex(),
            "signature": self.signature.hex(),
        }

    @classmethod
    def from_json(cls, document: Any) -> Self:
        """Parse one. Raises `Malformed` with `accusation_statement` or a code of `parse_hex`."""
        if not isinstance(document, dict) or document.keys() != _FIELDS:
            raise Malformed("accusation_statement", f"A statement has exactly the fields {', '.join(sorted(_FIELDS))}.")
        kind = document["kind"]
        if not isinstance(kind, str) or kind not in _TAGS:
            raise Malformed("accusation_statement", f"kind is one of {', '.join(sorted(_TAGS))}.", field="kind")
        value = _hex(document, "value", 1 + 2 * HASH_SIZE)
        if len(value) not in _VALUE_BYTES[kind]:
            raise Malformed(
                "accusation_statement", "The value has a length that its kind does not have.", field="value"
            )
        return cls(
            kind,
            _integer(document, "height", 1, MAX_SAFE_INTEGER),
            _integer(document, "view", 0, MAX_SAFE_INTEGER),
            _integer(document, "signer", 0, MAX_VALIDATORS - 1),
            value,
            _hex(document, "signature", MAX_SIGNATURE_BYTES),
        )


def _integer(document: dict[str, Any], field: str, least: int, most: int) -> int:
    value = document[field]
    if type(value) is not int or not least <= value <= most:
        raise Malformed("accusation_statement", f"{field} is not an integer within its range.", field=field)
    return value


def _hex(document: dict[str, Any], field: str, max_bytes: int) -> bytes:
    text = document[field]
    if not isinstance(text, str) or not 2 <= len(text) <= 2 * max_bytes:
        raise Malformed("accusation_statement", f"{field} is not hex of a length within its range.", field=field)
    return parse_hex(text, field)


def check_double_statement(
    first: Statement, second: Statement, validators: ValidatorSet, suite: Suite, genesis_id: bytes, network: str
) -> Validator:
    """The member of `validators`, the set of that height, that is proven to have signed both (K1).

    Raises `RuleBroken` with `accusation_other_place` (different heights, views, kinds or signers prove nothing),
    `accusation_same_value`, `accusation_no_member`; `Unauthorised('accusation_bad_signature')`.
    """
    if first.place != second.place:
        raise RuleBroken(
            "accusation_other_place", "Only two statements of one kind, height, view and signer contradict each other."
        )
    if first.value == second.value:
        raise RuleBroken("accusation_same_value", "Both statements say the same.", height=first.height)
    if first.signer >= validators.size:
        raise RuleBroken("accusation_no_member", "The signer is not in the set of that height.", index=first.signer)
    member = validators.members[first.signer]
    for statement in (first, second):
        if not suite.verify(member.public_key, statement.payload(suite, genesis_id, network), statement.signature):
            raise Unauthorised("accusation_bad_signature", "A statement's signature does not hold.", name=member.name)
    return member


def check_conflicting_certificates(
    first: Certificate, second: Certificate, validators: ValidatorSet, suite: Suite, genesis_id: bytes, network: str
) -> list[tuple[Statement, Statement]]:
    """The double votes in two certificates for different blocks at one height: by ascending member, none across views.

    Both must hold under `validators`, the set of that height: then more than f members broke the protocol even where
    nobody can be named (protocol rule 20). Raises `RuleBroken` with `accusation_other_place`, `accusation_same_value`,
    `accusation_too_few`, `accusation_no_member`; `Unauthorised('accusation_bad_signature')`.
    """
    if first.height != second.height:
        raise RuleBroken("accusation_other_place", "The certificates are of different heights.", height=first.height)
    if first.block_id == second.block_id:
        raise RuleBroken("accusation_same_value", "Both certificates are of one block.", height=first.height)
    for certificate in (first, second):
        _check_quorum(certificate, validators, suite, genesis_id, network)
    if first.view != second.view:
        return []
    votes = dict(second.signatures)
    return [
        (_commit(first, index, signature), _commit(second, index, votes[index]))
        for index, signature in first.signatures
        if index in votes
    ]


def _check_quorum(
    certificate: Certificate, validators: ValidatorSet, suite: Suite, genesis_id: bytes, network: str
) -> None:
    if len(certificate.signatures) < validators.quorum:
        raise RuleBroken(
            "accusation_too_few", "A certificate has fewer signatures than a quorum.", quorum=validators.quorum
        )
    payload = commit_payload(suite, genesis_id, network, certificate.height, certificate.view, certificate.block_id)
    for index, signature in certificate.signatures:
        if index >= validators.size:
            raise RuleBroken("accusation_no_member", "A signer is not in the set of that height.", index=index)
        if not suite.verify(validators.members[index].public_key, payload, signature):
            raise Unauthorised("accusation_bad_signature", "A signature of a certificate does not hold.", index=index)


def _commit(certificate: Certificate, index: int, signature: bytes) -> Statement:
    return Statement("commit", certificate.height, certificate.view, index, certificate.block_id, signature)
