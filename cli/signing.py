"""A transaction on its way from signer to signer: who signs it, who has, and what they sign.

The document is an envelope (contract, "Transactions") in which `signatures` holds null for whoever has not signed yet;
with the last signature it is the envelope that nodes take. Every signature stands in the place of its signer, so the
order in which people sign is free.

Invariants:
  * What every node would refuse for its form is refused here, before anybody signs.
  * A signature that is there is verified whenever the document is read: over changed content nobody adds a signature.

Left out: whether the chain's policy asks for these signers (the node tells), key files (`common.node.keys`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from cli.output import printable
from common.core.codec import canonical_json, parse_json
from common.core.errors import Conflict, Forbidden, Malformed, Unauthorised
from common.core.suite import DEFAULT_SUITE, Suite, parse_hex
from common.core.transaction import MAX_ENVELOPE_BYTES, SignedTransaction, build_envelope, parse_envelope
from common.node.keys import KeyPair

_UNSIGNED = bytes(1)
"""Stands for a missing signature where only the form is looked at."""


@dataclass(frozen=True, kw_only=True)
class TransactionDraft:
    """A transaction and the signatures that it has so far, in the order of its signers."""

    transaction: dict[str, Any]
    parsed: SignedTransaction
    """The same, checked; its signatures are not to be used."""
    signatures: tuple[bytes | None, ...]
    suite: Suite = DEFAULT_SUITE

    @classmethod
    def unsigned(cls, transaction: dict[str, Any], suite: Suite = DEFAULT_SUITE) -> Self:
        """A draft that nobody has signed. Raises `Malformed` or `TooLarge` for what every node would refuse."""
        signers = transaction.get("signers")
        return cls._checked(transaction, [None] * (len(signers) if isinstance(signers, list) else 1), suite)

    @classmethod
    def parse(cls, document: dict[str, Any], suite: Suite = DEFAULT_SUITE) -> Self:
        """Read a draft or an envelope. Raises `Unauthorised('bad_signature')` if a signature is not over its content,
        `Malformed` or `TooLarge` for the form."""
        if document.keys() != {"transaction", "signatures"} or not isinstance(document["signatures"], list):
            raise Malformed("envelope_fields", "a document to sign has exactly the fields transaction and signatures")
        if not isinstance(document["transaction"], dict):
            raise Malformed("transaction_fields", "`transaction` is not an object")
        if not all(text is None or isinstance(text, str) for text in document["signatures"]):
            raise Malformed("envelope_signatures", "a signature is a hex string, or null where one is missing")
        signatures = [None if text is None else parse_hex(text, "signatures") for text in document["signatures"]]
        return cls._checked(document["transaction"], signatures, suite)

    @classmethod
    def _checked(cls, transaction: dict[str, Any], signatures: Sequence[bytes | None], suite: Suite) -> Self:
        parsed = parse_envelope(build_envelope(transaction, [item or _UNSIGNED for item in signatures]), suite)
        for signer, signature in zip(parsed.signers, signatures, strict=True):
            if signature is not None and not suite.verify(suite.parse_key(signer), parsed.id, signature):
                raise Unauthorised(
                    "bad_signature",
                    f"the signature of {signer} is not over this content: it was changed after it was signed",
                )
        return cls(transaction=transaction, parsed=parsed, signatures=tuple(signatures), suite=suite)

    @property
    def missing(self) -> tuple[str, ...]:
        """Whose signatures it still needs."""
        pairs = zip(self.parsed.signers, self.signatures, strict=True)
        return tuple(signer for signer, signature in pairs if signature is None)

    def signed_by(self, pair: KeyPair) -> Self:
        """The draft with this signer's signature. Raises `Forbidden('signer_unknown')` if it does not name the key."""
        if pair.text not in self.parsed.signers:
            named = ", ".join(self.parsed.signers)
            raise Forbidden("signer_unknown", f"the transaction does not name {pair.text}; its signers: {named}")
        signatures = list(self.signatures)
        signatures[self.parsed.signers.index(pair.text)] = self.suite.sign(pair.seed, self.parsed.id)
        return replace(self, signatures=tuple(signatures))

    def joined(self, other: Self) -> Self:
        """The draft with the other copy's signatures too. Raises `Conflict('transactions_differ')`."""
        if other.parsed.id != self.parsed.id:
            ids = f"{self.parsed.id.hex()} and {other.parsed.id.hex()}"
            raise Conflict("transactions_differ", f"the copies hold different transactions: {ids}")
        pairs = zip(self.signatures, other.signatures, strict=True)
        return replace(self, signatures=tuple(mine or theirs for mine, theirs in pairs))

    def encode(self) -> bytes:
        """The document; once complete, the canonical envelope."""
        texts = [None if signature is None else signature.hex() for signature in self.signatures]
        return canonical_json({"transaction": self.transaction, "signatures": texts})

    def facts(self) -> dict[str, Any]:
        """The same as `summary`, for programs."""
        parsed = self.parsed
        return {
            "tx_id": parsed.id.hex(),
            "network": parsed.network,
            "genesis": parsed.genesis.hex(),
            "expires_at_height": parsed.expires_at_height,
            "nonce": parsed.nonce,
            "signers": [{"public_key": key, "signed": key not in self.missing} for key in parsed.signers],
            "complete": not self.missing,
            "operations": self.transaction["operations"],
        }

    def summary(self) -> str:
        """What a signer looks at before he signs: everything that the signature is over, and who has signed."""
        parsed = self.parsed
        lines = [
            f"transaction {parsed.id.hex()}",
            f"network     {parsed.network}, genesis {parsed.genesis.hex()}",
            f"expires     at height {parsed.expires_at_height}; nonce {parsed.nonce}",
            f"signers     {len(parsed.signers) - len(self.missing)} of {len(parsed.signers)} have signed",
        ]
        for number, signer in enumerate(parsed.signers):
            state = "missing" if signer in self.missing else "signed"
            lines.append(f"  {state:<8}{'maker  ' if number == 0 else 'checker'}  {signer}")
        lines.append(f"operations  {len(parsed.operations)}")
        for number, operation in enumerate(parsed.operations):
            text = json.dumps(operation, ensure_ascii=False, indent=2).replace("\n", "\n  ")
            lines.append(f"  [{number}] {text}")
        return printable("\n".join(lines))


def read_document(data: bytes) -> Any:
    """The JSON of a file to sign or submit. Raises `Malformed` or `TooLarge`."""
    return parse_json(data, max_size=MAX_ENVELOPE_BYTES)


def is_draft(document: Any) -> bool:
    """Whether a file holds signatures, or places for them, beside the transaction."""
    return isinstance(document, dict) and "transaction" in document


def refuse_incomplete(data: bytes) -> None:
    """Raise `Forbidden('signatures_missing')` naming who has not signed; leave every other judgement to the node."""
    document = read_document(data)
    signatures = document.get("signatures") if isinstance(document, dict) else None
    if not isinstance(signatures, list) or None not in signatures:
        return
    missing = TransactionDraft.parse(document).missing
    raise Forbidden("signatures_missing", f"not signed yet by {', '.join(missing)}: tongjian tx sign FILE --key KEY")
