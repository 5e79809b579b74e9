"""Signed transactions: what clients send and blocks carry.

Invariants:
  * The *transaction id* hashes what was signed; the *envelope hash* hashes transaction and signatures. Blocks,
    gossip and compact proposals name the envelope hash, because a signer can make two valid signatures for one id
    (protocol rule 9, attack C8).
  * Both are over canonical JSON, whatever white space, key order or escapes the client used, so a resend is the
    same transaction.
  * The transaction names its network and genesis id, so it cannot be replayed on another chain (protocol rule 6).
  * Unknown fields are refused, everywhere but inside operations, whose shape each tier checks (attack E2).

Reference: contract "Transactions", protocol rules 6, 9, 10. Left out: roles, nonces, expiry against the tip, and
operation rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Any, Final

import msgspec

from common.core.codec import (
    MAX_DEPTH,
    MAX_SAFE_INTEGER,
    canonical_json,
    check_signed_keys,
    have_signed_keys,
    is_plain_value,
    parse_json_canonically,
)
from common.core.errors import Malformed, TooLarge, Unauthorised
from common.core.names import check_network
from common.core.suite import HASH_SIZE, MAX_SIGNATURE_BYTES, Suite, parse_hex

TRANSACTION_TAG: Final = "tongjian/transaction/v1"
ENVELOPE_TAG: Final = "tongjian/envelope/v1"
MAX_ENVELOPE_BYTES: Final = 2 * 1024 * 1024
MAX_OPERATIONS: Final = 1000
MAX_SIGNERS: Final = 16
MAX_NONCE_CHARACTERS: Final = 64
MAX_TYPE_CHARACTERS: Final = 64

_TRANSACTION_MARK: Final = b'],"transaction":'


class SignedTransaction(msgspec.Struct, frozen=True, kw_only=True):
    """One parsed envelope; `envelope` holds its canonical bytes, `genesis`, `id` and `envelope_hash` have 32 bytes.
    `operation_types` are those of its operations, each once.
    """

    network: str
    genesis: bytes
    signers: tuple[str, ...]
    nonce: str
    expires_at_height: int
    operations: tuple[dict[str, Any], ...]
    operation_types: frozenset[str]
    signatures: tuple[bytes, ...]
    id: bytes
    envelope: bytes
    envelope_hash: bytes


_Value = (
    Annotated[int, msgspec.Meta(ge=-MAX_SAFE_INTEGER, le=MAX_SAFE_INTEGER)]
    | str
    | bool
    | list[Any]
    | dict[str, Any]
    | None
)


class _Transaction(msgspec.Struct):
    expires_at_height: int
    genesis: str
    network: str
    nonce: str
    operations: list[dict[str, _Value]]
    signers: list[str]


class _Envelope(msgspec.Struct):
    """An envelope as JSON has it: what `parse_envelope` checks the rest of."""

    signatures: list[str]
    transaction: _Transaction


_decoder: Final = msgspec.json.Decoder(_Envelope)
_encoder: Final = msgspec.json.Encoder(order="deterministic")
"""Sorts the keys of objects, and leaves the fields above in their order, which is ascending."""
_ENVELOPE_FIELDS: Final = frozenset(_Envelope.__struct_fields__)
_TRANSACTION_FIELDS: Final = frozenset(_Transaction.__struct_fields__)
_OPERATIONS_DEPTH: Final = 2
"""How deep the list of operations stands in an envelope."""


def envelope_hash(suite: Suite, envelope: bytes) -> bytes:
    """32-byte hash of canonical envelope bytes, tag `tongjian/envelope/v1`."""
    return suite.tagged_hash(ENVELOPE_TAG, envelope)


def parse_envelope(data: bytes, suite: Suite, data_hash: bytes | None = None) -> SignedTransaction:
    """Parse and check the structure of one envelope; verify no signature. `data_hash`: `envelope_hash` of these very
    bytes, if it has been worked out.

    Raises `TooLarge` above 2 MiB or 1,000 operations, and `Malformed` for everything else, with the codes of
    `parse_json`, `json_key`, `envelope_fields`, `transaction_fields`, `transaction_<field>` and `public_key_…`.
    """
    parsed, envelope = _parse_plainly(data), data
    if parsed is None:
        parsed, envelope = _parse_carefully(data)
    transaction = parsed.transaction
    signers = _parse_signers(transaction.signers, suite)
    signatures = _parse_signatures(parsed.signatures, len(signers))
    # Signatures are checked hex, so the first occurrence of the mark is the one that ends their list.
    canonical_transaction = envelope[envelope.index(_TRANSACTION_MARK) + len(_TRANSACTION_MARK) : -1]
    return SignedTransaction(
        network=check_network(transaction.network),
        genesis=_parse_genesis_id(transaction.genesis),
        signers=signers,
        nonce=_check_nonce(transaction.nonce),
        expires_at_height=_check_expiry(transaction.expires_at_height),
        operation_types=_operation_types(transaction.operations),
        operations=tuple(transaction.operations),
        signatures=signatures,
        id=suite.tagged_hash(TRANSACTION_TAG, canonical_transaction),
        envelope=envelope,
        envelope_hash=data_hash if data_hash and envelope is data else envelope_hash(suite, envelope),
    )


def _parse_plainly(data: bytes) -> _Envelope | None:
    """An envelope that is canonical already and plain throughout, which nearly every one is (protocol rule 15). None
    for any other: `_parse_carefully` finds out what is wrong, if anything is.

    What does not come back from encoding was written in another form, or has a field that is repeated or unknown.
    """
    if len(data) > MAX_ENVELOPE_BYTES:
        return None
    try:
        envelope = _decoder.decode(data)
        plain = _encoder.encode(envelope) == data and _are_plain(envelope.transaction.operations, data)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    return envelope if plain else None


def _are_plain(operations: list[dict[str, Any]], data: bytes) -> bool:
    """Whether these operations of the envelope `data` are plain throughout.

    The decoder has seen to the values of an operation, so only keys are left to check unless values are lists or
    objects. They are not if the text has no brackets but those of its three lists and of the objects known here.
    """
    if data.count(b"[") == 3 and data.count(b"{") == 2 + len(operations):
        return have_signed_keys(operations)
    return is_plain_value(operations, MAX_DEPTH - _OPERATIONS_DEPTH)


def _parse_carefully(data: bytes) -> tuple[_Envelope, bytes]:
    """An envelope that is unusual or wrong, its fields not yet checked, and its canonical bytes."""
    value, envelope = parse_json_canonically(data, max_size=MAX_ENVELOPE_BYTES)
    if type(value) is not dict or value.keys() != _ENVELOPE_FIELDS:
        raise Malformed("envelope_fields", "An envelope has exactly the fields transaction and signatures.")
    transaction = value["transaction"]
    if type(transaction) is not dict or transaction.keys() != _TRANSACTION_FIELDS:
        raise Malformed(
            "transaction_fields",
            "A transaction has exactly the fields network, genesis, signers, nonce, expires_at_height and operations.",
        )
    check_signed_keys(transaction["operations"])
    return _Envelope(value["signatures"], _Transaction(**transaction)), envelope


def _parse_signers(value: Any, suite: Suite) -> tuple[str, ...]:
    if type(value) is not list or not 1 <= len(value) <= MAX_SIGNERS:
        raise Malformed("transaction_signers", f"signers is a list of 1 to {MAX_SIGNERS} public keys.")
    for signer in value:
        if type(signer) is not str:
            raise Malformed("transaction_signers", "A signer is a public key in text form.")
        suite.parse_key(signer)
    if len(set(value)) != len(value):
        raise Malformed("transaction_signers", "Signers must be distinct.")
    return tuple(value)


def _parse_signatures(value: Any, count: int) -> tuple[bytes, ...]:
    if type(value) is not list or len(value) != count:
        raise Malformed("envelope_signatures", "There must be one signature for each signer, in their order.")
    signatures = []
    for text in value:
        if type(text) is not str or not 2 <= len(text) <= 2 * MAX_SIGNATURE_BYTES:
            raise Malformed("envelope_signatures", "A signature is a hex string.")
        signatures.append(parse_hex(text, "signatures"))
    return tuple(signatures)


def _parse_genesis_id(value: Any) -> bytes:
    if type(value) is not str:
        raise Malformed("transaction_genesis", "genesis is the genesis id in hex.")
    return _genesis_id(value)


@lru_cache(maxsize=64)
def _genesis_id(text: str) -> bytes:
    """Cached: the transactions of a chain name one genesis."""
    return parse_hex(text, "genesis", HASH_SIZE)


def _check_nonce(value: Any) -> str:
    if (
        type(value) is not str
        or not 1 <= len(value) <= MAX_NONCE_CHARACTERS
        or not value.isascii()
        or not value.isprintable()
    ):
        raise Malformed("transaction_nonce", f"nonce is 1 to {MAX_NONCE_CHARACTERS} printable ASCII characters.")
    return value


def _check_expiry(value: Any) -> int:
    if type(value) is not int or not 1 <= value <= MAX_SAFE_INTEGER:
        raise Malformed("transaction_expires_at_height", "expires_at_height is a positive integer.")
    return value


def _operation_types(value: Any) -> frozenset[str]:
    """The types of checked operations."""
    if type(value) is not list or not value:
        raise Malformed("transaction_operations", "operations is a list of at least one operation.")
    if len(value) > MAX_OPERATIONS:
        raise TooLarge(
            "transaction_too_many_operations", "Too many operations.", count=len(value), limit=MAX_OPERATIONS
        )
    found: set[str] = set()
    for index, operation in enumerate(value):
        kind = operation.get("type") if type(operation) is dict else None
        if type(kind) is str and kind in found:
            continue  # mostly
        if (
            type(kind) is not str
            or not 1 <= len(kind) <= MAX_TYPE_CHARACTERS
            or not kind.isascii()
            or not kind.isprintable()
        ):
            raise Malformed("operation_type", "An operation is an object with a type.", operation_index=index)
        found.add(kind)
    return frozenset(found)


def verify_signatures(tx: SignedTransaction, suite: Suite) -> None:
    """Return if every signer signed the transaction id.

    Raises `Unauthorised('bad_signature')` naming the first that did not.
    """
    for index, (signer, signature) in enumerate(zip(tx.signers, tx.signatures, strict=True)):
        if not suite.verify(suite.parse_key(signer), tx.id, signature):
            raise Unauthorised(
                "bad_signature", "A signature does not belong to its signer and transaction.", signer_index=index
            )


def transaction_id(transaction: dict[str, Any], suite: Suite) -> bytes:
    """The 32 bytes that signers sign. Raises `Malformed` if it has no canonical form."""
    return suite.tagged_hash(TRANSACTION_TAG, canonical_json(transaction))


def build_envelope(transaction: dict[str, Any], signatures: Sequence[bytes]) -> bytes:
    """Canonical envelope from signatures made elsewhere, in the order of `signers` (maker first, then checkers)."""
    return canonical_json({"transaction": transaction, "signatures": [signature.hex() for signature in signatures]})


def sign_envelope(transaction: dict[str, Any], seeds: Sequence[bytes], suite: Suite) -> bytes:
    """Sign with every seed, in the order of `signers`; return the canonical envelope.

    Raises `Malformed('signer_mismatch')` if the seeds are not those of `signers`.
    """
    keys = [suite.format_key(suite.public_key(seed)) for seed in seeds]
    if transaction.get("signers") != keys:
        raise Malformed(
            "signer_mismatch", "The keys at hand are not the signers that the transaction names, in their order."
        )
    identity = transaction_id(transaction, suite)
    return build_envelope(transaction, [suite.sign(seed, identity) for seed in seeds])
